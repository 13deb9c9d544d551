//! What an operator does with one server, while all others go on.

use std::process::Output;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{SOON, ready, recorded, run, says};
use crate::support::zips::zip;

fn two(first: &ScriptedServer, second: &ScriptedServer) -> Setup {
    Setup::new().server(Server::scripted("omc01", first)).server(Server::scripted("OMC 02", second))
}

fn ctl(service: &Service, arguments: &[&str]) -> Output {
    service.mrosync(&["ctl"], arguments)
}

/// interface 2.11
#[test]
fn one_server_is_scanned_now_and_no_other() {
    let (first, second) = (ScriptedServer::start(), ScriptedServer::start());
    let mut service = two(&first, &second).interval("1h").run();
    ready(&service);
    assert!(service.command("scan omc01").starts_with("failed: nothing is started"));
    service.command("start");
    let scans = |service: &Service, name: &str| service.server_status(name)["scans"].as_u64().unwrap();
    service.wait_for(SOON, "both were scanned", |s| scans(s, "omc01") == 1 && scans(s, "OMC 02") == 1);
    first.put("/1.zip", File::new(zip(1, 3000)));
    says(&ctl(&service, &["scan", "omc01"]), 0, "ok: omc01 is scanned now");
    recorded(&service, 1);
    assert_eq!(service.command("Scan OMC 02"), "ok: OMC 02 is scanned now");
    service.wait_for(SOON, "the other one too", |service| scans(service, "OMC 02") == 2);
    assert_eq!(scans(&service, "omc01"), 2);
    says(&ctl(&service, &["scan", "omc1"]), 1, "did you mean omc01?");
}

/// interface 2.12, 18.8
#[test]
fn a_paused_server_is_left_alone_through_starts_and_restarts_until_it_is_resumed() {
    let (first, second) = (ScriptedServer::start(), ScriptedServer::start());
    let mut service = run(two(&first, &second));
    says(&ctl(&service, &["pause", "omc01"]), 0, "ok: omc01 is paused");
    let paused = |service: &Service| {
        let status = service.server_status("omc01");
        (status["paused"].as_bool().unwrap(), status["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(paused(&service), (true, "stopped".to_owned()));
    let before = first.listings("/");
    for name in [&first, &second] {
        name.put("/1.zip", File::new(zip(1, 3000)));
    }
    recorded(&service, 1);
    assert!(service.command("scan omc01").starts_with("failed: omc01 is paused"));
    service.command("stop");
    assert_eq!(service.command("start"), "ok: started 1 server; paused: omc01");
    service.restart();
    ready(&service);
    service.wait_for(SOON, "the other one goes on", |service| {
        service.server_status("OMC 02")["scans"].as_u64() > Some(2)
    });
    assert_eq!((paused(&service).0, first.listings("/")), (true, before));
    assert_eq!(service.command("resume omc01"), "ok: omc01 is resumed");
    recorded(&service, 2);
    assert!(!paused(&service).0);
}

/// interface 1.21
#[test]
fn one_server_is_checked_and_nothing_else() {
    let (first, notify) = (ScriptedServer::start(), NotifyStub::start());
    let dead = ScriptedServer::start();
    dead.go_down();
    let setup = two(&first, &dead).notify(&notify.url());
    let check = |names: &[&str]| {
        let mut command = setup.command(&["check"]);
        for name in names {
            command.args(["--server", name]);
        }
        command.output().unwrap()
    };
    let output = check(&["omc01"]);
    says(&output, 0, "ok      server omc01: ");
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(lines, 2, "{output:?}");
    assert_eq!(dead.connections(), 0);
    says(&check(&["OMC 02"]), 1, "failed  server OMC 02: ");
    says(&check(&["omc1"]), 2, "did you mean omc01?");
}
