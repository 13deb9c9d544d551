//! `FtpScanner` collects from one server between `Begin` and the exit flag.
//!
//! Told by: the supervisor. Waits for: keeper, warden, and its server. Thread: its own, which no other server
//! shares. After a panic, and when it hangs, the scan begins again, at growing intervals that shrink after a good one,
//! and nobody else notices.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use anyhow::bail;
use tokio::sync::{mpsc, watch};

use super::quota_warden::{Grow, MakeRoom, QuotaWarden, Sweep};
use super::record_keeper::{DownloadedFile, RecordKeeper, Request};
use super::{AbortOnDrop, ask, shielded};
use crate::base::backoff::{Backoff, Restarts};
use crate::base::exit_flag::{ExitWatch, Stopped};
use crate::base::facts::{Download, FileFacts, Knowledge, Shifted};
use crate::base::failpoints;
use crate::base::humanize::why;
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::base::watchdog;
use crate::base::watchdog::{Pulse, Verdict, seconds};
use crate::collector::collect::{collect, wind_up};
use crate::collector::open_files::OpenFiles;
use crate::collector::ports::{Admission, DiskGuard, Growth, Records};
use crate::collector::server::{Neighbours, Server};
use crate::config::{ServerSettings, SyncSettings};
use crate::connectors::Connect;
use crate::mirror::error::Apart;
use crate::mirror::mounted::{Holds, MountedMirror};
use crate::net::network::Network;
use crate::quota::DiskCounters;
use crate::records::Work;
use crate::status::{Progress, ServerState};

const RESTART: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
/// How often a scan is looked at for signs of life; nothing against the limit.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files with another time that are settled by one message.
const SHIFTS_TOGETHER: usize = 1000;

/// Scan until the flag is raised.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Begin {
    /// Of this start.
    pub exit: ExitWatch,
    /// Dropped when the scanner has ended.
    pub running: mpsc::Sender<()>,
}

/// Everything that a scanner is made of; kept by the supervisor, to make another one where the first is lost.
#[derive(Clone)]
pub struct Plan {
    /// The server.
    pub settings: Arc<ServerSettings>,
    /// A number for the certificates or host keys that it trusts, where the settings name a file of them.
    pub trusted: Option<u64>,
    /// Makes what it connects by, on the scanner's own thread.
    pub connect: Connect,
    /// How often, as of now.
    pub sync: watch::Receiver<SyncSettings>,
    /// Where files go, once the right mirror is there.
    pub place: Arc<MountedMirror>,
    /// Who knows which are new.
    pub keeper: Addr<RecordKeeper>,
    /// Who knows what fits.
    pub warden: Addr<QuotaWarden>,
    /// Bytes under way.
    pub counters: Arc<DiskCounters>,
    /// What its connections share with all others.
    pub network: Network,
    /// What may be open.
    pub open_files: OpenFiles,
    /// What `status` shows.
    pub progress: Arc<Progress>,
    /// Whether it lives.
    pub pulse: Arc<Pulse>,
}

impl Plan {
    /// Returns whether it is the same server with the same settings.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.settings == other.settings && self.trusted == other.trusted
    }
}

/// See the module.
pub struct FtpScanner {
    plan: Plan,
    work: Option<AbortOnDrop<()>>,
}

impl FtpScanner {
    /// A scanner that waits for [`Begin`].
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, work: None }
    }
}

impl Actor for FtpScanner {
    type Context = Context<Self>;
}

impl Handler<Begin> for FtpScanner {
    type Result = ();

    fn handle(&mut self, begin: Begin, _: &mut Context<Self>) {
        failpoints::here("begin", self.plan.settings.name.as_str());
        self.work = Some(AbortOnDrop(actix_rt::spawn(scan_until(self.plan.clone(), begin))));
    }
}

/// Scans until the flag is raised, and begins again after a panic, a hang, or a failed beginning.
async fn scan_until(plan: Plan, begin: Begin) {
    let Begin { exit, running } = begin;
    let name = plan.settings.name.clone();
    let mut restarts = Restarts::new(RESTART);
    let mut said = None;
    while !exit.is_raised() {
        if exit.guard(until_free(&plan)).await == Err(Stopped) {
            break;
        }
        let scans = plan.progress.snapshot().scans;
        let error = match live(&plan, &exit).await {
            Ok(Ended::Stopped) => break,
            Ok(Ended::Held) => continue,
            Err(error) => error,
        };
        let fault = why(&error);
        // a scan that came to its end, well or badly, is a good run for a scanner
        let wait = restarts.wait(plan.progress.snapshot().scans > scans);
        // what an operator must mend is said once, and looked at again
        let again = error.is::<Apart>() && said.as_ref() == Some(&fault);
        let level = if again { log::Level::Debug } else { log::Level::Error };
        log::log!(level, "server={name} {fault}; it begins again in {}", seconds(wait));
        said = Some(fault.clone());
        plan.progress.update(|status| {
            status.state = ServerState::Unreachable;
            status.last_error = Some(fault);
        });
        plan.progress.waits(wait);
        let waiting = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = plan.progress.scan_asked() => {}
            }
        };
        if exit.guard(waiting).await == Err(Stopped) {
            break;
        }
    }
    plan.progress.stopped();
    drop(running);
}

