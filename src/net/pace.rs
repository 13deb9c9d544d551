//! The lowest useful speed: a transfer that is never silent for long, and yet gets nowhere, is given up.

use std::time::Duration;

use super::error::NetError;
use super::rate::Limit;

/// The speed is averaged over so many times the timeout: a pause that the timeout allows leaves half of the time to
/// make up for it.
const WINDOW: u32 = 2;

/// What one server's transfers are held to.
#[derive(Debug, Clone)]
pub(crate) struct Speed {
    /// Bytes per second; 0 is no limit.
    pub(crate) least: u64,
    /// The configured timeout.
    pub(crate) timeout: Duration,
    /// What they may take.
    pub(crate) limit: Limit,
}

/// The speed of one transfer. Only the time that is spent waiting for the server counts: what our own disk takes is
/// not the server's fault.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(speed: &Speed) -> Self {
        Self { speed: speed.clone(), waited: Duration::ZERO, bytes: 0 }
    }

    /// Notes that the server was waited for, and what came then. Not to be asked of the end: whatever is whole is
    /// not too slow.
    ///
    /// # Errors
    ///
    /// [`NetError::TooSlow`] at the end of a window in which too little came.
    pub(crate) fn took(
        &mut self,
        step: &'static str,
        waited: Duration,
        bytes: usize,
    ) -> Result<(), NetError> {
        self.waited += waited;
        self.bytes += bytes as u64;
        let window = self.speed.timeout.saturating_mul(WINDOW);
        if self.waited < window {
            return Ok(());
        }
        let (bytes, over, least) = (self.bytes, self.waited, self.speed.least);
        if (bytes as f64) < least as f64 * over.as_secs_f64() {
            return Err(NetError::TooSlow { step, bytes, over, least });
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(least: u64, timeout: u64) -> Pace {
        let timeout = Duration::from_secs(timeout);
        Pace::new(&Speed { least, timeout, limit: Limit::default() })
    }

    fn receive(pace: &mut Pace, bytes: usize, after: u64) -> Result<(), NetError> {
        pace.took("RETR", Duration::from_secs(after), bytes)
    }

    #[test]
    fn a_trickle_is_given_up_at_the_end_of_the_window() {
        let mut pace = pace(100, 30);
        for _ in 0..2 {
            receive(&mut pace, 1, 29).unwrap();
        }
        let error = receive(&mut pace, 1, 29).unwrap_err();
        assert_eq!(
            error.to_string(),
            "RETR: too slow: 3 bytes in 1m 27s, below min_speed of 100 bytes a second"
        );
    }

    #[test]
    fn a_pause_within_the_timeout_is_made_up_for_and_every_window_counts_anew() {
        let mut pace = pace(100, 30);
        receive(&mut pace, 0, 29).unwrap();
        receive(&mut pace, 6000, 29).unwrap();
        receive(&mut pace, 1_000_000, 2).unwrap();
        receive(&mut pace, 100, 30).unwrap();
        assert!(receive(&mut pace, 100, 30).is_err(), "the fast window before does not count");
    }

    #[test]
    fn zero_is_no_limit() {
        let mut pace = pace(0, 30);
        for _ in 0..10 {
            receive(&mut pace, 0, 29).unwrap();
        }
    }
}
