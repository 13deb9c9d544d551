//! `mrosync run`: the parts are built last to first, each knowing only those it hands work to; then commands and
//! signals are served until the end, which goes the other way round.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_rt::System;
use anyhow::Context;
use rustix::io::Errno;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::actors::notifier::{Notifier, Told};
use crate::actors::quota_warden::{DiskView, QuotaWarden, Warden};
use crate::actors::record_keeper::{Amend, Flush, MarkFetched, Ping, RecordKeeper, SharedTotals};
use crate::actors::scanner::{Begin, Plan};
use crate::actors::supervisor::{IsRunning, Start, Stop, Supervisor};
use crate::actors::{Address, shielded, start, start_apart};
use crate::config::{RecordsSettings, ServerSettings, Settings};
use crate::control::command::{HELP, answer_line};
use crate::control::socket::{ControlSocket, SocketInUse, UnsafeDirectory};
use crate::control::{Command, Marking, Request, Requests, console, render};
use crate::exit_flag::ExitFlag;
use crate::lateness;
use crate::mirror::store::Publisher;
use crate::mirror::tree::{Mirror, MirrorInUse};
use crate::names::Printable;
use crate::overview::Overview;
use crate::quota::Gauge;
use crate::records::{OpenError, Records};
use crate::status::Progress;
use crate::systemd;
use crate::web::{self, AddressInUse, Door, Page};
use crate::{fault, panics};

/// A SIGTERM is answered within 5 s: the stop takes up to 2 s of them, calls under way and the flush the rest.
const LANDING_LIMIT: Duration = Duration::from_secs(1);
const FLUSH_LIMIT: Duration = Duration::from_millis(1500);
/// For the answer to `quit` to be shown before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Between two looks whether a full disk has room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

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
    /// Something that the configuration names is used by another service, or others could tamper with it.
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
    panics::own_thread("main");
    let system = System::new();
    let ended = system.block_on(async move {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let opening = tokio::select! {
            opened = open_places(&settings) => opened?,
            name = signals.next() => {
                log::info!("{name}: ending");
                return Ok(Ended::Well);
            }
        };
        let (mirror, records, socket) = opening;
        let door = settings.web.clone().map(Door::open).transpose().map_err(in_use_or_failed)?;
        let service = Service::build(settings, mirror, records)?;
        service.serve(signals, (socket, door), start_now).await
    });
    // not dropped, which would wait for a look at a file system that does not answer; the process ends next
    std::mem::forget(system);
    ended
}

/// Opens what the service holds alone, and waits for room where a disk is full to the last byte.
async fn open_places(settings: &Settings) -> Result<(Mirror, Records, ControlSocket), Refused> {
    let mirror = with_room(async || Mirror::open(&settings.sync.root)).await?;
    let records = with_room(async || Ok(Records::open(&settings.records.path)?)).await?;
    let socket = with_room(async || ControlSocket::bind(&settings.control.socket).await).await?;
    Ok((mirror, records, socket))
}

