//! `mrosync ctl`: one command to the running service.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::Command;

/// A stop takes up to 2 s; a service that does not answer in this time is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A status of thousands of servers stays far below.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Sends `command` and gives back the answer, without its last line end.
///
/// # Errors
///
/// When no service listens on `socket`, or it does not answer in time.
pub fn ask(socket: &Path, command: Command) -> anyhow::Result<String> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach the service on its control socket {shown}; is it running?"))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(format!("{command}\n").as_bytes()).context("cannot send the command")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).context("the service does not answer")?;
    if answer.is_empty() {
        anyhow::bail!("the service ended without an answer");
    }
    Ok(answer.trim_end_matches('\n').to_owned())
}

/// Sends a change of records, and gives back how many the service changed.
///
/// # Errors
///
/// As [`ask`], and with the words of the service where it could not.
pub fn change(socket: &Path, command: Command) -> anyhow::Result<u64> {
    let answer = ask(socket, command)?;
    let changed = answer.strip_prefix("ok: ").and_then(|number| number.parse().ok());
    changed.with_context(|| format!("the service says: {answer}"))
}
