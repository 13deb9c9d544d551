//! `QuotaWarden` keeps the disk below its limit.
//!
//! Asked by: scanners. Waits for: the keeper. Thread: its own, which measuring and deleting may block. Requests are
//! served one after the other, so that two sweeps never delete for the same need. After a panic in a request the
//! asker sees an error and the next request is served as usual.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::mirror_watch::MirrorWatch;
use super::record_keeper::{RecordKeeper, Request, SharedTotals};
use super::{AbortOnDrop, ask, shielded};
use crate::base::failpoints;
use crate::base::humanize::count;
use crate::collector::ports::{Admission, Growth};
use crate::config::QuotaSettings;
use crate::mirror::idle::drop_idle;
use crate::mirror::mounted::MountedMirror;
use crate::mirror::store::Deleted;
use crate::notify::outbox_state::OutboxState;
use crate::quota::plan::{Load, room};
use crate::quota::prepaid::allowable;
use crate::quota::sweep::{Evictions, Present, make_room};
use crate::quota::weigh::{Cost, Stock, weigh};
use crate::quota::{DiskCounters, DiskFault, Measured, Need, Swept, Usage};
use crate::records::{Change, PresentFile, Work as RecordWork};
use crate::status::Roster;

/// Between two looks whether the mirror is there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// After a look that found no idle partial file.
const IDLE_PAUSE: Duration = Duration::from_millis(500);
/// A file whose size nobody shows displaces others up to this part of all that the mirror can hold.
const LIKELY_PART: u64 = 4;

/// Bring the disk below its limit, before a scan.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct Sweep;

/// Make room for a download of so many bytes.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Admission>")]
pub struct MakeRoom(pub u64);

/// An operator takes what lies at the mirror's place for the mirror of the records.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<String>")]
pub struct Adopt;

/// Say what other limits would delete at once, and delete nothing.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Cost>")]
pub struct Weigh(pub QuotaSettings);

/// Make room for a download that needs more than it was promised.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Admission>")]
pub struct Grow(pub Growth);

/// What `status` shows of the disk.
#[derive(Debug, Default)]
pub struct DiskView {
    last: Mutex<Option<Measured>>,
    held: AtomicBool,
}

impl DiskView {
    /// As last measured.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.last().map(|last| last.usage)
    }

    /// Returns whether downloads are held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns why no file can be stored, whatever the room; as last measured.
    #[must_use]
    pub fn fault(&self) -> Option<DiskFault> {
        self.last().and_then(|last| last.fault)
    }

    fn last(&self) -> Option<Measured> {
        *self.last.lock()
    }

    /// Keeps a measurement. What keeps files away is said once, and its end too.
    pub fn measured(&self, measured: Measured) {
        let before = {
            let mut last = self.last.lock();
            if last.is_some_and(|last| last.at > measured.at) {
                return;
            }
            last.replace(measured).and_then(|last| last.fault)
        };
        match (before, measured.fault) {
            (before, Some(fault)) if before != Some(fault) => {
                log::error!("{fault}: nothing can be stored until that is mended");
            }
            (Some(_), None) => log::info!("the file system of the mirror takes files again"),
            _ => {}
        }
    }
}

/// What the warden works with.
pub struct Warden {
    /// Where files are deleted, once the right mirror is there.
    pub place: Arc<MountedMirror>,
    /// Who knows which.
    pub keeper: Addr<RecordKeeper>,
    /// The sums of the records.
    pub totals: SharedTotals,
    /// The limits, as they are now.
    pub limits: watch::Receiver<QuotaSettings>,
    /// Bytes under way.
    pub counters: Arc<DiskCounters>,
    /// What `status` shows.
    pub view: Arc<DiskView>,
    /// What the notifier is told, so that it calls for no file that goes.
    pub outbox_state: Arc<OutboxState>,
    /// The servers, of which some may be new since the start.
    pub servers: Arc<Roster>,
}

