//! How logins are made, limited, refused and ended, so that neither a server's limit, its firewall nor the account is
//! pressed, and none is left behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::raw::RawClient;
use crate::support::scripted::{Limit, LimitAt, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{
    SOON, error_shown, faultless, logged, one, put, recorded, rescanned, shown, with,
};
use crate::support::zips::zip;

/// So many zips in six directories.
fn some(ftp: &ScriptedServer, count: u64) {
    (0..count).for_each(|n| put(ftp, format!("/{}/{n}.zip", n % 6), zip(n, 2000)));
}

fn passwords(ftp: &ScriptedServer) -> Vec<Instant> {
    ftp.journal(|journal| {
        journal.commands.iter().filter(|command| command.verb == "PASS").map(|command| command.at).collect()
    })
}

/// Warnings and errors about the server, apart from the notify host, where nobody listens.
fn warnings(service: &Service) -> Vec<String> {
    let of_server = |line: &String| line.contains("server=omc01") && !line.contains("announc");
    let mut lines = logged(service, "WARN");
    lines.extend(logged(service, "ERROR"));
    lines.into_iter().filter(of_server).collect()
}

// -- a limit -------------------------------------------------------------------------------------------------

#[test]
fn too_many_is_a_limit_at_whatever_step_it_is_said() {
    let cases = [
        ("USER", "421 Too many connections from this address.\r\n"),
        ("USER", "530 Sorry, the maximum number of clients (1) is connected.\r\n"),
        ("PASS", "530 Too many users logged in.\r\n"),
        ("PASS", "530 用户数已满\r\n"),
        ("TYPE", "421 Too many connections.\r\n"),
    ];
    for (verb, reply) in cases {
        let ftp = ScriptedServer::start();
        some(&ftp, 30);
        ftp.manner(|manner| manner.latency = Duration::from_millis(2));
        ftp.rule(Rule::on(verb).after(1).reply_and_close(reply));
        let service = one(&ftp).started().run();
        recorded(&service, 30);
        rescanned(&ftp, 3);
        assert!(ftp.connections() <= 4, "{} logins were tried: {reply}", ftp.connections());
        assert!(!logged(&service, "grants 1 login and").is_empty(), "{reply}");
        assert_eq!(warnings(&service), [""; 0], "{reply}");
        assert_eq!(shown(&service, "connections")["granted"], 1);
    }
}

#[test]
fn a_limit_that_is_said_in_the_middle_of_the_work_costs_one_connection_and_no_file() {
    let replies = [
        "421 Too many connections from this address.\r\n",
        "530 Sorry, the maximum number of transfers is reached.\r\n",
    ];
    for (n, reply) in replies.into_iter().enumerate() {
        let ftp = ScriptedServer::start();
        some(&ftp, 30);
        ftp.manner(|manner| manner.latency = Duration::from_millis(10));
        let rule = Rule::on("RETR").after(12).once();
        ftp.rule(if n == 0 { rule.reply_and_close(reply) } else { rule.reply(reply) });
        let service = one(&ftp).started().run();
        recorded(&service, 30);
        faultless(&service);
        assert!(!logged(&service, "grants 3 logins").is_empty(), "{reply}");
        assert_eq!(warnings(&service), [""; 0], "{reply}");
        assert_eq!(shown(&service, "connections")["granted"], 3);
        // the login that is not used any more is ended, so that others can have it
        service.wait_for(SOON, "three logins are left", |_| ftp.open() == 3);
        assert_eq!(ftp.count("QUIT"), n, "{reply}");
    }
}

#[test]
fn logins_that_others_hold_are_waited_for_quietly_and_taken_one_by_one_when_they_are_free() {
    let ftp = ScriptedServer::start();
    some(&ftp, 3000);
    let full = Limit { connections: 2, at: LimitAt::Login, reply: "530 too many users\r\n".into() };
    ftp.manner(|manner| {
        manner.limit = Some(full);
        manner.latency = Duration::from_millis(15);
    });
    // as after a crash: the logins of before still count
    let stale: Vec<_> = (0..2).map(|_| RawClient::log_in(ftp.addr(), "mro", "mro-pass")).collect();
    let service = one(&ftp).started().run();
    error_shown(&service, "takes no more logins now: 530 too many users");
    assert_eq!(warnings(&service), [""; 0], "they are got over quietly");
    ftp.manner(|manner| manner.limit = None);
    drop(stale);
    // the last command of a login: connections are open before they have sent a password
    service.wait_for(SOON, "all four logins", |_| ftp.count("OPTS") == 4);
    let all: Vec<_> = passwords(&ftp);
    let taken = &all[all.len() - 4..];
    for pair in taken.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(1), "not one by one: {:?}", pair[1] - pair[0]);
    }
    assert_eq!(shown(&service, "connections")["in_use"], 4);
}

