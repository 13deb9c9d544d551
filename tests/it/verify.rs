//! When a file is taken for whole, and what becomes of one that is not.

use std::time::{Duration, Instant};

use crate::support::scripted::{Command, Ending, File, Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, ready, recorded, rescanned, shown, with,
};
use crate::support::zips::{noise, sized, zip};

/// Another time of change than files have at first.
const LATER: i64 = 1_800_000_000;

/// Nothing of the server is in the mirror or on record.
#[track_caller]
fn nothing_taken(service: &Service) {
    assert!(service.records().is_empty(), "recorded: {:?}", service.records());
    assert!(names(service).is_empty(), "mirrored: {:?}", names(service));
}

/// Waits until the file was asked for this often, and the scan of the last time is over.
#[track_caller]
fn tried(ftp: &ScriptedServer, path: &str, times: usize) {
    ftp.wait_for(SOON, "further tries", |journal| journal.retrs_of(path) >= times);
    rescanned(ftp, 1);
}

/// Listings of `/` that came before the first RETR.
fn listings_before_retr(ftp: &ScriptedServer, from: usize) -> usize {
    ftp.journal(|journal| {
        let commands = journal.commands.iter().skip(from);
        let before = commands.take_while(|command| command.verb != "RETR");
        before.filter(|command| is_listing_of_root(command)).count()
    })
}

fn is_listing_of_root(command: &Command) -> bool {
    command.verb == "MLSD" && command.path.as_deref() == Some(b"/")
}

/// interface 10.10, 10.13
#[test]
fn a_cut_zip_is_tried_again_at_growing_intervals_and_never_taken() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", &zip(1, 5000)[..4000]);
    put(&ftp, "/2.zip", zip(2, 2000));
    let service = one(&ftp).started().run();
    tried(&ftp, "/1.zip", 4);
    let began: Vec<_> = ftp.journal(|journal| {
        journal.retrs.iter().filter(|retr| retr.path == b"/1.zip").map(|retr| retr.began).collect()
    });
    for (n, wait) in [200, 400, 800].into_iter().enumerate() {
        let gap = began[n + 1] - began[n];
        assert!(gap >= Duration::from_millis(wait), "only {gap:?} before try {}", n + 2);
    }
    assert_eq!(names(&service), ["omc01/2.zip"]);
    assert_eq!((service.records().len(), ftp.retrs("/2.zip")), (1, 1));
    assert!(service.partial().is_empty(), "{:?}", service.partial());
    error_shown(&service, "/1.zip: the zip archive has no end");
    assert_eq!(shown(&service, "pending_files"), 1);
}

/// interface 10.13
#[test]
fn a_cut_zip_is_tried_at_once_when_its_size_or_time_changes() {
    for grows in [true, false] {
        let ftp = ScriptedServer::start();
        let whole = zip(1, 5000);
        let cut = if grows { whole[..4000].to_vec() } else { [&whole[..4000], &[0; 1174][..]].concat() };
        put(&ftp, "/1.zip", cut);
        let service = one(&ftp).started().run();
        tried(&ftp, "/1.zip", 4);
        let from = ftp.journal(|journal| journal.commands.len());
        let file = File::new(whole.clone());
        ftp.put("/1.zip", if grows { file } else { file.modified(LATER) });
        recorded(&service, 1);
        assert_eq!(content(&service, "omc01/1.zip"), whole);
        // its wait would have taken eight scans
        let listings = listings_before_retr(&ftp, from);
        assert!(listings <= 3, "{listings} scans passed");
        faultless(&service);
    }
}

#[test]
fn a_file_that_grows_scan_by_scan_ends_whole() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 50_000);
    put(&ftp, "/1.zip", &whole[..1]);
    let service = one(&ftp).started().run();
    for end in [10_000, whole.len() - 22, whole.len() - 1] {
        let tries = ftp.retrs("/1.zip");
        ftp.put("/1.zip", File::new(&whole[..end]).modified(1_700_000_000 + end as i64));
        tried(&ftp, "/1.zip", tries + 1);
        nothing_taken(&service);
    }
    ftp.put("/1.zip", File::new(whole.clone()).modified(LATER));
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
}

#[test]
fn a_file_that_grows_while_it_is_read_ends_whole() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 50_000);
    ftp.put("/1.zip", File::new(&whole[..20_000]).growing_while_read(5000));
    let service = one(&ftp).started().run();
    tried(&ftp, "/1.zip", 2);
    nothing_taken(&service);
    ftp.put("/1.zip", File::new(whole.clone()).modified(LATER));
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
}

