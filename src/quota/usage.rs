//! How full the file system of the mirror is.

use std::time::Instant;

/// Bytes of a file system as df counts them: blocks reserved for root are neither used nor available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Taken, by whomever.
    pub used: u64,
    /// Free for a user other than root.
    pub available: u64,
}

impl Usage {
    /// used / (used + available), in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        match self.used.saturating_add(self.available) {
            0 => 0.0,
            #[allow(clippy::cast_precision_loss)] // a percentage of whole disks
            total => self.used as f64 * 100.0 / total as f64,
        }
    }
}

/// Why a file system takes no new file, whatever room it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiskFault {
    /// Mounted so, or turned so by the kernel after an error.
    #[error("the file system of the mirror is read-only")]
    ReadOnly,
    /// As many files as it can hold.
    #[error("the file system of the mirror has no inodes left")]
    NoInodes,
}

/// What was measured of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How full it is.
    pub usage: Usage,
    /// What else keeps files away.
    pub fault: Option<DiskFault>,
    /// When that was seen: of two that measure beside each other, the later one knows better.
    pub at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_system_is_not_full() {
        assert!(Usage { used: 0, available: 0 }.percent() < f64::EPSILON);
    }
}
