//! The connections of one scan: each is a lane that works on one job at a time with one session, so that no lane ever
//! waits for a second connection while it holds one.
//!
//! How many there are is the budget's to say ([`super::budget`]), and changes during a scan: a lane ends when there
//! are too many or it gets no session, and another one begins when one more is due.

use std::cell::{Cell, RefCell};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::fetch_file::obtain;
use super::list_directory::explore;
use super::login_limiter::Refusal;
use super::queue::Job;
use super::scan::Scan;
use super::server::Server;
use crate::base::humanize;
use crate::base::names::RemotePath;
use crate::base::watchdog;
use crate::protocol::{ErrorScope, ProtocolError, Session};

/// The state that all lanes of a scan share.
pub(super) struct Lanes {
    /// Lanes there are.
    running: Cell<usize>,
    /// Sessions in use or being made.
    sessions: Cell<usize>,
    /// One login at a time while the last one of this scan has not succeeded: a refused password is tried once a
    /// scan, not four times.
    login: Semaphore,
    password_holds: Cell<bool>,
    /// A login of this scan has succeeded: the password is right.
    password_is_right: Cell<bool>,
    /// There is reason to look again how many lanes there should be.
    changed: Notify,
    /// Why the scan is over before its work is done.
    pub(super) fatal: RefCell<Option<ProtocolError>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            running: Cell::default(),
            sessions: Cell::default(),
            login: Semaphore::new(1),
            password_holds: Cell::default(),
            password_is_right: Cell::default(),
            changed: Notify::new(),
            fatal: RefCell::default(),
        }
    }
}

impl Lanes {
    /// Sessions in use or being made.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.get()
    }
}

/// A lane's session. Sessions from an earlier scan may be dead without anybody's fault.
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
fn words(job: &Job) -> String {
    match job {
        Job::List(directory) => format!("listing {}", directory.path),
        Job::Fetch(file) => format!("fetching {}", file.path()),
    }
}