#[test]
fn real_servers_that_grant_two_logins_are_collected_from_with_two() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd] {
        let options = Options { max_clients: Some(2), ..Options::default() };
        let Some(daemon) = Daemon::start(kind, &options) else { continue };
        for n in 0..60 {
            let directory = daemon.root.join(format!("{}", n % 6));
            std::fs::create_dir_all(&directory).unwrap();
            open_to_all(&directory, 0o755);
            let path = directory.join(format!("{n}.zip"));
            std::fs::write(&path, zip(n, 20_000)).unwrap();
            open_to_all(&path, 0o644);
        }
        let server = Server::daemon("omc01", &daemon, Tls::Off).key("timeout", "'20s'");
        let service = Setup::new().server(server).started().run();
        recorded(&service, 60);
        service.wait_line(Stream::Stderr, SOON, "the limit is met", |line| line.contains("grants"));
        faultless(&service);
        assert_eq!(warnings(&service), [""; 0], "{kind:?}");
    }
}

fn open_to_all(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

// -- the rhythm ----------------------------------------------------------------------------------------------

#[test]
fn logins_follow_each_other_at_a_distance_that_nobody_notices() {
    let ftp = ScriptedServer::start();
    // directories enough for all connections to have work at once
    (0..100).for_each(|n| put(&ftp, format!("/{}/{n}.zip", n % 40), zip(n, 2000)));
    ftp.manner(|manner| manner.latency = Duration::from_millis(20));
    let service = with(&ftp, &[("connections", "16")]).started().run();
    ftp.wait_for(SOON, "all logins", |journal| journal.connections.len() == 16);
    let opened: Vec<Instant> =
        ftp.journal(|journal| journal.connections.values().map(|visit| visit.opened).collect());
    // the first one answers five commands at 20 ms each, and lists, before the others begin, 20 ms apart
    assert!(opened[1] - opened[0] >= Duration::from_millis(100), "{opened:?}");
    let took = opened[15] - opened[1];
    assert!(took >= Duration::from_millis(200), "{took:?}, less what the first of them was late: {opened:?}");
    recorded(&service, 100);
    assert_eq!(ftp.connections(), 16);
}

#[test]
fn a_password_that_turns_wrong_beside_a_working_login_is_tried_ever_less_often() {
    let ftp = ScriptedServer::start();
    some(&ftp, 30);
    ftp.manner(|manner| manner.latency = Duration::from_millis(2));
    let service = with(&ftp, &[("connections", "2")]).started().run();
    recorded(&service, 30);
    ftp.wait_for(SOON, "both logins", |journal| journal.logins == 2);
    ftp.manner(|manner| manner.login.1 = "changed".to_owned());
    ftp.rule(Rule::on("RETR").about("/new.zip").once().reply_and_close(""));
    put(&ftp, "/new.zip", zip(99, 2000));
    // the login that is left does all the work
    recorded(&service, 31);
    let scans = shown(&service, "scans").as_u64().unwrap();
    ftp.wait_for(SOON, "further tries", |journal| journal.count("PASS") >= 2 + 5);
    let tries = passwords(&ftp);
    let gap = tries[6] - tries[5];
    assert!(gap >= Duration::from_millis(1600), "only {gap:?} before the last try");
    assert!(shown(&service, "scans").as_u64().unwrap() > scans + 5, "the scans go on meanwhile");
    assert_ne!(shown(&service, "state"), "unreachable");
    assert_eq!(warnings(&service).len(), 1, "it is said once");
}

#[test]
fn a_password_that_is_refused_just_after_it_was_taken_is_a_limit_in_other_words() {
    let ftp = ScriptedServer::start();
    some(&ftp, 30);
    ftp.rule(Rule::on("PASS").after(2).reply_and_close("530 Only two at a time, please.\r\n"));
    let service = one(&ftp).started().run();
    recorded(&service, 30);
    rescanned(&ftp, 5);
    assert_eq!(shown(&service, "connections")["granted"], 2);
    assert!(ftp.count("PASS") <= 4);
    assert_eq!(warnings(&service), [""; 0]);
}

#[test]
fn a_server_that_refuses_the_password_now_and_then_is_collected_from_all_the_same() {
    let ftp = ScriptedServer::start();
    some(&ftp, 30);
    ftp.rule(Rule::on("PASS").times(2).reply("530 Login incorrect.\r\n"));
    let service = one(&ftp).started().run();
    recorded(&service, 30);
    faultless(&service);
}

// -- the end of them -----------------------------------------------------------------------------------------

#[test]
fn a_login_that_comes_to_nothing_is_ended_in_good_order() {
    for (verb, reply) in [("USER", "332 Need account.\r\n"), ("PASS", "530 Login incorrect.\r\n")] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 2000));
        ftp.rule(Rule::on(verb).once().reply(reply));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        // the first connection ends with the refusal and QUIT
        let last = ftp.journal(|journal| journal.lines_of(1)).pop();
        assert_eq!(last.as_deref(), Some("QUIT"), "{verb}");
    }
}

