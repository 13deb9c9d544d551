//! Facts that travel through the whole program: what a server says of a file, and what becomes of it.

use std::fmt;
use std::sync::Arc;

use chrono::Datelike;

use crate::base::names::{RemoteName, RemotePath, ServerName};

/// What a server says of a file in a listing. Shown as `123 bytes of 2026-11-23 03:00:05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FileFacts {
    /// Size in bytes, where the listing has one.
    pub size: Option<u64>,
    /// Time of the last change, where the listing has one that could be read.
    pub modified: Option<Modified>,
}

impl FileFacts {
    /// Returns whether `self` and `other` describe the same content as far as can be told: what both know is
    /// equal.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let sizes = self.size.zip(other.size).is_none_or(|(a, b)| a == b);
        sizes && self.modified.zip(other.modified).is_none_or(|(a, b)| a.agrees_with(b))
    }

    /// Returns whether both are complete and equal, which is what resuming a download asks for.
    #[must_use]
    pub fn surely_equals(&self, other: &Self) -> bool {
        self.size.is_some() && self.modified.is_some() && self == other
    }
}

impl fmt::Display for FileFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Some(size) => write!(f, "{size} bytes")?,
            None => f.write_str("unknown size")?,
        }
        let time =
            self.modified.and_then(|modified| chrono::DateTime::from_timestamp(modified.unix_seconds, 0));
        time.map_or(Ok(()), |time| write!(f, " of {}", time.format("%Y-%m-%d %H:%M:%S")))
    }
}

/// Zones lie at most so far apart that a server may be set from one to the other: a change of its zone.
const LARGEST_SHIFT: i64 = 14 * 3600;
/// Zones differ by whole quarters of an hour.
const ZONE_STEP: i64 = 900;
const DAY_SECONDS: i64 = 86_400;

/// A server's time of a file. Compared with other times of the same file only, never with our clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modified {
    /// Seconds since 1970-01-01T00:00:00, read as UTC.
    pub unix_seconds: i64,
    /// How it was said, and so how exact it is.
    pub source: TimeSource,
}

/// How a time is told, whatever protocol tells it. UTC and a server's own local time are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeSource {
    /// UTC, to the second: the `modify` fact of MLSD (RFC 3659 section 7.5.3), SFTP's time.
    Utc = 1,
    /// Local time to the second: LIST with seconds (`2026-11-23 03:00:05`).
    LocalSecond = 2,
    /// Local time to the minute: LIST with minutes (`Nov 23 03:00`).
    LocalMinute = 3,
    /// The local day: LIST with the day alone (`Nov 23 2025`), as Unix shows files older than half a year.
    LocalDay = 4,
}

impl TimeSource {
    /// The number that the records keep.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// The source of a stored number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Utc, Self::LocalSecond, Self::LocalMinute, Self::LocalDay]
            .into_iter()
            .find(|source| source.code() == code)
    }

    fn seconds(self) -> i64 {
        match self {
            Self::Utc | Self::LocalSecond => 1,
            Self::LocalMinute => 60,
            Self::LocalDay => 86_400,
        }
    }
}

impl Modified {
    /// Returns whether the file was changed before `unix_seconds`, however much of the time was left out.
    #[must_use]
    pub fn is_surely_before(self, unix_seconds: i64) -> bool {
        self.unix_seconds.saturating_add(self.source.seconds() - 1) < unix_seconds
    }

    /// Returns whether a time of day is told.
    #[must_use]
    pub fn has_time(self) -> bool {
        self.source != TimeSource::LocalDay
    }

    /// By how many seconds `later` is shown later, where that is what daylight saving or another zone of the server makes
    /// of the same time: whole quarters of an hour. Of times to the day, one day.
    #[must_use]
    pub fn shift_to(self, later: Self) -> Option<i64> {
        let by = later.unix_seconds.saturating_sub(self.unix_seconds);
        let is_shift = match self.source {
            TimeSource::LocalDay => by.abs() == DAY_SECONDS,
            _ => by != 0 && by % ZONE_STEP == 0 && by.abs() <= LARGEST_SHIFT,
        };
        (is_shift && self.source == later.source).then_some(by)
    }

