//! Memory: whatever the other end sends without end, the program stays small. The limits leave room for a slow
//! machine's backlog; what was measured stands beside them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{CONNECT, Rule, ScriptedServer};
use crate::support::service::{Service, Stream};
use crate::support::steps::{SOON, error_shown, one, put, ready, recorded, with};
use crate::support::zips::zip;

const MIB: u64 = 1 << 20;

/// For a million entries in a build that is not optimised, on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);

/// Panics unless the program never took more than `limit` bytes, and says what it took.
#[track_caller]
fn stays_below(service: &Service, limit: u64, what: &str) {
    let peak = service.peak_memory();
    eprintln!("peak memory, {what}: {:.1} MiB", peak as f64 / MIB as f64);
    assert!(peak < limit, "{what}: {peak} bytes of memory, not below {limit}");
}

#[test]
fn a_directory_of_a_million_entries_takes_little_memory() {
    let ftp = ScriptedServer::start();
    ftp.make_directory("/big");
    // 40,000 zips among them, more than a scan queues; and a million more entries than are read
    let others = "type=file;size=12;modify=20261123030000; omc_456456_mro.xml\r\n".repeat(24);
    ftp.rule(
        Rule::on("MLSD").about("/big").repeat(format!("{others}type=file;size=12; omc_{{n}}_mro.zip\r\n")),
    );
    // what is fetched meanwhile takes its time
    ftp.rule(Rule::on("RETR").hang());
    let service = with(&ftp, &[("timeout", "'60s'")]).interval("10m").started().run();
    ready(&service);
    let told = |service: &Service| {
        service.lines(Stream::Stderr).iter().any(|line| line.contains("larger than a listing may be"))
    };
    service.wait_for(LONG, "the listing is cut", told);
    assert!(ftp.journal(|journal| journal.data_bytes) > 50 * MIB, "it was not a million entries");
    // measured: 21 MiB
    stays_below(&service, 64 * MIB, "a million entries");
}

#[test]
fn thousands_of_directories_beside_each_other_take_little_memory() {
    let ftp = ScriptedServer::start();
    ftp.make_directory("/many");
    let lines: String = (0..20_000).map(|n| format!("type=dir;modify=20261123030000; omc_{n}\r\n")).collect();
    ftp.rule(Rule::on("MLSD").about("/many").content(lines));
    let service = one(&ftp).interval("10m").started().run();
    // none of them can be entered: each is complained of
    ftp.wait_for(LONG, "a few thousand of them are listed", |journal| journal.count("MLSD") > 3000);
    // measured: 22 MiB
    stays_below(&service, 48 * MIB, "20,000 directories");
}

#[test]
fn a_tree_that_never_ends_takes_little_memory() {
    let ftp = ScriptedServer::start();
    // every directory holds ten with long names, so that paths grow to 50 KB and directories without number
    let long = "x".repeat(200);
    let lines: String = (0..10).map(|n| format!("type=dir; {long}{n}\r\n")).collect();
    ftp.rule(Rule::on("MLSD").content(lines));
    let mut service = one(&ftp).interval("10m").started().run();
    ftp.wait_for(LONG, "it goes down and up again", |journal| journal.count("MLSD") > 600);
    assert!(service.command("stop").starts_with("ok"), "a stop is heeded on the way");
    // measured: 89 MiB
    stays_below(&service, 128 * MIB, "a tree without end");
}

#[test]
fn replies_and_lines_without_end_take_little_memory() {
    let line = vec![b'x'; 64 << 20];
    let lines = " more\r\n".repeat(2_000_000);
    for (verb, reply) in [
        (CONNECT, line.clone()),
        (CONNECT, [b"220-", lines.as_bytes()].concat()),
        (CONNECT, "120 wait\r\n".repeat(1_000_000).into_bytes()),
        ("PASS", [b"230-", &line[..]].concat()),
        ("FEAT", [b"211-Features\r\n", lines.as_bytes()].concat()),
        ("PASV", [b"227 ", &b"1,".repeat(32 << 20)[..]].concat()),
    ] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 2000));
        ftp.rule(Rule::on(verb).reply(&reply));
        let mut service = with(&ftp, &[("timeout", "'1s'")]).started().run();
        error_shown(&service, "");
        // measured: 18 to 20 MiB
        stays_below(&service, 40 * MIB, &format!("{verb} with a reply of {} bytes", reply.len()));
        ftp.behave();
        // a server that could not be reached is left alone for a while, but not by a new start
        assert!(service.command("stop").starts_with("ok") && service.command("start").starts_with("ok"));
        recorded(&service, 1);
    }
}

#[test]
fn a_listing_line_without_end_takes_little_memory() {
    let ftp = ScriptedServer::start();
    ftp.make_directory("/bad");
    for (path, block) in [("/", "x".repeat(60_000)), ("/bad", format!("type=dir; {}", "y".repeat(60_000)))] {
        ftp.rule(Rule::on("MLSD").about(path).repeat(block));
    }
    let service = one(&ftp).started().run();
    ftp.wait_for(LONG, "a long listing", |journal| journal.data_bytes > 64 * MIB);
    // measured: 18 MiB
    stays_below(&service, 64 * MIB, "a line without end");
}

/// interface 13.5
#[test]
fn a_notify_host_that_never_ends_its_answer_takes_little_memory() {
    let head = [b"HTTP/1.1 200 OK\r\n", &b"X-More: more\r\n".repeat(1 << 20)[..]].concat();
    let line = [b"HTTP/1.1 200 ", &vec![b'x'; 16 << 20][..]].concat();
    for (answer, delivered) in
        [(Answer::EndlessBody, true), (Answer::Raw(head), false), (Answer::Raw(line), false)]
    {
        let (ftp, host) = (ScriptedServer::start(), NotifyStub::start());
        for n in 0..8 {
            put(&ftp, format!("/{n}.zip"), zip(n, 2000));
        }
        host.answer(answer);
        let service = one(&ftp).notify(&host.url()).toml("[notify]\ntimeout = '2s'\n").started().run();
        recorded(&service, 8);
        host.wait_for(SOON, "calls", |calls| calls.len() >= 8);
        let key = if delivered { "delivered" } else { "failed_attempts" };
        service.wait_for(SOON, "the calls have ended", |service| service.status()["notify"][key] != 0);
        // measured: 20 MiB
        stays_below(&service, 64 * MIB, "an answer without end");
    }
}

#[test]
fn a_console_and_clients_that_never_end_their_line_take_little_memory() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    ready(&service);
    let block = "x".repeat(1 << 20);
    for _ in 0..32 {
        service.send_bytes(block.as_bytes());
        let mut client = UnixStream::connect(service.directory().join("control.sock")).unwrap();
        // the answer comes after the first few bytes, and then nobody listens
        while client.write_all(block.as_bytes()).is_ok() {}
        drop(client.read(&mut [0; 100]));
    }
    service.send_bytes(b"\n");
    service
        .wait_line(Stream::Stdout, SOON, "one answer", |line| line.starts_with("failed: unknown command x"));
    assert!(service.command("start").starts_with("ok"));
    assert_eq!(service.lines(Stream::Stdout).len(), 2);
    // measured: 18 MiB
    stays_below(&service, 48 * MIB, "lines without end");
}
