//! Working off the outbox: every recorded file is announced, however long that takes.
//!
//! The outbox is the database itself: nothing waits in memory but the calls under way and a handful of rows, so a
//! notify host that is dead for days costs rows on disk and nothing else.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::url::announcement;
use crate::backoff::Backoff;
use crate::config::NotifySettings;
use crate::exit_flag::ExitWatch;
use crate::facts::Notice;
use crate::names::{RemotePath, ServerName};

/// Between two calls for the same file.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
/// So many failures in a row, of whatever files, say that the host itself is in trouble: calls become single
/// probes with pauses in between.
const TROUBLE: u32 = 8;
/// Between two probes.
const PROBE: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(15) };
/// Rows asked for at a time. Few, so that a file evicted meanwhile is seldom announced.
const REFILL: usize = 256;
/// Outcomes that may wait to be recorded while other calls go on: so many calls a crash may repeat beside those under
/// way. Without it a synced commit would be paid for every few calls.
const UNMARKED: usize = 256;
/// Longest sleep without looking: a wake-up could be lost with a restarted keeper.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Between two tries to record the outcome of a call that the records do not take.
const RECORD_AGAIN: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };

/// The records, as the notifier needs them. Times are milliseconds since 1970-01-01T00:00:00Z.
#[async_trait::async_trait(?Send)]
pub trait Outbox {
    /// Notices due now, without those in `except`.
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Vec<Notice>>;
    /// When the next one is due, without those in `except`.
    async fn next_at(&self, except: Vec<i64>) -> anyhow::Result<Option<i64>>;
    /// The files are announced.
    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()>;
    /// The call failed; it is due again at `at`.
    async fn postpone(&self, id: i64, attempts: u32, at: i64) -> anyhow::Result<()>;
}

/// Who makes the call.
#[async_trait::async_trait(?Send)]
pub trait Caller {
    /// Calls `url`; what went wrong in words, unless the answer was 2xx.
    async fn call(&self, url: &str) -> Result<(), String>;
}

/// What interrupts the waiting.
#[derive(Debug, Clone, Copy)]
pub struct Wakers<'a> {
    /// A file was recorded.
    pub grew: &'a Notify,
    /// No further calls are begun; those under way are landed.
    pub exit: &'a ExitWatch,
}

/// Announces until the exit flag is raised, by the settings of the moment; calls under way keep to those that they
/// began with. `told` hears of each call that has ended, and whether it was delivered.
pub async fn announce(
    settings: &watch::Receiver<NotifySettings>,
    outbox: &dyn Outbox,
    caller: &dyn Caller,
    wakers: &Wakers<'_>,
    told: impl Fn(&Notice, bool),
) {
    let mut desk = Desk::new(settings, outbox, caller);
    let mut changes = settings.clone();
    changes.mark_unchanged();
    let mut calls = FuturesUnordered::new();
    let mut marks = FuturesUnordered::new();
    // beside the calls, so that they do not stand still for it
    let mut refill = None;
    let mut resume = Instant::now();
    loop {
        let ending = wakers.exit.is_raised();
        if ending && desk.flying.is_empty() {
            return;
        }
        if !ending && refill.is_none() && desk.wants_more() {
            refill = Some(Box::pin(desk.refill()));
        }
        while !ending && desk.may_call(calls.len()) && Instant::now() >= resume {
            let Some(notice) = desk.queue.pop_front() else { break };
            desk.flying.push(notice.id);
            calls.push(desk.call(notice));
        }
        let idle = !ending && desk.may_call(calls.len());
        let wake = if Instant::now() < resume { resume } else { desk.look_again() };
        tokio::select! {
            Some(landed) = calls.next() => {
                told(&landed.notice, landed.outcome.is_ok());
                if let Some(pause) = desk.conclude(&landed) {
                    resume = Instant::now() + pause;
                }
                marks.push(desk.mark(landed));
            }
            Some(marked) = marks.next() => desk.take_back(marked),
            found = or_never(refill.as_mut()) => {
                refill = None;
                desk.take_in(found);
            }
            () = wakers.grew.notified(), if !ending => desk.grew(),
            () = wakers.exit.raised(), if !ending => {}
            Ok(()) = changes.changed(), if !ending => {
                // it may be another host
                desk.trouble = 0;
                resume = Instant::now();
            }
            () = tokio::time::sleep_until(wake), if idle => {}
        }
    }
}

