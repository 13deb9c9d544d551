//! One scan of one server: the whole tree is listed, and what is new is fetched meanwhile.
//!
//! The server's connections work as lanes beside each other, each on one job at a time with one session, so that
//! no lane ever waits for a second connection while it holds one. Dropping the scan at any point leaves partial
//! files and nothing else; files that are being stored go on by themselves.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::explore::explore;
use super::jobs::{DirectoryJob, Job, Jobs};
use super::obtain::obtain;
use super::server::Server;
use crate::facts::FileFacts;
use crate::ftp::{Blame, FtpError, Session};
use crate::names::RemotePath;
use crate::pulse;
use crate::status::ServerState;

/// A job is given to another connection this often, when the one it was on breaks.
const MAX_TRIES: u32 = 2;
/// From this many failures on with the same size and time, an unfinished file is no longer taken for an upload.
const UNFINISHED_TRIES: u32 = 4;
/// Files received and not recorded yet. Bounds open files, and the work that a stop waits for.
const MAX_PUBLISHING: usize = 64;

/// What a scan found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Directories listed.
    pub directories: u64,
    /// Directories that could not be listed, or not completely.
    pub failed_directories: u64,
    /// Zips listed.
    pub files: u64,
    /// New zips that could not be fetched and will be tried again.
    pub failed_files: u64,
    /// New zips fetched.
    pub fetched: u64,
    /// New zips that wait for their retry, for room, or for a second look.
    pub waiting: u64,
    /// Lines that no parser understood, and names that were refused.
    pub not_understood: u64,
    /// There is more to fetch than one scan takes.
    pub overflowed: bool,
}

/// A scan in progress.
pub(super) struct Scan<'s> {
    pub(super) server: &'s Server,
    pub(super) jobs: Jobs,
    pub(super) tally: RefCell<Tally>,
    pub(super) publishing: Arc<Semaphore>,
    /// Sessions in use or being made.
    sessions: Cell<usize>,
    /// Transfers under way, for the state that `status` shows.
    transfers: Cell<usize>,
    /// One login at a time until the first has succeeded: a refused password is tried once a scan, not four times.
    login: Semaphore,
    logged_in: Cell<bool>,
    fatal: RefCell<Option<FtpError>>,
}

/// Scans `server` once.
///
/// # Errors
///
/// When there is no way in, or the last connection breaks and cannot be replaced. What was finished until then
/// stays finished.
pub async fn scan(server: &Server) -> Result<Tally, FtpError> {
    let scan = Scan {
        server,
        jobs: Jobs::default(),
        tally: RefCell::default(),
        publishing: Arc::new(Semaphore::new(MAX_PUBLISHING)),
        sessions: Cell::new(0),
        transfers: Cell::new(0),
        login: Semaphore::new(1),
        logged_in: Cell::new(false),
        fatal: RefCell::new(None),
    };
    for path in &server.settings.directories {
        let key = server.memory.borrow().key(path);
        let job = DirectoryJob { path: Arc::new(path.clone()), depth: 0, lineage: None, tries: 0 };
        scan.jobs.add_directory(key, job);
    }
    let lanes = server.lanes();
    scan.jobs.set_lanes(lanes);
    let mut lanes: FuturesUnordered<_> = (0..lanes).map(|_| scan.lane()).collect();
    while lanes.next().await.is_some() {}
    drop(lanes);
    let Scan { jobs, tally, fatal, .. } = scan;
    if let Some(error) = fatal.into_inner() {
        return Err(error);
    }
    let mut tally = tally.into_inner();
    if jobs.directories_dropped() > 0 {
        let (name, dropped) = (&server.settings.name, jobs.directories_dropped());
        log::warn!("server={name} has more directories than one scan takes; {dropped} of them were left out");
        tally.failed_directories += dropped;
    }
    tally.waiting += jobs.waiting_files();
    tally.overflowed = jobs.overflowed();
    Ok(tally)
}

/// A lane's session. Sessions from an earlier scan may be dead without anybody's fault.
struct Held<'s> {
    session: Option<Session>,
    /// Made in this scan, or proved alive in it.
    fresh: bool,
    server: &'s Server,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.server.keep(session);
        }
    }
}

/// What a job is, for whoever wonders why it takes so long.
fn words(job: &Job) -> String {
    match job {
        Job::List(directory) => format!("listing {}", directory.path),
        Job::Fetch(file) => format!("fetching {}", file.path()),
    }
}

