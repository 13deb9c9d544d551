//! How many connections there are, how long they live, and what a server costs that refuses, hangs or is gone.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::net::{Acceptor, Waited};
use crate::support::scripted::{
    CONNECT, Ending, File, Journal, Limit, LimitAt, Manner, Rule, ScriptedServer, passive,
};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, ready, recorded, rescanned, shown, with,
};
use crate::support::zips::{sized, zip};

/// The answer to PASV or EPSV, from the address that listens.
type Shape = fn(SocketAddr) -> Vec<u8>;

/// Thirty zips in six directories.
fn thirty(ftp: &ScriptedServer) {
    (0..30).for_each(|n| put(ftp, format!("/{}/{n}.zip", n % 6), zip(n, 2000)));
}

fn warnings(service: &Service) -> Vec<String> {
    // nobody listens at the notify host, which is told as well
    let of_scans = |line: &String| line.contains("server=omc01") && !line.contains("announc");
    let told = |line: &String| line.contains("WARN") || line.contains("ERROR");
    service.lines(Stream::Stderr).into_iter().filter(told).filter(of_scans).collect()
}

/// Waits until this verb was sent.
#[track_caller]
fn came(ftp: &ScriptedServer, verb: &str, times: usize) {
    ftp.wait_for(SOON, verb, |journal| sent(journal, verb) >= times);
}

fn sent(journal: &Journal, verb: &str) -> usize {
    if verb == CONNECT { journal.connections.len() } else { journal.count(verb) }
}

// -- how many ------------------------------------------------------------------------------------------------

/// interface 5.8
#[test]
fn there_are_never_more_connections_than_configured() {
    for connections in [1, 2, 3] {
        let ftp = ScriptedServer::start();
        thirty(&ftp);
        ftp.manner(|manner| manner.latency = Duration::from_millis(2));
        let service = with(&ftp, &[("connections", &connections.to_string())]).started().run();
        recorded(&service, 30);
        rescanned(&ftp, 2);
        assert_eq!(ftp.max_open(), connections);
    }
}

#[test]
fn fewer_logins_than_configured_are_enough_however_the_server_refuses_the_others() {
    let refusals = [
        (LimitAt::Greeting, "421 There are too many connected users, please try again later.\r\n"),
        (LimitAt::Login, "421 Too many connections from this address.\r\n"),
        (LimitAt::Login, "530 Sorry, the maximum number of clients (2) for this user are connected.\r\n"),
    ];
    for (at, reply) in refusals {
        for granted in [1, 2] {
            let ftp = ScriptedServer::start();
            thirty(&ftp);
            ftp.manner(|manner| {
                manner.limit = Some(Limit { connections: granted, at, reply: reply.into() });
                manner.latency = Duration::from_millis(2);
            });
            let service = one(&ftp).started().run();
            recorded(&service, 30);
            let before = ftp.connections();
            rescanned(&ftp, 3);
            // a limit that was met is kept to for minutes
            assert_eq!(ftp.connections(), before, "{reply}");
            assert!(before <= 4, "{before} logins were tried: {reply}");
            faultless(&service);
            assert!(!logged(&service, "grants").is_empty());
        }
    }
}

#[test]
fn a_server_that_is_full_is_tried_again_until_there_is_room() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    let limit = Limit { connections: 0, at: LimitAt::Greeting, reply: "421 too many\r\n".into() };
    ftp.manner(|manner| manner.limit = Some(limit));
    let service = one(&ftp).started().run();
    error_shown(&service, "takes no more logins now: 421 too many");
    assert_eq!(shown(&service, "state"), "unreachable");
    ftp.manner(|manner| manner.limit = None);
    recorded(&service, 1);
    faultless(&service);
}

#[test]
fn a_wrong_password_is_tried_once_a_scan_and_ever_less_often() {
    let ftp = ScriptedServer::start();
    // enough work for all connections to want a login at once
    let keys = [("password", "'wrong'"), ("directories", "['/a', '/b', '/c', '/d']")];
    let service = with(&ftp, &keys).started().run();
    came(&ftp, "PASS", 5);
    let at: Vec<Instant> = ftp.journal(|journal| {
        journal.commands.iter().filter(|command| command.verb == "PASS").map(|command| command.at).collect()
    });
    // 1.6 s from the start of the scan, which is some time before the password is sent
    let gap = at[4] - at[3];
    assert!(gap >= Duration::from_millis(800), "only {gap:?} before the fifth try");
    let scans = shown(&service, "scans").as_u64().unwrap();
    assert!(at.len() as u64 <= scans + 1, "{} tries in {scans} scans", at.len());
    error_shown(&service, "login refused: 530 Login incorrect.");
    assert_eq!(shown(&service, "state"), "unreachable");
    assert_eq!(ftp.journal(|journal| journal.logins), 0);
    assert!(ftp.max_open() == 1);
}

