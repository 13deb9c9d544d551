//! `mrosync ctl` for the person in front of it: at a terminal the status is a table that fits, and a stop says whom it
//! waits for. Elsewhere the service's own lines.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use chrono::Utc;

use super::{Command, client};
use crate::status::ServiceStatus;
use crate::status::progress_line;
use crate::status::table::{self, Page};
use crate::terminal::status_line::Foot;
use crate::terminal::{is_rich, size};

/// Between two looks at what a stop waits for; a stop that is done before the first one shows nothing.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks `command` and gives back what is to be printed.
///
/// # Errors
///
/// As [`client::ask`].
pub fn ask(socket: &Path, command: Command) -> anyhow::Result<String> {
    let rich = is_rich(&std::io::stdout());
    match command {
        Command::Status { json: false } if rich => {
            let answer = client::ask(socket, Command::Status { json: true })?;
            match parsed(&answer) {
                Some(status) => Ok(shown(&status)),
                // a service of another version, or one that answers with a failure
                None => client::ask(socket, command),
            }
        }
        Command::Stop if rich => {
            let status = || parsed(&client::ask(socket, Command::Status { json: true }).ok()?);
            let mut foot = Foot::new();
            let answer = stopping(|| client::ask(socket, command), status, |line| foot.show(&line));
            foot.clear();
            answer
        }
        _ => client::ask(socket, command),
    }
}

/// The status as it fits the terminal of standard output, with colour.
#[must_use]
pub fn shown(status: &ServiceStatus) -> String {
    let page = Page { columns: size(std::io::stdout()).columns, colour: true };
    table::status(status, page, Utc::now()).join("\n")
}

/// The status in the JSON of `status --json`.
#[must_use]
pub fn parsed(answer: &str) -> Option<ServiceStatus> {
    serde_json::from_str(answer).ok()
}

/// Waits for the answer of `stop` and shows meanwhile whom it waits for.
pub fn stopping<T: Send>(
    stop: impl FnOnce() -> T + Send,
    status: impl Fn() -> Option<ServiceStatus>,
    mut show: impl FnMut(String),
) -> T {
    std::thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let stop = scope.spawn(move || {
            let answer = stop();
            drop(done);
            answer
        });
        while waiting.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(status) = status() {
                show(progress_line::stopping(&status.servers));
            }
        }
        stop.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{DiskStatus, NotifyStatus, ProcessStatus, ServerState, ServerStatus};

    #[test]
    fn a_stop_that_takes_its_time_says_whom_it_waits_for() {
        let (asked, ask) = mpsc::channel();
        let mut told = Vec::new();
        let server =
            ServerStatus { name: "omc01".to_owned(), state: ServerState::Scanning, ..Default::default() };
        let status = || {
            asked.send(()).ok();
            let (disk, notify) = (DiskStatus::default(), NotifyStatus::default());
            let (servers, process) = (vec![server.clone()], ProcessStatus::default());
            Some(ServiceStatus {
                running: true,
                uptime_seconds: 0.0,
                disk,
                notify,
                mirror: Default::default(),
                servers,
                process,
            })
        };
        let stop = move || ask.recv_timeout(Duration::from_secs(20)).is_ok();
        assert!(stopping(stop, status, |line| told.push(line)), "the status is asked while the stop goes on");
        assert_eq!(told.first().unwrap(), "stopping: 1 of 1 scanner still to end: omc01");
    }
}
