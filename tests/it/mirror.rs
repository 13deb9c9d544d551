//! What is mirrored, where it lies, and that it comes once.

use std::fs;
use std::path::Path;

use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, recorded, rescanned, shown, with,
};
use crate::support::zips::{mro_name, zip};

/// What lies directly in a directory.
fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_directory(service: &Service, path: &str) -> bool {
    service.root().join(path).is_dir()
}

/// interface 10.1
#[test]
fn every_directory_is_made_an_empty_one_and_one_that_appears_later_too() {
    let ftp = ScriptedServer::start();
    ftp.make_directory("/a/b/c");
    ftp.make_directory("/x.zip");
    put(&ftp, "/y.zip/1.zip", zip(1, 2000));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    for path in ["omc01/a/b/c", "omc01/x.zip", "omc01/y.zip"] {
        service.wait_for(SOON, path, |service| is_directory(service, path));
    }
    ftp.make_directory("/later/deep/deeper");
    service.wait_for(SOON, "the new ones", |service| is_directory(service, "omc01/later/deep/deeper"));
    assert_eq!(names(&service), ["omc01/y.zip/1.zip"]);
    // a directory that is gone from the server stays, with what was downloaded
    ftp.remove("/y.zip");
    rescanned(&ftp, 1);
    assert_eq!(names(&service), ["omc01/y.zip/1.zip"]);
}

/// interface 10.1
#[test]
fn only_what_ends_in_zip_is_fetched_whatever_its_case() {
    let ftp = ScriptedServer::start();
    let (taken, left) =
        (["a.zip", "B.ZIP", "c.ZiP", "d.tar.zip"], ["e.zip.tmp", "f.zipx", "gzip", "h.xml", "zip", "i.zi"]);
    for (n, name) in taken.iter().chain(&left).enumerate() {
        put(&ftp, format!("/{name}"), zip(n as u64, 2000));
    }
    let service = one(&ftp).started().run();
    recorded(&service, taken.len());
    rescanned(&ftp, 1);
    let mut expected = taken.map(|name| format!("omc01/{name}")).to_vec();
    expected.sort();
    assert_eq!(names(&service), expected);
    assert!(left.iter().all(|name| ftp.retrs(format!("/{name}")) == 0));
    assert_eq!(shown(&service, "files_seen"), taken.len());
}

/// interface 10.2
#[test]
fn a_file_under_way_lies_in_partial_and_leaves_nothing_there_when_it_is_done() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 300_000);
    put(&ftp, "/MR/1.zip", whole.clone());
    ftp.rule(Rule::on("RETR").once().stall(100_000));
    let service = one(&ftp).started().run();
    service.wait_for(SOON, "a part", |service| service.partial().values().any(|size| *size == 100_000));
    assert!(is_directory(&service, "omc01/MR"));
    assert_eq!(entries(&service.root()), [".partial", "omc01"]);
    assert!(names(&service).is_empty() && service.records().is_empty());
    ftp.release();
    recorded(&service, 1);
    service.wait_for(SOON, "an empty .partial", |service| service.partial().is_empty());
    assert_eq!(
        (entries(&service.root().join("omc01/MR")), ftp.retrs("/MR/1.zip")),
        (vec!["1.zip".into()], 1)
    );
    assert_eq!(content(&service, "omc01/MR/1.zip"), whole);
}

#[test]
fn what_an_interrupted_download_left_goes_when_the_server_has_the_file_no_more() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/gone.zip", zip(1, 300_000));
    put(&ftp, "/other.zip", zip(2, 2000));
    ftp.rule(Rule::on("RETR").about("/gone.zip").stall(100_000));
    let mut service = one(&ftp).started().run();
    service.wait_for(SOON, "a part", |service| service.partial().values().any(|size| *size == 100_000));
    service.kill();
    ftp.remove("/gone.zip");
    service.restart();
    service.wait_for(SOON, "an empty .partial", |service| service.partial().is_empty());
    recorded(&service, 1);
    assert_eq!(names(&service), ["omc01/other.zip"]);
}

/// Sets the time at which all partial files were written to back by two days.
fn age_partials(service: &Service) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 3600);
    let home = service.root().join(".partial/omc01");
    for entry in fs::read_dir(home).unwrap() {
        let file = fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(then).unwrap();
    }
}

