//! The mirror that the records belong to: not mounted, another one, moved, restored, or emptied; and records that are new
//! beside a mirror. Nothing is concluded from what is missing until it is certain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service};
use crate::support::steps::{SOON, count_logged, one, ready, says};
use crate::support::wait::eventually;
use crate::support::zips::zip;

fn put(ftp: &ScriptedServer, numbers: std::ops::Range<u64>) {
    ftp.edit(|tree| numbers.for_each(|n| tree.put(format!("/d/{n}.zip"), File::new(zip(n, 1500)))));
}

fn count(service: &Service, key: &str) -> usize {
    service.records().iter().filter(|record| !record[key].is_null()).count()
}

/// Waits until so many files are on record and, unless the notify host is away, announced.
#[track_caller]
fn recorded(service: &Service, files: usize, announced: usize) {
    ready(service);
    service.wait_for(SOON, "all are recorded and announced", |service| {
        service.records().len() == files && count(service, "notified_at") == announced
    });
}

/// The kinds of what is held, with the server where it is about one.
fn holds(service: &Service) -> Vec<String> {
    let status = service.status();
    let holds = status["mirror"]["holds"].as_array().cloned().unwrap_or_default();
    let shown = |hold: &serde_json::Value| match hold["server"].as_str() {
        Some(server) => format!("{server} {}", hold["kind"].as_str().unwrap()),
        None => hold["kind"].as_str().unwrap().to_owned(),
    };
    holds.iter().map(shown).collect()
}

#[track_caller]
fn held(service: &Service, kinds: &[&str]) {
    ready(service);
    service.wait_for(SOON, &format!("{kinds:?} is held"), |service| holds(service) == kinds);
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// The root as it is where its disk is not mounted; answers where the disk is now.
fn unmount(root: &Path) -> PathBuf {
    let disk = root.with_extension("disk");
    fs::rename(root, &disk).unwrap();
    fs::create_dir(root).unwrap();
    disk
}

fn mount(disk: &Path, root: &Path) {
    fs::remove_dir(root).expect("nothing was made where the disk is missing");
    fs::rename(disk, root).unwrap();
}

/// interface 11.2, 11.9, 15.5, 18.2
#[test]
fn a_mirror_that_is_not_mounted_holds_everything_and_all_goes_on_once_it_is_back() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..5);
    notify.answer(Answer::Status(503));
    let mut service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 5, 0);
    service.kill();
    let disk = unmount(&service.root());
    let before = notify.calls().len();
    put(&ftp, 5..6);
    service.restart();
    ready(&service);
    held(&service, &["unmarked"]);
    assert!(service.command("start").starts_with("ok"));
    let check = service.mrosync(&["check"], &[]);
    says(&check, 1, "is not the mirror of the records, which say that 5 files lie there");
    let forget = service.mrosync(&["records", "forget"], &["--server", "omc01", "--dry-run"]);
    says(&forget, 1, "disk");
    let shown = service.mrosync(&["ctl"], &["status"]);
    says(&shown, 0, "HELD      ");
    assert_eq!(service.server_status("omc01")["state"], "waiting");
    assert_eq!((count_logged(&service, " ERROR "), count_logged(&service, "mirror adopt --dry-run")), (1, 1));
    assert_eq!((entries(&service.root()), count(&service, "evicted_at")), (0, 0));
    assert_eq!((notify.calls().len(), ftp.count("RETR")), (before, 5), "nothing is called or fetched");
    notify.answer(Answer::Status(200));
    mount(&disk, &service.root());
    recorded(&service, 6, 6);
    assert_eq!((count(&service, "evicted_at"), service.mirrored().len()), (0, 6));
    assert!(holds(&service).is_empty() && service.server_status("omc01")["last_error"].is_null());
    assert_eq!((count_logged(&service, " ERROR "), count_logged(&service, "everything goes on")), (1, 1));
    service.restart();
    ready(&service);
    assert!(holds(&service).is_empty());
    says(&service.mrosync(&["check"], &[]), 0, "is the right one");
}

/// interface 11.3
#[test]
fn a_mirror_that_vanishes_while_the_service_runs_is_noticed_and_nothing_is_made_in_its_place() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 3, 3);
    let disk = unmount(&service.root());
    held(&service, &["unmarked"]);
    put(&ftp, 3..5);
    let status = || service.server_status("omc01")["scans"].as_u64().unwrap();
    let scans = status();
    // twice what it waits between two looks
    let begun = std::time::Instant::now();
    eventually(SOON, "some time goes by", || begun.elapsed() > Duration::from_secs(4));
    assert!(status() <= scans + 1 && entries(&service.root()) == 0);
    assert_eq!((count(&service, "evicted_at"), ftp.count("RETR")), (0, 3));
    assert_eq!(count_logged(&service, " ERROR "), 1, "once, and not at each look");
    mount(&disk, &service.root());
    recorded(&service, 5, 5);
    assert_eq!(service.mirrored().len(), 5);
}

