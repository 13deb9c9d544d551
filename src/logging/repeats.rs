//! Lines that say the same again and again: warnings and errors whose text is equal to the letter. The first few of a
//! minute are written, the others counted, and the count is written when the minute is over.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use log::Level;
use parking_lot::Mutex;

/// Equal lines that are written in a window.
const WRITTEN: u64 = 5;
/// From the first of equal lines to the line that sums up the others.
const WINDOW: Duration = Duration::from_secs(60);
/// Different lines that are remembered; more are written as they come.
const MAX_LINES: usize = 256;

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    keys: RandomState,
    said: Mutex<HashMap<u64, Repeated>>,
}

/// Equal lines of one window.
#[derive(Debug)]
struct Repeated {
    since: Instant,
    count: u64,
    /// Of the last that was not written.
    withheld: Option<Withheld>,
}

/// A line that was said more often than it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) message: String,
}

impl Withheld {
    fn summed_up(mut self, count: u64, over: Duration) -> Self {
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        self.message = format!("{} (said {times} more within {} s)", self.message, over.as_secs());
        self
    }
}

impl Repeats {
    /// Returns whether the line is to be written, at time `now`.
    pub(super) fn admits(&self, level: Level, target: &str, message: &str, now: Instant) -> bool {
        if level > Level::Warn {
            return true;
        }
        let key = self.keys.hash_one((level, target, message));
        let mut said = self.said.lock();
        if said.len() >= MAX_LINES && !said.contains_key(&key) {
            return true;
        }
        let line = said.entry(key).or_insert(Repeated { since: now, count: 0, withheld: None });
        line.count = line.count.saturating_add(1);
        if line.count <= WRITTEN {
            return true;
        }
        line.withheld = Some(Withheld { level, target: target.to_owned(), message: message.to_owned() });
        false
    }

    /// The sums of the windows that are over at time `now`; all sums with `now` `None`.
    pub(super) fn due(&self, now: Option<Instant>) -> Vec<Withheld> {
        let mut said = self.said.lock();
        let is_over = |line: &Repeated| now.is_none_or(|now| now.duration_since(line.since) >= WINDOW);
        let over: Vec<u64> = said.iter().filter(|(_, line)| is_over(line)).map(|(key, _)| *key).collect();
        let ended = over.into_iter().filter_map(|key| said.remove(&key));
        let sum = |Repeated { since, count, withheld }: Repeated| {
            let over = now.map_or(WINDOW, |now| now.duration_since(since));
            Some(withheld?.summed_up(count - WRITTEN, over))
        };
        ended.filter_map(sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// interface 9.2
    #[test]
    fn what_is_said_again_and_again_is_summed_up() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let written = (0..1000).filter(|_| repeats.admits(Level::Warn, "x", "cannot accept", now)).count();
        assert_eq!(written, 5);
        assert!(repeats.due(Some(now + WINDOW / 2)).is_empty());
        let due = repeats.due(Some(now + WINDOW));
        let [sum] = due.as_slice() else { panic!("{due:?}") };
        assert_eq!(sum.message, "cannot accept (said 995 times more within 60 s)");
        assert_eq!((sum.level, sum.target.as_str()), (Level::Warn, "x"));
        assert!(repeats.admits(Level::Warn, "x", "cannot accept", now + WINDOW), "a new window begins");
        assert!(repeats.due(Some(now + WINDOW * 3)).is_empty(), "nothing was withheld");
    }

    #[test]
    fn only_equal_warnings_and_errors_are_summed_up() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for n in 0..1000 {
            assert!(repeats.admits(Level::Warn, "x", &format!("path=/{n}.zip"), now), "{n}");
            assert!(repeats.admits(Level::Info, "x", "scanned", now));
        }
    }

    #[test]
    fn what_was_withheld_is_said_at_the_end() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for _ in 0..7 {
            repeats.admits(Level::Error, "x", "lost", now);
        }
        assert!(repeats.due(None).iter().any(|sum| sum.message.starts_with("lost (said 2 times more")));
    }
}
