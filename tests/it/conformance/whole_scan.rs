//! The service at work with a protocol that it does not have: scanner, records, disk guard and calls are its own, and the
//! index over HTTP comes in by the one line that a protocol takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_rt::System;
use mrosync::actors::notifier::{KeeperOutbox, Notifier};
use mrosync::actors::quota_warden::{DiskView, QuotaWarden, Warden};
use mrosync::actors::record_keeper::{Flush, RecordKeeper, SharedTotals};
use mrosync::actors::scanner::{Begin, Plan};
use mrosync::actors::supervisor::{Start, Stop, Supervisor};
use mrosync::actors::{start, start_apart};
use mrosync::base::exit_flag::ExitFlag;
use mrosync::collector::open_files::OpenFiles;
use mrosync::config::{ServerSettings, Settings};
use mrosync::mirror;
use mrosync::mirror::mounted::{MountedMirror, take};
use mrosync::net::network::Network;
use mrosync::notify::outbox_state::OutboxState;
use mrosync::protocol::Connector;
use mrosync::quota::DiskCounters;
use mrosync::records;
use mrosync::status::{Progress, Roster};
use tokio::sync::{mpsc, oneshot, watch};

use super::http_index::HttpIndex;
use super::web_server::WebServer;
use crate::support::notify::NotifyStub;
use crate::support::service::{Server, Setup};
use crate::support::steps::SOON;
use crate::support::wait::{eventually, obtain};
use crate::support::zips::zip;

/// The line that a new protocol takes in `src/connectors.rs`.
fn connect(settings: ServerSettings, _: &Network) -> anyhow::Result<Box<dyn Connector>> {
    let addr = SocketAddr::new(settings.host.parse()?, settings.port);
    Ok(Box::new(HttpIndex::new(addr, settings.timeout)))
}

