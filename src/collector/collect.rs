//! The life of one scanner between `start` and `stop`: scan after scan, never two at once, and none outside of the
//! server's windows.

use std::time::Duration;

use chrono::{DateTime, Local};
use log::Level;
use tokio::time::Instant;

use super::fetching::partial_files::discard_partial_files;
use super::scan::scan;
use super::scan_state::Tally;
use super::server::Server;
use super::windows::{Closed, opening, reached, until_closing};
use crate::base::backoff::Backoff;
use crate::base::exit_flag::{ExitWatch, Stopped};
use crate::base::names::RemotePath;
use crate::base::{failpoints, humanize, watchdog};
use crate::protocol::{ErrorScope, ProtocolError};
use crate::status::ServerState;

/// Stored files may take so long to be recorded when the exit flag is raised; `stop` answers within 2 s.
const FINISH_LIMIT: Duration = Duration::from_millis(1200);
/// The same between two scans, where nothing presses.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// A refused account is tried ever less often, so that the server does not lock it.
const LONGEST_LOGIN_WAIT: Duration = Duration::from_secs(15 * 60);
/// An unreachable server is tried at least this often, or each interval where that is longer.
const LONGEST_CONNECT_WAIT: Duration = Duration::from_secs(60);

/// So many refusals of every login in a row are everyday life: after a crash the server still counts the logins of
/// before, and others hold theirs for a while.
const QUIET_REFUSALS: u32 = 5;

/// Scans the server until the exit flag is raised.
pub async fn collect(server: &Server, exit: &ExitWatch) {
    let mut failures = 0;
    let mut fault: Option<String> = None;
    while !exit.is_raised() {
        if let Some(opens) = opening(server) {
            if exit.guard(wait_for(server, opens)).await == Err(Stopped) {
                break;
            }
            continue;
        }
        let started = Instant::now();
        let Ok(outcome) = exit.guard(until_closing(server, one_scan(server))).await else { break };
        let Ok(outcome) = outcome else {
            close(server, true).await;
            continue;
        };
        failures = if outcome.is_ok() { 0 } else { failures + 1 };
        let took = started.elapsed();
        let pause = pause(server, &outcome, failures).saturating_sub(took);
        let state = if outcome.is_ok() { ServerState::Waiting } else { ServerState::Unreachable };
        server.progress().scan_ended(took, pause, state);
        let before = fault.as_deref();
        report(server, &Report { outcome: &outcome, took, wait: pause, before, failures });
        server.progress().keep_scan();
        warn_of_gaps(server, outcome.is_ok());
        fault = outcome.as_ref().err().map(ToString::to_string);
        let waiting = until_closing(server, until_next(server, started, &outcome, failures));
        match exit.guard(waiting).await {
            Ok(Ok(())) => {}
            Ok(Err(Closed)) => close(server, false).await,
            Err(Stopped) => break,
        }
    }
    wind_up(server).await;
    server.progress().stopped();
}

/// Lets what was received whole be recorded, as long as a stop may wait, and logs out.
pub async fn wind_up(server: &Server) {
    tokio::join!(server.finish_publishing(FINISH_LIMIT), server.log_out());
}

/// The server's window has ended: everything as after a stop, but that the scanner waits for the next window.
async fn close(server: &Server, cut: bool) {
    wind_up(server).await;
    let name = &server.settings.name;
    let rest = if cut { "; what is under way is kept, and resumed in the next one" } else { "" };
    log::info!("server={name} its window has ended{rest}");
}

/// Waits outside of the server's windows until they open.
async fn wait_for(server: &Server, opens: Option<DateTime<Local>>) {
    server.progress().window_closed(opens.map(|opens| opens.to_utc()));
    let name = &server.settings.name;
    match opens {
        Some(opens) => {
            log::info!("server={name} waits for its window, which opens at {}", opens.format("%F %R"))
        }
        None => log::error!("server={name} its windows never open"),
    }
    reached(server, opens).await;
}

/// Says which periods did not come. Where a server has windows, only a scan that went through can tell.
fn warn_of_gaps(server: &Server, well: bool) {
    if !well && !server.settings.network.windows.is_always() {
        return;
    }
    for gap in server.progress().lateness().check(chrono::Utc::now().timestamp_millis()) {
        log::warn!("server={} {gap} did not come in time", server.settings.name);
    }
}