/// The notices at hand.
struct Desk<'a> {
    settings: &'a watch::Receiver<NotifySettings>,
    outbox: &'a dyn Outbox,
    caller: &'a dyn Caller,
    queue: VecDeque<Notice>,
    /// Being called, or called and not marked yet.
    flying: Vec<i64>,
    /// The outbox was asked, and holds nothing that is due before.
    nothing_until: Option<Instant>,
    /// The outbox grew since it was asked last.
    grew_meanwhile: bool,
    /// Failures in a row.
    trouble: u32,
    /// Outcomes that the records do not take.
    unrecordable: Rc<Cell<usize>>,
}

/// A call that has ended.
struct Landed {
    notice: Notice,
    attempts: u32,
    outcome: Result<(), String>,
}

/// What the outbox said.
enum Found {
    Due(Vec<Notice>),
    Nothing { until: Instant },
}

/// A call whose outcome is on record.
struct Marked {
    id: i64,
    delivered: bool,
}

impl<'a> Desk<'a> {
    fn new(
        settings: &'a watch::Receiver<NotifySettings>,
        outbox: &'a dyn Outbox,
        caller: &'a dyn Caller,
    ) -> Self {
        Self {
            settings,
            outbox,
            caller,
            queue: VecDeque::new(),
            flying: Vec::new(),
            nothing_until: None,
            grew_meanwhile: false,
            trouble: 0,
            unrecordable: Rc::default(),
        }
    }

    /// Whether another call may be begun beside `calls` others. None is while outcomes cannot be recorded: a host is
    /// not called again and again because our own disk is full.
    fn may_call(&self, calls: usize) -> bool {
        let allowed = if self.trouble < TROUBLE { self.settings.borrow().concurrency } else { 1 };
        calls < allowed && self.flying.len() < allowed + UNMARKED && self.unrecordable.get() == 0
    }

    /// Whether the outbox should be asked for more.
    fn wants_more(&self) -> bool {
        let known_empty = self.nothing_until.is_some_and(|until| Instant::now() < until);
        self.queue.len() < REFILL / 2 && !known_empty
    }

    /// Asks for more notices.
    fn refill(&mut self) -> impl Future<Output = Found> + use<'a> {
        self.grew_meanwhile = false;
        let outbox = self.outbox;
        let mut except = self.flying.clone();
        except.extend(self.queue.iter().map(|notice| notice.id));
        async move {
            match outbox.due(REFILL, except.clone()).await {
                Ok(due) if due.is_empty() => Found::Nothing { until: next_due(outbox, except).await },
                Ok(due) => Found::Due(due),
                Err(error) => {
                    // the keeper has said so, once
                    log::debug!("cannot read what is to be announced: {error:#}; trying again");
                    Found::Nothing { until: Instant::now() + RETRY.first }
                }
            }
        }
    }

    fn take_in(&mut self, found: Found) {
        match found {
            Found::Due(due) => self.queue.extend(due),
            Found::Nothing { until } if !self.grew_meanwhile => self.nothing_until = Some(until),
            Found::Nothing { .. } => {}
        }
    }

    fn grew(&mut self) {
        self.nothing_until = None;
        self.grew_meanwhile = true;
    }

    /// When to look again, without a call under way that ends before.
    fn look_again(&self) -> Instant {
        self.nothing_until.unwrap_or_else(|| Instant::now() + LOOK_AGAIN)
    }

    fn call(&self, notice: Notice) -> impl Future<Output = Landed> + use<'a> {
        let url = announcement(&self.settings.borrow().url, &notice.server, &notice.path);
        let caller = self.caller;
        async move {
            let outcome = caller.call(&url).await;
            let attempts = notice.attempts.saturating_add(1);
            Landed { notice, attempts, outcome }
        }
    }

    /// Records the outcome beside other calls, so that the keeper records several at once. Where the records do not
    /// take it, that is tried until they do.
    fn mark(&self, landed: Landed) -> impl Future<Output = Marked> + use<'a> {
        let (outbox, unrecordable) = (self.outbox, Rc::clone(&self.unrecordable));
        let Landed { notice, attempts, outcome } = landed;
        let wait = i64::try_from(RETRY.after(attempts).as_millis()).unwrap_or(i64::MAX / 2);
        let again_at = Utc::now().timestamp_millis() + wait;
        async move {
            let mut tries = 0;
            loop {
                let recorded = match &outcome {
                    Ok(()) => outbox.delivered(vec![notice.id]).await,
                    Err(_) => outbox.postpone(notice.id, attempts, again_at).await,
                };
                let Err(error) = recorded else { break };
                let (server, path) = (&notice.server, &notice.path);
                log::debug!("server={server} path={path}: cannot record the call: {error:#}; trying again");
                if tries == 0 {
                    unrecordable.set(unrecordable.get() + 1);
                }
                tries += 1;
                tokio::time::sleep(RECORD_AGAIN.after(tries)).await;
            }
            if tries > 0 {
                unrecordable.set(unrecordable.get() - 1);
            }
            Marked { id: notice.id, delivered: outcome.is_ok() }
        }
    }

    fn take_back(&mut self, marked: Marked) {
        self.flying.retain(|flying| *flying != marked.id);
        if !marked.delivered {
            // it is due again, at a time of its own
            self.grew();
        }
    }

    /// Draws the conclusions of a call. Answers how long to pause, where the host seems to be in trouble.
    fn conclude(&mut self, landed: &Landed) -> Option<Duration> {
        let Landed { notice: Notice { server, path, .. }, attempts, outcome } = landed;
        let Err(reason) = outcome else {
            if self.trouble >= TROUBLE {
                log::info!("the notify host answers again");
            }
            self.trouble = 0;
            return None;
        };
        self.complain(server, path, reason, RETRY.after(*attempts));
        self.trouble = self.trouble.saturating_add(1);
        Some(PROBE.after((self.trouble + 1).saturating_sub(TROUBLE)))
    }

    /// A warning for each of the first failures; once the host is in trouble, one line says so.
    fn complain(&self, server: &ServerName, path: &RemotePath, reason: &str, wait: Duration) {
        let wait = humantime::format_duration(wait);
        if self.trouble + 1 == TROUBLE {
            log::warn!("the notify host fails ({reason}); files wait in the records until it answers");
        }
        let level = if self.trouble < TROUBLE { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "server={server} path={path}: announcing failed: {reason}; next try in {wait}");
    }
}

