//! Whose fault failed calls are: the host's, that of one server's files, or a file's own. Pure, and told the time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::backoff::Backoff;
use crate::base::names::ServerName;
use crate::notify::sink::{Fault, Notice};

/// So many failures in a row say that more than a file is in trouble: of calls that came to nothing, or of different
/// files.
const TROUBLE: u32 = 8;
/// Between two probes of a host that is down.
const PROBE: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(15) };
/// Between two calls for files of a server that the host refuses, while it takes those of others.
const ONE_BY_ONE: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(1) };
/// A server whose files were taken so lately, and none of which failed since, speaks for the host.
const LATELY: Duration = Duration::from_secs(10 * 60);

/// When a call may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// As soon as a call may be begun at all.
    Free,
    /// In the share of the doubtful ones, and not before this.
    Doubtful(Instant),
}

/// What a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing of what is thought of the host.
    None,
    /// The host is down from now on.
    Down,
    /// The host is up again.
    Up,
    /// All files of this server fail from now on.
    ServerFails,
    /// Files of this server are taken again.
    ServerWorks,
}

/// What is known of the host.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last call that was delivered.
    run: Run,
    /// Servers with failures since the last delivery of one of their files.
    failing: HashMap<ServerName, Standing>,
    /// When a file of a server was taken last.
    taken: HashMap<ServerName, Instant>,
    down: bool,
    /// There is one server alone, so that it speaks for the host.
    alone: bool,
    /// When the host may be probed.
    probe_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Run {
    /// In a row, without any answer in between.
    unanswered: u32,
    /// Different files that failed, as many as matter.
    files: HashSet<i64>,
    servers: HashSet<ServerName>,
    /// Failed probes.
    probes: u32,
}

#[derive(Debug)]
struct Standing {
    failures: u32,
    last: Fault,
    next_at: Instant,
}

impl Health {
    /// Returns whether the host is down: it cannot be reached, or it refuses files of different servers and
    /// takes none.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    /// Returns whether the host gives no answer at all.
    pub(super) fn is_unreachable(&self) -> bool {
        self.down && self.run.unanswered >= TROUBLE
    }

    /// Returns whether all files of this server fail.
    pub(super) fn fails(&self, server: &ServerName) -> bool {
        self.failing.get(server).is_some_and(|standing| standing.failures >= TROUBLE)
    }

    /// Returns whether nothing failed since the last delivery of each server's files.
    pub(super) fn is_spotless(&self) -> bool {
        !self.down && self.failing.is_empty()
    }

    /// Forgets everything: it may be another host.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether there is one server alone: what is refused of its files is all that can be known of the host.
    pub(super) fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// When a file that failed `attempts` times may be called for. A new file of a server without failures is called
    /// for at once, also while the host seems to be down: nothing tells more about it.
    pub(super) fn turn(&self, server: &ServerName, attempts: u32, now: Instant) -> Turn {
        let standing = self.failing.get(server);
        let trusted = match standing {
            None => true,
            Some(standing) if self.down => {
                attempts == 0 && standing.last.is_answer() && standing.failures < TROUBLE
            }
            Some(standing) => standing.last.is_answer() && standing.failures < TROUBLE,
        };
        let probing = self.down && attempts > 0;
        if trusted && attempts < 2 && !probing {
            return Turn::Free;
        }
        let answers = standing.is_some_and(|standing| standing.last.is_answer());
        // of a host that answers, a file that was never called for may be taken though others are not
        let host_at = self.probe_at.filter(|_| self.down && !(attempts == 0 && answers));
        let server_at = standing.filter(|standing| standing.failures >= TROUBLE).map(|it| it.next_at);
        Turn::Doubtful(host_at.max(server_at).unwrap_or(now))
    }

    /// A call was delivered.
    pub(super) fn delivered(&mut self, server: &ServerName, now: Instant) -> Change {
        self.run = Run::default();
        self.taken.insert(server.clone(), now);
        let failed = self.failing.remove(server).is_some_and(|standing| standing.failures >= TROUBLE);
        if std::mem::take(&mut self.down) {
            Change::Up
        } else if failed {
            Change::ServerWorks
        } else {
            Change::None
        }
    }

    /// A call failed.
    pub(super) fn failed(&mut self, notice: &Notice, fault: Fault, now: Instant) -> Change {
        let Notice { id, server, .. } = notice;
        self.run.note(*id, server, fault);
        let standing =
            self.failing.entry(server.clone()).or_insert(Standing { failures: 0, last: fault, next_at: now });
        standing.failures = standing.failures.saturating_add(1);
        standing.last = fault;
        standing.next_at = now + ONE_BY_ONE.after((standing.failures + 1).saturating_sub(TROUBLE));
        let server_fails = standing.failures == TROUBLE;
        let was_down = self.down;
        self.down = self.down || self.run.unanswered >= TROUBLE || self.is_refused_by_the_host(now);
        if self.down {
            self.run.probes = self.run.probes.saturating_add(1);
            self.probe_at = Some(now + PROBE.after(self.run.probes));
        }
        match (was_down, self.down) {
            (false, true) => Change::Down,
            (false, false) if server_fails => Change::ServerFails,
            _ => Change::None,
        }
    }

