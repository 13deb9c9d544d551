//! Disks that fill up, to the last byte and from the beginning, and databases that are taken away or spoilt while the
//! service runs: nothing is lost, the log says so once, and what can go on by itself does.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::records::with_many_records;
use crate::support::disk::SmallDisk;
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Service, Setup, Stream};
use crate::support::steps::{SOON, count_logged, one, ready, scanned};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

const MIB: u64 = 16;

fn records_on(setup: Setup, directory: &Path) -> Setup {
    setup.toml(&format!("[records]\npath = '{}'", directory.join("db/records.db").display()))
}

fn log_on(setup: Setup, directory: &Path) -> Setup {
    setup.toml(&format!("[log]\nfile = '{}'", directory.join("log/mrosync.log").display()))
}

fn put(ftp: &ScriptedServer, numbers: std::ops::Range<u64>) {
    ftp.edit(|tree| {
        numbers.for_each(|n| tree.put(format!("/d{}/{n}.zip", n % 3), File::new(zip(n, 50_000))))
    });
}

/// Waits until all `count` files are recorded, and announced or evicted, and checks that each is whole.
#[track_caller]
fn all_is_well(service: &Service, count: usize) {
    service.wait_for(SOON, "all are recorded and announced", |service| {
        let records = service.records();
        let done = |key: &str, record: &Value| !record[key].is_null();
        records.len() == count && records.iter().all(|it| done("notified_at", it) || done("evicted_at", it))
    });
    service.wait_for(SOON, "nothing is left over", |service| service.partial().is_empty());
    service.wait_for(SOON, "no fault is left", |service| {
        let status = service.server_status("omc01");
        status["last_error"].is_null() && status["pending_files"] == 0
    });
    for record in service.records() {
        let path = record["path"].as_str().unwrap().to_owned();
        let n: u64 = path.rsplit_once('/').unwrap().1.trim_end_matches(".zip").parse().unwrap();
        let local = fs::read(service.root().join(format!("omc01{path}"))).ok();
        assert!(local.is_none_or(|local| local == zip(n, 50_000)), "{path} is torn");
        assert_eq!(service.mirrored().contains_key(&format!("omc01{path}")), record["evicted_at"].is_null());
    }
}

#[test]
fn a_disk_of_the_records_that_turns_read_only_is_named_while_running_and_at_the_start() {
    let Some(disk) = SmallDisk::ext4(MIB) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..2);
    let mut service = records_on(one(&ftp).notify(&notify.url()), disk.path()).started().run();
    ready(&service);
    all_is_well(&service, 2);
    // what ext4 does by itself when it meets an error
    if !disk.remount("abort") {
        return;
    }
    put(&ftp, 2..5);
    service.wait_line(Stream::Stderr, SOON, "it is told", |line| {
        line.contains("ERROR") && line.contains("records.db") && line.contains("read-only")
    });
    service.wait_for(SOON, "they are stored", |service| service.mirrored().len() == 5);
    scanned(&service, 3);
    assert_eq!(count_logged(&service, "ERROR"), 1);
    assert_eq!(service.server_status("omc01")["pending_files"], 3);
    service.restart();
    assert_eq!(service.wait_exit(SOON).code(), Some(1));
    service.wait_line(Stream::Stderr, SOON, "why it does not start", |line| {
        line.contains("records.db") && line.to_lowercase().contains("read-only")
    });
    disk.mount_again();
    service.restart();
    ready(&service);
    all_is_well(&service, 5);
    assert_eq!((ftp.count("RETR"), notify.calls().len()), (5, 5));
}

#[test]
fn while_the_disk_of_the_records_is_full_files_are_kept_and_recorded_once_there_is_room() {
    for disk in SmallDisk::all(MIB) {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 0..2);
        let mut service = records_on(one(&ftp).notify(&notify.url()), disk.path()).started().run();
        ready(&service);
        all_is_well(&service, 2);
        let filler = disk.fill();
        put(&ftp, 2..6);
        service.wait_for(SOON, "they are stored", |service| service.mirrored().len() == 6);
        service.wait_for(SOON, "it is told", |service| count_logged(service, "ERROR") > 0);
        scanned(&service, 4);
        assert_eq!((service.records().len(), service.partial().len()), (2, 4));
        let status = service.server_status("omc01");
        assert!(status["last_error"].as_str().is_some_and(|error| error.contains("records.db")), "{status}");
        // a scan that has just begun shows none yet
        let all_wait = |service: &Service| service.server_status("omc01")["pending_files"] == 4;
        service.wait_for(SOON, "they all wait", all_wait);
        assert_eq!(
            (count_logged(&service, "ERROR"), count_logged(&service, "goes on by itself once there is room")),
            (1, 1)
        );
        // nor does it matter if it ends meanwhile
        service.restart();
        ready(&service);
        scanned(&service, 2);
        assert_eq!(service.records().len(), 2);
        fs::remove_file(filler).unwrap();
        all_is_well(&service, 6);
        assert_eq!(count_logged(&service, "the records work again"), 1);
        assert_eq!(
            (ftp.count("RETR"), notify.calls().len()),
            (6, 6),
            "nothing was fetched or called for twice"
        );
    }
}

