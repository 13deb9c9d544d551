//! What came of it so far, told now and then, and at the end.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use mrosync::control::{CommandLine, client};
use mrosync::records::Totals;
use mrosync::status::ServiceStatus;

use crate::receiver::Calls;
use crate::reports::Made;

/// Between two tellings.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells for ever, as the service's own `status --json` sees it.
pub async fn tell(socket: PathBuf, made: Made) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let socket = socket.clone();
        let ask = move || client::ask(&socket, CommandLine::STATUS);
        let Ok(Ok(reply)) = tokio::task::spawn_blocking(ask).await else { continue };
        if let Some(status) = reply.status() {
            crate::say(&so_far(&status, made.get()));
        }
    }
}

fn so_far(status: &ServiceStatus, made: u64) -> String {
    let downloaded: u64 = status.servers.iter().map(|server| server.files_downloaded).sum();
    let (state, held) = (if status.running { "" } else { " (stopped)" }, status.disk.mirror_bytes);
    format!(
        "so far   {made} zips made, {downloaded} downloaded, {} announced, {} evicted; the mirror holds {}{state}",
        status.notify.delivered,
        status.disk.evicted_files,
        ByteSize(held).display().iec(),
    )
}

/// The last words.
pub fn summary(totals: &Totals, made: u64, calls: &Calls) -> String {
    let Totals { present_files, evicted_files, delivered_notices, .. } = totals;
    format!(
        "\nThe demo has ended: {made} zips were made, {} downloaded and recorded, {delivered_notices} announced \
         in {} calls, {evicted_files} evicted; {present_files} were left in the mirror.",
        totals.downloads(),
        calls.count(),
    )
}