/// Scans the server once, and waits until what was fetched is recorded.
pub(super) async fn one_scan(server: &Server) -> Result<Tally, ProtocolError> {
    let _under_way = watchdog::task(|| "a scan".to_owned());
    if let Err(error) = server.guard.sweep().await {
        let text = format!("cannot check the disk before the scan: {}", humanize::why(&error));
        server.warn_once(&RemotePath::root(), &text, "it is scanned all the same", Level::Warn, true);
    }
    server.follow_interval();
    server.progress().scan_started();
    failpoints::hang_here("scan", server.settings.name.as_str()).await;
    let outcome = scan(server).await;
    let recording = watchdog::task(|| "recording what was fetched".to_owned());
    server.finish_publishing(SETTLE_LIMIT).await;
    drop(recording);
    server.log_the_rest();
    let unrecorded = server.take_unrecorded();
    let outcome = outcome.map(|tally| Tally { waiting: tally.waiting + unrecorded, ..tally });
    if let Ok(tally) = &outcome {
        if tally.failed_directories == 0 && tally.waiting == 0 {
            // every file of the server is recorded: what still lies in .partial belongs to none of them
            discard_partial_files(server);
        }
        note(server, tally);
    }
    outcome
}

/// Waits for the time of the next scan, which moves with the interval.
async fn until_next(
    server: &Server,
    started: Instant,
    outcome: &Result<Tally, ProtocolError>,
    failures: u32,
) {
    let mut sync = server.sync.clone();
    sync.mark_unchanged();
    loop {
        let wait = pause(server, outcome, failures).saturating_sub(started.elapsed());
        let changed = async {
            // nobody is left who could change it
            if sync.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => return,
            () = server.progress().scan_asked() => return,
            () = changed => {}
        }
        server.progress().waits(pause(server, outcome, failures).saturating_sub(started.elapsed()));
    }
}

/// From the start of this scan to the start of the next.
fn pause(server: &Server, outcome: &Result<Tally, ProtocolError>, failures: u32) -> Duration {
    let interval = server.interval();
    let longest = match outcome {
        Ok(tally) if tally.overflowed && tally.fetched > 0 => return Duration::ZERO,
        Ok(_) => return interval,
        Err(error) if error.scope() == ErrorScope::Login => LONGEST_LOGIN_WAIT,
        Err(_) => LONGEST_CONNECT_WAIT,
    };
    Backoff { first: interval, most: longest.max(interval) }.after(failures)
}

fn note(server: &Server, tally: &Tally) {
    // a fault that did not come up again is over; what a file waits for is said as long as it does
    let fault = server.memory().take_fault().or_else(|| server.waiting_for.take());
    server.progress().update(|status| {
        status.directories_seen = tally.directories;
        status.files_seen = tally.files;
        status.pending_files = tally.waiting;
        status.lines_not_understood = tally.not_understood;
        status.cut_listings = tally.cut_listings;
        status.incomplete_files = tally.incomplete;
        status.last_error = fault;
    });
}

/// How a scan ended.
struct Report<'s> {
    outcome: &'s Result<Tally, ProtocolError>,
    took: Duration,
    /// Until the next one.
    wait: Duration,
    /// What went wrong with the one before, where it failed.
    before: Option<&'s str>,
    /// Scans in a row that failed, this one included.
    failures: u32,
}

/// Says what a scan brought. A fault that stays the same is said once, and its end is said too.
fn report(server: &Server, &Report { outcome, took, wait, before, failures }: &Report<'_>) {
    let name = &server.settings.name;
    match outcome {
        Ok(tally) => {
            if before.is_some() {
                log::info!("server={name} is reachable again");
            }
            let level = if tally.fetched == 0 { log::Level::Debug } else { log::Level::Info };
            log::log!(
                level,
                "server={name} scan: {} ({} failed), {}, {} fetched, {} waiting, took {}",
                humanize::count(tally.directories + tally.failed_directories, "directory"),
                tally.failed_directories,
                humanize::count(tally.files, "file"),
                tally.fetched,
                tally.waiting,
                humanize::duration(took),
            );
        }
        Err(error) => {
            let text = error.to_string();
            let level = match error.scope() {
                ErrorScope::TooManyLogins if failures == 1 => log::Level::Info,
                ErrorScope::TooManyLogins if failures == QUIET_REFUSALS => log::Level::Warn,
                ErrorScope::TooManyLogins => log::Level::Debug,
                _ if before == Some(text.as_str()) => log::Level::Debug,
                _ => log::Level::Warn,
            };
            // whole seconds, never too few
            let next = match wait.as_secs_f64().ceil() as u64 {
                0 => "next try at once".to_owned(),
                seconds => format!("next try in {}", humanize::duration(Duration::from_secs(seconds))),
            };
            log::log!(level, "server={name} scan failed: {text}; {next}");
            server.memory().take_fault();
            server.progress().update(|status| status.last_error = Some(text));
        }
    }
}