// -- how long ------------------------------------------------------------------------------------------------

#[test]
fn logins_are_kept_between_scans() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    let service = one(&ftp).started().run();
    recorded(&service, 30);
    let before = ftp.connections();
    rescanned(&ftp, 4);
    assert_eq!((ftp.connections(), ftp.count("QUIT")), (before, 0));
}

#[test]
fn stop_logs_out_so_that_no_stale_login_counts_against_the_servers_limit() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    let mut service = one(&ftp).interval("1h").started().run();
    recorded(&service, 30);
    service.wait_for(SOON, "the end of the scan", |service| shown(service, "state") == "waiting");
    let open = ftp.open();
    assert!(open > 0);
    assert!(service.command("stop").starts_with("ok"));
    came(&ftp, "QUIT", open);
    service.wait_for(SOON, "no login is left", |_| ftp.open() == 0);
    assert!(service.command("start").starts_with("ok"));
    service.wait_for(SOON, "another scan", |service| shown(service, "scans") == 2);
    assert_eq!(ftp.count("RETR"), 30);
}

#[test]
fn a_login_that_the_server_drops_between_scans_is_no_fault() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    let service = one(&ftp).interval("1s").started().run();
    recorded(&service, 30);
    for n in 0..3 {
        service.wait_for(SOON, "the end of a scan", |service| shown(service, "state") == "waiting");
        let before = ftp.connections();
        ftp.drop_connections();
        ftp.wait_for(SOON, "a new login", |journal| journal.connections.len() > before);
        put(&ftp, format!("/new{n}.zip"), zip(100 + n, 2000));
        recorded(&service, 31 + n as usize);
    }
    faultless(&service);
    assert_eq!(warnings(&service), [""; 0]);
}

#[test]
fn a_login_that_the_server_ends_as_idle_is_no_fault() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    ftp.manner(|manner| manner.idle_limit = Some(Duration::from_millis(400)));
    let service = one(&ftp).interval("1s").started().run();
    recorded(&service, 30);
    let before = ftp.connections();
    rescanned(&ftp, 3);
    assert!(ftp.connections() >= before + 3);
    put(&ftp, "/new.zip", zip(100, 2000));
    recorded(&service, 31);
    faultless(&service);
    assert_eq!(warnings(&service), [""; 0]);
}

#[test]
fn connections_that_break_in_the_middle_of_a_scan_lose_nothing() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    ftp.manner(|manner| manner.commands_per_connection = Some(12));
    let service = one(&ftp).started().run();
    recorded(&service, 30);
    for n in 0..30 {
        assert_eq!(content(&service, &format!("omc01/{}/{n}.zip", n % 6)), zip(n, 2000));
    }
}

// -- who waits for whom --------------------------------------------------------------------------------------

#[test]
fn a_server_that_hangs_or_refuses_delays_no_other() {
    let (hanging, refusing, alive) =
        (ScriptedServer::start(), ScriptedServer::start(), ScriptedServer::start());
    hanging.rule(Rule::on(CONNECT).hang());
    refusing.go_down();
    put(&alive, "/1.zip", zip(1, 2000));
    let setup = Setup::new()
        .server(Server::scripted("hanging", &hanging).key("timeout", "'20s'"))
        .server(Server::scripted("refusing", &refusing))
        .server(Server::scripted("omc01", &alive));
    let service = setup.started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "it is called unreachable", |service| {
        service.server_status("refusing")["state"] == "unreachable"
    });
    rescanned(&alive, 5);
    assert_eq!(service.server_status("hanging")["scans"], 0);
    assert!(shown(&service, "last_error").is_null());
}

#[test]
fn downloads_begin_before_the_listing_has_ended() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a/1.zip", zip(1, 2000));
    put(&ftp, "/z/slow/2.zip", zip(2, 2000));
    ftp.rule(Rule::on("MLSD").about("/z/slow").once().hang());
    let service = with(&ftp, &[("timeout", "'20s'")]).started().run();
    ftp.wait_for(SOON, "a download beside a listing", |journal| journal.retrs_of("/a/1.zip") == 1);
    recorded(&service, 1);
    assert_eq!(shown(&service, "scans"), 0);
    ftp.release();
    recorded(&service, 2);
}

