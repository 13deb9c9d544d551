//! `records forget` and `records requeue`: beside a service and without one, and only with the right number.

use std::process::{Command, Output};
use std::time::Duration;

use crate::support::notify::NotifyStub;
use crate::support::pty::Pty;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, says};
use crate::support::zips::zip;

/// SIGTERM is promised to end the service within 5 s; a loaded machine gets its share.
const END: Duration = Duration::from_secs(15);

/// A service that has fetched and announced `/in/a.zip` and `/in/b.zip`, and settled on their listing.
fn settled(ftp: &ScriptedServer, notify: &NotifyStub) -> Service {
    for name in ["/in/a.zip", "/in/b.zip"] {
        ftp.put(name, File::new(zip(1, 3000)));
    }
    let service = Setup::new().server(Server::scripted("omc01", ftp)).notify(&notify.url()).started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
    announced(&service);
    let scans = |service: &Service| service.server_status("omc01")["scans"].as_u64().unwrap_or(0);
    let before = scans(&service);
    service.wait_for(SOON, "two further scans", |service| scans(service) >= before + 2);
    service
}

fn announced(service: &Service) {
    service.wait_for(SOON, "two files are on record and announced", |service| {
        let records = service.records();
        records.len() == 2 && records.iter().all(|record| !record["notified_at"].is_null())
    });
}

fn change(service: &Service, what: &str, arguments: &[&str]) -> Output {
    service.mrosync(&["records", what], arguments)
}

fn fetched(service: &Service) -> u64 {
    service.mirrored().keys().filter(|path| path.ends_with("a.zip")).count() as u64
}

/// interface 1.5, 15.3
#[test]
fn a_forgotten_file_is_fetched_again_beside_a_service_that_had_settled_and_without_one() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = settled(&ftp, &notify);
    let a = ["--path", "a.zip", "--confirm", "1"];
    says(&change(&service, "forget", &a), 2, "0 records to forget");
    for stopped in [false, true] {
        std::fs::remove_file(service.root().join("omc01/in/a.zip")).unwrap();
        if stopped {
            assert!(service.terminate(END).success());
        }
        says(&change(&service, "forget", &a), 0, "1 changed");
        if stopped {
            assert_eq!(service.records().len(), 1);
            service.restart();
            service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
        }
        service.wait_for(SOON, "it is fetched again", |service| fetched(service) == 1);
        announced(&service);
    }
}

/// interface 1.6, 15.3
#[test]
fn a_requeued_file_is_announced_once_more_beside_a_service_and_without_one() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = settled(&ftp, &notify);
    for (stopped, calls) in [(false, 3), (true, 4)] {
        if stopped {
            assert!(service.terminate(END).success());
        }
        says(&change(&service, "requeue", &["--path", "/in/b.zip", "--confirm", "1"]), 0, "1 changed");
        if stopped {
            service.restart();
            service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
        }
        announced(&service);
        assert_eq!(notify.calls().len(), calls);
    }
}

/// interface 15.1, 15.2
#[test]
fn nothing_is_changed_without_the_right_number_or_by_a_dry_run() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = settled(&ftp, &notify);
    let before = service.records();
    says(&change(&service, "requeue", &["--server", "omc01"]), 2, "pass --confirm 2");
    says(&change(&service, "requeue", &["--server", "omc01", "--confirm", "3"]), 2, "which is 2");
    says(&change(&service, "requeue", &["--server", "omc01", "--dry-run"]), 0, "omc01  /in/a.zip\n");
    says(&change(&service, "forget", &["--server", "omc01", "--dry-run"]), 0, "2 are still in the mirror");
    says(&change(&service, "forget", &[]), 2, "at least one filter");
    assert_eq!(service.records(), before);
}

/// interface 1.5, 15.7
#[test]
fn a_file_of_the_mirror_is_deleted_and_fetched_again_where_that_is_asked_for() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = settled(&ftp, &notify);
    let place = service.root().join("omc01/in/a.zip");
    let a = ["--path", "/in/a.zip", "--delete"];
    says(
        &change(&service, "forget", &[&a[..], &["--dry-run"]].concat()),
        0,
        "1 are still in the mirror, and are deleted",
    );
    says(&change(&service, "forget", &[&a[..], &["--confirm", "2"]].concat()), 2, "which is 1");
    assert!(place.try_exists().unwrap());
    ftp.put("/in/a.zip", File::new(zip(7, 5000)));
    let size = |service: &Service| service.mirrored().get("omc01/in/a.zip").copied();
    let before = size(&service);
    for stopped in [false, true] {
        if stopped {
            assert!(service.terminate(END).success());
            ftp.put("/in/a.zip", File::new(zip(8, 7000)));
        }
        let before = size(&service);
        says(&change(&service, "forget", &[&a[..], &["--confirm", "1"]].concat()), 0, "1 changed");
        if stopped {
            assert!(!place.try_exists().unwrap());
            service.restart();
            service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
        }
        service.wait_for(SOON, "it is fetched again", |service| {
            size(service).is_some() && size(service) != before
        });
        announced(&service);
    }
    assert!(before.is_some() && size(&service) != before);
}

/// interface 15.2
#[test]
fn at_a_terminal_the_number_is_asked_for() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = settled(&ftp, &notify);
    for (typed, status, said) in [("3", 2, "which is 2"), ("2", 0, "2 changed")] {
        let mut requeue = Command::new(env!("CARGO_BIN_EXE_mrosync"));
        requeue.args(["records", "requeue", "--server", "omc01", "--config"]);
        let mut pty = Pty::run(requeue.arg(service.directory().join("0.toml")), 120, 24, &[]);
        pty.wait(SOON, "it asks", |screen| screen.contains("type the number"));
        pty.keys(&format!("{typed}\r"));
        pty.wait(SOON, "it says what became of it", |screen| screen.contains(said));
        assert_eq!(pty.wait_exit(SOON), status);
    }
}
