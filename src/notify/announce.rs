//! Working off the outbox: every recorded file is announced, however long that takes.
//!
//! The outbox is the database itself: nothing waits in memory but the calls under way and a handful of rows, so a
//! notify host that is dead for days costs rows on disk and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
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
const REFILL: usize = 64;
/// Longest sleep without looking: a wake-up could be lost with a restarted keeper.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Between two tries to record the outcome of a call, whose records do not take it: the call is over, and another one
/// in its place would repeat it.
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

/// Announces until the exit flag is raised. `told` hears of each call that has ended, and whether it was delivered.
pub async fn announce(
    settings: &NotifySettings,
    outbox: &dyn Outbox,
    caller: &dyn Caller,
    wakers: &Wakers<'_>,
    told: impl Fn(&Notice, bool),
) {
    let mut desk = Desk { settings, outbox, caller, queue: VecDeque::new(), flying: Vec::new(), trouble: 0 };
    let mut calls = FuturesUnordered::new();
    let mut resume = Instant::now();
    loop {
        let ending = wakers.exit.is_raised();
        if ending && desk.flying.is_empty() {
            return;
        }
        while !ending && desk.flying.len() < desk.allowed() && Instant::now() >= resume {
            let Some(notice) = desk.next().await else { break };
            desk.flying.push(notice.id);
            calls.push(desk.call(notice));
        }
        let idle = !ending && desk.flying.len() < desk.allowed();
        let wake = if idle { desk.wake(resume).await } else { Instant::now() + LOOK_AGAIN };
        tokio::select! {
            Some(landed) = calls.next() => {
                told(&landed.notice, landed.outcome.is_ok());
                if let Some(pause) = desk.take_back(landed) {
                    resume = Instant::now() + pause;
                }
            }
            () = wakers.grew.notified(), if !ending => {}
            () = wakers.exit.raised(), if !ending => {}
            () = tokio::time::sleep_until(wake), if idle => {}
        }
    }
}

/// The notices at hand.
struct Desk<'a> {
    settings: &'a NotifySettings,
    outbox: &'a dyn Outbox,
    caller: &'a dyn Caller,
    queue: VecDeque<Notice>,
    flying: Vec<i64>,
    /// Failures in a row.
    trouble: u32,
}

/// A call that has ended.
struct Landed {
    notice: Notice,
    attempts: u32,
    outcome: Result<(), String>,
}

impl<'a> Desk<'a> {
    fn allowed(&self) -> usize {
        if self.trouble < TROUBLE { self.settings.concurrency } else { 1 }
    }

    /// The next notice that is due, if any.
    async fn next(&mut self) -> Option<Notice> {
        if self.queue.is_empty() {
            match self.outbox.due(REFILL, self.flying.clone()).await {
                Ok(due) => self.queue = due.into(),
                // the keeper has said so, once
                Err(error) => log::debug!("cannot read what is to be announced: {error:#}; trying again"),
            }
        }
        self.queue.pop_front()
    }

    /// When to look again, without a call under way that ends before.
    async fn wake(&self, resume: Instant) -> Instant {
        let latest = Instant::now() + LOOK_AGAIN;
        let next = match self.outbox.next_at(self.flying.clone()).await {
            Ok(next) => next,
            Err(error) => {
                log::debug!("cannot read when to announce next: {error:#}");
                return Instant::now() + RETRY.first;
            }
        };
        match next {
            None => latest,
            Some(at) => {
                let wait = u64::try_from(at - Utc::now().timestamp_millis()).unwrap_or(0);
                // never at once: a row that is due and cannot be read must not turn the loop into a spin
                let at = Instant::now() + Duration::from_millis(wait.max(10));
                at.max(resume).min(latest.max(resume))
            }
        }
    }

    /// Calls, and records the outcome beside the other calls: the keeper then records several at once. Where the
    /// records do not take it, that is tried until they do, and the call keeps its place among those under way: a
    /// host is not called again and again because our own disk is full.
    fn call(&self, notice: Notice) -> impl Future<Output = Landed> + use<'a> {
        let url = announcement(&self.settings.url, &notice.server, &notice.path);
        let (caller, outbox) = (self.caller, self.outbox);
        async move {
            let outcome = caller.call(&url).await;
            let attempts = notice.attempts.saturating_add(1);
            let wait = i64::try_from(RETRY.after(attempts).as_millis()).unwrap_or(i64::MAX / 2);
            let again_at = Utc::now().timestamp_millis() + wait;
            let mut tries = 0;
            loop {
                let recorded = match &outcome {
                    Ok(()) => outbox.delivered(vec![notice.id]).await,
                    Err(_) => outbox.postpone(notice.id, attempts, again_at).await,
                };
                let Err(error) = recorded else { break };
                let (server, path) = (&notice.server, &notice.path);
                log::debug!("server={server} path={path}: cannot record the call: {error:#}; trying again");
                tries += 1;
                tokio::time::sleep(RECORD_AGAIN.after(tries)).await;
            }
            Landed { notice, attempts, outcome }
        }
    }

    /// Draws the conclusions of a call. Answers how long to pause, where the host seems to be in trouble.
    fn take_back(&mut self, landed: Landed) -> Option<Duration> {
        let Landed { notice: Notice { id, server, path, .. }, attempts, outcome } = landed;
        self.flying.retain(|flying| *flying != id);
        let Err(reason) = outcome else {
            if self.trouble >= TROUBLE {
                log::info!("the notify host answers again");
            }
            self.trouble = 0;
            return None;
        };
        self.complain(&server, &path, &reason, RETRY.after(attempts));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_flag::ExitFlag;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// Rows by id, and whether they can be written.
    #[derive(Default)]
    struct Rows(RefCell<BTreeMap<i64, (u32, i64)>>, Cell<bool>);

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
        let (settings, grew, (_flag, exit)) = (settings(), Notify::new(), ExitFlag::new());
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
        Rows(RefCell::new((1..=count).map(|id| (id, (0, 0))).collect()), Cell::new(false))
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
        assert_eq!(
            (host.calls.borrow().len(), rows.0.borrow().len()),
            (4, 20),
            "as many as may be under way"
        );
        rows.1.set(false);
        until(&rows, &host, || rows.0.borrow().is_empty()).await;
    }

    #[tokio::test]
    async fn one_file_that_always_fails_hinders_no_other() {
        let (rows, host) = (rows(100), Host { bad: vec!["%2F7.zip"], ..Host::default() });
        until(&rows, &host, || rows.0.borrow().len() == 1).await;
        assert!(host.calls.borrow().iter().filter(|url| url.ends_with("%2F7.zip")).count() <= 2);
    }

    #[tokio::test]
    async fn at_the_end_calls_under_way_are_landed_and_no_other_is_begun() {
        let (rows, host, settings, grew) = (rows(50), Host::default(), settings(), Notify::new());
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