/// Waits for `work`, where there is any.
async fn or_never<F: Future + Unpin>(work: Option<&mut F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// When the first of those is due that are not due now.
async fn next_due(outbox: &dyn Outbox, except: Vec<i64>) -> Instant {
    let latest = Instant::now() + LOOK_AGAIN;
    match outbox.next_at(except).await {
        Ok(None) => latest,
        Ok(Some(at)) => {
            let wait = u64::try_from(at - Utc::now().timestamp_millis()).unwrap_or(0);
            // never at once: a row that is due and cannot be read must not turn the loop into a spin
            latest.min(Instant::now() + Duration::from_millis(wait.max(10)))
        }
        Err(error) => {
            log::debug!("cannot read when to announce next: {error:#}");
            Instant::now() + RETRY.first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_flag::ExitFlag;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// Rows by id; whether they cannot be written; whether writing them has no end.
    #[derive(Default)]
    struct Rows(RefCell<BTreeMap<i64, (u32, i64)>>, Cell<bool>, Cell<bool>);

    #[async_trait::async_trait(?Send)]
    impl Outbox for Rows {
        async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Vec<Notice>> {
            let now = Utc::now().timestamp_millis();
            let rows = self.0.borrow();
            let due = rows.iter().filter(|(id, (_, at))| *at <= now && !except.contains(id));
            let notice = |(id, (attempts, _)): (&i64, &(u32, i64))| Notice {
                id: *id,
                server: ServerName::new("omc01").unwrap(),
                path: RemotePath::from_text(&format!("/{id}.zip"), encoding_rs::UTF_8).unwrap(),
                attempts: *attempts,
                downloaded_at: 0,
            };
            Ok(due.map(notice).take(limit).collect())
        }
        async fn next_at(&self, except: Vec<i64>) -> anyhow::Result<Option<i64>> {
            Ok(self.0.borrow().iter().filter(|(id, _)| !except.contains(id)).map(|(_, (_, at))| *at).min())
        }
        async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()> {
            anyhow::ensure!(!self.1.get(), "the disk is full");
            if self.2.get() {
                std::future::pending::<()>().await;
            }
            self.0.borrow_mut().retain(|id, _| !ids.contains(id));
            Ok(())
        }
        async fn postpone(&self, id: i64, attempts: u32, at: i64) -> anyhow::Result<()> {
            self.0.borrow_mut().insert(id, (attempts, at));
            Ok(())
        }
    }

    /// Fails the calls whose URL ends in one of `bad`, and all of them while `dead`.
    #[derive(Default)]
    struct Host {
        dead: Cell<bool>,
        bad: Vec<&'static str>,
        calls: RefCell<Vec<String>>,
        at_once: Cell<usize>,
        most_at_once: Cell<usize>,
    }

    #[async_trait::async_trait(?Send)]
    impl Caller for Host {
        async fn call(&self, url: &str) -> Result<(), String> {
            self.at_once.set(self.at_once.get() + 1);
            self.most_at_once.set(self.most_at_once.get().max(self.at_once.get()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.at_once.set(self.at_once.get() - 1);
            self.calls.borrow_mut().push(url.to_owned());
            let fails = self.dead.get() || self.bad.iter().any(|bad| url.ends_with(bad));
            if fails { Err("500".to_owned()) } else { Ok(()) }
        }
    }

    fn settings() -> NotifySettings {
        NotifySettings {
            url: url::Url::parse("http://h/d").unwrap(),
            method: crate::config::NotifyMethod::Get,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            concurrency: 4,
        }
    }

    async fn until(rows: &Rows, host: &Host, done: impl Fn() -> bool) {
        let (settings, grew, (_flag, exit)) = (watch::channel(settings()).1, Notify::new(), ExitFlag::new());
        let check = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let wakers = Wakers { grew: &grew, exit: &exit };
        let work = announce(&settings, rows, host, &wakers, |_, _| {});
        tokio::select! {
            () = work => {}
            done = tokio::time::timeout(Duration::from_secs(20), check) => done.unwrap(),
        }
    }

    fn rows(count: i64) -> Rows {
        Rows(RefCell::new((1..=count).map(|id| (id, (0, 0))).collect()), Cell::new(false), Cell::new(false))
    }

    #[tokio::test]
    async fn every_file_is_announced_once_and_never_more_than_allowed_at_a_time() {
        let (rows, host) = (rows(200), Host::default());
        until(&rows, &host, || rows.0.borrow().is_empty()).await;
        assert_eq!(host.calls.borrow().len(), 200);
        assert_eq!(host.most_at_once.get(), 4);
    }

    #[tokio::test]
    async fn a_call_whose_delivery_cannot_be_recorded_is_not_repeated() {
        let (rows, host) = (rows(20), Host::default());
        rows.1.set(true);
        let began = Instant::now();
        until(&rows, &host, || began.elapsed() > Duration::from_millis(700)).await;
        let called = host.calls.borrow().len();
        assert!(
            (4..=8).contains(&called),
            "{called}: those under way, and the few begun before the first failure"
        );
        assert_eq!(rows.0.borrow().len(), 20);
        rows.1.set(false);
        until(&rows, &host, || rows.0.borrow().is_empty()).await;
    }

    #[tokio::test]
    async fn calls_go_on_while_outcomes_wait_to_be_recorded_up_to_a_bound() {
        let (rows, host) = (rows(400), Host::default());
        rows.2.set(true);
        let began = Instant::now();
        until(&rows, &host, || began.elapsed() > Duration::from_millis(1500)).await;
        assert_eq!(host.calls.borrow().len(), 4 + UNMARKED);
    }

    #[tokio::test]
    async fn one_file_that_always_fails_hinders_no_other() {
        let (rows, host) = (rows(100), Host { bad: vec!["%2F7.zip"], ..Host::default() });
        until(&rows, &host, || rows.0.borrow().len() == 1).await;
        assert!(host.calls.borrow().iter().filter(|url| url.ends_with("%2F7.zip")).count() <= 2);
    }

    #[tokio::test]
    async fn at_the_end_calls_under_way_are_landed_and_no_other_is_begun() {
        let (rows, host, grew) = (rows(50), Host::default(), Notify::new());
        let settings = watch::channel(settings()).1;
        let (flag, exit) = ExitFlag::new();
        let wakers = Wakers { grew: &grew, exit: &exit };
        let raise = async {
            while host.at_once.get() < 4 {
                tokio::task::yield_now().await;
            }
            flag.raise();
        };
        let work = announce(&settings, &rows, &host, &wakers, |_, _| {});
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(work, raise) }).await.unwrap();
        assert_eq!((host.calls.borrow().len(), rows.0.borrow().len()), (4, 46));
    }

    #[tokio::test]
    async fn a_dead_host_is_probed_singly_and_gets_everything_once_it_is_back() {
        let (rows, host) = (rows(50), Host::default());
        host.dead.set(true);
        until(&rows, &host, || host.calls.borrow().len() >= 9).await;
        assert_eq!(rows.0.borrow().len(), 50);
        host.dead.set(false);
        until(&rows, &host, || rows.0.borrow().is_empty()).await;
    }
}
