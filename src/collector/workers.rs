//! The connections of one scan: each belongs to a worker, which does one job at a time with one session, so that no
//! worker ever waits for a second connection while it holds one.
//!
//! How many there are is the login limiter's to say ([`super::login_limiter`]), and changes during a scan: a worker ends
//! when there are too many or it gets no session, and another one begins when one more is due.

use std::cell::{Cell, RefCell};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::fetching::fetch_file::{Fetching, FileOutcome, fetch_file};
use super::job::Job;
use super::listing::list_directory::list_directory;
use super::login_limiter::Refusal;
use super::scan_state::ScanState;
use super::server::Server;
use crate::base::humanize;
use crate::base::names::RemotePath;
use crate::base::watchdog;
use crate::protocol::{ErrorScope, ProtocolError, Session};

/// A worker's session. Sessions from an earlier scan may be dead without anybody's fault.
struct Held<'s> {
    session: Option<Box<dyn Session>>,
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

/// What came of asking for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It is there.
    Held,
    /// No more logins are to be tried now.
    Full,
    /// The scan ended meanwhile.
    Over,
}

/// What a job is, for whoever wonders why it takes so long.
fn describe(job: &Job) -> String {
    match job {
        Job::List(directory) => format!("listing {}", directory.path),
        Job::Fetch(file) => format!("fetching {}", file.path()),
    }
}

/// The workers of a scan, and what they share.
pub(super) struct Workers<'s> {
    scan: &'s ScanState<'s>,
    /// Workers there are.
    running: Cell<usize>,
    /// One login at a time while the last one of this scan has not succeeded: a refused password is tried once a
    /// scan, not four times.
    login: Semaphore,
    password_holds: Cell<bool>,
    /// A login of this scan has succeeded: the password is right.
    password_is_right: Cell<bool>,
    /// There is reason to look again how many workers there should be.
    changed: Notify,
    /// Why the scan is over before its work is done.
    fatal: RefCell<Option<ProtocolError>>,
}

impl<'s> Workers<'s> {
    /// None yet.
    pub(super) fn new(scan: &'s ScanState<'s>) -> Self {
        Self {
            scan,
            running: Cell::default(),
            login: Semaphore::new(1),
            password_holds: Cell::default(),
            password_is_right: Cell::default(),
            changed: Notify::new(),
            fatal: RefCell::default(),
        }
    }

    /// Works with as many workers as the limiter allows, until the work is done or given up; returns why it was given up.
    pub(super) async fn run(self) -> Option<ProtocolError> {
        self.work_off().await;
        self.fatal.into_inner()
    }

