//! Counters of the metrics only rise, whatever an operator does to the records and however often the service begins.

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Service, Setup};
use crate::support::steps::{SOON, one, ready, recorded, run, says};
use crate::support::zips::zip;
use crate::web::{get, page};

fn metric(service: &Service, name: &str) -> u64 {
    let answer = get(page(service), "/metrics").body;
    let line = answer
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap_or_else(|| panic!("{answer}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn delivered(service: &Service, number: u64) {
    service.wait_for(SOON, "the counter has risen", |service| {
        metric(service, "mrosync_notify_delivered_total") >= number
    });
    assert_eq!(metric(service, "mrosync_notify_delivered_total"), number);
}

fn setup(ftp: &ScriptedServer, notify: &NotifyStub) -> Setup {
    one(ftp).notify(&notify.url()).toml("[web]\nlisten = '127.0.0.1:0'\n")
}

/// interface 18.6, 19.4, 20.17
#[test]
fn deliveries_are_counted_through_requeue_forget_and_restarts() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..5 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
    }
    let mut service = run(setup(&ftp, &notify));
    recorded(&service, 5);
    delivered(&service, 5);
    let waits = |service: &Service| {
        service.server_status("omc01")["lateness"]["local_to_announced"]["files"].as_u64().unwrap()
    };
    assert_eq!(waits(&service), 5);
    notify.go_down();
    let requeue =
        |service: &Service| service.mrosync(&["records", "requeue"], &["--path", "*.zip", "--confirm", "5"]);
    says(&requeue(&service), 0, "5 changed");
    delivered(&service, 5);
    assert_eq!(service.status()["notify"]["delivered"], 5);
    notify.come_back();
    delivered(&service, 10);
    assert_eq!(waits(&service), 5, "what is announced again is not late");
    service.restart();
    ready(&service);
    delivered(&service, 10);
    assert_eq!(service.status()["notify"]["delivered"], 0, "of this process");
    says(&requeue(&service), 0, "5 changed");
    service.restart();
    ready(&service);
    delivered(&service, 15);
    assert_eq!(waits(&service), 0, "those of an earlier process neither");
    std::fs::remove_file(service.root().join("omc01/0.zip")).unwrap();
    let forget = service.mrosync(&["records", "forget"], &["--path", "0.zip", "--confirm", "1"]);
    says(&forget, 0, "1 changed");
    service.wait_for(SOON, "it is fetched and announced again", |service| {
        metric(service, "mrosync_notify_delivered_total") == 16
    });
    service.restart();
    ready(&service);
    delivered(&service, 16);
}

/// interface 20.17
#[test]
fn evictions_are_counted_though_their_records_are_forgotten() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..4 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 10_000)));
    }
    let mut service = run(setup(&ftp, &notify).toml("[quota]\nmax_bytes = '25kB'"));
    recorded(&service, 4);
    let evicted = |service: &Service| metric(service, "mrosync_evicted_files_total");
    service.wait_for(SOON, "two are gone", |service| evicted(service) == 2);
    service.command("stop");
    let forget = service.mrosync(&["records", "forget"], &["--evicted", "--confirm", "2"]);
    says(&forget, 0, "2 changed");
    assert_eq!(evicted(&service), 2);
    assert_eq!(service.status()["disk"]["evicted_files"], 2);
}
