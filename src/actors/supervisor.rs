//! `Supervisor` starts and stops the scanners, and changes which there are.
//!
//! Told by: console, control socket, signals. Waits for: the scanners, never longer than a stop may take. Thread:
//! the main one, from where it sees scanners whose own thread is blocked: they are named, because nobody can end
//! them, and go on by themselves should their thread move again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::AbortOnDrop;
use super::scanner::Plan;
use super::scanner_handle::{Begun, ScannerHandle, Stopping};
use crate::base::failpoints;
use crate::base::humanize::{count as count_of, nearest};
use crate::status::ServerState;

/// `stop` is promised to answer within 2 s; what has not ended then is named, and ends when it can.
const STOP_LIMIT: Duration = Duration::from_millis(1900);
/// How often the scanners are looked at for signs of life.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Start all scanners. The answer is for the operator; started already is fine.
#[derive(Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Start;

/// Stop all scanners, and answer once all have ended. Stopped already is fine.
#[derive(Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Stop;

/// Do something to the scanner of one server. The answer is for the operator.
#[derive(Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Single {
    /// Whose.
    pub server: String,
    /// What.
    pub order: SingleOrder,
}

/// What can be done to one scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleOrder {
    /// Scan now.
    Scan,
    /// Stop, and begin with no start.
    Pause,
    /// Begin again, if the others are started.
    Resume,
}

/// Have these scanners from now on. Those of equal settings are left alone, the others end or begin, and the answer
/// comes once they have. One change follows another: whoever sends it waits for the answer before.
#[derive(Message)]
#[rtype(result = "Changed")]
pub struct Change(pub Vec<Plan>);

/// Whether the scanners are started.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct IsRunning;

/// What a change did, by the names of the servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// New ones.
    pub added: Vec<String>,
    /// Those that are no more.
    pub removed: Vec<String>,
    /// Those with other settings than before.
    pub changed: Vec<String>,
    /// How many were left alone.
    pub untouched: usize,
    /// Those that have not ended in time, and end when they can.
    pub late: Vec<String>,
}

/// See the module.
pub struct Supervisor {
    state: Rc<State>,
    watch: Option<AbortOnDrop<()>>,
}

struct State {
    scanners: RefCell<Vec<ScannerHandle>>,
    /// Scanners that were taken out and may not have ended yet.
    stopping: RefCell<Vec<Stopping>>,
    /// Between a start and its stop. Held while either is under way, so that they follow one another.
    started: Mutex<bool>,
    /// The same for whoever does not want to wait.
    is_started: Cell<bool>,
}

impl Supervisor {
    /// A supervisor with one scanner for each plan, each on an arbiter of its own.
    #[must_use]
    pub fn new(plans: Vec<Plan>) -> Self {
        let scanners = plans.into_iter().map(|plan| ScannerHandle::new(plan, None)).collect();
        let state = State {
            scanners: RefCell::new(scanners),
            stopping: RefCell::default(),
            started: Mutex::new(false),
            is_started: Cell::new(false),
        };
        Self { state: Rc::new(state), watch: None }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let state = Rc::clone(&self.state);
        self.watch = Some(AbortOnDrop(actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                state.look();
            }
        })));
    }
}

impl Handler<Start> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, _: Start, _: &mut Context<Self>) -> Self::Result {
        let state = Rc::clone(&self.state);
        Box::pin(async move { state.start().await })
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) -> Self::Result {
        let state = Rc::clone(&self.state);
        Box::pin(async move { state.stop().await })
    }
}

impl Handler<Single> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, Single { server, order }: Single, _: &mut Context<Self>) -> Self::Result {
        let state = Rc::clone(&self.state);
        Box::pin(async move { state.single(&server, order).await })
    }
}

impl Handler<Change> for Supervisor {
    type Result = ResponseFuture<Changed>;

    fn handle(&mut self, Change(plans): Change, _: &mut Context<Self>) -> Self::Result {
        let state = Rc::clone(&self.state);
        Box::pin(async move { state.change(plans).await })
    }
}

impl Handler<IsRunning> for Supervisor {
    type Result = bool;

