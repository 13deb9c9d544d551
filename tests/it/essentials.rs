//! The promises that everything else rests on, each once, through the real binary.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{
    CONNECT, Ending, File, Limit, LimitAt, MlsdLinks, Rest, Rule, ScriptedServer,
};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, ready, recorded, scanned, scans};
use crate::support::wait::output_within;
use crate::support::zips::{sized, zip};

/// Runs the service, with or without `--start`, and waits until it can be asked.
fn run(setup: Setup) -> Service {
    let service = setup.run();
    ready(&service);
    service
}

/// interface 10.1
#[test]
fn every_directory_and_zip_is_mirrored_once_and_nothing_else() {
    let ftp = ScriptedServer::start();
    ftp.put("/a/1.zip", File::new(zip(1, 3000)));
    ftp.put("/a/b/2.ZIP", File::new(zip(2, 3000)));
    ftp.put("/a/readme.txt", File::new("no zip"));
    ftp.make_directory("/empty/deep");
    let service = run(one(&ftp).started());
    recorded(&service, 2);
    scanned(&service, 2);
    let names: Vec<String> = service.mirrored().into_keys().collect();
    assert_eq!(names, ["omc01/a/1.zip", "omc01/a/b/2.ZIP"]);
    assert!(service.root().join("omc01/empty/deep").is_dir());
    assert_eq!((ftp.retrs("/a/1.zip"), ftp.retrs("/a/readme.txt")), (1, 0));
    assert!(service.partial().is_empty());
}

/// interface 10.5
#[test]
fn nothing_comes_back_after_a_restart_or_a_deletion_by_hand() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = run(one(&ftp).started());
    recorded(&service, 1);
    std::fs::remove_file(service.root().join("omc01/1.zip")).unwrap();
    service
        .wait_for(SOON, "the deletion is noticed", |service| !service.records()[0]["evicted_at"].is_null());
    service.restart();
    ready(&service);
    service.wait_for(SOON, "two scans", |service| scans(service) > 1);
    assert_eq!(ftp.retrs("/1.zip"), 1);
    assert!(service.mirrored().is_empty());
}

/// interface 10.7
#[test]
fn a_file_that_grows_while_it_is_seen_ends_whole() {
    let ftp = ScriptedServer::start();
    let whole = zip(1, 40_000);
    ftp.put("/1.zip", File::new(whole[..10_000].to_vec()));
    let service = run(one(&ftp).started());
    service.wait_for(SOON, "the first try", |_| ftp.retrs("/1.zip") > 0);
    scanned(&service, 1);
    assert!(service.mirrored().is_empty() && service.records().is_empty());
    ftp.put("/1.zip", File::new(whole.clone()).modified(1_800_000_000));
    recorded(&service, 1);
    assert_eq!(std::fs::read(service.root().join("omc01/1.zip")).unwrap(), whole);
}

#[test]
fn cut_transfers_are_never_taken_whatever_the_server_says() {
    for ending in [Ending::Success, Ending::Aborted, Ending::AbortedThenSuccess, Ending::Close] {
        let ftp = ScriptedServer::start();
        let whole = sized(1, 30_000);
        ftp.put("/1.zip", File::new(whole.clone()));
        ftp.rule(Rule::on("RETR").times(2).cut(10_000, ending));
        let service = run(one(&ftp).started());
        recorded(&service, 1);
        assert_eq!(std::fs::read(service.root().join("omc01/1.zip")).unwrap(), whole, "{ending:?}");
        assert!(ftp.retrs("/1.zip") >= 2, "{ending:?}");
    }
}

#[test]
fn an_empty_file_is_taken_once_two_scans_have_seen_it() {
    let ftp = ScriptedServer::start();
    ftp.put("/0.zip", File::new(""));
    let service = run(one(&ftp).started());
    recorded(&service, 1);
    assert!(ftp.listings("/") >= 2);
    assert_eq!(service.mirrored()["omc01/0.zip"], 0);
}

#[test]
fn a_half_file_is_resumed_by_the_next_start() {
    for rest in [Rest::Honoured, Rest::Refused, Rest::Ignored] {
        let ftp = ScriptedServer::start();
        let whole = zip(1, 400_000);
        ftp.put("/1.zip", File::new(whole.clone()));
        ftp.manner(|manner| manner.rest = rest);
        ftp.rule(Rule::on("RETR").once().stall(200_000));
        let mut service = run(one(&ftp).started());
        service
            .wait_for(SOON, "half of it", |service| service.partial().values().any(|size| *size == 200_000));
        assert!(service.command("stop").starts_with("ok"));
        assert!(service.command("start").starts_with("ok"));
        recorded(&service, 1);
        assert_eq!(std::fs::read(service.root().join("omc01/1.zip")).unwrap(), whole, "{rest:?}");
        assert!(ftp.count("REST") > 0, "{rest:?}");
    }
}