    /// Returns whether different files failed since anything was delivered, of at least two servers or of the
    /// only one; and no server that was served lately is without a failure.
    fn is_refused_by_the_host(&self, now: Instant) -> bool {
        let Run { files, servers, .. } = &self.run;
        let enough = files.len() >= TROUBLE as usize && (servers.len() >= 2 || self.alone);
        let speaks_for_it = |(server, taken): (&ServerName, &Instant)| {
            now.saturating_duration_since(*taken) < LATELY && !servers.contains(server)
        };
        enough && !self.taken.iter().any(speaks_for_it)
    }
}

impl Run {
    fn note(&mut self, id: i64, server: &ServerName, fault: Fault) {
        self.unanswered = match fault {
            Fault::Unanswered => self.unanswered.saturating_add(1),
            Fault::Refused | Fault::Overloaded => 0,
        };
        if self.files.len() < TROUBLE as usize {
            self.files.insert(id);
        }
        self.servers.insert(server.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::{notice, server};

    fn fail(health: &mut Health, name: &str, ids: std::ops::Range<i64>, fault: Fault) -> Vec<Change> {
        ids.map(|id| health.failed(&notice(name, id, 0), fault, Instant::now())).collect()
    }

    /// interface 13.11
    #[test]
    fn refused_files_of_one_server_are_its_own_and_those_of_several_are_the_hosts() {
        let mut health = Health::default();
        health.delivered(&server("good"), Instant::now());
        let changes = fail(&mut health, "bad", 0..30, Fault::Refused);
        assert_eq!(changes.iter().position(|change| *change == Change::ServerFails), Some(7));
        assert!(!health.is_down());
        let now = Instant::now();
        assert_eq!(health.turn(&server("good"), 0, now), Turn::Free);
        assert!(matches!(health.turn(&server("bad"), 0, now), Turn::Doubtful(at) if at > now));
        // the server that was taken lately fails too: now it is the host
        assert_eq!(fail(&mut health, "good", 50..51, Fault::Refused), [Change::Down]);
        assert_eq!(health.turn(&server("new"), 0, now), Turn::Free, "it is the best probe");
        assert_eq!(health.delivered(&server("new"), now), Change::Up);
    }

    /// interface 13.11
    #[test]
    fn one_file_never_makes_the_host_down_unless_it_gets_no_answer() {
        let mut health = Health { alone: true, ..Health::default() };
        (0..50).for_each(|_| drop(fail(&mut health, "only", 7..8, Fault::Refused)));
        assert!(!health.is_down());
        let changes: Vec<_> =
            (0..8).flat_map(|_| fail(&mut health, "only", 7..8, Fault::Unanswered)).collect();
        assert_eq!(changes[7], Change::Down);
        let now = Instant::now();
        assert!(matches!(health.turn(&server("only"), 0, now), Turn::Doubtful(at) if at > now));
    }

    /// interface 13.11
    #[test]
    fn the_only_server_speaks_for_the_host() {
        let mut health = Health::default();
        assert_eq!(fail(&mut health, "only", 0..8, Fault::Refused)[7], Change::ServerFails);
        let mut health = Health { alone: true, ..Health::default() };
        let changes = fail(&mut health, "only", 0..8, Fault::Refused);
        assert_eq!(changes[7], Change::Down);
        assert_eq!(health.delivered(&server("only"), Instant::now()), Change::Up);
        assert!(health.is_spotless());
    }

    /// interface 13.12
    #[test]
    fn a_new_file_waits_a_second_at_most_while_the_host_answers() {
        let mut health = Health { alone: true, ..Health::default() };
        fail(&mut health, "only", 0..40, Fault::Refused);
        let now = Instant::now();
        let wait = |health: &Health, attempts| match health.turn(&server("only"), attempts, now) {
            Turn::Free => 0.0,
            Turn::Doubtful(at) => at.saturating_duration_since(now).as_secs_f64(),
        };
        assert!(health.is_down() && wait(&health, 0) <= 1.0 && wait(&health, 1) > 14.0);
        fail(&mut health, "only", 0..1, Fault::Unanswered);
        assert!(wait(&health, 0) > 14.0);
    }

    #[test]
    fn files_that_get_no_answer_or_failed_twice_are_doubtful() {
        let mut health = Health::default();
        let now = Instant::now();
        assert_eq!(health.turn(&server("a"), 1, now), Turn::Free);
        assert_eq!(health.turn(&server("a"), 2, now), Turn::Doubtful(now));
        fail(&mut health, "a", 0..1, Fault::Unanswered);
        assert_eq!(health.turn(&server("a"), 0, now), Turn::Doubtful(now));
        assert_eq!(health.turn(&server("b"), 0, now), Turn::Free);
    }

    /// interface 13.12
    #[test]
    fn the_pauses_between_probes_grow_up_to_15_seconds() {
        let mut health = Health::default();
        let now = Instant::now();
        let pauses: Vec<f64> = (0..16)
            .map(|id| {
                health.failed(&notice("a", id, 0), Fault::Unanswered, now);
                health.probe_at.map_or(0.0, |at| (at - now).as_secs_f64())
            })
            .collect();
        assert_eq!(pauses[7..], [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]);
    }
}
