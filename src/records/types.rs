//! The words of the records, whichever store keeps them.

use crate::base::facts::{Download, Modified, Postponed};
use crate::base::names::{RemotePath, ServerName};

/// Most records that are changed in one transaction, so that downloads and notices never wait for long.
pub const BATCH: usize = 500;

/// Sums over all records. Reading them costs the same however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files downloaded and, as far as is known, still in the mirror.
    pub present_files: u64,
    /// Their size in bytes.
    pub present_bytes: u64,
    /// Files evicted, or found deleted by hand.
    pub evicted_files: u64,
    /// Their size in bytes.
    pub evicted_bytes: u64,
    /// Notices still to be delivered.
    pub pending_notices: u64,
    /// Notices delivered.
    pub delivered_notices: u64,
    /// Notices that were cancelled because the file was evicted first.
    pub cancelled_notices: u64,
    /// Changes of downloaded files that were noticed on servers.
    pub changes: u64,
}

impl Totals {
    /// Returns how many files were ever downloaded.
    #[must_use]
    pub fn downloads(&self) -> u64 {
        self.present_files + self.evicted_files
    }
}

/// One download, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its record; the lower, the earlier it was downloaded.
    pub id: i64,
    /// Where it comes from.
    pub server: ServerName,
    /// Its path on the server.
    pub path: RemotePath,
    /// Bytes stored.
    pub size: u64,
    /// The server's time of it when it was downloaded.
    pub modified: Option<Modified>,
    /// In unix milliseconds, as are the others.
    pub downloaded_at: i64,
    /// When its notice was delivered.
    pub notified_at: Option<i64>,
    /// When it was deleted from the mirror.
    pub evicted_at: Option<i64>,
}

/// A file of the mirror, as far as the records know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentFile {
    /// Its record; the lower, the earlier it was downloaded.
    pub id: i64,
    /// Where it comes from, which need not be configured any more.
    pub server: ServerName,
    /// Its path on the server; the text is the local path below `{root}/{server}`.
    pub path: RemotePath,
    /// Bytes stored.
    pub size: u64,
    /// Whether its notice was delivered.
    pub announced: bool,
}

/// Which mirror the records belong to, and some of the files that should lie in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedMirror {
    /// The marker of the mirror that they belong to, where they know one.
    pub marker: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// Some present files: those downloaded first and those downloaded last, each once, oldest first.
    pub sample: Vec<PresentFile>,
}

/// What is written with one sync of the disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writes<'a> {
    /// To be recorded.
    pub downloads: &'a [Download],
    /// Records whose notices were delivered.
    pub delivered: &'a [i64],
    /// When, in unix milliseconds.
    pub delivered_at: i64,
    /// Notices that are to be called again, within 10 minutes.
    pub postponed: &'a [Postponed],
}

impl Writes<'_> {
    /// Describes them, for the error where they fail.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match (self.downloads.is_empty(), self.delivered.is_empty() && self.postponed.is_empty()) {
            (false, true) => "record downloads",
            (true, false) => "keep the outcome of calls",
            _ => "record downloads and deliveries",
        }
    }
}

/// What came of [`Writes`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Of each download, in their order.
    pub recorded: Vec<Recorded>,
    /// Notices newly marked as delivered.
    pub delivered: usize,
}

/// What became of a [`Download`] that was to be recorded. Ids ascend in the order of download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is on record, and its notice waits to be delivered.
    New {
        /// Its record.
        id: i64,
    },
    /// Its path had been on record before; nothing was changed.
    Already {
        /// The earlier record.
        id: i64,
    },
}

impl Recorded {
    /// Returns its record, new or not.
    #[must_use]
    pub fn id(self) -> i64 {
        match self {
            Self::New { id } | Self::Already { id } => id,
        }
    }
}
