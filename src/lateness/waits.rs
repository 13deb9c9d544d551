//! How long files took, over the recent past.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Most files looked back on.
const MAX_FILES: usize = 512;
/// And for how long, in milliseconds.
const LOOK_BACK_MS: i64 = 60 * 60 * 1000;

/// Recent waits, and the sums of all.
#[derive(Debug, Default)]
pub struct Waits {
    /// When each ended, and how long it was, in milliseconds.
    recent: VecDeque<(i64, i64)>,
    count: u64,
    sum_ms: u64,
}

/// Waits as `status` shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitsStatus {
    /// Files since the process began.
    pub files: u64,
    /// What they took together.
    pub total_seconds: f64,
    /// Half of the files of the last hour, at most 512 of them, took no longer; null without any.
    pub p50_seconds: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99_seconds: Option<f64>,
}

impl Waits {
    /// A file waited from `began` to `ended`, in unix milliseconds. A clock that was set back makes it nothing.
    pub fn add(&mut self, began: i64, ended: i64) {
        let took = (ended - began).max(0);
        if self.recent.len() == MAX_FILES {
            self.recent.pop_front();
        }
        self.recent.push_back((ended, took));
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(took.unsigned_abs());
    }

    /// As they stand at `now`.
    #[must_use]
    pub fn status(&self, now: i64) -> WaitsStatus {
        let recent = self.recent.iter().filter(|(ended, _)| now - ended <= LOOK_BACK_MS);
        let mut waits: Vec<i64> = recent.map(|(_, took)| *took).collect();
        waits.sort_unstable();
        let part = |percent: usize| {
            let place = (waits.len() * percent).div_ceil(100).saturating_sub(1);
            waits.get(place).map(|ms| *ms as f64 / 1000.0)
        };
        WaitsStatus {
            files: self.count,
            total_seconds: self.sum_ms as f64 / 1000.0,
            p50_seconds: part(50),
            p99_seconds: part(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_worst_of_a_hundred_are_told() {
        let mut waits = Waits::default();
        assert_eq!(waits.status(0).p50_seconds, None);
        for n in (1..=100).rev() {
            waits.add(0, n * 1000);
        }
        let status = waits.status(100_000);
        assert_eq!((status.p50_seconds, status.p99_seconds), (Some(50.0), Some(99.0)));
        assert_eq!((status.files, status.total_seconds), (100, 5050.0));
    }

    /// interface 19.2
    #[test]
    fn old_waits_and_those_beyond_the_limit_are_forgotten_but_stay_in_the_sums() {
        let mut waits = Waits::default();
        // enough of them for the slowest of a hundred to be among them, were they counted
        for _ in 0..20 {
            waits.add(0, 60_000);
        }
        for n in 0..MAX_FILES as i64 {
            waits.add(n, n + 1000);
        }
        assert_eq!(waits.status(2000).p99_seconds, Some(1.0), "the first are beyond the limit");
        let status = waits.status(LOOK_BACK_MS * 2);
        assert_eq!((status.p99_seconds, status.files), (None, MAX_FILES as u64 + 20));
    }

    #[test]
    fn a_clock_set_back_makes_no_negative_wait() {
        let mut waits = Waits::default();
        waits.add(5000, 0);
        assert_eq!((waits.status(0).p50_seconds, waits.status(0).total_seconds), (Some(0.0), 0.0));
    }
}
