//! Growing intervals between tries: servers, files, notifications and restarts share them.

use std::time::Duration;

/// Doubles from `first` to `most`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never more than this.
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row; none without a failure.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                self.first.saturating_mul(2_u32.saturating_pow(doublings.min(30))).min(self.most)
            }
        }
    }
}

/// Faults in a row of something that is begun again after each.
#[derive(Debug)]
pub struct Restarts {
    backoff: Backoff,
    faults: u32,
}

impl Restarts {
    /// None so far.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, faults: 0 }
    }

    /// The wait after one more fault. What `succeeded` before it begins with the first interval again.
    pub fn wait(&mut self, succeeded: bool) -> Duration {
        self.faults = if succeeded { 1 } else { self.faults.saturating_add(1) };
        self.backoff.after(self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_and_begin_anew_after_a_good_run() {
        let most = Duration::from_secs(5);
        let mut restarts = Restarts::new(Backoff { first: Duration::from_secs(1), most });
        let waits = [false, false, false, false, true, false].map(|well| restarts.wait(well).as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 1, 2]);
    }

    #[test]
    fn intervals_double_up_to_their_limit() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
        let waits: Vec<u64> = [0, 1, 2, 3, 9, 10, u32::MAX].map(|n| backoff.after(n).as_secs()).into();
        assert_eq!(waits, [0, 1, 2, 4, 256, 300, 300]);
    }
}
