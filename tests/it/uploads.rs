//! Files that are still being uploaded, replaced, renamed, or never finished: each ends whole or is not taken.

use chrono::DateTime;

use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::steps::{SOON, content, faultless, logged, names, one, put, recorded, rescanned, shown};
use crate::support::zips::{noise, zip};

/// Another time of change than files have at first.
const LATER: i64 = 1_800_000_000;

#[test]
fn an_upload_that_stalls_for_many_intervals_ends_whole() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 50_000);
    put(&ftp, "/other.zip", zip(2, 2000));
    ftp.put("/1.zip", File::new(&whole[..10_000]).modified(LATER));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    for (n, end) in [20_000, 40_000].into_iter().enumerate() {
        ftp.put("/1.zip", File::new(&whole[..end]).modified(LATER + 1 + n as i64));
        rescanned(&ftp, 4);
        assert_eq!(names(&service), ["omc01/other.zip"]);
        service.wait_for(SOON, "it is shown", |service| shown(service, "incomplete_files") == 1);
    }
    ftp.put("/1.zip", File::new(whole.clone()).modified(LATER + 9));
    recorded(&service, 2);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    faultless(&service);
    assert_eq!((shown(&service, "incomplete_files"), shown(&service, "pending_files")), (0.into(), 0.into()));
}

#[test]
fn a_file_that_is_renamed_when_its_upload_is_done_is_fetched_once_and_whole() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 20_000);
    for (n, part) in ["/1.zip.tmp", "/.2.zip.part", "/3.tmp", "/up/4.zip.filepart"].iter().enumerate() {
        put(&ftp, part, &whole[..5_000 + n]);
    }
    let service = one(&ftp).started().run();
    rescanned(&ftp, 2);
    assert_eq!(ftp.count("RETR"), 0, "what is not named .zip yet is left alone");
    ftp.edit(|tree| {
        for (part, done) in [
            ("/1.zip.tmp", "/1.zip"),
            ("/.2.zip.part", "/2.zip"),
            ("/3.tmp", "/3.zip"),
            ("/up/4.zip.filepart", "/4.zip"),
        ] {
            tree.remove(part);
            tree.put(done, File::new(whole.clone()));
        }
    });
    recorded(&service, 4);
    rescanned(&ftp, 1);
    assert_eq!(ftp.count("RETR"), 4);
    for n in 1..=4 {
        assert_eq!(content(&service, &format!("omc01/{n}.zip")), whole);
    }
    faultless(&service);
}

#[test]
fn a_file_that_is_renamed_over_an_unfinished_one_is_taken_and_over_a_taken_one_is_counted() {
    let ftp = ScriptedServer::start();
    let (unfinished, taken) = (zip(1, 20_000), zip(2, 20_000));
    put(&ftp, "/unfinished.zip", &unfinished[..9_000]);
    put(&ftp, "/taken.zip", taken.clone());
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "the other is not taken", |service| shown(service, "incomplete_files") == 1);
    let (first, second) = (zip(3, 9_000 - 500), zip(4, 30_000));
    ftp.put("/unfinished.zip", File::new(first.clone()).modified(LATER));
    ftp.put("/taken.zip", File::new(second).modified(LATER));
    recorded(&service, 2);
    assert_eq!(content(&service, "omc01/unfinished.zip"), first);
    service.wait_for(SOON, "the change is counted", |service| shown(service, "changed_files") == 1);
    assert_eq!(content(&service, "omc01/taken.zip"), taken);
    faultless(&service);
}

#[test]
fn a_file_that_is_replaced_while_it_is_fetched_ends_as_one_of_the_two() {
    let (old, new) = (zip(1, 300_000), zip(2, 350_000));
    let mixed = [&old[..100_000], &new[100_000..]].concat();
    // the system goes on with the old content; or the new one is written into the same file
    for sent in [old.clone(), mixed] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", old.clone());
        ftp.rule(Rule::on("RETR").once().content(&sent));
        ftp.rule(Rule::on("RETR").once().stall(100_000));
        let service = one(&ftp).started().run();
        ftp.wait_for(SOON, "a third of it", |journal| journal.retrs.iter().any(|retr| retr.sent >= 100_000));
        ftp.put("/1.zip", File::new(new.clone()).modified(LATER));
        ftp.release();
        recorded(&service, 1);
        rescanned(&ftp, 2);
        let got = content(&service, "omc01/1.zip");
        let tries = ftp.retrs("/1.zip");
        if sent == old {
            assert!(got == old && tries == 1, "{tries}");
            assert_eq!(shown(&service, "changed_files"), 1, "and the new one is known to be there");
        } else {
            assert!(got == new && tries == 2, "{tries}");
            assert!(!logged(&service, "the zip archive is not whole").is_empty());
        }
        faultless(&service);
    }
}

#[test]
fn a_file_that_is_replaced_before_it_could_be_taken_is_fetched_as_it_is_then() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", &zip(1, 20_000)[..15_000]);
    let service = one(&ftp).started().run();
    service.wait_for(SOON, "it is shown", |service| shown(service, "incomplete_files") == 1);
    // the same size, another time and content
    let fresh = zip(2, 15_000 - 108);
    assert_eq!(fresh.len(), 15_000);
    ftp.put("/1.zip", File::new(fresh.clone()).modified(LATER));
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), fresh);
}

#[test]
fn files_that_never_become_whole_are_shown_with_reason_tries_and_next_try() {
    let ftp = ScriptedServer::start();
    (0..8).for_each(|n| put(&ftp, format!("/cut/{n}.zip"), &zip(n, 5000)[..4000]));
    ftp.put("/short.zip", File::new(noise(9, 3000)).showing(6000));
    put(&ftp, "/forbidden.zip", zip(10, 3000));
    ftp.rule(Rule::on("RETR").about("/forbidden.zip").reply("550 Permission denied.\r\n"));
    put(&ftp, "/good.zip", zip(11, 3000));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "all of them are counted", |service| shown(service, "incomplete_files") == 10);
    let several_tries = |service: &crate::support::service::Service| {
        let files = shown(service, "incomplete");
        files.as_array().is_some_and(|files| files.iter().all(|file| file["tries"].as_u64() > Some(1)))
    };
    service.wait_for(SOON, "several tries", several_tries);
    let files = shown(&service, "incomplete").as_array().cloned().unwrap();
    assert_eq!(files.len(), 5, "the first few");
    let reasons = ["the zip archive has no end", "received", "RETR: 550 Permission denied."];
    for file in &files {
        let reason = file["reason"].as_str().unwrap();
        assert!(reasons.iter().any(|known| reason.starts_with(known)), "{file}");
        assert!(file["path"].as_str().unwrap().starts_with('/'), "{file}");
        let time = |key: &str| DateTime::parse_from_rfc3339(file[key].as_str().unwrap()).unwrap();
        assert!(time("since") < time("next_try"), "{file}");
    }
    assert_eq!(shown(&service, "pending_files"), 10);
    let table = service.mrosync(&["ctl"], &["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("NOT TAKEN YET") && table.contains("omc01 … and 5 more"), "{table}");
    // once they are whole they are taken, and shown no more
    (0..8).for_each(|n| ftp.put(format!("/cut/{n}.zip"), File::new(zip(n, 5000)).modified(LATER)));
    recorded(&service, 9);
    service.wait_for(SOON, "two are left", |service| shown(service, "incomplete_files") == 2);
}
