//! Answers as servers give them, odd ones and late ones, and what they are taken for.

use std::time::Duration;

use serde_json::Value;

use crate::support::scripted::{CONNECT, Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::steps::{
    SOON, content, error_shown, faultless, names, one, put, ready, recorded, rescanned, with,
};
use crate::support::zips::{noise, sized, zip};

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
        let whole = sized(1, 30_000);
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
    let whole = sized(1, 5000);
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

/// interface 6.1
#[test]
fn commands_that_can_be_done_without_may_be_refused_or_answered_in_other_words() {
    for verb in ["FEAT", "OPTS", "HELP", "SIZE", "NOOP"] {
        for reply in ["500 what?\r\n", "421x\r\n502 no\r\n", "202 superfluous\r\n", "550 no\r\n"] {
            served(&format!("{verb}: {reply}"), &[Rule::on(verb).reply(reply)]);
        }
    }
    served("an announcement before the answer", &[Rule::on("CWD").reply("110 wait\r\n250 ok\r\n")]);
}

/// interface 6.2
#[test]
fn the_first_digit_of_an_answer_decides_while_logging_in() {
    for (what, greeting, welcome, asks) in [
        ("a password that is superfluous", "220 hello", "202 superfluous", true),
        ("success in plain words", "200 hello", "200 you are in", true),
        ("no password", "220 hello", "230 you are in", false),
        ("another success", "230 hello", "232 you are in", false),
    ] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 3000));
        ftp.rule(Rule::on(CONNECT).reply(format!("120 soon\r\n{greeting}\r\n")));
        ftp.manner(|manner| (manner.welcome, manner.asks_for_password) = (welcome, asks));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        faultless(&service);
        assert_eq!(ftp.count("PASS") > 0, asks, "{what}");
    }
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on("PASS").reply("332 Need account for login.\r\n"));
    let service = one(&ftp).started().run();
    ready(&service);
    error_shown(&service, "asks for an account (ACCT)");
    assert_eq!(ftp.count("PASS"), 1);
}

#[test]
fn a_server_that_knows_no_types_is_taken_for_binary_and_the_content_decides() {
    let ftp = ScriptedServer::start();
    // the scripted server changes line ends unless it heard TYPE I
    let (plain, broken) = (without_line_ends(), zip(1, 30_000));
    put(&ftp, "/plain.zip", plain.clone());
    put(&ftp, "/broken.zip", broken);
    ftp.rule(Rule::on("TYPE").reply("500 what?\r\n"));
    let service = with(&ftp, &[("verify", "'size'")]).started().run();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/plain.zip"), plain);
    error_shown(&service, "/broken.zip: ");
}

/// Bytes that ASCII mode leaves as they are, which no archive is: the version in its header is a line feed.
fn without_line_ends() -> Vec<u8> {
    noise(1, 3000).into_iter().filter(|byte| *byte != b'\n').collect()
}

/// interface 6.5
#[test]
fn a_session_whose_answers_are_out_of_step_is_left_and_its_work_done_by_another() {
    for (verb, reply) in [
        ("PASV", "250 ok\r\n"),
        ("PASV", "229 Entering Extended Passive Mode (|||50000|)\r\n"),
        ("CWD", "226 Transfer complete.\r\n"),
        ("CWD", "150 Here it comes.\r\n"),
        ("LIST", "227 Entering Passive Mode (127,0,0,1,200,200)\r\n"),
        ("RETR", "213 3000\r\n"),
        ("RETR", "350 Restarting\r\n"),
        // nothing is out of step, but there is no data connection to be had any more
        ("PASV", "425 Cannot open passive connection\r\n"),
        ("PASV", "500 Another action is in progress\r\n"),
        ("LIST", "425 Can't open data connection.\r\n"),
        ("RETR", "550 Another action is in progress\r\n"),
        ("RETR", "425 Can't open data connection.\r\n"),
    ] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/d/1.zip", zip(1, 3000));
        put(&ftp, "/d/2.zip", zip(2, 3000));
        ftp.rule(Rule::on(verb).after(1).once().reply(reply));
        let keys = [("connections", "1"), ("listing", "'list'")];
        let service = with(&ftp, &keys).interval("1h").started().run();
        recorded(&service, 2);
        let status = service.server_status("omc01");
        assert_eq!(
            (&status["last_error"], &status["incomplete_files"]),
            (&Value::Null, &0.into()),
            "{verb} {reply}"
        );
        assert_eq!(ftp.connections(), 2, "{verb} {reply}");
    }
}