#[test]
fn a_long_download_delays_neither_listings_nor_other_downloads() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a/long.zip", zip(1, 50_000));
    put(&ftp, "/b/2.zip", zip(2, 2000));
    put(&ftp, "/c/d/3.zip", zip(3, 2000));
    ftp.rule(Rule::on("RETR").about("/a/long.zip").once().stall(20_000));
    let service = with(&ftp, &[("connections", "2"), ("timeout", "'20s'")]).started().run();
    recorded(&service, 2);
    assert_eq!(names(&service), ["omc01/b/2.zip", "omc01/c/d/3.zip"]);
    ftp.release();
    recorded(&service, 3);
}

#[test]
fn a_server_that_was_gone_is_collected_from_when_it_is_back() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    ftp.go_down();
    error_shown(&service, "cannot connect to");
    assert_eq!(shown(&service, "state"), "unreachable");
    put(&ftp, "/2.zip", zip(2, 2000));
    ftp.come_back();
    recorded(&service, 2);
    faultless(&service);
    assert_eq!(ftp.retrs("/1.zip"), 1);
}

// -- silence -------------------------------------------------------------------------------------------------

/// A server that is silent at some step fails after the timeout, and is collected from once it speaks again.
fn silent_at(what: &str, rule: Rule) {
    let ftp = ScriptedServer::start();
    let whole = sized(1, 30_000);
    put(&ftp, "/d/1.zip", whole.clone());
    ftp.rule(rule);
    let service = with(&ftp, &[("timeout", "'300ms'")]).started().run();
    error_shown(&service, "no answer for 300ms");
    // what a listing showed before the silence is true, and used
    assert!(service.records().is_empty() || what == "226 of a listing", "{what}");
    ftp.behave();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/d/1.zip"), whole, "{what}");
    faultless(&service);
}

fn all_at_once(cases: Vec<(&str, Rule)>) {
    std::thread::scope(|scope| {
        for (what, rule) in cases {
            scope.spawn(move || silent_at(what, rule));
        }
    });
}

#[test]
fn silence_while_logging_in_fails_after_the_timeout_and_is_got_over() {
    all_at_once([CONNECT, "USER", "PASS", "TYPE", "FEAT"].map(|verb| (verb, Rule::on(verb).hang())).into());
}

#[test]
fn silence_while_listing_fails_after_the_timeout_and_is_got_over() {
    all_at_once(vec![
        ("MLSD", Rule::on("MLSD").hang()),
        ("PASV", Rule::on("PASV").hang()),
        ("the listing", Rule::on("MLSD").about("/d").stall(10)),
        ("226 of a listing", Rule::on("MLSD").about("/d").closing("")),
    ]);
}

/// interface 5.8
#[test]
fn silence_while_fetching_fails_after_the_timeout_and_is_got_over() {
    all_at_once(vec![
        ("RETR", Rule::on("RETR").hang()),
        ("150", Rule::on("RETR").opening("").stall(0)),
        ("data", Rule::on("RETR").stall(10_000)),
        ("226", Rule::on("RETR").closing("")),
    ]);
}

#[test]
fn a_slow_transfer_is_not_silence() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    ftp.rule(Rule::on("RETR").trickle(200, Duration::from_millis(100)));
    let service = with(&ftp, &[("timeout", "'800ms'")]).started().run();
    recorded(&service, 1);
    faultless(&service);
    assert_eq!(ftp.retrs("/1.zip"), 1);
}

/// interface 5.8
#[test]
fn a_transfer_below_the_lowest_useful_speed_is_given_up_and_resumed_later() {
    let ftp = ScriptedServer::start();
    let whole = sized(1, 20_000);
    put(&ftp, "/a/slow.zip", whole.clone());
    put(&ftp, "/b/2.zip", zip(2, 2000));
    // 1000 bytes a second, over twice the timeout
    ftp.rule(Rule::on("RETR").about("/a/slow.zip").once().trickle(50, Duration::from_millis(50)));
    let service = with(&ftp, &[("timeout", "'300ms'"), ("min_speed", "'10kB'")]).started().run();
    error_shown(&service, "RETR: too slow");
    assert!(logged(&service, "below min_speed of 10000 bytes a second; next try in").len() == 1);
    recorded(&service, 2);
    faultless(&service);
    assert_eq!(content(&service, "omc01/a/slow.zip"), whole);
    let second =
        ftp.journal(|journal| journal.retrs.iter().rfind(|retr| retr.path == b"/a/slow.zip").cloned());
    assert!(second.unwrap().offset > 0, "it is resumed");
    assert_eq!((ftp.retrs("/a/slow.zip"), ftp.retrs("/b/2.zip")), (2, 1));
}

