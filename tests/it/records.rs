//! `records`: what is told of each download, in which form and order, beside a service and without one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use encoding_rs::UTF_8;
use mrosync::base::facts::{Download, Earlier, FileFacts};
use mrosync::base::names::{RemoteName, RemotePath, ServerName};
use mrosync::config::RecordsSettings;
use mrosync::records::{Change, RecordStore};
use serde_json::Value;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, recorded};
use crate::support::zips::zip;

/// The keys in their order.
const KEYS: [&str; 7] = ["server", "path", "size", "modified", "downloaded_at", "notified_at", "evicted_at"];

#[track_caller]
fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn records(service: &Service, arguments: &[&str]) -> String {
    text(&service.mrosync(&["records"], arguments))
}

fn paths(json: &str) -> Vec<String> {
    let record =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
    json.lines().map(record).collect()
}

/// `2026-11-23T03:00:05.123Z`: with exactly so many digits after the second.
#[track_caller]
fn assert_time(value: &Value, digits: usize) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let length = "2026-11-23T03:00:05Z".len() + if digits == 0 { 0 } else { digits + 1 };
    assert!(text.ends_with('Z') && text.len() == length, "{text}");
}

/// interface 1.4, 17.1
#[test]
fn json_is_an_object_a_line_with_exactly_the_promised_keys() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let content = zip(1, 3000);
    // 2026-11-23T03:00:00Z
    ftp.put("/xxx/omc_456456_mro.zip", File::new(content.clone()).modified(1_795_402_800));
    let service = one(&ftp).notify(&notify.url()).started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "it is announced", |service| !service.records()[0]["notified_at"].is_null());
    let json = records(&service, &["--format", "json"]);
    let before = json.find("\"downloaded_at\"").unwrap();
    let expected = format!(
        "{{\"server\":\"omc01\",\"path\":\"/xxx/omc_456456_mro.zip\",\"size\":{},\
         \"modified\":\"2026-11-23T03:00:00Z\",",
        content.len()
    );
    assert_eq!(json[..before], expected);
    assert!(json.ends_with("\"evicted_at\":null}\n"), "{json}");
    let record: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(record.len(), KEYS.len(), "{json}");
    let mut places = KEYS.map(|key| json.find(&format!("\"{key}\":")).unwrap());
    places.sort_unstable();
    assert_eq!(places, KEYS.map(|key| json.find(&format!("\"{key}\":")).unwrap()), "{json}");
    assert_time(&record["modified"], 0);
    assert_time(&record["downloaded_at"], 3);
    assert_time(&record["notified_at"], 3);
    std::fs::remove_file(service.root().join("omc01/xxx/omc_456456_mro.zip")).unwrap();
    service.wait_for(SOON, "that is noticed", |service| !service.records()[0]["evicted_at"].is_null());
    assert_time(&service.records()[0]["evicted_at"], 3);
}

/// interface 17.1
#[test]
fn what_was_not_announced_and_whose_time_is_unknown_says_null() {
    let ftp = ScriptedServer::start();
    let content = zip(1, 3000);
    ftp.put("/1.zip", File::new(content.clone()));
    ftp.rule(Rule::on("MLSD").content(format!("type=file;size={}; 1.zip\r\n", content.len())));
    ftp.rule(Rule::on("MDTM").reply("502 no\r\n"));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    let record = &service.records()[0];
    for key in ["modified", "notified_at", "evicted_at"] {
        assert!(record[key].is_null(), "{key}: {record}");
    }
    let csv = records(&service, &["--format", "csv"]);
    assert!(csv.lines().nth(1).unwrap().ends_with(",,"), "{csv}");
}

/// interface 1.4
#[test]
fn the_oldest_comes_first_in_every_format() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).started().run();
    let names = ["/z.zip", "/a.zip", "/m/k.zip"];
    for (n, name) in names.into_iter().enumerate() {
        ftp.put(name, File::new(zip(n as u64, 3000)));
        recorded(&service, n + 1);
    }
    assert_eq!(paths(&records(&service, &["--format", "json"])), names);
    for format in ["table", "csv"] {
        let shown = records(&service, &["--format", format]);
        let places = names.map(|name| shown.find(name).unwrap_or_else(|| panic!("{shown}")));
        assert!(places.is_sorted(), "{format}: {shown}");
    }
    assert_eq!(records(&service, &[]), records(&service, &["--format", "table"]), "a table is the default");
}

/// interface 1.4
#[test]
fn they_are_read_without_a_service_as_beside_one() {
    let ftp = ScriptedServer::start();
    for n in 0..5 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
    }
    let mut service = one(&ftp).started().run();
    recorded(&service, 5);
    assert!(service.command("stop").starts_with("ok"));
    for format in ["json", "csv", "table"] {
        let arguments = ["--format", format];
        service.restart();
        service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
        let beside = records(&service, &arguments);
        service.kill();
        let after_kill = records(&service, &arguments);
        assert_eq!(after_kill, beside, "{format}");
    }
    service.restart();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
    assert_eq!(service.terminate(SOON).code(), Some(0));
    assert_eq!(service.records().len(), 5);
}