/// interface 2.4
#[test]
fn stop_answers_within_two_seconds_wherever_a_server_hangs() {
    for verb in [CONNECT, "USER", "PASV", "MLSD", "RETR"] {
        let ftp = ScriptedServer::start();
        ftp.put("/1.zip", File::new(zip(1, 3000)));
        ftp.rule(Rule::on(verb).hang());
        let mut service = run(one(&ftp).started());
        service.wait_for(SOON, "the server hangs", |_| {
            verb == CONNECT && ftp.connections() > 0 || ftp.count(verb) > 0
        });
        let asked = Instant::now();
        assert!(service.command("stop").starts_with("ok"), "{verb}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{verb}: {:?}", asked.elapsed());
        assert_eq!(service.server_status("omc01")["state"], "stopped");
        assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0), "{verb}");
    }
}

#[test]
fn a_hanging_server_is_given_up_after_its_timeout_and_comes_back_by_itself() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.rule(Rule::on("RETR").times(2).stall(100));
    let server = Server::scripted("omc01", &ftp).key("timeout", "'300ms'");
    let service = run(Setup::new().server(server).started());
    recorded(&service, 1);
}

#[test]
fn a_dead_server_delays_no_other() {
    let (dead, alive) = (ScriptedServer::start(), ScriptedServer::start());
    dead.rule(Rule::on(CONNECT).hang());
    alive.put("/1.zip", File::new(zip(1, 3000)));
    let setup =
        Setup::new().server(Server::scripted("dead", &dead)).server(Server::scripted("omc01", &alive));
    let service = run(setup.started());
    recorded(&service, 1);
    dead.go_down();
    service.wait_for(SOON, "it is called unreachable", |service| {
        let status = service.server_status("dead");
        status["state"] == "unreachable" && status["last_error"].is_string()
    });
}

#[test]
fn no_more_logins_than_allowed_or_granted_and_they_are_kept_between_scans() {
    for (allowed, granted) in [("2", 9), ("4", 1)] {
        let ftp = ScriptedServer::start();
        (0..30).for_each(|n| ftp.put(format!("/{}/{n}.zip", n % 5), File::new(zip(n, 2000))));
        let reply = b"421 too many connections\r\n".to_vec();
        ftp.manner(|manner| {
            manner.limit = Some(Limit { connections: granted, at: LimitAt::Greeting, reply })
        });
        let server = Server::scripted("omc01", &ftp).key("connections", allowed);
        let service = run(Setup::new().server(server).started());
        recorded(&service, 30);
        let before = ftp.connections();
        scanned(&service, 3);
        assert_eq!(ftp.connections(), before, "sessions are kept");
        // those that were refused count as open for a moment
        assert!(granted == 1 || ftp.max_open() <= 2, "{}", ftp.max_open());
    }
}

#[test]
fn hostile_names_cost_themselves_alone_and_lead_nowhere() {
    let ftp = ScriptedServer::start();
    ftp.put("/good.zip", File::new(zip(1, 3000)));
    let listing = b"type=file;size=3; ../evil.zip\r\ntype=dir; ..\r\ntype=file;size=3; a\0b.zip\r\n\
        type=file;size=3; sub/evil.zip\r\nnonsense\r\ntype=file;size=9; good.zip\r\n";
    ftp.rule(Rule::on("MLSD").content(listing));
    ftp.rule(Rule::on("SIZE").reply("550 no\r\n"));
    let service = run(one(&ftp).toml("[defaults]\nverify = 'auto'").started());
    service.wait_for(SOON, "a scan", |service| scans(service) > 1);
    assert!(service.server_status("omc01")["lines_not_understood"].as_u64().unwrap() >= 3);
    let outside: Vec<_> =
        std::fs::read_dir(service.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert!(ftp.retrs("/good.zip") > 0 && !ftp.commands().iter().any(|command| command.contains("evil")));
}

#[test]
fn names_are_mirrored_as_the_encoding_says_and_odd_bytes_as_percent_signs() {
    let ftp = ScriptedServer::start();
    ftp.put(b"/\xc9\xcf\xba\xa3/\xd6\xd0.zip", File::new(zip(1, 3000)));
    ftp.put(b"/odd\xff.zip", File::new(zip(2, 3000)));
    let notify = NotifyStub::start();
    let server = Server::scripted("omc01", &ftp).key("encoding", "'gbk'");
    let service = run(Setup::new().server(server).notify(&notify.url()).started());
    recorded(&service, 2);
    let names: Vec<String> = service.mirrored().into_keys().collect();
    assert_eq!(names, ["omc01/odd%FF.zip", "omc01/上海/中.zip"]);
    notify.wait_for(SOON, "both calls", |calls| calls.len() == 2);
    let targets: Vec<String> = notify.calls().into_iter().map(|call| call.target).collect();
    assert!(
        targets.iter().any(|target| target.ends_with("?file=%2Fomc01%2F%E4%B8%8A%E6%B5%B7%2F%E4%B8%AD.zip"))
    );
    assert!(targets.iter().any(|target| target.ends_with("?file=%2Fomc01%2Fodd%25FF.zip")));
}

#[test]
fn a_link_that_looks_like_a_directory_is_not_followed_for_ever() {
    let ftp = ScriptedServer::start();
    ftp.put("/a/1.zip", File::new(zip(1, 3000)));
    ftp.edit(|tree| tree.link("/a/up", "/"));
    for links in [MlsdLinks::Told, MlsdLinks::Followed] {
        ftp.manner(|manner| manner.mlsd_links = links);
        let service = run(one(&ftp).toml("[defaults]\ntimeout = '20s'").started());
        // a link that is followed shows the file under many names, faster than anybody counts
        service.wait_for(SOON, "the file is recorded", |service| !service.records().is_empty());
        if links == MlsdLinks::Told {
            scanned(&service, 1);
            assert!(!service.root().join("omc01/a/up").is_dir());
        }
    }
}

#[test]
fn a_cut_listing_is_a_fault_that_is_shown_and_what_it_shows_is_fetched() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.rule(Rule::on("MLSD").closing("226-Output truncated to 1 matches\r\n226 done\r\n"));
    let service = run(one(&ftp).started());
    recorded(&service, 1);
    service.wait_for(SOON, "the fault is shown", |service| {
        service.server_status("omc01")["last_error"].as_str().is_some_and(|error| error.contains("truncated"))
    });
}

