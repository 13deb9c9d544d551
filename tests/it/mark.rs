//! `records mark`: files that count as fetched and never were, beside a service and without one.

use std::os::unix::ffi::OsStrExt;
use std::process::Output;
use std::time::Duration;

use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{SOON, names, ready, says, scanned};
use crate::support::zips::zip;

const MIB: usize = 1 << 20;

fn mark(service: &Service, arguments: &[&str]) -> Output {
    service.mrosync(&["records", "mark"], arguments)
}

/// Begins to scan: by `start` where it runs, else by starting it.
fn begin(setup: Setup, running: Option<Service>) -> Service {
    match running {
        Some(mut service) => {
            assert!(service.command("start").starts_with("ok"));
            service
        }
        None => {
            let service = setup.started().run();
            ready(&service);
            service
        }
    }
}

/// interface 1.7, 10.5, 16.1, 16.2, 16.5
#[test]
fn files_that_were_listed_when_they_were_marked_are_never_fetched_and_a_later_one_is() {
    for beside in [false, true] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        for path in ["/in/a.zip", "/in/deep/b.zip"] {
            ftp.put(path, File::new(zip(1, 3000)));
        }
        let setup = || Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
        let arguments = ["--listed", "--confirm", "2"];
        let service = if beside {
            let service = setup().run();
            ready(&service);
            says(&mark(&service, &arguments), 0, "2 changed");
            says(&mark(&service, &arguments), 2, "0 files to mark as fetched");
            begin(setup(), Some(service))
        } else {
            let setup = setup();
            let output = setup.command(&["records", "mark"]).args(arguments).output().unwrap();
            says(&output, 0, "2 changed");
            begin(setup, None)
        };
        scanned(&service, 2);
        ftp.put("/in/new.zip", File::new(zip(2, 3000)));
        service.wait_for(SOON, "the new one is there", |service| !service.mirrored().is_empty());
        scanned(&service, 2);
        assert_eq!(names(&service), ["omc01/in/new.zip"]);
        assert_eq!(ftp.count("RETR"), 1);
        let records = service.records();
        for record in &records[..2] {
            assert!(
                !record["evicted_at"].is_null() && record["notified_at"] == record["evicted_at"],
                "{record}"
            );
        }
        notify.wait_for(SOON, "the new one is announced", |calls| calls.len() == 1);
        assert_eq!(service.status()["disk"]["mirror_bytes"], records[2]["size"]);
    }
}

/// interface 16.6
#[test]
fn files_that_wait_to_be_fetched_when_they_are_marked_are_not() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for name in ["a", "b", "c"] {
        ftp.put(format!("/in/{name}.zip"), File::new(zip(1, 3000)));
    }
    ftp.rule(Rule::on("RETR").once().hang());
    let server = Server::scripted("omc01", &ftp).key("connections", "1");
    let service = Setup::new().server(server).notify(&notify.url()).started().run();
    ready(&service);
    ftp.wait_for(SOON, "the first is asked for", |journal| journal.count("RETR") == 1);
    // the one that is on its way included
    says(&mark(&service, &["--listed", "--confirm", "3"]), 0, "3 changed");
    ftp.release();
    service.wait_for(SOON, "the one under way is there", |service| service.mirrored().len() == 1);
    scanned(&service, 2);
    assert_eq!((names(&service).len(), ftp.count("RETR")), (1, 1));
    service.wait_for(SOON, "it counts as downloaded, and is announced", |service| {
        service.status()["disk"]["mirror_bytes"].as_u64() == service.mirrored().into_values().next()
            && notify.calls().len() == 1
    });
}

/// interface 1.7, 16.3
#[test]
fn local_files_that_were_marked_are_not_fetched_and_go_in_their_turn() {
    for (beside, announce) in [(false, false), (true, false), (true, true)] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        let old = zip(1, 3 * MIB);
        for name in ["old", "older"] {
            ftp.put(format!("/in/{name}.zip"), File::new(old.clone()));
        }
        let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
        let setup = setup.toml("[quota]\nmax_bytes = '8MiB'");
        let home = setup.directory().join("sync/omc01/in");
        std::fs::create_dir_all(&home).unwrap();
        for (name, age) in [("old", 1000), ("older", 2000)] {
            let path = home.join(format!("{name}.zip"));
            std::fs::write(&path, &old).unwrap();
            let time = std::time::SystemTime::now() - Duration::from_secs(age);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let mut arguments = vec!["--local", "--server", "omc01", "--confirm", "2"];
        arguments.extend(announce.then_some("--announce"));
        let service = if beside {
            let service = setup.run();
            ready(&service);
            says(&mark(&service, &arguments), 0, "2 changed");
            begin(Setup::new(), Some(service))
        } else {
            let output = setup.command(&["records", "mark"]).args(arguments).output().unwrap();
            says(&output, 0, "2 changed");
            begin(setup, None)
        };
        scanned(&service, 2);
        assert_eq!(names(&service), ["omc01/in/old.zip", "omc01/in/older.zip"]);
        assert_eq!(service.status()["disk"]["mirror_bytes"], 2 * old.len());
        let announced = if announce { 2 } else { 0 };
        service.wait_for(SOON, "they are announced where asked for", |_| notify.calls().len() == announced);
        ftp.put("/in/new.zip", File::new(zip(2, 3 * MIB)));
        service.wait_for(SOON, "the older one made room", |service| {
            names(service) == ["omc01/in/new.zip", "omc01/in/old.zip"]
        });
        scanned(&service, 2);
        assert_eq!((ftp.count("RETR"), service.records().len()), (1, 3));
    }
}

