//! `QuotaWarden` keeps the disk below its limit.
//!
//! Asked by: scanners. Waits for: the keeper. Thread: its own, which measuring and deleting may block. Requests are
//! served one after the other, so that two sweeps never delete for the same need. After a panic in a request the
//! asker sees an error and the next request is served as usual.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::record_keeper::{RecordKeeper, SharedTotals};
use super::record_messages::{MarkEvicted, OldestPresent, PresentAfter};
use super::{ask, shielded};
use crate::config::QuotaSettings;
use crate::fault;
use crate::mirror::delete::{Deleted, delete, is_present, sync_deleted};
use crate::mirror::ports::Room;
use crate::mirror::tree::Mirror;
use crate::notify::news::News;
use crate::quota::allowance::allowable;
use crate::quota::plan::{Load, room};
use crate::quota::sweep::{Evictions, Present, make_room};
use crate::quota::{DiskFault, Gauge, Swept, Usage, measure};
use crate::records::PresentFile;
use crate::words::count;

/// Files whose presence is checked in one go, and how often that is done at most: the audit walks through the
/// mirror slowly and for ever.
const AUDIT: usize = 1000;
const AUDIT_PAUSE: Duration = Duration::from_secs(1);

/// Bring the disk below its limit, before a scan.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct Sweep;

/// Make room for a download of so many bytes.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Room>")]
pub struct MakeRoom(pub u64);

/// What `status` shows of the disk.
#[derive(Debug, Default)]
pub struct DiskView {
    usage: Mutex<Option<Usage>>,
    fault: Mutex<Option<DiskFault>>,
    held: AtomicBool,
}

impl DiskView {
    /// As last measured.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether downloads are held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Why no file can be stored, whatever the room; as last measured.
    #[must_use]
    pub fn fault(&self) -> Option<DiskFault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a measurement. What keeps files away is said once, and its end too.
    pub fn measured(&self, (usage, fault): (Usage, Option<DiskFault>)) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
        let before =
            std::mem::replace(&mut *self.fault.lock().unwrap_or_else(PoisonError::into_inner), fault);
        match (before, fault) {
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
    /// Where files are deleted.
    pub mirror: Arc<Mirror>,
    /// Who knows which.
    pub keeper: Addr<RecordKeeper>,
    /// The sums of the records.
    pub totals: SharedTotals,
    /// The limits, as they are now.
    pub limits: watch::Receiver<QuotaSettings>,
    /// Bytes under way.
    pub gauge: Arc<Gauge>,
    /// What `status` shows.
    pub view: Arc<DiskView>,
    /// What the notifier is told, so that it calls for no file that goes.
    pub news: Arc<News>,
}

/// See the module.
pub struct QuotaWarden {
    work: Rc<Work>,
}

struct Work {
    warden: Warden,
    /// Holds the request that is served.
    turn: tokio::sync::Mutex<()>,
    audited: Cell<i64>,
    next_audit: RefCell<Instant>,
}

impl QuotaWarden {
    /// A warden who has looked at nothing yet.
    #[must_use]
    pub fn new(warden: Warden) -> Self {
        let work = Work {
            warden,
            turn: tokio::sync::Mutex::default(),
            audited: Cell::new(0),
            next_audit: RefCell::new(Instant::now()),
        };
        Self { work: Rc::new(work) }
    }
}

impl Actor for QuotaWarden {
    type Context = Context<Self>;
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

impl Handler<MakeRoom> for QuotaWarden {
    type Result = ResponseFuture<anyhow::Result<Room>>;

    fn handle(&mut self, message: MakeRoom, _: &mut Context<Self>) -> Self::Result {
        let work = Rc::clone(&self.work);
        let answer = async move { work.make_room(message.0).await };
        Box::pin(async move { shielded(answer).await.map_err(anyhow::Error::msg)? })
    }
}

impl Work {
    async fn sweep(&self) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let Warden { limits, gauge, mirror, .. } = &self.warden;
        if gauge.holds() == 0 {
            gauge.set_partial(mirror.partial_bytes()?);
        }
        let limits = *limits.borrow();
        let swept = make_room(&limits, gauge, self, 0).await?;
        self.note(swept == Swept::Full);
        self.audit().await
    }