/// interface 10.11
#[test]
fn an_empty_file_is_taken_only_when_a_second_scan_sees_it_empty() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/0.zip", "");
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    let before = listings_before_retr(&ftp, 0);
    assert!(before >= 2, "taken after {before} scans");
    assert_eq!((service.mirrored()["omc01/0.zip"], &service.records()[0]["size"]), (0, &0.into()));
    faultless(&service);
}

#[test]
fn an_empty_file_that_fills_up_before_the_second_scan_is_never_taken_empty() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/0.zip", "");
    ftp.rule(Rule::on("MLSD").after(1).once().hang());
    let service = one(&ftp).started().run();
    ftp.wait_for(SOON, "the second scan", |journal| journal.listings_of("/") == 2);
    let whole = zip(1, 3000);
    ftp.put("/0.zip", File::new(whole.clone()).modified(LATER));
    ftp.release();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/0.zip"), whole);
}

/// interface 10.11
#[test]
fn what_is_no_zip_archive_is_taken_with_a_warning_once_it_has_stayed_the_same() {
    let ftp = ScriptedServer::start();
    let bytes = noise(1, 5000);
    put(&ftp, "/1.zip", bytes.clone());
    put(&ftp, "/changes.zip", noise(2, 5000));
    let began = Instant::now();
    let service = one(&ftp).env("MROSYNC_STAYS_MS", "3000").started().run();
    ready(&service);
    // the same size and time, and other bytes each time
    ftp.wait_for(SOON, "it was fetched", |journal| journal.retrs_of("/changes.zip") >= 3);
    put(&ftp, "/changes.zip", noise(3, 5000));
    recorded(&service, 1);
    assert!(began.elapsed() > Duration::from_secs(3));
    assert_eq!(names(&service), ["omc01/1.zip"]);
    assert_eq!(content(&service, "omc01/1.zip"), bytes);
    recorded(&service, 2);
    assert_eq!(content(&service, "omc01/changes.zip"), noise(3, 5000));
    let told = logged(&service, "it is no zip archive; taken as it is");
    let told: Vec<_> = told.into_iter().filter(|line| line.contains("WARN")).collect();
    assert!(told.len() == 2 && told[0].contains("/1.zip"), "{told:#?}");
    faultless(&service);
}

/// interface 10.12
#[test]
fn with_verify_zip_only_readable_archives_are_taken() {
    let ftp = ScriptedServer::start();
    let good = zip(1, 5000);
    let mut damaged = good.clone();
    damaged[2000] ^= 1;
    put(&ftp, "/good.zip", good);
    put(&ftp, "/damaged.zip", damaged.clone());
    put(&ftp, "/other.zip", noise(1, 5000));
    put(&ftp, "/empty.zip", "");
    let service = with(&ftp, &[("verify", "'zip'")]).started().run();
    for path in ["/damaged.zip", "/other.zip", "/empty.zip"] {
        tried(&ftp, path, 2);
    }
    recorded(&service, 1);
    assert_eq!(names(&service), ["omc01/good.zip"]);
    assert!(!logged(&service, "not a readable zip archive").is_empty());
    // "auto" takes no damaged archive either
    let ftp = ScriptedServer::start();
    put(&ftp, "/damaged.zip", damaged);
    let service = one(&ftp).started().run();
    tried(&ftp, "/damaged.zip", 3);
    nothing_taken(&service);
    assert!(!logged(&service, "the zip archive is not whole (entry 1: Invalid checksum)").is_empty());
}

/// interface 10.12
#[test]
fn with_verify_size_the_size_alone_counts() {
    let ftp = ScriptedServer::start();
    let cut = zip(1, 5000)[..4000].to_vec();
    put(&ftp, "/cut.zip", cut.clone());
    ftp.put("/short.zip", File::new(noise(1, 5000)).showing(6000));
    put(&ftp, "/unsized.zip", noise(2, 5000));
    let listing =
        b"type=file;size=4000; cut.zip\r\ntype=file;size=6000; short.zip\r\ntype=file; unsized.zip\r\n";
    ftp.rule(Rule::on("MLSD").content(listing));
    ftp.rule(Rule::on("SIZE").about("/unsized.zip").reply("550 no\r\n"));
    let service = with(&ftp, &[("verify", "'size'")]).started().run();
    tried(&ftp, "/short.zip", 2);
    tried(&ftp, "/unsized.zip", 2);
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/cut.zip"), cut);
    assert!(logged(&service, "no zip archive").is_empty());
    assert!(!logged(&service, "the server shows no size").is_empty());
    assert!(!logged(&service, "received 5000 bytes, but the server shows 6000").is_empty());
}

