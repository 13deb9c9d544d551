//! `status --json`: its keys and types, the states, and that the numbers are those of what happened.

use std::net::{Ipv4Addr, SocketAddr};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{SOON, one, ready, run};
use crate::support::zips::zip;

fn in_state(service: &Service, state: &str) -> Value {
    ready(service);
    service.wait_for(SOON, state, |service| service.server_status("omc01")["state"] == state);
    service.server_status("omc01")
}

/// Waits until so many scans have ended since the start.
fn scanned(service: &Service, scans: u64) {
    ready(service);
    service.wait_for(SOON, "scans", |service| {
        service.server_status("omc01")["scans"].as_u64().is_some_and(|ended| ended >= scans)
    });
}

/// A time as RFC 3339 has it, in UTC.
#[track_caller]
fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    assert!(text.ends_with('Z'), "{text}");
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_utc()
}

/// Whether a value is of the promised kind.
type Kind = fn(&Value) -> bool;

/// Each promised key of a table, and whether its value is of the promised kind.
fn assert_kinds(table: &Value, kinds: &[(&str, Kind)]) {
    for (key, fits) in kinds {
        let value = table.get(key).unwrap_or_else(|| panic!("no {key} in {table}"));
        assert!(fits(value), "{key}: {value}");
    }
}

fn is_time_or_null(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok())
}

/// Asserts the promised shape of the whole.
fn assert_shape(status: &Value) {
    assert_kinds(
        status,
        &[
            ("running", Value::is_boolean),
            ("uptime_seconds", Value::is_f64),
            ("disk", Value::is_object),
            ("notify", Value::is_object),
            ("servers", Value::is_array),
        ],
    );
    assert_kinds(
        &status["disk"],
        &[
            ("used_percent", Value::is_number),
            ("max_used_percent", Value::is_number),
            ("mirror_bytes", Value::is_u64),
            ("evicted_files", Value::is_u64),
            ("evicted_bytes", Value::is_u64),
            ("held", Value::is_boolean),
        ],
    );
    let notify = ["pending", "delivered", "failed_attempts", "cancelled"];
    assert_kinds(&status["notify"], &notify.map(|key| (key, Value::is_u64 as Kind)));
    let states = ["stopped", "waiting", "scanning", "downloading", "unreachable"];
    for server in status["servers"].as_array().unwrap() {
        assert!(states.contains(&server["state"].as_str().unwrap()), "{server}");
        assert_kinds(
            server,
            &[
                ("name", Value::is_string),
                ("last_scan_started", is_time_or_null),
                ("last_scan_seconds", |value| value.is_null() || value.is_number()),
                ("scans", Value::is_u64),
                ("directories_seen", Value::is_u64),
                ("files_seen", Value::is_u64),
                ("files_downloaded", Value::is_u64),
                ("bytes_downloaded", Value::is_u64),
                ("pending_files", Value::is_u64),
                ("last_error", |value| value.is_null() || value.is_string()),
                ("next_scan", is_time_or_null),
            ],
        );
    }
}

/// interface 18.1
#[test]
fn the_json_has_the_promised_keys_and_types_before_during_and_after_a_run() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let second = Server::scripted("omc02", &ftp).key("password", "'wrong'");
    let mut service = one(&ftp).server(second).toml("[quota]\nmax_used_percent = 99.5").run();
    ready(&service);
    let before = service.status();
    assert_shape(&before);
    assert_eq!(before["running"], false);
    assert_eq!(before["disk"]["max_used_percent"], 99.5);
    let names: Vec<_> = before["servers"].as_array().unwrap().iter().map(|server| &server["name"]).collect();
    assert_eq!(names, ["omc01", "omc02"], "in the order of the configuration");
    service.command("start");
    service.wait_for(SOON, "both were scanned", |service| {
        let status = service.status();
        assert_shape(&status);
        status["servers"].as_array().unwrap().iter().all(|server| server["scans"] != 0)
    });
    service.command("stop");
    assert_shape(&service.status());
}

#[test]
fn before_the_first_start_everything_is_stopped_and_nothing_is_known() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).run();
    ready(&service);
    let server = service.server_status("omc01");
    assert_eq!(server["state"], "stopped");
    for key in ["last_scan_started", "last_scan_seconds", "last_error", "next_scan"] {
        assert!(server[key].is_null(), "{key}: {server}");
    }
    let counters =
        ["scans", "directories_seen", "files_seen", "files_downloaded", "bytes_downloaded", "pending_files"];
    for key in counters {
        assert_eq!(server[key], 0, "{key}");
    }
}