/// Waits while the mirror, or the files of this server in it, are held.
async fn until_free(plan: &Plan) {
    let (mut holds, name) = (plan.place.follow(), &plan.settings.name);
    let mut held = false;
    loop {
        let alone = {
            let holds = holds.borrow_and_update();
            let Some(reason) = holds.of(name) else { break };
            // what everybody waits for is said once, and not by each server
            holds.all.is_none().then(|| reason.sentence_of(plan.place.path(), name))
        };
        held = true;
        plan.progress.held(alone);
        if holds.changed().await.is_err() {
            std::future::pending().await
        }
    }
    if held {
        plan.progress.changed();
    }
}

/// Ends when scans have to wait, or when the mirror was opened anew and the handles in use lead elsewhere.
async fn lost(plan: &Plan, opened: u64) {
    let (mut holds, name) = (plan.place.follow(), &plan.settings.name);
    let is_lost = |holds: &Holds| holds.opened != opened || holds.of(name).is_some();
    if holds.wait_for(is_lost).await.is_err() {
        std::future::pending().await
    }
}

/// How scans ended that met no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The flag was raised.
    Stopped,
    /// The mirror is held.
    Held,
}

/// Scan after scan, until the flag is raised, the mirror is held, or a fault ends it. What was received whole by then is stored and
/// recorded all the same, and the server is logged out of.
async fn live(plan: &Plan, exit: &ExitWatch) -> anyhow::Result<Ended> {
    let opened = plan.place.holds().opened;
    let server = Rc::new(OnceCell::new());
    let work = {
        let (plan, exit, server) = (plan.clone(), exit.clone(), Rc::clone(&server));
        async move {
            let made = Rc::new(make(plan)?);
            collect(server.get_or_init(|| made), &exit).await;
            anyhow::Ok(Ended::Stopped)
        }
    };
    let ended = tokio::select! {
        done = shielded(work) => done.unwrap_or_else(|panic| bail!("the scan broke: {panic}")),
        fault = hung(plan) => Err(fault),
        () = lost(plan, opened) => Ok(Ended::Held),
    };
    if let (Err(_) | Ok(Ended::Held), Some(server)) = (&ended, server.get().cloned()) {
        // a second fault changes nothing; the hook has logged it
        shielded(async move { wind_up(&server).await }).await.unwrap_or_default();
    }
    ended
}

fn make(plan: Plan) -> anyhow::Result<Server> {
    let Plan {
        settings, connect, sync, place, keeper, warden, counters, open_files, network, progress, ..
    } = plan;
    let mirror = place.mirror()?;
    let records = Rc::new(KeeperRecords { keeper, server: settings.name.clone() });
    let guard = Rc::new(WardenGuard(warden));
    let connector = connect((*settings).clone(), &network)?.into();
    let wall_clock = Rc::new(chrono::Local::now);
    let neighbours = Neighbours { connector, records, guard, counters, open_files, wall_clock };
    Server::new(settings, sync, &*mirror, neighbours, progress)
}

/// Ends when the scan under way has shown no sign of life for too long.
async fn hung(plan: &Plan) -> anyhow::Error {
    let limit = watchdog::limit(plan.settings.timeout);
    let mut suspected = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let verdict = watchdog::judge(plan.pulse.silence(), limit);
        // seen twice: after a stopped process goes on, the first look comes before any sign of life
        let seen_before = std::mem::replace(&mut suspected, verdict != Verdict::Alive);
        if let (true, Verdict::Stuck(silence) | Verdict::Blocked(silence)) = (seen_before, verdict) {
            let (silence, under_way) = (seconds(silence), plan.pulse.under_way());
            return anyhow::anyhow!("the scan hung: no sign of life for {silence}, under way: {under_way}");
        }
    }
}

/// The keeper, as a scan asks it.
struct KeeperRecords {
    keeper: Addr<RecordKeeper>,
    server: ServerName,
}

#[async_trait::async_trait(?Send)]
impl Records for KeeperRecords {
    async fn look_up(
        &self,
        directory: &Arc<RemotePath>,
        files: Arc<[(RemoteName, FileFacts)]>,
    ) -> anyhow::Result<Vec<Knowledge>> {
        let (server, directory) = (self.server.clone(), Arc::clone(directory));
        let look_up = Request::new(Work::LookUp, move |records| records.look_up(&server, &directory, &files));
        ask(&self.keeper, look_up).await
    }

    async fn settle_shifts(&self, files: Vec<Shifted>) -> anyhow::Result<()> {
        // not all at once: others wait for the keeper, too
        for files in files.chunks(SHIFTS_TOGETHER) {
            let (server, files) = (self.server.clone(), files.to_vec());
            let settle = Request::new(Work::LookUp, move |records| records.settle_shifts(&server, &files));
            ask(&self.keeper, settle).await?;
        }
        Ok(())
    }

    async fn record(&self, download: Download) -> anyhow::Result<()> {
        ask(&self.keeper, DownloadedFile(download)).await
    }
}

/// The warden, as a scan asks it.
struct WardenGuard(Addr<QuotaWarden>);

#[async_trait::async_trait(?Send)]
impl DiskGuard for WardenGuard {
    async fn sweep(&self) -> anyhow::Result<()> {
        ask(&self.0, Sweep).await
    }

    async fn make_room(&self, bytes: u64) -> anyhow::Result<Admission> {
        ask(&self.0, MakeRoom(bytes)).await
    }

    async fn grow(&self, growth: Growth) -> anyhow::Result<Admission> {
        ask(&self.0, Grow(growth)).await
    }
}