    fn handle(&mut self, _: IsRunning, _: &mut Context<Self>) -> Self::Result {
        self.state.is_started.get()
    }
}

impl State {
    fn look(&self) {
        // a start or stop under way looks after the scanners itself
        let started = self.started.try_lock().is_ok_and(|started| *started);
        for scanner in self.scanners.borrow_mut().iter_mut() {
            scanner.look_for_signs_of_life();
            if started {
                scanner.begin_if_lost();
            }
        }
        self.stopping.borrow_mut().retain(|stopping| !stopping.has_ended());
    }

    async fn start(&self) -> Result<String, String> {
        let mut started = self.started.lock().await;
        if *started {
            return Ok("already started".to_owned());
        }
        let (mut sent, mut paused) = (Vec::new(), Vec::new());
        for scanner in self.scanners.borrow_mut().iter_mut() {
            if scanner.plan.progress.is_paused() {
                paused.push(scanner.name());
            } else {
                sent.push((scanner.name(), scanner.begin()));
            }
        }
        *started = true;
        let count = sent.len();
        let late = late_of(sent).await;
        self.is_started.set(true);
        failpoints::here("supervisor", "supervisor");
        log::info!("started {}", count_of(count - late.len(), "server"));
        if late.is_empty() {
            let paused =
                if paused.is_empty() { String::new() } else { format!("; paused: {}", paused.join(", ")) };
            return Ok(format!("started {}{paused}", count_of(count, "server")));
        }
        let said = format!(
            "{} of {} did not start: {}; they will when they can",
            late.len(),
            count_of(count, "scanner"),
            late.join(", ")
        );
        log::error!("{said}");
        Err(said)
    }

    async fn stop(&self) -> Result<String, String> {
        let mut started = self.started.lock().await;
        if !*started {
            return Ok("already stopped".to_owned());
        }
        *started = false;
        self.is_started.set(false);
        let mut endings: Vec<_> =
            self.scanners.borrow_mut().iter_mut().filter_map(ScannerHandle::end).collect();
        endings.extend(self.stopping.borrow().iter().map(Stopping::ending));
        let ended = tokio::time::timeout(STOP_LIMIT, join_all(endings)).await.is_ok();
        let scanners = self.scanners.borrow();
        if ended {
            let stopped = format!("stopped {}", count_of(scanners.len(), "server"));
            log::info!("{stopped}");
            return Ok(stopped);
        }
        let late =
            scanners.iter().filter(|scanner| scanner.plan.progress.snapshot().state != ServerState::Stopped);
        let mut names: BTreeSet<String> = late.map(ScannerHandle::name).collect();
        names.extend(self.late_stopping());
        let names = Vec::from_iter(names);
        log::error!("still stopping: {}", names.join(", "));
        Err(format!("still stopping: {}", names.join(", ")))
    }

    async fn single(&self, server: &str, order: SingleOrder) -> Result<String, String> {
        let started = self.started.lock().await;
        let begun = {
            let mut scanners = self.scanners.borrow_mut();
            let names: Vec<String> = scanners.iter().map(ScannerHandle::name).collect();
            let Some(scanner) = scanners.iter_mut().find(|scanner| scanner.name() == server) else {
                let near = nearest(server, names.iter().map(String::as_str));
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(format!("no server is called {server}{near}"));
            };
            let progress = Arc::clone(&scanner.plan.progress);
            let paused = progress.is_paused();
            match order {
                SingleOrder::Scan if !*started => return Err("nothing is started; 'start' first".to_owned()),
                SingleOrder::Scan if paused => return Err(format!("{server} is paused; 'resume' it first")),
                SingleOrder::Scan if progress.snapshot().outside_windows => {
                    return Err(format!("{server} is outside of its windows"));
                }
                SingleOrder::Scan => {
                    progress.ask_scan();
                    return Ok(format!("{server} is scanned now"));
                }
                SingleOrder::Pause if paused => return Ok(format!("{server} is paused already")),
                SingleOrder::Resume if !paused => return Ok(format!("{server} is not paused")),
                SingleOrder::Pause => {
                    progress.set_paused(true);
                    Err(scanner.end())
                }
                SingleOrder::Resume => {
                    progress.set_paused(false);
                    Ok(if *started { Some(scanner.begin()) } else { None })
                }
            }
        };
        // a stop, and a start, need not wait for it
        drop(started);
        Ok(match begun {
            Err(Some(ending)) => {
                if tokio::time::timeout(STOP_LIMIT, ending).await.is_err() {
                    return Err(format!("{server} is paused, and still stopping; it ends when it can"));
                }
                format!("{server} is paused")
            }
            Err(None) => format!("{server} is paused"),
            Ok(Some(begun)) => {
                if !begun.await {
                    return Err(format!("{server} did not start; it will when it can"));
                }
                format!("{server} is resumed")
            }
            Ok(None) => format!("{server} is resumed"),
        })
    }