/// See the module.
pub struct QuotaWarden {
    work: Rc<Work>,
    looking: Option<AbortOnDrop<()>>,
}

struct Work {
    warden: Warden,
    /// Holds the request that is served.
    turn: tokio::sync::Mutex<()>,
    watch: MirrorWatch,
    /// Files that an eviction found gone, and the records do not know of yet.
    found_gone: RefCell<HashSet<i64>>,
    /// Files that were deleted here, or found gone, and are not marked yet; by record.
    unmarked: RefCell<BTreeMap<i64, Present>>,
    next_idle: RefCell<Instant>,
}

impl QuotaWarden {
    /// A warden who has looked at nothing yet.
    #[must_use]
    pub fn new(warden: Warden) -> Self {
        let Warden { place, keeper, counters, servers, .. } = &warden;
        let watch =
            MirrorWatch::new(Arc::clone(place), keeper.clone(), Arc::clone(counters), Arc::clone(servers));
        let (turn, found_gone, unmarked) = Default::default();
        let next_idle = RefCell::new(Instant::now());
        Self { work: Rc::new(Work { warden, turn, watch, found_gone, unmarked, next_idle }), looking: None }
    }
}

impl Actor for QuotaWarden {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let work = Rc::clone(&self.work);
        self.looking = Some(AbortOnDrop(actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let work = Rc::clone(&work);
                // a panic was logged, and costs this look
                shielded(async move { work.look().await }).await.unwrap_or_default();
            }
        })));
    }
}

impl Handler<Adopt> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<String>>;

    fn handle(&mut self, _: Adopt, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        let answer = async move {
            let _turn = work.turn.lock().await;
            work.watch.adopt().await
        };
        Box::pin(async move { shielded(answer).await.map_err(anyhow::Error::msg)? })
    }
}

impl Handler<Sweep> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, _: Sweep, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        Box::pin(
            async move { shielded(async move { work.sweep().await }).await.map_err(anyhow::Error::msg)? },
        )
    }
}

impl Handler<Weigh> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<Cost>>;

    fn handle(&mut self, message: Weigh, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        let answer = async move { work.weigh(message.0).await };
        Box::pin(async move { shielded(answer).await.map_err(anyhow::Error::msg)? })
    }
}

impl Handler<MakeRoom> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<Admission>>;

    fn handle(&mut self, message: MakeRoom, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        let answer = async move { work.make_room(message.0).await };
        Box::pin(async move { shielded(answer).await.map_err(anyhow::Error::msg)? })
    }
}

impl Handler<Grow> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<Admission>>;

    fn handle(&mut self, message: Grow, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        let answer = async move { work.grow(message.0).await };
        Box::pin(async move { shielded(answer).await.map_err(anyhow::Error::msg)? })
    }
}

impl Work {
    /// Looks whether the mirror and its files are there, also while nothing is scanned.
    async fn look(&self) {
        let _turn = self.turn.lock().await;
        if self.watch.look().await
            && let Err(error) = self.watch.look_for_missed().await
        {
            log::debug!("cannot look for missing files: {error:#}; trying again");
        }
    }

