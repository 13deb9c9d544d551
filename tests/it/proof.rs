//! Which bytes are believed: what is not there yet, what follows an archive or stands before it, sizes that are shown
//! wrong, and what was taken though it was no archive.

use crate::support::notify::NotifyStub;
use crate::support::scripted::{Ending, File, Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::sftp::SftpServer;
use crate::support::steps::{
    SOON, content, faultless, logged, names, one, put, ready, recorded, rescanned, shown, with,
};
use crate::support::zips::{noise, sized, zip};

/// Another time of change than files have at first.
const LATER: i64 = 1_800_000_000;

/// The archive with nothing but zeros in a part of it.
fn holed(whole: &[u8], from: usize, to: usize) -> Vec<u8> {
    let mut holed = whole.to_vec();
    holed[from..to].fill(0);
    holed
}

/// What a server has of an upload that reserved its room first, or wrote the middle last.
fn halves(whole: &[u8]) -> Vec<Vec<u8>> {
    let end = whole.len();
    vec![
        holed(whole, 0, end),
        holed(whole, 20_000, end),
        holed(whole, 20_000, 30_000),
        holed(whole, 0, 4096),
        holed(whole, end - 64, end - 30),
    ]
}

/// interface 10.10
#[test]
fn room_that_was_reserved_and_middles_that_come_last_are_never_taken_for_the_file() {
    let whole = zip(1, 50_000);
    let halves = halves(&whole);
    let ftp = ScriptedServer::start();
    let ssh = SftpServer::start();
    let notify = NotifyStub::start();
    for (n, half) in halves.iter().enumerate() {
        put(&ftp, format!("/{n}.zip"), half.clone());
        ssh.put(&format!("/{n}.zip"), half.clone());
    }
    let setup = one(&ftp).server(ssh.server("omc02")).notify(&notify.url());
    // nor when they stay as they are for long
    let service = setup.env("MROSYNC_STAYS_MS", "0").started().run();
    ready(&service);
    let tried = |service: &Service| {
        let tries = |server: &str| service.server_status(server)["incomplete_files"].as_u64();
        tries("omc01") == Some(5) && tries("omc02") == Some(5)
    };
    service.wait_for(SOON, "all were tried", tried);
    rescanned(&ftp, 2);
    assert!(names(&service).is_empty() && notify.calls().is_empty(), "{:?}", names(&service));
    for n in 0..halves.len() {
        ftp.put(format!("/{n}.zip"), File::new(whole.clone()).modified(LATER));
        ssh.put(&format!("/{n}.zip"), whole.clone());
    }
    recorded(&service, 10);
    assert!(names(&service).iter().all(|name| content(&service, name) == whole));
    notify.wait_for(SOON, "each is announced once", |calls| calls.len() == 10);
    faultless(&service);
}

/// interface 10.15
#[test]
fn an_archive_with_bytes_behind_it_is_taken_at_first_sight_with_a_warning() {
    let plain = zip(1, 20_000);
    let tails: [Vec<u8>; 5] = [
        b"\n".to_vec(),
        b"\r\n".to_vec(),
        vec![0; 512 - plain.len() % 512],
        noise(9, 300),
        noise(8, 100_000),
    ];
    for verify in ["'auto'", "'zip'"] {
        let ftp = ScriptedServer::start();
        for (n, tail) in tails.iter().enumerate() {
            put(&ftp, format!("/{n}.zip"), [&plain[..], tail].concat());
        }
        let service = with(&ftp, &[("verify", verify)]).started().run();
        recorded(&service, 5);
        for (n, tail) in tails.iter().enumerate() {
            assert_eq!(content(&service, &format!("omc01/{n}.zip")), [&plain[..], tail].concat());
            assert_eq!(ftp.retrs(format!("/{n}.zip")), 1);
        }
        faultless(&service);
        let told = logged(&service, "bytes follow the zip archive; taken as it is");
        assert_eq!(told.iter().filter(|line| line.contains("WARN")).count(), 1, "{told:#?}");
        assert_eq!(
            logged(&service, "4 more files whose size or end was not as it should be were taken").len(),
            1
        );
    }
}

/// interface 10.15
#[test]
fn what_begins_otherwise_and_ends_as_an_archive_is_one_and_what_lies_within_another_is_not() {
    let ftp = ScriptedServer::start();
    let stubbed = [&b"#!/bin/sh\nexec unzip \"$0\"\n"[..], &zip(1, 20_000)].concat();
    put(&ftp, "/stub.zip", stubbed.clone());
    // an archive of archives, cut where the first of them ends
    let inner = zip(2, 3000);
    let mut outer = std::io::Cursor::new(Vec::new());
    let mut writer = ::zip::ZipWriter::new(&mut outer);
    let stored = ::zip::write::SimpleFileOptions::default();
    let stored = stored.compression_method(::zip::CompressionMethod::Stored);
    for name in ["a.zip", "b.zip"] {
        writer.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut writer, &inner).unwrap();
    }
    writer.finish().unwrap();
    let outer = outer.into_inner();
    let end = 30 + "a.zip".len() + inner.len();
    assert_eq!(outer[end - inner.len()..end], inner);
    put(&ftp, "/outer.zip", &outer[..end]);
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/stub.zip"), stubbed);
    service.wait_for(SOON, "the other is not taken", |service| shown(service, "incomplete_files") == 1);
    ftp.put("/outer.zip", File::new(outer.clone()).modified(LATER));
    recorded(&service, 2);
    assert_eq!(content(&service, "omc01/outer.zip"), outer);
}