#[test]
fn a_first_start_without_a_free_byte_for_the_records_waits_for_room() {
    for disk in SmallDisk::all(MIB) {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 0..2);
        let filler = disk.fill();
        let mut service = records_on(one(&ftp).notify(&notify.url()), disk.path()).started().run();
        let waits = |service: &Service| {
            let words = "; the service begins once there is room";
            service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains(words));
        };
        waits(&service);
        assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
        service.restart();
        waits(&service);
        // it looks once a second
        try_obtain(Duration::from_secs(3), || None::<()>);
        assert_eq!(ftp.connections(), 0, "nothing is scanned without records");
        fs::remove_file(filler).unwrap();
        ready(&service);
        all_is_well(&service, 2);
        assert_eq!(count_logged(&service, "begins once there is room"), 1, "said once");
    }
}

#[test]
fn a_log_without_a_free_byte_stops_nothing_and_tells_later_how_much_is_lost() {
    for disk in SmallDisk::all(MIB) {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 0..2);
        let filler = disk.fill();
        let service = log_on(one(&ftp).notify(&notify.url()), disk.path()).started().run();
        ready(&service);
        all_is_well(&service, 2);
        assert_eq!(count_logged(&service, "cannot be written ("), 1, "said once, where it can be read");
        fs::remove_file(filler).unwrap();
        put(&ftp, 2..4);
        all_is_well(&service, 4);
        let log = fs::read_to_string(disk.path().join("log/mrosync.log")).unwrap();
        assert!(log.contains("line(s) of the log could not be written and are lost"), "{log}");
        assert!(log.lines().last().is_some_and(|line| line.contains("collector::")), "{log}");
    }
}

#[test]
fn mirror_records_and_log_on_one_full_disk_go_on_when_there_is_room() {
    for disk in SmallDisk::all(MIB) {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 0..3);
        let root = format!("[sync]\nroot = '{}'", disk.path().join("sync").display());
        let setup = log_on(records_on(one(&ftp).notify(&notify.url()), disk.path()), disk.path()).toml(&root);
        fs::remove_dir(setup.directory().join("sync")).unwrap();
        std::os::unix::fs::symlink(disk.path().join("sync"), setup.directory().join("sync")).unwrap();
        let filler = disk.fill();
        let mut service = setup.started().run();
        service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("once there is room"));
        fs::remove_file(filler).unwrap();
        ready(&service);
        all_is_well(&service, 3);
        // and while it runs, and is killed meanwhile
        let filler = disk.fill();
        put(&ftp, 3..8);
        scanned(&service, 3);
        service.restart();
        service.wait_for(SOON, "some time passes", |service| {
            count_logged(service, "No space left") + count_logged(service, "full") > 0
        });
        fs::remove_file(filler).unwrap();
        ready(&service);
        all_is_well(&service, 8);
    }
}

#[test]
fn a_database_that_is_taken_away_while_the_service_runs_is_named_and_nothing_is_fetched_without_it() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let mut service = one(&ftp).notify(&notify.url()).started().run();
    ready(&service);
    all_is_well(&service, 3);
    let (database, aside) = (service.database(), service.directory().join("aside.db"));
    fs::rename(&database, &aside).unwrap();
    put(&ftp, 3..5);
    service.wait_for(SOON, "the status shows it", |service| {
        let status = service.server_status("omc01");
        status["last_error"].as_str().is_some_and(|error| error.contains("deleted or replaced"))
    });
    scanned(&service, 3);
    assert_eq!((count_logged(&service, "ERROR"), ftp.count("RETR")), (1, 3));
    assert!(!database.is_file(), "no empty one takes its place");
    let copy = service.directory().join("records.db.rescued");
    assert!(count_logged(&service, &format!("all records were saved to {}", copy.display())) > 0);
    // put back, it goes on by itself
    fs::rename(&aside, &database).unwrap();
    all_is_well(&service, 5);
    // lost in a crash, it is not replaced by an empty one beside its log
    service.kill();
    fs::rename(&database, &aside).unwrap();
    service.restart();
    assert_eq!(service.wait_exit(SOON).code(), Some(1));
    service.wait_line(Stream::Stderr, SOON, "why", |line| {
        line.contains("write-ahead log") && line.contains("ERROR")
    });
    assert!(!database.is_file());
    fs::rename(&aside, &database).unwrap();
    service.restart();
    ready(&service);
    all_is_well(&service, 5);
    assert_eq!(ftp.count("RETR"), 5);
}

#[test]
fn a_database_that_is_spoilt_while_the_service_runs_is_named_and_nothing_is_fetched_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = with_many_records(one(&ftp).notify(&notify.url()), 20_000).started().run();
    ready(&service);
    scanned(&service, 1);
    let mut file = fs::OpenOptions::new().write(true).open(service.database()).unwrap();
    let length = file.metadata().unwrap().len();
    // all but the header and the schema
    file.seek(SeekFrom::Start(1 << 16)).unwrap();
    file.write_all(&vec![0xee; (length - (1 << 16)) as usize]).unwrap();
    for n in (1..20_000).step_by(500) {
        ftp.put(format!("/a/rather/long/directory/of/exports/{n:09}.zip"), File::new(zip(n, 1000)));
    }
    service.wait_for(SOON, "the status shows it", |service| {
        let status = service.server_status("omc01");
        status["last_error"].as_str().is_some_and(|error| error.contains("malformed"))
    });
    scanned(&service, 3);
    assert_eq!(count_logged(&service, "stop the service and restore a backup"), 1, "said once");
    assert_eq!((count_logged(&service, "ERROR"), ftp.count("RETR")), (1, 0));
    assert_eq!(service.status()["running"], true);
}
