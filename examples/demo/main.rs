//! `cargo run --example demo`: the main job at small scale, with nothing else installed.
//!
//! Fourteen FTP servers in which zips keep appearing, a receiver of the announcements, and the real service in
//! front of them, all in this process and in one temporary directory. The service has the main thread, as in the
//! program itself, and the console on standard input; the stage set has a runtime of its own. The end is always the
//! service's own: whatever asks for it, `quit` is what reaches the service, and the directory goes after that.

mod fleet;
mod place;
mod progress;
mod receiver;
mod reports;

use std::io::Write;
use std::path::PathBuf;
use std::process::exit;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use mrosync::config::{self, Settings};
use mrosync::control::{Command, client};
use mrosync::logging;
use mrosync::records;
use mrosync::service;
use mrosync::service::{Ended, Launch};
use mrosync::terminal::screen::Screen;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use fleet::Fleet;
use place::{Addresses, Place};
use receiver::Calls;
use reports::Exporter;

/// The terminal, which the stage set and the service in front of it share.
static SCREEN: LazyLock<Screen> = LazyLock::new(Screen::default);
/// Between two tries to reach a service that has not opened its control socket yet.
const KNOCK_PAUSE: Duration = Duration::from_millis(100);
/// Of the status page, as the documents name it.
const PAGE_PORT: u16 = 8321;
/// For the servers' sessions to end; they are cut off then.
const CURTAIN_LIMIT: Duration = Duration::from_secs(1);

/// Fourteen FTP servers, a dls.php and MROSync in front of them, in one process
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Options {
    /// End by itself after this time, such as 30s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    limit: Option<Duration>,
}

fn main() {
    let options = Options::parse();
    let status = match demonstrate(&options) {
        Ok(()) => 0,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "demo: {error:#}"));
            1
        }
    };
    // not by returning: the console's thread may still be reading standard input
    exit(status);
}

fn demonstrate(options: &Options) -> anyhow::Result<()> {
    refuse_environment()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("demo").build()?;
    // before there is anything to remove: a signal that comes now ends the service as soon as it runs
    let signals = runtime.block_on(async { Signals::listen() }).context("cannot listen for signals")?;
    let place = Place::make()?;
    let played = play(options, &runtime, signals, &place);
    runtime.shutdown_timeout(CURTAIN_LIMIT);
    place.remove()?;
    say(&format!("{}\nEverything that the demo made is removed.", played?));
    Ok(())
}

/// From the first zip to the last; answers what came of it.
fn play(options: &Options, runtime: &Runtime, signals: Signals, place: &Place) -> anyhow::Result<String> {
    let fleet = runtime.block_on(Fleet::open(place))?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("cannot open dls.php")?;
    let receiver = listener.local_addr()?;
    let mut exporter = Exporter::new(place, &fleet);
    exporter.fill().context("cannot make the first zips")?;
    let at = Addresses { receiver, page: free_address().context("no address for the status page")? };
    let settings = write_and_load(place, &fleet, at)?;
    let (socket, database) = (settings.control.socket.clone(), settings.records.clone());

    say(&place.programme(&fleet, at, options.limit));
    let (made, calls) = (exporter.made(), Arc::new(Calls::new(place.mirror())));
    runtime.spawn(receiver::serve(listener, Arc::clone(&calls)));
    runtime.spawn(async move { exporter.keep_exporting().await });
    runtime.spawn(progress::tell(socket.clone(), made.clone()));
    runtime.spawn(quit_at_the_end(options.limit, signals, socket));

    let log = logging::init(&settings.log, &SCREEN)?;
    logging::log_panics(&SCREEN);
    if service::run(Launch {
        settings,
        files: vec![place.configuration()],
        log,
        screen: SCREEN.clone(),
        start: true,
    })? == Ended::RecordsLost
    {
        bail!("the service lost its records");
    }
    let totals = records::read(&database)?.recorded_mirror(0)?.totals;
    Ok(progress::summary(&totals, made.get(), &calls))
}

/// Writes the configuration to a file and reads it as the program does, so that `mrosync ctl` can use it too.
fn write_and_load(place: &Place, fleet: &Fleet, at: Addresses) -> anyhow::Result<Settings> {
    place.write_configuration(fleet, at).context("cannot write the configuration")?;
    let loaded = config::load(&[place.configuration()]).context("cannot use the demo's configuration")?;
    Ok(loaded.settings)
}

/// The usual address of the status page, or another one where that is taken.
fn free_address() -> std::io::Result<std::net::SocketAddr> {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
    bind(PAGE_PORT).or_else(|_| bind(0))?.local_addr()
}

/// Variables for the program hold for the demo as well, and would lead it into a real mirror and real records.
fn refuse_environment() -> anyhow::Result<()> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let ours: Vec<String> =
        names.filter(|name| name.starts_with("MROSYNC_") && name.contains("__")).collect();
    if !ours.is_empty() {
        bail!("{} would change the demo's configuration; unset it first", ours.join(", "));
    }
    Ok(())
}

/// Asks the service to quit when the time is over or a signal comes. The service sees signals too and may be
/// faster, except for one that came before it was ready.
async fn quit_at_the_end(limit: Option<Duration>, mut signals: Signals, socket: PathBuf) {
    tokio::select! {
        () = wait(limit) => {}
        () = signals.next() => {}
    }
    loop {
        let socket = socket.clone();
        let asked = tokio::task::spawn_blocking(move || client::ask(&socket, Command::Quit)).await;
        if matches!(asked, Ok(Ok(_))) {
            return;
        }
        // ends with the runtime, which ends with the service
        tokio::time::sleep(KNOCK_PAUSE).await;
    }
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The signals that end the demo.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// One line or several to standard output, whether or not anybody reads it.
fn say(text: &str) {
    SCREEN.say(text);
}
