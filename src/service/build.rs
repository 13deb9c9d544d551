//! The parts at work: built last to first, each knowing only those it hands work to; then commands and signals are
//! served until the end, which goes the other way round.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::command_handler::{CommandHandler, PAUSED};
use super::fleet::{Checked, Fleet, Live, begin, beginning, remember_lateness};
use super::limit_guard::{self, LimitGuard};
use super::reload::Reloader;
use super::signals::{Asked, Signals};
use super::{Ended, Launch};
use crate::actors::notifier::{KeeperOutbox, Notifier, OnResult};
use crate::actors::quota_warden::{DiskView, QuotaWarden, Warden};
use crate::actors::record_keeper::{Flush, Ping, RecordKeeper, SharedTotals};
use crate::actors::scanner::Begin;
use crate::actors::supervisor::{IsRunning, Supervisor};
use crate::actors::{Address, shielded, start, start_apart};
use crate::base::exit_flag::ExitFlag;
use crate::base::start_error::StartError;
use crate::collector::open_files::OpenFiles;
use crate::config::{NotifySettings, QuotaSettings, Settings};
use crate::control::socket::ControlSocket;
use crate::control::{Answer, Command, Request, Requests, console};
use crate::logging::RunLog;
use crate::mirror::mounted::MountedMirror;
use crate::net::network::Network;
use crate::notify::outbox_state::OutboxState;
use crate::quota::DiskCounters;
use crate::records::RecordStore;
use crate::service::overview::{FailedCalls, Overview};
use crate::service::systemd;
use crate::status::{Progress, Roster, progress_line};
use crate::terminal::screen::Screen;
use crate::web::{self, BoundListener, Page};

/// A SIGTERM is answered within 5 s: the stop takes up to 2 s of them, calls under way and the flush the rest.
const LANDING_LIMIT: Duration = Duration::from_secs(1);
const FLUSH_LIMIT: Duration = Duration::from_millis(1500);
/// How often the log is asked for what it has not said each time.
const SUM_UP_EVERY: Duration = Duration::from_secs(5);
/// How exactly it is known since when something needs an operator.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For the answer to `quit` to be shown before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The running parts.
pub(super) struct Service {
    keeper: Address<RecordKeeper>,
    /// Held so that it is not ended.
    _notifier: Address<Notifier>,
    /// Ends the announcing.
    notifier_exit: ExitFlag,
    /// Closes when the announcing has ended.
    announcing: mpsc::Receiver<()>,
    handler: Rc<CommandHandler>,
    /// Closes when the keeper is gone.
    keeper_alive: mpsc::Receiver<()>,
}

impl Service {
    pub(super) fn build(
        launch: Launch,
        place: MountedMirror,
        mut records: Box<dyn RecordStore>,
        most_open_files: u64,
    ) -> anyhow::Result<Self> {
        let Launch { mut settings, files, log, .. } = launch;
        let (progress, lowered) = take_up(records.as_mut(), &mut settings)?;
        let (live, database) = (Live::new(&settings), settings.records.clone());
        let counters = measured(&place)?;
        let place = Arc::new(place);
        let (totals, outbox_state) = (SharedTotals::default(), Arc::new(OutboxState::default()));
        let (alive, keeper_alive) = mpsc::channel(1);
        let keeper = RecordKeeper::new(records, totals.clone(), Arc::clone(&outbox_state), alive)?;
        let keeper = start_apart("keeper", move || keeper)?;
        let failed_calls = Arc::new(FailedCalls::default());
        remember_lateness(&database, &progress);
        let roster = Arc::new(Roster::new(progress.clone()));
        let on_result =
            count_calls(Arc::clone(&roster), Arc::clone(&failed_calls), Arc::clone(&outbox_state));
        let outbox = KeeperOutbox::new(&keeper, &place, &outbox_state, &roster);
        let (notifier, notifier_exit, announcing) = start_notifier(live.notify(), outbox, on_result)?;
        let view = Arc::new(DiskView::default());
        let warden = Warden {
            place: Arc::clone(&place),
            keeper: keeper.clone(),
            totals: totals.clone(),
            limits: live.quota(),
            counters: Arc::clone(&counters),
            view: Arc::clone(&view),
            outbox_state: Arc::clone(&outbox_state),
            servers: Arc::clone(&roster),
        };
        let warden = start_apart("warden", move || QuotaWarden::new(warden))?;
        let fleet = Fleet {
            sync: live.sync(),
            place: Arc::clone(&place),
            keeper: keeper.clone(),
            warden,
            counters: Arc::clone(&counters),
            network: Network::default(),
            open_files: OpenFiles::new(most_open_files, &settings),
        };
        let servers = settings.servers.iter().cloned().map(Checked::new);
        let plans = servers.zip(&progress).map(|(server, progress)| fleet.plan(server, progress)).collect();
        let supervisor = start(Supervisor::new(plans));
        let guard = LimitGuard::new(keeper.clone(), fleet.warden.clone(), lowered);
        let overview = Overview {
            started: Instant::now(),
            before: totals.ever(),
            totals,
            view,
            counters,
            limits: live.quota(),
            place,
            failed_calls,
            outbox_state,
            waiting_limit: guard.waiting(),
            servers: Arc::clone(&roster),
            watch: parking_lot::Mutex::default(),
        };
        let reloader = Reloader {
            keeper: keeper.clone(),
            files,
            log,
            live,
            guard,
            fleet,
            roster,
            supervisor: supervisor.clone(),
            records: database,
            web: RefCell::default(),
            in_force: Mutex::new(settings),
        };
        let handler = Rc::new(CommandHandler { keeper: keeper.clone(), supervisor, overview, reloader });
        Ok(Self { keeper, _notifier: notifier, notifier_exit, announcing, handler, keeper_alive })
    }

