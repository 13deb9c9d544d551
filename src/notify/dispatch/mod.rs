//! Works off the outbox: every recorded file is called for, however long that takes.
//!
//! The outbox is the database itself: nothing waits in memory but the calls under way and a handful of rows, so a
//! receiver that is dead for days costs rows on disk and nothing else. What is asked of the outbox is in `refill`, which
//! call is next in `call_queue`, whose fault failures are in `health`, how many calls the receiver bears in
//! `concurrency`, and what is put on record of them in `results`.

mod call_queue;
mod concurrency;
mod current_sink;
mod health;
mod refill;
mod results;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::sink::{CallFailure, CallResult, Notice};
use crate::base::backoff::Backoff;
use crate::base::exit_flag::ExitWatch;
use crate::base::facts::Postponed;
use crate::base::names::{Printable, ServerName};
use crate::config::{NotifyConcurrency, NotifySettings};
use call_queue::{CallQueue, Next};
use concurrency::Concurrency;
use current_sink::CurrentSink;
use health::{Change, Health};
use refill::{Found, Refill};
use results::{Outcome, Results};

pub use current_sink::Open;

/// Between two calls for the same file.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
/// From so many failures of a file on its interval is the longest, and a warning comes for each so many of them: hourly.
const SELDOM: u32 = 12;
/// Outcomes that may wait to be recorded while other calls go on: so many calls a crash may repeat beside those under
/// way. Without it a synced commit would be paid for every few calls.
const UNMARKED: usize = 256;
/// A notice that waited for so long is called for only where its file is there. Newer ones were stored a moment ago, and
/// looking costs each call some system calls.
const LOOKED_FOR_FROM: Duration = Duration::from_secs(60);
/// When to look again for a file that was not there: until then the audit has found that it was deleted, and cancelled
/// its call. Only the records cancel one: a mirror that is not mounted has no files either.
const MISSING_AGAIN: Duration = Duration::from_secs(60);

/// Calls for every notice of an outbox.
///
/// Dropped at any moment, or killed, it loses no notice: those that were under way, or whose outcome was not on record
/// yet, are called again by the next one.
pub struct Dispatcher<'a> {
    settings: &'a watch::Receiver<NotifySettings>,
    outbox: &'a dyn Outbox,
    sink: CurrentSink<'a>,
    queue: CallQueue,
    health: Health,
    concurrency: Concurrency,
    refill: Refill,
    results: Results<'a>,
    /// Being called, or called and not on record yet.
    in_flight: HashSet<i64>,
}

/// A call that has ended.
struct Call {
    notice: Notice,
    result: CallResult,
    /// From beginning to answer.
    took: Duration,
}

enum Step {
    Call(Notice),
    PutOff(Vec<Postponed>),
    At(Instant),
    Nothing,
}

impl<'a> Dispatcher<'a> {
    /// Makes a dispatcher that follows `settings`, and calls what `open` opens for them.
    #[must_use]
    pub fn new(
        settings: &'a watch::Receiver<NotifySettings>,
        outbox: &'a dyn Outbox,
        open: &'a Open<'a>,
    ) -> Self {
        Self {
            settings,
            outbox,
            sink: CurrentSink::new(settings, open),
            queue: CallQueue::default(),
            health: Health::default(),
            concurrency: Concurrency::default(),
            refill: Refill::new(outbox.state().edition()),
            results: Results::new(outbox),
            in_flight: HashSet::new(),
        }
    }

