//! `mrosync run`: from what is opened to how it ended. `build` is the parts at work, `reload` changes them while
//! they run.

mod build;
mod command_handler;
mod fleet;
mod limit_guard;
pub mod overview;
pub mod owners;
mod reload;
mod signals;
mod systemd;

use std::path::PathBuf;
use std::time::Duration;

use actix_rt::{Runtime, System};
use anyhow::Context;

use crate::actors::mirror_watch::{SAMPLE, standing};
use crate::base::blocking::{Threads, run_blocking};
use crate::base::panics;
use crate::base::start_error::StartError;
use crate::collector::open_files;
use crate::config::{RecordsSettings, Settings};
use crate::control::socket::ControlSocket;
use crate::logging::RunLog;
use crate::mirror;
use crate::mirror::mounted::{MountedMirror, settle};
use crate::records::{self, RecordStore};
use crate::terminal::screen::Screen;
use crate::web::BoundListener;

use build::Service;
use signals::Signals;

/// Between two looks whether a full disk has room, or a database answers.
const PAUSE: Duration = Duration::from_secs(1);

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    Well,
    /// The records are lost; the next start may find them again.
    RecordsLost,
}

/// What the service is started with.
pub struct Launch {
    /// Validated.
    pub settings: Settings,
    /// Where they come from, to be read again on request; none means the usual file.
    pub files: Vec<PathBuf>,
    /// The log that has begun.
    pub log: RunLog,
    /// What the console and the log have in common.
    pub screen: Screen,
    /// Start scanning at once.
    pub start: bool,
}

/// Runs the service until it is told to end.
///
/// # Errors
///
/// When it cannot begin; nothing was changed then but directories and files made.
pub fn run(launch: Launch) -> Result<Ended, StartError> {
    let most_open_files = open_files::raise();
    panics::own_thread("main");
    let _leaving = launch.screen.leave_on_drop();
    let runtime =
        Runtime::new().context("no descriptors to wait for sockets with; raise LimitNOFILE (ulimit -n)")?;
    let system = System::with_tokio_rt(move || runtime);
    let ended = system.block_on(async move {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let settings = &launch.settings;
        let opening = tokio::select! {
            opened = open_places(settings) => opened?,
            name = signals.next_end() => {
                log::info!("{name}: ending");
                return Ok(Ended::Well);
            }
        };
        let (place, records, socket) = opening;
        let listener = settings.web.clone().map(BoundListener::open).transpose()?;
        let (start_now, screen) = (launch.start, launch.screen.clone());
        let service = Service::build(launch, place, records, most_open_files)?;
        service.serve(signals, &screen, (socket, listener), start_now).await
    });
    // not dropped, which would wait for a look at a file system that does not answer; the process ends next
    std::mem::forget(system);
    ended
}

/// Opens what the service holds alone, and waits for room where a disk is full to the last byte.
async fn open_places(
    settings: &Settings,
) -> Result<(MountedMirror, Box<dyn RecordStore>, ControlSocket), StartError> {
    let mut records = when_possible(async || open_records(&settings.records).await).await?;
    let recorded = records.recorded_mirror(SAMPLE).map_err(anyhow::Error::from)?;
    let (location, standing) = (mirror::at(&settings.sync.root), standing(&recorded));
    let servers: Vec<_> =
        settings.servers.iter().map(|server| (server.name.clone(), server.selection.files.clone())).collect();
    let mut settled = when_possible(async || settle(&*location, &standing, &servers)).await?;
    if let Ok(settled) = &mut settled
        && let Some(id) = settled.id.filter(|id| standing.known != Some(*id))
        && let Err(error) = records.remember_mirror(&id.to_string())
    {
        // its marker is durable already; the warden has the records remember it as soon as they can
        log::debug!("{error}");
        settled.id = None;
    }
    let place = MountedMirror::new(location, settled);
    let socket = when_possible(async || ControlSocket::bind(&settings.control.socket).await).await?;
    Ok((place, records, socket))
}

/// On a thread of its own: a database may take its time to answer, and a signal is to be heard meanwhile.
async fn open_records(settings: &RecordsSettings) -> Result<Box<dyn RecordStore>, StartError> {
    static OPENING: Threads = Threads::new("open records", 1);
    let settings = settings.clone();
    let opened = run_blocking(&OPENING, move || records::open(&settings)).await;
    Ok(opened.map_err(anyhow::Error::from)??)
}

/// Tries until there is room, and until a database answers. Says once that it waits; the way out is a signal.
async fn when_possible<T>(open: impl AsyncFn() -> Result<T, StartError>) -> Result<T, StartError> {
    let mut told = false;
    loop {
        let (error, change) = match open().await {
            Err(StartError::NoSpace(error)) => (error, "there is room"),
            Err(StartError::Unreachable(error)) => (error, "it answers"),
            opened => return opened,
        };
        if !told {
            log::error!("{error:#}; the service begins once {change}");
            told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