    async fn sweep(&self) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let Warden { limits, counters, place, .. } = &self.warden;
        if !self.watch.look().await || place.is_all_held() {
            return Ok(());
        }
        self.mark_unmarked().await;
        if counters.reservations() == 0 {
            let mirror = place.mirror()?;
            let bytes = mirror.partial_bytes();
            counters.set_partial(
                bytes.with_context(|| format!("cannot read {}/.partial", place.path().display()))?,
            );
        }
        let limits = *limits.borrow();
        let swept = make_room(&limits, counters, self, 0).await?;
        self.note(swept == Swept::Full);
        self.watch.audit().await
    }

    async fn weigh(&self, limits: QuotaSettings) -> anyhow::Result<Cost> {
        let _turn = self.turn.lock().await;
        let totals = self.warden.totals.get();
        let stock = Stock {
            files: totals.present_files,
            bytes: totals.present_bytes,
            unannounced: totals.pending_notices,
        };
        if stock.files == 0 {
            return Ok(Cost::default());
        }
        weigh(&limits, &self.warden.counters, self, stock).await
    }

    async fn make_room(&self, bytes: u64) -> anyhow::Result<Admission> {
        let _turn = self.turn.lock().await;
        failpoints::hang_here("warden", "warden").await;
        let Warden { limits, counters, place, .. } = &self.warden;
        if place.is_all_held() {
            return Ok(Admission::Held);
        }
        self.mark_unmarked().await;
        let limits = *limits.borrow();
        Ok(match make_room(&limits, counters, self, bytes).await? {
            Swept::Fits => {
                let reservation = counters.reserve(bytes);
                Admission::Granted { reservation, prepaid: self.prepaid() }
            }
            Swept::Busy => Admission::Busy,
            Swept::TooLarge => Admission::TooLarge,
            Swept::Full => {
                self.note(true);
                Admission::Held
            }
        })
    }

    async fn grow(&self, growth: Growth) -> anyhow::Result<Admission> {
        let _turn = self.turn.lock().await;
        let Growth { bytes, length, may_displace } = growth;
        let Warden { limits, counters, totals, place, .. } = &self.warden;
        if place.is_all_held() {
            return Ok(Admission::Held);
        }
        self.mark_unmarked().await;
        let files = totals.get().present_bytes.saturating_add(counters.partial());
        let likely = files.saturating_add(self.free()) / LIKELY_PART;
        let displaces = may_displace && length.saturating_add(bytes) <= likely;
        let limits = *limits.borrow();
        Ok(match make_room(&limits, counters, self, Need { bytes, own: 1, displaces }).await? {
            Swept::Fits => {
                Admission::Granted { reservation: counters.reserve(bytes), prepaid: self.prepaid() }
            }
            Swept::Busy => Admission::Busy,
            Swept::TooLarge => Admission::TooLarge,
            Swept::Full => Admission::Held,
        })
    }

    /// Marks what an earlier request deleted and could not mark: else it would look as if somebody else had deleted it.
    async fn mark_unmarked(&self) {
        if !self.unmarked.borrow().is_empty()
            && let Err(error) = self.mark().await
        {
            log::debug!("cannot mark evicted files: {error:#}; trying again");
        }
    }

    /// Marks what was deleted as evicted, once a power loss cannot bring it back.
    async fn mark(&self) -> anyhow::Result<()> {
        failpoints::here("mark", "warden");
        let gone: Vec<Present> = self.unmarked.borrow().values().cloned().collect();
        let mirror = self.warden.place.mirror()?;
        let mut synced = HashSet::new();
        for Present { server, path, .. } in &gone {
            let directory = path.text().rsplit_once('/').map_or("", |(directory, _)| directory);
            if synced.insert((server, directory)) {
                mirror
                    .sync_deleted(server, path)
                    .with_context(|| format!("cannot sync the directory of {path} after an eviction"))?;
            }
        }
        let ids: Vec<i64> = gone.iter().map(|file| file.id).collect();
        let (missing, evicted): (Vec<i64>, Vec<i64>) = {
            let found_gone = self.found_gone.borrow();
            ids.iter().partition(|id| found_gone.contains(*id))
        };
        if !missing.is_empty() {
            ask(&self.warden.keeper, Change::Missing(missing)).await?;
        }
        ask(&self.warden.keeper, Change::Evicted(evicted)).await?;
        // where it failed, they stay away from the notifier until a later request has marked them
        self.warden.outbox_state.deletions_ended(ids);
        self.unmarked.borrow_mut().clear();
        self.found_gone.borrow_mut().clear();
        Ok(())
    }

    /// What the asker may use next without asking.
    fn prepaid(&self) -> u64 {
        allowable(self.free())
    }

    /// Bytes that may come before a limit is reached, as last measured.
    fn free(&self) -> u64 {
        let Warden { limits, counters, totals, view, .. } = &self.warden;
        let mirror = totals.get().present_bytes.saturating_add(counters.partial());
        let load = |usage| Load { usage, mirror, reserved: counters.reserved() };
        view.usage().map_or(0, |usage| room(&limits.borrow(), &load(usage)))
    }

    /// Says once that downloads are held, and once that they go on.
    fn note(&self, held: bool) {
        if self.warden.view.held.swap(held, Ordering::Relaxed) == held {
            return;
        }
        if held {
            log::warn!(
                "the disk is above its limit and no downloaded file is left to delete: downloads are held until there is room"
            );
        } else {
            log::info!("the disk is below its limit again: downloads go on");
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Evictions for Work {
    fn usage(&self) -> io::Result<Usage> {
        let mirror = self.warden.place.mirror().map_err(io::Error::other)?;
        let measured = mirror.measure().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot measure {}: {error}", self.warden.place.path().display()),
            )
        })?;
        self.warden.view.measured(measured);
        Ok(measured.usage)
    }

    async fn present_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.warden.totals.get().present_bytes)
    }

    async fn oldest(&self, announced: bool, after: i64, limit: usize) -> anyhow::Result<Vec<Present>> {
        self.warden.counters.asks_what_to_delete();
        let find = Request::new(RecordWork::Find, move |records| {
            records.oldest_present(announced, Some(after), limit)
        });
        let files = ask(&self.warden.keeper, find).await?;
        let present = |PresentFile { id, server, path, size, .. }| Present { id, server, path, size };
        Ok(files.into_iter().map(present).collect())
    }

    fn delete(&self, file: &Present) -> io::Result<Option<u64>> {
        let Warden { place, outbox_state, counters, .. } = &self.warden;
        let Present { id, server, path, .. } = file;
        if place.is_held(server) {
            return Ok(None);
        }
        let mirror = place.mirror().map_err(io::Error::other)?;
        // before, because the record says so only after
        outbox_state.deletion_begins(*id);
        match counters.unless_replaced(server, path, || mirror.delete(server, path)) {
            Some(Ok(Deleted::Removed { bytes })) => Ok(Some(bytes)),
            // deleted by an eviction whose marking failed
            Some(Ok(Deleted::AlreadyGone)) if self.unmarked.borrow().contains_key(id) => Ok(Some(0)),
            Some(Ok(Deleted::AlreadyGone)) => {
                self.found_gone.borrow_mut().insert(*id);
                Ok(None)
            }
            Some(Err(error)) => {
                outbox_state.deletions_ended([*id]);
                Err(error)
            }
            // another content has its name now
            None => Ok(None),
        }
    }

    fn believes_gone(&self, file: &Present) -> bool {
        let is_gone = self.found_gone.borrow().contains(&file.id);
        let believed = is_gone && self.watch.believes_gone(&file.server);
        if !believed && !self.warden.place.is_held(&file.server) {
            // it stays on record, and the walk through the mirror decides
            self.warden.outbox_state.deletions_ended([file.id]);
        }
        believed
    }

    fn drop_idle(&self, missing: u64) -> anyhow::Result<u64> {
        // what was looked at in vain a moment ago is not looked at for each file
        if Instant::now() < *self.next_idle.borrow() {
            return Ok(0);
        }
        let mirror = self.warden.place.mirror()?;
        let freed = drop_idle(&*mirror, &self.warden.counters, missing)?;
        if freed == 0 {
            self.next_idle.replace(Instant::now() + IDLE_PAUSE);
        }
        Ok(freed)
    }

    async fn mark_evicted(&self, gone: &[&Present]) -> anyhow::Result<()> {
        log::info!("{} evicted to keep the disk below its limit", count(gone.len(), "file"));
        self.unmarked.borrow_mut().extend(gone.iter().map(|file| (file.id, (*file).clone())));
        self.mark().await
    }
}
