//! What the system allows the process: open files, threads, and lines of log that say the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::Uid;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::support::http::ask;
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::steps::SOON;
use crate::support::wait::eventually;
use crate::support::zips::zip;

/// The program, started by another that limits it.
struct Limited {
    setup: Setup,
    child: Child,
}

impl Limited {
    fn run(setup: Setup, limit: &str) -> Self {
        let run = setup.command(&["run", "--start"]);
        let log = std::fs::File::create(setup.directory().join("log")).unwrap();
        let child = Command::new("prlimit")
            .arg(limit)
            .arg(run.get_program())
            .args(run.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { setup, child }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.setup.directory().join("log")).unwrap()
    }

    fn status(&self) -> Option<Value> {
        let asked = self.setup.command(&["ctl", "status", "--json"]).output().unwrap();
        serde_json::from_slice(&asked.stdout).ok()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

fn downloaded(status: &Value) -> Vec<bool> {
    let servers = status["servers"].as_array().unwrap();
    servers.iter().map(|server| server["files_downloaded"] == 1).collect()
}

/// interface 8.1
#[test]
fn few_open_files_cost_connections_and_then_servers_and_never_an_answer() {
    let servers: Vec<ScriptedServer> = (0..14).map(|_| ScriptedServer::start()).collect();
    for (limit, all) in [("--nofile=300:300", true), ("--nofile=100:100", false)] {
        let mut setup = Setup::new();
        for (n, server) in servers.iter().enumerate() {
            server.put("/1.zip", File::new(zip(1, 3000)));
            setup = setup.server(Server::scripted(&format!("omc{n:02}"), server));
        }
        let service = Limited::run(setup, limit);
        eventually(SOON, "the servers that can be scanned have brought their file", || {
            service.status().is_some_and(|status| {
                let brought = downloaded(&status);
                brought.iter().filter(|brought| **brought).count() >= if all { 14 } else { 3 }
            })
        });
        let log = service.log();
        let said = log.lines().filter(|line| line.contains("ERROR") && line.contains("too few open files"));
        assert_eq!(said.count(), 1, "{log}");
        assert!(
            log.contains("LimitNOFILE") && !log.contains("panicked") && !log.contains("Too many open"),
            "{log}"
        );
        let status = service.status().unwrap();
        let last = &status["servers"][13];
        assert_eq!(last["state"] == "unreachable", !all, "{last}");
        assert_eq!(
            last["last_error"].as_str().is_some_and(|error| error.contains("not scanned")),
            !all,
            "{last}"
        );
    }
}

/// interface 1.10
#[test]
fn check_says_how_many_open_files_are_needed() {
    let setup = Setup::new().server(Server::at("omc01", ([127, 0, 0, 1], 1).into()));
    for (limit, wanted) in [
        ("--nofile=60:60", "failed  open files: 60 may be open"),
        // raised as far as the system allows
        ("--nofile=60:1024", "ok      open files: 1024 may be open"),
    ] {
        let check = setup.command(&["check"]);
        let output = Command::new("prlimit")
            .arg(limit)
            .arg(check.get_program())
            .args(check.get_args())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().any(|line| line.starts_with(wanted)), "{said}");
    }
}

/// A user that has no other process, where this one may choose: root is not limited (setrlimit(2)).
const UNPRIVILEGED: u32 = 64_517;

/// Runs as a user whose number of threads can be limited. The program is handed over open, because that user may not
/// be allowed to look into the directories that lead to it.
fn run_unprivileged(setup: &Setup) -> (Child, PathBuf) {
    let run = setup.command(&["run", "--start"]);
    let log = setup.directory().join("log");
    let program = std::fs::File::open(run.get_program()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9<&0 0</dev/null; exec \"$@\"", "sh"]);
    if geteuid().is_root() {
        let user = Some(Uid::from_raw(UNPRIVILEGED));
        for path in walk(&setup.directory()) {
            rustix::fs::chown(&path, user, None).unwrap();
        }
    }
    command.args(as_unprivileged());
    let log_file = std::fs::File::create(&log).unwrap();
    let child = command
        .arg("/proc/self/fd/9")
        .args(run.get_args())
        .stdin(program)
        .stdout(Stdio::null())
        .stderr(log_file)
        .spawn();
    (child.unwrap(), log)
}

