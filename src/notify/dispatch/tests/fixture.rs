//! An outbox in memory, and a dispatcher that works it off into a sink in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::super::{Dispatcher, Outbox};
use crate::base::exit_flag::{ExitFlag, ExitWatch};
use crate::base::facts::{Due, Postponed};
use crate::base::fixtures::notice;
use crate::config::{NotifyConcurrency, NotifyMethod, NotifySettings};
use crate::notify::conformance::Treatment;
use crate::notify::conformance::memory::MemorySink;
use crate::notify::outbox_state::OutboxState;
use crate::notify::sink::{CallResult, Notice, Sink};

/// For what must come about; time is not the real one.
const SOON: Duration = Duration::from_secs(3600);
/// Ids from here on are of another server.
pub(super) const OTHER: i64 = 1000;
/// When the tests begin, in milliseconds since 1970-01-01T00:00:00Z.
const BEGIN: i64 = 1_795_402_800_000;

/// Rows by id, with failed calls and when they are due.
pub(super) struct Rows {
    rows: RefCell<BTreeMap<i64, (u32, i64)>>,
    began: Instant,
    state: OutboxState,
    /// They cannot be read.
    pub(super) unreadable: Cell<bool>,
    /// They cannot be written.
    pub(super) full: Cell<bool>,
    /// Writing them has no end.
    pub(super) stuck: Cell<bool>,
    /// Files that are not there.
    pub(super) missing: RefCell<Vec<i64>>,
    /// Questions for notices.
    pub(super) asked: Cell<usize>,
    pub(super) steps: Rc<Steps>,
}

impl Rows {
    pub(super) fn left(&self) -> Vec<i64> {
        self.rows.borrow().keys().copied().collect()
    }

    pub(super) fn attempts(&self, id: i64) -> u32 {
        self.rows.borrow()[&id].0
    }

    pub(super) fn add(&self, ids: impl IntoIterator<Item = i64>) {
        self.add_tried(ids, 0);
    }

    /// Adds notices that failed so often, and are due.
    pub(super) fn add_tried(&self, ids: impl IntoIterator<Item = i64>, attempts: u32) {
        self.rows.borrow_mut().extend(ids.into_iter().map(|id| (id, (attempts, 0))));
        self.state.notices_added();
    }

    /// Takes rows out, as an eviction does.
    pub(super) fn evict(&self, is_evicted: impl Fn(i64) -> bool) {
        self.rows.borrow_mut().retain(|id, _| !is_evicted(*id));
        self.state.records_changed();
    }
}

fn notice_of((id, (attempts, _)): (&i64, &(u32, i64))) -> Notice {
    notice(if *id < OTHER { "omc01" } else { "omc02" }, *id, *attempts)
}

#[async_trait::async_trait(?Send)]
impl Outbox for Rows {
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Due> {
        self.asked.set(self.asked.get() + 1);
        self.steps.pass().await;
        anyhow::ensure!(!self.unreadable.get(), "the disk is broken");
        let now = self.now();
        let due = {
            let rows = self.rows.borrow();
            let others = || rows.iter().filter(|(id, _)| !except.contains(id));
            Due {
                fresh: others()
                    .filter(|(_, (attempts, _))| *attempts == 0)
                    .map(notice_of)
                    .take(limit)
                    .collect(),
                tried: others()
                    .filter(|(_, (n, at))| *n > 0 && *at <= now)
                    .map(notice_of)
                    .take(limit)
                    .collect(),
                next_at: others().filter(|(_, (n, at))| *n > 0 && *at > now).map(|(_, (_, at))| *at).min(),
            }
        };
        self.steps.pass().await;
        Ok(due)
    }

    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()> {
        anyhow::ensure!(!self.full.get(), "the disk is full");
        if self.stuck.get() {
            std::future::pending::<()>().await;
        }
        self.steps.pass().await;
        self.rows.borrow_mut().retain(|id, _| !ids.contains(id));
        self.steps.pass().await;
        Ok(())
    }

    async fn postpone(&self, notices: Vec<Postponed>) -> anyhow::Result<()> {
        self.steps.pass().await;
        for Postponed { id, attempts, at } in notices {
            self.rows.borrow_mut().entry(id).and_modify(|row| *row = (attempts, at));
        }
        self.steps.pass().await;
        Ok(())
    }

    fn is_missing(&self, notice: &Notice) -> bool {
        self.missing.borrow().contains(&notice.id)
    }

    fn state(&self) -> &OutboxState {
        &self.state
    }

    fn is_alone(&self) -> bool {
        self.rows.borrow().keys().all(|id| *id < OTHER)
    }

