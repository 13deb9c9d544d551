//! The notices at hand, and which of them is called next: new ones first, doubtful ones in a part of the calls.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::health::{Health, Turn};
use crate::base::facts::{Due, Notice};
use crate::base::names::ServerName;

/// New files of a server whose files fail that are held at hand, where more may wait behind them.
const HELD: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CallQueue {
    fresh: VecDeque<Notice>,
    tried: VecDeque<Notice>,
    /// Calls under way by record, and whether they are doubtful.
    calls: HashMap<i64, (ServerName, bool)>,
    /// Whether the last doubtful call was for a new file: the next one is not, where there is a choice.
    was_fresh: bool,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// This call.
    Call(Notice),
    /// Nothing before this.
    At(Instant),
    /// Nothing, as it stands.
    Nothing,
}

impl CallQueue {
    /// New files at hand.
    pub(super) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// Others at hand.
    pub(super) fn tried(&self) -> usize {
        self.tried.len()
    }

    /// The records of what is at hand.
    pub(super) fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.fresh.iter().chain(&self.tried).map(|notice| notice.id)
    }

    /// Puts everything away, as it may be out of date.
    pub(super) fn clear(&mut self) {
        self.fresh.clear();
        self.tried.clear();
    }

    /// Takes in what the outbox gave, of which `full` says that there may be more new files behind it. Returns those
    /// that are to be put off, so that files of a server that fails do not hide those of others.
    pub(super) fn take_in(&mut self, due: Due, full: bool, health: &Health) -> Vec<Notice> {
        self.fresh.extend(due.fresh);
        self.tried.extend(due.tried);
        if !full || health.is_spotless() || health.is_unreachable() {
            return Vec::new();
        }
        let mut held: HashMap<ServerName, usize> = HashMap::new();
        let (mut kept, mut put_off) = (VecDeque::new(), Vec::new());
        for notice in std::mem::take(&mut self.fresh).into_iter().rev() {
            if health.fails(&notice.server) {
                let count = held.entry(notice.server.clone()).or_default();
                *count += 1;
                if *count > HELD {
                    put_off.push(notice);
                    continue;
                }
            }
            kept.push_front(notice);
        }
        self.fresh = kept;
        put_off
    }

    /// What to call next, where `allowed` calls may be under way.
    pub(super) fn next(&mut self, health: &Health, allowed: usize, now: Instant) -> Next {
        if self.calls.len() >= allowed {
            return Next::Nothing;
        }
        let free = |notice: &Notice| health.turn(&notice.server, notice.attempts, now) == Turn::Free;
        if let Some(at) = self.fresh.iter().position(free) {
            return self.begin(true, at, false);
        }
        if let Some(at) = self.tried.iter().position(free) {
            return self.begin(false, at, false);
        }
        let share = if health.is_down() { 1 } else { (allowed / 2).max(1) };
        if self.calls.values().filter(|(_, doubtful)| *doubtful).count() >= share {
            return Next::Nothing;
        }
        self.doubtful(health, now)
    }

    /// The doubtful call whose turn it is. Of new files the newest comes first: the others have waited already, and
    /// would hide one that is taken.
    fn doubtful(&mut self, health: &Health, now: Instant) -> Next {
        let mut earliest: Option<Instant> = None;
        let mut may = |notice: &Notice| {
            let Turn::Doubtful(at) = health.turn(&notice.server, notice.attempts, now) else { return true };
            let one_by_one = health.fails(&notice.server);
            if one_by_one && self.calls.values().any(|(server, _)| *server == notice.server) {
                return false;
            }
            if at > now {
                earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
            }
            at <= now
        };
        let fresh = self.fresh.iter().rposition(&mut may);
        let tried = self.tried.iter().position(&mut may);
        match (fresh, tried) {
            (Some(at), None) => self.begin(true, at, true),
            (Some(at), Some(_)) if !self.was_fresh => self.begin(true, at, true),
            (_, Some(at)) => self.begin(false, at, true),
            (None, None) => earliest.map_or(Next::Nothing, Next::At),
        }
    }

    fn begin(&mut self, fresh: bool, at: usize, doubtful: bool) -> Next {
        let queue = if fresh { &mut self.fresh } else { &mut self.tried };
        let Some(notice) = queue.remove(at) else { return Next::Nothing };
        if doubtful {
            self.was_fresh = fresh;
        }
        self.calls.insert(notice.id, (notice.server.clone(), doubtful));
        Next::Call(notice)
    }

    /// A call has ended.
    pub(super) fn ended(&mut self, id: i64) {
        self.calls.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::notice;
    use crate::notify::sink::Fault;

    /// What is called when `allowed` calls may be under way and none ends.
    fn called(queue: &mut CallQueue, health: &Health, allowed: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        while let Next::Call(notice) = queue.next(health, allowed, Instant::now()) {
            ids.push(notice.id);
        }
        ids
    }

    fn queue(fresh: impl IntoIterator<Item = Notice>, tried: impl IntoIterator<Item = Notice>) -> CallQueue {
        let due =
            Due { fresh: fresh.into_iter().collect(), tried: tried.into_iter().collect(), next_at: None };
        let mut queue = CallQueue::default();
        assert!(queue.take_in(due, false, &Health::default()).is_empty());
        queue
    }

    /// interface 13.9
    #[test]
    fn new_files_come_first_and_those_that_fail_again_and_again_get_half_of_the_calls() {
        let tried = (10..20).map(|id| notice("a", id, 5));
        let mut queue = queue([notice("a", 1, 0)], tried);
        let health = Health::default();
        assert_eq!(called(&mut queue, &health, 4), [1, 10, 11]);
        queue.take_in(Due { fresh: vec![notice("a", 2, 0)], ..Due::default() }, false, &health);
        assert_eq!(called(&mut queue, &health, 4), [2]);
    }

    /// interface 13.9
    #[test]
    fn a_server_whose_files_get_no_answer_leaves_half_of_the_calls_to_others() {
        let mut health = Health::default();
        health.failed(&notice("hangs", 99, 0), Fault::Unanswered, Instant::now());
        let mut queue = queue((0..50).map(|id| notice("hangs", id, 0)), []);
        assert_eq!(called(&mut queue, &health, 4).len(), 2);
        queue.take_in(Due { fresh: vec![notice("good", 77, 0)], ..Due::default() }, false, &health);
        assert_eq!(called(&mut queue, &health, 4), [77]);
    }

    /// interface 13.10
    #[test]
    fn a_server_whose_files_are_refused_is_called_for_one_by_one_newest_first() {
        let mut health = Health::default();
        let now = Instant::now();
        let before = now.checked_sub(std::time::Duration::from_secs(60)).unwrap();
        health.delivered(&ServerName::new("good").unwrap(), now);
        for id in 100..120 {
            health.failed(&notice("bad", id, 0), Fault::Refused, before);
        }
        let mut queue = queue((0..50).map(|id| notice("bad", id, 0)), []);
        assert_eq!(called(&mut queue, &health, 4), [49]);
        queue.ended(49);
        health.failed(&notice("bad", 49, 0), Fault::Refused, now);
        assert!(matches!(queue.next(&health, 4, now), Next::At(at) if at > now));
    }

    #[test]
    fn new_files_of_a_server_that_fails_are_put_off_where_they_may_hide_others() {
        let mut health = Health::default();
        health.delivered(&ServerName::new("good").unwrap(), Instant::now());
        for id in 100..120 {
            health.failed(&notice("bad", id, 0), Fault::Refused, Instant::now());
        }
        let mut queue = CallQueue::default();
        let fresh: Vec<_> = (0..40).map(|id| notice(if id == 3 { "good" } else { "bad" }, id, 0)).collect();
        let put_off = queue.take_in(Due { fresh, ..Due::default() }, true, &health);
        assert_eq!((put_off.len(), queue.fresh()), (39 - HELD, 1 + HELD));
        assert!(put_off.iter().all(|notice| notice.id < 24 && notice.id != 3));
    }

    /// interface 13.12
    #[test]
    fn new_files_and_those_that_failed_take_turns_in_probing() {
        let mut health = Health::default();
        let before = Instant::now().checked_sub(std::time::Duration::from_secs(60)).unwrap();
        for id in 100..108 {
            health.failed(&notice("a", id, 0), Fault::Unanswered, before);
        }
        assert!(health.is_down());
        let mut queue = queue((0..3).map(|id| notice("a", id, 0)), (10..13).map(|id| notice("a", id, 3)));
        let mut order = Vec::new();
        for _ in 0..4 {
            let ids = called(&mut queue, &health, 4);
            assert_eq!(ids.len(), 1, "a single probe");
            queue.ended(ids[0]);
            order.extend(ids);
        }
        assert_eq!(order, [2, 10, 1, 11]);
    }
}
