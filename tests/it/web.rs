//! The status page as programs use it: who is answered, what is answered, and what it costs others.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http::{Answer, ask, tell};
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, recorded};
use crate::support::zips::zip;

const TOKEN: &str = "a-token-that-nobody-guesses";
const BEARER: (&str, &str) = ("Authorization", "Bearer a-token-that-nobody-guesses");

/// A service with the status page on a free port; with a token where one is given.
fn with_page(ftp: &ScriptedServer, listen: &str, token: Option<&str>) -> Setup {
    let setup = Setup::new().server(Server::scripted("omc01", ftp));
    let mut toml = format!("[web]\nlisten = '{listen}'\nhosts = ['mrosync.example']\n");
    if let Some(token) = token {
        let path = setup.directory().join("token");
        fs::write(&path, format!("{token}\n")).unwrap();
        toml.push_str(&format!("token_file = '{}'\n", path.display()));
    }
    setup.toml(&toml)
}

/// Where the page is, on loopback.
pub fn page(service: &Service) -> SocketAddr {
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    let line = service
        .wait_line(Stream::Stderr, SOON, "the page's address", |line| line.contains("status page is at"));
    let address = line.split("http://").nth(1).unwrap().trim_end_matches('/');
    let address: SocketAddr = address.parse().unwrap();
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), &[])
}

/// interface 5.6
#[test]
fn there_is_no_page_unless_it_is_configured() {
    let ftp = ScriptedServer::start();
    let service = Setup::new().server(Server::scripted("omc01", &ftp)).run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    assert!(!service.lines(Stream::Stderr).iter().any(|line| line.contains("status page")));
}

/// interface 20.16
#[test]
fn what_cannot_be_served_ends_with_2_and_is_named() {
    let ftp = ScriptedServer::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = taken.local_addr().unwrap().to_string();
    for (listen, token, fault) in [
        ("0.0.0.0:0", None, "web.listen"),
        ("127.0.0.1", None, "web.listen"),
        ("127.0.0.1:0", Some("short"), "web.token_file"),
        (in_use.as_str(), None, "web.listen: another program listens"),
    ] {
        let mut service = with_page(&ftp, listen, token).run();
        assert_eq!(service.wait_exit(SOON).code(), Some(2), "{listen}");
        service.wait_line(Stream::Stderr, SOON, fault, |line| line.contains(fault));
    }
}

/// interface 20.5, 20.9, 20.10
#[test]
fn without_a_token_everything_is_shown_and_nothing_can_be_done() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", None).run();
    let at = page(&service);
    for path in ["/", "/page.js", "/healthz", "/metrics", "/api/status", "/api/history", "/api/newest"] {
        assert_eq!(get(at, path).status, 200, "{path}");
        let head = ask(at, &format!("HEAD {path}"), &[]);
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
    for path in ["/api/start", "/api/stop"] {
        let refused = ask(at, &format!("POST {path}"), &[]);
        assert_eq!((refused.status, refused.body.contains("web.token_file")), (403, true), "{refused:?}");
        assert_eq!(ask(at, &format!("POST {path}"), &[BEARER]).status, 401);
        assert_eq!(get(at, path).status, 404);
    }
    assert_eq!(get(at, "/api/access").json()["may_control"], false);
    assert_eq!(get(at, "/../etc/passwd").status, 404);
    assert_eq!(service.status()["running"], false);
}

/// interface 20.5, 20.6, 20.10
#[test]
fn the_token_starts_and_stops_and_no_other_does() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let service = with_page(&ftp, "127.0.0.1:0", Some(TOKEN)).run();
    let at = page(&service);
    let longer = format!("Bearer {TOKEN}x");
    for wrong in ["", "Bearer ", "Bearer a-token-that-nobody-guesseS", &longer, TOKEN] {
        let refused = ask(at, "POST /api/start", &[("Authorization", wrong)]);
        assert_eq!(refused.status, 401, "{wrong}: {refused:?}");
    }
    assert_eq!(service.status()["running"], false);
    let started = ask(at, "POST /api/start", &[BEARER]);
    assert_eq!((started.status, started.body.as_str()), (200, "ok: started 1 server\n"));
    recorded(&service, 1);
    assert_eq!(ask(at, "POST /api/stop", &[BEARER]).body, "ok: stopped 1 server\n");
    assert_eq!(ask(at, "POST /api/stop", &[BEARER]).body, "ok: already stopped\n");
    assert_eq!(service.status()["running"], false);
    assert_eq!(ask(at, "GET /api/access", &[BEARER]).json()["may_control"], true);
    let lines = service.lines(Stream::Stderr);
    assert!(!lines.iter().any(|line| line.contains(TOKEN)), "{lines:?}");
    let warnings = lines.iter().filter(|line| line.contains("wrong token")).count();
    assert_eq!(warnings, 1, "tries fill no log: {lines:?}");
}