/// Tries until there is room. Says once that it waits; the way out is a signal.
async fn with_room<T>(open: impl AsyncFn() -> anyhow::Result<T>) -> Result<T, Refused> {
    let mut told = false;
    loop {
        match open().await {
            Err(error) if lacks_room(&error) => {
                if !told {
                    log::error!("{error:#}; the service begins once there is room");
                    told = true;
                }
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            opened => return opened.map_err(in_use_or_failed),
        }
    }
}

fn lacks_room(error: &anyhow::Error) -> bool {
    let full = |kind: ErrorKind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    matches!(error.downcast_ref(), Some(OpenError::DiskFull { .. }))
        || error.chain().any(|cause| {
            let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            let errno = cause.downcast_ref::<Errno>().map(|errno| errno.kind());
            io.or(errno).is_some_and(full)
        })
}

fn in_use_or_failed(error: anyhow::Error) -> Refused {
    let records_in_use = matches!(error.downcast_ref(), Some(OpenError::InUse { .. }));
    let place_in_use = error.is::<MirrorInUse>() || error.is::<SocketInUse>() || error.is::<AddressInUse>();
    if records_in_use || place_in_use || error.is::<UnsafeDirectory>() {
        Refused::InUse(error)
    } else {
        Refused::Failed(error)
    }
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
    /// Ends the announcing.
    notifier_exit: ExitFlag,
    /// Closes when the announcing has ended.
    announcing: mpsc::Receiver<()>,
    overview: Arc<Overview>,
    /// The database, for those who read beside the keeper.
    records: PathBuf,
    /// Closes when the keeper is gone.
    keeper_alive: mpsc::Receiver<()>,
}

impl Service {
    fn build(settings: Settings, mirror: Mirror, mut records: Records) -> anyhow::Result<Self> {
        let Settings {
            sync, quota, notify, records: RecordsSettings { path: database }, mut servers, ..
        } = settings;
        begin(&mut servers, &mut records)?;
        let (mirror, gauge) = (Arc::new(mirror), Arc::new(Gauge::default()));
        gauge.set_partial(mirror.partial_bytes().context("cannot measure the partial files")?);
        let (totals, outbox_grew) = (SharedTotals::default(), Arc::new(Notify::new()));
        let (alive, keeper_alive) = mpsc::channel(1);
        let keeper = RecordKeeper::new(records, totals.clone(), Arc::clone(&outbox_grew), alive)?;
        let keeper = start_apart("keeper", move || keeper);
        let failed_attempts = Arc::new(AtomicU64::new(0));
        let (notifier_exit, exit) = ExitFlag::new();
        let (running, announcing) = mpsc::channel(1);
        let progress: Vec<_> = servers.iter().map(|server| Arc::new(Progress::new(&server.name))).collect();
        let (keeper_of_notices, told) =
            (keeper.clone(), count_calls(&progress, Arc::clone(&failed_attempts)));
        let notifier = start_apart("notifier", move || {
            Notifier::new(notify, keeper_of_notices, outbox_grew, told, Begin { exit, running })
        });
        remember_lateness(&database, &progress);
        let view = Arc::new(DiskView::default());
        let warden = Warden {
            mirror: Arc::clone(&mirror),
            keeper: keeper.clone(),
            totals: totals.clone(),
            limits: quota,
            gauge: Arc::clone(&gauge),
            view: Arc::clone(&view),
        };
        let warden = start_apart("warden", move || QuotaWarden::new(warden));
        let publisher = Publisher::start().context("cannot start the publisher")?;
        let plan = |(settings, progress): (ServerSettings, &Arc<Progress>)| Plan {
            settings: Arc::new(settings),
            sync: sync.clone(),
            mirror: Arc::clone(&mirror),
            keeper: keeper.clone(),
            warden: warden.clone(),
            publisher: publisher.clone(),
            gauge: Arc::clone(&gauge),
            progress: Arc::clone(progress),
            pulse: Arc::default(),
        };
        let plans = servers.into_iter().zip(&progress).map(plan).collect();
        let supervisor = start(Supervisor::new(plans));
        let before = totals.get();
        let started = Instant::now();
        let overview = Overview {
            started,
            before,
            totals,
            view,
            gauge,
            limits: quota,
            mirror,
            failed_attempts,
            progress,
        };
        let (overview, _notifier) = (Arc::new(overview), notifier);
        Ok(Self {
            supervisor,
            keeper,
            _notifier,
            notifier_exit,
            announcing,
            overview,
            records: database,
            keeper_alive,
        })
    }

    async fn serve(
        mut self,
        mut signals: Signals,
        (socket, door): (ControlSocket, Option<Door>),
        start_now: bool,
    ) -> Result<Ended, Refused> {
        let (requests, mut asked) = Requests::new();
        console::start(requests.clone()).context("cannot start the console")?;
        let _page = door.map(|door| self.open_page(door, requests.clone())).transpose()?;
        log::info!("mrosync {} is ready", env!("CARGO_PKG_VERSION"));
        let (keeper, supervisor) = (self.keeper.clone(), self.supervisor.clone());
        let is_alive =
            || async { keeper.send(Ping).await.is_ok() && supervisor.send(IsRunning).await.is_ok() };
        let overview = Arc::clone(&self.overview);
        let (watching, describing) =
            (systemd::watch(is_alive), systemd::describe(move || render::sentence(&overview.progress())));
        let readying = ready(requests.clone(), start_now);
        let serving = async { tokio::join!(socket.serve(requests), readying, watching, describing) };
        tokio::pin!(serving);
        let farewell = loop {
            tokio::select! {
                _ = &mut serving => {}
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
        systemd::stopping();
        let stopped = self.command(Command::Stop).await;
        // calls under way land and are recorded, or they would be repeated at the next start
        self.notifier_exit.raise();
        if tokio::time::timeout(LANDING_LIMIT, self.announcing.recv()).await.is_err() {
            log::warn!("calls to the notify host are still under way; they are repeated at the next start");
        }
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

    /// The status page, on threads of its own.
    fn open_page(&self, door: Door, requests: Requests) -> anyhow::Result<Page> {
        let keeper = self.keeper.clone();
        let alive = move || -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
            let keeper = keeper.clone();
            Box::pin(async move { keeper.send(Ping).await.is_ok() })
        };
        let servers = self.overview.progress.clone();
        door.serve(web::Parts { requests, alive: Arc::new(alive), servers, records: self.records.clone() })
    }

    /// Answers beside the main loop, so that `status` never waits behind a `stop`.
    fn answer(&self, request: Request) {
        let (supervisor, overview) = (self.supervisor.clone(), Arc::clone(&self.overview));
        let keeper = self.keeper.clone();
        actix_rt::spawn(async move {
            let answer = async move {
                match request.command {
                    Command::Amend(amendment, ids) => {
                        amended(&overview, keeper.send(Amend(amendment, ids)).await)
                    }
                    Command::Mark(Marking { mark, files, .. }) => {
                        amended(&overview, keeper.send(MarkFetched(mark, files)).await)
                    }
                    command => perform(&supervisor, &overview, command).await,
                }
            };
            let answer = shielded(answer).await;
            let answer = answer.unwrap_or_else(|panic| format!("failed: {}", Printable(&panic)));
            // whoever asked may have gone
            drop(request.answer.send(answer));
        });
    }

    async fn command(&self, command: Command) -> String {
        perform(&self.supervisor, &self.overview, command).await
    }
}

/// Says that the service is ready once it answers commands, which this asks it as everybody does; then starts.
async fn ready(requests: Requests, start_now: bool) {
    drop(requests.ask(Command::Help).await);
    systemd::ready();
    if start_now {
        // a failure is logged where it happens
        drop(requests.ask(Command::Start).await);
    }
}

/// Counts the notifier's calls: the failed ones together, and how late the others are for each server.
fn count_calls(progress: &[Arc<Progress>], failed: Arc<AtomicU64>) -> Told {
    let by_name = by_name(progress);
    Arc::new(move |notice, delivered| {
        if !delivered {
            failed.fetch_add(1, Ordering::Relaxed);
        } else if let Some(progress) = by_name.get(notice.server.as_str()) {
            progress.lateness().announced(notice.downloaded_at, chrono::Utc::now().timestamp_millis());
        }
    })
}

/// Tells the servers' lateness what the records know. Without it, it is learnt anew.
fn remember_lateness(records: &Path, progress: &[Arc<Progress>]) {
    let by_name = by_name(progress);
    let begun = lateness::remember(records, move |row| {
        if let Some(progress) = by_name.get(row.server.as_str()) {
            progress.lateness().remembered(&row.path, row.downloaded_at);
        }
    });
    begun.unwrap_or_else(|error| log::warn!("cannot read the records beside the service: {error}"));
}

/// Servers that begin with what is new have begun once they were started, and the records remember when.
fn begin(servers: &mut [ServerSettings], records: &mut Records) -> anyhow::Result<()> {
    let mut beginning: Vec<_> = servers.iter_mut().filter(|server| server.selection.from_now).collect();
    let names: Vec<_> = beginning.iter().map(|server| server.name.clone()).collect();
    let moments = records.begin(&names, chrono::Utc::now().timestamp())?;
    for (server, at) in beginning.iter_mut().zip(moments) {
        server.selection.since = Some(at);
    }
    Ok(())
}

fn by_name(progress: &[Arc<Progress>]) -> HashMap<String, Arc<Progress>> {
    progress.iter().map(|progress| (progress.name().to_owned(), Arc::clone(progress))).collect()
}

/// Records were changed: every scanner looks them up again.
fn amended<E: std::fmt::Display>(overview: &Overview, outcome: Result<anyhow::Result<usize>, E>) -> String {
    let outcome = outcome.unwrap_or_else(|error| Err(anyhow::anyhow!("{error}")));
    // after the commit: whatever a scan learns from here on is true
    overview.progress.iter().for_each(|progress| progress.records_changed());
    answer_line(&outcome.map(|changed| changed.to_string()).map_err(|error| format!("{error:#}")))
}

async fn perform(supervisor: &Address<Supervisor>, overview: &Overview, command: Command) -> String {
    fault::hang_here("command", &command.to_string()).await;
    match command {
        Command::Start => {
            let outcome = supervisor.send(Start).await;
            answer_line(&outcome.unwrap_or_else(|error| Err(error.to_string())))
        }
        Command::Stop | Command::Quit => {
            let outcome = supervisor.send(Stop).await;
            answer_line(&outcome.unwrap_or_else(|error| Err(error.to_string())))
        }
        // those that only the keeper can do are answered before
        Command::Amend(..) | Command::Mark(_) => "failed: the service is ending".to_owned(),
        Command::Help => HELP.to_owned(),
        Command::Status { json } => {
            let running = supervisor.send(IsRunning).await.unwrap_or(false);
            let status = overview.status(running).await;
            if json {
                crate::json::to_string(&status).unwrap_or_else(|error| format!("failed: {error}"))
            } else {
                render::status(&status)
            }
        }
    }
}

/// The signals that end the service: SIGHUP too, which a closed terminal sends, unless `nohup` had it ignored.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup })
    }

    async fn next(&mut self) -> &'static str {
        let Self { terminate, interrupt, hangup } = self;
        let hangup = async {
            match hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// As the kernel tells in proc(5): a mask of the ignored signals, of which SIGHUP is the first.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
