//! Everything that belongs to one server and outlives its scans: settings, connections kept logged in, memory,
//! partial files, counters. Lives on the server's own thread.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use log::Level;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::listing::listing_cache::ListingCache;
use super::login_limiter::LoginLimiter;
use super::ports::{DiskGuard, Records, WallClock};
use super::retry_memory::RetryMemory;
use super::unsized_files::UnsizedFiles;
use super::warn_once::Alike;
use crate::base::facts::FileFacts;
use crate::base::names::RemotePath;
use crate::collector::open_files::OpenFiles;
use crate::config::{ServerSettings, SyncSettings};
use crate::mirror::partial_files::PartialFiles;
use crate::mirror::server::ServerMirror;
use crate::mirror::store::MirrorStore;
use crate::protocol::{Connector, Session};
use crate::quota::{DiskCounters, Prepaid};
use crate::status::{ConnectionStatus, Progress};

/// For logging out of idle sessions.
const QUIT_LIMIT: Duration = Duration::from_millis(300);

/// What a scanner works with; see the module.
pub struct Server {
    /// As configured.
    pub settings: Arc<ServerSettings>,
    /// How often it is scanned; may change at any time.
    pub sync: watch::Receiver<SyncSettings>,
    pub(super) shared: Rc<Shared>,
    pub(super) guard: Rc<dyn DiskGuard>,
    pub(super) connector: Rc<dyn Connector>,
    /// Where there was nothing to do.
    pub(super) listing_cache: RefCell<ListingCache>,
    /// Shifts of its times that were found to be its own.
    pub(super) zones: RefCell<BTreeSet<i64>>,
    pub(super) prepaid: RefCell<Prepaid>,
    pub(super) unsized_files: Rc<UnsizedFiles>,
    /// Files being made durable and recorded; they are finished even when a scan is stopped.
    pub(super) publishing: RefCell<JoinSet<()>>,
    pub(super) login_limiter: RefCell<LoginLimiter>,
    open_files: OpenFiles,
    pub(super) wall_clock: WallClock,
    /// Why a file waits for its next try, as of the last scan.
    pub(super) waiting_for: RefCell<Option<String>>,
    idle: RefCell<Vec<Box<dyn Session>>>,
    /// Changes of the records by an operator, as far as they are heeded.
    amendments: Cell<u64>,
}

/// What the files on their way into the records need too, which outlive the scan that fetched them.
pub(super) struct Shared {
    /// Its part of the mirror.
    pub(super) mirror: Arc<dyn ServerMirror>,
    /// Bytes under way.
    pub(super) counters: Arc<DiskCounters>,
    /// What `status` shows.
    pub(super) progress: Arc<Progress>,
    pub(super) records: Rc<dyn Records>,
    pub(super) memory: RefCell<RetryMemory>,
    /// What earlier transfers left.
    pub(super) partial_files: RefCell<PartialFiles>,
    /// Fetched files that could not be stored or recorded since this was last asked.
    pub(super) unrecorded: Cell<u64>,
}

/// The parts of the program that a [`Server`] is built on.
#[derive(Clone)]
pub struct Neighbours {
    /// Makes sessions with the server.
    pub connector: Rc<dyn Connector>,
    /// Asked what is known, and told what is stored.
    pub records: Rc<dyn Records>,
    /// Asked for room.
    pub guard: Rc<dyn DiskGuard>,
    /// Bytes under way.
    pub counters: Arc<DiskCounters>,
    /// What it may open.
    pub open_files: OpenFiles,
    /// What time it is.
    pub wall_clock: WallClock,
}

impl Server {
    /// Opens the server's part of the mirror and reads what an earlier run left there. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// When the mirror cannot be opened.
    pub fn new(
        settings: Arc<ServerSettings>,
        sync: watch::Receiver<SyncSettings>,
        mirror: &dyn MirrorStore,
        neighbours: Neighbours,
        progress: Arc<Progress>,
    ) -> anyhow::Result<Self> {
        let own = mirror.server(&settings.name)?;
        let Neighbours { connector, records, guard, counters, open_files, wall_clock } = neighbours;
        let interval = sync.borrow().interval;
        let partial_files =
            PartialFiles::read(&*own).with_context(|| format!("cannot read .partial/{}", settings.name))?;
        Ok(Self {
            login_limiter: RefCell::new(LoginLimiter::new(settings.connections, interval)),
            settings,
            sync,
            amendments: Cell::new(progress.amendments()),
            shared: Rc::new(Shared {
                mirror: own,
                counters,
                progress,
                records,
                memory: RefCell::new(RetryMemory::new(interval)),
                partial_files: RefCell::new(partial_files),
                unrecorded: Cell::default(),
            }),
            guard,
            connector,
            listing_cache: RefCell::default(),
            zones: RefCell::default(),
            prepaid: RefCell::default(),
            unsized_files: Rc::default(),
            publishing: RefCell::default(),
            open_files,
            wall_clock,
            waiting_for: RefCell::default(),
            idle: RefCell::default(),
        })
    }