/// interface 11.3
#[test]
fn a_disk_that_is_unmounted_and_mounted_again_is_the_mirror_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let setup = one(&ftp).notify(&notify.url());
    let (root, disk) = (setup.directory().join("sync"), setup.directory().join("disk"));
    fs::create_dir(&disk).unwrap();
    let mount =
        || Command::new("mount").arg("--bind").arg(&disk).arg(&root).output().unwrap().status.success();
    let unmount = || assert!(Command::new("umount").arg("--lazy").arg(&root).status().unwrap().success());
    if !mount() {
        println!("left out: this process may not mount");
        return;
    }
    let mut service = setup.started().run();
    recorded(&service, 3, 3);
    unmount();
    held(&service, &["unmarked"]);
    put(&ftp, 3..4);
    assert_eq!((entries(&root), service.mirrored().len()), (0, 0));
    service.restart();
    held(&service, &["unmarked"]);
    assert!(mount());
    recorded(&service, 4, 4);
    assert_eq!((service.mirrored().len(), count(&service, "evicted_at")), (4, 0));
    service.kill();
    unmount();
}

/// interface 11.1, 11.2
#[test]
fn the_mirror_of_others_is_held_and_a_mirror_that_was_moved_asks_nothing() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let [mut one, other] = [0, 1].map(|_| self::one(&ftp).notify(&notify.url()).toml("").started().run());
    for service in [&one, &other] {
        recorded(service, 3, 3);
    }
    assert!(one.terminate(SOON).success());
    let moved = one.directory().join("moved");
    fs::rename(one.root(), &moved).unwrap();
    let copied = Command::new("cp").arg("-a").arg(other.root()).arg(one.root()).status();
    assert!(copied.unwrap().success());
    one.restart();
    held(&one, &["another"]);
    assert_eq!(count(&one, "evicted_at"), 0);
    one.configure(2, &format!("[sync]\nroot = '{}'", moved.display()));
    one.restart();
    put(&ftp, 3..4);
    recorded(&one, 4, 4);
    assert_eq!((holds(&one).len(), count_logged(&one, " ERROR ")), (0, 0));
    assert!(moved.join("omc01/d/3.zip").is_file());
}

/// interface 1.9, 11.10, 11.11, 11.13
#[test]
fn a_mirror_that_was_restored_is_adopted_by_its_number_beside_a_service_and_without_one() {
    for beside in [false, true] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 0..4);
        let mut service = one(&ftp).notify(&notify.url()).started().run();
        recorded(&service, 4, 4);
        service.kill();
        let disk = unmount(&service.root());
        let copied = Command::new("cp").arg("-a").arg(disk.join("omc01")).arg(service.root()).status();
        assert!(copied.unwrap().success());
        fs::remove_file(service.root().join("omc01/d/2.zip")).unwrap();
        if beside {
            service.restart();
            held(&service, &["unmarked"]);
        }
        let adopt = |service: &Service, arguments: &[&str]| service.mrosync(&["mirror", "adopt"], arguments);
        let dry = adopt(&service, &["--dry-run"]);
        says(&dry, 0, "3 of 4 files that the records call present are there");
        says(&dry, 0, "missing  omc01  /d/2.zip");
        says(&adopt(&service, &[]), 2, "pass --confirm 1");
        says(&adopt(&service, &["--confirm", "3"]), 2, "that is not the number, which is 1");
        assert_eq!(count(&service, "evicted_at"), 0);
        says(&adopt(&service, &["--confirm", "1"]), 0, "1 count as evicted, 0 as present again");
        assert_eq!(count(&service, "evicted_at"), 1, "at once, and not when the files are looked at next");
        if !beside {
            service.restart();
        }
        put(&ftp, 4..5);
        recorded(&service, 5, 5);
        assert_eq!((count(&service, "evicted_at"), holds(&service).len()), (1, 0));
        // one that was put back is found again
        fs::copy(disk.join("omc01/d/2.zip"), service.root().join("omc01/d/2.zip")).unwrap();
        service.wait_for(SOON, "it is present", |service| count(service, "evicted_at") == 0);
        assert_eq!(ftp.count("RETR"), 5);
    }
}

