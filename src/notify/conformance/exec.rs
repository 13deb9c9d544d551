//! An exercise: a command as a sink. It shows that the seam holds, and is no part of the program.

use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Receiver, SECRET, Treatment};
use crate::notify::sink::{CallFailure, CallResult, Fault, Notice, Sink};

// -- the sink ------------------------------------------------------------------------------------------------

/// Asks the caller to come again later (`EX_TEMPFAIL` of sysexits.h).
const TRY_LATER: i32 = 75;

/// Runs a command for each file, which is its last argument; exit status 0 is delivered.
struct ExecSink {
    command: [PathBuf; 2],
    shown: String,
    limit: Duration,
}

impl ExecSink {
    fn new(command: [PathBuf; 2], limit: Duration) -> Self {
        let shown = command[1].file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { command, shown, limit }
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for ExecSink {
    fn describe(&self) -> &str {
        &self.shown
    }

    async fn deliver(&self, notice: &Notice) -> CallResult {
        let [program, argument] = &self.command;
        let mut command = Command::new(program);
        command.arg(argument).arg(notice.file()).stdin(Stdio::null()).kill_on_drop(true);
        let unanswered = |reason: String| CallFailure { fault: Fault::Unanswered, reason };
        let output = timeout(self.limit, command.output())
            .await
            .map_err(|_| unanswered("it does not end".to_owned()))?
            .map_err(|error| unanswered(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        match output.status.code() {
            Some(0) => Ok(()),
            Some(TRY_LATER) => {
                Err(CallFailure { fault: Fault::Overloaded, reason: output.status.to_string() })
            }
            Some(code) => {
                Err(CallFailure { fault: Fault::Refused, reason: format!("exit status {code}: {said}") })
            }
            None => Err(unanswered(output.status.to_string())),
        }
    }

    async fn probe(&self) -> anyhow::Result<String> {
        anyhow::ensure!(tokio::fs::metadata(&self.command[0]).await?.is_file(), "it is no file");
        Ok(format!("{} is there", self.shown))
    }
}

// -- what it calls -------------------------------------------------------------------------------------------

/// A script in a directory of its own. It does what the file `do` says, and notes which process it is.
pub(super) struct Script(TempDir);

impl Script {
    pub(super) fn new() -> Self {
        let script = Self(TempDir::with_prefix(SECRET).unwrap());
        let directory = script.0.path().display().to_string();
        script.write("notify", &format!("cd '{directory}' && touch \"pid.$$\" && . ./do\n"));
        // a script that was just written may be busy: another test forks while it is open
        std::os::unix::fs::symlink("/bin/sh", script.0.path().join("shell")).unwrap();
        script.treat(Treatment::Takes);
        script
    }

    /// In one step: scripts read it meanwhile.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join("new"), text).unwrap();
        std::fs::rename(self.0.path().join("new"), self.0.path().join(name)).unwrap();
    }

    fn is_running(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    }
}

impl Receiver for Script {
    fn sink(&self, limit: Duration) -> Rc<dyn Sink> {
        Rc::new(ExecSink::new(["shell", "notify"].map(|name| self.0.path().join(name)), limit))
    }

    fn treat(&self, treatment: Treatment) {
        self.write(
            "do",
            match treatment {
                Treatment::Takes => "printf '%s\\n' \"$1\" >>taken",
                Treatment::Refuses => "echo unwanted >&2; exit 1",
                Treatment::IsOverloaded => "exit 75",
                Treatment::Dies => "kill -9 $$",
                Treatment::Hangs => "while grep -q hung do; do sleep 0.1; done; . ./do",
            },
        );
    }

    fn taken(&self) -> Vec<String> {
        let taken = std::fs::read_to_string(self.0.path().join("taken")).unwrap_or_default();
        taken.lines().map(str::to_owned).collect()
    }

    fn under_way(&self) -> usize {
        let entries = std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap());
        names.filter_map(|name| name.strip_prefix("pid.").map(Self::is_running)).filter(|runs| *runs).count()
    }

    fn vanish(&self) {
        std::fs::remove_file(self.0.path().join("shell")).unwrap();
    }
}

suite!(by_command, crate::notify::conformance::exec::Script::new());
