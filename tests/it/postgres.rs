//! Records in PostgreSQL: all that holds with the SQLite file, and what becomes of it while the database is away.

use std::time::{Duration, Instant};

use crate::support::notify::NotifyStub;
use crate::support::postgres::{Database, PASSWORD, Way};
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::wait::{eventually, output_within};
use crate::support::zips::zip;

/// For what takes a moment: the machine may be slow, and everything else runs beside it.
const SOON: Duration = Duration::from_secs(30);

fn setup(url: &str, ftp: &ScriptedServer, notify: &NotifyStub) -> Setup {
    Setup::in_postgres(url).server(Server::scripted("omc01", ftp)).notify(&notify.url())
}

fn ready(service: &Service) {
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
}

fn run(setup: Setup) -> Service {
    let service = setup.started().run();
    ready(&service);
    service
}

/// Waits until so many files are recorded and announced.
#[track_caller]
fn announced(service: &Service, count: usize) {
    service.wait_for(SOON, "all is announced", |service| {
        let records = service.records();
        records.len() == count && records.iter().all(|record| !record["notified_at"].is_null())
    });
}

fn scans(service: &Service) -> u64 {
    service.server_status("omc01")["scans"].as_u64().unwrap_or(0)
}

#[track_caller]
fn scanned(service: &Service, more: u64) {
    let before = scans(service);
    service.wait_for(SOON, "further scans", |service| scans(service) >= before + more);
}

fn said(service: &Service, words: &str) -> usize {
    service.lines(Stream::Stderr).iter().filter(|line| line.contains(words)).count()
}

fn put(ftp: &ScriptedServer, path: &str, seed: u64) {
    ftp.put(path, File::new(zip(seed, 2000)));
}

/// interface 21.1, 21.4
#[test]
fn files_are_fetched_recorded_and_announced_once_over_a_restart_and_a_kill() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..20 {
        put(&ftp, &format!("/{}/{n}.zip", n % 3), n);
    }
    let mut service = run(setup(&database.pooled(), &ftp, &notify));
    announced(&service, 20);
    assert_eq!(service.terminate(SOON).code(), Some(0));
    service.restart();
    ready(&service);
    put(&ftp, "/0/new.zip", 77);
    announced(&service, 21);
    // nobody waits for the one that died
    let killed = Instant::now();
    service.restart();
    ready(&service);
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    scanned(&service, 2);
    assert_eq!((service.mirrored().len(), notify.calls().len()), (21, 21));
    assert!((0..20).all(|n| ftp.retrs(format!("/{}/{n}.zip", n % 3)) == 1));
    assert_eq!(database.ask("SELECT present_files FROM mrosync.sums").as_deref(), Some("21"));
}

/// interface 21.1
#[test]
fn the_oldest_files_make_room_and_are_not_fetched_again() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let quota = format!("[quota]\nmax_bytes = '{}B'", 40 * 1024);
    let service = run(setup(&database.pooled(), &ftp, &notify).toml(&quota));
    for n in 0..8 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 10_000)));
        service.wait_for(SOON, "it is recorded", |service| service.records().len() as u64 == n + 1);
    }
    let evicted =
        |service: &Service| service.records().iter().filter(|record| !record["evicted_at"].is_null()).count();
    service.wait_for(SOON, "room is made", |service| evicted(service) >= 4);
    scanned(&service, 2);
    let records = service.records();
    let first_present = records.iter().position(|record| record["evicted_at"].is_null()).unwrap();
    assert_eq!(first_present, evicted(&service), "the oldest first");
    assert_eq!(service.mirrored().len(), records.len() - first_present);
    assert!((0..8).all(|n| ftp.retrs(format!("/{n}.zip")) == 1));
}

/// interface 21.5
#[test]
fn while_the_database_is_away_nothing_is_fetched_or_announced_and_then_all_goes_on_by_itself() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let proxy = database.proxy();
    put(&ftp, "/before.zip", 1);
    let service = run(setup(&database.at(proxy.port()), &ftp, &notify));
    announced(&service, 1);
    proxy.set(Way::Cut);
    put(&ftp, "/meanwhile.zip", 2);
    service.wait_line(Stream::Stderr, SOON, "it says so", |line| {
        line.contains("ERROR") && line.contains("until then nothing is fetched") && line.contains("127.0.0.1")
    });
    let listings = ftp.listings("/");
    ftp.wait_for(SOON, "it goes on looking", |journal| journal.listings_of("/") > listings + 3);
    assert_eq!((ftp.retrs("/meanwhile.zip"), notify.calls().len()), (0, 1));
    assert_eq!(said(&service, "until then nothing is fetched"), 1, "{:?}", service.lines(Stream::Stderr));
    proxy.set(Way::Open);
    announced(&service, 2);
    assert_eq!((ftp.retrs("/meanwhile.zip"), notify.calls().len()), (1, 2));
    assert_eq!(said(&service, "the records work again"), 1);
}

