//! What the tests of the engine share: a server, records and a disk that do as a test says, and a mirror in memory or on a disk.
//!
//! Every step of the server, the records and the disk takes a millisecond of the paused clock. So each of them is a moment
//! at which others work, and at which a scan can be stopped ([`for_polls`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Cursor, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Local, TimeZone};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::base::facts::{Download, Earlier, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::collector::collect::{one_scan, wind_up};
use crate::collector::open_files::OpenFiles;
use crate::collector::ports::{Admission, DiskGuard, Growth, Records, WallClock};
use crate::collector::scan_state::Tally;
use crate::collector::server::{Neighbours, Server};
use crate::config::{ServerSettings, Settings, SyncSettings, fixtures};
use crate::mirror;
use crate::mirror::conformance::bench::Bench;
use crate::mirror::memory::MemoryMirror;
use crate::mirror::partial_name::PartialName;
use crate::mirror::store::MirrorStore;
use crate::protocol::ProtocolError;
use crate::protocol::memory::MemoryServer;
use crate::quota::DiskCounters;
use crate::status::{Progress, ServerStatus};

/// A step of anything.
pub(super) const STEP: Duration = Duration::from_millis(1);
/// From scan to scan.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Longer than any wait for a next try.
pub(super) const LONG: Duration = Duration::from_secs(20 * 60);

/// Runs a test under a paused clock, with what lives on a server's own thread.
pub(super) fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), test());
}

/// Lets `work` go on at so many moments and drops it then; `None` where it was not done by then.
pub(super) async fn for_polls<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(move |context| match left {
        0 => Poll::Ready(None),
        _ => {
            left -= 1;
            work.as_mut().poll(context).map(Some)
        }
    })
    .await
}

