//! The state of one scan: its jobs, what it found and could not take, and what is said of that.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::sync::Arc;

use log::Level;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fetching::fetch_file::FileOutcome;
use super::fetching::proof::Found;
use super::fetching::wanted::FetchError;
use super::job::{FileJob, Job};
use super::listing::shifts::Shifts;
use super::queue::Jobs;
use super::retry_memory::Failure;
use super::server::Server;
use crate::base::facts::FileFacts;
use crate::base::humanize;
use crate::base::names::RemotePath;
use crate::mirror::partial_files::PartialFiles;
use crate::protocol::{ErrorScope, ProtocolError};
use crate::status::{IncompleteFile, ServerState};

/// A job is given to another connection this often, when the one it was on breaks.
const MAX_TRIES: u32 = 2;
/// From this many failures on with the same size and time, an unfinished file is no longer taken for an upload.
const UNFINISHED_TRIES: u32 = 4;
/// Files that cannot be taken and are shown one by one; all of them are counted.
const MAX_INCOMPLETE_SHOWN: usize = 5;

/// What a scan found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Directories listed.
    pub directories: u64,
    /// Directories that could not be listed, or not completely.
    pub failed_directories: u64,
    /// Wanted files listed.
    pub files: u64,
    /// New files that could not be fetched and will be tried again.
    pub failed_files: u64,
    /// New files fetched.
    pub fetched: u64,
    /// New files that wait for their retry, for room, or for a second look.
    pub waiting: u64,
    /// Lines that no parser understood, and names that were refused.
    pub not_understood: u64,
    /// Directories whose listing was cut, or looks as if it was.
    pub cut_listings: u64,
    /// New files that were tried and could not be taken, in this scan or before.
    pub incomplete: u64,
    /// There is more to fetch than one scan takes.
    pub overflowed: bool,
    /// Files taken in spite of the size that the server shows, or of what follows the archive, without a line of their
    /// own in the log.
    pub odd: u64,
}

/// A scan in progress.
pub(super) struct ScanState<'s> {
    pub(super) server: &'s Server,
    pub(super) jobs: Jobs,
    pub(super) tally: RefCell<Tally>,
    /// Files that may be received and not recorded yet.
    pub(super) publishing: Arc<Semaphore>,
    /// Partial files from long ago that no listing of this scan has a file for, so far.
    pub(super) orphans: RefCell<PartialFiles>,
    /// The first few of the files that cannot be taken.
    pub(super) incomplete: RefCell<Vec<IncompleteFile>>,
    /// Known files whose times differ as another zone makes them.
    pub(super) shifts: Shifts,
    /// Why one of them is not taken, where it was complained of.
    pub(super) waiting_for: RefCell<Option<String>>,
    /// Sessions in use or being made.
    pub(super) sessions: Cell<usize>,
    /// Transfers under way, for the state that `status` shows.
    transfers: Cell<usize>,
    /// The server has answered in this scan.
    reached: Cell<bool>,
}

impl<'s> ScanState<'s> {
    /// Nothing was done yet.
    pub(super) fn new(server: &'s Server, orphans: PartialFiles) -> Self {
        Self {
            server,
            jobs: Jobs::new(server.settings.order),
            tally: RefCell::default(),
            publishing: Arc::new(Semaphore::new(server.most_publishing())),
            orphans: RefCell::new(orphans),
            incomplete: RefCell::default(),
            shifts: Shifts::default(),
            waiting_for: RefCell::default(),
            sessions: Cell::new(0),
            transfers: Cell::new(0),
            reached: Cell::new(false),
        }
    }

    /// Counts a directory that was listed, and files of it that were not counted one by one.
    pub(super) fn count_directory(&self, files: u64) {
        let mut tally = self.tally.borrow_mut();
        tally.directories += 1;
        tally.files += files;
    }