impl Scan<'_> {
    /// Works with as many lanes as the budget allows, until the work is done or given up.
    pub(super) async fn run_lanes(&self) {
        let mut lanes = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let wanted = if self.jobs.is_ended() { 0 } else { self.server.lanes(now) };
            while lanes.len() < wanted {
                self.lanes.running.set(self.lanes.running.get() + 1);
                lanes.push(self.lane());
            }
            self.jobs.set_lanes(lanes.len());
            let due = self.server.budget.borrow().next_probe(now);
            let probe = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = lanes.next() => if ended.is_none() { break },
                () = self.lanes.changed.notified() => {}
                () = probe => {}
            }
        }
    }

    /// Works until there is nothing left, no session can be had, or fewer lanes are wanted.
    async fn lane(&self) {
        let mut held = Held { session: None, fresh: false, server: self.server };
        while self.lanes.running.get() <= self.server.lanes(Instant::now()) {
            let Some(job) = self.jobs.next().await else { break };
            let listed = matches!(job, Job::List(_));
            let under_way = watchdog::task(|| words(&job));
            let go_on = self.work(job, &mut held).await;
            self.jobs.finished(listed);
            drop(under_way);
            self.update_progress();
            if !go_on {
                break;
            }
        }
        if held.session.is_some() {
            self.count_session(-1);
        }
        self.lanes.running.set(self.lanes.running.get() - 1);
    }

    /// Does one job; false when this lane has no connection and cannot get one.
    async fn work(&self, job: Job, held: &mut Held<'_>) -> bool {
        match self.connect(held).await {
            Ok(Admission::Held) => {}
            Ok(Admission::Full) => {
                self.jobs.give_back(job);
                return false;
            }
            Ok(Admission::Over) => return false,
            Err(error) => {
                self.jobs.give_back(job);
                self.retire(error);
                return false;
            }
        }
        let Some(session) = held.session.as_mut() else { return false };
        let outcome = match &job {
            Job::List(directory) => explore(self, session.as_mut(), directory).await,
            Job::Fetch(file) => {
                self.transferring(1);
                let outcome = obtain(self, session.as_mut(), file).await;
                self.transferring(-1);
                outcome
            }
        };
        let reusable = session.is_reusable();
        if !reusable {
            held.session = None;
            self.count_session(-1);
        }
        let stale = !std::mem::replace(&mut held.fresh, reusable);
        match outcome {
            Ok(()) => self.reached(),
            Err(error) if error.scope() == ErrorScope::TooManyLogins && self.are_others(held) => {
                self.jobs.give_back(job);
                self.retire(error);
                return false;
            }
            Err(error) => self.failed(job, error, stale),
        }
        true
    }

    /// Sees to it that there is a session: the one there is, an idle one, or a new login.
    async fn connect(&self, held: &mut Held<'_>) -> Result<Admission, ProtocolError> {
        if held.session.is_some() {
            return Ok(Admission::Held);
        }
        if let Some(session) = self.server.take_idle() {
            self.count_session(1);
            held.session = Some(session);
            held.fresh = false;
            return Ok(Admission::Held);
        }
        // closed is impossible: the semaphore lives as long as the scan
        let mut turn =
            if self.lanes.password_holds.get() { None } else { self.lanes.login.acquire().await.ok() };
        if self.lanes.password_holds.get() {
            // proved while it was waited for: no reason to keep others waiting
            turn = None;
        }
        if let Some(no) = self.not_admitted() {
            return Ok(no);
        }
        self.count_session(1);
        let turn_at = self.server.budget.borrow_mut().login_turn(Instant::now());
        sleep_until(turn_at).await;
        // what happened meanwhile may have changed the number, this session included
        self.count_session(-1);
        if let Some(no) = self.not_admitted() {
            return Ok(no);
        }
        self.count_session(1);
        let _under_way = watchdog::task(|| "logging in".to_owned());
        let session = self.server.connector.connect().await.inspect_err(|_| {
            self.count_session(-1);
            self.lanes.password_holds.set(false);
        })?;
        self.lanes.password_holds.set(true);
        self.lanes.password_is_right.set(true);
        drop(turn);
        self.server.budget.borrow_mut().logged_in(self.lanes.sessions.get(), Instant::now());
        held.session = Some(session);
        held.fresh = true;
        self.reached();
        self.update_progress();
        self.lanes.changed.notify_one();
        Ok(Admission::Held)
    }

    /// Why there must be no new login now.
    fn not_admitted(&self) -> Option<Admission> {
        if self.jobs.is_ended() {
            return Some(Admission::Over);
        }
        let full = self.lanes.sessions.get() >= self.server.lanes(Instant::now());
        full.then_some(Admission::Full)
    }

    /// A lane gets no connection. Others go on with its work; without any other the scan is over.
    fn retire(&self, error: ProtocolError) {
        let others = self.lanes.sessions.get();
        let name = &self.server.settings.name;
        let why = match error.scope() {
            ErrorScope::TooManyLogins => Refusal::Limit,
            // the words are the operator's choice in many servers: "only 2 may be logged in"
            ErrorScope::Login if self.lanes.password_is_right.get() => Refusal::Limit,
            ErrorScope::Login => Refusal::Password,
            _ => Refusal::Fault,
        };
        let wait = self.server.budget.borrow_mut().refused(why, others, Instant::now());
        if others == 0 {
            self.lanes.fatal.replace(Some(error));
            self.jobs.end();
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
        let first = self.server.memory.borrow_mut().first_time(&RemotePath::root(), &error.to_string());
        let level = if first { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "server={name} {error}; going on with {text}");
    }

    /// Gives up the session, if there is still one. Whether other lanes have some: without any, fewer logins would not
    /// help.
    fn are_others(&self, held: &mut Held<'_>) -> bool {
        if let Some(session) = held.session.take() {
            self.server.keep(session);
            self.count_session(-1);
        }
        self.lanes.sessions.get() > 0
    }

    fn count_session(&self, change: isize) {
        self.lanes.sessions.set(self.lanes.sessions.get().saturating_add_signed(change));
    }
}
