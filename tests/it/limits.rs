//! What the system allows the process: open files, threads, and lines of log that say the same.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::wait::eventually;
use crate::support::zips::zip;

/// For what takes a moment: the machine may be slow, and everything else runs beside it.
const SOON: Duration = Duration::from_secs(60);

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

#[test]
fn check_says_how_many_open_files_are_needed() {
    let setup = Setup::new().server(Server::at("omc01", ([127, 0, 0, 1], 1).into()));
    let check = setup.command(&["check"]);
    let output = Command::new("prlimit")
        .arg("--nofile=60:60")
        .arg(check.get_program())
        .args(check.get_args())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().any(|line| line.starts_with("failed  open files: 60 may be open")), "{said}");
}