/// A zip of about so many bytes; another `seed` is another content.
pub(super) fn zip_of(bytes: usize, seed: u8) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("mro.xml", SimpleFileOptions::default().compression_method(CompressionMethod::Stored))
        .unwrap();
    let mut state = u32::from(seed) + 1;
    let content = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    zip.write_all(&content.take(bytes).collect::<Vec<u8>>()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// The records, in memory.
#[derive(Default)]
pub(super) struct MemoryRecords {
    /// Where the files are that are recorded.
    mirror: Option<Rc<dyn Bench>>,
    rows: RefCell<BTreeMap<String, Download>>,
    /// Every path that was recorded, as often as it was.
    recorded: RefCell<Vec<String>>,
    /// What was recorded and did not lie in the mirror whole.
    unbacked: RefCell<Vec<String>>,
    /// Files that were asked for.
    pub(super) looked_up: Cell<u64>,
    pub(super) settled: RefCell<Vec<Shifted>>,
    /// So many of the next records fail.
    pub(super) fail_records: Cell<u32>,
    /// So many of the next look-ups fail.
    pub(super) fail_look_ups: Cell<u32>,
    /// Calls of any kind.
    pub(super) calls: Cell<u64>,
    /// The call with this number fails, counted from 0.
    pub(super) fail_at: Cell<Option<u64>>,
}

fn counts_down(left: &Cell<u32>) -> bool {
    left.replace(left.get().saturating_sub(1)) > 0
}

impl MemoryRecords {
    /// All that was recorded, in order.
    pub(super) fn recorded(&self) -> Vec<String> {
        self.recorded.borrow().clone()
    }

    /// The record of a path.
    pub(super) fn row(&self, path: &str) -> Option<Download> {
        self.rows.borrow().get(path).cloned()
    }

    /// An operator has the record forgotten.
    pub(super) fn forget(&self, path: &str) {
        self.rows.borrow_mut().remove(path);
    }

    /// A call, which takes a step of the clock.
    async fn call(&self, fails: Option<&Cell<u32>>) -> anyhow::Result<()> {
        sleep(STEP).await;
        let number = self.calls.replace(self.calls.get() + 1);
        let fails = fails.is_some_and(counts_down) || self.fail_at.get() == Some(number);
        anyhow::ensure!(!fails, "the records do not answer");
        Ok(())
    }

    fn keep(&self, path: String, download: Download) {
        let mut rows = self.rows.borrow_mut();
        match rows.get_mut(&path) {
            Some(row) if download.earlier == Earlier::IsTheSame => row.facts = download.facts,
            _ => drop(rows.insert(path, download)),
        }
    }

    fn know(&self, directory: &RemotePath, name: &RemoteName, facts: FileFacts) -> Knowledge {
        let mut rows = self.rows.borrow_mut();
        let Some(row) = rows.get_mut(directory.join(name).text()) else { return Knowledge::New };
        let was = FileFacts { size: row.facts.size.and(Some(row.size)), ..row.facts };
        let by = was.modified.zip(facts.modified).and_then(|(was, is)| was.shift_to(is));
        if was.agrees_with(&facts) {
            Knowledge::Known
        } else if row.no_archive {
            Knowledge::Outdated { was, is_present: true }
        } else if let Some(by) = by.filter(|_| was.size == facts.size) {
            Knowledge::Shifted { was, by }
        } else {
            (row.facts, row.size) = (facts, facts.size.unwrap_or(row.size));
            Knowledge::Changed { was }
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Records for MemoryRecords {
    async fn look_up(
        &self,
        directory: &Arc<RemotePath>,
        files: Arc<[(RemoteName, FileFacts)]>,
    ) -> anyhow::Result<Vec<Knowledge>> {
        self.call(Some(&self.fail_look_ups)).await?;
        self.looked_up.set(self.looked_up.get() + files.len() as u64);
        Ok(files.iter().map(|(name, facts)| self.know(directory, name, *facts)).collect())
    }

    async fn settle_shifts(&self, files: Vec<Shifted>) -> anyhow::Result<()> {
        self.call(None).await?;
        for file in &files {
            if let Some(row) = self.rows.borrow_mut().get_mut(file.directory.join(&file.name).text()) {
                row.facts = file.facts;
            }
        }
        self.settled.borrow_mut().extend(files);
        Ok(())
    }

    async fn record(&self, download: Download) -> anyhow::Result<()> {
        self.call(Some(&self.fail_records)).await?;
        let path = download.directory.join(&download.name).text().to_owned();
        let at = download.directory.join(&download.name);
        let stored = self.mirror.as_ref().and_then(|mirror| mirror.content(&download.server, &at));
        if stored.is_some_and(|stored| stored.len() as u64 == download.size) {
            self.recorded.borrow_mut().push(path.clone());
        } else {
            self.unbacked.borrow_mut().push(path.clone());
        }
        self.keep(path, download);
        // committed before the asker hears of it
        sleep(STEP).await;
        Ok(())
    }
}

/// What the disk says of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Granted,
    Busy,
    Held,
    TooLarge,
    Nothing,
    /// The file system itself has no byte left.
    Full,
}

/// The disk guard: grants all that it is asked for, unless a test says otherwise.
#[derive(Default)]
pub(super) struct MemoryDisk {
    pub(super) counters: Arc<DiskCounters>,
    mirror: RefCell<Option<Arc<dyn MirrorStore>>>,
    /// What it says of the next downloads, and of those that need more.
    pub(super) says: RefCell<VecDeque<Says>>,
    pub(super) says_of_growth: RefCell<VecDeque<Says>>,
    /// What it was asked for.
    pub(super) asked: RefCell<Vec<u64>>,
    pub(super) fail_sweeps: Cell<u32>,
}

impl MemoryDisk {
    async fn answer(&self, says: &RefCell<VecDeque<Says>>, bytes: u64) -> anyhow::Result<Admission> {
        sleep(STEP).await;
        self.asked.borrow_mut().push(bytes);
        let says = says.borrow_mut().pop_front();
        Ok(match says {
            None | Some(Says::Granted) => {
                Admission::Granted { reservation: self.counters.reserve(bytes), prepaid: 0 }
            }
            Some(Says::Busy) => Admission::Busy,
            Some(Says::Held) => Admission::Held,
            Some(Says::TooLarge) => Admission::TooLarge,
            Some(Says::Nothing) => anyhow::bail!("the disk does not answer"),
            Some(Says::Full) => return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into()),
        })
    }
}

#[async_trait::async_trait(?Send)]
impl DiskGuard for MemoryDisk {
    async fn sweep(&self) -> anyhow::Result<()> {
        sleep(STEP).await;
        anyhow::ensure!(!counts_down(&self.fail_sweeps), "the disk does not answer");
        let mirror = self.mirror.borrow();
        self.counters.set_partial(mirror.as_ref().unwrap().partial_bytes()?);
        Ok(())
    }

    async fn make_room(&self, bytes: u64) -> anyhow::Result<Admission> {
        self.answer(&self.says, bytes).await
    }

    async fn grow(&self, growth: Growth) -> anyhow::Result<Admission> {
        self.answer(&self.says_of_growth, growth.bytes).await
    }
}

/// Everything around a scanner, which outlives it.
pub(super) struct World {
    pub(super) remote: MemoryServer,
    pub(super) records: Rc<MemoryRecords>,
    pub(super) disk: Rc<MemoryDisk>,
    pub(super) progress: Arc<Progress>,
    pub(super) sync: watch::Sender<SyncSettings>,
    settings: Settings,
    mirror: Arc<dyn MirrorStore>,
    /// What a hand does in the mirror.
    pub(super) hand: Rc<dyn Bench>,
    /// The mirror, unless it is on a disk.
    pub(super) memory: MemoryMirror,
    began: Instant,
}

impl World {
    /// An empty server and an empty mirror. `keys` are those of the server beside its name and host.
    pub(super) fn new(keys: &str) -> Self {
        let memory = MemoryMirror::default();
        Self::with(keys, Rc::new(memory.clone()), memory)
    }

    /// The same with a mirror on a disk.
    pub(super) fn on_disk(keys: &str) -> Self {
        Self::with(keys, mirror::on_disk(), MemoryMirror::default())
    }

    fn with(keys: &str, hand: Rc<dyn Bench>, memory: MemoryMirror) -> Self {
        let settings = fixtures::settings(keys);
        let mirror = hand.location().open().unwrap();
        let remote = MemoryServer::default();
        remote.latency(STEP).pieces(2, 1024);
        let records = MemoryRecords { mirror: Some(Rc::clone(&hand)), ..MemoryRecords::default() };
        let disk = MemoryDisk { mirror: RefCell::new(Some(Arc::clone(&mirror))), ..MemoryDisk::default() };
        let root = hand.location().path().to_owned();
        let sync = SyncSettings { root, interval: INTERVAL, quiet_directories: None };
        let progress = Arc::new(Progress::new(&settings.servers[0].name));
        let (records, disk) = (Rc::new(records), Rc::new(disk));
        let sync = watch::Sender::new(sync);
        Self { remote, records, disk, progress, sync, settings, mirror, hand, memory, began: Instant::now() }
    }

    /// A scanner that remembers nothing, as after a start of the service.
    pub(super) fn start(&self) -> Server {
        let neighbours = Neighbours {
            connector: self.remote.connector().into(),
            records: Rc::clone(&self.records) as Rc<dyn Records>,
            guard: Rc::clone(&self.disk) as Rc<dyn DiskGuard>,
            counters: Arc::clone(&self.disk.counters),
            open_files: OpenFiles::new(65_536, &self.settings),
            wall_clock: self.wall_clock(),
        };
        let settings: Arc<ServerSettings> = Arc::new(self.settings.servers[0].clone());
        let progress = Arc::clone(&self.progress);
        Server::new(settings, self.sync.subscribe(), &*self.mirror, neighbours, progress).unwrap()
    }

    /// Noon of a Tuesday when the test begins; moves with the paused clock.
    fn wall_clock(&self) -> WallClock {
        let began = self.began;
        let noon: DateTime<Local> = Local.with_ymd_and_hms(2026, 11, 24, 12, 0, 0).unwrap();
        Rc::new(move || noon + began.elapsed())
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.progress.snapshot()
    }

    /// Whose files they are.
    pub(super) fn own(&self) -> &ServerName {
        &self.settings.servers[0].name
    }

    pub(super) fn content(&self, at: &str) -> Option<Vec<u8>> {
        self.hand.content(self.own(), &path(at))
    }

    pub(super) fn has_directory(&self, at: &str) -> bool {
        self.hand.is_directory(self.own(), &path(at))
    }

    /// Partial files, and the bytes in them.
    pub(super) fn partial(&self) -> Vec<(PartialName, u64)> {
        let server = self.mirror.server(self.own()).unwrap();
        let names = server.partials().unwrap().into_iter();
        names.map(|name| (name, server.partial(name).size())).collect()
    }

    /// All files of the mirror, by their paths on the server.
    pub(super) fn files(&self) -> BTreeSet<String> {
        self.hand.files(self.own())
    }

    /// What holds at every moment: each record has its file, whole; each name of the mirror is that of a whole file; and
    /// nothing was recorded twice.
    pub(super) fn assert_sound(&self, expected: &[(&str, Vec<u8>)]) {
        assert_eq!(*self.records.unbacked.borrow(), [""; 0], "recorded and not whole in the mirror");
        let recorded = self.records.recorded();
        let once: BTreeSet<&String> = recorded.iter().collect();
        assert_eq!(once.len(), recorded.len(), "recorded twice: {recorded:?}");
        for path in self.files() {
            let whole = expected.iter().find(|(at, _)| *at == path).map(|(_, content)| content);
            assert!(self.content(&path).as_ref() == whole, "{path} is not what it should be");
        }
    }

    /// What holds in the end: all of `expected` is in the mirror and on record, and nothing is left over.
    pub(super) fn assert_complete(&self, expected: &[(&str, Vec<u8>)]) {
        self.assert_sound(expected);
        let all: BTreeSet<String> = expected.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(self.files(), all);
        assert_eq!(self.records.recorded().into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(self.partial(), []);
        let counters = &self.disk.counters;
        assert_eq!((counters.reserved(), counters.reservations(), counters.partial()), (0, 0, 0));
    }
}

/// A path of the mirror, and of the server.
pub(super) fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text, encoding_rs::UTF_8).unwrap()
}

/// Puts `files` on the server of a world.
pub(super) fn put(world: &World, files: &[(&str, Vec<u8>)]) {
    for (at, (path, content)) in files.iter().enumerate() {
        world.remote.file(path, content.clone(), 1_000_000 + 7 * at as i64);
    }
}

/// Three zips in two directories, each of several pieces.
pub(super) fn three() -> [(&'static str, Vec<u8>); 3] {
    [("/a/1.zip", zip_of(2500, 1)), ("/a/2.zip", zip_of(1500, 2)), ("/b/c/3.zip", zip_of(2500, 3))]
}

/// One scan, which finds a way in.
pub(super) async fn scanned(server: &Server) -> Tally {
    one_scan(server).await.unwrap()
}

/// Scans until one has nothing left to do, with long pauses in between, as far as a few of them are enough.
pub(super) async fn scan_until_done(server: &Server) {
    let mut last: Option<Result<Tally, ProtocolError>> = None;
    for _ in 0..5 {
        let outcome = one_scan(server).await;
        if outcome.as_ref().is_ok_and(|tally| tally.waiting == 0 && tally.failed_directories == 0) {
            wind_up(server).await;
            return;
        }
        last = Some(outcome);
        sleep(LONG).await;
    }
    panic!("it comes to no end: {last:?}");
}
