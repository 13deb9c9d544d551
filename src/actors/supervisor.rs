//! `Supervisor` starts and stops all scanners.
//!
//! Told by: console, control socket, signals. Waits for: the scanners, never longer than a stop may take. Thread:
//! the main one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, ResponseFuture};
use tokio::sync::{Mutex, mpsc};

use super::scanner::{Begin, FtpScanner, Plan};
use crate::exit_flag::ExitFlag;
use crate::status::ServerState;

/// `stop` is promised to answer within 2 s; what has not ended then is named, and ends when it can.
const STOP_LIMIT: Duration = Duration::from_millis(1900);
/// For a scanner's thread to take a message.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);

/// Start all scanners. The answer is for the operator; started already is fine.
#[derive(Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Start;

/// Stop all scanners, and answer once all have ended. Stopped already is fine.
#[derive(Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Stop;

/// Whether the scanners are started.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct IsRunning;

/// See the module.
pub struct Supervisor {
    slots: Rc<RefCell<Vec<Slot>>>,
    /// Between a start and its stop. Held while either is under way, so that they follow one another.
    run: Rc<Mutex<Option<Run>>>,
    /// The same for whoever does not want to wait.
    started: Rc<Cell<bool>>,
}

/// One server's place: the scanner may be lost to a panic and is made anew then, on the same thread.
struct Slot {
    plan: Plan,
    arbiter: Arbiter,
    scanner: Addr<FtpScanner>,
}

/// One start, until it is stopped.
struct Run {
    flag: ExitFlag,
    /// Ends when every scanner has ended.
    running: mpsc::Receiver<()>,
}

impl Supervisor {
    /// A supervisor with one scanner for each plan, each on an arbiter of its own.
    #[must_use]
    pub fn new(plans: Vec<Plan>) -> Self {
        let slot = |plan: Plan| {
            let arbiter = Arbiter::new();
            let scanner = spawn(&plan, &arbiter);
            Slot { plan, arbiter, scanner }
        };
        let slots = plans.into_iter().map(slot).collect();
        Self { slots: Rc::new(RefCell::new(slots)), run: Rc::default(), started: Rc::default() }
    }
}

fn spawn(plan: &Plan, arbiter: &Arbiter) -> Addr<FtpScanner> {
    let plan = plan.clone();
    FtpScanner::start_in_arbiter(&arbiter.handle(), move |_| FtpScanner::new(plan))
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<Start> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, _: Start, _: &mut Context<Self>) -> Self::Result {
        let (slots, run, started) = (Rc::clone(&self.slots), Rc::clone(&self.run), Rc::clone(&self.started));
        Box::pin(async move {
            let mut run = run.lock().await;
            if run.is_some() {
                return Ok("already started".to_owned());
            }
            let (flag, exit) = ExitFlag::new();
            let (running, ended) = mpsc::channel(1);
            let scanners: Vec<_> = slots.borrow_mut().iter_mut().map(Slot::scanner).collect();
            let begin = |scanner: &Addr<FtpScanner>| {
                let begin = Begin { exit: exit.clone(), running: running.clone() };
                scanner.send(begin).timeout(BEGIN_LIMIT)
            };
            let begun = futures_util::future::join_all(scanners.iter().map(begin)).await;
            *run = Some(Run { flag, running: ended });
            started.set(true);
            let failed = begun.iter().filter(|begun| begun.is_err()).count();
            log::info!("started {} servers", begun.len() - failed);
            match failed {
                0 => Ok(format!("started {} servers", begun.len())),
                _ => Err(format!("{failed} of {} scanners did not start", begun.len())),
            }
        })
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) -> Self::Result {
        let (slots, run, started) = (Rc::clone(&self.slots), Rc::clone(&self.run), Rc::clone(&self.started));
        Box::pin(async move {
            let mut run = run.lock().await;
            let Some(Run { flag, mut running }) = run.take() else {
                return Ok("already stopped".to_owned());
            };
            started.set(false);
            flag.raise();
            // nothing is ever sent: the end of the channel is the message
            let ended = tokio::time::timeout(STOP_LIMIT, running.recv()).await.is_ok();
            let slots = slots.borrow();
            if ended {
                log::info!("stopped {} servers", slots.len());
                return Ok(format!("stopped {} servers", slots.len()));
            }
            let late = slots.iter().filter(|slot| slot.plan.progress.snapshot().state != ServerState::Stopped);
            let names: Vec<&str> = late.map(|slot| slot.plan.settings.name.as_str()).collect();
            log::error!("still stopping: {}", names.join(", "));
            Err(format!("still stopping: {}", names.join(", ")))
        })
    }
}

impl Handler<IsRunning> for Supervisor {
    type Result = bool;

    fn handle(&mut self, _: IsRunning, _: &mut Context<Self>) -> Self::Result {
        self.started.get()
    }
}

impl Slot {
    /// The scanner, made anew if it was lost.
    fn scanner(&mut self) -> Addr<FtpScanner> {
        if !self.scanner.connected() {
            log::error!("server={} its scanner was lost; a new one is made", self.plan.settings.name);
            self.scanner = spawn(&self.plan, &self.arbiter);
        }
        self.scanner.clone()
    }
}
