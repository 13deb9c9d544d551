//! `Notifier` announces every recorded file.
//!
//! Woken by: the keeper, after each commit. Waits for: the keeper and the notify host. Thread: its own. After a
//! panic it begins again, at growing intervals that shrink after a good run; what is to be announced lies in the
//! database. It works from the start of the process to its end: `stop` ends the scanners, and what they recorded is
//! announced all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context};
use chrono::Utc;
use tokio::sync::watch;

use super::record_keeper::{RecordKeeper, Request};
use super::scanner::Begin;
use super::{AbortOnDrop, ask, shielded};
use crate::base::backoff::{Backoff, Restarts};
use crate::base::exit_flag::Stopped;
use crate::base::facts::{Due, Notice, Postponed};
use crate::base::failpoints;
use crate::base::watchdog::seconds;
use crate::config::NotifySettings;
use crate::mirror::mounted::MountedMirror;
use crate::notify;
use crate::notify::dispatch::Dispatcher;
use crate::notify::outbox::Outbox;
use crate::notify::outbox_state::OutboxState;
use crate::notify::sink::CallResult;
use crate::records::{Work, Write};
use crate::status::Roster;

/// While the files of a server are held, the outbox is looked at so often for those of the others.
const LOOK_AGAIN_MS: i64 = 1000;
const RESTART: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };

/// Hears of each call that has ended.
pub type OnResult = Arc<dyn Fn(&Notice, &CallResult) + Send + Sync>;

/// See the module.
pub struct Notifier {
    settings: watch::Receiver<NotifySettings>,
    outbox: KeeperOutbox,
    on_result: OnResult,
    begin: Option<Begin>,
    work: Option<AbortOnDrop<()>>,
    waking: Option<AbortOnDrop<()>>,
}

impl Notifier {
    /// A notifier that begins when it is started, and ends with the flag of `begin`.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<NotifySettings>,
        outbox: KeeperOutbox,
        on_result: OnResult,
        begin: Begin,
    ) -> Self {
        Self { settings, outbox, on_result, begin: Some(begin), work: None, waking: None }
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let (settings, outbox) = (self.settings.clone(), self.outbox.clone());
        let on_result = Arc::clone(&self.on_result);
        self.waking = Some(AbortOnDrop(actix_rt::spawn(wake(outbox.clone()))));
        let Some(Begin { exit, running }) = self.begin.take() else { return };
        let exit_of_restarts = exit.clone();
        let announcing = move || {
            let (settings, outbox, exit) = (settings.clone(), outbox.clone(), exit.clone());
            let on_result = Arc::clone(&on_result);
            async move {
                failpoints::hang_here("announce", "notifier").await;
                Dispatcher::new(&settings, &outbox, &notify::open).run(&exit, &*on_result).await;
            }
        };
        self.work = Some(AbortOnDrop(actix_rt::spawn(async move {
            let mut restarts = Restarts::new(RESTART);
            let mut begun = Instant::now();
            while let Err(error) = shielded(announcing()).await {
                let wait = restarts.wait(begun.elapsed() > RESTART.most);
                log::error!("announcing broke: {error}; it begins again in {}", seconds(wait));
                if exit_of_restarts.guard(tokio::time::sleep(wait)).await == Err(Stopped) {
                    break;
                }
                begun = Instant::now();
            }
            drop(running);
        })));
    }
}

/// Has the outbox read again when files are held, or are not any more.
async fn wake(outbox: KeeperOutbox) {
    let mut holds = outbox.place.follow();
    while holds.changed().await.is_ok() {
        outbox.outbox_state.records_changed();
    }
}

/// The keeper and the mirror, as the dispatcher asks them.
#[derive(Clone)]
pub struct KeeperOutbox {
    keeper: Addr<RecordKeeper>,
    place: Arc<MountedMirror>,
    outbox_state: Arc<OutboxState>,
    servers: Arc<Roster>,
}

impl KeeperOutbox {
    /// The records of `keeper`, the files of the mirror at `place`, what `outbox_state` says of rows that were read, and whose they are.
    #[must_use]
    pub fn new(
        keeper: &Addr<RecordKeeper>,
        place: &Arc<MountedMirror>,
        outbox_state: &Arc<OutboxState>,
        servers: &Arc<Roster>,
    ) -> Self {
        Self {
            keeper: keeper.clone(),
            place: Arc::clone(place),
            outbox_state: Arc::clone(outbox_state),
            servers: Arc::clone(servers),
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Outbox for KeeperOutbox {
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Due> {
        let holds = self.place.holds();
        if holds.all.is_some() {
            return Ok(Due::default());
        }
        let held: Vec<_> = holds.servers.into_keys().collect();
        let some_held = !held.is_empty();
        let find = Request::new(Work::Find, move |records| {
            records.due_notices(Utc::now().timestamp_millis(), limit, &except, &held)
        });
        let mut due = ask(&self.keeper, find).await?;
        if some_held {
            // the next one may be of a server that waits
            due.next_at = Some(self.now() + LOOK_AGAIN_MS);
        }
        Ok(due)
    }

    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()> {
        ask(&self.keeper, Write::Delivered(ids)).await
    }

    async fn postpone(&self, notices: Vec<Postponed>) -> anyhow::Result<()> {
        ask(&self.keeper, Write::Postponed(notices)).await
    }

    fn is_missing(&self, notice: &Notice) -> bool {
        let mirror = self.place.mirror();
        mirror.is_ok_and(|mirror| matches!(mirror.is_present(&notice.server, &notice.path), Ok(false)))
    }

    fn state(&self) -> &OutboxState {
        &self.outbox_state
    }

    fn is_alone(&self) -> bool {
        self.servers.all().len() <= 1
    }

    fn now(&self) -> i64 {
        Utc::now().timestamp_millis()
    }
}
