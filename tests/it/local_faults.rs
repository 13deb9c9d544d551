//! What keeps files away is seen where people look, once, with the system's words, and for as long as it lasts.

use std::fs;

use serde_json::Value;

use crate::support::disk::SmallDisk;
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, recorded, run, scanned, warnings};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

const FAULT: &str = "MROSYNC_FAULT";
const NO_LINKS: &str = "link=refuse";

fn last_error(service: &Service) -> String {
    service.server_status("omc01")["last_error"].as_str().unwrap_or_default().to_owned()
}

/// interface 18.5
#[test]
fn a_mirror_without_inodes_is_shown_with_the_systems_words_until_there_are_some() {
    let Some(disk) = SmallDisk::with_inodes(16, 64) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/d0/a.zip", File::new(zip(1, 1000)));
    let service = run(disk.holds_root(one(&ftp).notify(&notify.url())));
    recorded(&service, 1);
    let fillers: Vec<_> = (0..100).map(|n| disk.path().join(format!("fill{n}"))).collect();
    fillers.iter().for_each(|path| drop(fs::write(path, b"")));
    ftp.put("/d2/c.zip", File::new(zip(2, 1000)));
    ftp.put("/d0/b.zip", File::new(zip(3, 1000)));
    service.wait_for(SOON, "the reason is shown", |service| last_error(service).contains("No space left"));
    scanned(&service, 2);
    assert!(last_error(&service).contains("No space left on device"), "{}", last_error(&service));
    assert!(service.status()["disk"]["fault"].as_str().is_some_and(|fault| fault.contains("no inodes left")));
    for line in warnings(&service) {
        assert!(line.matches("No space left").count() <= 1, "{line}");
    }
    assert!(
        warnings(&service).iter().any(|line| line.contains("path=/d2") && line.contains("No space left"))
    );
    fillers.iter().for_each(|path| drop(fs::remove_file(path)));
    recorded(&service, 3);
    service.wait_for(SOON, "nothing is left of it", |service| {
        last_error(service).is_empty() && service.status()["disk"]["fault"].is_null()
    });
}

/// interface 18.5
#[test]
fn a_mirror_that_turns_read_only_is_shown_and_complained_of_once_for_all_files() {
    let Some(disk) = SmallDisk::ext4(16) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/d0/a.zip", File::new(zip(1, 1000)));
    let service = run(disk.holds_root(one(&ftp).notify(&notify.url())));
    recorded(&service, 1);
    if !disk.remount("abort") {
        return;
    }
    (0..30).for_each(|n| ftp.put(format!("/d0/{n}.zip"), File::new(zip(n, 1000))));
    ftp.put("/d3/d.zip", File::new(zip(40, 1000)));
    service.wait_for(SOON, "the reason is shown", |service| last_error(service).contains("ead-only"));
    scanned(&service, 3);
    assert!(last_error(&service).contains("Read-only file system"), "{}", last_error(&service));
    service.wait_for(SOON, "the disk's fault is shown", |service| {
        let fault = service.status()["disk"]["fault"].clone();
        fault.as_str().is_some_and(|fault| fault.contains("read-only"))
    });
    let output = service.mrosync(&["check"], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("the file system of the mirror is read-only"),
        "{said}"
    );
    let warn_once = warnings(&service);
    let errors = warn_once.iter().filter(|line| line.contains(" ERROR ")).count();
    assert!(errors == 1 && warn_once.len() <= 5, "{warn_once:#?}");
    assert!(warn_once.iter().all(|line| line.matches("ead-only file system").count() <= 1), "{warn_once:#?}");
}

/// Puts the mirror on a file system without hard links. Where none can be mounted, the links are refused as there.
fn without_links(setup: Setup) -> (Option<SmallDisk>, Setup) {
    match SmallDisk::without_links(32) {
        Some(disk) => {
            let setup = disk.holds_root(setup);
            (Some(disk), setup)
        }
        None => (None, setup.env(FAULT, NO_LINKS)),
    }
}