    /// What is remembered from scan to scan, for one look: never while anything is waited for.
    pub(super) fn memory(&self) -> RefMut<'_, RetryMemory> {
        self.shared.memory.borrow_mut()
    }

    /// What earlier transfers left, in the same way.
    pub(super) fn partial_files(&self) -> RefMut<'_, PartialFiles> {
        self.shared.partial_files.borrow_mut()
    }

    /// Its part of the mirror.
    pub(super) fn mirror(&self) -> &dyn ServerMirror {
        &*self.shared.mirror
    }

    /// Bytes under way.
    pub(super) fn counters(&self) -> &Arc<DiskCounters> {
        &self.shared.counters
    }

    /// What `status` shows.
    pub(super) fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// The records, as a scan needs them.
    pub(super) fn records(&self) -> &dyn Records {
        &*self.shared.records
    }

    /// From the start of one scan to the start of the next.
    pub(super) fn interval(&self) -> Duration {
        self.sync.borrow().interval
    }

    /// Returns how often a directory is listed in which nothing has changed for long, where the operator
    /// allows less.
    pub(super) fn quiet_directories(&self) -> Option<Duration> {
        self.sync.borrow().quiet_directories
    }

    /// Waits that begin with the interval follow it.
    pub(super) fn follow_interval(&self) {
        let interval = self.interval();
        self.memory().follow(interval);
        self.login_limiter.borrow_mut().follow(interval);
    }

    /// A connection that an earlier scan left logged in; the server may have dropped it since.
    pub(super) fn take_idle(&self) -> Option<Box<dyn Session>> {
        self.idle.borrow_mut().pop()
    }

    /// Keeps a connection for the next scan, if it is in order.
    pub(super) fn keep(&self, session: Box<dyn Session>) {
        if session.is_reusable() {
            self.idle.borrow_mut().push(session);
        }
    }

    /// Forgets which directories hold nothing new, where records were changed since the last scan began. What a scan
    /// notes after that, from an answer before it, goes with the next.
    pub(super) fn refresh_if_records_changed(&self) {
        let amendments = self.progress().amendments();
        if self.amendments.replace(amendments) != amendments {
            self.listing_cache.take();
            self.memory().forget_known();
        }
    }

    /// Returns whether an operator changed records since the scan began.
    pub(super) fn have_records_changed(&self) -> bool {
        self.progress().amendments() != self.amendments.get()
    }

    /// Says what went wrong with the file or directory at `path`, once, and shows it in the status. A fault that is `ours`
    /// keeps more away than this one.
    pub(super) fn warn_once(&self, path: &RemotePath, text: &str, next: &str, level: Level, ours: bool) {
        self.log_once(path, text, next, level);
        let shown = self.memory().fault(format!("{path}: {text}"), ours).to_owned();
        self.progress().update(|status| status.last_error = Some(shown));
    }

    /// Says it at once where it is the first of its kind, and together with others at the end of the scan else.
    pub(super) fn log_once(&self, path: &RemotePath, text: &str, next: &str, level: Level) {
        let is_first = self.memory().warn_once.is_first(path, text, next, level, Instant::now());
        let level = if is_first { level } else { Level::Debug };
        log::log!(level, "server={} path={path}: {text}; {next}", self.settings.name);
    }

    /// Says that a known file changed, which the records answer once.
    pub(super) fn tell_changed(&self, path: &RemotePath, was: FileFacts, is: FileFacts) {
        let own = &self.settings.name;
        log::warn!(
            "server={own} path={path}: changed after it was downloaded, from {was} to {is}; not fetched again"
        );
        self.progress().update(|status| status.changed_files += 1);
    }

    /// Says how many more fared as others did.
    pub(super) fn log_the_rest(&self) {
        let name = &self.settings.name;
        let untold = self.memory().warn_once.take_untold(Instant::now());
        for Alike { paths, path, text, next, level } in untold {
            match paths {
                1 => log::log!(level, "server={name} path={path}: {text}; {next}"),
                _ => log::log!(
                    level,
                    "server={name} {paths} more files or directories fare alike, such as path={path}: {text}; {next}"
                ),
            }
        }
    }

    /// Returns how many connections to use now.
    pub(super) fn connections(&self, now: Instant) -> usize {
        self.login_limiter.borrow().connections(now).min(self.open_files.share().connections)
    }

    /// Returns how many files may be received and not recorded yet.
    pub(super) fn most_publishing(&self) -> usize {
        self.open_files.share().publishing
    }

    /// Shows how many logins there are, of which `at_work` are in use by a scan.
    pub(super) fn show_connections(&self, at_work: usize) {
        let in_use = at_work + self.idle.borrow().len();
        let granted = self.connections(Instant::now());
        self.progress().update(|status| {
            status.connections = ConnectionStatus { in_use: in_use as u64, granted: granted as u64 };
        });
    }

    /// Waits until every fetched file is recorded or given up, at most `limit`.
    pub(super) async fn finish_publishing(&self, limit: Duration) {
        // borrowed for each look only: a stop in between must not abort what is being recorded
        let next = || std::future::poll_fn(|context| self.publishing.borrow_mut().poll_join_next(context));
        let all = async { while next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            let name = &self.settings.name;
            log::warn!(
                "server={name} files are stored but not recorded yet; they will be, or the next start does it"
            );
        }
    }

    /// Files that were fetched and are not on record: those that failed since this was last asked, and those still on
    /// their way. Their partial names are the proof that they are ours, and must stay.
    pub(super) fn take_unrecorded(&self) -> u64 {
        self.shared.unrecorded.take() + self.publishing.borrow().len() as u64
    }

    /// Logs out of what is kept beyond the number that is used: others may want those logins.
    pub(super) async fn log_out_superfluous(&self) {
        let most = self.connections(Instant::now());
        let superfluous: Vec<_> = {
            let mut idle = self.idle.borrow_mut();
            let excess = idle.len().saturating_sub(most);
            idle.drain(..excess).collect()
        };
        log_out(superfluous).await;
    }

    /// Logs out everywhere, so that no stale login counts against the server's limit.
    pub(super) async fn log_out(&self) {
        let sessions = self.idle.take();
        log_out(sessions).await;
    }
}

async fn log_out(sessions: Vec<Box<dyn Session>>) {
    futures_util::future::join_all(sessions.into_iter().map(|session| session.quit(QUIT_LIMIT))).await;
}
