//! The sums over all records as counters: what `forget`, `requeue` and files that are found again take out of the sums is
//! counted all the same, also by later processes.

use serde::{Deserialize, Serialize};

use super::types::Totals;

/// Under which [`Left`] is remembered.
pub const LEFT: &str = "left_the_sums";

/// What only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ever {
    /// Notices that were delivered.
    pub delivered_notices: u64,
    /// Files that were evicted.
    pub evicted_files: u64,
    /// Their size in bytes.
    pub evicted_bytes: u64,
}

/// What was counted once and is not in the sums any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Left {
    delivered_notices: u64,
    evicted_files: u64,
    evicted_bytes: u64,
}

/// The sums now, and what has left them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    now: Totals,
    left: Left,
}

impl Sums {
    /// As they stand when the records are opened.
    #[must_use]
    pub fn new(now: Totals, left: Left) -> Self {
        Self { now, left }
    }

    /// The sums over the records.
    #[must_use]
    pub fn now(&self) -> Totals {
        self.now
    }

    /// What is to be remembered.
    #[must_use]
    pub fn left(&self) -> Left {
        self.left
    }

    /// The counters.
    #[must_use]
    pub fn ever(&self) -> Ever {
        let Self { now, left } = self;
        Ever {
            delivered_notices: now.delivered_notices + left.delivered_notices,
            evicted_files: now.evicted_files + left.evicted_files,
            evicted_bytes: now.evicted_bytes + left.evicted_bytes,
        }
    }

    /// Takes over new sums. Returns whether anything left them.
    pub fn renew(&mut self, now: Totals) -> bool {
        let (before, left) = (self.now, self.left);
        self.left.delivered_notices += before.delivered_notices.saturating_sub(now.delivered_notices);
        self.left.evicted_files += before.evicted_files.saturating_sub(now.evicted_files);
        self.left.evicted_bytes += before.evicted_bytes.saturating_sub(now.evicted_bytes);
        self.now = now;
        self.left != left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_rise_with_the_sums_and_stay_where_these_fall() {
        let totals = |delivered_notices, evicted_files| Totals {
            delivered_notices,
            evicted_files,
            evicted_bytes: evicted_files * 10,
            ..Totals::default()
        };
        let mut sums = Sums::new(totals(5, 1), Left::default());
        assert!(!sums.renew(totals(7, 1)));
        assert!(sums.renew(totals(2, 0)), "5 are announced again, one was found");
        assert_eq!(sums.ever(), Ever { delivered_notices: 7, evicted_files: 1, evicted_bytes: 10 });
        sums.renew(totals(4, 1));
        assert_eq!(sums.ever(), Ever { delivered_notices: 9, evicted_files: 2, evicted_bytes: 20 });
        let left = serde_json::to_string(&sums.left()).unwrap();
        let again = Sums::new(sums.now(), serde_json::from_str(&left).unwrap());
        assert_eq!(again.ever(), sums.ever());
    }
}
