//! Making room: the zips downloaded longest ago go, announced ones first, until what is wanted fits.

use std::io;

use super::absence::AT_LEAST;
use super::disk_counters::DiskCounters;
use super::plan::{Load, shortage};
use super::usage::Usage;
use crate::base::names::{RemotePath, ServerName};
use crate::config::QuotaSettings;

/// Files asked of the records at a time.
const VICTIMS: usize = 256;
/// Files deleted before they are marked: a run that is killed in between leaves fewer than look like a lost disk.
const UNMARKED: usize = AT_LEAST as usize - 1;
/// Rounds of measuring and deleting in one sweep; the next scan goes on where this one ended.
const MAX_ROUNDS: usize = 1000;

/// A downloaded file that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Of its record; a larger one was downloaded later.
    pub id: i64,
    /// Where it came from.
    pub server: ServerName,
    /// On the server, and below `{root}/{server}`.
    pub path: RemotePath,
    /// Bytes.
    pub size: u64,
}

/// What a sweep needs of the rest of the program.
#[async_trait::async_trait(?Send)]
pub trait Evictions {
    /// The file system of the mirror, now.
    fn usage(&self) -> io::Result<Usage>;
    /// Bytes of the downloaded files that are present.
    async fn present_bytes(&self) -> anyhow::Result<u64>;
    /// At most `limit` present files after record `after`, oldest download first.
    async fn oldest(&self, announced: bool, after: i64, limit: usize) -> anyhow::Result<Vec<Present>>;
    /// Deletes the file; `None` where it was gone already, else the bytes that it took.
    fn delete(&self, file: &Present) -> io::Result<Option<u64>>;
    /// Returns whether a file that was gone already counts as evicted. Where it does not, it is passed over.
    fn believes_gone(&self, file: &Present) -> bool;
    /// Removes partial files that nobody works on, the oldest first, until `missing` bytes are free. Returns the bytes
    /// freed; none where there are no such files.
    fn drop_idle(&self, missing: u64) -> anyhow::Result<u64>;
    /// Records that the files are gone, once a power loss cannot bring them back.
    async fn mark_evicted(&self, gone: &[&Present]) -> anyhow::Result<()>;
}

/// What is to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// So much more.
    pub bytes: u64,
    /// Holds of the asker's own, which will not be given back while it waits.
    pub own: usize,
    /// Finished zips may go for it.
    pub displaces: bool,
}

impl From<u64> for Need {
    fn from(bytes: u64) -> Self {
        Self { bytes, own: 0, displaces: true }
    }
}

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// What is wanted fits.
    Fits,
    /// It will, once the downloads under way are finished and can be evicted in their turn, or those that are being
    /// recorded are.
    Busy,
    /// Nothing is left to delete, and the limit is still exceeded: other data fills the disk.
    Full,
    /// This one file does not fit, whatever goes; nothing was deleted for it.
    TooLarge,
}

/// Deletes until what is wanted fits: partial files that nobody works on before any finished zip. Transfers that are
/// larger than their server shows are ended then, and others only after that.
///
/// # Errors
///
/// When the file system cannot be measured or the records do not answer. A file that cannot be deleted is logged
/// and passed over. Cancelled, files may be gone that the records call present; the next sweep mends that.
pub async fn make_room(
    limits: &QuotaSettings,
    counters: &DiskCounters,
    work: &dyn Evictions,
    need: impl Into<Need>,
) -> anyhow::Result<Swept> {
    let need = need.into();
    let mut cursor = Cursor { announced: true, after: 0 };
    // some file systems free deleted blocks later: what was deleted here counts as free at once, or a sweep would
    // go on deleting until the file system catches up
    let mut believed = u64::MAX;
    for _ in 0..MAX_ROUNDS {
        let present = work.present_bytes().await?;
        let may_count_twice = counters.recording();
        let mirror = present.saturating_add(counters.partial());
        let measured = work.usage()?;
        let used = measured.used.min(believed);
        let available = measured.available.saturating_add(measured.used - used);
        let load = Load { usage: Usage { used, available }, mirror, reserved: counters.reserved() };
        let missing = shortage(limits, &load, need.bytes);
        if missing == 0 {
            return Ok(Swept::Fits);
        }
        let excess = shortage(limits, &Load { reserved: 0, ..load }, 0);
        let (idle, others) = (counters.idle(), counters.reservations() > need.own);
        let displaced = if need.displaces { present } else { 0 };
        if excess == 0 && missing > displaced.saturating_add(idle) {
            // deleting everything would not help, and would lose everything
            return Ok(if others && need.displaces { Swept::Busy } else { Swept::TooLarge });
        }
        let freed = if idle > 0 { work.drop_idle(missing)? } else { 0 };
        if freed > 0 {
            believed = used.saturating_sub(freed);
            continue;
        }
        if !need.displaces {
            return Ok(Swept::Full);
        }
        if counters.cut_outgrown() {
            return Ok(Swept::Busy);
        }
        let once = Load { mirror: mirror.saturating_sub(may_count_twice), ..load };
        let surely_missing = shortage(limits, &once, need.bytes);
        if surely_missing == 0 {
            // no file goes before it is known how much there is
            return Ok(Swept::Busy);
        }
        match evict(work, &mut cursor, surely_missing).await? {
            Some(freed) => believed = used.saturating_sub(freed),
            None => return Ok(if others { Swept::Busy } else { Swept::Full }),
        }
    }
    Ok(Swept::Full)
}

