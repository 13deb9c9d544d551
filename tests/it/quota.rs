//! The disk guard: what goes, in which order, what never goes, and what happens when nothing is left that could.

use std::fs;
use std::time::Duration;

use crate::support::disk::SmallDisk;
use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, count_logged, names, one, ready, run, scanned, scans};
use crate::support::zips::zip;

const MIB: usize = 1 << 20;

fn max_bytes(ftp: &ScriptedServer, notify: &NotifyStub, bytes: u64) -> Setup {
    one(ftp).notify(&notify.url()).toml(&format!("[quota]\nmax_bytes = '{bytes}B'"))
}

/// Puts a file on the server and waits until it is recorded, so that the order of downloads is known.
#[track_caller]
fn download(ftp: &ScriptedServer, service: &Service, path: &str, file: File) {
    let before = service.records().len();
    ftp.put(path, file);
    service.wait_for(SOON, path, |service| service.records().len() == before + 1);
}

/// Waits until everything that was downloaded is announced.
#[track_caller]
fn announced(service: &Service) {
    service.wait_for(SOON, "all is announced", |service| {
        service.records().iter().all(|record| !record["notified_at"].is_null())
    });
}

/// The paths of the records that are marked evicted, oldest download first.
fn evicted(service: &Service) -> Vec<String> {
    let gone = service.records().into_iter().filter(|record| !record["evicted_at"].is_null());
    gone.map(|record| record["path"].as_str().unwrap().to_owned()).collect()
}

/// interface 12.1
#[test]
fn the_zip_downloaded_longest_ago_goes_first_whatever_its_name_and_time() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(max_bytes(&ftp, &notify, 45_000));
    // the youngest by the server's clock and the last by name is downloaded first
    for (n, path) in ["/z.zip", "/m.zip", "/a.zip", "/b.zip"].into_iter().enumerate() {
        download(&ftp, &service, path, File::new(zip(1, 10_000)).modified(1_790_000_000 - n as i64 * 86_400));
    }
    announced(&service);
    assert!(evicted(&service).is_empty(), "all four fit");
    download(&ftp, &service, "/c.zip", File::new(zip(5, 10_000)));
    assert_eq!(evicted(&service), ["/z.zip"]);
    download(&ftp, &service, "/d.zip", File::new(zip(6, 20_000)));
    announced(&service);
    assert_eq!(evicted(&service), ["/z.zip", "/m.zip", "/a.zip"]);
    assert_eq!(names(&service), ["omc01/b.zip", "omc01/c.zip", "omc01/d.zip"]);
    let disk = &service.status()["disk"];
    assert_eq!(disk["evicted_files"], 3);
    assert!(disk["mirror_bytes"].as_u64().unwrap() <= 45_000, "{disk}");
}

/// interface 10.5
#[test]
fn an_evicted_file_is_never_fetched_again_not_even_after_a_restart() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(max_bytes(&ftp, &notify, 25_000));
    for n in 0..4 {
        download(&ftp, &service, &format!("/{n}.zip"), File::new(zip(n, 10_000)));
    }
    service.wait_for(SOON, "two had to go", |service| evicted(service) == ["/0.zip", "/1.zip"]);
    scanned(&service, 2);
    service.restart();
    ready(&service);
    service.wait_for(SOON, "scans after the restart", |service| scans(service) > 2);
    assert_eq!(evicted(&service), ["/0.zip", "/1.zip"]);
    assert_eq!(names(&service), ["omc01/2.zip", "omc01/3.zip"]);
    assert_eq!((0..4).map(|n| ftp.retrs(format!("/{n}.zip"))).collect::<Vec<_>>(), [1; 4]);
}

/// interface 12.2
#[test]
fn announced_zips_go_before_an_older_one_that_is_not_announced() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = max_bytes(&ftp, &notify, 35_000).toml("[notify]\ntimeout = '300s'");
    let service = run(setup);
    notify.answer_next([Answer::Hang]);
    for path in ["/unannounced.zip", "/b.zip", "/c.zip"] {
        download(&ftp, &service, path, File::new(zip(1, 10_000)));
        notify.wait_for(SOON, path, |calls| calls.iter().any(|call| call.file().unwrap().ends_with(path)));
    }
    let announced = |service: &Service| {
        service.records().iter().filter(|record| !record["notified_at"].is_null()).count()
    };
    service.wait_for(SOON, "two are announced", |service| announced(service) == 2);
    download(&ftp, &service, "/d.zip", File::new(zip(4, 10_000)));
    assert_eq!(evicted(&service), ["/b.zip"]);
    service.wait_for(SOON, "the fourth is announced", |service| announced(service) == 3);
    // no announced one is left that would be enough
    download(&ftp, &service, "/e.zip", File::new(zip(5, 30_000)));
    assert_eq!(evicted(&service), ["/unannounced.zip", "/b.zip", "/c.zip", "/d.zip"]);
}

