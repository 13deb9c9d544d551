//! Gathers what `status` shows from the parts that keep it. Never waits for any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use parking_lot::Mutex;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::watch;

use crate::actors::quota_warden::DiskView;
use crate::actors::record_keeper::SharedTotals;
use crate::base::blocking::{Threads, run_blocking};
use crate::base::names::Printable;
use crate::config::QuotaSettings;
use crate::mirror::mounted::MountedMirror;
use crate::notify::outbox_state::OutboxState;
use crate::quota::DiskCounters;
use crate::records::Ever;
use crate::status::attention::Watch;
use crate::status::{
    DiskStatus, HoldStatus, MirrorStatus, NotifyStatus, ProcessStatus, RecordsStatus, Roster, ServerStatus,
    ServiceStatus,
};

/// A file system that does not answer in this time is shown as it was measured last.
const MEASURE_LIMIT: Duration = Duration::from_millis(500);
/// One that hangs is not joined by a second one.
static MEASURING: Threads = Threads::new("disk usage", 1);

/// Where to look.
pub struct Overview {
    /// When the process began.
    pub started: Instant,
    /// What only rises, when the process began.
    pub before: Ever,
    /// The sums now.
    pub totals: SharedTotals,
    /// The disk.
    pub view: Arc<DiskView>,
    /// Bytes under way.
    pub counters: Arc<DiskCounters>,
    /// The limits, as they are now.
    pub limits: watch::Receiver<QuotaSettings>,
    /// Of the mirror, to measure its disk.
    pub place: Arc<MountedMirror>,
    /// Failed calls since the process began.
    pub failed_calls: Arc<FailedCalls>,
    /// Knows the calls that were given up.
    pub outbox_state: Arc<OutboxState>,
    /// A lowered limit that is not confirmed.
    pub waiting_limit: Arc<Mutex<Option<String>>>,
    /// The servers.
    pub servers: Arc<Roster>,
    /// Since when what needs an operator.
    pub watch: Mutex<Watch>,
}

/// Calls that failed since the process began.
#[derive(Debug, Default)]
pub struct FailedCalls {
    count: AtomicU64,
    last: Mutex<Option<String>>,
}

impl FailedCalls {
    /// One more, and why.
    pub fn add(&self, why: &impl std::fmt::Display) {
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.last.lock() = Some(Printable(&why.to_string()).to_string());
    }
}

impl Overview {
    /// What each server's scanner does.
    #[must_use]
    pub fn progress(&self) -> Vec<ServerStatus> {
        self.servers.all().iter().map(|progress| progress.snapshot()).collect()
    }

    /// The status now.
    pub async fn status(&self, running: bool) -> ServiceStatus {
        crate::base::failpoints::here("status", "status");
        if let Ok(mirror) = self.place.mirror() {
            let measuring = run_blocking(&MEASURING, move || {
                crate::base::failpoints::here("measure", "status");
                mirror.measure()
            });
            if let Ok(Ok(Ok(measured))) = tokio::time::timeout(MEASURE_LIMIT, measuring).await {
                self.view.measured(measured);
            }
        }
        let mut status = self.seen(running);
        status.attention = self.watch.lock().look(&status, Utc::now());
        status
    }

    /// Sees what needs an operator, so that it is known since when, although nobody asks.
    pub fn look(&self, running: bool) {
        let status = self.seen(running);
        self.watch.lock().look(&status, Utc::now());
    }

    fn seen(&self, running: bool) -> ServiceStatus {
        let (now, limits) = (self.totals.get(), *self.limits.borrow());
        let (ever, before) = (self.totals.ever(), &self.before);
        ServiceStatus {
            running,
            uptime: self.started.elapsed(),
            disk: DiskStatus {
                used_percent: self.view.usage().map(|usage| (usage.percent() * 10.0).round() / 10.0),
                max_used_percent: limits.max_used_percent,
                max_bytes: limits.max_bytes,
                mirror_bytes: now.present_bytes.saturating_add(self.counters.partial()),
                evicted_files: ever.evicted_files.saturating_sub(before.evicted_files),
                evicted_bytes: ever.evicted_bytes.saturating_sub(before.evicted_bytes),
                evicted_files_ever: ever.evicted_files,
                evicted_bytes_ever: ever.evicted_bytes,
                held: self.view.held(),
                fault: self.view.fault().map(|fault| fault.to_string()),
                waiting_limit: self.waiting_limit.lock().clone(),
            },
            notify: NotifyStatus {
                pending: now.pending_notices,
                delivered: ever.delivered_notices.saturating_sub(before.delivered_notices),
                delivered_ever: ever.delivered_notices,
                failed_attempts: self.failed_calls.count.load(Ordering::Relaxed),
                cancelled: self.outbox_state.cancelled(),
                concurrency: self.outbox_state.concurrency(),
                last_failure: self.failed_calls.last.lock().clone(),
            },
            mirror: self.mirror(),
            attention: Vec::new(),
            records: RecordsStatus { fault: self.totals.fault() },
            servers: self.progress(),
            process: process(),
        }
    }
}

impl Overview {
    fn mirror(&self) -> MirrorStatus {
        let (holds, root) = (self.place.holds(), self.place.path());
        let all = holds.all.iter().map(|reason| HoldStatus {
            server: None,
            kind: reason.word().to_owned(),
            reason: reason.describe(root),
        });
        let servers = holds.servers.iter().map(|(server, reason)| HoldStatus {
            server: Some(server.to_string()),
            kind: reason.word().to_owned(),
            reason: reason.sentence_of(root, server),
        });
        MirrorStatus { held: holds.all.is_some(), holds: all.chain(servers).collect() }
    }
}

/// What this process and its host use, as sysinfo tells.
#[must_use]
pub fn process() -> ProcessStatus {
    let Ok(mut system) = System::new() else { return ProcessStatus::default() };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let own = sysinfo::get_current_pid().ok();
    if let Some(pid) = own {
        let memory = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, memory);
    }
    ProcessStatus {
        memory_bytes: own.and_then(|pid| system.process(pid)).map_or(0, sysinfo::Process::memory),
        host_available_memory_bytes: system.available_memory(),
    }
}
