//! Half a file: what is fetched of it again, and when.

use crate::support::scripted::{Ending, File, Rest, Retr, Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::steps::{SOON, content, faultless, names, one, put, recorded, rescanned, with};
use crate::support::zips::{sized, zip};

/// How much of the file comes before it stalls.
const HALF: u64 = 200_000;

/// What is compared again of what is there.
const OVERLAP: u64 = 64 * 1024;

/// A server whose file stalls in the middle, once.
fn half(content: Vec<u8>) -> ScriptedServer {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", content);
    ftp.rule(Rule::on("RETR").once().stall(HALF));
    ftp
}

fn has_half(service: &Service) {
    service.wait_for(SOON, "half of it", |service| service.partial().values().any(|size| *size == HALF));
}

fn retrs(ftp: &ScriptedServer) -> Vec<Retr> {
    ftp.journal(|journal| journal.retrs.clone())
}

/// interface 2.4
#[test]
fn the_next_start_resumes_what_stop_interrupted() {
    let whole = zip(1, 400_000);
    let ftp = half(whole.clone());
    let mut service = one(&ftp).started().run();
    has_half(&service);
    assert!(service.command("stop").starts_with("ok"));
    assert_eq!(service.partial().into_values().collect::<Vec<_>>(), [HALF]);
    assert!(names(&service).is_empty());
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    let retrs = retrs(&ftp);
    assert_eq!((retrs.len(), retrs[1].offset), (2, HALF - OVERLAP));
    assert_eq!(retrs[1].sent, whole.len() as u64 - retrs[1].offset);
    service.wait_for(SOON, "an empty .partial", |service| service.partial().is_empty());
}

#[test]
fn a_restart_of_the_process_resumes_what_a_kill_interrupted() {
    let whole = zip(1, 400_000);
    let ftp = half(whole.clone());
    let mut service = one(&ftp).started().run();
    has_half(&service);
    service.restart();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    assert_eq!(retrs(&ftp)[1].offset, HALF - OVERLAP);
}

#[test]
fn a_file_whose_size_or_time_changed_meanwhile_is_fetched_from_its_start() {
    for (size, later) in [(500_000, 0), (400_000, 60)] {
        let ftp = half(zip(1, 400_000));
        let mut service = one(&ftp).started().run();
        has_half(&service);
        assert!(service.command("stop").starts_with("ok"));
        let fresh = zip(2, size);
        ftp.put("/1.zip", File::new(fresh.clone()).modified(1_795_402_800 + later));
        assert!(service.command("start").starts_with("ok"));
        recorded(&service, 1);
        assert_eq!(content(&service, "omc01/1.zip"), fresh);
        assert!(retrs(&ftp).iter().all(|retr| retr.offset == 0), "{:?}", retrs(&ftp));
        service.wait_for(SOON, "an empty .partial", |service| service.partial().is_empty());
    }
}

#[test]
fn other_content_of_the_same_size_and_time_is_never_glued_to_what_is_there() {
    let ftp = half(sized(1, 400_000));
    let mut service = one(&ftp).started().run();
    has_half(&service);
    assert!(service.command("stop").starts_with("ok"));
    let fresh = sized(2, 400_000);
    put(&ftp, "/1.zip", fresh.clone());
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == fresh, "the file is glued together");
    faultless(&service);
}

#[test]
fn a_file_of_unknown_time_or_size_is_fetched_from_its_start() {
    for facts in ["type=file;size=400108;", "type=file;modify=20261123030000;"] {
        let whole = zip(1, 400_000);
        assert_eq!(whole.len(), 400_108);
        let ftp = half(whole.clone());
        ftp.rule(Rule::on("MLSD").content(format!("{facts} 1.zip\r\n")));
        ftp.rule(Rule::on("SIZE").reply("502 no\r\n"));
        let mut service = one(&ftp).started().run();
        has_half(&service);
        service.restart();
        recorded(&service, 1);
        assert_eq!(content(&service, "omc01/1.zip"), whole);
        assert_eq!(ftp.count("REST"), 0, "{facts}");
    }
}

