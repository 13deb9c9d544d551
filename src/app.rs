//! `mrosync run`: the parts are built last to first, each knowing only those it hands work to; then commands and
//! signals are served until the end, which goes the other way round.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use actix_rt::{Arbiter, System};
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::actors::notifier::Notifier;
use crate::actors::quota_warden::{DiskView, QuotaWarden, Warden};
use crate::actors::record_keeper::{Flush, RecordKeeper, SharedTotals};
use crate::actors::scanner::Plan;
use crate::actors::supervisor::{IsRunning, Start, Stop, Supervisor};
use crate::actors::{Address, start, start_on};
use crate::config::Settings;
use crate::control::command::{HELP, answer_line};
use crate::control::socket::ControlSocket;
use crate::control::{Command, Request, Requests, console, render};
use crate::mirror::store::Publisher;
use crate::mirror::tree::{Mirror, MirrorInUse};
use crate::overview::Overview;
use crate::quota::Gauge;
use crate::records::{OpenError, Records};
use crate::status::Progress;

/// The records are flushed within this time at the end; a SIGTERM is answered within 5 s, the stop takes 2 s.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// For the answer to `quit` to be shown before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    Well,
    /// The records are lost; the next start may find them again.
    RecordsLost,
}

/// Why the service does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something that the configuration names is used by another service.
    #[error("{0:#}")]
    InUse(anyhow::Error),
    /// The system does not give what is needed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Runs the service until it is told to end.
///
/// # Errors
///
/// When it cannot begin; nothing was changed then but directories and files made.
pub fn run(settings: Settings, start_now: bool) -> Result<Ended, Refused> {
    raise_open_files();
    let mirror = Mirror::open(&settings.sync.root).map_err(in_use_or_failed)?;
    let records = open_records(&settings.records.path)?;
    System::new().block_on(async move {
        let socket = ControlSocket::bind(&settings.control.socket).map_err(Refused::InUse)?;
        let service = Service::build(settings, mirror, records)?;
        service.serve(socket, start_now).await
    })
}

fn open_records(path: &Path) -> Result<Records, Refused> {
    Records::open(path).map_err(|error| match error {
        OpenError::InUse { .. } => Refused::InUse(error.into()),
        error => Refused::Failed(error.into()),
    })
}

fn in_use_or_failed(error: anyhow::Error) -> Refused {
    if error.is::<MirrorInUse>() { Refused::InUse(error) } else { Refused::Failed(error) }
}

/// Each server has its connections, each connection a socket or two and a file: take what the system allows.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("cannot raise the limit of open files: {error}");
    }
}

/// The running parts.
struct Service {
    supervisor: Address<Supervisor>,
    keeper: Address<RecordKeeper>,
    /// Held so that it is not ended.
    _notifier: Address<Notifier>,
    overview: Arc<Overview>,
    /// Closes when the keeper is gone.
    keeper_alive: mpsc::Receiver<()>,
}

impl Service {
    fn build(settings: Settings, mirror: Mirror, records: Records) -> anyhow::Result<Self> {
        let Settings { sync, quota, notify, servers, .. } = settings;
        let (mirror, gauge) = (Arc::new(mirror), Arc::new(Gauge::default()));
        gauge.set_partial(mirror.partial_bytes().context("cannot measure the partial files")?);
        let (totals, outbox_grew) = (SharedTotals::default(), Arc::new(Notify::new()));
        let (alive, keeper_alive) = mpsc::channel(1);
        let keeper = RecordKeeper::new(records, totals.clone(), Arc::clone(&outbox_grew), alive)?;
        let keeper = start_on(&Arbiter::new(), move || keeper);
        let failed_attempts = Arc::new(AtomicU64::new(0));
        let (to_keeper, failed) = (keeper.clone(), Arc::clone(&failed_attempts));
        let notifier =
            start_on(&Arbiter::new(), move || Notifier::new(notify, to_keeper, outbox_grew, failed));
        let view = Arc::new(DiskView::default());
        let warden = Warden {
            mirror: Arc::clone(&mirror),
            keeper: keeper.clone(),
            totals: totals.clone(),
            limits: quota,
            gauge: Arc::clone(&gauge),
            view: Arc::clone(&view),
        };
        let warden = start_on(&Arbiter::new(), move || QuotaWarden::new(warden));
        let publisher = Publisher::start().context("cannot start the publisher")?;
        let progress: Vec<_> = servers.iter().map(|server| Arc::new(Progress::new(&server.name))).collect();
        let plan = |(settings, progress): (_, &Arc<Progress>)| Plan {
            settings: Arc::new(settings),
            interval: sync.interval,
            mirror: Arc::clone(&mirror),
            keeper: keeper.clone(),
            warden: warden.clone(),
            publisher: publisher.clone(),
            gauge: Arc::clone(&gauge),
            progress: Arc::clone(progress),
        };
        let plans = servers.into_iter().zip(&progress).map(plan).collect();
        let supervisor = start(Supervisor::new(plans));
        let before = totals.get();
        let started = Instant::now();
        let overview =
            Overview { started, before, totals, view, gauge, limits: quota, mirror, failed_attempts, progress };
        Ok(Self { supervisor, keeper, _notifier: notifier, overview: Arc::new(overview), keeper_alive })
    }

