//! What must go, and what may come: pure arithmetic.

use super::usage::Usage;
use crate::config::QuotaSettings;

/// What is measured and promised at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The file system.
    pub usage: Usage,
    /// Downloaded files that are present, and partial files.
    pub mirror: u64,
    /// Promised to downloads under way and not written yet.
    pub reserved: u64,
}

/// Bytes that must be freed before `wanted` more bytes fit within both limits; 0 when they fit.
#[must_use]
pub fn shortage(limits: &QuotaSettings, load: &Load, wanted: u64) -> u64 {
    shortages(limits, load, wanted).into_iter().max().unwrap_or(0)
}

/// The same of each limit: of the file system, and of the mirror itself.
#[must_use]
pub fn shortages(limits: &QuotaSettings, load: &Load, wanted: u64) -> [u64; 2] {
    let coming = load.reserved.saturating_add(wanted);
    let of_disk = load.usage.used.saturating_add(coming).saturating_sub(disk_limit(limits, &load.usage));
    let of_mirror = limits.max_bytes.map_or(0, |max| load.mirror.saturating_add(coming).saturating_sub(max));
    [of_disk, of_mirror]
}

/// Bytes that may come before either limit is reached.
#[must_use]
pub fn room(limits: &QuotaSettings, load: &Load) -> u64 {
    let on_disk = disk_limit(limits, &load.usage).saturating_sub(load.usage.used);
    let in_mirror = limits.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(load.mirror));
    on_disk.min(in_mirror).saturating_sub(load.reserved)
}

/// The most bytes that may be used on the file system.
fn disk_limit(limits: &QuotaSettings, usage: &Usage) -> u64 {
    let total = usage.used.saturating_add(usage.available);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let limit = (total as f64 * limits.max_used_percent / 100.0) as u64;
    limit.min(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_used_percent: f64, max_bytes: Option<u64>) -> QuotaSettings {
        QuotaSettings { max_used_percent, max_bytes }
    }

    fn load(used: u64, available: u64, mirror: u64, reserved: u64) -> Load {
        Load { usage: Usage { used, available }, mirror, reserved }
    }

    #[test]
    fn nothing_goes_at_the_limit_and_the_excess_goes_above_it() {
        let sixty = limits(60.0, None);
        assert_eq!(shortage(&sixty, &load(600, 400, 0, 0), 0), 0);
        assert_eq!(shortage(&sixty, &load(601, 399, 0, 0), 0), 1);
        assert_eq!(shortage(&sixty, &load(1000, 0, 0, 0), 0), 400);
    }

    #[test]
    fn a_download_needs_room_beside_those_under_way() {
        let sixty = limits(60.0, None);
        assert_eq!(shortage(&sixty, &load(500, 500, 0, 60), 40), 0);
        assert_eq!(shortage(&sixty, &load(500, 500, 0, 60), 41), 1);
    }

    /// interface 5.2
    #[test]
    fn whichever_limit_is_reached_first_holds() {
        let both = limits(60.0, Some(100));
        assert_eq!(shortage(&both, &load(0, 1000, 100, 0), 30), 30);
        assert_eq!(shortage(&both, &load(650, 350, 100, 0), 30), 80);
    }

    #[test]
    fn the_room_is_what_still_comes_without_a_shortage() {
        for (max_bytes, used, mirror, reserved) in [
            (None, 500, 0, 60),
            (Some(100), 0, 30, 5),
            (Some(100), 590, 30, 5),
            (None, 700, 0, 0),
            (Some(9), 0, 10, 0),
        ] {
            let (limits, load) = (limits(60.0, max_bytes), load(used, 1000 - used, mirror, reserved));
            let fits = room(&limits, &load);
            assert!(fits == 0 || shortage(&limits, &load, fits) == 0);
            assert!(shortage(&limits, &load, fits + 1) > 0);
        }
    }

    #[test]
    fn absurd_numbers_saturate() {
        let both = limits(100.0, Some(u64::MAX));
        assert_eq!(shortage(&both, &load(u64::MAX, 0, 0, 0), u64::MAX), 0);
        assert!(shortage(&limits(0.5, None), &load(u64::MAX / 2, 0, 0, 0), 0) > 0);
    }
}