/// interface 20.10
#[test]
fn outside_of_loopback_nothing_of_the_service_is_shown_without_the_token() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "0.0.0.0:0", Some(TOKEN)).run();
    let at = page(&service);
    for path in ["/", "/page.css", "/page.js", "/texts.js", "/icon.svg", "/healthz"] {
        assert_eq!(get(at, path).status, 200, "{path}");
    }
    for path in ["/metrics", "/api/status", "/api/history", "/api/newest", "/api/access", "/nothing"] {
        let refused = get(at, path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(!refused.body.contains("omc01"));
        let expected = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(ask(at, &format!("GET {path}"), &[BEARER]).status, expected, "{path}");
    }
}

/// interface 20.11
#[test]
fn other_names_and_other_sites_are_refused() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", Some(TOKEN)).run();
    let at = page(&service);
    let own = format!("http://{at}");
    for path in ["GET /", "GET /healthz", "GET /api/status", "GET /metrics", "POST /api/start"] {
        for host in ["evil.example", "127.0.0.1.evil.example"] {
            assert_eq!(ask(at, path, &[("Host", host), BEARER]).status, 421, "{path} {host}");
        }
    }
    assert_eq!(ask(at, "GET /", &[("Host", "")]).status, 400, "a request without a name");
    for host in ["localhost", "mrosync.example:80", "[::1]:1"] {
        assert_eq!(ask(at, "GET /api/status", &[("Host", host)]).status, 200, "{host}");
    }
    for path in ["GET /api/status", "GET /metrics", "POST /api/start"] {
        for foreign in
            [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
        {
            assert_eq!(ask(at, path, &[foreign, BEARER]).status, 403, "{path} {foreign:?}");
        }
    }
    assert_eq!(service.status()["running"], false, "no foreign request has started it");
    assert_eq!(ask(at, "POST /api/start", &[("Origin", &own), BEARER]).status, 200);
}

/// interface 20.1
#[test]
fn every_answer_tells_the_browser_to_load_and_run_nothing_else() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", None).run();
    let at = page(&service);
    let answers = [
        get(at, "/"),
        get(at, "/api/status"),
        get(at, "/nowhere"),
        ask(at, "GET /", &[("Host", "evil.example")]),
    ];
    for answer in answers {
        let header = |name: &str| answer.headers.get(name).cloned().unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
            "{answer:?}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{answer:?}");
        assert_eq!(header("x-frame-options"), "DENY", "{answer:?}");
    }
}

/// interface 20.15
#[test]
fn bodies_and_long_heads_are_refused() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", Some(TOKEN)).run();
    let at = page(&service);
    let long = "x".repeat(1_000_000);
    for (name, value) in [("Content-Length", "1000000"), ("Transfer-Encoding", "chunked")] {
        assert_eq!(ask(at, "POST /api/start", &[(name, value), BEARER]).status, 413, "{name}");
    }
    let endless = [
        format!("GET /{long} HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {at}\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {at}\r\n{}\r\n", "X: y\r\n".repeat(5000)),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for head in endless {
        let answer = tell(at, &head);
        assert!(answer.as_ref().is_none_or(|answer| (400..500).contains(&answer.status)), "{answer:?}");
    }
    assert_eq!(get(at, "/healthz").status, 200);
    assert_eq!(service.status()["running"], false);
}

/// interface 20.15
#[test]
fn clients_that_say_nothing_are_given_up_and_cost_the_scanners_nothing() {
    let ftp = ScriptedServer::start();
    let mut service = with_page(&ftp, "127.0.0.1:0", None).run();
    let at = page(&service);
    let mut silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(at).unwrap()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET / HTTP/1.1\r\nHo").ok();
    }
    let asked = Instant::now();
    assert!(service.command("start").starts_with("ok"));
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    recorded(&service, 1);
    assert!(asked.elapsed() < Duration::from_secs(5), "the scanners do not wait for them");
    assert_eq!(get(at, "/healthz").status, 200, "and others get their turn");
    for stream in &mut silent {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        // an answer or none: it ends
        assert!(ended.is_ok() || ended == Err(std::io::ErrorKind::ConnectionReset), "{ended:?}");
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
}

