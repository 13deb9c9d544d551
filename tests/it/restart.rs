//! Scans that follow one another: how often, never two at once, and that neither they nor a restart fetch twice.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, recorded};
use crate::support::wait::output_within;
use crate::support::zips::{sized, zip};

/// Waits until a directory was listed so many times more.
fn scanned(ftp: &ScriptedServer, more: usize) {
    let before = ftp.listings("/");
    ftp.wait_for(SOON, "further scans", |journal| journal.listings_of("/") >= before + more);
}

/// When the root was listed, the last `count` times.
fn listed_at(ftp: &ScriptedServer, count: usize) -> Vec<Instant> {
    ftp.wait_for(SOON, "scans", |journal| journal.listings_of("/") >= count);
    ftp.journal(|journal| {
        let commands = journal.commands.iter().filter(|command| command.verb == "MLSD");
        commands.map(|command| command.at).collect()
    })
}

fn gaps(times: &[Instant]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect()
}

/// interface 10.5
#[test]
fn scanning_again_downloads_and_announces_nothing_twice() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..10 {
        ftp.put(format!("/{n}/{n}.zip"), File::new(zip(n, 3000)));
    }
    let service = one(&ftp).notify(&notify.url()).interval("100ms").started().run();
    recorded(&service, 10);
    scanned(&ftp, 5);
    notify.wait_for(SOON, "all calls", |calls| calls.len() >= 10);
    for n in 0..10 {
        assert_eq!(ftp.retrs(format!("/{n}/{n}.zip")), 1, "{n}");
    }
    assert_eq!((service.records().len(), service.mirrored().len(), notify.calls().len()), (10, 10, 10));
}

#[test]
fn a_restart_downloads_and_announces_nothing_twice_however_it_ended() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..10 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
    }
    let mut service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 10);
    service.wait_for(SOON, "all are announced", |service| service.status()["notify"]["pending"] == 0);
    let before = service.records();
    for killed in [true, false] {
        if !killed {
            assert_eq!(service.terminate(SOON).code(), Some(0));
        }
        service.restart();
        scanned(&ftp, 3);
        recorded(&service, 10);
        assert_eq!(service.records(), before, "killed: {killed}");
        assert_eq!((ftp.count("RETR"), notify.calls().len()), (10, 10), "killed: {killed}");
        let status = service.status();
        assert_eq!(status["servers"][0]["files_downloaded"], 0, "since this start");
    }
}

#[test]
fn a_service_killed_at_any_moment_goes_on_where_it_was() {
    let ftp = ScriptedServer::start();
    for n in 0..60 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 20_000)));
    }
    let mut service = one(&ftp).started().run();
    for part in [5, 20, 40] {
        service.wait_for(SOON, "some more files", |service| service.mirrored().len() >= part);
        service.restart();
    }
    recorded(&service, 60);
    assert_eq!(service.mirrored().len(), 60);
    for n in 0..60 {
        let path = service.root().join(format!("omc01/{n}.zip"));
        assert!(fs::read(path).unwrap() == zip(n, 20_000), "{n}");
    }
    let mut paths: Vec<String> = service.records().iter().map(|record| record["path"].to_string()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 60, "each is on record once");
    service.wait_for(SOON, "nothing is left over", |service| service.partial().is_empty());
}

#[test]
fn what_is_half_downloaded_when_it_is_killed_is_resumed_by_the_next_process() {
    for killed in [true, false] {
        let ftp = ScriptedServer::start();
        let content = sized(7, 400_000);
        ftp.put("/1.zip", File::new(content.clone()));
        ftp.rule(Rule::on("RETR").once().stall(200_000));
        let mut service = one(&ftp).started().run();
        let half = |service: &Service| service.partial().values().any(|size| *size == 200_000);
        service.wait_for(SOON, "half of it", half);
        if !killed {
            assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
        }
        service.restart();
        recorded(&service, 1);
        let offsets: Vec<u64> = ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.offset).collect());
        // its end is fetched once more, to compare
        assert!(matches!(offsets[..], [0, 100_000..=200_000]), "{offsets:?}");
        assert!(fs::read(service.root().join("omc01/1.zip")).unwrap() == content);
    }
}

/// interface 5.1
#[test]
fn the_interval_counts_from_the_start_of_one_scan_to_the_start_of_the_next() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 2000)));
    ftp.rule(Rule::on("MLSD").delay(Duration::from_millis(700)));
    let _service = one(&ftp).interval("1s").started().run();
    // five by MLSD; at first contact the root is listed by LIST as well, to compare
    let times = listed_at(&ftp, 6);
    let gaps = gaps(&times);
    // from the end it would be 1.7 s each time; a slow machine may be late now and then
    assert!(gaps.iter().any(|gap| *gap < Duration::from_millis(1500)), "{gaps:?}");
    let whole = times[4].duration_since(times[0]);
    assert!(whole > Duration::from_secs(3), "not more often either: {gaps:?}");
}

/// interface 5.1
#[test]
fn a_scan_that_takes_longer_than_the_interval_is_followed_at_once_and_never_overlapped() {
    let ftp = ScriptedServer::start();
    let long = Duration::from_millis(1200);
    ftp.rule(Rule::on("MLSD").delay(long));
    let _service = one(&ftp).interval("1s").started().run();
    let gaps = gaps(&listed_at(&ftp, 5));
    // a missed beat would make it 2 s, an interval from the end 2.2 s
    assert!(gaps.iter().any(|gap| *gap < Duration::from_millis(1800)), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap >= long), "{gaps:?}");
}