#[test]
fn without_a_lowest_speed_a_trickle_is_taken_as_long_as_it_lasts() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", sized(1, 2000));
    // 10 bytes a time, 60 a second
    ftp.rule(Rule::on("RETR").trickle(10, Duration::from_millis(16)));
    let service = with(&ftp, &[("timeout", "'300ms'"), ("min_speed", "0")]).started().run();
    recorded(&service, 1);
    faultless(&service);
    assert_eq!(ftp.retrs("/1.zip"), 1);
}

#[test]
fn a_listing_below_the_lowest_useful_speed_is_given_up_and_costs_itself_alone() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a/1.zip", zip(1, 2000));
    put(&ftp, "/b/2.zip", zip(2, 2000));
    ftp.rule(Rule::on("MLSD").about("/a").trickle(1, Duration::from_millis(100)));
    let service = with(&ftp, &[("timeout", "'300ms'")]).started().run();
    error_shown(&service, "MLSD: too slow");
    recorded(&service, 1);
    assert_eq!(names(&service), ["omc01/b/2.zip"]);
    ftp.behave();
    recorded(&service, 2);
    faultless(&service);
}

#[test]
fn a_greeting_that_trickles_without_end_fails_after_the_timeout() {
    let trickling = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), |connection| {
        while connection.stream.as_ref().write_all(b"220-").is_ok() {
            if connection.gate.pause(Duration::from_millis(50)) == Waited::Gone {
                break;
            }
        }
    });
    let alive = ScriptedServer::start();
    put(&alive, "/1.zip", zip(1, 2000));
    let setup = Setup::new()
        .server(Server::at("trickling", trickling.addr()).key("timeout", "'500ms'"))
        .server(Server::scripted("omc01", &alive));
    let service = setup.started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "it is given up", |service| {
        let error = service.server_status("trickling")["last_error"].clone();
        error.as_str().is_some_and(|error| error.contains("no answer for 500ms"))
    });
}

// -- how servers speak ---------------------------------------------------------------------------------------

/// A server that is like this gives its files, without a fault.
fn served(what: &str, change: impl FnOnce(&mut Manner), rules: &[Rule]) {
    let ftp = ScriptedServer::start();
    give(what, &ftp, change, rules);
}

fn give(what: &str, ftp: &ScriptedServer, change: impl FnOnce(&mut Manner), rules: &[Rule]) {
    put(ftp, "/d/1.zip", zip(1, 3000));
    ftp.manner(change);
    rules.iter().cloned().for_each(|rule| ftp.rule(rule));
    let service = one(ftp).started().run();
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/d/1.zip"), zip(1, 3000), "{what}");
    faultless(&service);
    assert_eq!(warnings(&service), [""; 0], "{what}");
    assert_eq!(ftp.retrs("/d/1.zip"), 1, "{what}");
}

#[test]
fn banners_of_any_kind_are_understood() {
    let banners = [
        "220\r\n",
        "220 \u{ff}\u{fe}\r\n",
        "220-Welcome\r\n100 users online\r\n404 is not here\r\n 220 nor here\r\n220 end\r\n",
        "220-Welcome\r\n\r\n220-more\r\n220 end\r\n",
        "120 ready in a moment\r\n220 ready\r\n",
        "\r\n220 ready\r\n",
        "220 ready\n",
    ];
    for banner in banners {
        let bytes: Vec<u8> = banner.chars().map(|c| c as u8).collect();
        served(banner, |_| {}, &[Rule::on(CONNECT).reply(bytes)]);
    }
}

#[test]
fn replies_without_text_and_other_codes_of_success_are_understood() {
    served(
        "bare codes",
        |_| {},
        &[
            Rule::on("OPTS").reply("200\r\n"),
            Rule::on("RETR").opening("150\r\n"),
            Rule::on("RETR").closing("226\r\n"),
            Rule::on("MLSD").opening("125\r\n"),
            Rule::on("MLSD").closing("226\r\n"),
        ],
    );
    served(
        "250 for 226",
        |_| {},
        &[
            Rule::on("RETR").closing("250 done\r\n"),
            Rule::on("MLSD").closing("250-done\r\n421 is not meant\r\n250 done\r\n"),
        ],
    );
    served("UTF8 refused", |_| {}, &[Rule::on("OPTS").reply("504 no\r\n")]);
    served("226 at once", |manner| manner.waits_for_client_close = false, &[]);
}