/// Takes out what changes from one look to the next.
fn settled(mut status: Value) -> Value {
    let fields = status.as_object_mut().unwrap();
    fields.remove("uptime_seconds");
    fields.remove("process");
    status["disk"].as_object_mut().unwrap().remove("used_percent");
    for server in status["servers"].as_array_mut().unwrap() {
        let lateness = server["lateness"].as_object_mut().unwrap();
        assert!(lateness.remove("newest_file_age_seconds").is_some());
        assert!(lateness.remove("newest_seen_age_seconds").is_some());
    }
    status
}

/// interface 20.2
#[test]
fn the_status_is_that_of_ctl() {
    let (ftp, stub) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = with_page(&ftp, "127.0.0.1:0", None).notify(&stub.url()).started().run();
    let at = page(&service);
    recorded(&service, 1);
    service.wait_for(SOON, "it is announced", |service| service.status()["notify"]["delivered"] == 1);
    service.command("stop");
    let answer = get(at, "/api/status");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(settled(answer.json()), settled(service.status()));
}

/// interface 20.7
#[test]
fn the_metrics_are_the_numbers_of_the_status() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.put("/2.zip", File::new(zip(2, 500)));
    let mut service = with_page(&ftp, "127.0.0.1:0", None).started().run();
    let at = page(&service);
    recorded(&service, 2);
    service.command("stop");
    let answer = get(at, "/metrics");
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let value = |sample: &str| -> f64 {
        let line = answer.body.lines().find_map(|line| line.strip_prefix(&format!("{sample} ")));
        line.unwrap_or_else(|| panic!("no {sample} in {}", answer.body)).parse().unwrap()
    };
    let server = service.server_status("omc01");
    let number = |key: &str| server[key].as_f64().unwrap();
    assert_eq!(value("mrosync_running"), 0.0);
    assert_eq!(value("mrosync_downloaded_files_total{server=\"omc01\"}"), 2.0);
    assert_eq!(value("mrosync_downloaded_bytes_total{server=\"omc01\"}"), number("bytes_downloaded"));
    assert_eq!(value("mrosync_scans_total{server=\"omc01\"}"), number("scans"));
    assert_eq!(value("mrosync_file_local_seconds_count{server=\"omc01\"}"), 2.0);
    assert_eq!(value("mrosync_server_state{server=\"omc01\",state=\"stopped\"}"), 1.0);
    assert_eq!(value("mrosync_notify_pending_files"), 2.0);
}

/// interface 20.8
#[test]
fn a_keeper_that_hangs_is_not_healthy() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", None).started().run();
    let at = page(&service);
    assert_eq!(get(at, "/healthz").body, "ok\n");
    let other = rusqlite::Connection::open(service.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    service.wait_for(SOON, "the keeper waits", |_| get(at, "/healthz").status == 503);
    other.execute_batch("ROLLBACK").unwrap();
    service.wait_for(SOON, "it goes on", |_| get(at, "/healthz").status == 200);
}

/// interface 20.3, 20.4
#[test]
fn the_newest_files_come_first_with_their_announcement() {
    let (ftp, stub) = (ScriptedServer::start(), NotifyStub::start());
    let service = with_page(&ftp, "127.0.0.1:0", None).notify(&stub.url()).started().run();
    let at = page(&service);
    for n in 1..=25 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 300)));
        if n >= 23 {
            recorded(&service, usize::try_from(n).unwrap());
        }
    }
    service.wait_for(SOON, "all are announced", |service| service.status()["notify"]["delivered"] == 25);
    let newest = get(at, "/api/newest").json();
    let newest = newest.as_array().unwrap();
    assert_eq!(newest.len(), 20);
    assert_eq!((&newest[0]["path"], &newest[1]["path"]), (&"/25.zip".into(), &"/24.zip".into()));
    assert_eq!(&newest[0], service.records().last().unwrap());
    let history = get(at, "/api/history?server=omc01").json();
    let sum = |key: &str| -> u64 {
        history["minutes"].as_array().unwrap().iter().map(|minute| minute[key].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("files"), sum("measured"), sum("announced")), (25, 25, 25));
    assert_eq!(get(at, "/api/history?server=omc99").status, 404);
}

/// The file of the nth quarter of an hour.
fn quarter(ftp: &ScriptedServer, n: u64) {
    let name = format!("/LTE_MRO_4001_20261123{:02}{:02}00.zip", n / 4, n % 4 * 15);
    ftp.put(name, File::new(zip(n, 300)));
}

fn lateness(service: &Service) -> Value {
    service.server_status("omc01")["lateness"].clone()
}

