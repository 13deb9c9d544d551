//! What the supervisor holds of one server: its scanner, the thread of it, and its run between a start and a stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use tokio::sync::mpsc;

use super::arbiter;
use super::scanner::{Begin, FtpScanner, Plan};
use crate::base::exit_flag::ExitFlag;
use crate::base::panics;
use crate::base::watchdog;
use crate::base::watchdog::{Verdict, seconds};
use crate::collector::open_files::Seat;
use crate::status::ServerState;

/// For a scanner's thread to take a message. One that is late begins all the same, unless it is stopped before; one
/// that is known to be blocked is not waited for.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);

/// Tells whether a scanner's thread has taken its message in time.
pub(super) type Begun = LocalBoxFuture<'static, bool>;
/// Ends when a scanner has ended.
pub(super) type Ending = Shared<LocalBoxFuture<'static, ()>>;

/// See the module. The scanner may be lost to a panic and is made anew then, on the same thread.
pub(super) struct ScannerHandle {
    pub(super) plan: Plan,
    /// The system may not give one, which is tried again.
    thread: Option<Thread>,
    /// Why there is no thread, as the log has said.
    lacking: Option<String>,
    run: Option<Run>,
    /// The plan has changed, and the scanner is still the one of before.
    pub(super) changes: bool,
    /// The last look found its thread blocked; two in a row are believed, as by the scanner itself.
    suspected: bool,
    /// Its thread is blocked, and the log has said so.
    blocked: bool,
}

/// What a scanner runs on, and the way to it.
struct Thread {
    arbiter: Arbiter,
    scanner: Addr<FtpScanner>,
    /// Held as long as the thread.
    _seat: Seat,
}

/// What is left of a thread when its scanner is not needed any more.
pub(super) struct Vacant {
    arbiter: Arbiter,
    seat: Seat,
}

/// From a start to its stop.
struct Run {
    flag: ExitFlag,
    /// For a scanner that is made anew.
    begin: Begin,
    ending: Ending,
}

/// A scanner that was told to end because its server is gone or has changed.
pub(super) struct Stopping {
    pub(super) name: String,
    ending: Ending,
    /// Of a server that is gone: ended with the scanner, and held until then, as is its address.
    left: Option<Thread>,
}

impl ScannerHandle {
    /// A scanner that waits for its start, on a thread of its own unless there is one for it.
    pub(super) fn new(plan: Plan, vacant: Option<Vacant>) -> Self {
        let thread = vacant.map(|vacant| Thread::new(&plan, vacant));
        let (run, lacking) = (None, None);
        let mut handle =
            Self { plan, thread, lacking, run, changes: false, suspected: false, blocked: false };
        handle.provide();
        handle
    }

    /// Makes the thread where there is none; says why that is not possible.
    fn provide(&mut self) {
        if self.thread.is_some() {
            return;
        }
        match Vacant::new(&self.plan) {
            Ok(vacant) => {
                self.thread = Some(Thread::new(&self.plan, vacant));
                if self.lacking.take().is_some() {
                    log::info!("server={} it is scanned now", self.name());
                    self.plan.progress.update(|status| status.last_error = None);
                }
            }
            Err(error) => {
                let lack = format!("not scanned: {error:#}");
                if self.lacking.as_ref() != Some(&lack) {
                    log::error!("server={} {lack}", self.name());
                }
                if self.run.is_some() {
                    self.plan.progress.update(|status| {
                        status.state = ServerState::Unreachable;
                        status.last_error = Some(lack.clone());
                    });
                }
                self.lacking = Some(lack);
            }
        }
    }

    pub(super) fn name(&self) -> String {
        self.plan.settings.name.to_string()
    }

    /// Begins a run, and tells whether the scanner has taken it in time. One that is about to change begins later.
    pub(super) fn begin(&mut self) -> Begun {
        if self.changes {
            return async { true }.boxed_local();
        }
        let (flag, exit) = ExitFlag::new();
        let (running, mut ended) = mpsc::channel(1);
        let begin = Begin { exit, running };
        // nothing is ever sent: the end of the channel is the message
        let ending = async move { while ended.recv().await.is_some() {} }.boxed_local().shared();
        self.run = Some(Run { flag, begin: begin.clone(), ending });
        self.send(begin).boxed_local()
    }

