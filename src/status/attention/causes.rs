//! The words of the list: causes, how bad each is, and what to do about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::status::json;

/// Why somebody is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The mirror is another one, or its files are gone.
    MirrorHeld,
    /// The mirror's file system takes no file.
    DiskFault,
    /// Other data fills the disk.
    DiskHeld,
    /// The records cannot be read or written.
    RecordsFail,
    /// Files were deleted or forgotten before they were announced.
    EvictedUnannounced,
    /// The last scan found no way in.
    Unreachable,
    /// Scans of it end, and show nothing.
    BringsNothing,
    /// A lowered limit waits to be confirmed.
    WaitingLimit,
    /// Calls of the notify URL fail, and files wait for them.
    CallsFail,
    /// Files wait for their calls, and none is delivered.
    NotAnnounced,
    /// Periods did not come.
    MissingPeriods,
    /// Four periods have passed without a new file.
    NoNewFiles,
    /// A part of the server cannot be read.
    Failing,
    /// Listings were cut.
    CutListings,
    /// Files were tried and could not be taken.
    NotTaken,
    /// Files take long to become local.
    Late,
    /// Nothing is scanned, because the service was stopped.
    Stopped,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Data is lost, or will be, unless somebody acts.
    Critical,
    /// Somebody should act in the morning.
    Warning,
    /// Somebody should look within the week.
    Info,
}

impl Cause {
    /// All of them, the worst first.
    pub const ALL: [Self; 17] = [
        Self::MirrorHeld,
        Self::DiskFault,
        Self::DiskHeld,
        Self::RecordsFail,
        Self::EvictedUnannounced,
        Self::Unreachable,
        Self::BringsNothing,
        Self::WaitingLimit,
        Self::CallsFail,
        Self::NotAnnounced,
        Self::MissingPeriods,
        Self::NoNewFiles,
        Self::Failing,
        Self::CutListings,
        Self::NotTaken,
        Self::Late,
        Self::Stopped,
    ];

    /// The word for it, for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::MirrorHeld => "mirror_held",
            Self::DiskFault => "disk_fault",
            Self::DiskHeld => "disk_held",
            Self::RecordsFail => "records_fail",
            Self::EvictedUnannounced => "evicted_unannounced",
            Self::Unreachable => "unreachable",
            Self::BringsNothing => "brings_nothing",
            Self::WaitingLimit => "waiting_limit",
            Self::CallsFail => "calls_fail",
            Self::NotAnnounced => "not_announced",
            Self::MissingPeriods => "missing_periods",
            Self::NoNewFiles => "no_new_files",
            Self::Failing => "failing",
            Self::CutListings => "cut_listings",
            Self::NotTaken => "not_taken",
            Self::Late => "late",
            Self::Stopped => "stopped",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::MirrorHeld
            | Self::DiskFault
            | Self::DiskHeld
            | Self::RecordsFail
            | Self::EvictedUnannounced
            | Self::Unreachable
            | Self::BringsNothing => Level::Critical,
            Self::WaitingLimit
            | Self::CallsFail
            | Self::NotAnnounced
            | Self::MissingPeriods
            | Self::NoNewFiles
            | Self::CutListings
            | Self::NotTaken
            | Self::Stopped => Level::Warning,
            Self::Failing | Self::Late => Level::Info,
        }
    }

    /// A few words for people, which come after what it is about.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::MirrorHeld => "held",
            Self::DiskFault => "nothing can be stored",
            Self::DiskHeld => "downloads are held: other data fills the disk",
            Self::RecordsFail => "the records fail",
            Self::EvictedUnannounced => "files deleted before they were announced",
            Self::Unreachable => "unreachable",
            Self::BringsNothing => "brings nothing",
            Self::WaitingLimit => "a lowered limit is not confirmed",
            Self::CallsFail => "calls fail",
            Self::NotAnnounced => "files are not announced",
            Self::MissingPeriods => "periods missing",
            Self::NoNewFiles => "no new file for four periods",
            Self::Failing => "a part cannot be read",
            Self::CutListings => "listings are cut",
            Self::NotTaken => "files not taken yet",
            Self::Late => "files take long to become local",
            Self::Stopped => "the service is stopped: no server is scanned",
        }
    }

    /// What to do, where no reason says it more exactly.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::MirrorHeld => "mount the disk, or confirm the mirror as the reason says",
            Self::DiskFault => "repair the file system of the mirror; downloads go on by themselves",
            Self::DiskHeld => "free the disk or raise quota.max_used_percent; downloads go on by themselves",
            Self::RecordsFail => "free or repair the disk of records.path; a damaged file needs its backup",
            Self::EvictedUnannounced => {
                "make calls succeed, or the disk larger; see mrosync records --evicted"
            }
            Self::Unreachable => "try mrosync check; ask the operator of the server",
            Self::BringsNothing => "compare directories with what the server has; try mrosync check",
            Self::WaitingLimit => "confirm it with mrosync ctl reload --confirm NUMBER, or raise it again",
            Self::CallsFail => {
                "look at the notify host and notify.url; no call is lost while the disk has room"
            }
            Self::NotAnnounced => {
                "look whether the notify host answers; no call is lost while the disk has room"
            }
            Self::MissingPeriods | Self::NoNewFiles => {
                "ask the operator of the server whether it makes the files"
            }
            Self::Failing => "read the words of the server in the log; ask its operator",
            Self::CutListings => {
                "the server shows only a part of its directories: ask its operator to raise its limit"
            }
            Self::NotTaken => "each is tried again by itself; ask the operator of the server if it stays",
            Self::Late => "more connections or a larger max_rate, or a faster line",
            Self::Stopped => "mrosync ctl start",
        }
    }
}

/// A cause, and all that it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Why.
    pub cause: Cause,
    /// How bad it is.
    pub level: Level,
    /// What lies behind it, where that is known: needs of one cause with different reasons are different needs.
    pub reason: Option<Reason>,
    /// Cause and reason in a few words.
    pub title: String,
    /// What to do.
    pub next_step: String,
    /// Since when, for the one that holds longest.
    #[serde(with = "json::time")]
    pub since: DateTime<Utc>,
    /// What it holds for: the service, or servers in the configuration's order.
    pub items: Vec<Item>,
}

/// The service or a server that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// None for the service as a whole.
    pub server: Option<String>,
    /// Since when.
    #[serde(with = "json::time")]
    pub since: DateTime<Utc>,
    /// How many files, calls, periods or directories, where they are counted.
    pub count: Option<u64>,
    /// One sentence.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_cause_is_what_the_json_says_and_the_worst_come_first() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.word());
            assert_eq!(cause as usize, place);
        }
        assert!(Cause::ALL.iter().take(7).all(|cause| cause.level() == Level::Critical));
    }
}
