//! What happened in each minute of the last hours, for the charts.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Minutes looked back on: six hours.
pub const MAX_MINUTES: i64 = 360;

/// The sums of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// Since 1970.
    pub minute: i64,
    /// Files that became local.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of which the wait is known, from first seen to local.
    pub measured: u64,
    /// Their waits together, in milliseconds.
    pub waited_ms: u64,
    /// The longest of them.
    pub worst_ms: u64,
    /// Files announced.
    pub announced: u64,
}

impl Minute {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.measured += other.measured;
        self.waited_ms = self.waited_ms.saturating_add(other.waited_ms);
        self.worst_ms = self.worst_ms.max(other.worst_ms);
        self.announced += other.announced;
    }
}

/// The minutes in which something happened, oldest first.
#[derive(Debug, Default)]
pub struct Minutes(VecDeque<Minute>);

impl Minutes {
    /// Adds to the minute of `at`, in unix milliseconds. After the clock was set back, to the newest one.
    pub fn add(&mut self, at: i64, what: Minute) {
        let minute = at.div_euclid(60_000);
        match self.0.back_mut() {
            Some(last) if last.minute >= minute => last.add(&what),
            _ => self.0.push_back(Minute { minute, ..what }),
        }
        while self.0.front().is_some_and(|first| first.minute <= minute - MAX_MINUTES) {
            self.0.pop_front();
        }
    }

    /// Adds the last hours before `now`, in unix milliseconds, to `sums`.
    pub fn add_to(&self, sums: &mut BTreeMap<i64, Minute>, now: i64) {
        let oldest = now.div_euclid(60_000) - MAX_MINUTES;
        for minute in self.0.iter().filter(|minute| minute.minute > oldest) {
            sums.entry(minute.minute)
                .or_insert(Minute { minute: minute.minute, ..Minute::default() })
                .add(minute);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64, worst_ms: u64) -> Minute {
        Minute { minute: 0, files: 1, bytes, measured: 1, waited_ms: worst_ms, worst_ms, announced: 1 }
    }

    #[test]
    fn what_happens_in_one_minute_is_one_sum() {
        let mut minutes = Minutes::default();
        minutes.add(60_000, file(10, 5));
        minutes.add(119_999, file(20, 3));
        minutes.add(120_000, file(1, 1));
        let mut sums = BTreeMap::new();
        minutes.add_to(&mut sums, 120_000);
        minutes.add_to(&mut sums, 120_000);
        let first =
            Minute { minute: 1, files: 4, bytes: 60, measured: 4, waited_ms: 16, worst_ms: 5, announced: 4 };
        assert_eq!((sums.len(), sums[&1], minutes.0.len()), (2, first, 2));
    }

    #[test]
    fn after_the_clock_was_set_back_the_newest_minute_counts() {
        let mut minutes = Minutes::default();
        minutes.add(600_000, file(10, 5));
        minutes.add(60_000, file(20, 3));
        let mut sums = BTreeMap::new();
        minutes.add_to(&mut sums, 600_000);
        assert_eq!((sums.len(), sums[&10].files, sums[&10].bytes), (1, 2, 30));
    }

    /// interface 20.4
    #[test]
    fn only_the_last_hours_are_kept_and_shown() {
        let mut minutes = Minutes::default();
        for minute in 0..1000 {
            minutes.add(minute * 60_000, file(1, 1));
        }
        assert_eq!(minutes.0.len(), MAX_MINUTES as usize);
        let mut sums = BTreeMap::new();
        minutes.add_to(&mut sums, 1100 * 60_000);
        assert_eq!(sums.first_key_value().map(|(minute, _)| *minute), Some(1100 - MAX_MINUTES + 1));
    }
}
