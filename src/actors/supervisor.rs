//! `Supervisor` starts and stops all scanners.
//!
//! Told by: console, control socket, signals. Waits for: the scanners, never longer than a stop may take. Thread:
//! the main one, from where it sees scanners whose own thread is blocked: they are named, because nobody can end
//! them, and go on by themselves should their thread move again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, ResponseFuture};
use tokio::sync::{Mutex, mpsc};

use super::AbortOnDrop;
use super::scanner::{Begin, FtpScanner, Plan};
use crate::exit_flag::ExitFlag;
use crate::pulse::{self, Verdict, seconds};
use crate::status::ServerState;
use crate::{fault, panics};

/// `stop` is promised to answer within 2 s; what has not ended then is named, and ends when it can.
const STOP_LIMIT: Duration = Duration::from_millis(1900);
/// For a scanner's thread to take a message. One that is late begins all the same, unless it is stopped before; one
/// that is known to be blocked is not waited for.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);
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
    watch: Option<AbortOnDrop<()>>,
}

/// One server's place: the scanner may be lost to a panic and is made anew then, on the same thread.
struct Slot {
    plan: Plan,
    arbiter: Arbiter,
    scanner: Addr<FtpScanner>,
    /// The last look found its thread blocked; two in a row are believed, as by the scanner itself.
    suspected: bool,
    /// Its thread is blocked, and the log has said so.
    blocked: bool,
}

/// One start, until it is stopped.
struct Run {
    flag: ExitFlag,
    /// For scanners that are made anew.
    begin: Begin,
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
            Slot { plan, arbiter, scanner, suspected: false, blocked: false }
        };
        let slots = plans.into_iter().map(slot).collect();
        let slots = Rc::new(RefCell::new(slots));
        Self { slots, run: Rc::default(), started: Rc::default(), watch: None }
    }
}

fn spawn(plan: &Plan, arbiter: &Arbiter) -> Addr<FtpScanner> {
    let plan = plan.clone();
    FtpScanner::start_in_arbiter(&arbiter.handle(), move |_| {
        panics::own_thread(&format!("server={}", plan.settings.name));
        pulse::adopt(Arc::clone(&plan.pulse));
        FtpScanner::new(plan)
    })
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let (slots, run) = (Rc::clone(&self.slots), Rc::clone(&self.run));
        self.watch = Some(AbortOnDrop(actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                // a start or stop under way looks after the scanners itself
                let begin = run.try_lock().ok().and_then(|run| run.as_ref().map(|run| run.begin.clone()));
                for slot in slots.borrow_mut().iter_mut() {
                    slot.look_for_life();
                    if let Some(begin) = begin.as_ref().filter(|_| !slot.scanner.connected()) {
                        // sent already, and nobody waits for the answer
                        drop(slot.begin(begin));
                    }
                }
            }
        })));
    }
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
            let begin = Begin { exit, running };
            let sent: Vec<_> = slots.borrow_mut().iter_mut().map(|slot| slot.begin(&begin)).collect();
            let begun = futures_util::future::join_all(sent).await;
            *run = Some(Run { flag, begin, running: ended });
            started.set(true);
            fault::here("supervisor", "supervisor");
            let slots = slots.borrow();
            let late = slots.iter().zip(begun).filter(|(_, begun)| !begun).map(|(slot, _)| slot.name());
            let late: Vec<&str> = late.collect();
            log::info!("started {} servers", slots.len() - late.len());
            if late.is_empty() {
                return Ok(format!("started {} servers", slots.len()));
            }
            let (count, names) = (slots.len(), late.join(", "));
            let said =
                format!("{} of {count} scanners did not start: {names}; they will when they can", late.len());
            log::error!("{said}");
            Err(said)
        })
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) -> Self::Result {
        let (slots, run, started) = (Rc::clone(&self.slots), Rc::clone(&self.run), Rc::clone(&self.started));
        Box::pin(async move {
            let mut run = run.lock().await;
            let Some(Run { flag, begin, mut running }) = run.take() else {
                return Ok("already stopped".to_owned());
            };
            started.set(false);
            // or the channel would not end
            drop(begin);
            flag.raise();
            // nothing is ever sent: the end of the channel is the message
            let ended = tokio::time::timeout(STOP_LIMIT, running.recv()).await.is_ok();
            let slots = slots.borrow();
            if ended {
                log::info!("stopped {} servers", slots.len());
                return Ok(format!("stopped {} servers", slots.len()));
            }
            let late =
                slots.iter().filter(|slot| slot.plan.progress.snapshot().state != ServerState::Stopped);
            let names: Vec<&str> = late.map(Slot::name).collect();
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
    fn name(&self) -> &str {
        self.plan.settings.name.as_str()
    }

    /// Sends `begin`, and tells whether the scanner has taken it in time. The message stays with one that is late; a
    /// task of its own waits for it, because an asker who stops waiting takes an unread message back.
    fn begin(&mut self, begin: &Begin) -> impl Future<Output = bool> + use<> {
        let sent = actix_rt::spawn(self.scanner().send(begin.clone()));
        let limit = if self.blocked { Duration::ZERO } else { BEGIN_LIMIT };
        async move { matches!(tokio::time::timeout(limit, sent).await, Ok(Ok(Ok(())))) }
    }

    /// Names a scanner whose thread is blocked, once, and says when it moves again.
    fn look_for_life(&mut self) {
        let Plan { settings, pulse, progress, .. } = &self.plan;
        let name = &settings.name;
        let verdict = pulse::judge(pulse.silence(), pulse::limit(settings.timeout));
        let suspected = matches!(verdict, Verdict::Blocked(_));
        let seen_before = std::mem::replace(&mut self.suspected, suspected);
        match verdict {
            Verdict::Blocked(silence) if seen_before && !self.blocked => {
                let (silence, under_way) = (seconds(silence), pulse.under_way());
                let fault = format!(
                    "its thread is blocked: no sign of life for {silence}, under way: {under_way}; it cannot be \
                     ended, and goes on when it can"
                );
                log::error!("server={name} {fault}");
                progress.update(|status| {
                    status.state = ServerState::Unreachable;
                    status.last_error = Some(fault);
                });
                self.blocked = true;
            }
            Verdict::Alive if self.blocked => {
                log::warn!("server={name} its thread moves again");
                self.blocked = false;
            }
            _ => {}
        }
    }

    /// The scanner, made anew if it was lost.
    fn scanner(&mut self) -> Addr<FtpScanner> {
        if !self.scanner.connected() {
            log::error!("server={} its scanner was lost; a new one is made", self.name());
            self.scanner = spawn(&self.plan, &self.arbiter);
        }
        self.scanner.clone()
    }
}
