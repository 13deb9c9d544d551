//! The counters that each server's scanner keeps, so that asking never waits for a part that hangs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::Notify;

use super::json;
use super::snapshot::{ServerState, ServerStatus};
use crate::base::file_names::FileNames;
use crate::base::names::{Printable, ServerName};
use crate::lateness::Lateness;

/// Scans that are remembered.
const SCANS: usize = 30;

/// The counters of one server, shared between its scanner and whoever asks.
#[derive(Debug)]
pub struct Progress {
    name: ServerName,
    status: Mutex<ServerStatus>,
    lateness: Lateness,
    amendments: AtomicU64,
    file_names: RwLock<FileNames>,
    scan_asked: Notify,
    paused: AtomicBool,
    scans: Mutex<EndedScans>,
}

/// A scan that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndedScan {
    /// When it began.
    #[serde(with = "json::optional_time")]
    pub started: Option<DateTime<Utc>>,
    /// How long it took.
    #[serde(rename = "took_seconds", with = "json::optional_millis")]
    pub took: Option<Duration>,
    /// Whether the server was reached.
    pub reached: bool,
    /// Zips listed.
    pub files_seen: u64,
    /// Zips downloaded since the scan before.
    pub files_downloaded: u64,
    /// What went wrong.
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
struct EndedScans {
    /// Zips downloaded up to the last of them.
    downloaded: u64,
    last: VecDeque<EndedScan>,
}

impl Progress {
    /// Which of its files are fetched, as configured now.
    pub fn fetches(&self, files: FileNames) {
        *self.file_names.write() = files;
    }

    /// Returns which of its files are fetched.
    #[must_use]
    pub fn file_names(&self) -> FileNames {
        self.file_names.read().clone()
    }

    /// The scan of which everything was said is kept among the last ones.
    pub fn keep_scan(&self) {
        let status = self.status.lock().clone();
        let mut scans = self.scans.lock();
        let reached = status.state != ServerState::Unreachable;
        let scan = EndedScan {
            started: status.last_scan_started,
            took: status.last_scan_took,
            reached,
            files_seen: if reached { status.files_seen } else { 0 },
            files_downloaded: status.files_downloaded.saturating_sub(scans.downloaded),
            fault: status.last_error.map(|error| Printable(&error).to_string()),
        };
        scans.downloaded = status.files_downloaded;
        if scans.last.len() >= SCANS {
            scans.last.pop_front();
        }
        scans.last.push_back(scan);
    }

    /// Returns the last scans, the newest first.
    #[must_use]
    pub fn ended_scans(&self) -> Vec<EndedScan> {
        self.scans.lock().last.iter().rev().cloned().collect()
    }

    /// An operator changed records: what the scanner remembers of them holds no longer.
    pub fn records_changed(&self) {
        self.amendments.fetch_add(1, Ordering::Release);
    }