/// interface 10.6
#[test]
fn what_was_taken_as_no_archive_is_fetched_and_announced_again_when_it_changes() {
    let ftp = ScriptedServer::start();
    let ssh = SftpServer::start();
    let notify = NotifyStub::start();
    let first = noise(1, 5000);
    put(&ftp, "/empty.zip", "");
    put(&ftp, "/text.zip", first.clone());
    ssh.put("/text.zip", first.clone());
    let setup = one(&ftp).server(ssh.server("omc02")).notify(&notify.url());
    let mut service = setup.env("MROSYNC_STAYS_MS", "700").started().run();
    recorded(&service, 3);
    notify.wait_for(SOON, "all are announced", |calls| calls.len() == 3);
    // half an archive does not take the place of what is there
    let (filled, whole) = (zip(2, 30_000), zip(3, 40_000));
    ftp.put("/empty.zip", File::new(filled.clone()).modified(LATER));
    ftp.put("/text.zip", File::new(&whole[..20_000]).modified(LATER));
    service.wait_for(SOON, "the first of them", |service| service.mirrored()["omc01/empty.zip"] > 0);
    // a kill may repeat a call whose answer is not on record
    notify.wait_for(SOON, "its call", |calls| calls.len() == 4);
    service.wait_for(SOON, "its answer is on record", |service| service.status()["notify"]["pending"] == 0);
    service.restart();
    ready(&service);
    service.wait_for(SOON, "the other is tried", |service| shown(service, "incomplete_files") == 1);
    assert_eq!(content(&service, "omc01/text.zip"), first);
    ftp.put("/text.zip", File::new(whole.clone()).modified(LATER + 1));
    ssh.put("/text.zip", whole.clone());
    notify.wait_for(SOON, "each is announced once more", |calls| calls.len() == 6);
    recorded(&service, 3);
    assert_eq!(content(&service, "omc01/empty.zip"), filled);
    assert_eq!(content(&service, "omc01/text.zip"), whole);
    assert_eq!(content(&service, "omc02/text.zip"), whole);
    let bytes: u64 = service.mirrored().values().sum();
    service.wait_for(SOON, "the bytes are right", |service| {
        service.status()["disk"]["mirror_bytes"] == bytes && service.partial().is_empty()
    });
    assert_eq!(shown(&service, "changed_files"), 0);
    // now they are archives, which are fetched once
    let retrs = ftp.count("RETR");
    ftp.put("/text.zip", File::new(zip(5, 1000)).modified(LATER + 2));
    service.wait_for(SOON, "the change is counted", |service| shown(service, "changed_files") == 1);
    assert_eq!((ftp.count("RETR"), notify.calls().len()), (retrs, 6));
    faultless(&service);
}

/// interface 10.6
#[test]
fn what_was_taken_as_no_archive_and_is_only_touched_is_not_announced_again() {
    let ftp = ScriptedServer::start();
    let notify = NotifyStub::start();
    put(&ftp, "/empty.zip", "");
    put(&ftp, "/text.zip", noise(1, 5000));
    let setup = one(&ftp).notify(&notify.url()).env("MROSYNC_STAYS_MS", "300");
    let service = setup.started().run();
    recorded(&service, 2);
    notify.wait_for(SOON, "both are announced", |calls| calls.len() == 2);
    ftp.put("/empty.zip", File::new("").modified(LATER));
    ftp.put("/text.zip", File::new(noise(1, 5000)).modified(LATER));
    let times = |service: &Service| {
        service
            .records()
            .iter()
            .all(|record| record["modified"].as_str().is_some_and(|at| at.starts_with("2027")))
    };
    service.wait_for(SOON, "the new times are known", times);
    put(&ftp, "/other.zip", zip(3, 1000));
    notify.wait_for(SOON, "another one", |calls| calls.len() == 3);
    assert_eq!(notify.files().iter().filter(|file| file.contains("other")).count(), 1);
    service.wait_for(SOON, "nothing is left over", |service| service.partial().is_empty());
}

