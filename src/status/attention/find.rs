//! Judges one status: what holds, for whom, and how much of it.

use super::causes::Cause;
use super::reason::Reason;
use crate::base::humanize;
use crate::lateness::LatenessStatus;
use crate::status::snapshot::{ServerState, ServerStatus, ServiceStatus};

/// Files that take longer than this to become local are late.
const LATE_SECONDS: f64 = 900.0;
/// Without a new file for so many of its periods, a server is asked about.
const SILENT_PERIODS: f64 = 4.0;

/// What one status cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Calls {
    /// Calls failed of late.
    pub(super) fail: bool,
    /// Nothing was delivered for a while, though files wait.
    pub(super) stand: bool,
    /// Calls given up of late.
    pub(super) lost: u64,
}

/// One thing that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) cause: Cause,
    pub(super) reason: Option<Reason>,
    pub(super) server: Option<String>,
    pub(super) count: Option<u64>,
    pub(super) detail: String,
}

impl Found {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, reason: None, server: None, count: None, detail: detail.into() }
    }

    fn counted(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    fn because(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// All that holds, in no order.
pub(super) fn find(status: &ServiceStatus, calls: Calls) -> Vec<Found> {
    let mut found = of_the_service(status, calls);
    for server in &status.servers {
        let own = of_a_server(server, status.running);
        found.extend(own.into_iter().map(|one| Found { server: Some(server.name.clone()), ..one }));
    }
    found
}

fn of_the_service(status: &ServiceStatus, calls: Calls) -> Vec<Found> {
    let ServiceStatus { running, disk, notify, mirror, records, .. } = status;
    let mut found: Vec<_> = mirror
        .holds
        .iter()
        .map(|hold| Found {
            server: hold.server.clone(),
            ..Found::new(Cause::MirrorHeld, hold.reason.as_str())
        })
        .collect();
    if disk.held {
        found.push(Found::new(Cause::DiskHeld, Cause::DiskHeld.title()));
    }
    found.extend(disk.fault.as_deref().map(|fault| Found::new(Cause::DiskFault, fault)));
    found.extend(disk.waiting_limit.as_deref().map(|limit| Found::new(Cause::WaitingLimit, limit)));
    found.extend(records.fault.as_deref().map(|fault| Found::new(Cause::RecordsFail, fault)));
    if calls.lost > 0 {
        let lost = format!("{} deleted or forgotten before the call", humanize::count_is(calls.lost, "file"));
        found.push(Found::new(Cause::EvictedUnannounced, lost).counted(calls.lost));
    }
    if notify.pending > 0 && calls.fail {
        let waiting = format!(
            "{} not announced, {} failed",
            humanize::count_is(notify.pending, "file"),
            humanize::count(notify.failed_attempts, "call")
        );
        let said =
            notify.last_failure.as_ref().map_or(String::new(), |said| format!(", the last one: {said}"));
        found.push(Found::new(Cause::CallsFail, format!("{waiting}{said}")).counted(notify.pending));
    } else if notify.pending > 0 && calls.stand {
        let waiting = format!("{} not announced", humanize::count_is(notify.pending, "file"));
        found.push(Found::new(Cause::NotAnnounced, waiting).counted(notify.pending));
    }
    if !running {
        found.push(Found::new(Cause::Stopped, Cause::Stopped.title()));
    }
    found
}

fn of_a_server(server: &ServerStatus, running: bool) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(state(server));
    if server.cut_listings > 0 {
        let cut = format!("{} cut by the server", humanize::count_is(server.cut_listings, "listing"));
        found.push(Found::new(Cause::CutListings, cut).counted(server.cut_listings));
    }
    if let Some(file) = server.incomplete.first().filter(|_| server.incomplete_files > 0) {
        let count = server.incomplete_files;
        let files = humanize::count(count, "file");
        let detail = format!("{files} not taken yet, such as {}: {}", file.path, file.reason);
        found.push(Found::new(Cause::NotTaken, detail).counted(count));
    }
    found.extend(lateness(
        &server.lateness,
        running && !server.paused && !server.outside_windows && server.scans > 0,
    ));
    found
}

/// How its last scan ended.
fn state(server: &ServerStatus) -> Option<Found> {
    let shows_nothing = server.scans > 0 && server.files_seen == 0 && server.state != ServerState::Stopped;
    match &server.last_error {
        _ if server.state == ServerState::Unreachable => {
            let fault = server.last_error.as_deref().unwrap_or("the last scan found no way in");
            Some(Found::new(Cause::Unreachable, fault).because(Reason::of(fault)))
        }
        Some(fault) if shows_nothing => {
            Some(Found::new(Cause::BringsNothing, fault.as_str()).because(Reason::of(fault)))
        }
        Some(fault) => Some(Found::new(Cause::Failing, fault.as_str()).because(Reason::of(fault))),
        None if shows_nothing && server.lateness.newest_seen_age_seconds.is_none() => {
            let directories = humanize::count(server.directories_seen, "directory");
            Some(Found::new(
                Cause::BringsNothing,
                format!("no file to fetch in {directories}, and none before"),
            ))
        }
        None => None,
    }
}

fn lateness(lateness: &LatenessStatus, should_come: bool) -> Option<Found> {
    let LatenessStatus { missing_periods, gaps, period_seconds, newest_seen_age_seconds: age, .. } = lateness;
    if let Some(gap) = gaps.first().filter(|_| *missing_periods > 0) {
        let missing = humanize::count(*missing_periods, "period");
        let found = Found::new(Cause::MissingPeriods, format!("{missing} missing, the latest: {gap}"));
        return Some(found.counted(*missing_periods));
    }
    let silent = period_seconds.zip(*age).filter(|(period, age)| *age > SILENT_PERIODS * *period as f64);
    if let Some((_, age)) = silent.filter(|_| should_come) {
        return Some(Found::new(Cause::NoNewFiles, format!("the last new file came {} ago", seconds(age))));
    }
    let slowest = lateness.seen_to_local.p99_seconds.filter(|slowest| *slowest > LATE_SECONDS);
    slowest.filter(|_| should_come).map(|slowest| {
        Found::new(Cause::Late, format!("one file in a hundred takes {} or longer", seconds(slowest)))
    })
}

fn seconds(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0).floor()).unwrap_or_default();
    humanize::duration(whole)
}
