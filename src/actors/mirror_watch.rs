//! Looks after the mirror for the warden: whether it is there and the right one, whether its files are, and what became
//! of those that were not. On the warden's thread, which looking may block.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::time::Instant;

use super::ask;
use super::record_keeper::{RecordKeeper, Request};
use crate::base::file_names::FileNames;
use crate::base::names::ServerName;
use crate::mirror::identity::{MirrorId, Reason, Standing};
use crate::mirror::mounted::{MountedMirror, Settled, settle, take};
use crate::quota::absence::AT_LEAST;
use crate::quota::{DiskCounters, Tally, Verdict};
use crate::records::{BATCH, Change, PresentFile, RecordedMirror, Work};
use crate::status::Roster;

/// Files whose presence is checked in one go, and how often that is done at most: the audit walks through the
/// mirror slowly and for ever.
const AUDIT: usize = 1000;
const AUDIT_PAUSE: Duration = Duration::from_secs(1);
/// While files are missed, the audit walks so long at a time: much waits for its end.
const HURRY: Duration = Duration::from_millis(200);
/// Missing files that are remembered in one walk through the mirror; what is beyond is found by the next.
const MAX_GONE: usize = 20_000;
/// Missing files that are looked for again in one go.
const FIND_AGAIN: usize = 200;
/// Of the files downloaded first and of those downloaded last, so many tell whether a mirror is the right one.
pub const SAMPLE: usize = 100;

/// See the module.
pub(super) struct MirrorWatch {
    place: Arc<MountedMirror>,
    keeper: Addr<RecordKeeper>,
    counters: Arc<DiskCounters>,
    servers: Arc<Roster>,
    audit: RefCell<Audit>,
}

/// One walk through all present files, as far as it is.
struct Audit {
    next: Instant,
    /// The record that was looked at last.
    after: i64,
    tally: Tally,
    gone: Vec<PresentFile>,
    /// Of each server, files that an eviction found gone during this walk.
    met_gone: HashMap<ServerName, u64>,
    /// The missing file that was looked for last.
    sought: i64,
}

impl Audit {
    fn new() -> Self {
        let (tally, gone, met_gone) = (Tally::default(), Vec::new(), HashMap::new());
        Self { next: Instant::now(), after: 0, tally, gone, met_gone, sought: 0 }
    }
}

impl MirrorWatch {
    pub(super) fn new(
        place: Arc<MountedMirror>,
        keeper: Addr<RecordKeeper>,
        counters: Arc<DiskCounters>,
        servers: Arc<Roster>,
    ) -> Self {
        Self { place, keeper, counters, servers, audit: RefCell::new(Audit::new()) }
    }

    /// Returns whether the right mirror is there. Where it has come, or gone, everybody hears of it.
    pub(super) async fn look(&self) -> bool {
        if self.place.mirror().is_ok_and(|mirror| mirror.is_in_place()) {
            self.mark_late().await;
            return true;
        }
        let settled = self.settle().await;
        match settled.unwrap_or_else(|error| Err(Reason::Unusable(format!("{error:#}")))) {
            Ok(settled) => {
                self.audit.replace(Audit::new());
                self.place.open(settled);
                true
            }
            Err(reason) => {
                self.place.close(reason);
                false
            }
        }
    }

    /// Gives the mirror the marker for which there was no room, and has the records remember one that they could not.
    async fn mark_late(&self) {
        if self.place.is_marked() {
            return;
        }
        let marked = async {
            let id = match self.place.location().marker()? {
                Some(id) => id,
                None => {
                    let id = MirrorId::random()?;
                    self.place.mirror()?.mark(id)?;
                    id
                }
            };
            self.belongs(None, Some(id)).await?;
            self.place.marked();
            anyhow::Ok(())
        };
        if let Err(error) = marked.await {
            log::debug!("the mirror has no marker that the records know yet: {error:#}");
        }
    }

    async fn settle(&self) -> anyhow::Result<Result<Settled, Reason>> {
        let recorded =
            ask(&self.keeper, Request::new(Work::Find, |records| records.recorded_mirror(SAMPLE))).await?;
        let standing = standing(&recorded);
        // its lock, which may be the one of the mirror to be opened
        self.place.let_go();
        let settled = match settle(self.place.location(), &standing, &names(&self.servers))? {
            Ok(settled) => settled,
            Err(reason) => return Ok(Err(reason)),
        };
        self.belongs(standing.known, settled.id).await?;
        self.counters.set_partial(settled.mirror.partial_bytes()?);
        Ok(Ok(settled))
    }

    /// The records remember the mirror, once its marker is durable.
    async fn belongs(&self, known: Option<MirrorId>, id: Option<MirrorId>) -> anyhow::Result<()> {
        let Some(id) = id.filter(|id| known != Some(*id)) else { return Ok(()) };
        let remember = Request::new(Work::Begin, move |records| records.remember_mirror(&id.to_string()));
        ask(&self.keeper, remember).await
    }

    /// Takes whatever lies at the mirror's place for the mirror of the records, because an operator says so.
    pub(super) async fn adopt(&self) -> anyhow::Result<String> {
        let location = self.place.location();
        if !self.place.mirror().is_ok_and(|mirror| mirror.is_in_place()) {
            self.place.let_go();
            // one that cannot be read is replaced
            let settled = take(location, location.marker().unwrap_or_default())?;
            self.belongs(None, settled.id).await?;
            self.counters.set_partial(settled.mirror.partial_bytes()?);
            self.place.open(settled);
        }
        self.audit.replace(Audit::new());
        self.place.hold_servers(BTreeMap::new());
        self.place.hold_all(None);
        let shown = location.path().display();
        log::info!("{shown} was adopted as the mirror of the records");
        Ok(format!("{shown} is the mirror of the records"))
    }