/// The directory and all below it.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(walk(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}

/// How to become the user whose threads can be limited: nothing where this one is not root.
fn as_unprivileged() -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    vec!["setpriv".to_owned(), format!("--reuid={UNPRIVILEGED}"), "--clear-groups".to_owned()]
}

/// Allows the user of the process so many threads, as that user: root may lack the right to (prlimit(2)).
fn limit_threads(child: &Child, limit: &str) {
    let mut command = vec!["env".to_owned()];
    command.extend(as_unprivileged());
    let pid = child.id();
    command.extend(["prlimit", &format!("--pid={pid}"), &format!("--nproc={limit}:")].map(str::to_owned));
    let done = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The limit of now, as the system shows it.
fn thread_limit(child: &Child) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max processes")).unwrap();
    line.split_whitespace().nth(2).unwrap().to_owned()
}

/// interface 8.2
#[test]
fn a_thread_that_is_not_to_be_had_is_told_with_what_to_raise_and_costs_a_wait() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/small.zip", File::new(zip(1, 3000)));
    let localhost = notify.url().replace("127.0.0.1", "localhost");
    let setup = Setup::new()
        .server(Server::scripted("omc01", &ftp))
        .notify(&localhost)
        .toml("[web]\nlisten = '127.0.0.1:0'\n");
    let (child, log) = run_unprivileged(&setup);
    let service = Limited { setup, child };
    let log = || std::fs::read_to_string(&log).unwrap();
    let lines = |words: &str| log().lines().filter(|line| line.contains(words)).count();
    notify.wait_for(SOON, "a file before the limit", |calls| calls.len() == 1);
    let address: SocketAddr = {
        let said = log();
        let line = said.lines().find(|line| line.contains("the status page is at")).unwrap();
        line.split("http://").nth(1).unwrap().trim_end_matches('/').parse().unwrap()
    };
    // what is idle is closed, so that the next call needs a connection, and the host's name an address
    notify.go_down();
    notify.come_back();

    let before = thread_limit(&service.child);
    limit_threads(&service.child, "1");
    let large = zip(2, 300_000);
    ftp.put("/large.zip", File::new(large.clone()));
    ftp.put("/small2.zip", File::new(zip(3, 3000)));
    eventually(SOON, "the file waits for a thread", || {
        lines(
            "path=/large.zip: cannot check the file that came: no thread for the archive check; raise the limits of \
               processes (TasksMax= of the systemd unit, or ulimit -u): Resource temporarily unavailable",
        ) > 0
    });
    eventually(SOON, "the name of the host is not looked up", || {
        lines("no thread for the resolver; raise") > 0
    });
    let error = service.status().unwrap()["servers"][0]["last_error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("no thread for the archive check")), "{error}");
    let reload = service.setup.command(&["ctl", "reload"]).output().unwrap();
    let said = String::from_utf8_lossy(&[reload.stdout, reload.stderr].concat()).into_owned();
    assert!(said.contains("no thread for the reload; raise the limits of processes"), "{said}");
    let newest = ask(address, "GET /api/newest", &[]);
    assert!(newest.status == 503 && newest.body.contains("no thread for the record reader"), "{newest:?}");

    limit_threads(&service.child, &before);
    notify.wait_for(SOON, "all files are taken and announced", |calls| calls.len() == 3);
    assert_eq!(std::fs::read(service.setup.directory().join("sync/omc01/large.zip")).unwrap(), large);
    let sent: u64 = ftp.journal(|journal| {
        let retrs = journal.retrs.iter().filter(|retr| retr.path == b"/large.zip");
        retrs.map(|retr| retr.offset).filter(|offset| *offset == 0).count() as u64
    });
    assert_eq!(sent, 1, "what came is kept while there is no thread");
    assert_eq!(lines("panicked"), 0, "{}", log());
}
