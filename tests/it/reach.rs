//! How a server is reached: active mode, the choice of PASV or EPSV, versions of TLS, a proxy, windows of time, and
//! limits of bandwidth.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};

use crate::real_servers::{Tap, put as put_on_disk};
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::scripted::{Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::socks::{Manner, SocksProxy};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, one, put, ready, recorded, shown, with,
};
use crate::support::zips::{sized, zip};

/// `stop` is promised to answer in so long.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What `check` says of `omc01`.
pub fn check(setup: &Setup) -> String {
    let output = setup.command(&["check"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find(|line| line.contains("omc01")).unwrap_or_default().to_owned()
}

#[track_caller]
fn stops_at_once(service: &mut Service) {
    let began = Instant::now();
    let answer = service.command("stop");
    assert!(answer.starts_with("ok") && began.elapsed() < STOP_WITHIN, "{answer} {:?}", began.elapsed());
}

// -- active mode ---------------------------------------------------------------------------------------------

fn collects_in_active_mode(kind: Kind, tls: Tls) {
    let options = Options {
        tls,
        require_session_reuse: tls != Tls::Off && kind != Kind::PureFtpd,
        ..Options::default()
    };
    let Some(daemon) = Daemon::start(kind, &options) else { return };
    (0..20).for_each(|n| put_on_disk(&daemon.root, format!("{}/{n}.zip", n % 3), &zip(n, 30_000)));
    let tap = Tap::before(daemon.addr);
    let server = Server::daemon("omc01", &daemon, tls)
        .key("port", &tap.addr().port().to_string())
        .key("mode", "'active'")
        .key("active_ports", "'41000-41999'")
        .key("timeout", "'20s'");
    let setup = Setup::new().server(server);
    let said = check(&setup);
    assert!(said.contains(", active mode"), "{said}");
    let service = setup.started().run();
    recorded(&service, 20);
    assert_eq!(content(&service, "omc01/1/7.zip"), zip(7, 30_000));
    service.wait_for(SOON, "a scan without a fault", |service| {
        service.server_status("omc01")["last_error"].is_null() && service.partial().is_empty()
    });
    if tls == Tls::Off {
        let commands = tap.commands();
        let ports = commands.iter().filter_map(|line| line.strip_prefix("PORT 127,0,0,1,"));
        let ports: Vec<u16> = ports
            .map(|port| port.split_once(',').unwrap())
            .map(|(high, low)| high.parse::<u16>().unwrap() * 256 + low.parse::<u16>().unwrap())
            .collect();
        assert!(ports.len() >= 20 && ports.iter().all(|port| (41_000..42_000).contains(port)), "{ports:?}");
        let is_other = |line: &&String| ["PASV", "EPSV", "HELP"].contains(&line.as_str());
        assert_eq!(commands.iter().find(is_other), None);
    }
}

#[test]
fn vsftpd_is_collected_from_in_active_mode() {
    collects_in_active_mode(Kind::Vsftpd, Tls::Off);
    collects_in_active_mode(Kind::Vsftpd, Tls::Explicit);
}

#[test]
fn proftpd_is_collected_from_in_active_mode() {
    collects_in_active_mode(Kind::Proftpd, Tls::Off);
    collects_in_active_mode(Kind::Proftpd, Tls::Explicit);
}

#[test]
fn pure_ftpd_is_collected_from_in_active_mode() {
    collects_in_active_mode(Kind::PureFtpd, Tls::Off);
    collects_in_active_mode(Kind::PureFtpd, Tls::Explicit);
}

/// interface 6.7
#[test]
fn ipv6_servers_connect_to_what_eprt_says() {
    let ftp = ScriptedServer::start_v6();
    (0..5).for_each(|n| put(&ftp, format!("/{n}.zip"), zip(n, 5_000)));
    let service = with(&ftp, &[("mode", "'active'")]).started().run();
    recorded(&service, 5);
    faultless(&service);
    assert!(ftp.commands().iter().any(|line| line.starts_with("EPRT |2|::1|")));
    assert_eq!(ftp.count("EPSV") + ftp.count("PASV"), 0);
}

/// interface 5.8
#[test]
fn the_server_is_told_the_configured_address() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 5_000));
    ftp.rule(Rule::on("PORT").reply("200 ok\r\n"));
    let keys = [("mode", "'active'"), ("active_address", "'203.0.113.7'"), ("timeout", "'500ms'")];
    let service = with(&ftp, &keys).started().run();
    ftp.wait_for(SOON, "a PORT", |journal| journal.count("PORT") > 0);
    assert!(ftp.commands().iter().any(|line| line.starts_with("PORT 203,0,113,7,")));
    drop(service);
}

