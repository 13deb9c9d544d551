//! A whole fleet: one service beside as many servers as the shipped configuration has.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::notify::NotifyStub;
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::SOON;
use crate::support::unftp::Unftp;
use crate::support::zips::{mro_name, zip};

/// As many as the shipped configuration has.
const SERVERS: u32 = 14;

/// Periods of a quarter of an hour, and base stations, on each server.
const QUARTERS: u32 = 3;
const STATIONS: u32 = 4;

/// Half of them let anybody in, half want a password.
fn fleet() -> Vec<(String, Unftp)> {
    let start =
        |n: u32| if n.is_multiple_of(2) { Unftp::start() } else { Unftp::start_for("mro", "mro-pass") };
    (1..=SERVERS).map(|n| (format!("omc{n:02}"), start(n))).collect()
}

fn entry(n: usize, name: &str, ftp: &Unftp) -> Server {
    if n % 2 == 1 { Server::anonymous(name, ftp) } else { Server::at(name, ftp.addr()) }
}

fn setup(fleet: &[(String, Unftp)], notify: &NotifyStub) -> Setup {
    let servers = fleet.iter().enumerate().map(|(n, (name, ftp))| entry(n, name, ftp));
    servers.fold(Setup::new().notify(&notify.url()), Setup::server)
}

fn export(ftp: &Unftp, name: &str, station: u32, quarter: u32) -> String {
    let path = format!("/MR/MRO/20261123/{station}/{}", mro_name(name, station, quarter));
    ftp.put(&path, &zip(u64::from(station * 100 + quarter), 3000));
    format!("{name}{path}")
}

#[track_caller]
fn arrived(service: &Service, wanted: &BTreeSet<String>) {
    service.wait_for(SOON, "all files are here", |service| {
        service.mirrored().into_keys().collect::<BTreeSet<_>>() == *wanted
    });
    service.wait_for(SOON, "all are announced", |service| {
        let records = service.records();
        records.len() == wanted.len() && records.iter().all(|record| !record["notified_at"].is_null())
    });
}

#[test]
fn fourteen_servers_of_one_service_are_mirrored_and_announced() {
    let (fleet, notify) = (fleet(), NotifyStub::start());
    let mut wanted = BTreeSet::new();
    for (name, ftp) in &fleet {
        for (station, quarter) in (0..STATIONS).flat_map(|s| (0..QUARTERS).map(move |q| (s, q))) {
            wanted.insert(export(ftp, name, station, quarter));
        }
    }
    let mut service = setup(&fleet, &notify).started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    arrived(&service, &wanted);
    // the next quarter of an hour
    for (name, ftp) in &fleet {
        wanted.extend((0..STATIONS).map(|station| export(ftp, name, station, QUARTERS)));
    }
    arrived(&service, &wanted);
    for path in &wanted {
        let station: u64 = path.split('/').nth(4).unwrap().parse().unwrap();
        let time = path.rsplit('_').next().unwrap();
        let quarter = time[10..12].parse::<u64>().unwrap() / 15 + time[8..10].parse::<u64>().unwrap() * 4;
        let local = std::fs::read(service.root().join(path)).unwrap();
        assert!(local == zip(station * 100 + quarter, 3000), "{path}");
    }
    let called: Vec<String> = notify.files();
    assert_eq!(called.len(), wanted.len(), "each is called for once");
    let expected: BTreeSet<String> = wanted.iter().map(|path| format!("/{path}")).collect();
    assert_eq!(called.into_iter().collect::<BTreeSet<_>>(), expected);
    let status = service.status();
    for server in status["servers"].as_array().unwrap() {
        assert!(server["last_error"].is_null() && server["files_downloaded"] == 16, "{server}");
    }
    let asked = Instant::now();
    assert!(service.command("stop").starts_with("ok"));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn servers_that_are_gone_or_refuse_the_password_hold_up_none_of_the_others() {
    let (fleet, notify) = (fleet(), NotifyStub::start());
    let wanted = fleet.iter().map(|(name, ftp)| export(ftp, name, 1, 1)).collect();
    let (gone, refused) = (Unftp::start(), Unftp::start_for("someone", "else"));
    let setup = setup(&fleet, &notify)
        .server(Server::anonymous("gone", &gone))
        .server(Server::at("refused", refused.addr()));
    drop(gone);
    let service = setup.started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    arrived(&service, &wanted);
    for name in ["gone", "refused"] {
        service.wait_for(SOON, name, |service| service.server_status(name)["state"] == "unreachable");
        assert!(service.server_status(name)["last_error"].is_string());
    }
}