#[test]
fn a_server_that_refuses_or_ignores_rest_gives_the_whole_file_all_the_same() {
    for rest in [Rest::Refused, Rest::Ignored] {
        let whole = zip(1, 400_000);
        let ftp = half(whole.clone());
        ftp.manner(|manner| manner.rest = rest);
        let mut service = one(&ftp).started().run();
        has_half(&service);
        service.restart();
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.zip") == whole, "{rest:?}");
        assert!(ftp.count("REST") > 0, "{rest:?}");
        faultless(&service);
    }
}

/// interface 10.7
#[test]
fn a_size_of_nothing_counts_for_nothing_where_as_many_bytes_came_as_are_listed() {
    let whole = zip(1, 400_000);
    let ftp = half(whole.clone());
    ftp.rule(Rule::on("SIZE").reply("213 0\r\n"));
    let mut service = with(&ftp, &[("verify", "'size'")]).started().run();
    has_half(&service);
    service.restart();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    assert!(ftp.count("SIZE") > 0);
    assert_eq!(retrs(&ftp).iter().filter(|retr| retr.offset == 0).count(), 1, "{:?}", retrs(&ftp));
}

#[test]
fn a_connection_that_breaks_is_resumed_by_the_same_scan_or_the_next() {
    for ending in [Ending::Close, Ending::Aborted, Ending::AbortedThenSuccess] {
        let whole = sized(1, 400_000);
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", whole.clone());
        ftp.rule(Rule::on("RETR").once().cut(HALF, ending));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.zip") == whole, "{ending:?}");
        let retrs = retrs(&ftp);
        assert_eq!((retrs.len(), retrs[1].offset), (2, HALF - OVERLAP), "{ending:?}");
    }
}

#[test]
fn a_file_that_comes_in_many_pieces_is_whole_in_the_end() {
    let whole = sized(1, 500_000);
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(Rule::on("RETR").times(5).cut(150_000, Ending::Close));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == whole);
    let offsets: Vec<u64> = retrs(&ftp).iter().map(|retr| retr.offset).collect();
    assert!(offsets.is_sorted() && offsets.last() > Some(&300_000), "{offsets:?}");
    rescanned(&ftp, 1);
    assert!(service.partial().is_empty());
}

#[test]
fn bytes_that_all_came_before_a_bad_verdict_are_kept_and_need_a_good_one() {
    let closings = ["426 Connection closed.\r\n", "451 Local error.\r\n", "550 Read error.\r\n", ""];
    std::thread::scope(|scope| {
        for closing in closings {
            scope.spawn(move || end_comes_again(closing));
        }
    });
}

fn end_comes_again(closing: &str) {
    let whole = zip(1, 400_000);
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(Rule::on("RETR").times(2).closing(closing));
    let service = with(&ftp, &[("timeout", "'2s'")]).started().run();
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == whole);
    let retrs = retrs(&ftp);
    assert_eq!(retrs.len(), 3, "each try needs its own success: {closing}");
    // from the second on only the end is fetched and compared
    for retr in &retrs[1..] {
        assert_eq!(retr.offset, whole.len() as u64 - OVERLAP, "{closing}");
        assert!(retr.sent <= OVERLAP, "{closing}");
    }
    faultless(&service);
}

#[test]
fn a_server_that_takes_rest_and_then_refuses_to_begin_there_gives_the_whole_file() {
    for refusal in ["554 Restart not meaningful.\r\n", "550 Cannot restart.\r\n"] {
        let whole = zip(1, 400_000);
        let ftp = half(whole.clone());
        ftp.rule(Rule::on("RETR").after(1).once().reply(refusal));
        let mut service = one(&ftp).started().run();
        has_half(&service);
        service.restart();
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.zip") == whole, "{refusal}");
        assert_eq!(retrs(&ftp).last().map(|retr| retr.offset), Some(0), "{refusal}");
        faultless(&service);
    }
}