/// interface 6.7
#[test]
fn a_server_that_never_connects_is_named_and_holds_up_no_stop() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 5_000));
    ftp.rule(Rule::on("PORT").reply("200 ok\r\n"));
    ftp.rule(Rule::on("MLSD").hang());
    let mut service = with(&ftp, &[("mode", "'active'"), ("timeout", "'1s'")]).started().run();
    error_shown(&service, "the server did not connect to 127.0.0.1:");
    let before = ftp.count("MLSD");
    ftp.wait_for(SOON, "another listing", |journal| journal.count("MLSD") > before);
    stops_at_once(&mut service);
}

/// interface 6.7
#[test]
fn a_range_whose_ports_are_all_in_use_is_named() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 5_000));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let range = format!("'{port}-{port}'");
    let service = with(&ftp, &[("mode", "'active'"), ("active_ports", &range)]).started().run();
    error_shown(&service, &format!("every port of active_ports ({port}-{port}) is in use"));
    drop(taken);
    recorded(&service, 1);
    faultless(&service);
}

// -- PASV or EPSV --------------------------------------------------------------------------------------------

/// interface 5.8
#[test]
fn the_operator_chooses_between_pasv_and_epsv() {
    for (word, used, other) in [("pasv", "PASV", "EPSV"), ("epsv", "EPSV", "PASV")] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 5_000));
        let service = with(&ftp, &[("passive", &format!("'{word}'"))]).started().run();
        recorded(&service, 1);
        assert!(ftp.count(used) > 0 && ftp.count(other) == 0, "{word}");
        // and the other one is not tried where it is refused
        let refusing = ScriptedServer::start();
        refusing.rule(Rule::on(used).reply("502 no\r\n"));
        let service = with(&refusing, &[("passive", &format!("'{word}'"))]).started().run();
        error_shown(&service, &format!("{used}: 502 no"));
        assert_eq!(refusing.count(other), 0, "{word}");
    }
}

// -- TLS -----------------------------------------------------------------------------------------------------

/// interface 5.8, 6.12
#[test]
fn versions_of_tls_have_a_ceiling_and_a_floor() {
    let options = Options { tls: Tls::Explicit, ..Options::default() };
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &options) else { return };
    let said = |keys: &[(&str, &str)]| {
        let server = Server::daemon("omc01", &daemon, Tls::Explicit);
        check(&Setup::new().server(keys.iter().fold(server, |server, (key, value)| server.key(key, value))))
    };
    for (keys, version) in
        [(&[][..], "TLS 1.3"), (&[("tls_max", "'1.2'")], "TLS 1.2"), (&[("tls_min", "'1.3'")], "TLS 1.3")]
    {
        let said = said(keys);
        assert!(said.starts_with("ok") && said.contains(&format!(", {version}")), "{keys:?}: {said}");
    }
    let old = Options { tls: Tls::Explicit, tls12_only: true, ..Options::default() };
    let Some(daemon) = Daemon::start(Kind::Proftpd, &old) else { return };
    let server = Server::daemon("omc01", &daemon, Tls::Explicit).key("tls_min", "'1.3'");
    let said = check(&Setup::new().server(server));
    assert!(said.starts_with("failed") && said.contains("TLS"), "{said}");
}