#[test]
fn what_is_left_of_a_vanished_file_goes_after_a_day_though_the_server_never_comes_to_rest() {
    let ftp = ScriptedServer::start();
    for name in ["gone", "also-gone", "there"] {
        put(&ftp, format!("/{name}.zip"), zip(1, 300_000));
    }
    put(&ftp, "/bad/1.zip", zip(2, 2000));
    ftp.rule(Rule::on("RETR").stall(100_000));
    // a directory that fails for ever, so that no scan can say what belongs to nothing
    ftp.rule(Rule::on("MLSD").about("/bad").reply("550 no\r\n"));
    ftp.rule(Rule::on("LIST").about("/bad").reply("550 no\r\n"));
    let mut service = with(&ftp, &[("timeout", "'60s'")]).started().run();
    service.wait_for(SOON, "three parts", |service| {
        service.partial().values().filter(|size| **size == 100_000).count() == 3
    });
    service.kill();
    age_partials(&service);
    ftp.edit(|tree| {
        tree.remove("/gone.zip");
        tree.remove("/also-gone.zip");
    });
    ftp.behave();
    ftp.rule(Rule::on("MLSD").about("/bad").reply("550 no\r\n"));
    ftp.rule(Rule::on("LIST").about("/bad").reply("550 no\r\n"));
    // one that was written to a moment ago, of a file that is gone as well
    let young = service.root().join(".partial/omc01").join(format!("{}_2000_-", "0".repeat(32)));
    fs::write(&young, [0; 500]).unwrap();
    service.restart();
    recorded(&service, 1);
    let left = |service: &Service| service.partial().into_values().collect::<Vec<_>>() == [500];
    service.wait_for(SOON, "the parts of vanished files are gone", left);
    assert_eq!(
        ftp.journal(|journal| journal.retrs.last().unwrap().offset),
        100_000 - 50_000,
        "it is resumed"
    );
    assert_eq!(logged(&service, "its file is gone from the server").len(), 2);
    rescanned(&ftp, 2);
    assert!(left(&service));
    // and the service counts what is left
    let whole = zip(1, 300_000).len() as u64;
    assert_eq!(service.status()["disk"]["mirror_bytes"], whole + 500);
}

#[test]
fn files_that_appear_late_with_old_times_and_in_any_place_are_found() {
    let ftp = ScriptedServer::start();
    ftp.put("/MR/2026/new.zip", File::new(zip(1, 2000)).modified(1_795_000_000));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    // written long ago and moved here now, beside what is newer, and above and below it
    for (n, path) in ["/MR/2026/old.zip", "/old.zip", "/MR/2001/01/old.zip"].iter().enumerate() {
        ftp.put(path, File::new(zip(2 + n as u64, 2000)).modified(1_000_000_000 + n as i64));
        recorded(&service, 2 + n);
    }
    assert_eq!(ftp.count("RETR"), 4);
}

#[test]
fn a_downloaded_file_is_not_fetched_again_after_a_restart() {
    let ftp = ScriptedServer::start();
    (0..5).for_each(|n| put(&ftp, format!("/MR/{n}.zip"), zip(n, 2000)));
    let mut service = one(&ftp).started().run();
    recorded(&service, 5);
    for _ in 0..2 {
        service.restart();
        rescanned(&ftp, 2);
    }
    assert_eq!(ftp.count("RETR"), 5);
    assert_eq!((service.records().len(), names(&service).len()), (5, 5));
}

/// interface 10.5
#[test]
fn a_downloaded_file_is_not_fetched_again_after_it_was_deleted_by_hand() {
    let ftp = ScriptedServer::start();
    (0..3).for_each(|n| put(&ftp, format!("/MR/{n}.zip"), zip(n, 2000)));
    let mut service = one(&ftp).started().run();
    recorded(&service, 3);
    fs::remove_dir_all(service.root().join("omc01/MR")).unwrap();
    rescanned(&ftp, 2);
    service.restart();
    rescanned(&ftp, 2);
    assert_eq!((ftp.count("RETR"), service.records().len()), (3, 3));
    // the directory is still on the server, so it is made again, without the files
    assert!(is_directory(&service, "omc01/MR") && names(&service).is_empty());
}

/// interface 10.27
#[test]
fn a_file_that_changes_after_its_download_is_counted_and_logged_once_and_not_fetched_again() {
    let ftp = ScriptedServer::start();
    let first = zip(1, 2000);
    put(&ftp, "/a.zip", first.clone());
    put(&ftp, "/b.zip", zip(2, 2000));
    let mut service = one(&ftp).started().run();
    recorded(&service, 2);
    assert_eq!(shown(&service, "changed_files"), 0);
    put(&ftp, "/a.zip", zip(3, 5000));
    service.wait_for(SOON, "the change is counted", |service| shown(service, "changed_files") == 1);
    ftp.put("/b.zip", File::new(zip(2, 2000)).modified(1_800_000_000));
    service.wait_for(SOON, "a new time is a change", |service| shown(service, "changed_files") == 2);
    rescanned(&ftp, 3);
    let told = logged(&service, "changed after it was downloaded");
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("/a.zip") && told[0].contains("WARN"), "{told:#?}");
    service.restart();
    rescanned(&ftp, 2);
    assert!(logged(&service, "changed after it was downloaded").is_empty(), "a restart tells it again");
    assert_eq!((ftp.count("RETR"), content(&service, "omc01/a.zip")), (2, first));
    assert_eq!(service.records().len(), 2);
}