    async fn serve(mut self, socket: ControlSocket, start_now: bool) -> Result<Ended, Refused> {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let (requests, mut asked) = Requests::new();
        console::start(requests.clone()).context("cannot start the console")?;
        log::info!("mrosync {} is ready", env!("CARGO_PKG_VERSION"));
        if start_now {
            self.command(Command::Start).await;
        }
        let serving = socket.serve(requests);
        tokio::pin!(serving);
        let farewell = loop {
            tokio::select! {
                () = &mut serving => {}
                name = signals.next() => {
                    log::info!("{name}: ending");
                    break None;
                }
                _ = self.keeper_alive.recv() => {
                    log::error!("the records are lost; the service ends, and its next start goes on");
                    self.command(Command::Stop).await;
                    return Ok(Ended::RecordsLost);
                }
                Some(request) = asked.recv() => match request.command {
                    Command::Quit => break Some(request.answer),
                    _ => self.answer(request),
                },
            }
        };
        let stopped = self.command(Command::Stop).await;
        if self.keeper.send(Flush).timeout(FLUSH_LIMIT).await.is_err() {
            log::error!("the records were not closed in time; nothing that was confirmed is lost");
        }
        log::info!("ended");
        if let Some(farewell) = farewell {
            // whoever asked may have gone
            drop(farewell.send(stopped));
            // lets the console and the socket pass it on
            drop(tokio::time::timeout(LAST_WORDS, &mut serving).await);
        }
        Ok(Ended::Well)
    }

    /// Answers beside the main loop, so that `status` never waits behind a `stop`.
    fn answer(&self, request: Request) {
        let (supervisor, overview) = (self.supervisor.clone(), Arc::clone(&self.overview));
        actix_rt::spawn(async move {
            let answer = perform(&supervisor, &overview, request.command).await;
            // whoever asked may have gone
            drop(request.answer.send(answer));
        });
    }

    async fn command(&self, command: Command) -> String {
        perform(&self.supervisor, &self.overview, command).await
    }
}

async fn perform(supervisor: &Address<Supervisor>, overview: &Overview, command: Command) -> String {
    match command {
        Command::Start => {
            let outcome = supervisor.send(Start).await;
            answer_line(&outcome.unwrap_or_else(|error| Err(error.to_string())))
        }
        Command::Stop | Command::Quit => {
            let outcome = supervisor.send(Stop).await;
            answer_line(&outcome.unwrap_or_else(|error| Err(error.to_string())))
        }
        Command::Help => HELP.to_owned(),
        Command::Status { json } => {
            let running = supervisor.send(IsRunning).await.unwrap_or(false);
            let status = overview.status(running).await;
            if json {
                serde_json::to_string(&status).unwrap_or_else(|error| format!("failed: {error}"))
            } else {
                render::status(&status)
            }
        }
    }
}

/// The signals that end the service: SIGHUP too, which a closed terminal sends.
struct Signals([(Signal, &'static str); 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::terminate())?, "SIGTERM"),
            (signal(SignalKind::interrupt())?, "SIGINT"),
            (signal(SignalKind::hangup())?, "SIGHUP"),
        ]))
    }

    async fn next(&mut self) -> &'static str {
        let [(term, first), (int, second), (hup, third)] = &mut self.0;
        tokio::select! {
            _ = term.recv() => first,
            _ = int.recv() => second,
            _ = hup.recv() => third,
        }
    }
}