/// interface 10.9
#[test]
fn a_size_that_is_shown_wrong_gives_way_to_an_archive_that_is_proved() {
    for wrong in [0, 10, 999_999, u64::MAX / 2] {
        let ftp = ScriptedServer::start();
        let whole = zip(1, 5000);
        ftp.put("/a.zip", File::new(whole.clone()).showing(wrong));
        ftp.put("/b.zip", File::new(whole.clone()).showing(wrong));
        ftp.put("/other.zip", File::new(noise(1, 5000)).showing(wrong));
        ftp.put("/cut.zip", File::new(&whole[..4000]).showing(wrong));
        let service = one(&ftp).env("MROSYNC_STAYS_MS", "0").started().run();
        recorded(&service, 2);
        assert_eq!(content(&service, "omc01/a.zip"), whole);
        service.wait_for(SOON, "the others wait", |service| shown(service, "incomplete_files") == 2);
        assert_eq!(names(&service), ["omc01/a.zip", "omc01/b.zip"]);
        let text = format!(
            "the server shows {wrong} bytes, and the zip archive that came is whole with {}",
            whole.len()
        );
        let told = logged(&service, &text);
        assert_eq!(told.iter().filter(|line| line.contains("WARN")).count(), 1, "{told:#?}");
        // the size is wrong for good, which is no change of the file
        rescanned(&ftp, 2);
        assert_eq!(shown(&service, "changed_files"), 0);
        let strict = ScriptedServer::start();
        strict.put("/a.zip", File::new(whole.clone()).showing(wrong));
        let service = with(&strict, &[("verify", "'size'")]).started().run();
        strict.wait_for(SOON, "tries", |journal| journal.retrs_of("/a.zip") >= 2);
        assert!(names(&service).is_empty() && service.records().is_empty());
    }
}

/// interface 10.8
#[test]
fn a_data_connection_that_ends_with_a_reset_after_the_last_byte_is_complete() {
    let ftp = ScriptedServer::start();
    let whole = sized(1, 200_000);
    for name in ["sized", "unsized"] {
        put(&ftp, format!("/{name}.zip"), whole.clone());
    }
    let listing = b"type=file;size=200000;modify=20261123030000; sized.zip\r\ntype=file; unsized.zip\r\n";
    ftp.rule(Rule::on("MLSD").content(listing));
    ftp.rule(Rule::on("MLSD").cut(listing.len() as u64, Ending::Reset));
    ftp.rule(Rule::on("SIZE").about("/unsized.zip").reply("550 no\r\n"));
    ftp.rule(Rule::on("RETR").cut(200_000, Ending::Reset));
    let service = one(&ftp).started().run();
    recorded(&service, 2);
    assert_eq!((ftp.retrs("/sized.zip"), ftp.retrs("/unsized.zip")), (1, 1));
    assert!(content(&service, "omc01/sized.zip") == whole && content(&service, "omc01/unsized.zip") == whole);
    faultless(&service);
}

#[test]
fn a_data_connection_that_is_reset_before_the_last_byte_is_cut_whatever_the_server_says() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 200_000);
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(Rule::on("RETR").times(2).cut(120_000, Ending::Reset));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == whole);
    let told = logged(&service, "the data connection broke after 120000 of");
    assert!(!told.is_empty(), "{told:?}");
    let offsets: Vec<u64> = ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.offset).collect());
    assert!(offsets[1] > 0, "it is resumed: {offsets:?}");
    // a listing that is cut in the middle of a line is none
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip.part", "x");
    ftp.rule(Rule::on("MLSD").content("type=file;size=1; 1.zip.part\r\n"));
    ftp.rule(Rule::on("MLSD").cut("type=file;size=1; 1.zip".len() as u64, Ending::Reset));
    let service = one(&ftp).started().run();
    crate::support::steps::error_shown(&service, "the data connection broke in the middle of a line");
    assert_eq!(ftp.count("RETR"), 0);
}