/// interface 5.9
#[test]
fn only_the_configured_directories_are_mirrored_with_their_whole_path() {
    let ftp = ScriptedServer::start();
    for (n, path) in ["/MR/a/1.zip", "/MR2/2.zip", "/other/3.zip", "/4.zip"].iter().enumerate() {
        put(&ftp, path, zip(n as u64, 2000));
    }
    let service = with(&ftp, &[("directories", "['/MR', '/MR2/', '/MR/a']")]).started().run();
    recorded(&service, 2);
    let listings = ftp.listings("/MR");
    ftp.wait_for(SOON, "two scans", |journal| journal.listings_of("/MR") > listings + 2);
    assert_eq!(names(&service), ["omc01/MR/a/1.zip", "omc01/MR2/2.zip"]);
    assert_eq!((ftp.listings("/"), ftp.listings("/other")), (0, 0));
}

#[test]
fn the_same_path_on_two_servers_is_two_files() {
    let servers = [ScriptedServer::start(), ScriptedServer::start()];
    let whole = [zip(1, 2000), zip(2, 3000)];
    let mut setup = Setup::new();
    for (n, ftp) in servers.iter().enumerate() {
        put(ftp, "/MR/1.zip", whole[n].clone());
        setup = setup.server(Server::scripted(&format!("omc0{n}"), ftp));
    }
    let service = setup.started().run();
    recorded(&service, 2);
    assert_eq!(content(&service, "omc00/MR/1.zip"), whole[0]);
    assert_eq!(content(&service, "omc01/MR/1.zip"), whole[1]);
}

/// interface 12.3
#[test]
fn a_file_of_somebody_else_is_left_alone_and_not_fetched() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/MR/1.zip", zip(1, 2000));
    put(&ftp, "/MR/2.zip", zip(2, 2000));
    let setup = one(&ftp);
    let home = setup.directory().join("sync/omc01/MR");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("1.zip"), "theirs").unwrap();
    fs::write(home.join("notes.txt"), "theirs").unwrap();
    let service = setup.started().run();
    recorded(&service, 1);
    error_shown(&service, "/MR/1.zip");
    rescanned(&ftp, 2);
    assert_eq!((ftp.retrs("/MR/1.zip"), ftp.retrs("/MR/2.zip")), (0, 1));
    assert_eq!(fs::read(home.join("1.zip")).unwrap(), b"theirs");
    assert_eq!(entries(&home), ["1.zip", "2.zip", "notes.txt"]);
    assert!(service.partial().is_empty());
    // once it is out of the way, the file comes
    fs::remove_file(home.join("1.zip")).unwrap();
    recorded(&service, 2);
    faultless(&service);
}

#[test]
fn a_file_in_the_place_of_a_directory_costs_that_directory_alone() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/bad/1.zip", zip(1, 2000));
    put(&ftp, "/good/2.zip", zip(2, 2000));
    let setup = one(&ftp);
    let home = setup.directory().join("sync/omc01");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("bad"), "theirs").unwrap();
    let service = setup.started().run();
    recorded(&service, 1);
    error_shown(&service, "/bad");
    assert_eq!(fs::read(home.join("bad")).unwrap(), b"theirs");
    assert_eq!(names(&service), ["omc01/bad", "omc01/good/2.zip"]);
}

#[test]
fn a_hundred_files_in_many_directories_come_whole_and_once() {
    let ftp = ScriptedServer::start();
    let path = |n: u64| format!("/{}/{}/{}", n % 3, n % 7, mro_name("OMC1", n as u32, n as u32 % 96));
    (0..100).for_each(|n| put(&ftp, path(n), zip(n, 2000 + n as usize)));
    let service = one(&ftp).started().run();
    recorded(&service, 100);
    for n in 0..100 {
        assert_eq!(content(&service, &format!("omc01{}", path(n))), zip(n, 2000 + n as usize));
    }
    faultless(&service);
    assert_eq!((ftp.count("RETR"), shown(&service, "files_downloaded")), (100, 100.into()));
    assert_eq!(shown(&service, "directories_seen"), 1 + 3 + 21);
}
