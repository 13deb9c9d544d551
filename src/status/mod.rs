//! What `status` shows: counters that each part keeps for itself, so that asking never waits for a part that hangs.

pub mod metrics;
pub mod progress_line;
pub mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::base::names::{Printable, ServerName};
use crate::lateness::{Lateness, LatenessStatus};

/// The state of the whole service; the JSON of `ctl status --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Between `start` and `stop`.
    pub running: bool,
    /// Of the process.
    pub uptime_seconds: f64,
    /// The mirror's file system.
    pub disk: DiskStatus,
    /// The calls of the notify URL.
    pub notify: NotifyStatus,
    /// Whether the mirror is the one of the records, and its files are there.
    #[serde(default)]
    pub mirror: MirrorStatus,
    /// One for each configured server, in the configuration's order.
    pub servers: Vec<ServerStatus>,
    /// What the process and its host use.
    pub process: ProcessStatus,
}

/// The disk guard's part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DiskStatus {
    /// As df counts it; null where it cannot be measured.
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
    /// Downloads wait, because other data fills the disk.
    pub held: bool,
    /// Why no file can be stored whatever the room, such as a read-only file system; null while all can.
    #[serde(default)]
    pub fault: Option<String>,
}

/// The notifier's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyStatus {
    /// Files recorded and not announced yet.
    pub pending: u64,
    /// Since the process began.
    pub delivered: u64,
    /// Calls that failed since the process began; each is tried again.
    pub failed_attempts: u64,
    /// Calls given up since the process began: their files were evicted, deleted or forgotten before they could be
    /// announced.
    pub cancelled: u64,
    /// Calls that may be under way at a time, as of now.
    #[serde(default)]
    pub concurrency: u64,
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

/// One server's scanner.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The operator's name of it.
    pub name: String,
    /// What it is doing.
    pub state: ServerState,
    /// RFC 3339, null before the first scan.
    pub last_scan_started: Option<String>,
    /// Length of the last finished scan.
    pub last_scan_seconds: Option<f64>,
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
    /// The server's or our own words for what went wrong last; null once a scan went through without a fault.
    pub last_error: Option<String>,
    /// RFC 3339, null while stopped or scanning.
    pub next_scan: Option<String>,
    /// Nothing is done now, because it lies outside of the server's windows.
    #[serde(default)]
    pub outside_windows: bool,
    /// Downloaded files that changed on the server later; not fetched again.
    pub changed_files: u64,
    /// Lines of the last scan's listings that could not be read, names refused included.
    pub lines_not_understood: u64,
    /// How its directories are listed, such as `CWD+LIST, TYPE A`; null before one was, and with SFTP.
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
    /// RFC 3339: its first try.
    pub since: String,
    /// RFC 3339; earlier where the server shows another size or time.
    pub next_try: String,
}

/// The logins at one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Held now, at work or idle between two scans.
    pub in_use: u64,
    /// How many are used at most: as configured, or fewer where the server grants fewer.
    pub granted: u64,
}

/// The counters of one server, shared between its scanner and whoever asks.
#[derive(Debug)]
pub struct Progress {
    name: ServerName,
    status: Mutex<ServerStatus>,
    lateness: Lateness,
    amendments: AtomicU64,
}

impl Progress {
    /// An operator changed records: what the scanner remembers of them holds no longer.
    pub fn records_changed(&self) {
        self.amendments.fetch_add(1, Ordering::Release);
    }

    /// How often that happened.
    #[must_use]
    pub fn amendments(&self) -> u64 {
        self.amendments.load(Ordering::Acquire)
    }

    /// A scanner that was never started.
    #[must_use]
    pub fn new(name: &ServerName) -> Self {
        let status = ServerStatus { name: name.to_string(), ..ServerStatus::default() };
        Self {
            name: name.clone(),
            status: Mutex::new(status),
            lateness: Lateness::default(),
            amendments: AtomicU64::new(0),
        }
    }