#[test]
fn the_counters_are_those_of_what_was_seen_downloaded_and_delivered() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut bytes = 0;
    for (n, path) in ["/1.zip", "/a/2.zip", "/a/3.ZIP", "/a/b/4.zip"].into_iter().enumerate() {
        let content = zip(n as u64, 1000 * (n + 1));
        bytes += content.len();
        ftp.put(path, File::new(content));
    }
    ftp.put("/a/readme.txt", File::new("no zip"));
    ftp.make_directory("/empty");
    let service = one(&ftp).notify(&notify.url()).started().run();
    notify.wait_for(SOON, "all calls", |calls| calls.len() == 4);
    service.wait_for(SOON, "they are delivered", |service| service.status()["notify"]["delivered"] == 4);
    scanned(&service, 3);
    let status = service.status();
    let server = &status["servers"][0];
    assert_eq!(server["files_downloaded"], 4);
    assert_eq!(server["bytes_downloaded"], bytes);
    assert_eq!(server["files_seen"], 4, "zips");
    assert_eq!(server["directories_seen"], 4, "/, /a, /a/b and /empty");
    assert_eq!((&server["pending_files"], &server["last_error"]), (&0.into(), &Value::Null));
    assert_eq!(status["disk"]["mirror_bytes"], bytes);
    assert_eq!(status["disk"]["evicted_files"], 0);
    let notify = &status["notify"];
    assert_eq!((&notify["pending"], &notify["failed_attempts"]), (&0.into(), &0.into()));
    let used = status["disk"]["used_percent"].as_f64().unwrap();
    assert!(used > 0.0 && used <= 100.0, "{used}");
}

#[test]
fn calls_that_fail_are_pending_and_counted() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..3 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
    }
    notify.answer(Answer::Status(503));
    let service = one(&ftp).notify(&notify.url()).started().run();
    notify.wait_for(SOON, "calls", |calls| !calls.is_empty());
    service.wait_for(SOON, "they are counted", |service| {
        let notify = &service.status()["notify"];
        notify["pending"] == 3 && notify["failed_attempts"].as_u64().is_some_and(|failed| failed > 0)
    });
    assert_eq!(service.status()["notify"]["delivered"], 0);
}

#[test]
fn a_server_between_two_scans_is_waiting_and_says_until_when() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).interval("1h").started().run();
    let server = in_state(&service, "waiting");
    assert_eq!(server["scans"], 1);
    let (started, next) = (time(&server["last_scan_started"]), time(&server["next_scan"]));
    let between = (next - started).num_milliseconds();
    assert!((3_598_000..=3_602_000).contains(&between), "from start to start: {between} ms");
    assert!((Utc::now() - started).num_seconds() < 60);
    let took = server["last_scan_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&took), "{took}");
    assert!(service.mrosync(&["ctl"], &["stop"]).status.success());
    let stopped = service.server_status("omc01");
    assert_eq!((&stopped["state"], &stopped["next_scan"]), (&"stopped".into(), &Value::Null));
}

#[test]
fn a_server_whose_listing_hangs_is_scanning_and_one_whose_transfer_hangs_is_downloading() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 300_000)));
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    ftp.rule(Rule::on("MLSD").once().stall(5));
    ftp.rule(Rule::on("RETR").about("/1.zip").once().stall(100_000));
    let server = Server::scripted("omc01", &ftp).key("timeout", "'60s'");
    let service = Setup::new().server(server).started().run();
    service.wait_for(SOON, "it lists", |_| ftp.count("MLSD") > 0);
    let scanning = in_state(&service, "scanning");
    assert!(scanning["next_scan"].is_null() && scanning["scans"] == 0, "{scanning}");
    time(&scanning["last_scan_started"]);
    ftp.release();
    service.wait_for(SOON, "it downloads", |_| ftp.retrs("/1.zip") > 0);
    let downloading = in_state(&service, "downloading");
    assert!(downloading["next_scan"].is_null() && downloading["scans"] == 0, "{downloading}");
    service.wait_for(SOON, "the part is counted", |service| {
        service.status()["disk"]["mirror_bytes"].as_u64().is_some_and(|bytes| bytes >= 100_000)
    });
    ftp.release();
    scanned(&service, 2);
    assert_eq!(service.server_status("omc01")["files_downloaded"], 2);
}