/// interface 10.3
#[test]
fn a_mirror_without_hard_links_collects_everything_once_whatever_kills_it() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let names: Vec<String> = (0..30).map(|n| format!("/d{}/{n}.zip", n % 3)).collect();
    for (n, name) in names.iter().enumerate().take(15) {
        ftp.put(name, File::new(zip(n as u64, 100_000)));
    }
    let (_disk, setup) = without_links(one(&ftp).notify(&notify.url()));
    let mut service = run(setup);
    recorded(&service, 15);
    let told = |line: &String| line.contains("takes no hard links");
    assert!(service.lines(Stream::Stderr).iter().any(told), "{:#?}", service.lines(Stream::Stderr));
    for (n, name) in names.iter().enumerate().skip(15) {
        ftp.put(name, File::new(zip(n as u64, 100_000)));
    }
    service.wait_for(SOON, "some came", |service| service.mirrored().len() > 18);
    service.restart();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    recorded(&service, 30);
    service.wait_for(SOON, "nothing is left over", |service| {
        fs::read_dir(service.root().join(".partial/omc01")).unwrap().count() == 0
            && last_error(service).is_empty()
    });
    for (n, name) in names.iter().enumerate() {
        assert_eq!(fs::read(service.root().join(format!("omc01{name}"))).unwrap(), zip(n as u64, 100_000));
    }
    assert!(warnings(&service).is_empty(), "{:#?}", warnings(&service));
}

#[test]
fn a_file_that_was_stored_without_hard_links_and_not_recorded_is_not_fetched_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    (0..3).for_each(|n| ftp.put(format!("/{n}.zip"), File::new(zip(n, 10_000))));
    let (_disk, setup) = without_links(one(&ftp).notify(&notify.url()));
    let mut service = setup.env(FAULT, &format!("{NO_LINKS},record=hang")).started().run();
    service.wait_for(SOON, "all are stored", |service| service.mirrored().len() == 3);
    service.set_env(FAULT, NO_LINKS);
    service.restart();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    recorded(&service, 3);
    assert_eq!(ftp.count("RETR"), 3);
    service.wait_for(SOON, "the proofs are gone", |service| {
        fs::read_dir(service.root().join(".partial/omc01")).unwrap().count() == 0
    });
}

/// interface 10.4
#[test]
fn a_server_whose_part_of_the_mirror_is_another_mount_is_refused_alone_with_both_places_and_the_way_out() {
    let Some(disk) = SmallDisk::tmpfs(16) else { return };
    let (apart, well, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    apart.put("/a.zip", File::new(zip(1, 1000)));
    well.put("/b.zip", File::new(zip(2, 1000)));
    let servers = [Server::scripted("omc01", &apart), Server::scripted("omc02", &well)];
    let setup = servers.into_iter().fold(Setup::new(), Setup::server).notify(&notify.url());
    let Some(mounted) = disk.also_at(&setup.directory().join("sync/omc01")) else { return };
    let service = run(setup);
    recorded(&service, 1);
    service
        .wait_for(SOON, "the reason is shown", |service| last_error(service).contains("another file system"));
    assert!(last_error(&service).contains("sync.root: ") && last_error(&service).contains("/.partial"));
    let output = service.mrosync(&["check"], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("failed  disk: sync.root: "), "{said}");
    assert_eq!((apart.connections(), warnings(&service).len()), (1, 1), "{:#?}", warnings(&service));
    drop(mounted);
    recorded(&service, 2);
}

#[test]
fn partial_files_on_another_mount_are_a_fault_before_anything_is_made() {
    let Some(disk) = SmallDisk::tmpfs(16) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = one(&ftp).notify(&notify.url());
    let Some(_mounted) = disk.also_at(&setup.directory().join("sync/.partial")) else { return };
    let output = setup.command(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("failed  disk: sync.root: "), "{said}");
}

/// interface 10.4
#[test]
fn a_link_in_the_place_of_a_servers_directory_is_named_by_check_and_by_the_service() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/a.zip", File::new(zip(1, 1000)));
    let setup = one(&ftp).notify(&notify.url());
    let root = setup.directory().join("sync");
    std::fs::create_dir_all(&root).unwrap();
    std::os::unix::fs::symlink(setup.directory(), root.join("omc01")).unwrap();
    let output = setup.command(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("sync/omc01 is no directory, or a symbolic link"),
        "{said}"
    );
    let service = run(setup);
    service.wait_for(SOON, "the reason is shown", |service| last_error(service).contains("a symbolic link"));
    assert_eq!(ftp.connections(), 1, "the one of check");
}

