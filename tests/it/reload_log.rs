//! The log while the service runs: its file is opened again, and its lines change their form.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::scripted::ScriptedServer;
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, ready};

/// A service that scans all the time and logs each scan, with its log file.
fn talkative(fleet: &[ScriptedServer], toml: &str) -> (Service, PathBuf) {
    let setup = Setup::new().interval("100ms");
    let file = setup.directory().join("log/mrosync.log");
    let setup = setup.toml(&format!("[log]\nfile = '{}'\n", file.display())).toml(toml);
    let server = |setup: Setup, (n, ftp)| setup.server(Server::scripted(&format!("omc{n:02}"), ftp));
    let service = fleet.iter().enumerate().fold(setup, server).started().run();
    ready(&service);
    (service, file)
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits for further lines on standard error.
#[track_caller]
fn goes_on(service: &Service) {
    let before = service.lines(Stream::Stderr).len();
    service.wait_for(SOON, "it logs", |service| service.lines(Stream::Stderr).len() > before + 20);
}

/// interface 2.7, 7.9
#[test]
fn rotating_by_rename_and_sighup_loses_no_line_and_writes_none_to_the_old_file_afterwards() {
    let fleet: Vec<_> = (0..4).map(|_| ScriptedServer::start()).collect();
    let (mut service, file) = talkative(&fleet, "");
    let mut rotated = Vec::new();
    for n in 1..=5 {
        goes_on(&service);
        let old = file.with_extension(n.to_string());
        fs::rename(&file, &old).unwrap();
        service.signal(Signal::HUP);
        let again = format!("the configuration is read again: {} servers untouched", fleet.len());
        service.wait_for(SOON, "it is read again", |service| {
            service.lines(Stream::Stderr).iter().filter(|line| line.contains(&again)).count() == n
        });
        let size = fs::metadata(&old).unwrap().len();
        goes_on(&service);
        assert_eq!(fs::metadata(&old).unwrap().len(), size, "the old file grew");
        rotated.push(old);
    }
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
    rotated.push(file);
    let mut written: Vec<String> = rotated.iter().flat_map(|file| lines(file)).collect();
    let mut shown = service.lines(Stream::Stderr);
    assert!(rotated.iter().all(|file| lines(file).len() > 10), "each has some");
    written.sort();
    shown.sort();
    assert_eq!(written, shown, "each line is in one of them");
}

/// interface 7.9
#[test]
fn a_file_that_cannot_be_opened_again_keeps_the_old_one_and_says_so() {
    let fleet = [ScriptedServer::start()];
    let (mut service, file) = talkative(&fleet, "");
    let old = file.with_extension("1");
    fs::rename(&file, &old).unwrap();
    fs::create_dir(&file).unwrap();
    let answer = service.command("reload");
    let said = format!("cannot open the log file {}", file.display());
    assert!(answer.starts_with("ok: 1 server untouched; ") && answer.contains(&said), "{answer}");
    assert!(answer.ends_with("the old one is kept"), "{answer}");
    let before = lines(&old).len();
    goes_on(&service);
    assert!(lines(&old).len() > before && lines(&old).iter().any(|line| line.contains(&said)));
    fs::remove_dir(&file).unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server untouched");
    goes_on(&service);
    assert!(!lines(&file).is_empty());
}

/// interface 7.9
#[test]
fn the_file_is_opened_again_although_the_configuration_is_refused() {
    let fleet = [ScriptedServer::start()];
    let (mut service, file) = talkative(&fleet, "");
    fs::rename(&file, file.with_extension("1")).unwrap();
    service.configure(3, "[quota]\nmax_used_percent = 0\n");
    assert!(service.command("reload").starts_with("failed: the configuration is refused"));
    goes_on(&service);
    assert!(!lines(&file).is_empty());
}

/// interface 7.4
#[test]
fn another_file_and_none_take_effect_at_once() {
    let fleet = [ScriptedServer::start()];
    let (mut service, file) = talkative(&fleet, "");
    let other = file.with_file_name("other.log");
    service.configure(3, &format!("[log]\nfile = '{}'\n", other.display()));
    assert_eq!(service.command("reload"), "ok: 1 server untouched; log changed");
    let size = lines(&file).len();
    goes_on(&service);
    assert!(lines(&file).len() == size && lines(&other).len() > 10);
    service.configure(2, "");
    service.configure(3, "");
    assert_eq!(service.command("reload"), "ok: 1 server untouched; log changed");
    let size = lines(&other).len();
    goes_on(&service);
    assert_eq!(lines(&other).len(), size);
}

/// interface 5.7, 9.1
#[test]
fn json_lines_are_objects_on_standard_error_and_in_the_file_and_can_be_turned_on_while_it_runs() {
    let fleet = [ScriptedServer::start()];
    let (mut service, file) = talkative(&fleet, "");
    let old = file.with_extension("1");
    fs::rename(&file, &old).unwrap();
    service.configure(3, "[log]\nformat = 'json'\n");
    assert_eq!(service.command("reload"), "ok: 1 server untouched; log changed");
    goes_on(&service);
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
    let in_file = lines(&file);
    let shown = service.lines(Stream::Stderr);
    for line in in_file.iter().chain(shown.iter().rev().take(in_file.len())) {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| read[key].as_str().unwrap_or_default().to_owned();
        assert!(text("time").ends_with('Z') && !text("level").is_empty(), "{line}");
        assert!(!text("target").is_empty() && !text("message").is_empty(), "{line}");
        assert_eq!(text("message").starts_with("server=omc00 "), text("server") == "omc00", "{line}");
    }
    assert!(in_file.iter().any(|line| line.contains(r#""server":"omc00""#)));
    assert!(lines(&old).iter().all(|line| !line.starts_with('{')), "those of before stay as they are");
}