/// interface 14.1
#[test]
fn one_server_alone_may_be_asked_for_and_an_unknown_one_is_an_error() {
    let ftp = ScriptedServer::start();
    ftp.put("/a/1.zip", File::new(zip(1, 3000)));
    ftp.put("/b/2.zip", File::new(zip(2, 3000)));
    let server = |name, directory: &str| Server::scripted(name, &ftp).key("directories", directory);
    let setup = Setup::new().server(server("omc01", "['/a']")).server(server("omc02", "['/b']"));
    let service = setup.started().run();
    recorded(&service, 2);
    let of = |name| paths(&records(&service, &["--server", name, "--format", "json"]));
    assert_eq!((of("omc01"), of("omc02")), (vec!["/a/1.zip".to_owned()], vec!["/b/2.zip".to_owned()]));
    for unknown in ["omc0", "omc011", "OMC01", "%", ""] {
        let refused = service.mrosync(&["records"], &["--server", unknown, "--format", "json"]);
        assert_eq!(refused.status.code(), Some(2), "{unknown}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{unknown}: {refused:?}");
    }
    let table = records(&service, &["--server", "omc02"]);
    assert!(table.contains("/b/2.zip") && !table.contains("/a/1.zip"), "{table}");
}

#[test]
fn odd_names_come_through_every_format() {
    let ftp = ScriptedServer::start();
    let names = [
        "/a \"b\", 'c'; d\\e.zip",
        "/tab\there.zip",
        "/\u{1b}[31mred\u{7}.zip",
        "/line\u{2028}separator\u{85}.zip",
        "/=1+1 上海 €.zip",
        "/ lead and trail .zip",
    ];
    for (n, name) in names.into_iter().enumerate() {
        ftp.put(name, File::new(zip(n as u64, 3000)));
    }
    let service = one(&ftp).started().run();
    recorded(&service, names.len());
    let sorted = |mut paths: Vec<String>| {
        paths.sort_unstable();
        paths
    };
    let expected = sorted(names.map(str::to_owned).to_vec());
    assert_eq!(sorted(paths(&records(&service, &["--format", "json"]))), expected);
    let csv = records(&service, &["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap(), &KEYS[..]);
    let from_csv = reader.records().map(|record| record.unwrap()[1].to_owned()).collect();
    assert_eq!(sorted(from_csv), expected);
    let table = records(&service, &["--format", "table"]);
    assert_eq!(table.lines().count(), names.len() + 1, "a line each: {table}");
    assert!(!table.chars().any(|character| character.is_control() && character != '\n'), "{table:?}");
}

/// A download with a name that tells its number.
fn download(at: i64) -> Download {
    Download {
        server: ServerName::new("omc01").unwrap(),
        directory: Arc::new(RemotePath::from_text("/a/rather/long/directory/of/exports", UTF_8).unwrap()),
        name: RemoteName::from_wire(format!("{at:09}.zip").as_bytes(), UTF_8).unwrap(),
        facts: FileFacts::default(),
        size: 10,
        downloaded_at: at,
        no_archive: false,
        earlier: Earlier::Stays,
    }
}

/// A server that nobody has.
fn nobody() -> Setup {
    Setup::new().server(Server::at("omc01", "127.0.0.1:1".parse().unwrap()))
}

fn open(file: &Path) -> Box<dyn RecordStore> {
    mrosync::records::open(&RecordsSettings::Sqlite(file.to_owned())).unwrap()
}

/// Gives a service a database with so many records of omc01, whose files are evicted: there are none.
pub fn with_many_records(setup: Setup, count: i64) -> Setup {
    // made elsewhere: a process that another test starts at this moment may hold its lock a little longer
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("records.db");
    let mut records = open(&file);
    records.record(&(1..=count).map(download).collect::<Vec<_>>()).unwrap();
    records.change(&Change::Evicted((1..=count).collect()), count).unwrap();
    records.close();
    std::fs::copy(file, setup.directory().join("records.db")).unwrap();
    setup
}

#[test]
fn a_reader_who_leaves_early_is_no_fault() {
    let setup = with_many_records(nobody(), 5000);
    for (format, first) in [("json", "000000001.zip"), ("csv", "server,path"), ("table", "SERVER")] {
        let mut command = setup.command(&["records", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(first), "{line}");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}: {output:?}");
        assert!(output.stderr.is_empty(), "{format}: {output:?}");
    }
}

#[test]
fn all_of_many_records_are_told_while_the_service_writes_more() {
    let setup = with_many_records(nobody(), 5000);
    let ftp = ScriptedServer::start();
    for n in 0..100 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 1000)));
    }
    let service = setup.server(Server::scripted("omc02", &ftp)).started().run();
    service.wait_for(SOON, "some files come", |service| service.mirrored().len() > 5);
    let seen = records(&service, &["--format", "json", "--server", "omc01"]);
    assert_eq!(seen.lines().count(), 5000);
    assert!(paths(&seen).is_sorted());
    recorded(&service, 5100);
}