/// interface 5.2
#[test]
fn partial_files_of_an_earlier_run_count_for_max_bytes() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(max_bytes(&ftp, &notify, 100_000));
    download(&ftp, &service, "/a.zip", File::new(zip(1, 30_000)));
    announced(&service);
    ftp.rule(Rule::on("RETR").about("/b.zip").stall(50_000));
    ftp.put("/b.zip", File::new(zip(2, 60_000)));
    service.wait_for(SOON, "half of it", |service| service.partial().values().any(|size| *size == 50_000));
    service.kill();
    ftp.edit(|tree| {
        tree.remove("/b.zip");
        tree.put("/c.zip", File::new(zip(3, 30_000)));
    });
    service.restart();
    ready(&service);
    service.wait_for(SOON, "the next file", |service| service.records().len() == 2);
    // 30, 50 of the partial file and 30 do not fit in 100, and nobody works on the partial file
    assert!(evicted(&service).is_empty() && service.partial().is_empty());
}

#[test]
fn room_for_downloads_under_way_is_not_given_away_twice() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..8 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 40_000)));
    }
    ftp.rule(Rule::on("RETR").stall(10_000));
    let service = run(max_bytes(&ftp, &notify, 100_000));
    ftp.wait_for(SOON, "two are under way", |journal| {
        journal.retrs.iter().filter(|r| r.sent > 0).count() == 2
    });
    // the other two connections ask for room meanwhile, every 100 ms
    let asking = std::time::Instant::now();
    service.wait_for(SOON, "the others had time to ask", |_| asking.elapsed() > Duration::from_millis(500));
    assert_eq!(ftp.journal(|journal| journal.retrs.len()), 2, "80 of 100 are promised");
    ftp.behave();
    ftp.release();
    service.wait_for(SOON, "all have been here", |service| service.records().len() == 8);
    assert!(service.mirrored().values().sum::<u64>() <= 100_000);
}

/// interface 12.3
#[test]
fn a_file_deleted_by_hand_counts_as_evicted_and_is_not_fetched_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(one(&ftp).notify(&notify.url()));
    for n in 0..2 {
        ftp.put(format!("/d/{n}.zip"), File::new(zip(n, 3000)));
    }
    service.wait_for(SOON, "both", |service| service.records().len() == 2);
    announced(&service);
    fs::remove_file(service.root().join("omc01/d/0.zip")).unwrap();
    service.wait_for(SOON, "the deletion is noticed", |service| evicted(service) == ["/d/0.zip"]);
    let size = zip(1, 3000).len();
    service.wait_for(SOON, "it is not counted any more", |service| {
        service.status()["disk"]["mirror_bytes"].as_u64() == Some(size as u64)
    });
    // its whole directory by hand, and while nobody looks
    assert!(service.command("stop").starts_with("ok"));
    fs::remove_dir_all(service.root().join("omc01/d")).unwrap();
    service.command("start");
    service.wait_for(SOON, "that too", |service| evicted(service).len() == 2);
    scanned(&service, 2);
    assert_eq!((ftp.retrs("/d/0.zip"), ftp.retrs("/d/1.zip")), (1, 1));
    assert!(names(&service).is_empty());
}

#[test]
fn evictions_whose_marking_broke_are_marked_later_and_are_nobody_elses_deletions() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(max_bytes(&ftp, &notify, 900_000).env("MROSYNC_FAULT", "mark=panic*1"));
    (0..100).for_each(|n| ftp.put(format!("/{n:03}.zip"), File::new(zip(n, 8000))));
    service.wait_for(SOON, "all are there", |service| service.records().len() == 100);
    announced(&service);
    // most of them go at once for this one
    ftp.put("/large.zip", File::new(zip(999, 800_000)));
    service.wait_for(SOON, "the large one", |service| service.mirrored().contains_key("omc01/large.zip"));
    assert!(count_logged(&service, "a fault on purpose at mark") > 0);
    service.wait_for(SOON, "all that is gone is marked", |service| {
        evicted(service).len() + service.mirrored().len() == service.records().len()
    });
    scanned(&service, 3);
    assert!(evicted(&service).len() >= 80, "{:?}", evicted(&service));
    assert_eq!(service.status()["mirror"]["holds"], serde_json::json!([]));
    assert_eq!(count_logged(&service, "deleted by hand"), 0);
}

