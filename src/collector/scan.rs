//! One scan of one server: the whole tree is listed, and what is new is fetched meanwhile.
//!
//! The server's connections work on its jobs beside each other (`workers`). Dropping the scan at any point
//! leaves partial files and nothing else; files that are being stored go on by themselves.

use std::sync::Arc;

use super::fetching::partial_files::{aged_partial_files, discard_orphans};
use super::job::DirectoryJob;
use super::scan_state::{ScanState, Tally};
use super::server::Server;
use super::workers::Workers;
use crate::protocol::ProtocolError;

/// Scans `server` once.
///
/// # Errors
///
/// When there is no way in, or the last connection breaks and cannot be replaced. What was finished until then
/// stays finished.
pub async fn scan(server: &Server) -> Result<Tally, ProtocolError> {
    server.refresh_if_records_changed();
    server.memory().scan_begins();
    let scan = ScanState::new(server, aged_partial_files(server));
    for path in &server.settings.directories {
        let key = server.memory().key(path);
        let path = Arc::new(path.clone());
        let job = DirectoryJob { path, depth: 0, unique: None, above: None, tries: 0 };
        scan.jobs.add_directory(key, job);
    }
    let fatal = Workers::new(&scan).run().await;
    server.log_out_superfluous().await;
    server.show_connections(0);
    let listing = server.connector.describe_listing();
    server.progress().update(|status| status.listing = listing);
    let ScanState { jobs, tally, orphans, incomplete, waiting_for, shifts, .. } = scan;
    shifts.settle(server).await;
    if let Some(error) = fatal {
        return Err(error);
    }
    discard_orphans(server, orphans.into_inner());
    server.progress().update(|status| status.incomplete = incomplete.into_inner());
    server.waiting_for.replace(waiting_for.into_inner());
    let mut tally = tally.into_inner();
    if jobs.directories_dropped() > 0 {
        let (name, dropped) = (&server.settings.name, jobs.directories_dropped());
        log::warn!("server={name} has more directories than one scan takes; {dropped} of them were left out");
        tally.failed_directories += dropped;
    }
    tally.waiting += jobs.waiting_files();
    tally.overflowed = jobs.overflowed();
    if tally.odd > 0 {
        let (name, odd) = (&server.settings.name, tally.odd);
        log::info!("server={name} {odd} more files whose size or end was not as it should be were taken");
    }
    Ok(tally)
}