    pub(super) async fn serve(
        mut self,
        mut signals: Signals,
        screen: &Screen,
        (socket, listener): (ControlSocket, Option<BoundListener>),
        start_now: bool,
    ) -> Result<Ended, StartError> {
        let (requests, mut asked) = Requests::new();
        console::start(requests.clone(), screen).context("cannot start the console")?;
        self.open_page(listener, requests.clone())?;
        let next = if start_now {
            ""
        } else {
            "; nothing is fetched before 'start' (type it, or: mrosync ctl start)"
        };
        log::info!("mrosync {} is ready{next}", env!("CARGO_PKG_VERSION"));
        let (keeper, supervisor) = (self.keeper.clone(), self.handler.supervisor.clone());
        let is_alive =
            || async { keeper.send(Ping).await.is_ok() && supervisor.send(IsRunning).await.is_ok() };
        let handler = Rc::clone(&self.handler);
        let (watching, describing) = (
            systemd::watch(is_alive),
            systemd::describe(move || progress_line::describe(&handler.overview.progress())),
        );
        let (asking, handling) = (requests.clone(), Rc::clone(&self.handler));
        let readying = async move {
            handling.reloader.weigh_lowered_limit().await;
            ready(asking, start_now).await;
        };
        let summing_up = sum_up_again(self.handler.reloader.log.clone());
        let looking = look_again(Rc::clone(&self.handler));
        let serving = async {
            tokio::join!(socket.serve(requests), readying, watching, describing, summing_up, looking)
        };
        tokio::pin!(serving);
        let farewell = loop {
            tokio::select! {
                _ = &mut serving => {}
                asked = signals.next() => match asked {
                    Asked::Reload => {
                        log::info!("SIGHUP: the configuration is read again");
                        // the log has the answer
                        let answer = oneshot::channel().0;
                        self.answer(Request { command: Command::Reload { confirm: None }, answer });
                    }
                    Asked::End(name) => {
                        log::info!("{name}: ending");
                        break None;
                    }
                },
                _ = self.keeper_alive.recv() => {
                    log::error!("the records are lost; the service ends, and its next start goes on");
                    self.handler.perform(Command::Stop).await;
                    return Ok(Ended::RecordsLost);
                }
                Some(request) = asked.recv() => match request.command {
                    Command::Quit => break Some(request.answer),
                    _ => self.answer(request),
                },
            }
        };
        systemd::stopping();
        let stopped = self.handler.perform(Command::Stop).await;
        self.land().await;
        self.handler.reloader.log.sum_up(true);
        log::info!("ended");
        if let Some(farewell) = farewell {
            // whoever asked may have gone
            drop(farewell.send(stopped));
            // lets the console and the socket pass it on
            drop(tokio::time::timeout(LAST_WORDS, &mut serving).await);
        }
        Ok(Ended::Well)
    }

    /// Lets calls under way land and be recorded, or they would be repeated at the next start.
    async fn land(&mut self) {
        self.notifier_exit.raise();
        if tokio::time::timeout(LANDING_LIMIT, self.announcing.recv()).await.is_err() {
            log::warn!("calls to the notify host are still under way; they are repeated at the next start");
        }
        if self.keeper.send(Flush).timeout(FLUSH_LIMIT).await.is_err() {
            log::error!("the records were not closed in time; nothing that was confirmed is lost");
        }
    }