    /// Counts what became of a file, says what is to be said of it, and has it tried again where it is not taken.
    pub(super) fn count_file(&self, job: FileJob, outcome: FileOutcome) {
        let facts = job.facts;
        match outcome {
            FileOutcome::NothingToDo => {}
            FileOutcome::Publishing { size, found } => {
                self.tally.borrow_mut().fetched += 1;
                if let Some(found) = found.filter(|found| *found != Found::default()) {
                    self.remark(&job.path(), size, found);
                }
            }
            FileOutcome::Empty(facts) => self.file_empty(&job.path(), facts),
            FileOutcome::Unsettled => {
                log::debug!(
                    "server={} path={}: waits until it stands still",
                    self.server.settings.name,
                    job.path()
                );
                self.tally.borrow_mut().waiting += 1;
            }
            FileOutcome::Unfinished(error) => self.file_unfinished(&job.path(), facts, &error),
            FileOutcome::Watched(error) => self.file_is_watched(&job.path(), facts, &error),
            FileOutcome::Failed(reason) => self.file_failed(&job.path(), facts, &reason),
            FileOutcome::Waits(reason) => self.file_waits(&job.path(), &reason),
            FileOutcome::DiskTakesNothing(reason) => {
                self.jobs.hold();
                self.file_waits(&job.path(), &reason);
            }
            FileOutcome::NoRoom => {
                self.jobs.hold();
                self.jobs.give_back(Job::Fetch(job));
            }
        }
    }

    /// A job failed: another connection may help, or it is left for the next scan.
    pub(super) fn failed(&self, mut job: Job, error: ProtocolError, stale: bool) {
        let (path, tries) = match &mut job {
            Job::List(directory) => ((*directory.path).clone(), &mut directory.tries),
            Job::Fetch(file) => (file.path(), &mut file.tries),
        };
        if error.scope() == ErrorScope::Connection && (stale || *tries + 1 < MAX_TRIES) {
            *tries += u32::from(!stale);
            log::debug!("server={} path={path}: {error}; trying again", self.server.settings.name);
            self.jobs.give_back(job);
            return;
        }
        match job {
            Job::List(_) => {
                let cut = error.is_cut_listing();
                let mut tally = self.tally.borrow_mut();
                tally.failed_directories += 1;
                tally.cut_listings += u64::from(cut);
                drop(tally);
                let (text, is_ours) = (error.to_string(), error.scope() == ErrorScope::Local);
                self.server.warn_once(&path, &text, "the next scan tries again", Level::Warn, is_ours);
            }
            Job::Fetch(file) => self.file_failed(&path, file.facts, &error),
        }
    }

    /// A file is not taken now. It waits for its next try, longer each time while the server shows the same.
    fn file_failed(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) {
        let (_, next) = self.postpone(path, facts, error);
        self.server.memory().complained(path);
        self.warn_once(path, error, &next);
    }

    /// The same for a file that looks as if it is still being uploaded, which is everyday life unless it lasts.
    fn file_unfinished(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) {
        let (failures, next) = self.postpone(path, facts, error);
        if failures < UNFINISHED_TRIES {
            log::info!("server={} path={path}: {error}; {next}", self.server.settings.name);
        } else {
            self.server.memory().complained(path);
            self.warn_once(path, error, &next);
        }
    }

    /// The same for a file that is no archive and is taken when it has stayed the same for long enough.
    fn file_is_watched(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) {
        let (_, next) = self.postpone(path, facts, error);
        log::info!("server={} path={path}: {error}; {next}", self.server.settings.name);
    }

    /// Says what is odd about a file of `size` bytes that is taken: of each kind once, the others are counted.
    fn remark(&self, path: &RemotePath, size: u64, found: Found) {
        let name = &self.server.settings.name;
        if let Some(format) = found.is_not {
            log::warn!("server={name} path={path}: it is no {}; taken as it is", format.noun());
        }
        let behind = (found.behind > 0).then(|| format!("{} bytes follow the zip archive", found.behind));
        let shown = found.contradicts.map(|(shown, format)| {
            format!(
                "the server shows {shown} bytes, and the {} that came is whole with {size}",
                format.noun()
            )
        });
        for (kind, text) in [("behind", behind), ("shown", shown)] {
            let Some(text) = text else { continue };
            if self.server.memory().first_time(&RemotePath::root(), kind) {
                log::warn!("server={name} path={path}: {text}; taken as it is");
            } else {
                self.tally.borrow_mut().odd += 1;
                log::debug!("server={name} path={path}: {text}; taken as it is");
            }
        }
    }