/// Where in the order of eviction the sweep stands.
#[derive(Debug)]
struct Cursor {
    announced: bool,
    after: i64,
}

/// Deletes files worth `missing` bytes, or one batch. Returns the bytes freed; `None` when no file is left.
async fn evict(work: &dyn Evictions, cursor: &mut Cursor, missing: u64) -> anyhow::Result<Option<u64>> {
    let mut victims = work.oldest(cursor.announced, cursor.after, VICTIMS).await?;
    if victims.is_empty() && cursor.announced {
        *cursor = Cursor { announced: false, after: 0 };
        victims = work.oldest(false, 0, VICTIMS).await?;
    }
    if victims.is_empty() {
        return Ok(None);
    }
    let mut freed = 0_u64;
    let mut gone = Vec::new();
    for victim in &victims {
        if freed >= missing {
            break;
        }
        cursor.after = victim.id;
        let (server, path) = (&victim.server, &victim.path);
        match work.delete(victim) {
            Ok(None) if !work.believes_gone(victim) => {}
            Ok(bytes) => {
                log::debug!("server={server} path={path}: evicted");
                freed = freed.saturating_add(bytes.unwrap_or(0));
                gone.push(victim);
                if gone.len() >= UNMARKED {
                    work.mark_evicted(&std::mem::take(&mut gone)).await?;
                }
            }
            Err(error) => log::warn!("server={server} path={path}: cannot evict: {error}; trying the next"),
        }
    }
    if !gone.is_empty() {
        work.mark_evicted(&gone).await?;
    }
    Ok(Some(freed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::Arc;

    /// A disk of 1000 bytes whose files are announced up to `announced`.
    #[derive(Default)]
    struct Disk {
        others: u64,
        files: RefCell<Vec<Present>>,
        announced: i64,
        stuck: Vec<i64>,
        /// Gone already, and not believed to be.
        missed: Vec<i64>,
        /// Deleted blocks are not free yet.
        lazy: bool,
        /// Partial files of 50 bytes each.
        partials: Option<Arc<DiskCounters>>,
        evicted: RefCell<Vec<i64>>,
        most_marked: std::cell::Cell<usize>,
    }

    impl Disk {
        fn with(sizes: &[u64]) -> Self {
            let file = |(n, size): (usize, &u64)| Present {
                id: n as i64 + 1,
                server: ServerName::new("omc01").unwrap(),
                path: RemotePath::root(),
                size: *size,
            };
            let files = RefCell::new(sizes.iter().enumerate().map(file).collect());
            Self { files, announced: i64::MAX, ..Self::default() }
        }
    }

    #[async_trait::async_trait(?Send)]
    impl Evictions for Disk {
        fn usage(&self) -> io::Result<Usage> {
            let present: u64 = self.files.borrow().iter().map(|file| file.size).sum();
            let partial = self.partials.as_ref().map_or(0, |counters| counters.partial());
            let used = self.others + partial + if self.lazy { 700 } else { present };
            Ok(Usage { used, available: 1000_u64.saturating_sub(used) })
        }
        async fn present_bytes(&self) -> anyhow::Result<u64> {
            Ok(self.files.borrow().iter().map(|file| file.size).sum())
        }
        async fn oldest(&self, announced: bool, after: i64, limit: usize) -> anyhow::Result<Vec<Present>> {
            let fits = |f: &&Present| f.id > after && (f.id <= self.announced) == announced;
            Ok(self.files.borrow().iter().filter(fits).take(limit).cloned().collect())
        }
        fn delete(&self, file: &Present) -> io::Result<Option<u64>> {
            if self.stuck.contains(&file.id) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            if self.missed.contains(&file.id) {
                return Ok(None);
            }
            self.files.borrow_mut().retain(|f| f.id != file.id);
            Ok(Some(file.size))
        }
        fn believes_gone(&self, _: &Present) -> bool {
            false
        }
        fn drop_idle(&self, missing: u64) -> anyhow::Result<u64> {
            let Some(counters) = &self.partials else { return Ok(0) };
            let freed = counters.idle().min(missing.next_multiple_of(50));
            counters.partial_gone(freed);
            Ok(freed)
        }
        async fn mark_evicted(&self, gone: &[&Present]) -> anyhow::Result<()> {
            self.most_marked.set(self.most_marked.get().max(gone.len()));
            self.evicted.borrow_mut().extend(gone.iter().map(|file| file.id));
            Ok(())
        }
    }

    async fn swept(disk: &Disk, wanted: u64) -> (Swept, Vec<i64>) {
        let limits = QuotaSettings { max_used_percent: 60.0, max_bytes: None };
        let outcome = make_room(&limits, &DiskCounters::default(), disk, wanted).await.unwrap();
        (outcome, disk.evicted.borrow().clone())
    }

    #[tokio::test]
    async fn many_are_marked_before_so_many_are_gone_that_it_looks_like_a_lost_disk() {
        let disk = Disk::with(&[10; 60]);
        assert_eq!(swept(&disk, 400).await, (Swept::Fits, (1..=40).collect()));
        let left = super::super::Absence { of: 40, gone: disk.most_marked.get() as u64 };
        assert!(!left.is_sudden(), "{left:?}");
    }

    #[tokio::test]
    async fn the_oldest_go_until_the_limit_is_kept() {
        let disk = Disk::with(&[100, 200, 300, 150]);
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![1, 2]));
        assert_eq!(swept(&disk, 0).await.1, [1, 2], "nothing more goes below the limit");
    }

    #[tokio::test]
    async fn a_download_that_does_not_fit_makes_its_room() {
        let disk = Disk::with(&[100, 200, 300]);
        assert_eq!(swept(&disk, 50).await, (Swept::Fits, vec![1]));
    }

    #[tokio::test]
    async fn announced_files_go_first_whatever_their_age() {
        let disk = Disk { announced: 1, ..Disk::with(&[50, 400, 250]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![1, 2]));
        let disk = Disk { announced: 2, ..Disk::with(&[50, 50, 550]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![1]));
    }

    #[tokio::test]
    async fn foreign_data_alone_leaves_nothing_to_delete() {
        let disk = Disk { others: 700, ..Disk::with(&[100]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Full, vec![1]));
    }

    #[tokio::test]
    async fn nothing_is_deleted_for_a_file_that_never_fits() {
        let disk = Disk { others: 100, ..Disk::with(&[300]) };
        assert_eq!(swept(&disk, 501).await, (Swept::TooLarge, vec![]));
        assert_eq!(swept(&disk, 500).await, (Swept::Fits, vec![1]));
    }

    #[tokio::test]
    async fn room_that_downloads_under_way_hold_is_waited_for() {
        let disk = Disk { others: 100, ..Disk::with(&[]) };
        let counters = Arc::new(DiskCounters::default());
        let _hold = counters.reserve(450);
        let limits = QuotaSettings { max_used_percent: 60.0, max_bytes: None };
        assert_eq!(make_room(&limits, &counters, &disk, 100).await.unwrap(), Swept::Busy);
        assert_eq!(make_room(&limits, &counters, &disk, 50).await.unwrap(), Swept::Fits);
    }

    #[tokio::test]
    async fn nothing_goes_for_bytes_that_may_count_twice() {
        let (disk, counters) = (Disk::with(&[200, 50]), Arc::new(DiskCounters::default()));
        let limits = QuotaSettings { max_used_percent: 60.0, max_bytes: Some(300) };
        // the second is on record, and its partial name is still there
        let recording = counters.begin_recording(50);
        let busy = counters.busy("omc01/x".to_owned());
        busy.is(50);
        counters.set_partial(50);
        assert_eq!(make_room(&limits, &counters, &disk, 50).await.unwrap(), Swept::Busy);
        assert!(disk.evicted.borrow().is_empty());
        counters.partial_gone(50);
        drop((recording, busy));
        assert_eq!(make_room(&limits, &counters, &disk, 50).await.unwrap(), Swept::Fits);
        assert_eq!(make_room(&limits, &counters, &disk, 51).await.unwrap(), Swept::Fits);
        assert_eq!(*disk.evicted.borrow(), [1]);
    }

    #[tokio::test]
    async fn idle_partial_files_go_before_any_finished_zip_and_before_anything_is_held() {
        let counters = Arc::new(DiskCounters::default());
        counters.set_partial(150);
        let disk = Disk { partials: Some(Arc::clone(&counters)), ..Disk::with(&[200, 300]) };
        let limits = QuotaSettings { max_used_percent: 60.0, max_bytes: None };
        assert_eq!(make_room(&limits, &counters, &disk, 40).await.unwrap(), Swept::Fits);
        assert_eq!((counters.partial(), disk.evicted.borrow().len()), (50, 0));
        // larger than the whole limit
        counters.set_partial(450);
        let disk = Disk { partials: Some(Arc::clone(&counters)), others: 550, ..Disk::with(&[]) };
        assert_eq!(make_room(&limits, &counters, &disk, 0).await.unwrap(), Swept::Fits);
        assert_eq!(counters.partial(), 50);
        // whoever works on one keeps it
        let busy = counters.busy("omc01/x".to_owned());
        busy.is(50);
        assert_eq!(make_room(&limits, &counters, &disk, 50).await.unwrap(), Swept::TooLarge);
        assert_eq!(counters.partial(), 50);
    }

    #[tokio::test]
    async fn what_outgrew_its_listing_displaces_nothing_and_is_cut_for_others() {
        let (disk, counters) = (Disk::with(&[200, 300]), Arc::new(DiskCounters::default()));
        let limits = QuotaSettings { max_used_percent: 60.0, max_bytes: None };
        let (_hold, liar) = (counters.reserve(0), counters.busy("omc01/liar".to_owned()));
        liar.outgrows();
        let growth = |bytes| Need { bytes, own: 1, displaces: false };
        assert_eq!(make_room(&limits, &counters, &disk, growth(100)).await.unwrap(), Swept::Fits);
        assert_eq!(make_room(&limits, &counters, &disk, growth(101)).await.unwrap(), Swept::TooLarge);
        assert_eq!(make_room(&limits, &counters, &disk, 101).await.unwrap(), Swept::Busy, "it is cut first");
        drop(liar);
        assert_eq!(disk.evicted.borrow().len(), 0);
        assert_eq!(make_room(&limits, &counters, &disk, 101).await.unwrap(), Swept::Fits);
        assert_eq!(disk.evicted.borrow().as_slice(), [1]);
    }

    #[tokio::test]
    async fn a_file_system_that_frees_late_does_not_lose_more_than_needed() {
        let disk = Disk { lazy: true, ..Disk::with(&[100, 100, 250, 250]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![1]));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_deleted_is_passed_over() {
        let disk = Disk { stuck: vec![1], ..Disk::with(&[300, 200, 200]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![2]));
    }

    #[tokio::test]
    async fn a_file_that_is_missed_is_not_marked_and_the_next_goes() {
        let disk = Disk { missed: vec![1, 2], ..Disk::with(&[300, 200, 200]) };
        assert_eq!(swept(&disk, 0).await, (Swept::Fits, vec![3]));
    }

    /// interface 12.8
    #[tokio::test]
    async fn what_a_lower_limit_would_delete_is_told_without_deleting_it() {
        use super::super::weigh::{Cost, Stock, weigh};
        let counters = DiskCounters::default();
        let sizes = [4096_u64; 20];
        let disk = |announced| Disk { announced, ..Disk::with(&sizes) };
        let stock = |unannounced| Stock { files: 20, bytes: 20 * 4096, unannounced };
        let limit = |max_bytes| QuotaSettings { max_used_percent: 100.0, max_bytes: Some(max_bytes) };
        for (max_bytes, announced, files, unannounced, dear) in [
            (20 * 4096, 20, 0, 0, false),
            (18 * 4096, 20, 2, 0, false),
            (17 * 4096, 20, 3, 0, true),
            (18 * 4096, 1, 2, 1, true),
            (18 * 4096, 2, 2, 0, false),
            (0, 20, 20, 0, true),
        ] {
            let disk = disk(announced);
            let stock = stock(20 - announced.unsigned_abs());
            let cost = weigh(&limit(max_bytes), &counters, &disk, stock).await.unwrap();
            let expected = Cost { files, bytes: files * 4096, unannounced, present: 20 };
            assert_eq!((cost, cost.is_dear()), (expected, dear), "{max_bytes} {announced}");
            assert_eq!(disk.evicted.borrow().len(), 0);
        }
    }
}
