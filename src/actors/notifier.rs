//! `Notifier` announces every recorded file.
//!
//! Woken by: the keeper, after each commit. Waits for: the keeper and the notify host. Thread: its own. After a
//! panic it begins again, at growing intervals that shrink after a good run; what is to be announced lies in the
//! database. It works from the start of the process to its end: `stop` ends the scanners, and what they recorded is
//! announced all the same.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context};
use tokio::sync::{Notify, watch};

use super::record_keeper::RecordKeeper;
use super::record_messages::{Delivered, DueNotices, NextNoticeAt, Postpone};
use super::scanner::Begin;
use super::{AbortOnDrop, ask, shielded};
use crate::backoff::{Backoff, Restarts};
use crate::config::NotifySettings;
use crate::exit_flag::Stopped;
use crate::facts::Notice;
use crate::fault;
use crate::notify::announce::{Caller, Outbox, Wakers, announce};
use crate::notify::deliver::HttpCaller;
use crate::pulse::seconds;

const RESTART: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };

/// Hears of each call that has ended, and whether it was delivered.
pub type Told = Arc<dyn Fn(&Notice, bool) + Send + Sync>;

/// See the module.
pub struct Notifier {
    settings: watch::Receiver<NotifySettings>,
    keeper: Addr<RecordKeeper>,
    outbox_grew: Arc<Notify>,
    told: Told,
    begin: Option<Begin>,
    work: Option<AbortOnDrop<()>>,
}

impl Notifier {
    /// A notifier that begins when it is started, and ends with the flag of `begin`.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<NotifySettings>,
        keeper: Addr<RecordKeeper>,
        outbox_grew: Arc<Notify>,
        told: Told,
        begin: Begin,
    ) -> Self {
        Self { settings, keeper, outbox_grew, told, begin: Some(begin), work: None }
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let (settings, outbox) = (self.settings.clone(), KeeperOutbox(self.keeper.clone()));
        let (grew, told) = (Arc::clone(&self.outbox_grew), Arc::clone(&self.told));
        let Some(Begin { exit, running }) = self.begin.take() else { return };
        let exit_of_restarts = exit.clone();
        let announcing = move || {
            let (settings, outbox, exit) = (settings.clone(), outbox.clone(), exit.clone());
            let (grew, told) = (Arc::clone(&grew), Arc::clone(&told));
            async move {
                fault::hang_here("announce", "notifier").await;
                let caller = CurrentCaller::new(settings.clone());
                announce(&settings, &outbox, &caller, &Wakers { grew: &grew, exit: &exit }, &*told).await;
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

/// Calls by the settings of the moment.
struct CurrentCaller {
    settings: watch::Receiver<NotifySettings>,
    made: RefCell<(NotifySettings, Rc<HttpCaller>)>,
}

impl CurrentCaller {
    fn new(settings: watch::Receiver<NotifySettings>) -> Self {
        let now = settings.borrow().clone();
        let caller = Rc::new(HttpCaller::new(&now));
        Self { settings, made: RefCell::new((now, caller)) }
    }

    /// The caller for the next call, made anew where the settings have changed.
    fn current(&self) -> Rc<HttpCaller> {
        let (now, mut made) = (self.settings.borrow(), self.made.borrow_mut());
        if made.0 != *now {
            *made = (now.clone(), Rc::new(HttpCaller::new(&now)));
        }
        Rc::clone(&made.1)
    }
}

#[async_trait::async_trait(?Send)]
impl Caller for CurrentCaller {
    async fn call(&self, url: &str) -> Result<(), String> {
        self.current().call(url).await
    }
}

/// The keeper, as the domain function asks it.
#[derive(Clone)]
struct KeeperOutbox(Addr<RecordKeeper>);

#[async_trait::async_trait(?Send)]
impl Outbox for KeeperOutbox {
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Vec<Notice>> {
        ask(&self.0, DueNotices { limit, except }).await
    }

    async fn next_at(&self, except: Vec<i64>) -> anyhow::Result<Option<i64>> {
        ask(&self.0, NextNoticeAt { except }).await
    }

    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()> {
        ask(&self.0, Delivered(ids)).await
    }

    async fn postpone(&self, id: i64, attempts: u32, at: i64) -> anyhow::Result<()> {
        ask(&self.0, Postpone { id, attempts, at }).await
    }
}
