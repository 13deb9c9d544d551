//! Other files than zips: which are fetched, and when one of them counts as whole.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::sftp::SftpServer;
use crate::support::steps::{
    self, SOON, content, count_logged, faultless, names, ready, recorded, says, scanned, shown,
};
use crate::support::zips::{noise, zip};

/// What the tests fetch unless they say otherwise.
const FILES: &str = "['*.zip', '*.GZ', '*.xml']";
/// Another time of change than files have at first.
const LATER: i64 = 1_800_000_000;

/// A server of either protocol, and a way to put files on it.
enum Remote {
    Ftp(ScriptedServer),
    Sftp(SftpServer),
}

impl Remote {
    fn both() -> [Self; 2] {
        [Self::Ftp(ScriptedServer::start()), Self::Sftp(SftpServer::start())]
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        match self {
            Self::Ftp(ftp) => ftp.put(path, File::new(bytes)),
            Self::Sftp(sftp) => sftp.put(path, bytes),
        }
    }

    fn server(&self, files: &str) -> Server {
        let server = match self {
            Self::Ftp(ftp) => Server::scripted("omc01", ftp),
            Self::Sftp(sftp) => sftp.server("omc01"),
        };
        server.key("files", files)
    }

    /// The program that fetches `files` of it, in which a file stands still after `stands`.
    fn collect(&self, files: &str, stands: Duration) -> Service {
        let setup = Setup::new().server(self.server(files));
        setup.env("MROSYNC_STANDS_MS", &stands.as_millis().to_string()).started().run()
    }
}

/// What the log warns of, but for the notify host that is not there.
fn warnings(service: &Service) -> Vec<String> {
    let mut lines = steps::warnings(service);
    lines.retain(|line| !line.contains("[notify::"));
    lines
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn xml(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("<object id=\"{n}\"/>\n").into_bytes()).collect()
}

/// interface 5.30, 5.31, 10.1, 10.31, 10.32
#[test]
fn files_of_the_names_that_are_asked_for_are_fetched_in_any_case_and_no_others() {
    for remote in Remote::both() {
        let files = [
            ("1.zip", zip(1, 3000)),
            ("2.gz", gzip(&noise(2, 9000))),
            ("3.TAR.gZ", gzip(&noise(3, 200_000))),
            ("4.XML", xml(100)),
        ];
        for (name, bytes) in &files {
            remote.put(&format!("/in/{name}"), bytes.clone());
        }
        for name in ["5.txt", "6.gz.tmp", "7.xml.filepart", "8"] {
            remote.put(&format!("/in/{name}"), xml(10));
        }
        let service = remote.collect(FILES, Duration::ZERO);
        recorded(&service, 4);
        scanned(&service, 2);
        let expected: Vec<_> = files.iter().map(|(name, _)| format!("omc01/in/{name}")).collect();
        assert_eq!(names(&service), expected);
        for (name, bytes) in files {
            assert!(content(&service, &format!("omc01/in/{name}")) == bytes, "{name}");
        }
        assert_eq!((shown(&service, "files_seen"), shown(&service, "pending_files")), (4.into(), 0.into()));
        assert!(warnings(&service).is_empty(), "{:?}", warnings(&service));
    }
}

/// interface 10.1
#[test]
fn zips_alone_are_fetched_where_nothing_is_said() {
    let ftp = ScriptedServer::start();
    for (path, bytes) in [("/1.ZIP", zip(1, 3000)), ("/2.gz", gzip(b"two")), ("/3.xml", xml(10))] {
        ftp.put(path, File::new(bytes));
    }
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).env("MROSYNC_STANDS_MS", "0");
    let service = setup.started().run();
    recorded(&service, 1);
    scanned(&service, 3);
    assert_eq!((names(&service), ftp.count("RETR")), (vec!["omc01/1.ZIP".to_owned()], 1));
}

/// interface 10.31
#[test]
fn a_cut_or_damaged_gzip_file_is_never_taken_and_a_whole_one_at_once() {
    for remote in Remote::both() {
        let (cut, damaged) = (gzip(&noise(1, 50_000)), gzip(&noise(2, 5000)));
        let mut changed = damaged.clone();
        changed[2000] ^= 1;
        remote.put("/cut.gz", &cut[..20_000]);
        remote.put("/damaged.gz", changed);
        remote.put("/whole.gz", gzip(b"whole"));
        // one that must stand still is not taken in this test
        let service = remote.collect(FILES, Duration::from_hours(1));
        recorded(&service, 1);
        service.wait_for(SOON, "both were tried", |service| shown(service, "incomplete_files") == 2);
        scanned(&service, 3);
        assert_eq!(names(&service), ["omc01/whole.gz"]);
        assert!(count_logged(&service, "the gzip file has no end") > 0);
        assert!(count_logged(&service, "the gzip file is not whole") > 0);
        remote.put("/cut.gz", cut.clone());
        recorded(&service, 2);
        assert!(content(&service, "omc01/cut.gz") == cut);
        assert!(service.partial().is_empty(), "{:?}", service.partial());
    }
}