    fn now(&self) -> i64 {
        BEGIN + i64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

/// The steps of everything that waits, which a test counts to interrupt the work at each of them.
#[derive(Default)]
pub(super) struct Steps {
    count: Cell<usize>,
    /// The step at which to interrupt.
    pub(super) stop_at: Cell<usize>,
    /// Whether the step stands still then.
    pub(super) halts: Cell<bool>,
    reached: Notify,
}

impl Steps {
    async fn pass(&self) {
        self.count.set(self.count.get() + 1);
        if self.count.get() == self.stop_at.get() {
            self.reached.notify_one();
            if self.halts.get() {
                std::future::pending::<()>().await;
            }
        }
        tokio::task::yield_now().await;
    }

    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }
}

/// Counts the steps of a call.
struct Stepwise(MemorySink, Rc<Steps>);

#[async_trait::async_trait(?Send)]
impl Sink for Stepwise {
    fn describe(&self) -> &str {
        self.0.describe()
    }

    async fn deliver(&self, notice: &Notice) -> CallResult {
        self.1.pass().await;
        let result = self.0.deliver(notice).await;
        self.1.pass().await;
        result
    }

    async fn probe(&self) -> anyhow::Result<String> {
        self.0.probe().await
    }
}

/// An outbox and its receiver.
pub(super) struct Fixture {
    pub(super) rows: Rows,
    pub(super) sink: MemorySink,
    pub(super) settings: watch::Sender<NotifySettings>,
    watched: watch::Receiver<NotifySettings>,
    /// The settings that sinks were opened by.
    pub(super) opened: RefCell<Vec<NotifySettings>>,
}

impl Fixture {
    /// `count` new notices with ids from 1 on, 4 calls at a time, and 5 ms for each.
    pub(super) fn new(count: i64) -> Self {
        let rows = Rows {
            rows: RefCell::default(),
            began: Instant::now(),
            state: OutboxState::default(),
            unreadable: Cell::default(),
            full: Cell::default(),
            stuck: Cell::default(),
            missing: RefCell::default(),
            asked: Cell::default(),
            steps: Rc::default(),
        };
        rows.add(1..=count);
        let sink = MemorySink::default();
        sink.takes(Duration::from_millis(5));
        let (settings, watched) = watch::channel(NotifySettings {
            url: url::Url::parse("http://h/d").unwrap(),
            method: NotifyMethod::Get,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            concurrency: NotifyConcurrency::AtMost(4),
        });
        Self { rows, sink, settings, watched, opened: RefCell::default() }
    }

    pub(super) fn allow(&self, concurrency: NotifyConcurrency) {
        self.settings.send_modify(|settings| settings.concurrency = concurrency);
    }

    pub(super) fn refuses(&self, is_refused: impl Fn(i64) -> bool + 'static) {
        self.sink.treat_each(move |notice| match is_refused(notice.id) {
            true => Treatment::Refuses,
            false => Treatment::Takes,
        });
    }

    /// Works until the flag is raised.
    pub(super) async fn work(&self, exit: &ExitWatch) {
        let open = |settings: &NotifySettings| -> Rc<dyn Sink> {
            self.opened.borrow_mut().push(settings.clone());
            Rc::new(Stepwise(self.sink.clone(), Rc::clone(&self.rows.steps)))
        };
        Dispatcher::new(&self.watched, &self.rows, &open).run(exit, |_, _| {}).await;
    }

    /// Works until `done`, and is dropped where it stands then.
    pub(super) async fn until(&self, done: impl Fn() -> bool) {
        let (_flag, exit) = ExitFlag::new();
        let check = async {
            let began = Instant::now();
            while !done() {
                // often at first, and without end not too often
                sleep((began.elapsed() / 100).max(Duration::from_millis(1))).await;
            }
        };
        tokio::select! {
            () = self.work(&exit) => {}
            done = timeout(SOON, check) => done.unwrap(),
        }
    }

    /// Works until all is announced.
    pub(super) async fn to_the_end(&self) {
        self.until(|| self.rows.left().is_empty()).await;
    }

    /// Works for so long.
    pub(super) async fn for_a_while(&self, time: Duration) {
        let (_flag, exit) = ExitFlag::new();
        tokio::select! {
            () = self.work(&exit) => {}
            () = sleep(time) => {}
        }
    }

    /// Waits until `rows` alone are left, and nothing more is done for a while.
    pub(super) async fn left(&self, rows: &[i64]) {
        while self.rows.left() != rows {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(100)).await;
    }

    /// The records that were called for, in this order.
    pub(super) fn called(&self) -> Vec<i64> {
        self.sink.calls().iter().map(|(_, notice)| notice.id).collect()
    }

    /// When calls for this record began, in seconds from the first on.
    pub(super) fn called_at(&self, id: i64) -> Vec<f64> {
        let calls = self.sink.calls();
        let times: Vec<Instant> =
            calls.iter().filter(|(_, notice)| notice.id == id).map(|(at, _)| *at).collect();
        times.iter().map(|at| (*at - times[0]).as_secs_f64()).collect()
    }
}