/// interface 21.6
#[test]
fn an_answer_that_is_lost_after_the_commit_costs_no_second_fetch_or_call() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let proxy = database.proxy();
    let service = run(setup(&database.at(proxy.port()), &ftp, &notify));
    // not by the program, whose way is the one that is cut
    let told = |count: u64| {
        let all = format!("SELECT count(*) = {count} FROM mrosync.files WHERE notified_at IS NOT NULL");
        service.wait_for(SOON, "all is announced", |_| database.ask(&all).as_deref() == Some("t"));
    };
    for n in 0..4 {
        if n > 0 {
            proxy.set(Way::LoseCommit);
        }
        put(&ftp, &format!("/{n}.zip"), n);
        told(n + 1);
    }
    // the repetition too, where it comes soon enough
    assert!(proxy.lost_commits() >= 3);
    scanned(&service, 2);
    assert!((0..4).all(|n| ftp.retrs(format!("/{n}.zip")) == 1));
    assert_eq!(database.ask("SELECT count(*) FROM mrosync.records").as_deref(), Some("4"));
    let mut files = notify.files();
    files.sort();
    // a call whose outcome could not be kept at once may be made again, as after a crash; none is missing
    files.dedup();
    assert_eq!(files.len(), 4);
}

/// interface 21.5
#[test]
fn a_database_that_is_silent_is_given_up_after_a_while_and_the_service_answers_meanwhile() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let proxy = database.proxy();
    let service = run(setup(&database.at(proxy.port()), &ftp, &notify));
    put(&ftp, "/0.zip", 1);
    announced(&service, 1);
    proxy.set(Way::Silent);
    put(&ftp, "/1.zip", 2);
    let begun = Instant::now();
    assert_eq!(service.status()["running"], true);
    assert!(begun.elapsed() < Duration::from_secs(10));
    service.wait_line(Stream::Stderr, SOON * 2, "it says so", |line| line.contains("no answer within"));
    proxy.set(Way::Open);
    announced(&service, 2);
}

/// interface 21.5
#[test]
fn a_service_that_begins_without_its_database_waits_for_it_and_says_so_once() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let proxy = database.proxy();
    proxy.set(Way::Cut);
    put(&ftp, "/a.zip", 1);
    let mut service = setup(&database.at(proxy.port()), &ftp, &notify).started().run();
    service.wait_line(Stream::Stderr, SOON, "it waits", |line| {
        line.contains("cannot be reached") && line.contains("the service begins once it answers")
    });
    let refused = proxy.refused();
    eventually(SOON, "it tries again", || proxy.refused() >= refused + 3);
    assert_eq!(said(&service, "the service begins once"), 1);
    assert!(service.is_running());
    proxy.set(Way::Open);
    ready(&service);
    announced(&service, 1);
    // a signal is heard while it waits
    proxy.set(Way::Cut);
    service.restart();
    service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("the service begins once"));
    assert_eq!(service.terminate(Duration::from_secs(10)).code(), Some(0));
}

/// interface 21.7
#[test]
fn a_second_service_with_the_same_records_ends_with_status_2() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let _first = run(setup(&database.pooled(), &ftp, &notify));
    let mut second = setup(&database.direct(), &ftp, &notify).started().run();
    assert_eq!(second.wait_exit(SOON).code(), Some(2));
    assert_eq!(said(&second, "is in use by another running service"), 1);
    assert_eq!(said(&second, PASSWORD), 0);
}

/// interface 21.1
#[test]
fn records_are_changed_beside_the_service_and_without_it() {
    let Some(database) = Database::new() else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, "/a.zip", 1);
    put(&ftp, "/b.zip", 2);
    let mut service = run(setup(&database.pooled(), &ftp, &notify));
    announced(&service, 2);
    let requeue = |service: &Service| {
        service.mrosync(&["records", "requeue"], &["--path", "/a.zip", "--confirm", "1"]).status.code()
    };
    assert_eq!(requeue(&service), Some(0));
    notify.wait_for(SOON, "one more call", |calls| calls.len() == 3);
    assert_eq!(service.terminate(SOON).code(), Some(0));
    assert_eq!(requeue(&service), Some(0));
    assert_eq!(service.records().len(), 2);
    service.restart();
    notify.wait_for(SOON, "one more call", |calls| calls.len() == 4);
}

/// interface 21.3, 21.8
#[test]
fn check_examines_the_database_and_says_what_it_is() {
    let Some(database) = Database::new() else { return };
    let ftp = ScriptedServer::start();
    let check = |url: &str, more: &str| {
        let setup = Setup::in_postgres(url).server(Server::scripted("omc01", &ftp)).toml(more);
        let output = output_within(SOON, &mut setup.command(&["check"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains(PASSWORD), "{text}");
        text.lines().find(|line| line.contains("records: ")).map(str::to_owned).unwrap_or(text)
    };
    let line = check(&database.direct(), "");
    assert!(
        line.starts_with("ok ") && line.contains("PostgreSQL 1") && line.contains("holds no records yet"),
        "{line}"
    );
    let encrypted = format!("{}?sslmode=verify-full", database.direct());
    let trust = format!("[records]\ntls_ca_file = '{}'\n", database.trust().display());
    let line = check(&encrypted, &trust);
    assert!(line.starts_with("ok ") && line.contains("with TLS"), "{line}");
    // nobody of the system's roots has signed it
    let line = check(&encrypted, "");
    assert!(line.starts_with("failed ") && line.contains("certificate"), "{line}");
    let line = check("postgres://mrosync@127.0.0.1:1/x", "");
    assert!(line.starts_with("failed ") && line.contains("127.0.0.1:1: Connection refused"), "{line}");
    assert_eq!(
        database.ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'mrosync'").as_deref(),
        Some("0")
    );
}
