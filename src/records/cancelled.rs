//! How often the log hears of files that were evicted before they could be announced.

use std::time::{Duration, Instant};

/// From one line to the next.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Counts the notices of evicted files, so that they are told each minute at most, and none of them twice.
#[derive(Debug, Default)]
pub struct CancelledNotices {
    untold: u64,
    told: Option<Instant>,
}

/// When the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// At once.
    Now,
    /// After this long.
    After(Duration),
    /// With those before, or never: there are none.
    Arranged,
}

impl CancelledNotices {
    /// Counts `notices`, and returns when they are to be told.
    pub fn add(&mut self, notices: u64, now: Instant) -> Tell {
        if notices == 0 {
            return Tell::Arranged;
        }
        let waits = self.untold > 0;
        self.untold += notices;
        match self.told.map(|at| now.saturating_duration_since(at)).filter(|since| *since < TELL_AGAIN) {
            None => Tell::Now,
            Some(_) if waits => Tell::Arranged,
            Some(since) => Tell::After(TELL_AGAIN - since),
        }
    }

    /// Returns how many are to be told now, and takes them for told.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        let notices = std::mem::take(&mut self.untold);
        if notices == 0 {
            return None;
        }
        self.told = Some(now);
        Some(notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_told_once_and_at_most_each_minute() {
        let mut cancelled = CancelledNotices::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((cancelled.add(0, start), cancelled.take(start)), (Tell::Arranged, None));
        assert_eq!((cancelled.add(3, start), cancelled.take(start)), (Tell::Now, Some(3)));
        assert_eq!(cancelled.add(2, at(20)), Tell::After(Duration::from_secs(40)));
        assert_eq!(cancelled.add(4, at(30)), Tell::Arranged);
        assert_eq!((cancelled.take(at(60)), cancelled.take(at(60))), (Some(6), None));
        assert_eq!(cancelled.add(1, at(121)), Tell::Now);
    }
}