    /// The server.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether its files come in time.
    #[must_use]
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Changes the counters.
    pub fn update(&self, change: impl FnOnce(&mut ServerStatus)) {
        // counters stay true after a panic elsewhere
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The counters as they stand. The last error may hold words of the server, and comes harmless.
    #[must_use]
    pub fn snapshot(&self) -> ServerStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (lateness, files_today, bytes_today) = self.lateness.status(Utc::now().timestamp_millis());
        let last_error = status.last_error.map(|error| Printable(&error).to_string());
        ServerStatus { files_today, bytes_today, lateness, last_error, ..status }
    }

    /// A scan begins now. An unreachable server is called so until it answers.
    pub fn scan_started(&self) {
        self.update(|status| {
            status.last_scan_started = Some(rfc3339(Utc::now()));
            status.next_scan = None;
            status.outside_windows = false;
            if status.state != ServerState::Unreachable {
                status.state = ServerState::Scanning;
            }
        });
    }

    /// A scan ended; the next one begins after `wait`.
    pub fn scan_ended(&self, took: Duration, wait: Duration, state: ServerState) {
        self.update(|status| {
            status.scans += 1;
            status.last_scan_seconds = Some((took.as_secs_f64() * 1000.0).round() / 1000.0);
            status.state = state;
        });
        self.waits(wait);
    }

    /// The next scan begins after `wait`.
    pub fn waits(&self, wait: Duration) {
        let next = chrono::TimeDelta::from_std(wait).ok().map(|wait| rfc3339(Utc::now() + wait));
        self.update(|status| status.next_scan = next);
    }

    /// Other settings hold from now on: what went wrong with those of before says nothing of them.
    pub fn changed(&self) {
        self.update(|status| status.last_error = None);
    }

    /// Its scans wait for its files in the mirror; `alone` says why where it is about this server and no other.
    pub fn held(&self, alone: Option<String>) {
        self.update(|status| {
            status.state = ServerState::Waiting;
            status.next_scan = None;
            status.connections.in_use = 0;
            if alone.is_some() {
                status.last_error = alone;
            }
        });
    }

    /// The server's window is closed, until `opens` where that ever comes. Nothing is connected to it.
    pub fn window_closed(&self, opens: Option<DateTime<Utc>>) {
        self.update(|status| {
            status.state = ServerState::Waiting;
            status.outside_windows = true;
            status.next_scan = opens.map(rfc3339);
            status.connections.in_use = 0;
        });
    }

    /// The exit flag was raised and everything has ended.
    pub fn stopped(&self) {
        self.update(|status| {
            status.state = ServerState::Stopped;
            status.outside_windows = false;
            status.next_scan = None;
            status.connections.in_use = 0;
        });
    }
}

/// The servers' counters, in the configuration's order, which a reload may change.
#[derive(Debug, Default)]
pub struct Roster(RwLock<Arc<[Arc<Progress>]>>);

impl Roster {
    /// These servers.
    #[must_use]
    pub fn new(servers: Vec<Arc<Progress>>) -> Self {
        Self(RwLock::new(servers.into()))
    }

    /// All of them as of now.
    #[must_use]
    pub fn all(&self) -> Arc<[Arc<Progress>]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Progress>> {
        self.all().iter().find(|server| server.name() == name).cloned()
    }

    /// From now on it is these.
    pub fn replace(&self, servers: Vec<Arc<Progress>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = servers.into();
    }
}

/// A time as the interface shows it, to the millisecond.
#[must_use]
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_harmless_whatever_the_server_said() {
        let progress = Progress::new(&ServerName::new("omc01").unwrap());
        progress
            .update(|status| status.last_error = Some("/a: first line: \u{1b}[2J\u{9b}\u{202e}".to_owned()));
        let shown = progress.snapshot().last_error;
        assert_eq!(shown.as_deref(), Some("/a: first line: \\u{1b}[2J\\u{9b}\\u{202e}"));
    }
}