/// interface 16.1, 16.2
#[test]
fn nothing_is_marked_by_a_dry_run_or_without_the_right_number_or_where_a_server_does_not_answer() {
    let (ftp, dead) = (ScriptedServer::start(), ScriptedServer::start());
    ftp.put("/in/a.zip", File::new(zip(1, 3000)));
    ftp.put("/in/b.txt", File::new(b"text".to_vec()));
    let servers = |setup: Setup| {
        setup
            .server(Server::scripted("omc01", &ftp))
            .server(Server::scripted("omc02", &dead).key("timeout", "'2s'"))
    };
    let service = servers(Setup::new()).run();
    ready(&service);
    dead.go_down();
    for (arguments, status, text) in [
        (&["--listed", "--server", "omc01", "--dry-run"][..], 0, "omc01  /in/a.zip\n1 file to mark"),
        (&["--listed", "--server", "omc01", "--confirm", "2"], 2, "which is 1"),
        (&["--listed", "--server", "omc01"], 2, "pass --confirm 1"),
        (&["--listed", "--path", "/out/**", "--server", "omc01"], 0, "0 files"),
        (&["--listed", "--confirm", "1"], 1, "nothing was changed: server omc02"),
        (&["--listed", "--server", "omc03"], 1, "no server of the configuration is called omc03"),
        (&["--listed", "--announce"], 2, "--announce"),
        (&["--confirm", "1"], 2, "--listed"),
        (&["--local", "--confirm", "0"], 0, "0 files"),
    ] {
        says(&mark(&service, arguments), status, text);
    }
    assert_eq!(service.records().len(), 0);
}

#[test]
fn records_are_not_changed_by_words_on_the_console() {
    let ftp = ScriptedServer::start();
    let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).run();
    for line in [r#"{"forget":[1]}"#, r#"{"adopt":{}}"#] {
        assert!(service.command(line).starts_with("failed: unknown command"), "{line}");
    }
    ready(&service);
    assert_eq!(service.records().len(), 0);
}

/// interface 16.2
#[test]
fn a_real_server_is_looked_at_as_a_scan_looks_at_it_whatever_its_names() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd] {
        let Some(daemon) = Daemon::start(kind, &Options::default()) else { continue };
        let put = |directory: &str, name: &[u8]| {
            let directory = daemon.root.join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            let name = std::ffi::OsStr::from_bytes(name);
            std::fs::write(directory.join(name), zip(1, 3000)).unwrap();
        };
        let nasty: [&[u8]; 6] = [
            b"plain.zip",
            b"with blank:1.zip",
            b"a[1]%41.zip",
            b"-la.zip",
            b"\xd6\xd0\xce\xc4.zip",
            b"=\xff.zip",
        ];
        nasty.iter().for_each(|name| put("d[1]/x", name));
        let server = Server::daemon("omc01", &daemon, Tls::Off).key("encoding", "'gbk'");
        let mut service = Setup::new().server(server).run();
        ready(&service);
        says(&mark(&service, &["--listed", "--confirm", "6"]), 0, "6 changed");
        put("later", b"new.zip");
        assert!(service.command("start").starts_with("ok"));
        service.wait_for(SOON, "the new one is there", |service| !service.mirrored().is_empty());
        scanned(&service, 2);
        assert_eq!(names(&service), ["omc01/later/new.zip"], "{kind:?}");
    }
}

/// interface 16.2
#[test]
fn a_refused_directory_is_named_and_passed_over_and_a_configured_one_leaves_all_as_it_is() {
    let ftp = ScriptedServer::start();
    ftp.manner(|manner| manner.mlsd_in_feat = false);
    for path in ["/in/a.zip", "/in/bad/b.zip"] {
        ftp.put(path, File::new(zip(1, 3000)));
    }
    ftp.rule(Rule::on("CWD").about("/in/bad").reply("550 Permission denied.\r\n"));
    let marked = |directories| {
        let setup = Setup::new().server(Server::scripted("omc01", &ftp).key("directories", directories));
        setup.command(&["records", "mark"]).args(["--listed", "--confirm", "1"]).output().unwrap()
    };
    let output = marked("['/in']");
    says(&output, 0, "1 changed");
    says(&output, 0, "server omc01: passed over: /in/bad: ");
    says(&marked("['/in', '/gone']"), 1, "nothing was changed: server omc01");
}