    /// Begins the run again where the scanner was lost.
    pub(super) fn begin_if_lost(&mut self) {
        let begin = self.run.as_ref().map(|run| run.begin.clone());
        let is_lost = self.thread.as_ref().is_none_or(|thread| !thread.scanner.connected());
        if let Some(begin) = begin.filter(|_| is_lost) {
            // sent already, and nobody waits for the answer
            drop(self.send(begin));
        }
    }

    /// The message stays with a scanner that is late; a task of its own waits for it, because an asker who stops
    /// waiting takes an unread message back.
    fn send(&mut self, begin: Begin) -> impl Future<Output = bool> + use<> {
        let sent = self.scanner().map(|scanner| actix_rt::spawn(scanner.send(begin)));
        let limit = if self.blocked { Duration::ZERO } else { BEGIN_LIMIT };
        async move {
            let Some(sent) = sent else { return false };
            matches!(tokio::time::timeout(limit, sent).await, Ok(Ok(Ok(()))))
        }
    }

    /// Raises the flag of its run, if it is in one.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let Run { flag, begin, ending } = self.run.take()?;
        // or the channel would not end
        drop(begin);
        flag.raise();
        if self.thread.is_none() {
            self.plan.progress.stopped();
        }
        Some(ending)
    }

    /// Ends the run under the plan of before; [`Self::renew`] follows.
    pub(super) fn change(&mut self, plan: Plan) -> Option<Stopping> {
        let pulse = Arc::clone(&self.plan.pulse);
        self.plan = Plan { pulse, ..plan };
        self.changes = true;
        self.end().map(|ending| Stopping { name: self.name(), ending, left: None })
    }

    /// Makes the scanner of the plan that has changed.
    pub(super) fn renew(&mut self) {
        if let Some(thread) = &mut self.thread {
            thread.renew(&self.plan);
        }
        self.plan.progress.changed();
        self.changes = false;
    }

    /// Ends the run for good.
    pub(super) fn leave(mut self) -> Stopping {
        let (name, ending) = (self.name(), self.end());
        let ending = ending.unwrap_or_else(|| async {}.boxed_local().shared());
        Stopping { name, ending, left: self.thread }
    }

    /// Names a scanner whose thread is blocked, once, and says when it moves again.
    pub(super) fn look_for_signs_of_life(&mut self) {
        let Plan { settings, pulse, progress, .. } = &self.plan;
        let name = &settings.name;
        let verdict = watchdog::judge(pulse.silence(), watchdog::limit(settings.timeout));
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

    /// The scanner, made anew if it was lost; `None` where the system gives no thread for it.
    fn scanner(&mut self) -> Option<Addr<FtpScanner>> {
        self.provide();
        let thread = self.thread.as_mut()?;
        if !thread.scanner.connected() {
            log::error!("server={} its scanner was lost; a new one is made", self.plan.settings.name);
            thread.renew(&self.plan);
        }
        Some(thread.scanner.clone())
    }
}

impl Vacant {
    /// A thread for the server of `plan`.
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let lack = || anyhow::anyhow!("{}", plan.open_files.need());
        let seat = plan.open_files.seat().ok_or_else(lack)?;
        Ok(Self { arbiter: arbiter("scanner")?, seat })
    }
}

impl Thread {
    fn new(plan: &Plan, Vacant { arbiter, seat }: Vacant) -> Self {
        let scanner = spawn(plan, &arbiter);
        Self { arbiter, scanner, _seat: seat }
    }

    fn renew(&mut self, plan: &Plan) {
        self.scanner = spawn(plan, &self.arbiter);
    }
}

impl Stopping {
    pub(super) fn ending(&self) -> Ending {
        self.ending.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ending().now_or_never().is_some()
    }

    /// The thread of the server that is gone, if it is this one.
    pub(super) fn thread_of(&mut self, name: &str) -> Option<Vacant> {
        let Thread { arbiter, _seat: seat, .. } = self.left.take_if(|_| self.name == name)?;
        Some(Vacant { arbiter, seat })
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(thread) = &self.left {
            thread.arbiter.stop();
        }
    }
}

fn spawn(plan: &Plan, arbiter: &Arbiter) -> Addr<FtpScanner> {
    let plan = plan.clone();
    FtpScanner::start_in_arbiter(&arbiter.handle(), move |_| {
        panics::own_thread(&format!("server={}", plan.settings.name));
        watchdog::adopt(Arc::clone(&plan.pulse));
        FtpScanner::new(plan)
    })
}