/// interface 11.6, 11.8
#[test]
fn a_few_files_deleted_by_hand_are_believed_and_most_of_them_are_not() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..30);
    notify.answer(Answer::Status(503));
    let mut service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 30, 0);
    assert!(service.command("stop").starts_with("ok"));
    let (home, aside) = (service.root().join("omc01/d"), service.directory().join("aside"));
    fs::create_dir(&aside).unwrap();
    let move_all = |numbers: std::ops::Range<u64>, from: &Path, to: &Path| {
        numbers.for_each(|n| {
            let name = format!("{n}.zip");
            fs::copy(from.join(&name), to.join(&name)).unwrap();
            fs::remove_file(from.join(&name)).unwrap();
        });
    };
    move_all(0..19, &home, &aside);
    service.command("start");
    service.wait_for(SOON, "they count as evicted", |service| count(service, "evicted_at") == 19);
    assert_eq!(service.status()["notify"]["cancelled"], 19);
    assert!(
        count_logged(&service, "19 files were deleted from the mirror before they could be announced") == 1
    );
    move_all(0..19, &aside, &home);
    service.wait_for(SOON, "they are back", |service| count(service, "evicted_at") == 0);
    assert!(service.command("stop").starts_with("ok"));
    move_all(0..25, &home, &aside);
    service.command("start");
    held(&service, &["gone"]);
    assert_eq!(count_logged(&service, "25 of 30 files are gone from"), 1);
    says(&service.mrosync(&["check"], &[]), 1, "25 of 30 files are gone from");
    assert_eq!(count(&service, "evicted_at"), 0);
    service.restart();
    held(&service, &["gone"]);
    move_all(0..25, &aside, &home);
    held(&service, &[]);
    assert!(service.command("stop").starts_with("ok"));
    move_all(0..25, &home, &aside);
    service.command("start");
    held(&service, &["gone"]);
    let before = notify.calls().len();
    put(&ftp, 30..31);
    says(&service.mrosync(&["mirror", "adopt"], &["--confirm", "25"]), 0, "25 count as evicted");
    notify.answer(Answer::Status(200));
    service.wait_for(SOON, "the others are announced", |service| count(service, "notified_at") == 6);
    assert!(notify.calls().len() > before && count(&service, "evicted_at") == 25);
    assert!(holds(&service).is_empty());
}

