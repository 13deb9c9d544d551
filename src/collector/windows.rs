//! Waiting for the windows of a server to open and to close. They are times of the wall clock, which may be set: no wait
//! for them is long without another look at it.

use std::time::Duration;

use chrono::{DateTime, Local};

use super::server::Server;

/// Between two looks at the clock.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The window of the server ended while something was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// When the windows open, where they are closed now; the inner `None` is never.
pub(super) fn opening(server: &Server) -> Option<Option<DateTime<Local>>> {
    let (windows, now) = (&server.settings.network.windows, (server.wall_clock)());
    (!windows.are_open(&now)).then(|| windows.next_change(&now))
}

/// Runs `work` until it is done or the window ends; then `work` is dropped where it stands.
pub(super) async fn until_closing<T>(server: &Server, work: impl Future<Output = T>) -> Result<T, Closed> {
    let windows = &server.settings.network.windows;
    if windows.is_always() {
        return Ok(work.await);
    }
    tokio::select! {
        biased;
        () = reached(server, windows.next_change(&(server.wall_clock)())) => Err(Closed),
        done = work => Ok(done),
    }
}

/// Ends at that time of the wall clock; never where there is none.
pub(super) async fn reached(server: &Server, at: Option<DateTime<Local>>) {
    let Some(at) = at else { return std::future::pending().await };
    // nothing is left when it is past
    while let Some(left) = (at - (server.wall_clock)()).to_std().ok().filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}