    async fn make_room(&self, bytes: u64) -> anyhow::Result<Room> {
        let _turn = self.turn.lock().await;
        fault::hang_here("warden", "warden").await;
        let Warden { limits, gauge, .. } = &self.warden;
        let limits = *limits.borrow();
        Ok(match make_room(&limits, gauge, self, bytes).await? {
            Swept::Fits => {
                let hold = gauge.hold(bytes);
                Room::Granted { hold, allowance: self.allowance() }
            }
            Swept::Busy => Room::Busy,
            Swept::TooLarge => Room::TooLarge,
            Swept::Full => {
                self.note(true);
                Room::Held
            }
        })
    }

    /// Says once that downloads are held, and once that they go on.
    /// What the asker may use next without asking.
    fn allowance(&self) -> u64 {
        let Warden { limits, gauge, totals, view, .. } = &self.warden;
        let mirror = totals.get().present_bytes.saturating_add(gauge.partial());
        let load = |usage| Load { usage, mirror, reserved: gauge.reserved() };
        view.usage().map_or(0, |usage| allowable(room(&limits.borrow(), &load(usage))))
    }

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

    /// Looks whether the next files are still there; what was deleted by hand counts as evicted.
    async fn audit(&self) -> anyhow::Result<()> {
        if Instant::now() < *self.next_audit.borrow() {
            return Ok(());
        }
        self.next_audit.replace(Instant::now() + AUDIT_PAUSE);
        let Warden { keeper, mirror, .. } = &self.warden;
        let files = ask(keeper, PresentAfter { after: self.audited.get(), limit: AUDIT }).await?;
        self.audited.set(if files.len() < AUDIT { 0 } else { files.last().map_or(0, |file| file.id) });
        let is_gone = |file: &&PresentFile| matches!(is_present(mirror, &file.server, &file.path), Ok(false));
        let gone: Vec<i64> = files.iter().filter(is_gone).map(|file| file.id).collect();
        if gone.is_empty() {
            return Ok(());
        }
        log::info!(
            "{} files were deleted by hand; they count as evicted and are not fetched again",
            gone.len()
        );
        ask(keeper, MarkEvicted(gone)).await
    }
}

#[async_trait::async_trait(?Send)]
impl Evictions for Work {
    fn usage(&self) -> io::Result<Usage> {
        let measured = measure(self.warden.mirror.handle())?;
        self.warden.view.measured(measured);
        Ok(measured.0)
    }

    async fn present_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.warden.totals.get().present_bytes)
    }

    async fn oldest(&self, announced: bool, after: i64, limit: usize) -> anyhow::Result<Vec<Present>> {
        let files = ask(&self.warden.keeper, OldestPresent { announced, after, limit }).await?;
        let present = |PresentFile { id, server, path, size, .. }| Present { id, server, path, size };
        Ok(files.into_iter().map(present).collect())
    }

    fn delete(&self, file: &Present) -> io::Result<Option<u64>> {
        let Warden { mirror, news, .. } = &self.warden;
        // before, because the record says so only after
        news.leaves(file.id);
        match delete(mirror, &file.server, &file.path) {
            Ok(Deleted::Removed { bytes }) => Ok(Some(bytes)),
            Ok(Deleted::AlreadyGone) => Ok(None),
            Err(error) => {
                news.settled([file.id]);
                Err(error)
            }
        }
    }

    async fn mark_evicted(&self, gone: &[&Present]) -> anyhow::Result<()> {
        log::info!("{} evicted to keep the disk below its limit", count(gone.len(), "file"));
        let mut synced = HashSet::new();
        for Present { server, path, .. } in gone {
            let directory = path.text().rsplit_once('/').map_or("", |(directory, _)| directory);
            if synced.insert((server, directory)) {
                sync_deleted(&self.warden.mirror, server, path)
                    .with_context(|| format!("cannot sync the directory of {path} after an eviction"))?;
            }
        }
        let ids: Vec<i64> = gone.iter().map(|file| file.id).collect();
        ask(&self.warden.keeper, MarkEvicted(ids.clone())).await?;
        // where it failed, they stay away from the notifier until a later sweep has marked them
        self.warden.news.settled(ids);
        Ok(())
    }
}
