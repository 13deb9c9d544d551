//! Room that a server may use without asking for each file: where the disk is far from its limit, one question serves
//! many small files.

use std::time::{Duration, Instant};

/// The part of the room left that one server may use before it asks again. So many servers at once cannot use more
/// than there is.
const PART: u64 = 1024;
/// The most bytes that are used before the disk is measured again.
const MOST: u64 = 64 << 20;
/// How long it holds: others may fill the disk.
const HOLDS: Duration = Duration::from_secs(1);

/// Bytes that may be used until a moment.
#[derive(Debug, Default)]
pub struct Prepaid {
    left: u64,
    until: Option<Instant>,
}

impl Prepaid {
    /// `bytes` from now on.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { left: bytes, until: Some(Instant::now() + HOLDS) }
    }

    /// Takes `bytes` of it; false where they must be asked for.
    pub fn take(&mut self, bytes: u64) -> bool {
        let reservations = self.until.is_some_and(|until| Instant::now() < until);
        let fits = reservations && bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }
}

/// What may be allowed to a server while there is room for `room` more bytes.
#[must_use]
pub fn allowable(room: u64) -> u64 {
    (room / PART).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepaid_is_used_up_and_ends_in_time() {
        let mut prepaid = Prepaid::of(100);
        assert!(prepaid.take(60) && !prepaid.take(41) && prepaid.take(40) && !prepaid.take(1));
        let mut over = Prepaid { left: 100, until: Some(Instant::now()) };
        assert!(!over.take(0) && !Prepaid::default().take(0));
    }

    #[test]
    fn a_thousand_servers_are_not_allowed_more_than_there_is() {
        for room in [0, 1023, 1 << 20, 1 << 34, u64::MAX] {
            assert!(allowable(room).checked_mul(1024).is_some_and(|all| all <= room));
        }
        assert_eq!(allowable(u64::MAX), MOST);
    }
}