#[test]
fn no_login_is_left_behind_by_a_signal_whether_idle_or_at_work() {
    let ftp = ScriptedServer::start();
    some(&ftp, 30);
    let mut service = one(&ftp).interval("1h").started().run();
    recorded(&service, 30);
    service.wait_for(SOON, "the end of the scan", |service| shown(service, "state") == "waiting");
    let open = ftp.open();
    service.signal(Signal::TERM);
    ftp.wait_for(SOON, "QUIT", |journal| journal.count("QUIT") == open);
    assert!(service.wait_exit(SOON).success());
    assert_eq!(ftp.open(), 0);
    let busy = ScriptedServer::start();
    some(&busy, 30);
    busy.rule(Rule::on("RETR").stall(100));
    let mut service = one(&busy).started().run();
    busy.wait_for(SOON, "transfers on all connections", |journal| journal.retrs.len() >= 3);
    assert!(service.command("stop").starts_with("ok"));
    assert_eq!(busy.open(), 0, "the connections are closed when stop has answered");
}

#[test]
fn a_scan_that_fails_half_way_keeps_what_it_finished() {
    let ftp = ScriptedServer::start();
    some(&ftp, 30);
    ftp.rule(Rule::on("RETR").after(10).hang());
    let service = with(&ftp, &[("timeout", "'20s'")]).started().run();
    ftp.wait_for(SOON, "ten whole transfers, and one that hangs", |journal| {
        let whole = journal.retrs.iter().filter(|retr| retr.ended.is_some()).count();
        whole == 10 && journal.count("RETR") > 10
    });
    ftp.go_down();
    error_shown(&service, "cannot connect to");
    // the server is gone: what is recorded now came in the scan that failed
    recorded(&service, 10);
    ftp.behave();
    ftp.come_back();
    recorded(&service, 30);
    faultless(&service);
    let fetched = |times: usize| {
        let retrs = |n: &u64| ftp.retrs(format!("/{}/{n}.zip", n % 6));
        (0..30).filter(|n| retrs(n) == times).count()
    };
    assert!(fetched(1) >= 10, "only {} were fetched once", fetched(1));
    assert_eq!(fetched(1) + fetched(2), 30);
}
