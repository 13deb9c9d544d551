//! How many connections a server gets, and when the next login may begin. Knows nothing of sockets: it is told what
//! happened, and what time it is.
//!
//! Two numbers bound each other: the configured ceiling, and what the server grants. A refused login puts the grant at
//! what is held; after a while one more login is tried, and each that succeeds raises it by one. A refusal lengthens the
//! wait, so that a server is never pressed.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::backoff::Backoff;

/// Between the beginnings of two logins. Firewalls ban addresses that log in too fast; four logins of a cold start
/// are spread over 60 ms, which nobody notices.
const GAP: Duration = Duration::from_millis(20);
/// The same after failed logins in a row, which double it. A worker that waits for its turn holds a job meanwhile.
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// A server that grants no more logins is asked for one more after so long: others may have left.
const AFTER_LIMIT: Backoff = Backoff { first: Duration::from_mins(2), most: Duration::from_mins(30) };
/// A login that failed for another reason than a limit, beside connections that work.
const AFTER_FAULT: Backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_mins(5) };
/// A refused password beside connections that work is tried no more often than this in the long run, so that the
/// account is not locked.
const LONGEST_LOGIN_WAIT: Duration = Duration::from_mins(15);
/// After a login more was granted, until the next one more is tried.
const STEP: Duration = Duration::from_secs(2);

/// Why there was no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server takes no more of them.
    Limit,
    /// The server does not take the account, or says so.
    Password,
    /// The connection broke, or never came about.
    Fault,
}

/// The logins of one server; see the module.
#[derive(Debug)]
pub(super) struct LoginLimiter {
    ceiling: usize,
    /// As many as the server is known to take; 0 where it took none.
    granted: usize,
    /// When one more than granted may be tried; `None` at the ceiling.
    probe_at: Option<Instant>,
    /// Tries to get one more that failed in a row.
    refusals: u32,
    /// Failed logins of any kind in a row.
    failed_logins: u32,
    /// No login begins before.
    next_login: Option<Instant>,
    after_password: Backoff,
}

impl LoginLimiter {
    /// Takes for granted whatever is configured, until the server says otherwise. A refused password is tried again
    /// after `interval` at first.
    pub(super) fn new(ceiling: usize, interval: Duration) -> Self {
        Self {
            ceiling,
            granted: ceiling,
            probe_at: None,
            refusals: 0,
            failed_logins: 0,
            next_login: None,
            after_password: after_password(interval),
        }
    }

    /// From now on a refused password is tried again after `interval` at first.
    pub(super) fn follow(&mut self, interval: Duration) {
        self.after_password = after_password(interval);
    }

    /// Returns how many connections to use now: one at least, and one more than granted where that is due.
    pub(super) fn connections(&self, now: Instant) -> usize {
        let probe = usize::from(self.probe_at.is_some_and(|at| at <= now));
        (self.granted + probe).clamp(1, self.ceiling)
    }

    /// When [`Self::connections`] may grow by itself.
    pub(super) fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.probe_at.filter(|at| *at > now)
    }

    /// The moment at which the next login may begin; it is taken by asking.
    pub(super) fn login_turn(&mut self, now: Instant) -> Instant {
        let turn = self.next_login.map_or(now, |next| next.max(now));
        let gap = GAP.saturating_mul(2_u32.saturating_pow(self.failed_logins.min(16))).min(LONGEST_GAP);
        self.next_login = Some(turn + gap);
        turn
    }

    /// A login succeeded; there are `held` now, this one included.
    pub(super) fn logged_in(&mut self, held: usize, now: Instant) {
        self.failed_logins = 0;
        if held <= self.granted {
            return;
        }
        self.granted = held.min(self.ceiling);
        self.refusals = 0;
        self.probe_at = (self.granted < self.ceiling).then(|| now + STEP);
    }

    /// A login failed while `others` were held or under way. Returns when one more is tried.
    pub(super) fn refused(&mut self, why: Refusal, others: usize, now: Instant) -> Duration {
        self.failed_logins = self.failed_logins.saturating_add(1);
        // logins that were under way together are refused together, and count once
        if self.probe_at.is_none_or(|at| at <= now) {
            self.refusals = self.refusals.saturating_add(1);
        }
        if others == 0 && why != Refusal::Limit {
            // says nothing of the number; the next scan comes after a pause anyway
            (self.granted, self.probe_at, self.refusals) = (self.ceiling, None, 0);
            return Duration::ZERO;
        }
        self.granted = self.granted.min(others);
        let backoff = match why {
            // others hold them all, most likely our own of before a crash: the first that is free is ours
            Refusal::Limit if others == 0 => AFTER_FAULT,
            Refusal::Limit => AFTER_LIMIT,
            Refusal::Password => self.after_password,
            Refusal::Fault => AFTER_FAULT,
        };
        let at = now + backoff.after(self.refusals);
        let at = self.probe_at.map_or(at, |before| before.max(at));
        self.probe_at = Some(at);
        at - now
    }
}

