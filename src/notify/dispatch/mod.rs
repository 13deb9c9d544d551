//! Working off the outbox: every recorded file is announced, however long that takes.
//!
//! The outbox is the database itself: nothing waits in memory but the calls under way and a handful of rows, so a
//! notify host that is dead for days costs rows on disk and nothing else.

mod call_queue;
mod concurrency;
pub mod health;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::http::url::announcement;
use super::outbox_state::OutboxState;
use crate::base::backoff::Backoff;
use crate::base::exit_flag::ExitWatch;
use crate::base::facts::{Due, Notice, Postponed};
use crate::base::names::ServerName;
use crate::config::{NotifyConcurrency, NotifySettings};
use call_queue::{CallQueue, Next};
use concurrency::Concurrency;
use health::{Change, Fault, Health};

/// Between two calls for the same file.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
/// From so many failures of a file on its interval is the longest, and a warning comes for each so many of them: hourly.
const SELDOM: u32 = 12;
/// Rows asked for at a time.
const REFILL: usize = 256;
/// Outcomes that may wait to be recorded while other calls go on: so many calls a crash may repeat beside those under
/// way. Without it a synced commit would be paid for every few calls.
const UNMARKED: usize = 256;
/// Longest sleep without looking: a wake-up could be lost with a restarted keeper.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A notice that waited for so long is called for only where its file is there. Newer ones were stored a moment ago, and
/// looking costs each call some system calls.
const LOOKED_FOR_FROM: Duration = Duration::from_secs(60);
/// When to look again for a file that was not there: until then the audit has found that it was deleted, and cancelled
/// its call. Only the records cancel one: a mirror that is not mounted has no files either.
const MISSING_AGAIN: Duration = Duration::from_secs(60);

/// Between two tries to record the outcome of a call that the records do not take.
const RECORD_AGAIN: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };

/// The records and the mirror, as the notifier needs them. Times are milliseconds since 1970-01-01T00:00:00Z.
#[async_trait::async_trait(?Send)]
pub trait Outbox {
    /// Up to `limit` notices never tried, up to `limit` others that are due now, and when the next is; without those
    /// in `except`.
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Due>;
    /// The files are announced.
    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()>;
    /// These are called again later.
    async fn postpone(&self, notices: Vec<Postponed>) -> anyhow::Result<()>;
    /// Whether the file is surely not in the mirror.
    fn is_missing(&self, notice: &Notice) -> bool;
    /// What happens to rows that were read.
    fn outbox_state(&self) -> &OutboxState;
    /// Whether there is one server alone.
    fn is_alone(&self) -> bool;
}

/// Why a call was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is evidence of.
    pub fault: Fault,
    /// The host says that there are too many calls: 429 or 503.
    pub is_overload: bool,
    /// What was tried and what came back, in words, without secrets.
    pub reason: String,
}

/// Who makes the call.
#[async_trait::async_trait(?Send)]
pub trait Caller {
    /// Calls `url`; what went wrong, unless the answer was 2xx.
    async fn call(&self, url: &str) -> Result<(), Failure>;
}

/// Announces until the exit flag is raised, by the settings of the moment; calls under way keep to those that they
/// began with. `told` hears of each call that has ended, and whether it was delivered.
pub async fn announce(
    settings: &watch::Receiver<NotifySettings>,
    outbox: &dyn Outbox,
    caller: &dyn Caller,
    exit: &ExitWatch,
    told: impl Fn(&Notice, bool),
) {
    let mut work = Work::new(settings, outbox, caller);
    let mut changes = settings.clone();
    changes.mark_unchanged();
    let mut calls = FuturesUnordered::new();
    let mut marks = FuturesUnordered::new();
    // beside the calls, so that they do not stand still for it
    let mut refill = None;
    loop {
        let ending = exit.is_raised();
        if ending && work.flying.is_empty() {
            return;
        }
        let mut wake = work.look_again();
        loop {
            let next = if ending { Step::Nothing } else { work.next() };
            match next {
                Step::Call(notice) => calls.push(work.call(notice)),
                Step::PutOff(notices) => marks.push(work.mark(Outcome::Again(notices))),
                Step::At(at) => {
                    wake = wake.min(at);
                    break;
                }
                Step::Nothing => break,
            }
        }
        if !ending && refill.is_none() && work.wants_more() {
            refill = Some(Box::pin(work.refill()));
        }
        tokio::select! {
            Some(landed) = calls.next() => {
                told(&landed.notice, landed.outcome.is_ok());
                let outcome = work.conclude(landed);
                marks.push(work.mark(outcome));
            }
            Some(marked) = marks.next() => work.take_back(&marked),
            found = or_never(refill.as_mut()) => {
                refill = None;
                if let Some(put_off) = work.take_in(found) {
                    marks.push(work.mark(Outcome::Again(put_off)));
                }
            }
            () = outbox.outbox_state().noticed(), if !ending => work.ask = true,
            () = exit.raised(), if !ending => {}
            // it may be another host
            Ok(()) = changes.changed(), if !ending => work.forget_host(),
            () = tokio::time::sleep_until(wake), if !ending => {}
        }
    }
}