#[test]
fn a_service_that_is_killed_amid_evictions_goes_on_with_the_next_start() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(max_bytes(&ftp, &notify, 900_000).env("MROSYNC_FAULT", "mark=block"));
    (0..100).for_each(|n| ftp.put(format!("/{n:03}.zip"), File::new(zip(n, 8000))));
    service.wait_for(SOON, "all are there", |service| service.records().len() == 100);
    announced(&service);
    ftp.put("/large.zip", File::new(zip(999, 800_000)));
    let deleted = |line: &str| line.contains("evicted to keep the disk below its limit");
    service.wait_line(Stream::Stderr, SOON, "some are deleted, and are to be marked", deleted);
    service.forget_env("MROSYNC_FAULT");
    service.restart();
    ready(&service);
    service.wait_for(SOON, "the large one", |service| service.mirrored().contains_key("omc01/large.zip"));
    assert_eq!(service.status()["mirror"]["holds"], serde_json::json!([]));
}

#[test]
fn a_new_content_is_not_deleted_for_the_record_of_the_earlier_one() {
    let (ftp, other, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    let setup = max_bytes(&ftp, &notify, 40_000).env("MROSYNC_STAYS_MS", "0");
    let setup = setup.server(Server::scripted("omc02", &other));
    let service = run(setup.env("MROSYNC_FAULT", "record:omc01=pass*1,record:omc01=hang*1"));
    download(&ftp, &service, "/a.zip", File::new(vec![7; 5000]));
    announced(&service);
    // it has its name, and its record is still to come
    let new = zip(1, 20_000);
    ftp.put("/a.zip", File::new(new.clone()).modified(1_800_000_000));
    let size = new.len() as u64;
    service.wait_for(SOON, "the new content", |service| service.mirrored().get("omc01/a.zip") == Some(&size));
    // for which the earlier content would have to go
    other.put("/b.zip", File::new(zip(2, 17_000)));
    let waits = |service: &Service| service.server_status("omc02")["pending_files"] == 1;
    service.wait_for(SOON, "room is asked for", waits);
    let asked = std::time::Instant::now();
    while asked.elapsed() < Duration::from_millis(700) {
        assert_eq!(service.mirrored().get("omc01/a.zip"), Some(&size));
        std::thread::yield_now();
    }
}

#[test]
fn a_file_larger_than_everything_evicts_nothing_and_hinders_nobody() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(max_bytes(&ftp, &notify, 35_000));
    download(&ftp, &service, "/a.zip", File::new(zip(1, 10_000)));
    download(&ftp, &service, "/b.zip", File::new(zip(2, 10_000)));
    ftp.put("/huge.zip", File::new(zip(3, 50_000)));
    scanned(&service, 3);
    assert!(evicted(&service).is_empty());
    assert_eq!(ftp.retrs("/huge.zip"), 0, "not a byte of it is fetched");
    assert!(count_logged(&service, "huge.zip") > 0, "the log says so");
    download(&ftp, &service, "/z.zip", File::new(zip(4, 10_000)));
    assert_eq!(names(&service), ["omc01/a.zip", "omc01/b.zip", "omc01/z.zip"]);
}