    /// Calls until the exit flag is raised and nothing is in flight any more, by the settings of the moment; calls under
    /// way keep to those that they began with. `on_result` hears of each call that has ended.
    pub async fn run(mut self, exit: &ExitWatch, on_result: impl Fn(&Notice, &CallResult)) {
        let mut changes = self.settings.clone();
        changes.mark_unchanged();
        let mut calls = FuturesUnordered::new();
        let mut results = FuturesUnordered::new();
        // beside the calls, so that they do not stand still for it
        let mut refill = None;
        loop {
            let ending = exit.is_raised();
            if ending && self.in_flight.is_empty() {
                return;
            }
            let mut wake = self.refill.look_again();
            loop {
                let next = if ending { Step::Nothing } else { self.next() };
                match next {
                    Step::Call(notice) => calls.push(self.call(notice)),
                    Step::PutOff(notices) => results.push(self.results.record(Outcome::Postponed(notices))),
                    Step::At(at) => {
                        wake = wake.min(at);
                        break;
                    }
                    Step::Nothing => break,
                }
            }
            if !ending && refill.is_none() && self.wants_more() {
                refill = Some(Box::pin(self.ask_for_more()));
            }
            tokio::select! {
                Some(call) = calls.next() => {
                    on_result(&call.notice, &call.result);
                    let outcome = self.conclude(call);
                    results.push(self.results.record(outcome));
                }
                Some(recorded) = results.next() => self.on_recorded(&recorded),
                found = or_never(refill.as_mut()) => {
                    refill = None;
                    if let Some(put_off) = self.take_in(found) {
                        results.push(self.results.record(Outcome::Postponed(put_off)));
                    }
                }
                () = self.outbox.state().outbox_changed(), if !ending => self.refill.ask(),
                () = exit.raised(), if !ending => {}
                // it may be another receiver
                Ok(()) = changes.changed(), if !ending => self.forget_receiver(),
                () = tokio::time::sleep_until(wake), if !ending => {}
            }
        }
    }

    /// Says what to do now. No call is begun while outcomes cannot be recorded: a receiver is not called again and again
    /// because our own disk is full.
    fn next(&mut self) -> Step {
        let state = self.outbox.state();
        if self.refill.is_outdated(state.edition()) {
            self.read_again();
        }
        let allowed = self.allowed();
        state.set_concurrency(allowed);
        if self.in_flight.len() >= allowed + UNMARKED || self.results.are_stuck() {
            return Step::Nothing;
        }
        loop {
            let notice = match self.queue.next(&self.health, allowed, Instant::now()) {
                Next::Call(notice) => notice,
                Next::At(at) => return Step::At(at),
                Next::Nothing => return Step::Nothing,
            };
            if state.is_being_deleted(notice.id) {
                // it is read again where its file stays
                self.queue.ended(notice.id);
                continue;
            }
            self.in_flight.insert(notice.id);
            if self.may_be_gone(&notice) && self.outbox.is_missing(&notice) {
                self.queue.ended(notice.id);
                let (server, path) = (&notice.server, &notice.path);
                log::debug!("server={server} path={path}: not called for: the file is not in the mirror");
                return Step::PutOff(vec![self.postponed(&notice, notice.attempts, MISSING_AGAIN)]);
            }
            return Step::Call(notice);
        }
    }

    /// Returns how many calls may be under way.
    fn allowed(&self) -> usize {
        match self.settings.borrow().concurrency {
            NotifyConcurrency::Auto => self.concurrency.now(),
            NotifyConcurrency::AtMost(number) => number,
        }
    }

    /// Returns whether so much time passed since the file was stored that it may be gone.
    fn may_be_gone(&self, notice: &Notice) -> bool {
        let waited = self.outbox.now().saturating_sub(notice.downloaded_at);
        notice.attempts > 0 || u128::try_from(waited).is_ok_and(|it| it >= LOOKED_FOR_FROM.as_millis())
    }

    fn forget_receiver(&mut self) {
        self.health.forget();
        self.concurrency = Concurrency::default();
    }

    fn read_again(&mut self) {
        self.queue.clear();
        self.refill.ask();
    }

    fn wants_more(&self) -> bool {
        self.in_flight.len() <= UNMARKED && self.refill.wants_more(&self.queue)
    }

