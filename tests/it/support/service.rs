//! The real program as operators run it: a child process with its own directories, configuration and console.
//!
//! ```ignore
//! let mut service = Setup::new().server(Server::at("omc01", ftp.addr())).notify(&stub.url()).run();
//! assert_eq!(service.command("start"), "ok …");
//! service.wait_for(LIMIT, "the zip is there", |service| service.mirrored().len() == 1);
//! ```

mod lines;
mod setup;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::processes;
use super::wait::try_obtain;
use lines::Lines;

pub use setup::{Server, Setup};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_mrosync");

/// How long a console command may take: `stop` is promised within 2 s, and a loaded machine gets its share.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// The program with its directories. It is killed and they are removed when it is dropped.
pub struct Service {
    directory: TempDir,
    configurations: Vec<PathBuf>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Answers to console commands.
    Stdout,
    /// The log.
    Stderr,
}

impl Service {
    fn run(setup: Setup) -> Self {
        let Setup { directory, configurations, environment, arguments } = setup;
        let (child, stdin, stdout, stderr) = spawn(&configurations, &environment, &arguments);
        Self { directory, configurations, environment, arguments, child, stdin, stdout, stderr }
    }

    // -- console and signals ---------------------------------------------------------------------------------

    /// Writes a line to the console and does not wait for anything.
    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Writes bytes to the console as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input was closed before");
        stdin.write_all(bytes).expect("bytes for the console");
        stdin.flush().expect("bytes for the console");
    }

    /// Writes a console command and returns the line that answers it, which begins with `ok` or `failed`.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        let before = self.stdout.len();
        self.send(line);
        let is_answer = |line: &str| line.starts_with("ok") || line.starts_with("failed");
        match self.stdout.wait(before, COMMAND_WITHIN, is_answer) {
            Some(answer) => answer,
            None => self.give_up(&format!("no answer to '{line}' within {COMMAND_WITHIN:?}")),
        }
    }

    /// Ends standard input, which is no command.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("the end of the program");
    }

    /// SIGTERM; returns how it ended, and panics where it takes longer than `limit`.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(limit)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        processes::end(&[self.child.id()], signal);
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        match try_obtain(limit, || self.child.try_wait().expect("the state of the program")) {
            Some(status) => status,
            None => self.give_up(&format!("the program has not ended within {limit:?}")),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Starts it with this environment variable from the next time on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.forget_env(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it without this environment variable from the next time on.
    pub fn forget_env(&mut self, name: &str) {
        self.environment.retain(|(other, _)| other != name);
    }

    /// Starts it again with the same directories; kills it first where it still runs. The lines of before are gone.
    pub fn restart(&mut self) {
        self.kill();
        let fresh = spawn(&self.configurations, &self.environment, &self.arguments);
        (self.child, self.stdin, self.stdout, self.stderr) = fresh;
    }

    /// Writes the configuration that was given to [`Setup::toml`] as number `number`, counted from 1, anew.
    pub fn configure(&self, number: usize, toml: &str) {
        std::fs::write(&self.configurations[number], toml).expect("a configuration");
    }

    // -- what it says ----------------------------------------------------------------------------------------

    /// All lines of an output so far.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        self.stream(stream).all()
    }

    /// Waits for a line, also among those that came before, and returns it.
    #[track_caller]
    pub fn wait_line(
        &self,
        stream: Stream,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        match self.stream(stream).wait(0, limit, wanted) {
            Some(line) => line,
            None => self.give_up(&format!("no such line on {stream:?} within {limit:?}: {what}")),
        }
    }

    /// `mrosync ctl status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.mrosync(&["ctl"], &["status", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        match serde_json::from_str(&text) {
            Ok(status) => status,
            Err(error) => self.give_up(&format!("no status ({error}): {output:?}")),
        }
    }

    /// The part of the status that is about one server.
    #[track_caller]
    pub fn server_status(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        match servers.into_iter().find(|server| server["name"] == name) {
            Some(server) => server,
            None => self.give_up(&format!("no server {name} in the status: {status}")),
        }
    }

    /// `mrosync records --format json`, oldest first.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        let output = self.mrosync(&["records"], &["--format", "json"]);
        if !output.status.success() {
            self.give_up(&format!("no records: {output:?}"));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let records: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        match records {
            Ok(records) => records,
            Err(error) => self.give_up(&format!("no records ({error}): {text}")),
        }
    }

    /// Runs another command of the program beside it: `{command} --config … {arguments}`.
    pub fn mrosync(&self, command: &[&str], arguments: &[&str]) -> Output {
        setup::command(command, &self.configurations, &self.environment)
            .args(arguments)
            .output()
            .expect("the program started")
    }

    /// Waits until `wanted` is true; panics with `what` and the logs at the limit.
    #[track_caller]
    pub fn wait_for(&self, limit: Duration, what: &str, wanted: impl Fn(&Self) -> bool) {
        if try_obtain(limit, || wanted(self).then_some(())).is_none() {
            self.give_up(&format!("still not so after {limit:?}: {what}"));
        }
    }

    // -- what it leaves on the disk --------------------------------------------------------------------------

    /// `sync.root`.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join(setup::ROOT)
    }

    /// Everything of this service: its root, records, socket and configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The record database.
    pub fn database(&self) -> PathBuf {
        self.directory.path().join(setup::RECORDS)
    }

    /// The files of the mirror by path below the root (`omc01/MR/a.zip`) and their sizes, partial ones left out.
    pub fn mirrored(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        collect(&self.root(), "", &mut files);
        files.retain(|path, _| !path.starts_with(".partial/"));
        files
    }

    /// The files of work in progress by path below `{root}/.partial`, and their sizes; what begins with a dot is
    /// the program's own.
    pub fn partial(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        collect(&self.root().join(".partial"), "", &mut files);
        files.retain(|path, _| !path.starts_with('.'));
        files
    }

    // -- what it costs ---------------------------------------------------------------------------------------

    /// The most memory it had at one time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        processes::peak_memory(self.child.id()).expect("a running program")
    }

    /// Its threads and its open files, sockets included.
    pub fn threads_and_files(&self) -> (usize, usize) {
        let count = |what: &str| {
            let entries = std::fs::read_dir(format!("/proc/{}/{what}", self.child.id()));
            entries.expect("a running program").count()
        };
        (count("task"), count("fd"))
    }

    fn stream(&self, stream: Stream) -> &Lines {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    #[track_caller]
    fn give_up(&self, why: &str) -> ! {
        let (stdout, stderr) = (self.stdout.all().join("\n"), self.stderr.all().join("\n"));
        panic!("{why}\n--- standard output\n{stdout}\n--- standard error\n{stderr}")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    configurations: &[PathBuf],
    environment: &[(String, String)],
    arguments: &[String],
) -> (Child, Option<ChildStdin>, Lines, Lines) {
    let mut child = setup::command(&["run"], configurations, environment)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program started");
    let stdin = child.stdin.take();
    let stdout = Lines::of(child.stdout.take().expect("its standard output"));
    let stderr = Lines::of(child.stderr.take().expect("its standard error"));
    (child, stdin, stdout, stderr)
}

/// The files below a directory; one that vanishes meanwhile is left out.
fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, u64>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, metadata.len());
        }
    }
}