fn after_password(interval: Duration) -> Backoff {
    Backoff { first: interval, most: LONGEST_LOGIN_WAIT.max(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limiter() -> (LoginLimiter, Instant) {
        (LoginLimiter::new(4, MINUTE), Instant::now())
    }

    #[test]
    fn a_limit_is_kept_to_for_minutes_and_then_one_more_is_tried_and_only_one() {
        let (mut limiter, now) = limiter();
        assert_eq!(limiter.connections(now), 4);
        assert_eq!(limiter.refused(Refusal::Limit, 2, now), 2 * MINUTE);
        assert_eq!(limiter.connections(now + 2 * MINUTE - Duration::from_secs(1)), 2);
        assert_eq!(limiter.next_probe(now), Some(now + 2 * MINUTE));
        assert_eq!(limiter.connections(now + 2 * MINUTE), 3);
        assert_eq!(limiter.connections(now + 60 * MINUTE), 3);
    }

    #[test]
    fn each_refused_try_lengthens_the_wait_and_refusals_at_one_time_count_once() {
        let (mut limiter, mut now) = limiter();
        limiter.refused(Refusal::Limit, 3, now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let wait = limiter.refused(Refusal::Limit, 2, now);
            waits.push(wait.as_secs() / 60);
            now += wait;
        }
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(limiter.connections(now), 3);
    }

    #[test]
    fn a_wait_is_never_shortened_by_a_refusal_of_another_kind() {
        let (mut limiter, now) = limiter();
        limiter.refused(Refusal::Limit, 3, now);
        assert_eq!(limiter.refused(Refusal::Fault, 2, now), 2 * MINUTE);
        assert_eq!(limiter.connections(now + MINUTE), 2);
    }

    #[test]
    fn each_login_more_raises_the_grant_by_one_up_to_the_ceiling() {
        let (mut limiter, mut now) = limiter();
        limiter.refused(Refusal::Limit, 1, now);
        now += 2 * MINUTE;
        for held in 2..=4 {
            assert_eq!(limiter.connections(now), held);
            limiter.logged_in(held, now);
            assert_eq!(limiter.connections(now), held, "not the next one at once");
            now += STEP;
        }
        assert_eq!((limiter.connections(now), limiter.next_probe(now)), (4, None));
        assert_eq!(limiter.refused(Refusal::Limit, 3, now), 2 * MINUTE, "a success begins the waits anew");
    }

    #[test]
    fn logins_that_are_made_again_within_the_grant_do_not_shorten_the_wait() {
        let (mut limiter, now) = limiter();
        limiter.refused(Refusal::Limit, 2, now);
        limiter.logged_in(1, now + MINUTE);
        limiter.logged_in(2, now + MINUTE);
        assert_eq!(limiter.next_probe(now), Some(now + 2 * MINUTE));
    }

    #[test]
    fn a_server_that_takes_nobody_is_climbed_up_on_from_the_first_login_that_it_takes() {
        let (mut limiter, now) = limiter();
        assert!(limiter.refused(Refusal::Limit, 0, now) < MINUTE);
        assert_eq!(limiter.connections(now), 1);
        limiter.logged_in(1, now);
        assert_eq!((limiter.connections(now), limiter.connections(now + STEP)), (1, 2));
    }

    #[test]
    fn a_server_that_was_gone_gets_all_connections_when_it_is_back() {
        let (mut limiter, now) = limiter();
        for others in [3, 2, 1, 0] {
            limiter.refused(Refusal::Fault, others, now);
        }
        assert_eq!((limiter.connections(now), limiter.next_probe(now)), (4, None));
    }

    #[test]
    fn a_refused_password_beside_working_logins_is_tried_ever_less_often() {
        let (mut limiter, mut now) = limiter();
        let mut waits = Vec::new();
        for _ in 0..6 {
            let wait = limiter.refused(Refusal::Password, 2, now);
            waits.push(wait.as_secs() / 60);
            assert_eq!(limiter.connections(now), 2);
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
    }

    #[test]
    fn logins_begin_one_after_the_other_and_more_slowly_after_refusals() {
        let (mut limiter, now) = limiter();
        let turns: Vec<_> = (0..4).map(|_| limiter.login_turn(now) - now).collect();
        assert_eq!(turns, [0, 1, 2, 3].map(|n| n * GAP));
        let later = now + MINUTE;
        assert_eq!(limiter.login_turn(later), later, "a lone login waits for nothing");
        for _ in 0..20 {
            limiter.refused(Refusal::Fault, 1, later);
        }
        limiter.login_turn(later);
        let (one, two) = (limiter.login_turn(later), limiter.login_turn(later));
        assert_eq!(two - one, LONGEST_GAP);
        limiter.logged_in(1, later);
        let (one, two) = (limiter.login_turn(later), limiter.login_turn(later));
        assert_eq!(two - one, GAP);
    }
}