#[test]
fn a_dead_server_is_unreachable_with_the_reason_until_it_answers() {
    let ftp = ScriptedServer::start();
    ftp.go_down();
    let service = one(&ftp).started().run();
    let server = in_state(&service, "unreachable");
    assert!(
        server["last_error"].as_str().is_some_and(|error| error.contains("cannot connect to")),
        "{server}"
    );
    ftp.come_back();
    service.wait_for(SOON, "it is reached", |service| {
        let server = service.server_status("omc01");
        server["state"] == "waiting" && server["last_error"].is_null()
    });
}

#[test]
fn a_refused_password_makes_a_server_unreachable_with_its_own_words() {
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on("PASS").reply("530 No entry for you\r\n"));
    let service = one(&ftp).started().run();
    let server = in_state(&service, "unreachable");
    assert!(
        server["last_error"].as_str().is_some_and(|error| error.contains("No entry for you")),
        "{server}"
    );
}

#[test]
fn a_dead_server_does_not_hinder_the_others() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let silent = ScriptedServer::start();
    silent.rule(Rule::on("USER").hang());
    // a privileged port that nobody serves
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let setup = Setup::new().server(Server::at("dead", nobody)).server(Server::scripted("silent", &silent));
    let service = setup.server(Server::scripted("omc01", &ftp)).started().run();
    scanned(&service, 3);
    assert_eq!(service.server_status("omc01")["files_downloaded"], 1);
    service.wait_for(SOON, "the dead one is told", |service| {
        service.server_status("dead")["state"] == "unreachable"
    });
}

#[test]
fn what_waits_for_its_next_try_is_pending() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    ftp.rule(Rule::on("RETR").about("/1.zip").reply("550 not now\r\n"));
    let service = one(&ftp).started().run();
    scanned(&service, 2);
    let server = service.server_status("omc01");
    assert_eq!((&server["files_seen"], &server["files_downloaded"]), (&2.into(), &1.into()), "{server}");
    assert_eq!(server["pending_files"], 1);
    assert!(server["last_error"].as_str().is_some_and(|error| error.contains("not now")), "{server}");
}

/// interface 18.9, 18.10, 22.2, 22.4, 22.5
#[test]
fn what_needs_an_operator_is_one_list_wherever_it_is_shown() {
    let (dead, empty, good, stub) =
        (ScriptedServer::start(), ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    dead.rule(Rule::on("PASS").reply("530 no\r\n"));
    good.put("/1.zip", File::new(zip(1, 3000)));
    stub.answer(Answer::Status(500));
    let nothing = Server::scripted("omc02", &empty).key("directories", "['/nix']");
    let setup = Setup::new()
        .server(Server::scripted("omc01", &dead))
        .server(nothing)
        .server(Server::scripted("omc03", &good));
    let service = run(setup.notify(&stub.url()));
    let about = |service: &Service, cause: &str| {
        let needs = service.status()["attention"].as_array().cloned().unwrap_or_default();
        needs.into_iter().find(|need| need["cause"] == cause)
    };
    for (cause, level, server) in [
        ("unreachable", "critical", "omc01".into()),
        ("brings_nothing", "critical", "omc02".into()),
        ("calls_fail", "warning", Value::Null),
    ] {
        service.wait_for(SOON, cause, |service| about(service, cause).is_some());
        let need = about(&service, cause).unwrap();
        assert_eq!((&need["level"], &need["items"][0]["server"]), (&level.into(), &server), "{need}");
        time(&need["since"]);
        assert!(!need["next_step"].as_str().unwrap().is_empty(), "{need}");
    }
    let since = about(&service, "unreachable").unwrap()["since"].clone();
    assert_eq!(about(&service, "unreachable").unwrap()["since"], since);
    assert!(service.status()["notify"]["last_failure"].as_str().unwrap().contains("500"));
    assert_eq!(service.status()["records"]["fault"], Value::Null);
    let table = service.mrosync(&["ctl"], &["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let list = table.split("NEEDS ATTENTION").nth(1).unwrap_or_else(|| panic!("{table}"));
    assert!(list.contains("omc01 unreachable: ") && list.contains("omc02 brings nothing: "), "{table}");
}
