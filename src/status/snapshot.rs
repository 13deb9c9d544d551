//! The service at one moment, as its parts know it: numbers, times and lengths of time, and no text that was made of
//! them. What programs are shown of it is the affair of [`super::json`], what people are shown that of
//! [`super::table`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::attention::Need;
use super::json;
use crate::lateness::LatenessStatus;

/// The state of the whole service; the JSON of `ctl status --json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Between `start` and `stop`.
    pub running: bool,
    /// Of the process.
    #[serde(rename = "uptime_seconds", with = "json::tenths")]
    pub uptime: Duration,
    /// The mirror's file system.
    pub disk: DiskStatus,
    /// The calls of the notify URL.
    pub notify: NotifyStatus,
    /// Whether the mirror is the one of the records, and its files are there.
    #[serde(default)]
    pub mirror: MirrorStatus,
    /// What needs an operator, the worst first.
    #[serde(default)]
    pub attention: Vec<Need>,
    /// Whether the records work.
    #[serde(default)]
    pub records: RecordsStatus,
    /// One for each configured server, in the configuration's order.
    pub servers: Vec<ServerStatus>,
    /// What the process and its host use.
    pub process: ProcessStatus,
}

/// The disk guard's part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DiskStatus {
    /// As df counts it; none where it cannot be measured.
    pub used_percent: Option<f64>,
    /// The limit.
    pub max_used_percent: f64,
    /// The other limit, where there is one.
    pub max_bytes: Option<u64>,
    /// Downloaded files that are present, and partial files.
    pub mirror_bytes: u64,
    /// Since the process began.
    pub evicted_files: u64,
    /// Since the process began.
    pub evicted_bytes: u64,
    /// Since the records began.
    #[serde(default)]
    pub evicted_files_ever: u64,
    /// Since the records began.
    #[serde(default)]
    pub evicted_bytes_ever: u64,
    /// Downloads wait, because other data fills the disk.
    pub held: bool,
    /// Why no file can be stored whatever the room, such as a read-only file system; none while all can.
    #[serde(default)]
    pub fault: Option<String>,
    /// A lowered limit that does not take effect before it is confirmed, and what it would cost; none where none waits.
    #[serde(default)]
    pub waiting_limit: Option<String>,
}

/// The record keeper's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsStatus {
    /// Why they cannot be read or written; none while they can.
    pub fault: Option<String>,
}

/// The notifier's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyStatus {
    /// Files recorded and not announced yet.
    pub pending: u64,
    /// Since the process began.
    pub delivered: u64,
    /// Since the records began.
    #[serde(default)]
    pub delivered_ever: u64,
    /// Calls that failed since the process began; each is tried again.
    pub failed_attempts: u64,
    /// Calls given up since the process began: their files were evicted, deleted or forgotten before they could be
    /// announced.
    pub cancelled: u64,
    /// Calls that may be under way at a time, as of now.
    #[serde(default)]
    pub concurrency: u64,
    /// Why the last call that failed did; none before one did.
    #[serde(default)]
    pub last_failure: Option<String>,
}

/// Whether the mirror can be worked with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// Nothing is fetched, deleted or announced.
    pub held: bool,
    /// Why, and of which servers alone.
    pub holds: Vec<HoldStatus>,
}

/// Why nothing is done with files of the mirror until an operator has acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// Null where it is about all of them.
    pub server: Option<String>,
    /// `unmarked`, `another`, `gone`, `new_records` or `unusable`.
    pub kind: String,
    /// In words, with what to do.
    pub reason: String,
}

/// What the process and the host use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Memory of the host that is free for programs.
    pub host_available_memory_bytes: u64,
}

/// What a server's scanner is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Before `start` or after `stop`.
    #[default]
    Stopped,
    /// For the next scan.
    Waiting,
    /// Directories are listed.
    Scanning,
    /// At least one file is being fetched.
    Downloading,
    /// The last scan found no way in; the next one tries again.
    Unreachable,
}

impl ServerState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Waiting, Self::Scanning, Self::Downloading, Self::Unreachable];

    /// The word for it, for programs and people alike.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Scanning => "scanning",
            Self::Downloading => "downloading",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One server's scanner.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The operator's name of it.
    pub name: String,
    /// What it is doing.
    pub state: ServerState,
    /// An operator wants no scans of it.
    #[serde(default)]
    pub paused: bool,
    /// None before the first scan.
    #[serde(default, with = "json::optional_time")]
    pub last_scan_started: Option<DateTime<Utc>>,
    /// Length of the last finished scan.
    #[serde(default, rename = "last_scan_seconds", with = "json::optional_millis")]
    pub last_scan_took: Option<Duration>,
    /// Scans finished since the process began, failed ones included.
    pub scans: u64,
    /// Directories listed in the last scan.
    pub directories_seen: u64,
    /// Zips listed in the last scan.
    pub files_seen: u64,
    /// Since the process began.
    pub files_downloaded: u64,
    /// Since the process began.
    pub bytes_downloaded: u64,
    /// Zips listed and neither downloaded nor given up: waiting for their turn, their retry or room.
    pub pending_files: u64,
    /// The server's or our own words for what went wrong last; none once a scan went through without a fault.
    pub last_error: Option<String>,
    /// None while stopped or scanning.
    #[serde(default, with = "json::optional_time")]
    pub next_scan: Option<DateTime<Utc>>,
    /// Nothing is done now, because it lies outside of the server's windows.
    #[serde(default)]
    pub outside_windows: bool,
    /// Downloaded files that changed on the server later; not fetched again.
    pub changed_files: u64,
    /// Lines of the last scan's listings that could not be read, names refused included.
    pub lines_not_understood: u64,
    /// How its directories are listed, such as `CWD+LIST, TYPE A`; none before one was, and with SFTP.
    #[serde(default)]
    pub listing: Option<String>,
    /// Directories of the last scan whose listing the server cut, or whose number of entries looks so.
    pub cut_listings: u64,
    /// Zips of the last scan that were tried and could not be taken: cut, refused, or still being uploaded. Each is
    /// tried again, and all of them are among the pending ones.
    pub incomplete_files: u64,
    /// The first few of them.
    pub incomplete: Vec<IncompleteFile>,
    /// Its logins.
    pub connections: ConnectionStatus,
    /// Downloaded since midnight of the host's zone, by this process.
    pub files_today: u64,
    /// Their bytes.
    pub bytes_today: u64,
    /// Whether its files come in time.
    pub lateness: LatenessStatus,
}

/// A zip that was tried and could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncompleteFile {
    /// On the server.
    pub path: String,
    /// Why it was not taken the last time.
    pub reason: String,
    /// Tries in a row with the same size and time.
    pub tries: u32,
    /// Its first try.
    #[serde(with = "json::time")]
    pub since: DateTime<Utc>,
    /// Earlier where the server shows another size or time.
    #[serde(with = "json::time")]
    pub next_try: DateTime<Utc>,
}

/// The logins at one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Held now, at work or idle between two scans.
    pub in_use: u64,
    /// How many are used at most: as configured, or fewer where the server grants fewer.
    pub granted: u64,
}