    /// A file is seen empty for the first time; the next scan believes it.
    fn file_empty(&self, path: &RemotePath, facts: FileFacts) {
        self.tally.borrow_mut().waiting += 1;
        let (since, next_try) = (chrono::Utc::now(), Instant::now() + self.server.interval());
        let reason = FetchError::Empty.to_string().into();
        self.incomplete(path, &Failure { facts, count: 1, next_try, since, reason, complained: false });
    }

    /// Returns how often the file failed in a row, and when it is tried again, in words.
    fn postpone(&self, path: &RemotePath, facts: FileFacts, error: &dyn Display) -> (u32, String) {
        let now = Instant::now();
        let failure = self.server.memory().failed(path, facts, &error.to_string(), now);
        let mut tally = self.tally.borrow_mut();
        tally.failed_files += 1;
        tally.waiting += 1;
        drop(tally);
        self.incomplete(path, &failure);
        let wait = failure.next_try.saturating_duration_since(now);
        (failure.count, format!("next try in {}, or when it changes", humanize::duration(wait)))
    }

    /// Counts a file that was tried and not taken, and shows it in `status` where it is one of the first few.
    pub(super) fn incomplete(&self, path: &RemotePath, failure: &Failure) {
        self.tally.borrow_mut().incomplete += 1;
        if failure.complained && self.waiting_for.borrow().is_none() {
            self.waiting_for.replace(Some(format!("{path}: {}", failure.reason)));
        }
        let mut shown = self.incomplete.borrow_mut();
        if shown.len() < MAX_INCOMPLETE_SHOWN {
            let wait = failure.next_try.saturating_duration_since(Instant::now());
            let wait = chrono::TimeDelta::from_std(wait).unwrap_or_default();
            shown.push(IncompleteFile {
                path: path.to_string(),
                reason: failure.reason.to_string(),
                tries: failure.count,
                since: failure.since,
                next_try: chrono::Utc::now() + wait,
            });
        }
    }

    /// A file is not taken now for a reason of our own; the next scan tries again, and finds it better at once.
    fn file_waits(&self, path: &RemotePath, reason: &dyn Display) {
        self.tally.borrow_mut().waiting += 1;
        self.server.warn_once(path, &reason.to_string(), "the next scan tries again", Level::Warn, true);
    }

    /// A directory is passed over for a reason of our own; the next scan tries again.
    pub(super) fn directory_waits(&self, path: &RemotePath, reason: &dyn Display) {
        self.tally.borrow_mut().failed_directories += 1;
        self.server.warn_once(path, &reason.to_string(), "the next scan tries again", Level::Warn, true);
    }

    /// Says what went wrong, and shows it.
    pub(super) fn warn_once(&self, path: &RemotePath, error: &dyn Display, next: &str) {
        self.server.warn_once(path, &error.to_string(), next, Level::Warn, false);
    }

    /// Says what is left out on purpose, and is no fault.
    pub(super) fn leave_out(&self, path: &RemotePath, what: &dyn Display, next: &str) {
        self.server.log_once(path, &what.to_string(), next, Level::Warn);
    }

    /// The server answers: the state that `status` shows may be taken from the work.
    pub(super) fn reached(&self) {
        self.reached.set(true);
    }

    /// So many transfers more are under way.
    pub(super) fn transferring(&self, change: isize) {
        self.transfers.set(self.transfers.get().saturating_add_signed(change));
        self.update_progress();
    }

    /// Brings the counters that `status` shows up to date.
    pub(super) fn update_progress(&self) {
        let tally = self.tally.borrow();
        let pending = tally.waiting + self.jobs.waiting_files() + self.transfers.get() as u64;
        let state = if self.transfers.get() > 0 { ServerState::Downloading } else { ServerState::Scanning };
        self.server.show_connections(self.sessions.get());
        self.server.progress().update(|status| {
            status.pending_files = pending;
            if self.reached.get() {
                status.state = state;
            }
        });
    }
}