/// interface 10.31
#[test]
fn a_gzip_file_of_several_members_is_taken_once_it_stands_still() {
    let ftp = ScriptedServer::start();
    let remote = Remote::Ftp(ftp);
    let parts: Vec<_> = (0..4).map(|n| gzip(&noise(n, 5000))).collect();
    let service = remote.collect(FILES, Duration::from_millis(1500));
    for end in 2..4 {
        remote.put("/log.gz", parts[..end].concat());
        ready(&service);
        scanned(&service, 1);
        assert!(names(&service).is_empty());
    }
    remote.put("/log.gz", parts.concat());
    recorded(&service, 1);
    assert!(content(&service, "omc01/log.gz") == parts.concat());
    assert!(warnings(&service).is_empty(), "{:?}", warnings(&service));
}

/// interface 10.31
#[test]
fn a_gzip_file_that_is_larger_or_smaller_than_shown_waits_until_it_stands_still() {
    for showing in [3000, 90_000] {
        let ftp = ScriptedServer::start();
        let bytes = gzip(&noise(1, 9000));
        ftp.put("/1.gz", File::new(bytes.clone()).showing(showing));
        let stands = Instant::now();
        let remote = Remote::Ftp(ftp);
        let service = remote.collect(FILES, Duration::from_millis(1500));
        recorded(&service, 1);
        assert!(stands.elapsed() >= Duration::from_millis(1500));
        assert!(content(&service, "omc01/1.gz") == bytes);
        assert_eq!(count_logged(&service, "and the gzip file that came is whole with"), 1);
    }
}

/// interface 10.32
#[test]
fn a_file_that_shows_no_end_is_fetched_once_when_it_stands_still_and_never_while_it_grows() {
    for remote in Remote::both() {
        let whole = xml(5000);
        remote.put("/1.xml", &whole[..100]);
        // the servers show the same time all along
        let service = remote.collect(FILES, Duration::from_millis(2000));
        ready(&service);
        let began = Instant::now();
        for step in 1..8 {
            remote.put("/1.xml", &whole[..step * 1000]);
            scanned(&service, 1);
        }
        assert!(began.elapsed() > Duration::from_millis(1000), "it grew for a while");
        assert!(service.records().is_empty() && service.partial().is_empty());
        assert_eq!(
            (shown(&service, "pending_files"), shown(&service, "incomplete_files")),
            (1.into(), 0.into())
        );
        remote.put("/1.xml", whole.clone());
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.xml") == whole);
        faultless(&service);
        scanned(&service, 1);
        if let Remote::Ftp(ftp) = &remote {
            assert_eq!(ftp.count("RETR"), 1);
        }
        assert!(warnings(&service).is_empty(), "{:?}", warnings(&service));
    }
}

/// interface 10.32
#[test]
fn a_file_that_grows_while_it_is_read_is_not_taken_half() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.xml", File::new(xml(100)).growing_while_read(5000));
    let remote = Remote::Ftp(ftp);
    let service = remote.collect(FILES, Duration::ZERO);
    ready(&service);
    service.wait_for(SOON, "it was tried", |service| shown(service, "incomplete_files") == 1);
    scanned(&service, 2);
    assert!(service.records().is_empty());
    remote.put("/1.xml", xml(900));
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.xml") == xml(900));
}

/// interface 10.6
#[test]
fn a_file_that_shows_no_end_and_changes_later_is_fetched_and_announced_again_and_a_proved_one_is_not() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/1.xml", File::new(xml(10)));
    ftp.put("/2.gz", File::new(gzip(b"two")));
    let server = Server::scripted("omc01", &ftp).key("files", FILES);
    let setup = Setup::new().server(server).notify(&notify.url()).env("MROSYNC_STANDS_MS", "0");
    let service = setup.started().run();
    recorded(&service, 2);
    notify.wait_for(SOON, "both are announced", |calls| calls.len() == 2);
    ftp.put("/1.xml", File::new(xml(20)).modified(LATER));
    ftp.put("/2.gz", File::new(gzip(b"more than two")).modified(LATER));
    notify.wait_for(SOON, "one is announced again", |calls| calls.len() == 3);
    service.wait_for(SOON, "the change is counted", |service| shown(service, "changed_files") == 1);
    assert!(content(&service, "omc01/1.xml") == xml(20) && content(&service, "omc01/2.gz") == gzip(b"two"));
    assert_eq!(service.records().len(), 2);
}