    fn ask_for_more(&mut self) -> impl Future<Output = Found> + use<'a> {
        let except = self.in_flight.iter().copied().chain(self.queue.ids());
        self.refill.ask_for(self.outbox, except.collect())
    }

    /// Takes in what the outbox gave. Returns what is to be put off.
    fn take_in(&mut self, found: Found) -> Option<Vec<Postponed>> {
        let (due, is_full) = self.refill.take_in(found, self.outbox)?;
        let put_off = self.queue.take_in(due, is_full, &self.health);
        if put_off.is_empty() {
            return None;
        }
        log::debug!("{} calls wait: all those for files of their servers fail", put_off.len());
        self.in_flight.extend(put_off.iter().map(|notice| notice.id));
        Some(put_off.iter().map(|notice| self.postponed(notice, notice.attempts, RETRY.first)).collect())
    }

    fn call(&mut self, notice: Notice) -> impl Future<Output = Call> + use<> {
        let sink = self.sink.current();
        async move {
            let began = Instant::now();
            let result = sink.deliver(&notice).await;
            let result = result.map_err(|CallFailure { fault, reason }| {
                let reason = format!("{}: {reason}", sink.describe());
                CallFailure { fault, reason: Printable(&reason).to_string() }
            });
            Call { notice, result, took: began.elapsed() }
        }
    }

    fn on_recorded(&mut self, recorded: &Outcome) {
        match recorded {
            Outcome::Delivered(id) => {
                self.in_flight.remove(id);
            }
            Outcome::Postponed(notices) => {
                self.in_flight.retain(|id| !notices.iter().any(|notice| notice.id == *id));
                // each is due again, at a time of its own
                let first = notices.iter().map(|notice| notice.at).min();
                self.refill.tried_are_due(first, self.outbox.now());
            }
        }
    }

    /// Draws the conclusions of a call, and returns what is to be put on record of it.
    fn conclude(&mut self, call: Call) -> Outcome {
        let Call { notice, result, took } = call;
        self.queue.ended(notice.id);
        let now = Instant::now();
        let CallFailure { fault, reason } = match result {
            Ok(()) => {
                self.concurrency.answered(took, self.queue.fresh() > 0);
                let change = self.health.delivered(&notice.server, now);
                self.changed(change, &notice.server, "");
                return Outcome::Delivered(notice.id);
            }
            Err(failure) => failure,
        };
        if fault.is_too_much() {
            self.concurrency.failed();
        }
        let attempts = notice.attempts.saturating_add(1);
        let wait = RETRY.after(attempts);
        self.log_failure(&notice, attempts, &reason, wait);
        self.health.set_alone(self.outbox.is_alone());
        let change = self.health.failed(&notice, fault, now);
        self.changed(change, &notice.server, &reason);
        Outcome::Postponed(vec![self.postponed(&notice, attempts, wait)])
    }

    /// Returns what is kept of a notice that is to be called again after `wait`.
    fn postponed(&self, notice: &Notice, attempts: u32, wait: Duration) -> Postponed {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
        Postponed { id: notice.id, attempts: attempts.max(1), at: self.outbox.now() + wait }
    }

    /// Warns of each failure, but seldom of a file that fails again and again; and not while it is known that the
    /// receiver is down, or that all files of the server fail.
    fn log_failure(&self, notice: &Notice, attempts: u32, reason: &str, wait: Duration) {
        let Notice { server, path, .. } = notice;
        let known = self.health.is_down() || self.health.fails(server);
        let seldom = attempts >= SELDOM && !attempts.is_multiple_of(SELDOM);
        let level = if known || seldom { log::Level::Debug } else { log::Level::Warn };
        let wait = crate::base::humanize::duration(wait);
        log::log!(level, "server={server} path={path}: announcing failed: {reason}; next try in {wait}");
    }

    fn changed(&mut self, change: Change, server: &ServerName, reason: &str) {
        match change {
            Change::None => return,
            Change::Down => {
                log::warn!("the notify host fails ({reason}); files wait in the records until it answers");
            }
            Change::Up => log::info!("the notify host answers again"),
            Change::ServerFails => log::warn!(
                "server={server}: all calls for its files fail ({reason}); they are tried one by one, and those \
                 for other servers go on"
            ),
            Change::ServerWorks => log::info!("server={server}: calls for its files are delivered again"),
        }
        // in another order
        self.read_again();
    }
}

/// Waits for `work`, where there is any.
async fn or_never<F: Future + Unpin>(work: Option<&mut F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