    /// Equal as far as the coarser of the two tells; times of different commands always agree. LIST shows no year with a
    /// time of day, so that one may be guessed: a year more or less agrees too.
    #[must_use]
    pub fn agrees_with(self, other: Self) -> bool {
        if (self.source == TimeSource::Utc) != (other.source == TimeSource::Utc) {
            return true;
        }
        let grain = self.source.seconds().max(other.source.seconds());
        let is_equal = |other: i64| self.unix_seconds.div_euclid(grain) == other.div_euclid(grain);
        let may_be_guessed =
            |time: Self| matches!(time.source, TimeSource::LocalMinute | TimeSource::LocalSecond);
        is_equal(other.unix_seconds)
            || ((may_be_guessed(self) || may_be_guessed(other))
                && [-1, 1].into_iter().filter_map(|years| other.in_another_year(years)).any(is_equal))
    }

    /// The same day and time of day, so many years later.
    fn in_another_year(self, years: i32) -> Option<i64> {
        let time = chrono::DateTime::from_timestamp(self.unix_seconds, 0)?;
        Some(time.with_year(time.year().checked_add(years)?)?.timestamp())
    }
}

/// A zip that is safe on disk under its final name: what the records keep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The server it came from.
    pub server: ServerName,
    /// The directory on the server.
    pub directory: Arc<RemotePath>,
    /// The name in that directory.
    pub name: RemoteName,
    /// What the listing said of it.
    pub facts: FileFacts,
    /// Bytes stored.
    pub size: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub downloaded_at: i64,
    /// It is no zip archive, and was taken as it is.
    pub no_archive: bool,
    /// What becomes of an earlier record of the path, which is one of no archive.
    pub earlier: Earlier,
}

impl Download {
    /// Returns what is put on record of a file that was never fetched. When that is, whoever records it says.
    #[must_use]
    pub fn marked(
        server: &ServerName,
        directory: Arc<RemotePath>,
        name: RemoteName,
        facts: FileFacts,
        size: u64,
    ) -> Self {
        let (server, earlier) = (server.clone(), Earlier::Stays);
        Self { server, directory, name, facts, size, downloaded_at: 0, no_archive: false, earlier }
    }
}

/// What a download means for the record of an earlier one of the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Earlier {
    /// It stays: what was downloaded once is not downloaded again.
    #[default]
    Stays,
    /// It gives way, and the new content is announced.
    GivesWay,
    /// The content is the same as before: only what the server shows of it is new.
    IsTheSame,
}

/// What the records know of a listed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// Never downloaded.
    New,
    /// Downloaded, and listed as it was then or as it was reported changed.
    Known,
    /// Downloaded, and listed as before but for its time, which differs as a change of the server's zone or of daylight
    /// saving makes it. Answered so until [`crate::records::RecordStore::settle_shifts`] says what it was.
    Shifted {
        /// What the server showed before.
        was: FileFacts,
        /// Seconds.
        by: i64,
    },
    /// Downloaded, and listed otherwise than before. Each change is answered so once, ever.
    Changed {
        /// What the server showed before.
        was: FileFacts,
    },
    /// Downloaded though it was no archive, and listed otherwise than before: it is to be downloaded again. Answered so
    /// until that is done.
    Outdated {
        /// What the server showed before.
        was: FileFacts,
        /// Whether that content is still in the mirror.
        is_present: bool,
    },
}

/// A known file that is listed with another time, as of which [`Knowledge::Shifted`] was answered.
#[derive(Debug, Clone)]
pub struct Shifted {
    /// The directory on the server.
    pub directory: Arc<RemotePath>,
    /// The name in it.
    pub name: RemoteName,
    /// What the server shows now.
    pub facts: FileFacts,
    /// It is the server's zone that changed, and not the file.
    pub is_zone: bool,
}