impl Scan<'_> {
    /// Works until there is nothing left, or this connection cannot be had.
    async fn lane(&self) {
        let mut held = Held { session: None, fresh: false, server: self.server };
        while let Some(job) = self.jobs.next().await {
            let listed = matches!(job, Job::List(_));
            let under_way = pulse::task(|| words(&job));
            let go_on = self.work(job, &mut held).await;
            self.jobs.finished(listed);
            drop(under_way);
            self.update_progress();
            if !go_on {
                break;
            }
        }
        if held.session.is_some() {
            self.sessions.set(self.sessions.get() - 1);
        }
    }

    /// Does one job; false when this lane has no connection and cannot get one.
    async fn work(&self, job: Job, held: &mut Held<'_>) -> bool {
        if held.session.is_none()
            && let Err(error) = self.connect(held).await
        {
            self.jobs.give_back(job);
            self.retire(error);
            return false;
        }
        // none after a success means that the scan was given up meanwhile
        let Some(session) = held.session.as_mut() else { return false };
        let outcome = match &job {
            Job::List(directory) => explore(self, session, directory).await,
            Job::Fetch(file) => {
                self.transferring(1);
                let outcome = obtain(self, session, file).await;
                self.transferring(-1);
                outcome
            }
        };
        let reusable = session.is_reusable();
        if !reusable {
            held.session = None;
            self.sessions.set(self.sessions.get() - 1);
        }
        let stale = !std::mem::replace(&mut held.fresh, reusable);
        match outcome {
            Ok(()) => self.logged_in.set(true),
            Err(error) => self.failed(job, error, stale),
        }
        true
    }

    /// Takes an idle session or logs in.
    async fn connect(&self, held: &mut Held<'_>) -> Result<(), FtpError> {
        if let Some(session) = self.server.take_idle() {
            self.sessions.set(self.sessions.get() + 1);
            held.session = Some(session);
            held.fresh = false;
            return Ok(());
        }
        // closed is impossible: the semaphore lives as long as the scan
        let turn = if self.logged_in.get() { None } else { self.login.acquire().await.ok() };
        if self.jobs.is_ended() {
            return Ok(());
        }
        self.sessions.set(self.sessions.get() + 1);
        let _under_way = pulse::task(|| "logging in".to_owned());
        let session = self.server.connector.connect().await.inspect_err(|_| {
            self.sessions.set(self.sessions.get() - 1);
        })?;
        self.logged_in.set(true);
        drop(turn);
        held.session = Some(session);
        held.fresh = true;
        self.update_progress();
        Ok(())
    }

    /// A lane gets no connection. Others go on with its work; without any other the scan is over.
    fn retire(&self, error: FtpError) {
        let others = self.sessions.get();
        let name = &self.server.settings.name;
        if others == 0 {
            self.fatal.replace(Some(error));
            self.jobs.end();
            return;
        }
        if error.blame() == Blame::TooManyLogins {
            self.server.grant(others);
            log::info!("server={name} grants {others} logins and no more for now: {error}");
        } else {
            log::warn!("server={name} {error}; going on with {others} connections");
        }
        self.jobs.set_lanes(others);
    }

    /// A job failed: another connection may help, or it is left for the next scan.
    fn failed(&self, mut job: Job, error: FtpError, stale: bool) {
        let (path, tries) = match &mut job {
            Job::List(directory) => ((*directory.path).clone(), &mut directory.tries),
            Job::Fetch(file) => (file.path(), &mut file.tries),
        };
        if error.blame() == Blame::Connection && (stale || *tries + 1 < MAX_TRIES) {
            *tries += u32::from(!stale);
            log::debug!("server={} path={path}: {error}; trying again", self.server.settings.name);
            self.jobs.give_back(job);
            return;
        }
        match job {
            Job::List(_) => {
                self.tally.borrow_mut().failed_directories += 1;
                self.complain(&path, &error, "the next scan tries again");
            }
            Job::Fetch(file) => self.file_failed(&path, file.facts, &error),
        }
    }

    /// A file is not taken now. It waits for its next try, longer each time while the server shows the same.
    pub(super) fn file_failed(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) {
        let (_, next) = self.postpone(path, facts);
        self.complain(path, error, &next);
    }

    /// The same for a file that looks as if it is still being uploaded, which is everyday life unless it lasts.
    pub(super) fn file_unfinished(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) {
        let (failures, next) = self.postpone(path, facts);
        if failures < UNFINISHED_TRIES {
            log::info!("server={} path={path}: {error}; {next}", self.server.settings.name);
        } else {
            self.complain(path, error, &next);
        }
    }

    /// Answers how often the file failed in a row, and when it is tried again, in words.
    fn postpone(&self, path: &RemotePath, facts: FileFacts) -> (u32, String) {
        let (failures, wait) = self.server.memory.borrow_mut().failed(path, facts, Instant::now());
        let mut tally = self.tally.borrow_mut();
        tally.failed_files += 1;
        tally.waiting += 1;
        (failures, format!("next try in {}, or when it changes", humantime::format_duration(wait)))
    }

    /// A file is not taken now for a reason of our own; the next scan tries again, and finds it better at once.
    pub(super) fn file_waits(&self, path: &RemotePath, reason: &dyn Display) {
        self.tally.borrow_mut().waiting += 1;
        self.complain(path, reason, "the next scan tries again");
    }

    /// Says what went wrong: a warning at first, a debug line while it stays the same.
    pub(super) fn complain(&self, path: &RemotePath, error: &dyn Display, next: &str) {
        let text = error.to_string();
        let first = self.server.memory.borrow_mut().first_time(path, &text);
        let level = if first { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "server={} path={path}: {text}; {next}", self.server.settings.name);
        self.server.progress.update(|status| status.last_error = Some(format!("{path}: {text}")));
    }

    fn transferring(&self, change: isize) {
        self.transfers.set(self.transfers.get().saturating_add_signed(change));
        self.update_progress();
    }

    /// Brings the counters that `status` shows up to date.
    fn update_progress(&self) {
        let tally = self.tally.borrow();
        let pending = tally.waiting + self.jobs.waiting_files() + self.transfers.get() as u64;
        let state = if self.transfers.get() > 0 { ServerState::Downloading } else { ServerState::Scanning };
        self.server.progress.update(|status| {
            status.pending_files = pending;
            if self.logged_in.get() {
                status.state = state;
            }
        });
    }
}