/// interface 12.1
#[test]
fn the_oldest_download_is_evicted_and_never_comes_back() {
    let ftp = ScriptedServer::start();
    let notify = NotifyStub::start();
    let setup = one(&ftp).notify(&notify.url()).toml("[quota]\nmax_bytes = '25kB'");
    for n in 0..2 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 10_000)));
    }
    let service = run(setup.started());
    recorded(&service, 2);
    notify.wait_for(SOON, "both are announced", |calls| calls.len() == 2);
    service.wait_for(SOON, "that is recorded", |service| service.status()["notify"]["pending"] == 0);
    ftp.put("/2.zip", File::new(zip(2, 10_000)));
    recorded(&service, 3);
    scanned(&service, 2);
    let records = service.records();
    let evicted: Vec<bool> = records.iter().map(|record| !record["evicted_at"].is_null()).collect();
    assert_eq!(evicted, [true, false, false]);
    assert_eq!(service.mirrored().len(), 2);
    assert_eq!((0..3).map(|n| ftp.retrs(format!("/{n}.zip"))).sum::<usize>(), 3);
}

/// interface 12.3
#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    let mut service = run(one(&ftp));
    std::fs::create_dir_all(service.root().join("omc01")).unwrap();
    std::fs::write(service.root().join("omc01/1.zip"), "theirs").unwrap();
    service.command("start");
    recorded(&service, 1);
    scanned(&service, 1);
    assert_eq!(std::fs::read(service.root().join("omc01/1.zip")).unwrap(), b"theirs");
    assert_eq!(ftp.retrs("/1.zip"), 0);
}

/// interface 13.2
#[test]
fn each_file_is_announced_until_it_is_delivered_over_a_restart() {
    let ftp = ScriptedServer::start();
    let notify = NotifyStub::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    notify.answer(Answer::Status(500));
    let mut service = run(one(&ftp).notify(&notify.url()).started());
    notify.wait_for(SOON, "a failed call", |calls| !calls.is_empty());
    service.kill();
    notify.answer(Answer::Status(204));
    service.restart();
    ready(&service);
    service.wait_for(SOON, "it is delivered", |service| !service.records()[0]["notified_at"].is_null());
    let delivered = notify.calls().len();
    scanned(&service, 2);
    assert_eq!(notify.calls().len(), delivered, "and not called again");
}

#[test]
fn the_control_socket_is_the_owners_alone_and_a_second_service_is_refused() {
    let ftp = ScriptedServer::start();
    let setup = one(&ftp);
    let again = setup.command(&["run"]);
    let mut service = run(setup);
    let sockets = std::fs::read_dir(service.directory()).unwrap().map(|entry| entry.unwrap().path());
    let socket = sockets.into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut again = again;
    let second = output_within(SOON, &mut again);
    assert_eq!(second.status.code(), Some(2), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(service.command("Start ").starts_with("ok") && service.command("start").starts_with("ok"));
    assert!(service.command("frobnicate").starts_with("failed: unknown command frobnicate"));
    service.close_stdin();
    assert!(service.mirrored().is_empty() && service.status()["running"] == true);
}

/// interface 2.9
#[test]
fn passwords_appear_nowhere_at_any_level() {
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on("PASS").once().reply("530 Login incorrect\r\n"));
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = run(one(&ftp).toml("[log]\nlevel = 'trace'").started());
    recorded(&service, 1);
    let check = service.mrosync(&["check"], &[]);
    assert_eq!(check.status.code(), Some(1), "nobody listens at the notify host");
    service.send("status");
    service.wait_line(Stream::Stdout, SOON, "the status", |line| line.contains("omc01"));
    let mut seen = service.lines(Stream::Stderr);
    seen.extend(service.lines(Stream::Stdout));
    seen.push(String::from_utf8_lossy(&check.stdout).into_owned());
    assert!(seen.iter().any(|line| line.contains("530")), "the refusal is told");
    assert!(!seen.iter().any(|line| line.contains("mro-pass")));
}