/// interface 6.5
#[test]
fn where_no_session_gets_data_the_server_says_why() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 3000));
    ftp.rule(Rule::on("PASV").reply("425 No ports left\r\n"));
    let service = one(&ftp).interval("1h").started().run();
    ready(&service);
    error_shown(&service, "/: PASV: 425 No ports left");
    // twice in a scan, by two sessions
    assert_eq!((ftp.count("PASV"), ftp.connections()), (2, 2));
}

/// interface 6.4
#[test]
fn where_paths_are_refused_files_are_asked_for_by_their_names_and_that_is_remembered() {
    let ftp = ScriptedServer::start();
    (0..10).for_each(|n| put(&ftp, format!("/d/{}/ {n}.zip", n % 2), zip(n, 3000)));
    put(&ftp, "/top.zip", zip(77, 3000));
    // no sizes: SIZE is asked for
    ftp.rule(
        Rule::on("MLSD").about("/d/1").content(
            [1, 3, 5, 7, 9].map(|n| format!("type=file;modify=20261101000000;  {n}.zip\r\n")).concat(),
        ),
    );
    ftp.manner(|manner| manner.bare_names_only = true);
    let service = with(&ftp, &[("connections", "1"), ("verify", "'size'")]).started().run();
    recorded(&service, 11);
    (0..10).for_each(|n| assert_eq!(content(&service, &format!("omc01/d/{}/ {n}.zip", n % 2)), zip(n, 3000)));
    faultless(&service);
    let refused = ftp.commands().iter().filter(|line| line.starts_with("RETR /")).count();
    assert!(refused <= 1, "{:#?}", ftp.commands());
    assert_eq!(ftp.connections(), 1);
}

/// interface 6.4
#[test]
fn a_file_that_is_gone_is_asked_for_once_where_paths_are_taken() {
    let ftp = ScriptedServer::start();
    (0..3).for_each(|n| put(&ftp, format!("/d/{n}.zip"), zip(n, 3000)));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 3);
    (0..30).for_each(|n| {
        ftp.rule(Rule::on("RETR").about(format!("/d/gone{n}.zip")).reply("550 No such file.\r\n"));
        put(&ftp, format!("/d/gone{n}.zip"), zip(n, 3000));
    });
    service.wait_for(SOON, "all failed", |service| service.server_status("omc01")["incomplete_files"] == 30);
    assert_eq!(ftp.commands().iter().filter(|line| line.starts_with("RETR gone")).count(), 0);
}

#[test]
fn files_that_are_all_refused_are_seldom_asked_for_twice() {
    let ftp = ScriptedServer::start();
    (0..40).for_each(|n| put(&ftp, format!("/d/{n}.zip"), zip(n, 3000)));
    ftp.rule(Rule::on("RETR").reply("550 Permission denied.\r\n"));
    let service = with(&ftp, &[("connections", "1")]).interval("1h").started().run();
    ready(&service);
    service.wait_for(SOON, "all failed", |service| service.server_status("omc01")["incomplete_files"] == 40);
    assert!(ftp.count("RETR") <= 40 + 10, "{}", ftp.count("RETR"));
    assert_eq!(ftp.connections(), 1);
}

/// interface 5.14
#[test]
fn a_password_goes_in_the_servers_encoding() {
    for (encoding, password, wire) in [
        ("utf-8", "kj§ü密", "kj§ü密".as_bytes()),
        ("latin1", "kj§üÿÿ", b"kj\xa7\xfc\xff\xff"),
        ("gbk", "密码", b"\xc3\xdc\xc2\xeb"),
    ] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 3000));
        ftp.manner(|manner| manner.wire_password = Some(wire.to_vec()));
        let keys = [("encoding", format!("'{encoding}'")), ("password", format!("'{password}'"))];
        let keys = keys.each_ref().map(|(key, value)| (*key, value.as_str()));
        let service = with(&ftp, &keys).started().run();
        recorded(&service, 1);
        assert_eq!(ftp.count("PASS"), ftp.connections(), "{encoding}");
        // a server that repeats the password shows it to nobody
        ftp.rule(Rule::on("PASS").reply([b"530 PASS ", wire, b" is wrong\r\n"].concat()));
        ftp.drop_connections();
        error_shown(&service, "login refused: 530 PASS *** is wrong");
    }
}
