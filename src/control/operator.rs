//! `mrosync ctl` for the person in front of it: at a terminal the status is a table that fits, and a stop says whom it
//! waits for. Elsewhere the service's own lines.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use chrono::Utc;

use super::client::{self, Meaning, Reply};
use super::{Command, CommandLine, Form};
use crate::status::ServiceStatus;
use crate::status::progress_line;
use crate::status::table::{self, Page};
use crate::terminal::status_line::StatusLine;
use crate::terminal::{is_rich, size};

/// Between two looks at what a stop waits for; a stop that is done before the first one shows nothing.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks `line` and gives back what is to be printed.
///
/// # Errors
///
/// As [`client::ask`].
pub fn ask(socket: &Path, line: CommandLine) -> anyhow::Result<Reply> {
    let rich = is_rich(&std::io::stdout());
    match line {
        CommandLine { command: Command::Status, form: Form::People } if rich => {
            let reply = client::ask(socket, CommandLine::STATUS)?;
            match reply.meaning {
                Meaning::Status(status) => {
                    Ok(Reply { text: shown(&status), meaning: Meaning::Status(status) })
                }
                // a service of another version, or one that answers with a failure
                _ => client::ask(socket, line),
            }
        }
        CommandLine { command: Command::Stop, .. } if rich => {
            let status = || client::ask(socket, CommandLine::STATUS).ok()?.status();
            let mut status_line = StatusLine::new();
            let answer = stopping(|| client::ask(socket, line), status, |line| status_line.show(&line));
            status_line.clear();
            answer
        }
        _ => client::ask(socket, line),
    }
}

/// The status as it fits the terminal of standard output, with colour.
#[must_use]
pub fn shown(status: &ServiceStatus) -> String {
    let page = Page { columns: size(std::io::stdout()).columns, colour: true };
    table::fitted(status, page, Utc::now()).join("\n")
}

/// Waits for the answer of `stop` and shows meanwhile whom it waits for.
pub fn stopping<T: Send>(
    stop: impl FnOnce() -> T + Send,
    status: impl Fn() -> Option<Box<ServiceStatus>>,
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
    use crate::status::{ServerState, ServerStatus};

    #[test]
    fn a_stop_that_takes_its_time_says_whom_it_waits_for() {
        let (asked, ask) = mpsc::channel();
        let mut told = Vec::new();
        let server =
            ServerStatus { name: "omc01".to_owned(), state: ServerState::Scanning, ..Default::default() };
        let status = || {
            asked.send(()).ok();
            Some(Box::new(ServiceStatus { servers: vec![server.clone()], ..ServiceStatus::default() }))
        };
        let stop = move || ask.recv_timeout(Duration::from_secs(20)).is_ok();
        assert!(stopping(stop, status, |line| told.push(line)), "the status is asked while the stop goes on");
        assert_eq!(told.first().unwrap(), "stopping: 1 of 1 scanner still to end: omc01");
    }
}