/// interface 11.7, 11.14
#[test]
fn a_large_mirror_is_judged_once_all_of_it_was_looked_at_and_held_until_then_where_a_sample_is_gone() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = one(&ftp).notify(&notify.url()).started();
    let home = setup.directory().join("sync/omc01/d");
    fs::create_dir_all(&home).unwrap();
    let path = |n: u64| home.join(format!("{n}.zip"));
    for n in 0..2500 {
        fs::write(path(n), b"PK").unwrap();
        let age = Duration::from_secs([2000, 1000, 0][usize::from(n >= 1100) + usize::from(n >= 2490)]);
        let file = fs::File::options().write(true).open(path(n)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    let mark = setup.command(&["records", "mark"]).args(["--local", "--confirm", "2500"]).output().unwrap();
    says(&mark, 0, "2500 changed");
    let mut service = setup.run();
    ready(&service);
    assert!(service.terminate(SOON).success());
    // all of the first thousand, over half of the sample, and less than half of all
    (0..1100).chain(2490..2500).for_each(|n| fs::remove_file(path(n)).unwrap());
    service.restart();
    service.wait_for(SOON, "they count as evicted", |service| {
        count_logged(service, "1110 files were deleted by hand") == 1
    });
    assert_eq!(holds(&service), [""; 0]);
    assert_eq!(count_logged(&service, "110 of 200 files are gone from"), 1);
    assert_eq!(count_logged(&service, "files are gone from"), 1);
}

/// interface 11.6, 18.2
#[test]
fn a_server_whose_own_disk_is_missing_waits_and_the_others_go_on() {
    let (ftp, other, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..5);
    put(&other, 0..25);
    notify.answer(Answer::Status(503));
    let setup = one(&ftp).notify(&notify.url()).server(Server::scripted("omc02", &other));
    let mut service = setup.started().run();
    recorded(&service, 30, 0);
    service.kill();
    let disk = unmount(&service.root().join("omc02"));
    service.restart();
    held(&service, &["omc02 gone"]);
    notify.answer(Answer::Status(200));
    put(&ftp, 5..7);
    put(&other, 25..26);
    recorded(&service, 32, 7);
    let fault = service.server_status("omc02")["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(fault.contains("25 of 25 files are gone from") && fault.contains("/omc02 at once"), "{fault}");
    assert_eq!((count(&service, "evicted_at"), other.count("RETR")), (0, 25));
    fs::remove_dir_all(service.root().join("omc02")).unwrap();
    fs::rename(&disk, service.root().join("omc02")).unwrap();
    recorded(&service, 33, 33);
    assert_eq!((count(&service, "evicted_at"), holds(&service).len()), (0, 0));
    assert!(service.server_status("omc02")["last_error"].is_null());
}

/// A service whose database is gone, beside its mirror of three zips.
fn bereft(ftp: &ScriptedServer, notify: &NotifyStub) -> Service {
    put(ftp, 0..3);
    let mut service = one(ftp).notify(&notify.url()).started().run();
    recorded(&service, 3, 3);
    assert!(service.terminate(SOON).success());
    let database = service.database();
    fs::rename(&database, database.with_extension("aside")).unwrap();
    put(ftp, 3..4);
    service.restart();
    held(&service, &["new_records"]);
    service
}

/// interface 1.8, 11.5
#[test]
fn new_records_beside_a_mirror_are_held_until_they_are_confirmed_or_the_right_ones_are_back() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = bereft(&ftp, &notify);
    says(&service.mrosync(&["check"], &[]), 1, "the records are new and know nothing of the zips in");
    says(&service.mrosync(&["mirror", "adopt"], &["--confirm", "0"]), 1, "mrosync records confirm --dry-run");
    assert_eq!((count_logged(&service, " ERROR "), ftp.count("RETR")), (1, 3), "nothing is fetched");
    assert!(service.terminate(SOON).success());
    let database = service.database();
    fs::remove_file(&database).unwrap();
    fs::rename(database.with_extension("aside"), &database).unwrap();
    service.restart();
    recorded(&service, 4, 4);
    assert_eq!((holds(&service).len(), ftp.count("RETR")), (0, 4));
}

/// interface 1.8, 11.5, 11.12
#[test]
fn confirmed_records_leave_the_zips_alone_and_marked_ones_take_them_over() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = bereft(&ftp, &notify);
    let confirm = |arguments: &[&str]| service.mrosync(&["records", "confirm"], arguments);
    says(&confirm(&["--dry-run"]), 0, "3 zips lie in");
    says(&confirm(&[]), 2, "pass --confirm 3");
    says(&confirm(&["--confirm", "3"]), 0, "the records are those of");
    recorded(&service, 1, 1);
    assert_eq!(service.mirrored().len(), 4);
    says(&confirm(&["--dry-run"]), 0, "nothing to confirm");

    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = bereft(&ftp, &notify);
    says(&service.mrosync(&["records", "mark"], &["--local", "--confirm", "3"]), 0, "3 changed");
    recorded(&service, 4, 4);
    assert_eq!((ftp.count("RETR"), holds(&service).len()), (4, 0));
}

/// interface 11.4
#[test]
fn a_mirror_of_before_there_were_markers_is_taken_without_a_question() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let mut service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 3, 3);
    assert!(service.terminate(SOON).success());
    let marker = service.root().join(".partial/.mirror");
    fs::remove_file(&marker).unwrap();
    let database = rusqlite::Connection::open(service.database()).unwrap();
    database.execute_batch("DELETE FROM mirror").unwrap();
    drop(database);
    put(&ftp, 3..4);
    service.restart();
    recorded(&service, 4, 4);
    assert!(marker.is_file() && count_logged(&service, " ERROR ") == 0);
}

/// interface 11.5
#[test]
fn new_records_beside_zips_of_others_ask_from_twenty_on() {
    for (zips, kinds) in [(19, &[][..]), (20, &["new_records"][..])] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        let setup = one(&ftp).notify(&notify.url());
        let home = setup.directory().join("sync/omc01/theirs");
        fs::create_dir_all(&home).unwrap();
        (0..zips).for_each(|n| fs::write(home.join(format!("{n}.zip")), b"").unwrap());
        let service = setup.started().run();
        ready(&service);
        assert_eq!(holds(&service), kinds, "{zips} zips");
    }
}

/// interface 18.2
#[test]
fn a_place_that_cannot_be_opened_is_unusable_until_it_can() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 0..3);
    let service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 3, 3);
    let disk = unmount(&service.root());
    fs::remove_dir(service.root()).unwrap();
    fs::write(service.root(), "no directory").unwrap();
    held(&service, &["unusable"]);
    fs::remove_file(service.root()).unwrap();
    fs::rename(&disk, service.root()).unwrap();
    held(&service, &[]);
}