/// interface 19.3
#[test]
fn a_period_that_does_not_come_is_missed_until_it_does_and_told_of_once() {
    let ftp = ScriptedServer::start();
    (0..6).for_each(|n| quarter(&ftp, n));
    let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    recorded(&service, 6);
    service.wait_for(SOON, "the rhythm", |service| lateness(service)["period_seconds"] == 900);
    // a scan that looks at the periods ends after the files are on record
    let scans = service.server_status("omc01")["scans"].as_u64().unwrap();
    service.wait_for(SOON, "a look", |service| {
        service.server_status("omc01")["scans"].as_u64().unwrap() > scans + 1
    });
    quarter(&ftp, 7);
    service.wait_for(SOON, "a period is missed", |service| lateness(service)["missing_periods"] == 1);
    let gap = &lateness(&service)["gaps"][0];
    assert_eq!((&gap["from"], &gap["series"]), (&"202611230130".into(), &"LTE_MRO_#_#.zip".into()));
    quarter(&ftp, 8);
    recorded(&service, 8);
    let told = |service: &Service| {
        let lines = service.lines(Stream::Stderr);
        lines
            .iter()
            .filter(|line| line.contains("the period 202611230130 of LTE_MRO_#_#.zip did not come"))
            .count()
    };
    assert_eq!(told(&service), 1);
    quarter(&ftp, 6);
    service.wait_for(SOON, "nothing is missed", |service| lateness(service)["missing_periods"] == 0);
    assert_eq!(told(&service), 1);
    // it is seen before it is local
    service.wait_for(SOON, "all are local", |service| lateness(service)["seen_to_local"]["files"] == 9);
    let seen = lateness(&service);
    assert!(seen["newest_seen_age_seconds"].as_f64().is_some_and(|age| age < 30.0), "{seen}");
    assert!(seen["newest_file_age_seconds"].is_number(), "MLSD tells the time in UTC: {seen}");
    service.kill();
    service.restart();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    service
        .wait_for(SOON, "a restart forgets no rhythm", |service| lateness(service)["period_seconds"] == 900);
}

/// Whether the service has ended the connection of a client to which it has not said anything.
fn has_ended(mut client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    client.read(&mut [0]).map_err(|error| error.kind()) != Err(std::io::ErrorKind::WouldBlock)
}

/// interface 20.12
#[test]
fn two_thousand_slow_clients_keep_nobody_out() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", None).run();
    let at = page(&service);
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..2000 {
        let Ok(mut stream) = TcpStream::connect(at) else { continue };
        // some say nothing, some begin a request, some ask and never read
        let said = ["", "GET / HTTP/1.1\r\nHo", "GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"];
        stream.write_all(said[n % 3].as_bytes()).ok();
        slow.push(stream);
        if n % 500 == 499 {
            let asked = Instant::now();
            assert_eq!(get(at, "/healthz").status, 200);
            // a second on a machine of its own
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?} beside {n}", asked.elapsed());
            // those that said nothing gave way at once, and not when their time was over
            let silent = slow.iter().step_by(3);
            let (all, gone) = (silent.len(), silent.filter(|stream| has_ended(stream)).count());
            assert!(all - gone <= 64, "{gone} of {all} have ended beside {n}");
        }
    }
    assert!(slow.len() > 1500);
}

/// interface 20.13
#[test]
fn requests_that_are_none_leave_no_line_in_the_log() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", None).run();
    let at = page(&service);
    for _ in 0..50 {
        tell(at, "GET / HTTP/1.1\r\nA B\r\n\r\n");
    }
    assert_eq!(get(at, "/healthz").status, 200);
    let lines = service.lines(Stream::Stderr);
    assert!(!lines.iter().any(|line| line.contains("ERROR") || line.contains("actix")), "{lines:?}");
}

/// interface 20.14
#[test]
fn each_wrong_token_is_answered_later_than_the_one_before_and_the_right_one_at_once() {
    let ftp = ScriptedServer::start();
    let service = with_page(&ftp, "127.0.0.1:0", Some(TOKEN)).run();
    let at = page(&service);
    let asked = Instant::now();
    for _ in 0..4 {
        let wrong = ("Authorization", "Bearer wrong-wrong-wrong-wrong");
        assert_eq!(ask(at, "GET /api/status", &[wrong]).status, 401);
    }
    assert!(asked.elapsed() >= Duration::from_millis(250 + 500 + 750 + 1000));
    let asked = Instant::now();
    assert_eq!(ask(at, "GET /api/status", &[BEARER]).status, 200);
    assert!(asked.elapsed() < Duration::from_millis(1250), "{:?}", asked.elapsed());
}