#[test]
fn a_reader_who_takes_its_time_neither_hinders_the_writer_nor_lets_the_log_grow() {
    const MANY: i64 = 30_000;
    /// Of its -wal file: SQLite empties it at 4 MiB, unless somebody reads an old state of it.
    const LONGEST_LOG: u64 = 6 << 20;
    let setup = with_many_records(nobody(), MANY);
    let file = setup.directory().join("records.db");
    let mut writer = open(&file);
    let mut command = setup.command(&["records", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // it has begun, and its pipe is full from here on
    assert!(lines.next().unwrap().unwrap().contains("000000001.zip"));
    let log = setup.directory().join("records.db-wal");
    let mut written = 0;
    for at in MANY + 1..MANY + 601 {
        writer.record(&[download(at)]).unwrap();
        written += 1;
        let length = std::fs::metadata(&log).unwrap().len();
        assert!(length < LONGEST_LOG, "{length} bytes after {written} commits");
    }
    assert_eq!(child.try_wait().unwrap(), None, "it still reads");
    assert_eq!(lines.count() as i64 + 1, MANY, "all that there was when it began, once");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_backup_that_is_taken_while_the_service_writes_is_whole() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
    for round in 0..5 {
        for n in 0..20 {
            ftp.put(format!("/{round}/{n}.zip"), File::new(zip(n, 1000)));
        }
        let before = service.records().len();
        let copy = service.directory().join(format!("backup-{round}.db"));
        // as `sqlite3 .backup` does it: a few pages at a time, and anew whenever somebody has written
        let source = rusqlite::Connection::open(service.database()).unwrap();
        let mut target = rusqlite::Connection::open(&copy).unwrap();
        let backup = rusqlite::backup::Backup::new(&source, &mut target).unwrap();
        backup.run_to_completion(3, Duration::from_millis(1), None).unwrap();
        drop(backup);
        let sound: String = target.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        drop(target);
        let mut copy = open(&copy);
        let downloads = copy.totals().unwrap().downloads() as usize;
        assert!(downloads >= before, "{downloads} of {before}");
        assert_eq!(copy.present_after(None, 1000).unwrap().len(), downloads);
    }
    recorded(&service, 100);
}

#[test]
fn asked_at_any_moment_of_the_very_first_start_it_never_takes_the_database_for_a_foreign_one() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    for _ in 0..10 {
        service.kill();
        for ending in ["", "-wal", "-shm", ".lock"] {
            std::fs::remove_file(format!("{}{ending}", service.database().display())).ok();
        }
        service.restart();
        let mut asked = 0;
        loop {
            let output = service.mrosync(&["records"], &["--format", "json"]);
            if output.status.success() {
                break;
            }
            asked += 1;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("makes it when it first runs") && asked < 1000, "{error}");
        }
    }
}

#[test]
fn without_a_database_it_fails_with_1_and_says_so() {
    let setup = Setup::new().server(Server::at("omc01", "127.0.0.1:1".parse().unwrap()));
    let output = setup.command(&["records"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("records.db"), "{output:?}");
    assert!(!setup.directory().join("records.db").is_file(), "looking makes nothing");
}

/// interface 1.4, 14.1, 14.2, 14.3, 14.4, 14.5
#[test]
fn filters_show_the_records_that_all_of_them_fit() {
    let ftp = ScriptedServer::start();
    for name in ["/in/a.zip", "/in/b.zip", "/out/a.zip"] {
        ftp.put(name, File::new(zip(1, 3000)));
    }
    let service = one(&ftp).started().run();
    recorded(&service, 3);
    let shown = |arguments: &[&str]| {
        let mut paths = paths(&records(&service, &[arguments, &["--format", "json"]].concat()));
        paths.sort_unstable();
        paths
    };
    assert_eq!(shown(&["--path", "a.zip"]), ["/in/a.zip", "/out/a.zip"]);
    assert_eq!(shown(&["--path", "/in/*", "--path", "/out/**"]).len(), 3);
    assert_eq!(shown(&["--server", "omc01", "--server", "omc01", "--path", "/in/*"]).len(), 2);
    assert_eq!(shown(&["--unannounced", "--present", "--since", "2020-01-01"]).len(), 3);
    for none in [&["--evicted"][..], &["--announced"], &["--until", "2020-01-01"]] {
        assert_eq!(shown(none), [""; 0], "{none:?}");
    }
    let refused = service.mrosync(&["records"], &["--path", "[a"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
