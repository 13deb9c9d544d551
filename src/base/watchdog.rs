//! Signs of life of a scan, so that one that hangs is noticed from outside.
//!
//! Every step of a scan has a deadline of its own, so that a scan without any sign of life is a fault that nobody
//! has foreseen. Each server has one [`Pulse`]. It belongs to the scanner's thread, where [`beat`] and [`task`] find
//! it without being handed it; work on other threads beats with a clone. The scanner itself ends what is
//! [`Verdict::Stuck`]; the supervisor, on another thread, names what is [`Verdict::Blocked`].

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Never less: longer than any wait within the service (60 s), and than reading back a slow disk.
const SHORTEST_LIMIT: Duration = Duration::from_secs(120);
/// Steps of a conversation that share one timeout, and some more.
const TIMEOUTS: u32 = 3;
/// For the scanner's own thread to end a scan that is stuck; it is blocked if it does not.
const GRACE: Duration = Duration::from_secs(3);
/// Tasks that are named in one line.
const MAX_NAMED: usize = 3;

/// The signs of life of one server's scanner.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    /// The last sign of life, in milliseconds since `born`.
    last: AtomicU64,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    next: u64,
    under_way: Vec<(u64, String, Instant)>,
}

/// What the signs of life say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well, or nothing is under way.
    Alive,
    /// No sign of life for so long: the scan is to be ended.
    Stuck(Duration),
    /// It was not ended, so that its thread must be blocked.
    Blocked(Duration),
}

/// Returns how long a scan may be without a sign of life, for a server with `timeout`.
#[must_use]
pub fn limit(timeout: Duration) -> Duration {
    crate::base::failpoints::stuck_after()
        .unwrap_or_else(|| timeout.saturating_mul(TIMEOUTS).max(SHORTEST_LIMIT))
}

/// What a silence means; `None` where nothing is under way.
#[must_use]
pub fn judge(silence: Option<Duration>, limit: Duration) -> Verdict {
    match silence {
        Some(silence) if silence >= limit.saturating_add(GRACE) => Verdict::Blocked(silence),
        Some(silence) if silence >= limit => Verdict::Stuck(silence),
        _ => Verdict::Alive,
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self { born: Instant::now(), last: AtomicU64::new(0), tasks: Mutex::default() }
    }
}

impl Pulse {
    /// A sign of life: a reply, a block of data, a finished job, an answer from within the service.
    pub fn beat(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Something begins that must end, or show signs of life, before long.
    #[must_use]
    pub fn task(self: &Arc<Self>, what: String) -> Task {
        self.beat();
        let mut tasks = self.tasks.lock();
        tasks.next += 1;
        let number = tasks.next;
        tasks.under_way.push((number, what, Instant::now()));
        Task { pulse: Arc::clone(self), number }
    }

    /// The time since the last sign of life; `None` while nothing is under way.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let idle = self.tasks.lock().under_way.is_empty();
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        (!idle).then(|| self.born.elapsed().saturating_sub(last))
    }

    /// What is under way and for how long, in words; the last begun first.
    #[must_use]
    pub fn under_way(&self) -> String {
        let tasks = self.tasks.lock();
        let name =
            |(_, what, since): &(u64, String, Instant)| format!("{what} for {}", seconds(since.elapsed()));
        let mut named: Vec<String> = tasks.under_way.iter().rev().take(MAX_NAMED).map(name).collect();
        let further = tasks.under_way.len().saturating_sub(MAX_NAMED);
        if further > 0 {
            named.push(format!("and {further} more"));
        }
        named.join(", ")
    }
}

/// A time in words, to the second.
#[must_use]
pub fn seconds(time: Duration) -> String {
    crate::base::humanize::duration(Duration::from_secs(time.as_secs()))
}

/// Something under way, until it is dropped.
#[derive(Debug)]
pub struct Task {
    pulse: Arc<Pulse>,
    number: u64,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.pulse.beat();
        let mut tasks = self.pulse.tasks.lock();
        tasks.under_way.retain(|(number, ..)| *number != self.number);
    }
}

thread_local! {
    static OWN: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// From now on this thread's signs of life are those of `pulse`.
pub fn adopt(pulse: Arc<Pulse>) {
    OWN.with(|own| own.replace(Some(pulse)));
}

/// The pulse of this thread, for work that is done on another one.
#[must_use]
pub fn own() -> Option<Arc<Pulse>> {
    OWN.with(|own| own.borrow().clone())
}

/// A sign of life of whatever this thread works for.
pub fn beat() {
    OWN.with(|own| {
        if let Some(pulse) = &*own.borrow() {
            pulse.beat();
        }
    });
}

/// Something begins on this thread that must end, or show signs of life, before long.
#[must_use]
pub fn task(what: impl FnOnce() -> String) -> Option<Task> {
    own().map(|pulse| pulse.task(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_shorter_than_the_waits_within_the_service() {
        let secs = Duration::from_secs;
        assert_eq!(limit(secs(1)), secs(120));
        assert_eq!(limit(secs(30)), secs(120));
        assert_eq!(limit(secs(3600)), secs(3 * 3600));
    }

    #[test]
    fn silence_makes_a_scan_stuck_and_more_of_it_its_thread_blocked() {
        let secs = Duration::from_secs;
        assert_eq!(judge(None, secs(120)), Verdict::Alive);
        assert_eq!(judge(Some(secs(119)), secs(120)), Verdict::Alive);
        assert_eq!(judge(Some(secs(120)), secs(120)), Verdict::Stuck(secs(120)));
        assert_eq!(judge(Some(secs(123)), secs(120)), Verdict::Blocked(secs(123)));
    }

    #[test]
    fn silence_counts_from_the_last_sign_of_life_and_only_while_something_is_under_way() {
        let pulse = Arc::new(Pulse { born: Instant::now() - Duration::from_secs(500), ..Pulse::default() });
        assert_eq!(pulse.silence(), None);
        let task = pulse.task("listing /a".to_owned());
        assert!(pulse.silence().unwrap() < Duration::from_secs(100));
        pulse.last.store(0, Ordering::Relaxed);
        assert!(pulse.silence().unwrap() >= Duration::from_secs(500));
        pulse.beat();
        assert!(pulse.silence().unwrap() < Duration::from_secs(100));
        drop(task);
        assert_eq!(pulse.silence(), None);
    }

    #[test]
    fn what_is_under_way_is_named_the_last_begun_first() {
        let pulse = Arc::new(Pulse::default());
        let tasks: Vec<Task> = (1..=5).map(|n| pulse.task(format!("listing /{n}"))).collect();
        assert_eq!(pulse.under_way(), "listing /5 for 0s, listing /4 for 0s, listing /3 for 0s, and 2 more");
        drop(tasks);
        assert_eq!(pulse.under_way(), "");
    }
}