// -- a proxy -------------------------------------------------------------------------------------------------

/// The URL of a proxy as a TOML value.
pub fn url(scheme: &str, proxy: &SocksProxy) -> String {
    format!("'{scheme}://{}'", proxy.addr())
}

/// interface 6.11
#[test]
fn control_and_data_connections_go_through_the_proxy() {
    let ftp = ScriptedServer::start();
    (0..10).for_each(|n| put(&ftp, format!("/{n}.zip"), zip(n, 5_000)));
    let login = Some(("mro@x", "ge:heim"));
    let proxy = SocksProxy::start(Manner { login, ..Manner::default() });
    let address = format!("'socks5://mro%40x:ge%3Aheim@{}'", proxy.addr());
    let setup = with(&ftp, &[("proxy", &address)]);
    let said = check(&setup);
    assert!(said.contains(&format!(", through the proxy {}", proxy.addr())), "{said}");
    let service = setup.interval("1h").started().run();
    recorded(&service, 10);
    faultless(&service);
    assert_eq!(content(&service, "omc01/7.zip"), zip(7, 5_000));
    let asked = proxy.asked();
    let control = asked.iter().filter(|target| **target == ftp.addr().to_string()).count();
    assert_eq!(control, ftp.connections(), "{asked:?}");
    let data = ftp.count("RETR") + ftp.count("MLSD") + ftp.count("LIST");
    assert!(asked.len() - control >= data, "{asked:?}");
    assert!(logged(&service, "heim").is_empty());
}

/// interface 6.11
#[test]
fn names_are_looked_up_by_us_or_by_the_proxy_as_the_scheme_says() {
    for (scheme, host) in [("socks5", "127.0.0.1"), ("socks5h", "localhost")] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 5_000));
        let proxy = SocksProxy::start(Manner::default());
        let keys = [("proxy", url(scheme, &proxy)), ("host", "'localhost'".to_owned())];
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let service = with(&ftp, &keys).started().run();
        recorded(&service, 1);
        let asked = proxy.asked();
        let ours = |target: &&String| target.starts_with(host);
        assert!(asked.iter().filter(ours).count() >= 3, "{scheme}: {asked:?}");
        // ::1 may come first, where nobody listens
        assert!(scheme == "socks5" || asked.iter().all(|target| ours(&target)), "{asked:?}");
    }
}

#[test]
fn tls_goes_through_the_proxy_as_well() {
    let options = Options { tls: Tls::Explicit, require_session_reuse: true, ..Options::default() };
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &options) else { return };
    (0..5).for_each(|n| put_on_disk(&daemon.root, format!("{n}.zip"), &zip(n, 5_000)));
    let proxy = SocksProxy::start(Manner::default());
    let server = Server::daemon("omc01", &daemon, Tls::Explicit).key("proxy", &url("socks5", &proxy));
    let service = Setup::new().server(server).started().run();
    recorded(&service, 5);
    faultless(&service);
    assert!(proxy.asked().len() > 5);
}