/// interface 12.1
#[test]
fn above_max_used_percent_the_oldest_goes_before_the_next_is_fetched() {
    let Some(disk) = SmallDisk::tmpfs(8) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = one(&ftp).notify(&notify.url()).toml("[quota]\nmax_used_percent = 50");
    let service = run(disk.holds_root(setup));
    for path in ["/d.zip", "/c.zip", "/b.zip", "/a.zip"] {
        download(&ftp, &service, path, File::new(zip(1, 900_000)));
    }
    announced(&service);
    assert!(evicted(&service).is_empty(), "all four fit");
    ftp.rule(Rule::on("RETR").about("/new.zip").hang());
    ftp.put("/new.zip", File::new(zip(5, 900_000)));
    ftp.wait_for(SOON, "it is asked for", |journal| {
        journal.commands.iter().any(|command| command.line() == "RETR /new.zip")
    });
    assert_eq!(names(&service), ["omc01/a.zip", "omc01/b.zip", "omc01/c.zip"], "its room is made before");
    ftp.release();
    service.wait_for(SOON, "it is here", |service| service.records().len() == 5);
    assert_eq!(evicted(&service), ["/d.zip"]);
    // others take some: the next scan makes up for it
    let theirs = disk.foreign("theirs", MIB);
    service.wait_for(SOON, "more must go", |service| evicted(service).len() == 2);
    scanned(&service, 2);
    assert_eq!(evicted(&service), ["/d.zip", "/c.zip"]);
    let status = service.status();
    assert!(status["disk"]["used_percent"].as_f64().unwrap() <= 50.0, "{status}");
    assert_eq!(status["disk"]["held"], false);
    assert_eq!(fs::read(theirs).unwrap().len(), MIB);
}

/// interface 12.7
#[test]
fn data_of_others_above_the_limit_holds_downloads_until_it_is_gone() {
    let Some(disk) = SmallDisk::tmpfs(8) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = one(&ftp).notify(&notify.url()).toml("[quota]\nmax_used_percent = 60");
    let service = run(disk.holds_root(setup));
    download(&ftp, &service, "/ours.zip", File::new(zip(1, 500_000)));
    let foreign = disk.foreign("omc01/theirs.zip", 5 * MIB);
    let log = disk.foreign("var/log", MIB);
    service.wait_for(SOON, "downloads are held", |service| service.status()["disk"]["held"] == true);
    assert_eq!(evicted(&service), ["/ours.zip"], "what is ours goes first");
    ftp.put("/new/1.zip", File::new(zip(2, 500_000)));
    ftp.make_directory("/empty");
    scanned(&service, 4);
    assert!(service.root().join("omc01/empty").is_dir(), "scanning goes on");
    assert_eq!((ftp.retrs("/new/1.zip"), ftp.count("RETR")), (0, 1), "nothing is fetched to be thrown away");
    // a scan that has just begun has not come to it yet
    service.wait_for(SOON, "it waits", |service| service.server_status("omc01")["pending_files"] == 1);
    assert_eq!(count_logged(&service, "downloads are held"), 1, "said once");
    assert!(foreign.is_file() && log.is_file(), "nothing of others goes");
    fs::remove_file(foreign).unwrap();
    service.wait_for(SOON, "they resume", |service| service.records().len() == 2);
    assert_eq!(service.status()["disk"]["held"], false);
    assert_eq!(count_logged(&service, "downloads go on"), 1);
    assert_eq!(
        (names(&service), ftp.retrs("/ours.zip")),
        (vec!["omc01/new/1.zip".into(), "var/log".into()], 1)
    );
}

#[test]
fn a_disk_without_a_free_byte_loses_nothing_and_recovers() {
    let Some(disk) = SmallDisk::tmpfs(8) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(disk.holds_root(one(&ftp).notify(&notify.url())));
    download(&ftp, &service, "/small.zip", File::new(zip(1, 3000)));
    let big = zip(2, 3 * MIB);
    ftp.rule(Rule::on("RETR").about("/big.zip").stall(MIB as u64).once());
    ftp.put("/big.zip", File::new(big.clone()));
    service.wait_for(SOON, "a part of it", |service| service.partial().values().any(|s| *s == MIB as u64));
    let filler = disk.fill();
    ftp.release();
    ftp.put("/dir/later.zip", File::new(zip(3, 300_000)));
    scanned(&service, 3);
    assert!(!service.mirrored().contains_key("omc01/big.zip"));
    // what came of it makes room for the smaller one, once nobody works on it
    assert!(service.records().len() <= 2);
    assert_eq!(service.status()["running"], true);
    fs::remove_file(filler).unwrap();
    service.wait_for(SOON, "both are here", |service| service.records().len() == 3);
    assert!(fs::read(service.root().join("omc01/big.zip")).unwrap() == big, "it is whole");
    assert!(fs::read(service.root().join("omc01/dir/later.zip")).unwrap() == zip(3, 300_000));
    assert!(evicted(&service).is_empty());
    notify.wait_for(SOON, "all are announced", |calls| calls.len() == 3);
    service.wait_for(SOON, "nothing is left over", |service| service.partial().is_empty());
}
