//! `FtpScanner` collects from one server between `Begin` and the exit flag.
//!
//! Told by: the supervisor. Waits for: keeper, warden, and its server. Thread: its own, which no other server
//! shares. After a panic the scan begins again, at growing intervals, and nobody else notices.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use tokio::sync::mpsc;

use super::quota_warden::{MakeRoom, QuotaWarden, Sweep};
use super::record_keeper::{DownloadedFile, LookUp, RecordKeeper};
use super::{AbortOnDrop, ask, shielded};
use crate::backoff::Backoff;
use crate::config::{ServerSettings, SyncSettings};
use crate::exit_flag::{ExitWatch, Stopped};
use crate::facts::{Download, FileFacts, Knowledge};
use crate::mirror::collect::collect;
use crate::mirror::ports::{DiskGuard, Records, Room};
use crate::mirror::server::{Neighbours, Server};
use crate::mirror::store::Publisher;
use crate::mirror::tree::Mirror;
use crate::names::{RemoteName, RemotePath, ServerName};
use crate::quota::Gauge;
use crate::status::{Progress, ServerState};

const RESTART: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };

/// Scan until the flag is raised.
#[derive(Debug, Message)]
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
    /// How often, and where to.
    pub sync: SyncSettings,
    /// Where files go.
    pub mirror: Arc<Mirror>,
    /// Who knows which are new.
    pub keeper: Addr<RecordKeeper>,
    /// Who knows what fits.
    pub warden: Addr<QuotaWarden>,
    /// Who makes files durable.
    pub publisher: Publisher,
    /// Bytes under way.
    pub gauge: Arc<Gauge>,
    /// What `status` shows.
    pub progress: Arc<Progress>,
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
        self.work = Some(AbortOnDrop(actix_rt::spawn(scan_until(self.plan.clone(), begin))));
    }
}

/// Scans until the flag is raised, and begins again after a panic or a failed beginning.
async fn scan_until(plan: Plan, begin: Begin) {
    let Begin { exit, running } = begin;
    let name = plan.settings.name.clone();
    let mut faults = 0;
    while !exit.is_raised() {
        let (plan_now, exit_now) = (plan.clone(), exit.clone());
        let fault = match shielded(run(plan_now, exit_now)).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("the scan broke: {panic}"),
        };
        faults += 1;
        let wait = RESTART.after(faults);
        log::error!("server={name} {fault}; it begins again in {}", humantime::format_duration(wait));
        plan.progress.update(|status| {
            status.state = ServerState::Unreachable;
            status.last_error = Some(fault);
        });
        if exit.guard(tokio::time::sleep(wait)).await == Err(Stopped) {
            break;
        }
    }
    plan.progress.stopped();
    drop(running);
}

async fn run(plan: Plan, exit: ExitWatch) -> anyhow::Result<()> {
    let Plan { settings, sync, mirror, keeper, warden, publisher, gauge, progress } = plan;
    let records = Rc::new(KeeperRecords { keeper, server: settings.name.clone() });
    let guard = Rc::new(WardenGuard(warden));
    let neighbours = Neighbours { records, guard, publisher, gauge };
    let server = Server::new(settings, &sync, &mirror, neighbours, progress)?;
    collect(&server, &exit).await;
    Ok(())
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
        ask(&self.keeper, LookUp { server, directory, files }).await
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

    async fn make_room(&self, bytes: u64) -> anyhow::Result<Room> {
        ask(&self.0, MakeRoom(bytes)).await
    }
}