#[test]
fn scans_never_overlap_however_short_the_interval() {
    let ftp = ScriptedServer::start();
    let long = Duration::from_millis(400);
    ftp.rule(Rule::on("MLSD").delay(long));
    let _service = one(&ftp).interval("100ms").started().run();
    let gaps = gaps(&listed_at(&ftp, 6));
    assert!(gaps.iter().all(|gap| *gap >= long), "{gaps:?}");
    assert_eq!(ftp.journal(|journal| journal.max_open), 1, "there is one directory to list");
}

#[test]
fn a_slow_server_does_not_slow_the_others() {
    let (slow, quick) = (ScriptedServer::start(), ScriptedServer::start());
    slow.rule(Rule::on("MLSD").delay(Duration::from_secs(5)));
    let setup = Setup::new().server(Server::scripted("slow", &slow).key("timeout", "'20s'"));
    let _service = setup.server(Server::scripted("quick", &quick)).started().run();
    slow.wait_for(SOON, "the slow one lists", |journal| journal.listings_of("/") == 1);
    let before = quick.listings("/");
    quick.wait_for(Duration::from_secs(20), "scans", |journal| journal.listings_of("/") >= before + 5);
    assert!(slow.listings("/") <= 3);
}

/// A service's directory after one file was recorded, and the service that has ended.
fn with_one_record(ftp: &ScriptedServer) -> Service {
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = one(ftp).started().run();
    recorded(&service, 1);
    assert_eq!(service.terminate(SOON).code(), Some(0));
    service
}

/// Starts on a database that it cannot use: it says why and ends with 1, and changes nothing.
#[track_caller]
fn assert_refused(service: &mut Service, ftp: &ScriptedServer, words: &[&str]) {
    let (before, connections) = (fs::read(service.database()).unwrap(), ftp.connections());
    service.restart();
    assert_eq!(service.wait_exit(SOON).code(), Some(1));
    let reason = |line: &str| words.iter().all(|word| line.contains(word));
    service.wait_line(Stream::Stderr, SOON, &format!("{words:?}"), reason);
    assert!(fs::read(service.database()).unwrap() == before, "the database was changed");
    assert_eq!(ftp.connections(), connections, "nothing was scanned");
    for command in [&["records"][..], &["check"]] {
        let output = service.mrosync(command, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.lines().any(reason), "{said}");
    }
    assert!(fs::read(service.database()).unwrap() == before, "the database was changed");
    assert!(service.root().join("omc01/1.zip").is_file());
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let ftp = ScriptedServer::start();
    let mut service = with_one_record(&ftp);
    let sound = fs::read(service.database()).unwrap();
    let mut header = sound.clone();
    header[..100].fill(b'#');
    let mut pages = sound.clone();
    pages[4096..].fill(0xee);
    for damaged in [b"this is not a database, and never was one".to_vec(), header, pages] {
        fs::write(service.database(), damaged).unwrap();
        assert_refused(&mut service, &ftp, &["records.db", "damaged"]);
    }
    fs::write(service.database(), sound).unwrap();
    service.restart();
    recorded(&service, 1);
    scanned(&ftp, 2);
    assert_eq!(ftp.retrs("/1.zip"), 1);
}

#[test]
fn a_database_of_a_later_release_is_refused_and_left_as_it_is() {
    let ftp = ScriptedServer::start();
    let mut service = with_one_record(&ftp);
    let connection = Connection::open(service.database()).unwrap();
    connection.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    drop(connection);
    assert_refused(&mut service, &ftp, &["records.db", "version 99"]);
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let ftp = ScriptedServer::start();
    let mut service = with_one_record(&ftp);
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{end}", service.database().display())).ok();
    }
    let connection = Connection::open(service.database()).unwrap();
    connection.execute_batch("CREATE TABLE cats (name TEXT); INSERT INTO cats VALUES ('Tom');").unwrap();
    drop(connection);
    assert_refused(&mut service, &ftp, &["records.db", "another program"]);
}

#[test]
fn a_second_service_on_the_same_mirror_database_or_socket_says_so_and_ends_with_2() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    let home = service.directory().canonicalize().unwrap();
    let links = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&home, links.path().join("link")).unwrap();
    let (linked, relative) = (links.path().join("link"), std::path::PathBuf::from("."));
    let cases = [
        ("sync", "root", "sync", "another mrosync works in"),
        ("records", "path", "records.db", "in use by another running service"),
        ("control", "socket", "control.sock", "another mrosync listens on"),
    ];
    for (table, key, name, words) in cases {
        for place in [&home, &linked, &relative] {
            // everything else is its own
            let toml = format!("[{table}]\n{key} = '{}'", place.join(name).display());
            let setup = one(&ftp).toml(&toml);
            let output = output_within(SOON, setup.command(&["run"]).current_dir(&home));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{toml}: {said}");
            assert!(said.contains(words), "{toml}: {said}");
        }
    }
    // a file of the same name elsewhere, linked to the database itself
    std::os::unix::fs::symlink(service.database(), links.path().join("other.db")).unwrap();
    let toml = format!("[records]\npath = '{}'", links.path().join("other.db").display());
    let output = output_within(SOON, &mut one(&ftp).toml(&toml).command(&["run"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(service.status()["running"], false, "the first one is still there");
}