/// interface 10.30
#[test]
fn all_answers_to_pasv_lead_to_the_server_itself() {
    let shapes: [(&str, Shape); 6] = [
        ("without brackets", passive::pasv_without_brackets),
        ("with blanks", passive::pasv_with_blanks),
        ("in GBK", passive::pasv_in_gbk),
        ("another host", passive::pasv_foreign_host),
        ("0.0.0.0", passive::pasv_zero_host),
        ("PASV refused", passive::refused),
    ];
    for (what, shape) in shapes {
        served(what, |manner| manner.pasv = shape, &[]);
    }
    let as_pasv: Shape = passive::pasv;
    served(
        "EPSV answered with 227",
        move |manner| (manner.pasv, manner.epsv) = (passive::refused, as_pasv),
        &[],
    );
    served("garbage, EPSV works", |manner| manner.pasv = passive::pasv_garbage, &[]);
}

#[test]
fn a_server_with_one_of_pasv_and_epsv_is_asked_for_that_one() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    ftp.manner(|manner| manner.pasv = passive::refused);
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 30);
    assert_eq!(ftp.count("PASV"), 1, "it is remembered");
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    ftp.manner(|manner| manner.epsv = passive::refused);
    let service = one(&ftp).started().run();
    recorded(&service, 30);
    assert_eq!(ftp.count("EPSV"), 0, "PASV comes first on IPv4");
}

#[test]
fn a_server_without_a_passive_mode_is_a_fault_that_is_shown() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    ftp.manner(|manner| (manner.pasv, manner.epsv) = (passive::refused, passive::refused));
    let service = one(&ftp).started().run();
    error_shown(&service, "PASV: 500 Unknown command.");
    assert!(service.records().is_empty());
}

#[test]
fn ipv6_servers_are_asked_for_epsv_in_whatever_shape() {
    let shapes: [(&str, Shape); 4] = [
        ("as the RFC has it", passive::epsv),
        ("another delimiter", passive::epsv_other_delimiter),
        ("without brackets", passive::epsv_without_brackets),
        ("with an address", passive::epsv_with_address),
    ];
    for (what, shape) in shapes {
        let ftp = ScriptedServer::start_v6();
        give(what, &ftp, |manner| (manner.pasv, manner.epsv) = (passive::refused, shape), &[]);
        assert_eq!(ftp.count("PASV"), 0, "{what}");
    }
}

#[test]
fn another_protocol_is_refused_and_costs_nothing_but_the_scan() {
    let greetings =
        ["HTTP/1.1 400 Bad Request\r\n".repeat(200), "x".repeat(100_000), "500 go away\r\n".into()];
    for greeting in greetings {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 2000));
        ftp.rule(Rule::on(CONNECT).reply_and_close(&greeting));
        let service = one(&ftp).started().run();
        error_shown(&service, "");
        assert_eq!(shown(&service, "state"), "unreachable");
        ftp.behave();
        recorded(&service, 1);
    }
}

#[test]
fn a_connection_lost_after_all_bytes_came_costs_no_second_transfer_of_them() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 400_000);
    ftp.put("/1.zip", File::new(whole.clone()));
    ftp.rule(Rule::on("RETR").once().cut(whole.len() as u64, Ending::Close));
    let service = one(&ftp).started().run();
    ready(&service);
    recorded(&service, 1);
    assert_eq!(content(&service, "omc01/1.zip"), whole);
    let second = ftp.journal(|journal| journal.retrs[1].clone());
    assert!(second.offset >= 300_000, "it began at {}", second.offset);
}

/// interface 6.5
#[test]
fn an_answer_to_pasv_that_epsv_gets_is_out_of_step_where_pasv_has_brought_ports() {
    let ftp = ScriptedServer::start();
    thirty(&ftp);
    ftp.manner(|manner| manner.epsv = passive::pasv);
    ftp.rule(Rule::on("PASV").after(3).once().reply("500 Unknown command.\r\n"));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 30);
    faultless(&service);
    assert_eq!(
        (ftp.count("EPSV"), ftp.journal(|journal| journal.logins)),
        (1, 2),
        "the session is left, and nothing said against the file"
    );
}