/// The parts of a running service; they end when it is told so.
struct Collecting {
    progress: Arc<Progress>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Collecting {
    fn begin(settings: &Settings) -> Self {
        let progress = Arc::new(Progress::new(&settings.servers[0].name));
        let (stop, stopped) = oneshot::channel();
        let parts = (settings.clone(), Arc::clone(&progress));
        let thread = std::thread::spawn(move || System::new().block_on(collect(parts.0, parts.1, stopped)));
        Self { progress, stop, thread }
    }

    /// Waits for so many scans more that begin after this.
    fn wait_for_scans(&self, scans: u64) {
        // one may be under way
        let enough = self.progress.snapshot().scans + scans + 1;
        eventually(SOON, "scans", || self.progress.snapshot().scans >= enough);
    }

    fn end(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Collects by all that the service is made of, until it is told to stop.
async fn collect(settings: Settings, progress: Arc<Progress>, stopped: oneshot::Receiver<()>) {
    let location = mirror::at(&settings.sync.root);
    // the threads of the one before may not have let go of it yet
    let settled = obtain(SOON, "the mirror is free", || take(&*location, None).ok());
    let place = Arc::new(MountedMirror::new(location, Ok(settled)));
    let (totals, outbox_state) = (SharedTotals::default(), Arc::new(OutboxState::default()));
    let (counters, servers) =
        (Arc::<DiskCounters>::default(), Arc::new(Roster::new(vec![Arc::clone(&progress)])));
    let store = records::open(&settings.records).unwrap();
    let keeper =
        RecordKeeper::new(store, totals.clone(), Arc::clone(&outbox_state), mpsc::channel(1).0).unwrap();
    let keeper = start_apart("keeper", move || keeper).unwrap();
    let outbox = KeeperOutbox::new(&keeper, &place, &outbox_state, &servers);
    let (_sync, sync) = watch::channel(settings.sync.clone());
    let (_limits, limits) = watch::channel(settings.quota);
    let (_calls, calls) = watch::channel(settings.notify.clone());
    let ((calling, exit), (running, mut calls_under_way)) = (ExitFlag::new(), mpsc::channel(1));
    let begin = Begin { exit, running };
    let _notifier =
        start_apart("notifier", move || Notifier::new(calls, outbox, Arc::new(|_, _| {}), begin)).unwrap();
    let warden = Warden {
        place: Arc::clone(&place),
        keeper: keeper.clone(),
        totals,
        limits,
        counters: Arc::clone(&counters),
        view: Arc::new(DiskView::default()),
        outbox_state,
        servers,
    };
    let warden = start_apart("warden", move || QuotaWarden::new(warden)).unwrap();
    let supervisor = start(Supervisor::new(vec![Plan {
        settings: Arc::new(settings.servers[0].clone()),
        trusted: None,
        connect,
        sync,
        place,
        keeper: keeper.clone(),
        warden,
        counters,
        network: Network::default(),
        open_files: OpenFiles::new(1024, &settings),
        progress,
        pulse: Arc::default(),
    }]));
    supervisor.send(Start).await.unwrap().unwrap();
    stopped.await.unwrap();
    supervisor.send(Stop).await.unwrap().unwrap();
    calling.raise();
    assert!(calls_under_way.recv().await.is_none());
    keeper.send(Flush).await.unwrap();
}

/// The paths on record, each with whether it was announced.
fn recorded(settings: &Settings) -> Vec<(String, bool)> {
    let mut reader = records::read(&settings.records).unwrap();
    let mut rows = Vec::new();
    let visit = &mut |row: &records::RecordRow| {
        rows.push((row.path.text().to_owned(), row.notified_at.is_some()));
        Ok(())
    };
    reader.for_each(&records::Filter::default(), visit).unwrap();
    rows.sort();
    rows
}

#[test]
fn a_tree_comes_through_it_whole_is_recorded_and_announced_and_nothing_comes_twice() {
    let (web, stub) = (WebServer::start(), NotifyStub::start());
    let mut expected =
        vec![("/MR/1.zip", zip(1, 100)), ("/MR/2026 11/2.zip", zip(2, 50_000)), ("/3.zip", zip(3, 10))];
    let put = |files: &[(&str, Vec<u8>)]| files.iter().for_each(|(path, zip)| web.put(path, zip.clone()));
    put(&expected);
    web.put("/MR/notes.txt", "notes");
    web.make_directory("/MR/none/");
    let setup = Setup::new().server(Server::at("omc01", web.addr())).notify(&stub.url());
    let settings = mrosync::config::load(setup.configurations()).unwrap().settings;
    let local =
        |path: &str| -> PathBuf { settings.sync.root.join("omc01").join(path.trim_start_matches('/')) };

    let collecting = Collecting::begin(&settings);
    stub.wait_for(SOON, "three calls", |calls| calls.len() == 3);
    assert!(local("/MR/none").is_dir());
    // a scan that finds nothing new, and one that does
    collecting.wait_for_scans(1);
    assert_eq!(stub.calls().len(), 3);
    expected.push(("/late/4.zip", zip(4, 300)));
    put(&expected[3..]);
    stub.wait_for(SOON, "four calls", |calls| calls.len() == 4);
    collecting.wait_for_scans(1);
    collecting.end();
    // and a service that remembers nothing but what is on record
    let again = Collecting::begin(&settings);
    again.wait_for_scans(1);
    again.end();

    for (path, zip) in &expected {
        assert!(std::fs::read(local(path)).unwrap() == *zip, "{path}");
    }
    let paths = |prefix: &str| {
        let mut paths: Vec<_> = expected.iter().map(|(path, _)| format!("{prefix}{path}")).collect();
        paths.sort();
        paths
    };
    let mut fetched: Vec<_> = web.fetched().into_iter().filter(|path| !path.ends_with('/')).collect();
    let mut called = stub.files();
    fetched.sort();
    called.sort();
    assert_eq!((fetched, called), (paths(""), paths("/omc01")));
    assert_eq!(recorded(&settings), paths("").into_iter().map(|path| (path, true)).collect::<Vec<_>>());
}