    /// While files are missed, looks whether they are back.
    pub(super) async fn look_for_missed(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let is_missed = || {
            let holds = self.place.holds();
            matches!(holds.all, Some(Reason::Gone(_))) || !holds.servers.is_empty()
        };
        while is_missed() && begun.elapsed() < HURRY {
            if self.walk().await? {
                break;
            }
        }
        Ok(())
    }

    /// Looks whether the next files are still there; a few that are gone were deleted by hand and count as evicted.
    /// And whether some that were missing are back.
    pub(super) async fn audit(&self) -> anyhow::Result<()> {
        {
            let mut audit = self.audit.borrow_mut();
            if Instant::now() < audit.next {
                return Ok(());
            }
            audit.next = Instant::now() + AUDIT_PAUSE;
        }
        self.walk().await?;
        self.find_again().await
    }

    /// Looks at some files. Returns whether all have been looked at, after which it is known what is to be believed.
    async fn walk(&self) -> anyhow::Result<bool> {
        let mirror = self.place.mirror()?;
        let after = self.audit.borrow().after;
        let files = ask(
            &self.keeper,
            Request::new(Work::Find, move |records| records.present_after(Some(after), AUDIT)),
        )
        .await?;
        let is_last = files.len() < AUDIT;
        {
            let mut audit = self.audit.borrow_mut();
            audit.after = files.last().map_or(after, |file| file.id);
            let gone = mirror.gone(&files.iter().map(|file| (&file.server, &file.path)).collect::<Vec<_>>());
            for (file, is_gone) in files.into_iter().zip(gone) {
                audit.tally.note(&file.server, is_gone);
                if is_gone && audit.gone.len() < MAX_GONE {
                    audit.gone.push(file);
                }
            }
        }
        if is_last {
            self.conclude().await?;
        }
        Ok(is_last)
    }

    /// All files have been looked at.
    async fn conclude(&self) -> anyhow::Result<()> {
        let (next, sought) = {
            let audit = self.audit.borrow();
            (audit.next, audit.sought)
        };
        let Audit { tally, gone, .. } = self.audit.replace(Audit { next, sought, ..Audit::new() });
        if !self.look().await {
            return Ok(());
        }
        match tally.verdict() {
            Verdict::All(absence) => self.place.hold_all(Some(Reason::Gone(absence))),
            Verdict::Servers(missed) => {
                let reasons =
                    missed.into_iter().map(|(server, absence)| (server, Reason::Gone(absence))).collect();
                self.place.hold_servers(reasons);
                self.place.hold_all(None);
                self.believe(gone).await?;
            }
        }
        Ok(())
    }

    /// These were deleted by hand, unless they have come back meanwhile.
    async fn believe(&self, mut gone: Vec<PresentFile>) -> anyhow::Result<()> {
        let (mirror, holds) = (self.place.mirror()?, self.place.holds());
        gone.retain(|file| holds.of(&file.server).is_none());
        gone.retain(|file| matches!(mirror.is_present(&file.server, &file.path), Ok(false)));
        if gone.is_empty() {
            return Ok(());
        }
        let files = if gone.len() == 1 { "file was" } else { "files were" };
        log::info!(
            "{} {files} deleted by hand, and count as evicted; they are not fetched again",
            gone.len()
        );
        for batch in gone.chunks(BATCH) {
            ask(&self.keeper, Change::Missing(batch.iter().map(|file| file.id).collect())).await?;
        }
        Ok(())
    }

    /// Looks whether some of the files that were found missing lie at their places again, whole.
    async fn find_again(&self) -> anyhow::Result<()> {
        let mirror = self.place.mirror()?;
        let after = self.audit.borrow().sought;
        let files = ask(
            &self.keeper,
            Request::new(Work::Find, move |records| records.missing_after(after, FIND_AGAIN)),
        )
        .await?;
        self.audit.borrow_mut().sought =
            if files.len() < FIND_AGAIN { 0 } else { files.last().map_or(0, |file| file.id) };
        let is_back = |file: &&PresentFile| matches!(mirror.size(&file.server, &file.path), Ok(Some(size)) if size == file.size);
        let back: Vec<i64> = files.iter().filter(is_back).map(|file| file.id).collect();
        if back.is_empty() {
            return Ok(());
        }
        log::info!(
            "{} in the mirror again and count as present",
            crate::base::humanize::count_is(back.len(), "file that had been missing")
        );
        ask(&self.keeper, Change::Found(back)).await.map(drop)
    }

    /// Returns whether a file that an eviction found gone counts as evicted. One or a few do; with more, the
    /// next walk through the mirror decides.
    pub(super) fn believes_gone(&self, server: &ServerName) -> bool {
        if self.place.is_held(server) {
            return false;
        }
        let mut audit = self.audit.borrow_mut();
        let met = audit.met_gone.entry(server.clone()).or_default();
        *met += 1;
        *met < AT_LEAST
    }
}

/// What the records say, as the mirror is judged by it.
pub fn standing(recorded: &RecordedMirror) -> Standing {
    Standing {
        known: recorded.marker.as_deref().and_then(|marker| marker.parse().ok()),
        present: recorded.totals.present_files,
        records: recorded.totals.downloads(),
        sample: recorded.sample.iter().map(|file| (file.server.clone(), file.path.clone())).collect(),
    }
}

/// The servers' names, and those of their files.
fn names(servers: &Roster) -> Vec<(ServerName, FileNames)> {
    let names = |name: &str, files| ServerName::new(name).ok().map(|name| (name, files));
    servers.all().iter().filter_map(|server| names(server.name(), server.file_names())).collect()
}
