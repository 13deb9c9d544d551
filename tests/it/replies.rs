//! Answers as servers give them, odd ones and late ones, and what they are taken for.

use std::time::Duration;

use crate::steps::{
    SOON, content, error_shown, faultless, names, one, put, ready, recorded, rescanned, with,
};
use crate::support::scripted::{Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::zips::{noise, zip};

/// A server with two zips that answers by these rules gives them, without a fault.
fn served(what: &str, rules: &[Rule]) {
    let ftp = ScriptedServer::start();
    put(&ftp, "/d/1.zip", zip(1, 3000));
    put(&ftp, "/d/2.zip", zip(2, 3000));
    rules.iter().cloned().for_each(|rule| ftp.rule(rule));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 2);
    assert_eq!(content(&service, "omc01/d/2.zip"), zip(2, 3000), "{what}");
    faultless(&service);
    assert_eq!((ftp.count("RETR"), ftp.connections()), (2, 1), "{what}");
}

#[test]
fn any_code_of_success_ends_a_transfer_or_a_listing_well() {
    for closing in ["225 ABOR not needed\r\n", "200 ok\r\n", "250 ok\r\n", "299 whatever\r\n"] {
        served(closing, &[Rule::on("RETR").closing(closing), Rule::on("MLSD").closing(closing)]);
    }
    let multi = "226-Transfer complete\r\n 226 indented\r\n100 percent\r\n550 is not meant\r\n226 done\r\n";
    served("many lines", &[Rule::on("RETR").closing(multi), Rule::on("MLSD").closing(multi)]);
    // the verdict comes before the data, and nothing after them
    let early = |verb| [Rule::on(verb).opening("226 done\r\n"), Rule::on(verb).closing("")];
    served("226 instead of 150", &[early("RETR"), early("MLSD")].concat());
    served("an empty line before", &[Rule::on("RETR").closing("\r\n226 ok\r\n")]);
    served("a tab and a bare line feed", &[Rule::on("MLSD").closing("226\tok\n")]);
}

#[test]
fn codes_that_nobody_has_heard_of_are_judged_by_their_first_digit() {
    for closing in ["399 what next\r\n", "499 not now\r\n", "522 no\r\n", "599 never\r\n", "630 safe\r\n"] {
        let ftp = ScriptedServer::start();
        let whole = noise(1, 30_000);
        put(&ftp, "/1.zip", whole.clone());
        ftp.rule(Rule::on("RETR").closing(closing));
        let service = one(&ftp).started().run();
        ftp.wait_for(SOON, closing, |journal| journal.count("RETR") >= 2);
        error_shown(&service, &format!("/1.zip: RETR: {}", closing.trim_end()));
        assert!(service.records().is_empty() && names(&service).is_empty(), "{closing}");
        ftp.behave();
        recorded(&service, 1);
        assert_eq!(content(&service, "omc01/1.zip"), whole);
    }
}

#[test]
fn a_size_with_words_behind_it_is_a_size_and_times_are_never_asked_for() {
    let ftp = ScriptedServer::start();
    let whole = noise(1, 5000);
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(Rule::on("MLSD").content("type=file; 1.zip\r\n"));
    ftp.rule(Rule::on("SIZE").reply("213 5000 bytes\r\n"));
    let service = with(&ftp, &[("verify", "'size'")]).started().run();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    assert_eq!(ftp.count("MDTM"), 0);
}

/// Waits until nothing more goes wrong, and every file has the bytes of its own name.
fn nothing_is_mixed_up(service: &Service, count: u64) {
    recorded(service, count as usize);
    for n in 1..=count {
        let whole = zip(n, 2000 * n as usize);
        assert!(content(service, &format!("omc01/{n}.zip")) == whole, "{n}.zip is another file");
    }
    for record in service.records() {
        let n: u64 = record["path"].as_str().unwrap()[1..].strip_suffix(".zip").unwrap().parse().unwrap();
        assert_eq!(record["size"], zip(n, 2000 * n as usize).len() as u64, "{record}");
    }
}

fn four(ftp: &ScriptedServer) {
    (1..=4).for_each(|n| put(ftp, format!("/{n}.zip"), zip(n, 2000 * n as usize)));
    // no sizes, so that each is asked for
    ftp.rule(
        Rule::on("MLSD").content((1..=4).map(|n| format!("type=file; {n}.zip\r\n")).collect::<String>()),
    );
}

#[test]
fn an_answer_that_comes_too_late_is_never_taken_for_the_answer_to_the_next_command() {
    let late = Duration::from_millis(3000);
    std::thread::scope(|scope| {
        for verb in ["SIZE", "PASV", "RETR", "MLSD"] {
            scope.spawn(move || {
                let ftp = ScriptedServer::start();
                four(&ftp);
                ftp.rule(Rule::on(verb).once().delay(late));
                let service = with(&ftp, &[("connections", "1"), ("timeout", "'1500ms'")]).started().run();
                nothing_is_mixed_up(&service, 4);
                let connections = ftp.connections();
                assert!(connections >= 2, "{verb}: the connection with the late answer was used again");
            });
        }
    });
}

#[test]
fn a_stop_in_the_middle_of_any_step_leaves_no_connection_that_is_one_answer_late() {
    for verb in ["SIZE", "PASV", "RETR", "MLSD"] {
        let ftp = ScriptedServer::start();
        four(&ftp);
        ftp.rule(Rule::on(verb).once().hang());
        let mut service = with(&ftp, &[("connections", "1")]).started().run();
        ready(&service);
        ftp.wait_for(SOON, verb, |journal| journal.count(verb) == 1);
        assert!(service.command("stop").starts_with("ok"));
        ftp.release();
        assert!(service.command("start").starts_with("ok"));
        nothing_is_mixed_up(&service, 4);
        assert_eq!(ftp.connections(), 2, "{verb}");
        let last = ftp.journal(|journal| journal.lines_of(1)).pop().unwrap_or_default();
        assert!(last.starts_with(verb), "{verb}: {last} was sent where an answer was still to come");
        // a connection in the midst of something is closed without a word: ABOR is answered in too many ways
        rescanned(&ftp, 1);
        assert_eq!(ftp.count("ABOR"), 0);
    }
}

#[test]
fn the_control_connection_is_kept_alive_while_it_is_silent() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 200_000));
    ftp.rule(Rule::on("RETR").once().stall(100_000));
    let service = with(&ftp, &[("connections", "1"), ("timeout", "'60s'")]).started().run();
    service.wait_for(SOON, "a transfer under way", |service| !service.partial().is_empty());
    // the kernel's table: sl, local, remote, state, queues, timer; timer 2 is that of keepalive
    let remote = format!("0100007F:{:04X}", ftp.port());
    service.wait_for(SOON, "the timer of keepalive", |_| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[2] == remote && fields[3] == "01" && fields[5].starts_with("02:")
        })
    });
}