/// What is at hand, and what is known.
struct Work<'a> {
    settings: &'a watch::Receiver<NotifySettings>,
    outbox: &'a dyn Outbox,
    caller: &'a dyn Caller,
    desk: CallQueue,
    health: Health,
    concurrency: Concurrency,
    /// Being called, or called and not marked yet.
    flying: Vec<i64>,
    /// The state of the records in which the rows at hand were read.
    edition: u64,
    /// The outbox may hold more than it said last.
    ask: bool,
    /// It may hold more new files behind those that it gave, and more of the others.
    more: (bool, bool),
    /// When one that was tried is due, as far as is known.
    tried_at: Instant,
    /// The outbox is not asked before this, where it could not be read.
    read_at: Instant,
    /// Outcomes that the records do not take.
    unrecordable: Rc<Cell<usize>>,
}

/// A call that has ended.
struct Landed {
    notice: Notice,
    outcome: Result<(), Failure>,
    /// From beginning to answer.
    took: Duration,
}

/// What is to be put on record of calls.
#[derive(Clone)]
enum Outcome {
    Delivered(i64),
    Again(Vec<Postponed>),
}

/// What the outbox said, and of which state of the records.
struct Found {
    due: anyhow::Result<Due>,
    edition: u64,
}

enum Step {
    Call(Notice),
    PutOff(Vec<Postponed>),
    At(Instant),
    Nothing,
}

impl<'a> Work<'a> {
    fn new(
        settings: &'a watch::Receiver<NotifySettings>,
        outbox: &'a dyn Outbox,
        caller: &'a dyn Caller,
    ) -> Self {
        Self {
            settings,
            outbox,
            caller,
            desk: CallQueue::default(),
            health: Health::default(),
            concurrency: Concurrency::default(),
            flying: Vec::new(),
            edition: outbox.outbox_state().edition(),
            ask: true,
            more: (false, false),
            tried_at: Instant::now(),
            read_at: Instant::now(),
            unrecordable: Rc::default(),
        }
    }

    /// What to do now. No call is begun while outcomes cannot be recorded: a host is not called again and again because
    /// our own disk is full.
    fn next(&mut self) -> Step {
        let outbox_state = self.outbox.outbox_state();
        if self.edition != outbox_state.edition() {
            self.edition = outbox_state.edition();
            self.read_again();
        }
        let allowed = self.allowed();
        outbox_state.allow(allowed);
        if self.flying.len() >= allowed + UNMARKED || self.unrecordable.get() > 0 {
            return Step::Nothing;
        }
        loop {
            let notice = match self.desk.next(&self.health, allowed, Instant::now()) {
                Next::Call(notice) => notice,
                Next::At(at) => return Step::At(at),
                Next::Nothing => return Step::Nothing,
            };
            if outbox_state.is_leaving(notice.id) {
                // it is read again where its file stays
                self.desk.ended(notice.id);
                continue;
            }
            self.flying.push(notice.id);
            if waits_long(&notice) && self.outbox.is_missing(&notice) {
                self.desk.ended(notice.id);
                let (server, path) = (&notice.server, &notice.path);
                log::debug!("server={server} path={path}: not called for: the file is not in the mirror");
                return Step::PutOff(vec![again(&notice, notice.attempts, MISSING_AGAIN)]);
            }
            return Step::Call(notice);
        }
    }

    /// How many calls may be under way.
    fn allowed(&self) -> usize {
        match self.settings.borrow().concurrency {
            NotifyConcurrency::Auto => self.concurrency.now(),
            NotifyConcurrency::AtMost(number) => number,
        }
    }