/// interface 10.4
#[test]
fn a_directory_that_is_another_mount_keeps_its_files_waiting_and_they_are_fetched_once() {
    let Some(disk) = SmallDisk::tmpfs(16) else { return };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/deep/a.zip", File::new(zip(1, 1000)));
    ftp.put("/b.zip", File::new(zip(2, 1000)));
    let setup = one(&ftp).notify(&notify.url());
    let Some(mounted) = disk.also_at(&setup.directory().join("sync/omc01/deep")) else { return };
    let service = run(setup);
    recorded(&service, 1);
    service
        .wait_for(SOON, "the reason is shown", |service| last_error(service).contains("another file system"));
    scanned(&service, 6);
    assert!(last_error(&service).contains("/deep"), "{}", last_error(&service));
    assert_eq!(
        (ftp.retrs("/deep/a.zip"), service.server_status("omc01")["incomplete_files"].as_u64()),
        (1, Some(1))
    );
    drop(mounted);
    recorded(&service, 2);
}

/// interface 9.3
#[test]
fn what_a_server_refuses_for_all_files_in_the_same_words_is_one_warning_and_a_count() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    (0..60).for_each(|n| ftp.put(format!("/d{}/{n}.zip", n % 7), File::new(zip(n, 1000))));
    ftp.rule(
        Rule::on("RETR").reply("553-File too big. Send at least 8605.000000 bytes first.\r\n553 End.\r\n"),
    );
    let service = run(one(&ftp).notify(&notify.url()));
    service.wait_for(SOON, "all were refused", |service| {
        service.server_status("omc01")["incomplete_files"].as_u64() == Some(60)
    });
    scanned(&service, 3);
    let warn_once = warnings(&service);
    assert!(warn_once.len() <= 3, "{warn_once:#?}");
    let more = warn_once.iter().find(|line| line.contains(" more files or directories fare alike"));
    assert!(more.is_some_and(|line| line.contains("553 File too big. Send")), "{warn_once:#?}");
    assert!(last_error(&service).contains("553 File too big."), "{}", last_error(&service));
    ftp.behave();
    recorded(&service, 60);
    service.wait_for(SOON, "it is over", |service| last_error(service).is_empty());
}

/// interface 18.4
#[test]
fn a_connection_that_works_again_is_no_fault_any_more_while_a_file_waits_for_its_next_try() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/a.zip", File::new(zip(1, 1000)));
    ftp.put("/cut.zip", File::new(zip(2, 5000)[..3000].to_vec()));
    let service = run(one(&ftp).notify(&notify.url()));
    let tries = |service: &Service| {
        let first = service.server_status("omc01")["incomplete"][0].clone();
        first["tries"].as_u64().unwrap_or(0)
    };
    service.wait_for(SOON, "it waits long enough", |service| tries(service) >= 5);
    ftp.go_down();
    service.wait_for(SOON, "it is gone", |service| last_error(service).contains("cannot connect"));
    ftp.come_back();
    // shown by the first scan that came through, and not by the next try of the file, which comes seconds later
    let scanned =
        |service: &Service| Some(service.server_status("omc01")).filter(|it| it["state"] == "waiting");
    let status = try_obtain(SOON, || scanned(&service)).expect("a scan that came through");
    assert_eq!(status["incomplete_files"], 1, "{status}");
    assert_ne!(status["last_error"], Value::Null, "what it waits for is a fault of its own: {status}");
    let fault = status["last_error"].as_str().unwrap_or_default();
    assert!(fault.starts_with("/cut.zip: the zip archive has no end"), "{status}");
}