#[test]
fn what_the_proxy_answers_is_said_in_words() {
    let ftp = ScriptedServer::start();
    for (code, words) in [
        (1, "general failure"),
        (2, "does not allow the connection by its rules"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (8, "does not support this kind of address"),
    ] {
        let proxy = SocksProxy::start(Manner { refusal: Some(code), ..Manner::default() });
        let said = check(&with(&ftp, &[("proxy", &url("socks5", &proxy))]));
        let (server, proxy) = (ftp.addr(), proxy.addr());
        let place = format!("cannot connect to {server} through the proxy {proxy}: the proxy {proxy} ");
        assert!(said.starts_with("failed") && said.contains(&place) && said.contains(words), "{said}");
    }
    let picky = SocksProxy::start(Manner { login: Some(("a", "b")), ..Manner::default() });
    let said = check(&with(&ftp, &[("proxy", &url("socks5", &picky))]));
    assert!(said.contains("wants another login"), "{said}");
    let wrong = format!("'socks5://a:geheim@{}'", picky.addr());
    let said = check(&with(&ftp, &[("proxy", &wrong)]));
    assert!(said.contains("refuses user or password") && !said.contains("geheim"), "{said}");
    // an FTP server in the place of a proxy, and nobody at all
    let said = check(&with(&ftp, &[("proxy", &format!("'socks5://{}'", ftp.addr()))]));
    assert!(said.contains("does not speak SOCKS5") || said.contains("closes the connection"), "{said}");
    let said = check(&with(&ftp, &[("proxy", "'socks5://127.0.0.1:1'")]));
    assert!(said.contains("cannot connect to the proxy 127.0.0.1:1: "), "{said}");
}

#[test]
fn a_proxy_that_says_nothing_is_named_and_holds_up_no_stop() {
    let (ftp, proxy) =
        (ScriptedServer::start(), SocksProxy::start(Manner { hangs: true, ..Manner::default() }));
    let mut service =
        with(&ftp, &[("proxy", &url("socks5", &proxy)), ("timeout", "'500ms'")]).started().run();
    error_shown(&service, "connecting through the proxy: no answer for 500ms");
    stops_at_once(&mut service);
    assert_eq!(ftp.connections(), 0);
}

// -- windows -------------------------------------------------------------------------------------------------

/// A zone in which it is `time` now, so that a window begins or ends within seconds: windows are local time.
pub fn zone_in_which_it_is(time: &str) -> String {
    let now = Utc::now().time();
    let wanted = chrono::NaiveTime::parse_from_str(time, "%H:%M:%S").unwrap();
    let mut ahead = (wanted - now).num_seconds();
    // POSIX counts zones the other way round
    if ahead > 12 * 3600 {
        ahead -= 24 * 3600;
    }
    let (sign, seconds) = if ahead < 0 { ('+', -ahead) } else { ('-', ahead) };
    format!("XXX{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// interface 6.9
#[test]
fn a_server_outside_of_its_windows_is_not_connected_to_until_they_open() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 5_000));
    let setup = with(&ftp, &[("windows", "['12:00-13:00']")]);
    let mut service = setup.env("TZ", &zone_in_which_it_is("11:59:50")).started().run();
    ready(&service);
    service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("waits for its window"));
    let status = service.server_status("omc01");
    assert_eq!((&status["state"], &status["last_error"]), (&"waiting".into(), &serde_json::Value::Null));
    let opens = status["next_scan"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap();
    let left = opens - Utc::now();
    assert!(left > TimeDelta::zero() && left < TimeDelta::seconds(12), "{left}");
    assert_eq!((ftp.connections(), &status["outside_windows"]), (0, &true.into()));
    // a stop does not wait for the window, and a start waits again
    stops_at_once(&mut service);
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 1);
    assert!(Utc::now() >= opens);
    faultless(&service);
    assert_eq!(shown(&service, "outside_windows"), false);
}

/// interface 6.9
#[test]
fn at_the_end_of_a_window_sessions_are_closed_and_a_transfer_is_kept_for_the_next() {
    let ftp = ScriptedServer::start();
    let large = sized(1, 3_000_000);
    put(&ftp, "/1.zip", large.clone());
    let zone = zone_in_which_it_is("11:59:52");
    let setup = with(&ftp, &[("windows", "['11:00-12:00']"), ("max_rate", "'200kB/s'")]);
    let mut service = setup.env("TZ", &zone).started().run();
    service.wait_line(Stream::Stderr, SOON, "the end", |line| line.contains("its window has ended"));
    ftp.wait_for(SOON, "all are closed", |journal| {
        journal.connections.values().all(|visit| visit.closed.is_some())
    });
    service.wait_for(SOON, "it waits", |service| shown(service, "state") == "waiting");
    let received: u64 = service.partial().values().sum();
    assert!(received > 100_000 && received < 3_000_000, "{received}");
    assert_eq!(service.server_status("omc01")["connections"]["in_use"], 0);
    let before = ftp.connections();
    service.forget_env("TZ");
    service.restart();
    // where the machine's own time is in the window already, it goes on at once
    let open = chrono::Timelike::hour(&chrono::Local::now()) == 11;
    if !open {
        service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("waits for its window"));
        assert_eq!(ftp.connections(), before);
    }
}