/// interface 10.32
#[test]
fn a_file_without_a_size_or_with_a_hole_at_its_end_must_stay_the_same_for_long() {
    let ftp = ScriptedServer::start();
    let hole = [&xml(10)[..], &[0; 20_000]].concat();
    ftp.put("/hole.xml", File::new(hole.clone()));
    ftp.put("/unsized.xml", File::new(xml(20)));
    ftp.rule(Rule::on("SIZE").about("/unsized.xml").reply("502 no\r\n"));
    ftp.rule(
        Rule::on("MLSD")
            .about("/")
            .content(format!("type=file;size={}; hole.xml\r\ntype=file; unsized.xml\r\n", hole.len())),
    );
    let setup = Setup::new().server(Server::scripted("omc01", &ftp).key("files", FILES));
    let setup = setup.env("MROSYNC_STANDS_MS", "0").env("MROSYNC_STAYS_MS", "3000");
    let began = Instant::now();
    let service = setup.started().run();
    ready(&service);
    service.wait_for(SOON, "both were tried", |service| shown(service, "incomplete_files") == 2);
    recorded(&service, 2);
    assert!(began.elapsed() >= Duration::from_millis(3000));
    assert_eq!(content(&service, "omc01/hole.xml").len(), hole.len());
}

/// interface 10.12
#[test]
fn the_size_alone_decides_where_that_is_asked_for() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.xml", File::new(xml(10)));
    ftp.put("/2.gz", File::new(xml(10)));
    let server = Server::scripted("omc01", &ftp).key("files", FILES).key("verify", "'size'");
    // nothing stands still in this test
    let service = Setup::new().server(server).env("MROSYNC_STANDS_MS", "3600000").started().run();
    recorded(&service, 2);
}

/// interface 5.32, 7.3
#[test]
fn a_reload_that_asks_for_more_files_finds_them_where_nothing_has_changed() {
    for remote in Remote::both() {
        remote.put("/in/1.zip", zip(1, 3000));
        remote.put("/in/2.gz", gzip(b"two"));
        let toml = |files: &str| remote.server(files).toml();
        let setup = Setup::new().toml(&toml("['*.zip']")).env("MROSYNC_STANDS_MS", "0");
        let mut service = setup.started().run();
        recorded(&service, 1);
        // its listing is remembered as one without anything new
        scanned(&service, 4);
        service.configure(1, &toml("['*.zip', '*.gz']"));
        let answer = service.command("reload");
        assert!(answer.starts_with("ok: 1 server changed"), "{answer}");
        recorded(&service, 2);
        service.configure(1, &toml("['*.xml']"));
        assert!(service.command("reload").starts_with("ok: 1 server changed"));
        remote.put("/in/3.zip", zip(3, 3000));
        remote.put("/in/4.xml", xml(4));
        recorded(&service, 3);
        assert_eq!(names(&service), ["omc01/in/1.zip", "omc01/in/2.gz", "omc01/in/4.xml"]);
    }
}

/// interface 16.2, 16.3
#[test]
fn files_of_such_names_are_marked_as_fetched_like_zips() {
    let ftp = ScriptedServer::start();
    for path in ["/in/1.xml", "/in/2.GZ", "/in/3.txt"] {
        ftp.put(path, File::new(xml(10)));
    }
    let setup = || Setup::new().server(Server::scripted("omc01", &ftp).key("files", FILES));
    let local = setup();
    let home = local.directory().join("sync/omc01/in");
    fs::create_dir_all(&home).unwrap();
    for name in ["1.XML", "2.gz", "3.txt", "4.zip"] {
        fs::write(home.join(name), xml(3)).unwrap();
    }
    for (setup, argument, count) in [(local, "--local", "3"), (setup(), "--listed", "2")] {
        let output =
            setup.command(&["records", "mark"]).args([argument, "--confirm", count]).output().unwrap();
        says(&output, 0, &format!("{count} changed"));
    }
}

/// interface 11.5
#[test]
fn files_of_such_names_make_a_mirror_that_new_records_do_not_know() {
    let ftp = ScriptedServer::start();
    let setup = || Setup::new().server(Server::scripted("omc01", &ftp).key("files", "['*.xml']"));
    for (setup, ending, is_held) in [(setup(), "XML", true), (setup(), "zip", false)] {
        let home = setup.directory().join("sync/omc01");
        fs::create_dir_all(&home).unwrap();
        (0..20).for_each(|n| fs::write(home.join(format!("{n}.{ending}")), xml(1)).unwrap());
        let service = setup.started().run();
        ready(&service);
        assert_eq!(service.status()["mirror"]["held"], is_held, "{ending}");
    }
}

/// interface 1.12, 5.30
#[test]
fn check_says_which_files_would_be_fetched_and_refuses_patterns_over_paths() {
    let ftp = ScriptedServer::start();
    for path in ["/1.zip", "/2.xml", "/3.txt"] {
        ftp.put(path, File::new(xml(10)));
    }
    let check = |files: &str| {
        let server = Server::scripted("omc01", &ftp).key("files", files).key("since", "'2000-01-01'");
        Setup::new().server(server).command(&["check"]).output().unwrap()
    };
    let told = check("['*.zip', '*.XML']");
    let line = String::from_utf8_lossy(&told.stdout).into_owned();
    let expected = "/: 0 directories, 2 files; fetches *.zip, *.XML; left out by since 2000-01-01T00:00:00Z";
    assert!(line.contains(expected), "{line}");
    says(&check("['/in/*.xml']"), 2, "(omc01).files: \"/in/*.xml\" holds a slash");
    says(&check("[]"), 2, "(omc01).files: must be a list of strings, at least one");
}