    async fn change(&self, plans: Vec<Plan>) -> Changed {
        let started = self.started.lock().await;
        let (mut changed, arriving) = self.exchange(plans, *started);
        // a stop, and a start, need not wait for those that end
        drop(started);
        let endings: Vec<_> = self.stopping.borrow().iter().map(Stopping::ending).collect();
        if tokio::time::timeout(STOP_LIMIT, join_all(endings)).await.is_err() {
            changed.late = self.late_stopping();
            log::error!("still stopping: {}", changed.late.join(", "));
        }
        let started = self.started.lock().await;
        self.stopping.borrow_mut().retain(|stopping| !stopping.has_ended());
        let mut sent = arriving;
        for scanner in self.scanners.borrow_mut().iter_mut().filter(|scanner| scanner.changes) {
            scanner.renew();
            if *started && !scanner.plan.progress.is_paused() {
                sent.push((scanner.name(), scanner.begin()));
            }
        }
        drop(started);
        let late = late_of(sent).await;
        if !late.is_empty() {
            log::error!("scanners did not start: {}; they will when they can", late.join(", "));
        }
        changed
    }

    /// Puts the plans in the place of those of before. New scanners begin; those of servers that are gone or have other
    /// settings are told to end.
    fn exchange(&self, plans: Vec<Plan>, started: bool) -> (Changed, Vec<(String, Begun)>) {
        let (mut scanners, mut stopping) = (self.scanners.borrow_mut(), self.stopping.borrow_mut());
        let mut before: HashMap<String, ScannerHandle> =
            scanners.drain(..).map(|scanner| (scanner.name(), scanner)).collect();
        let (mut changed, mut sent) = (Changed::default(), Vec::new());
        for plan in plans {
            let name = plan.settings.name.to_string();
            let scanner = match before.remove(&name) {
                Some(scanner) if scanner.plan.is_as(&plan) => {
                    changed.untouched += 1;
                    scanner
                }
                Some(mut scanner) => {
                    stopping.extend(scanner.change(plan));
                    changed.changed.push(name);
                    scanner
                }
                None => {
                    // a scanner of this name that has not ended yet keeps its thread, so that there are never two
                    let thread = stopping.iter_mut().find_map(|gone| gone.thread_of(&name));
                    let mut scanner = ScannerHandle::new(plan, thread);
                    if started && !scanner.plan.progress.is_paused() {
                        sent.push((name.clone(), scanner.begin()));
                    }
                    changed.added.push(name);
                    scanner
                }
            };
            scanners.push(scanner);
        }
        changed.removed = before.keys().cloned().collect();
        changed.removed.sort();
        stopping.extend(before.into_values().map(ScannerHandle::leave));
        (changed, sent)
    }

    fn late_stopping(&self) -> Vec<String> {
        self.stopping
            .borrow()
            .iter()
            .filter(|stopping| !stopping.has_ended())
            .map(|stopping| stopping.name.clone())
            .collect()
    }
}

/// The names of those who have not begun in time.
async fn late_of(sent: Vec<(String, Begun)>) -> Vec<String> {
    let (names, begun): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
    let begun = join_all(begun).await;
    names.into_iter().zip(begun).filter(|(_, begun)| !begun).map(|(name, _)| name).collect()
}