#[test]
fn an_idle_server_is_logged_out_of_at_the_end_of_its_window() {
    let ftp = ScriptedServer::start();
    let setup = with(&ftp, &[("windows", "['11:00-12:00']")]).interval("1h");
    let service = setup.env("TZ", &zone_in_which_it_is("11:59:54")).started().run();
    faultless(&service);
    assert!(ftp.open() > 0);
    ftp.wait_for(SOON, "QUIT", |journal| journal.count("QUIT") > 0);
    service.wait_for(SOON, "it waits", |service| shown(service, "connections")["in_use"] == 0);
    assert!(logged(&service, "WARN").iter().all(|line| !line.contains("omc01")));
}

/// interface 6.9
#[test]
fn check_connects_to_no_server_outside_of_its_windows() {
    let ftp = ScriptedServer::start();
    let setup = with(&ftp, &[("windows", "['12:00-13:00']")]).env("TZ", &zone_in_which_it_is("09:00:00"));
    let said = check(&setup);
    assert!(
        said.starts_with("ok") && said.contains("not tried: outside of its windows (12:00-13:00)"),
        "{said}"
    );
    assert!(said.contains("open at") && said.contains("12:00"), "{said}");
    assert_eq!(ftp.connections(), 0);
}

// -- limits --------------------------------------------------------------------------------------------------

/// interface 6.10
#[test]
fn a_limit_is_shared_by_the_connections_of_a_server_and_is_no_slowness_of_it() {
    let ftp = ScriptedServer::start();
    (0..4).for_each(|n| put(&ftp, format!("/{n}.zip"), sized(n, 250_000)));
    let keys = [("max_rate", "'200kB/s'"), ("min_speed", "'150kB'"), ("timeout", "'500ms'")];
    let service = with(&ftp, &keys).started().run();
    ready(&service);
    let began = Instant::now();
    ftp.wait_for(SOON, "a transfer", |journal| !journal.retrs.is_empty());
    recorded(&service, 4);
    let took = began.elapsed();
    // a megabyte at 200 kB/s, less what the sockets hold
    assert!(took > Duration::from_secs(3), "{took:?}");
    assert!(ftp.max_open() > 1);
    faultless(&service);
    assert!(logged(&service, "too slow").is_empty() && logged(&service, "no answer").is_empty());
}

/// interface 5.1
#[test]
fn the_fleets_limit_is_shared_by_all_servers() {
    let servers = [ScriptedServer::start(), ScriptedServer::start()];
    let mut setup = Setup::new().toml("[sync]\nmax_rate = '200kB/s'\n");
    for (n, ftp) in (1..).zip(&servers) {
        put(ftp, "/1.zip", sized(n, 500_000));
        setup = setup.server(Server::scripted(&format!("omc0{n}"), ftp));
    }
    let service = setup.started().run();
    ready(&service);
    let began = Instant::now();
    recorded(&service, 2);
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn without_a_limit_nothing_waits() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", sized(1, 20_000_000));
    let service = one(&ftp).started().run();
    ready(&service);
    recorded(&service, 1);
    let (began, ended) = ftp.journal(|journal| (journal.retrs[0].began, journal.retrs[0].ended.unwrap()));
    assert!(ended - began < Duration::from_secs(10), "{:?}", ended - began);
}