    /// Returns how often that happened.
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
            file_names: RwLock::default(),
            scan_asked: Notify::new(),
            paused: AtomicBool::new(false),
            scans: Mutex::default(),
        }
    }

    /// An operator wants the next scan now; one that is under way is followed by it at once.
    pub fn ask_scan(&self) {
        self.scan_asked.notify_one();
    }

    /// Ends when an operator wants the next scan now.
    pub async fn scan_asked(&self) {
        self.scan_asked.notified().await;
    }

    /// An operator wants no scans of it, or wants them again.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Returns whether an operator wants no scans of it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// The server.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns whether its files come in time.
    #[must_use]
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Changes the counters.
    pub fn update(&self, change: impl FnOnce(&mut ServerStatus)) {
        change(&mut self.status.lock());
    }

    /// The counters as they stand. The last error may hold words of the server, and comes harmless.
    #[must_use]
    pub fn snapshot(&self) -> ServerStatus {
        let status = self.status.lock().clone();
        let (lateness, files_today, bytes_today) = self.lateness.status(Utc::now().timestamp_millis());
        let last_error = status.last_error.map(|error| Printable(&error).to_string());
        ServerStatus { files_today, bytes_today, lateness, last_error, paused: self.is_paused(), ..status }
    }

    /// A scan begins now. An unreachable server is called so until it answers.
    pub fn scan_started(&self) {
        self.update(|status| {
            status.last_scan_started = Some(Utc::now());
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
            status.last_scan_took = Some(took);
            status.state = state;
        });
        self.waits(wait);
    }

    /// The next scan begins after `wait`.
    pub fn waits(&self, wait: Duration) {
        let next = TimeDelta::from_std(wait).ok().map(|wait| Utc::now() + wait);
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
            status.next_scan = opens;
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
        Arc::clone(&self.0.read())
    }

    /// The server of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Progress>> {
        self.all().iter().find(|server| server.name() == name).cloned()
    }

    /// From now on it is these.
    pub fn replace(&self, servers: Vec<Arc<Progress>>) {
        *self.0.write() = servers.into();
    }
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

    fn progress() -> Progress {
        Progress::new(&ServerName::new("omc01").unwrap())
    }

    #[test]
    fn an_unreachable_server_is_called_so_until_it_answers() {
        let progress = progress();
        assert_eq!(progress.snapshot().state, ServerState::Stopped);
        progress.scan_started();
        assert_eq!(progress.snapshot().state, ServerState::Scanning);
        progress.scan_ended(Duration::from_secs(2), Duration::from_secs(60), ServerState::Unreachable);
        progress.scan_started();
        assert_eq!(progress.snapshot().state, ServerState::Unreachable);
        progress.scan_ended(Duration::from_secs(1), Duration::from_secs(60), ServerState::Waiting);
        let shown = progress.snapshot();
        assert_eq!((shown.state, shown.scans), (ServerState::Waiting, 2));
        assert_eq!(shown.last_scan_took, Some(Duration::from_secs(1)));
    }

    /// interface 20.19
    #[test]
    fn the_last_scans_are_kept_with_what_each_brought_and_no_more_than_some() {
        let progress = progress();
        for n in 0..=SCANS as u64 {
            progress.scan_started();
            progress.update(|status| {
                (status.files_seen, status.files_downloaded) = (7, status.files_downloaded + n)
            });
            progress.scan_ended(Duration::from_secs(1), Duration::ZERO, ServerState::Waiting);
            progress.keep_scan();
        }
        progress.scan_ended(Duration::from_secs(2), Duration::ZERO, ServerState::Unreachable);
        progress.update(|status| status.last_error = Some("no\u{1b}".to_owned()));
        progress.keep_scan();
        let scans = progress.ended_scans();
        assert_eq!(scans.len(), SCANS);
        assert_eq!(
            (scans[0].reached, scans[0].files_seen, scans[0].fault.as_deref()),
            (false, 0, Some("no\\u{1b}"))
        );
        assert_eq!((scans[1].files_downloaded, scans[1].files_seen), (SCANS as u64, 7));
    }

    #[test]
    fn the_next_scan_is_known_while_one_is_waited_for_and_never_else() {
        let progress = progress();
        progress.waits(Duration::from_secs(60));
        let wait = progress.snapshot().next_scan.unwrap() - Utc::now();
        assert!(wait > TimeDelta::seconds(30) && wait <= TimeDelta::seconds(60), "{wait}");
        progress.scan_started();
        assert_eq!(progress.snapshot().next_scan, None);
        // longer than there are times
        progress.waits(Duration::MAX);
        assert_eq!(progress.snapshot().next_scan, None);
        progress.waits(Duration::from_secs(60));
        progress.stopped();
        assert_eq!(progress.snapshot().next_scan, None);
    }

    #[test]
    fn a_closed_window_and_a_hold_leave_no_connection_and_say_why() {
        let progress = progress();
        let used = |progress: &Progress| progress.update(|status| status.connections.in_use = 4);
        let opens = Utc::now() + TimeDelta::hours(1);
        used(&progress);
        progress.window_closed(Some(opens));
        let shown = progress.snapshot();
        assert_eq!((shown.next_scan, shown.connections.in_use), (Some(opens), 0));
        assert!(shown.outside_windows && shown.state == ServerState::Waiting);
        progress.scan_started();
        assert!(!progress.snapshot().outside_windows);
        used(&progress);
        progress.held(Some("its files are gone".to_owned()));
        progress.held(None);
        let shown = progress.snapshot();
        assert_eq!((shown.next_scan, shown.connections.in_use), (None, 0));
        assert_eq!(shown.last_error.as_deref(), Some("its files are gone"), "also once all are held");
        progress.changed();
        assert_eq!(progress.snapshot().last_error, None);
    }

    #[test]
    fn a_reload_changes_whom_the_roster_knows() {
        let named = |name: &str| Arc::new(Progress::new(&ServerName::new(name).unwrap()));
        let roster = Roster::new(vec![named("a"), named("b")]);
        let before = roster.all();
        roster.replace(vec![named("c"), named("a")]);
        let names = |all: &[Arc<Progress>]| all.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            (names(&before), names(&roster.all())),
            (vec!["a".into(), "b".into()], vec!["c".into(), "a".into()])
        );
        assert!(roster.find("a").is_some() && roster.find("b").is_none());
    }
}