    fn forget_host(&mut self) {
        self.health.forget();
        self.concurrency = Concurrency::default();
    }

    fn read_again(&mut self) {
        self.desk.clear();
        self.ask = true;
    }

    /// Whether the outbox should be asked for more.
    fn wants_more(&self) -> bool {
        if self.flying.len() > UNMARKED || Instant::now() < self.read_at {
            return false;
        }
        let (more_fresh, more_tried) = self.more;
        let (few_fresh, few_tried) = (self.desk.fresh() < REFILL / 2, self.desk.tried() < REFILL / 2);
        let due = self.tried_at <= Instant::now() || more_tried;
        (few_fresh && (self.ask || more_fresh)) || (few_tried && due)
    }

    /// Asks for more notices.
    fn refill(&mut self) -> impl Future<Output = Found> + use<'a> {
        self.ask = false;
        let outbox = self.outbox;
        let edition = outbox.outbox_state().edition();
        let leaving = outbox.outbox_state().all_leaving();
        let except = self.flying.iter().copied().chain(self.desk.ids()).chain(leaving).collect();
        async move { Found { due: outbox.due(REFILL, except).await, edition } }
    }

    /// Takes in what the outbox gave. Answers what is to be put off.
    fn take_in(&mut self, found: Found) -> Option<Vec<Postponed>> {
        let due = match found.due {
            Ok(due) => due,
            Err(error) => {
                // the keeper has said so, once
                log::debug!("cannot read what is to be announced: {error:#}; trying again");
                self.read_at = Instant::now() + RETRY.first;
                self.ask = true;
                return None;
            }
        };
        if found.edition != self.outbox.outbox_state().edition() {
            self.ask = true;
            return None;
        }
        self.more = (due.fresh.len() >= REFILL, due.tried.len() >= REFILL);
        self.tried_at = when_due(due.next_at);
        let put_off = self.desk.take_in(due, self.more.0, &self.health);
        if put_off.is_empty() {
            return None;
        }
        log::debug!("{} calls wait: all those for files of their servers fail", put_off.len());
        self.flying.extend(put_off.iter().map(|notice| notice.id));
        Some(put_off.iter().map(|notice| again(notice, notice.attempts, RETRY.first)).collect())
    }

    /// When to look again, where nothing else happens before.
    fn look_again(&self) -> Instant {
        let now = Instant::now();
        let ahead = [self.tried_at, self.read_at].into_iter().filter(|at| *at > now);
        ahead.fold(now + LOOK_AGAIN, Instant::min)
    }

    fn call(&self, notice: Notice) -> impl Future<Output = Landed> + use<'a> {
        let url = announcement(&self.settings.borrow().url, &notice.server, &notice.path);
        let caller = self.caller;
        async move {
            let began = Instant::now();
            let outcome = caller.call(&url).await;
            Landed { notice, outcome, took: began.elapsed() }
        }
    }

    /// Records the outcome beside other calls, so that the keeper records several at once. Where the records do not
    /// take it, that is tried until they do.
    fn mark(&self, outcome: Outcome) -> impl Future<Output = Outcome> + use<'a> {
        let (outbox, unrecordable) = (self.outbox, Rc::clone(&self.unrecordable));
        async move {
            let mut tries = 0;
            loop {
                let recorded = match &outcome {
                    Outcome::Delivered(id) => outbox.delivered(vec![*id]).await,
                    Outcome::Again(notices) => outbox.postpone(notices.clone()).await,
                };
                let Err(error) = recorded else { break };
                log::debug!("cannot record the outcome of a call: {error:#}; trying again");
                if tries == 0 {
                    unrecordable.set(unrecordable.get() + 1);
                }
                tries += 1;
                tokio::time::sleep(RECORD_AGAIN.after(tries)).await;
            }
            if tries > 0 {
                unrecordable.set(unrecordable.get() - 1);
            }
            outcome
        }
    }

    fn take_back(&mut self, marked: &Outcome) {
        match marked {
            Outcome::Delivered(id) => self.flying.retain(|flying| flying != id),
            Outcome::Again(notices) => {
                self.flying.retain(|flying| !notices.iter().any(|notice| notice.id == *flying));
                // each is due again, at a time of its own
                let first = notices.iter().map(|notice| notice.at).min();
                self.tried_at = self.tried_at.min(when_due(first));
            }
        }
    }

    /// Draws the conclusions of a call, and says what is to be put on record of it.
    fn conclude(&mut self, landed: Landed) -> Outcome {
        let Landed { notice, outcome, took } = landed;
        match &outcome {
            Ok(()) => self.concurrency.answered(took, self.desk.fresh() > 0),
            Err(failure) if failure.fault == Fault::Unanswered || failure.is_overload => {
                self.concurrency.failed();
            }
            Err(_) => {}
        }
        self.desk.ended(notice.id);
        let now = Instant::now();
        let Err(Failure { fault, reason, .. }) = outcome else {
            let change = self.health.delivered(&notice.server, now);
            self.changed(change, &notice.server, "");
            return Outcome::Delivered(notice.id);
        };
        let attempts = notice.attempts.saturating_add(1);
        let wait = RETRY.after(attempts);
        self.complain(&notice, attempts, &reason, wait);
        self.health.set_alone(self.outbox.is_alone());
        let change = self.health.failed(&notice, fault, now);
        self.changed(change, &notice.server, &reason);
        Outcome::Again(vec![again(&notice, attempts, wait)])
    }

    /// A warning for each failure, but seldom for a file that fails again and again; and not while it is known that the
    /// host is down, or that all files of the server fail.
    fn complain(&self, notice: &Notice, attempts: u32, reason: &str, wait: Duration) {
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

/// Whether so much time passed since the file was stored that it may be gone.
fn waits_long(notice: &Notice) -> bool {
    let waited = Utc::now().timestamp_millis().saturating_sub(notice.downloaded_at);
    notice.attempts > 0 || u128::try_from(waited).is_ok_and(|waited| waited >= LOOKED_FOR_FROM.as_millis())
}

/// What is kept of a notice that is to be called again after `wait`.
fn again(notice: &Notice, attempts: u32, wait: Duration) -> Postponed {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
    Postponed { id: notice.id, attempts: attempts.max(1), at: Utc::now().timestamp_millis() + wait }
}

/// Waits for `work`, where there is any.
async fn or_never<F: Future + Unpin>(work: Option<&mut F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The moment of a time of the records.
fn when_due(at: Option<i64>) -> Instant {
    let latest = Instant::now() + LOOK_AGAIN;
    let Some(at) = at else { return latest };
    let wait = u64::try_from(at - Utc::now().timestamp_millis()).unwrap_or(0);
    // never at once: a row that is due and cannot be read must not turn the loop into a spin
    latest.min(Instant::now() + Duration::from_millis(wait.max(10)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exit_flag::ExitFlag;
    use crate::base::names::RemotePath;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// Rows by id, with failed calls and when they are due. Ids from 1000 on are of another server.
    #[derive(Default)]
    struct Rows {
        rows: RefCell<BTreeMap<i64, (u32, i64)>>,
        /// They cannot be written.
        full: Cell<bool>,
        /// Writing them has no end.
        stuck: Cell<bool>,
        missing: RefCell<Vec<i64>>,
        outbox_state: OutboxState,
        asked: Cell<usize>,
    }

    impl Rows {
        fn left(&self) -> usize {
            self.rows.borrow().len()
        }

        fn add(&self, ids: impl IntoIterator<Item = i64>) {
            self.rows.borrow_mut().extend(ids.into_iter().map(|id| (id, (0, 0))));
            self.outbox_state.grew();
        }
    }

    fn notice((id, (attempts, _)): (&i64, &(u32, i64))) -> Notice {
        Notice {
            id: *id,
            server: ServerName::new(if *id < 1000 { "omc01" } else { "omc02" }).unwrap(),
            path: RemotePath::from_text(&format!("/{id}.zip"), encoding_rs::UTF_8).unwrap(),
            attempts: *attempts,
            downloaded_at: 0,
        }
    }

    #[async_trait::async_trait(?Send)]
    impl Outbox for Rows {
        async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Due> {
            self.asked.set(self.asked.get() + 1);
            let now = Utc::now().timestamp_millis();
            let rows = self.rows.borrow();
            let others = || rows.iter().filter(|(id, _)| !except.contains(id));
            Ok(Due {
                fresh: others().filter(|(_, (attempts, _))| *attempts == 0).map(notice).take(limit).collect(),
                tried: others().filter(|(_, (n, at))| *n > 0 && *at <= now).map(notice).take(limit).collect(),
                next_at: others().filter(|(_, (n, at))| *n > 0 && *at > now).map(|(_, (_, at))| *at).min(),
            })
        }
        async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()> {
            anyhow::ensure!(!self.full.get(), "the disk is full");
            if self.stuck.get() {
                std::future::pending::<()>().await;
            }
            self.rows.borrow_mut().retain(|id, _| !ids.contains(id));
            Ok(())
        }
        async fn postpone(&self, notices: Vec<Postponed>) -> anyhow::Result<()> {
            let notices = notices.into_iter().map(|Postponed { id, attempts, at }| (id, (attempts, at)));
            let mut rows = self.rows.borrow_mut();
            for (id, row) in notices {
                rows.entry(id).and_modify(|was| *was = row);
            }
            Ok(())
        }
        fn is_missing(&self, notice: &Notice) -> bool {
            self.missing.borrow().contains(&notice.id)
        }
        fn outbox_state(&self) -> &OutboxState {
            &self.outbox_state
        }
        fn is_alone(&self) -> bool {
            self.rows.borrow().keys().all(|id| *id < 1000)
        }
    }

    /// Fails the calls whose URL has one of `bad`, and all of them while `dead`.
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
        async fn call(&self, url: &str) -> Result<(), Failure> {
            self.at_once.set(self.at_once.get() + 1);
            self.most_at_once.set(self.most_at_once.get().max(self.at_once.get()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.at_once.set(self.at_once.get() - 1);
            self.calls.borrow_mut().push(url.to_owned());
            let fails = self.dead.get() || self.bad.iter().any(|bad| url.contains(bad));
            if fails {
                Err(Failure { fault: Fault::Refused, is_overload: false, reason: "500".to_owned() })
            } else {
                Ok(())
            }
        }
    }

    fn settings() -> NotifySettings {
        NotifySettings {
            url: url::Url::parse("http://h/d").unwrap(),
            method: crate::config::NotifyMethod::Get,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            concurrency: NotifyConcurrency::AtMost(4),
        }
    }

    async fn until(rows: &Rows, host: &Host, done: impl Fn() -> bool) {
        let (settings, (_flag, exit)) = (watch::channel(settings()).1, ExitFlag::new());
        let check = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let work = announce(&settings, rows, host, &exit, |_, _| {});
        tokio::select! {
            () = work => {}
            done = tokio::time::timeout(Duration::from_secs(20), check) => done.unwrap(),
        }
    }

    fn rows(count: i64) -> Rows {
        let rows = Rows::default();
        rows.add(1..=count);
        rows
    }

    #[tokio::test]
    async fn every_file_is_announced_once_and_never_more_than_allowed_at_a_time() {
        let (rows, host) = (rows(200), Host::default());
        until(&rows, &host, || rows.left() == 0).await;
        assert_eq!(host.calls.borrow().len(), 200);
        assert_eq!(host.most_at_once.get(), 4);
    }

    #[tokio::test]
    async fn a_call_whose_delivery_cannot_be_recorded_is_not_repeated() {
        let (rows, host) = (rows(20), Host::default());
        rows.full.set(true);
        let began = Instant::now();
        until(&rows, &host, || began.elapsed() > Duration::from_millis(700)).await;
        let called = host.calls.borrow().len();
        assert!(
            (4..=8).contains(&called),
            "{called}: those under way, and the few begun before the first failure"
        );
        assert_eq!(rows.left(), 20);
        rows.full.set(false);
        until(&rows, &host, || rows.left() == 0).await;
    }

    #[tokio::test]
    async fn calls_go_on_while_outcomes_wait_to_be_recorded_up_to_a_bound() {
        let (rows, host) = (rows(400), Host::default());
        rows.stuck.set(true);
        let began = Instant::now();
        until(&rows, &host, || began.elapsed() > Duration::from_millis(1500)).await;
        assert_eq!(host.calls.borrow().len(), 4 + UNMARKED);
    }

    #[tokio::test]
    async fn one_file_that_always_fails_hinders_no_other() {
        let (rows, host) = (rows(100), Host { bad: vec!["%2F7.zip"], ..Host::default() });
        until(&rows, &host, || rows.left() == 1).await;
        assert!(host.calls.borrow().iter().filter(|url| url.ends_with("%2F7.zip")).count() <= 2);
    }

    #[tokio::test]
    async fn at_the_end_calls_under_way_are_landed_and_no_other_is_begun() {
        let (rows, host) = (rows(50), Host::default());
        let settings = watch::channel(settings()).1;
        let (flag, exit) = ExitFlag::new();
        let raise = async {
            while host.at_once.get() < 4 {
                tokio::task::yield_now().await;
            }
            flag.raise();
        };
        let work = announce(&settings, &rows, &host, &exit, |_, _| {});
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(work, raise) }).await.unwrap();
        assert_eq!((host.calls.borrow().len(), rows.left()), (4, 46));
    }

    #[tokio::test]
    async fn a_dead_host_is_probed_singly_and_gets_everything_once_it_is_back() {
        let (rows, host) = (rows(50), Host::default());
        host.dead.set(true);
        until(&rows, &host, || host.calls.borrow().len() >= 9).await;
        assert_eq!(rows.left(), 50);
        host.dead.set(false);
        until(&rows, &host, || rows.left() == 0).await;
    }

    #[tokio::test]
    async fn a_file_that_was_evicted_after_its_row_was_read_is_not_called_for() {
        let (rows, host) = (rows(50), Host::default());
        host.dead.set(true);
        let evict = async {
            while host.calls.borrow().len() < 9 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rows.rows.borrow_mut().retain(|id, _| *id > 45);
            rows.outbox_state.changed();
            host.calls.borrow_mut().clear();
            host.dead.set(false);
        };
        tokio::join!(evict, until(&rows, &host, || rows.left() == 0));
        let calls = host.calls.borrow();
        let gone = |url: &&String| !(46..=50).any(|id| url.ends_with(&format!("%2F{id}.zip")));
        // one may have been under way
        assert!(calls.iter().filter(gone).count() <= 1, "{calls:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_being_deleted_or_is_not_there_waits() {
        let (rows, host) = (rows(5), Host::default());
        rows.outbox_state.leaves(2);
        rows.missing.borrow_mut().push(3);
        until(&rows, &host, || rows.left() == 2).await;
        assert_eq!(host.calls.borrow().len(), 3);
        assert!(rows.rows.borrow()[&3].0 == 1 && rows.rows.borrow()[&2].0 == 0, "put off, and held back");
        // the deletion failed
        rows.outbox_state.settled([2]);
        until(&rows, &host, || rows.left() == 1).await;
    }

    #[tokio::test]
    async fn files_that_are_being_deleted_are_not_asked_for_again_and_again() {
        let (rows, host) = (rows(REFILL as i64 + 50), Host::default());
        (1..=REFILL as i64).for_each(|id| rows.outbox_state.leaves(id));
        let began = Instant::now();
        until(&rows, &host, || began.elapsed() > Duration::from_millis(300)).await;
        assert_eq!(rows.left(), REFILL);
        assert!(rows.asked.get() < 10, "{} questions", rows.asked.get());
        rows.outbox_state.settled(1..=REFILL as i64);
        until(&rows, &host, || rows.left() == 0).await;
    }

    #[tokio::test]
    async fn files_of_one_server_that_are_all_refused_hold_up_no_other() {
        let (rows, host) = (rows(900), Host { bad: vec!["omc01"], ..Host::default() });
        rows.add(1000..1003);
        let mut began = Instant::now();
        until(&rows, &host, || rows.left() == 900).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let again = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            rows.add(1003..1005);
            began = Instant::now();
        };
        tokio::join!(again, until(&rows, &host, || rows.rows.borrow().contains_key(&1004)));
        until(&rows, &host, || rows.left() == 900).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(host.calls.borrow().len() < 60, "{} calls: refused files wait", host.calls.borrow().len());
    }

    #[tokio::test]
    async fn a_file_that_comes_alone_costs_one_question_to_the_records() {
        let (rows, host) = (Rows::default(), Host::default());
        let come = async {
            for id in 1..=20 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                rows.add([id]);
            }
        };
        tokio::join!(come, until(&rows, &host, || host.calls.borrow().len() == 20));
        assert!(rows.asked.get() <= 22, "{}", rows.asked.get());
    }
}