    /// The status page, on threads of its own; and what it is made of, for one that is opened later.
    fn open_page(&self, listener: Option<BoundListener>, requests: Requests) -> anyhow::Result<()> {
        let (keeper, reloader) = (self.keeper.clone(), &self.handler.reloader);
        let alive = move || -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
            let keeper = keeper.clone();
            Box::pin(async move { keeper.send(Ping).await.is_ok() })
        };
        let (servers, records) = (Arc::clone(&reloader.roster), reloader.records.clone());
        let log = reloader.log.clone();
        let log: web::LogTail = Arc::new(move |after, server, level| log.tail(after, server, level));
        let parts = web::Parts { requests, alive: Arc::new(alive), servers, records, log };
        let page: Option<Page> = listener.map(|listener| listener.serve(parts.clone())).transpose()?;
        reloader.web.replace(Some((parts, page)));
        Ok(())
    }

    /// Answers beside the main loop, so that `status` never waits behind a `stop`.
    fn answer(&self, request: Request) {
        let handler = Rc::clone(&self.handler);
        actix_rt::spawn(async move {
            let answer = shielded(async move { handler.perform(request.command).await }).await;
            let answer = answer.unwrap_or_else(Answer::Failed);
            // whoever asked may have gone
            drop(request.answer.send(answer));
        });
    }
}

/// Takes up what the records remember of earlier processes: when servers began, which are paused, and the limits that were
/// in force. Returns the servers' counters, and the limit that is wanted where it is lower than that.
fn take_up(
    records: &mut dyn RecordStore,
    settings: &mut Settings,
) -> anyhow::Result<(Vec<Arc<Progress>>, Option<QuotaSettings>)> {
    let moments = records.begin_servers(&beginning(&settings.servers), chrono::Utc::now().timestamp())?;
    begin(&mut settings.servers, &moments);
    let paused = records.remembered(PAUSED)?.and_then(|names| serde_json::from_str(&names).ok());
    let paused: Vec<String> = paused.unwrap_or_default();
    let counted = settings.servers.iter().map(|server| {
        let progress = Progress::new(&server.name);
        progress.set_paused(paused.iter().any(|name| name == server.name.as_str()));
        Arc::new(progress)
    });
    let progress = counted.collect();
    let lowered = limit_guard::lowered(records, settings.quota)?;
    let wanted = lowered.map(|_| settings.quota);
    settings.quota = lowered.unwrap_or(settings.quota);
    Ok((progress, wanted))
}

/// Counters that know what the partial files take.
fn measured(place: &MountedMirror) -> anyhow::Result<Arc<DiskCounters>> {
    let counters = Arc::new(DiskCounters::default());
    if let Ok(mirror) = place.mirror() {
        counters.set_partial(mirror.partial_bytes().context("cannot measure the partial files")?);
    }
    Ok(counters)
}

/// Sees again and again what needs an operator.
async fn look_again(handler: Rc<CommandHandler>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        handler.overview.look(handler.supervisor.send(IsRunning).await.unwrap_or(false));
    }
}

/// Has the log say again and again what it has not said each time.
async fn sum_up_again(log: RunLog) {
    loop {
        tokio::time::sleep(SUM_UP_EVERY).await;
        log.sum_up(false);
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

/// The notifier, the flag that ends it, and what closes once it has ended.
fn start_notifier(
    notify: watch::Receiver<NotifySettings>,
    outbox: KeeperOutbox,
    on_result: OnResult,
) -> anyhow::Result<(Address<Notifier>, ExitFlag, mpsc::Receiver<()>)> {
    let (flag, exit) = ExitFlag::new();
    let (running, announcing) = mpsc::channel(1);
    let begin = Begin { exit, running };
    let notifier = start_apart("notifier", move || Notifier::new(notify, outbox, on_result, begin))?;
    Ok((notifier, flag, announcing))
}

/// Counts the notifier's calls: the failed ones together, and how late the others are for each server.
fn count_calls(servers: Arc<Roster>, failed: Arc<FailedCalls>, outbox_state: Arc<OutboxState>) -> OnResult {
    Arc::new(move |notice, result| {
        if let Err(why) = result {
            failed.add(why);
        } else if outbox_state.is_delivered_again(notice.id) {
            // as late as the operator asked for it
        } else if let Some(progress) = servers.find(notice.server.as_str()) {
            progress.lateness().announced(notice.downloaded_at, chrono::Utc::now().timestamp_millis());
        }
    })
}