    async fn work_off(&self) {
        let mut workers = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let wanted = if self.scan.jobs.is_ended() { 0 } else { self.scan.server.connections(now) };
            while workers.len() < wanted {
                self.running.set(self.running.get() + 1);
                workers.push(self.worker());
            }
            self.scan.jobs.set_workers(workers.len());
            let due = self.scan.server.login_limiter.borrow().next_probe(now);
            let probe = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = workers.next() => if ended.is_none() { break },
                () = self.changed.notified() => {}
                () = probe => {}
            }
        }
    }

    /// Works until there is nothing left, no session can be had, or fewer workers are wanted.
    async fn worker(&self) {
        let mut held = Held { session: None, fresh: false, server: self.scan.server };
        while self.running.get() <= self.scan.server.connections(Instant::now()) {
            let Some(job) = self.scan.jobs.next().await else { break };
            let listed = matches!(job, Job::List(_));
            let under_way = watchdog::task(|| describe(&job));
            let go_on = self.work(job, &mut held).await;
            self.scan.jobs.finished(listed);
            drop(under_way);
            self.scan.update_progress();
            if !go_on {
                break;
            }
        }
        if held.session.is_some() {
            self.count_session(-1);
        }
        self.running.set(self.running.get() - 1);
    }

    /// Does one job; false when this worker has no connection and cannot get one.
    async fn work(&self, job: Job, held: &mut Held<'_>) -> bool {
        match self.connect(held).await {
            Ok(Admission::Held) => {}
            Ok(Admission::Full) => {
                self.scan.jobs.give_back(job);
                return false;
            }
            Ok(Admission::Over) => return false,
            Err(error) => {
                self.scan.jobs.give_back(job);
                self.retire(error);
                return false;
            }
        }
        let Some(session) = held.session.as_mut() else { return false };
        let outcome = self.do_job(session.as_mut(), &job).await;
        let reusable = session.is_reusable();
        if !reusable {
            held.session = None;
            self.count_session(-1);
        }
        let stale = !std::mem::replace(&mut held.fresh, reusable);
        match outcome {
            Ok(became) => {
                self.scan.reached();
                if let (Job::Fetch(file), Some(became)) = (job, became) {
                    self.scan.count_file(file, became);
                }
            }
            Err(error) if error.scope() == ErrorScope::TooManyLogins && self.are_others(held) => {
                self.scan.jobs.give_back(job);
                self.retire(error);
                return false;
            }
            Err(error) => self.scan.failed(job, error, stale),
        }
        true
    }

    /// Lists a directory, or fetches a file; what became of a file is not counted yet.
    async fn do_job(
        &self,
        session: &mut dyn Session,
        job: &Job,
    ) -> Result<Option<FileOutcome>, ProtocolError> {
        let scan = self.scan;
        match job {
            Job::List(directory) => list_directory(scan, session, directory).await.map(|()| None),
            Job::Fetch(file) => {
                scan.transferring(1);
                let is_another_next = || scan.jobs.another_file();
                let fetching = Fetching {
                    server: scan.server,
                    publishing: &scan.publishing,
                    is_another_next: &is_another_next,
                };
                let outcome = fetch_file(fetching, session, file).await;
                scan.transferring(-1);
                outcome.map(Some)
            }
        }
    }

    /// Sees to it that there is a session: the one there is, an idle one, or a new login.
    async fn connect(&self, held: &mut Held<'_>) -> Result<Admission, ProtocolError> {
        if held.session.is_some() {
            return Ok(Admission::Held);
        }
        if let Some(session) = self.scan.server.take_idle() {
            self.count_session(1);
            held.session = Some(session);
            held.fresh = false;
            return Ok(Admission::Held);
        }
        // closed is impossible: the semaphore lives as long as the scan
        let mut turn = if self.password_holds.get() { None } else { self.login.acquire().await.ok() };
        if self.password_holds.get() {
            // proved while it was waited for: no reason to keep others waiting
            turn = None;
        }
        if let Some(no) = self.not_admitted() {
            return Ok(no);
        }
        self.count_session(1);
        let turn_at = self.scan.server.login_limiter.borrow_mut().login_turn(Instant::now());
        sleep_until(turn_at).await;
        // what happened meanwhile may have changed the number, this session included
        self.count_session(-1);
        if let Some(no) = self.not_admitted() {
            return Ok(no);
        }
        self.count_session(1);
        let _under_way = watchdog::task(|| "logging in".to_owned());
        let session = self.scan.server.connector.connect().await.inspect_err(|_| {
            self.count_session(-1);
            self.password_holds.set(false);
        })?;
        self.password_holds.set(true);
        self.password_is_right.set(true);
        drop(turn);
        self.scan.server.login_limiter.borrow_mut().logged_in(self.scan.sessions.get(), Instant::now());
        held.session = Some(session);
        held.fresh = true;
        self.scan.reached();
        self.scan.update_progress();
        self.changed.notify_one();
        Ok(Admission::Held)
    }

    /// Returns why there must be no new login now.
    fn not_admitted(&self) -> Option<Admission> {
        if self.scan.jobs.is_ended() {
            return Some(Admission::Over);
        }
        let full = self.scan.sessions.get() >= self.scan.server.connections(Instant::now());
        full.then_some(Admission::Full)
    }

    /// A worker gets no connection. Others go on with its work; without any other the scan is over.
    fn retire(&self, error: ProtocolError) {
        let others = self.scan.sessions.get();
        let name = &self.scan.server.settings.name;
        let why = match error.scope() {
            ErrorScope::TooManyLogins => Refusal::Limit,
            // the words are the operator's choice in many servers: "only 2 may be logged in"
            ErrorScope::Login if self.password_is_right.get() => Refusal::Limit,
            ErrorScope::Login => Refusal::Password,
            _ => Refusal::Fault,
        };
        let wait = self.scan.server.login_limiter.borrow_mut().refused(why, others, Instant::now());
        if others == 0 {
            self.fatal.replace(Some(error));
            self.scan.jobs.end();
            return;
        }
        let wait = humanize::duration(wait);
        let text = format!("{}, one more is tried in {wait}", humanize::count(others, "connection"));
        if why == Refusal::Limit {
            log::info!(
                "server={name} grants {} and no more for now: {error}; going on with {text}",
                humanize::count(others, "login")
            );
            return;
        }
        let first = self.scan.server.memory().first_time(&RemotePath::root(), &error.to_string());
        let level = if first { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "server={name} {error}; going on with {text}");
    }

    /// Gives up the session, if there is still one. Whether other workers have some: without any, fewer logins would not
    /// help.
    fn are_others(&self, held: &mut Held<'_>) -> bool {
        if let Some(session) = held.session.take() {
            self.scan.server.keep(session);
            self.count_session(-1);
        }
        self.scan.sessions.get() > 0
    }

    fn count_session(&self, change: isize) {
        self.scan.sessions.set(self.scan.sessions.get().saturating_add_signed(change));
    }
}