/// interface 10.7
#[test]
fn a_transfer_that_fails_in_any_way_is_never_taken() {
    let cut = |ending| Rule::on("RETR").cut(10_000, ending);
    let closing = |reply: &str| Rule::on("RETR").closing(reply);
    let cases = [
        ("cut, 226", cut(Ending::Success)),
        ("cut, 426", cut(Ending::Aborted)),
        ("cut, 426 and 226", cut(Ending::AbortedThenSuccess)),
        ("cut, connection closed", cut(Ending::Close)),
        ("cut, silence", cut(Ending::Silence)),
        ("nothing at all, 226", Rule::on("RETR").cut(0, Ending::Success)),
        ("all, 451", closing("451 Local error in processing.\r\n")),
        ("all, 426", closing("426 Connection closed; transfer aborted.\r\n")),
        ("all, 550", closing("550 Read error.\r\n")),
        ("all, silence", closing("")),
        ("refused with 550", Rule::on("RETR").reply("550 Permission denied.\r\n")),
        ("refused with 425", Rule::on("RETR").opening("425 Cannot open data connection.\r\n")),
    ];
    // each on a program of its own, four at a time
    for some in cases.chunks(4) {
        std::thread::scope(|scope| {
            for (what, rule) in some {
                scope.spawn(|| never_taken_while(what, rule.clone()));
            }
        });
    }
}

/// While `rule` holds the file is asked for and not taken; afterwards it is.
fn never_taken_while(what: &str, rule: Rule) {
    let ftp = ScriptedServer::start();
    let whole = sized(1, 30_000);
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(rule);
    let service = with(&ftp, &[("timeout", "'300ms'")]).started().run();
    ftp.wait_for(SOON, what, |journal| journal.count("RETR") >= 3);
    error_shown(&service, "");
    assert!(service.records().is_empty() && names(&service).is_empty(), "{what}: taken");
    ftp.behave();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole, "{what}");
    faultless(&service);
}

/// interface 10.7
#[test]
fn the_size_is_asked_for_where_the_listing_has_none_or_another_and_not_otherwise() {
    let ftp = ScriptedServer::start();
    let whole = sized(1, 5000);
    for name in ["same", "less", "more", "none"] {
        put(&ftp, format!("/{name}.zip"), whole.clone());
    }
    let listing = b"type=file;size=5000; same.zip\r\ntype=file;size=4000; less.zip\r\n\
        type=file;size=6000; more.zip\r\ntype=file; none.zip\r\n";
    ftp.rule(Rule::on("MLSD").content(listing));
    let service = one(&ftp).started().run();
    recorded(&service, 4);
    let asked: Vec<String> = ftp.commands().into_iter().filter(|line| line.starts_with("SIZE")).collect();
    for name in ["less", "more", "none"] {
        assert!(asked.iter().any(|line| line.contains(name)), "{name}: {asked:?}");
        assert_eq!(content(&service, &format!("omc01/{name}.zip")), whole);
    }
    assert!(!asked.iter().any(|line| line.contains("same")), "{asked:?}");
    assert!(service.records().iter().all(|record| record["size"] == 5000));
    // the listing is wrong for good, which is no change of the file
    rescanned(&ftp, 2);
    assert_eq!((shown(&service, "changed_files"), ftp.count("RETR")), (0.into(), 4));
}

#[test]
fn a_file_without_end_is_cut_off_and_not_taken() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", noise(1, 1000));
    put(&ftp, "/2.zip", zip(2, 2000));
    ftp.rule(Rule::on("RETR").about("/1.zip").repeat(noise(3, 60_000)));
    let service = one(&ftp).started().run();
    ftp.wait_for(SOON, "the end of the transfer", |journal| {
        journal.retrs.iter().any(|retr| retr.path == b"/1.zip" && retr.ended.is_some())
    });
    let sent = ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.sent).max().unwrap());
    // 64 MiB more than shown are read, and the system's buffers hold some more
    assert!(sent < 100 << 20, "{sent} bytes");
    recorded(&service, 1);
    assert_eq!(names(&service), ["omc01/2.zip"]);
}