/// A recorded file that is to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its record.
    pub id: i64,
    /// Where the file comes from.
    pub server: ServerName,
    /// Its path on the server.
    pub path: RemotePath,
    /// Calls that failed so far.
    pub attempts: u32,
    /// When it became local, in milliseconds since 1970-01-01T00:00:00Z.
    pub downloaded_at: i64,
    /// In bytes.
    pub size: u64,
}

impl Notice {
    /// Returns the file as receivers are told of it, and as it lies below the root of the mirror: `/omc01/xxx/a.zip`.
    #[must_use]
    pub fn file(&self) -> String {
        format!("/{}{}", self.server, self.path.text())
    }
}

/// The notices of which no call was made yet, and those that are to be called again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// Never tried, recorded longest ago first.
    pub fresh: Vec<Notice>,
    /// Tried, and due again; due longest first.
    pub tried: Vec<Notice>,
    /// When the next one that was tried is due, in milliseconds since 1970-01-01T00:00:00Z.
    pub next_at: Option<i64>,
}

/// A notice that is to be called again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Postponed {
    /// Its record.
    pub id: i64,
    /// Calls that failed so far; at least 1, or it would count as never tried.
    pub attempts: u32,
    /// When it is due, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_to_the_coarser_grain_and_never_across_commands() {
        let at = |unix_seconds, source| Modified { unix_seconds, source };
        assert!(at(125, TimeSource::LocalMinute).agrees_with(at(120, TimeSource::LocalSecond)));
        assert!(!at(60, TimeSource::LocalMinute).agrees_with(at(120, TimeSource::LocalMinute)));
        assert!(at(90_000, TimeSource::LocalDay).agrees_with(at(86_460, TimeSource::LocalMinute)));
        assert!(at(1, TimeSource::Utc).agrees_with(at(90_000, TimeSource::LocalMinute)));
        assert!(!at(1, TimeSource::Utc).agrees_with(at(2, TimeSource::Utc)));
    }

    /// interface 10.23
    #[test]
    fn a_year_that_was_guessed_wrong_is_no_other_time() {
        let at = |time: &str, source| Modified {
            unix_seconds: time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp(),
            source,
        };
        let guessed = at("2025-12-10T12:00:00Z", TimeSource::LocalMinute);
        assert!(guessed.agrees_with(at("2026-12-10T12:00:00Z", TimeSource::LocalMinute)));
        assert!(at("2026-12-10T00:00:00Z", TimeSource::LocalDay).agrees_with(guessed));
        assert!(!guessed.agrees_with(at("2026-12-10T12:01:00Z", TimeSource::LocalMinute)));
        assert!(!guessed.agrees_with(at("2027-12-10T12:00:00Z", TimeSource::LocalMinute)));
        let (day, year_later) = ("2025-12-10T00:00:00Z", "2026-12-10T00:00:00Z");
        assert!(!at(day, TimeSource::LocalDay).agrees_with(at(year_later, TimeSource::LocalDay)));
        assert!(!at(day, TimeSource::Utc).agrees_with(at(year_later, TimeSource::Utc)));
    }

    #[test]
    fn a_shift_is_what_zones_and_daylight_saving_make_of_a_time() {
        let at = |unix_seconds, source| Modified { unix_seconds, source };
        let shift = |source, by| at(1_000_000, source).shift_to(at(1_000_000 + by, source));
        for by in [3600, -3600, 1800, 5 * 3600 + 2700, -14 * 3600] {
            assert_eq!(shift(TimeSource::Utc, by), Some(by));
            assert_eq!(shift(TimeSource::LocalMinute, by), Some(by));
        }
        for by in [0, 60, 3601, 86_400, 15 * 3600] {
            assert_eq!(shift(TimeSource::LocalMinute, by), None, "{by}");
        }
        assert_eq!(
            (shift(TimeSource::LocalDay, -86_400), shift(TimeSource::LocalDay, 3600)),
            (Some(-86_400), None)
        );
        assert_eq!(at(0, TimeSource::Utc).shift_to(at(3600, TimeSource::LocalMinute)), None);
    }
}
