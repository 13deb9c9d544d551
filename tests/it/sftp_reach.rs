//! How SFTP servers are reached: a proxy, windows of time, limits of bandwidth, and change without restart. As for FTP
//! servers, see `reach`.

use std::fs;
use std::time::{Duration, Instant};

use russh::keys::Algorithm;
use serde_json::Value;

use crate::reach::{STOP_WITHIN, check, url, zone_in_which_it_is};
use crate::real_servers::put;
use crate::support::scripted::ScriptedServer;
use crate::support::service::{Server, Setup, Stream};
use crate::support::sftp::SftpServer;
use crate::support::socks::{Manner, SocksProxy};
use crate::support::sshd::{Sshd, write_key};
use crate::support::steps::{SOON, content, error_shown, faultless, logged, ready, recorded, shown};
use crate::support::zips::{sized, zip};

/// A service with `ssh` as its only server, `omc01`, and some of the server's keys set to TOML values.
fn with(ssh: &SftpServer, keys: &[(&str, &str)]) -> Setup {
    let server = ssh.server("omc01");
    Setup::new().server(keys.iter().fold(server, |server, (key, value)| server.key(key, value)))
}

// -- limits --------------------------------------------------------------------------------------------------

/// Bytes per second, and what a connection may be ahead of it: a quarter of a second.
const RATE: u64 = 200_000;
const AHEAD: u64 = RATE / 4;
/// What a read asks for at this rate.
const PIECE: u64 = RATE / 20;

#[test]
fn a_limit_is_shared_by_the_connections_of_a_server_and_is_no_slowness_of_it() {
    let ssh = SftpServer::start();
    (0..4).for_each(|n| ssh.put(&format!("/{n}.zip"), sized(n, 250_000)));
    let keys = [("max_rate", "'200kB/s'"), ("min_speed", "'150kB'"), ("timeout", "'500ms'")];
    let service = with(&ssh, &keys).started().run();
    service.wait_for(SOON, "a transfer", |_| !ssh.journal().reads.is_empty());
    let began = Instant::now();
    service.wait_for(SOON, "all of it, as fast as it may come", |service| {
        let asked = ssh.journal().reads.len() as u64 * PIECE;
        // four connections, and what was unused for a moment
        let most = (began.elapsed().as_secs_f64() + 1.0) * RATE as f64 + 4.0 * AHEAD as f64;
        assert!(asked as f64 <= most, "{asked} bytes were asked for after {:?}", began.elapsed());
        service.records().len() == 4
    });
    // a megabyte at 200 kB/s
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(content(&service, "omc01/3.zip") == sized(3, 250_000));
    assert!(ssh.journal().most_open > 1);
    faultless(&service);
    assert!(logged(&service, "too slow").is_empty() && logged(&service, "no answer").is_empty());
}

/// interface 6.10
#[test]
fn under_a_limit_little_is_asked_for_at_a_time() {
    for (limit, expected, step) in [("'1KiB/s'", 2, 512), ("'200kB/s'", 5, PIECE), ("0", 16, 32 * 1024)] {
        let ssh = SftpServer::start();
        ssh.put("/1.zip", sized(1, 3_000_000));
        ssh.manner(|manner| manner.silent_after = Some(0));
        let setup = with(&ssh, &[("max_rate", limit), ("timeout", "'1s'"), ("connections", "1")]);
        let service = setup.interval("1h").started().run();
        error_shown(&service, "READ: no answer for 1s");
        let offsets: Vec<u64> = ssh.journal().reads.into_iter().map(|(_, offset)| offset).collect();
        let asked: Vec<u64> = (0..expected).map(|n| n * step).collect();
        // it may have been tried again since
        assert_eq!(offsets.get(..asked.len()), Some(asked.as_slice()), "{limit}");
        assert!(offsets.get(asked.len()).is_none_or(|next| *next == 0), "{limit}: {offsets:?}");
    }
}

/// interface 6.10
#[test]
fn listings_are_paid_for_and_are_no_slowness_either() {
    let ssh = SftpServer::start();
    (0..2000).for_each(|n| ssh.put(&format!("/{n:08}.txt"), "x"));
    let keys = [("max_rate", "'20kB/s'"), ("min_speed", "'15kB'"), ("timeout", "'500ms'")];
    let service = with(&ssh, &keys).interval("1h").started().run();
    service.wait_for(SOON, "a listing", |_| ssh.journal().listings > 0);
    let began = Instant::now();
    service.wait_for(SOON, "a scan", |service| shown(service, "scans").as_u64() > Some(0));
    // 2000 names of some 40 bytes
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    faultless(&service);
    assert!(logged(&service, "too slow").is_empty() && logged(&service, "no answer").is_empty());
}

#[test]
fn the_fleets_limit_is_shared_by_servers_of_both_protocols() {
    let (ssh, ftp) = (SftpServer::start(), ScriptedServer::start());
    ssh.put("/1.zip", sized(1, 500_000));
    crate::support::steps::put(&ftp, "/1.zip", sized(1, 500_000));
    let setup = Setup::new().toml("[sync]\nmax_rate = '200kB/s'\n");
    let setup = setup.server(ssh.server("omc01")).server(Server::scripted("omc02", &ftp));
    let service = setup.started().run();
    ready(&service);
    let began = Instant::now();
    recorded(&service, 2);
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_pause_for_the_limit_holds_up_no_stop() {
    let ssh = SftpServer::start();
    ssh.put("/1.zip", sized(1, 1_000_000));
    let mut service = with(&ssh, &[("max_rate", "'1KiB/s'")]).started().run();
    service.wait_for(SOON, "a transfer", |_| !ssh.journal().reads.is_empty());
    let began = Instant::now();
    let answer = service.command("stop");
    assert!(answer.starts_with("ok") && began.elapsed() < STOP_WITHIN, "{answer} {:?}", began.elapsed());
}

// -- a proxy -------------------------------------------------------------------------------------------------

/// interface 6.11
#[test]
fn ssh_goes_through_the_proxy() {
    let Some(sshd) = Sshd::start() else { return };
    (0..10).for_each(|n| put(&sshd.root, format!("{n}.zip"), &zip(n, 5_000)));
    let login = Some(("mro@x", "ge:heim"));
    let proxy = SocksProxy::start(Manner { login, ..Manner::default() });
    let address = format!("'socks5://mro%40x:ge%3Aheim@{}'", proxy.addr());
    let setup = Setup::new().server(sshd.server("omc01").key("proxy", &address));
    let said = check(&setup);
    assert!(
        said.starts_with("ok") && said.contains(&format!(", through the proxy {};", proxy.addr())),
        "{said}"
    );
    let service = setup.interval("1h").started().run();
    recorded(&service, 10);
    faultless(&service);
    assert!(content(&service, &sshd.mirrored("omc01", "7.zip")) == zip(7, 5_000));
    let logins = sshd.output().matches("Accepted publickey").count();
    assert_eq!(proxy.asked(), vec![sshd.addr.to_string(); logins]);
    assert!(logins > 1 && logged(&service, "heim").is_empty());
}

/// interface 6.11
#[test]
fn the_host_key_is_looked_up_by_the_servers_name_and_not_by_the_proxys() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 5_000));
    let proxy = SocksProxy::start(Manner::default());
    let setup = Setup::new();
    let file = setup.directory().join("known_hosts");
    let port = sshd.addr.port();
    let elsewhere =
        format!("[127.0.0.1]:{port} {0}\n[127.0.0.1]:{1} {0}\n", sshd.public_key, proxy.addr().port());
    fs::write(&file, &elsewhere).unwrap();
    let server = sshd.server("omc01").without("host_key");
    let server = server.key("known_hosts_file", &format!("'{}'", file.display()));
    // a proxy looks up what we cannot, or need not
    let setup = setup.server(server.key("host", "'localhost'").key("proxy", &url("socks5h", &proxy)));
    let said = check(&setup);
    let unknown = format!("unknown host key: [localhost]:{port} shows ");
    assert!(said.starts_with("failed") && said.contains(&unknown), "{said}");
    fs::write(&file, format!("[localhost]:{port} {}\n", sshd.public_key)).unwrap();
    let service = setup.started().run();
    recorded(&service, 1);
    let asked = proxy.asked();
    let ours = |target: &String| *target == format!("localhost:{port}");
    assert!(asked.len() > 1 && asked.iter().all(ours), "{asked:?}");
}

#[test]
fn what_the_proxy_answers_is_said_in_words() {
    let ssh = SftpServer::start();
    for (code, words) in [
        (1, "general failure"),
        (2, "does not allow the connection by its rules"),
        (4, "host unreachable"),
        (5, "connection refused"),
    ] {
        let proxy = SocksProxy::start(Manner { refusal: Some(code), ..Manner::default() });
        let said = check(&with(&ssh, &[("proxy", &url("socks5", &proxy))]));
        let (server, proxy) = (ssh.addr(), proxy.addr());
        let place = format!("cannot connect to {server} through the proxy {proxy}: the proxy {proxy} ");
        assert!(said.starts_with("failed") && said.contains(&place) && said.contains(words), "{said}");
    }
    let picky = SocksProxy::start(Manner { login: Some(("a", "b")), ..Manner::default() });
    let wrong = format!("'socks5://a:geheim@{}'", picky.addr());
    let said = check(&with(&ssh, &[("proxy", &wrong)]));
    assert!(said.contains("refuses user or password") && !said.contains("geheim"), "{said}");
    let said = check(&with(&ssh, &[("proxy", "'socks5://127.0.0.1:1'")]));
    assert!(said.contains("cannot connect to the proxy 127.0.0.1:1: "), "{said}");
    assert_eq!(ssh.journal().passwords, 0);
}

#[test]
fn a_proxy_that_says_nothing_is_named_and_holds_up_no_stop() {
    let (ssh, proxy) = (SftpServer::start(), SocksProxy::start(Manner { hangs: true, ..Manner::default() }));
    let keys = [("proxy", &*url("socks5", &proxy)), ("timeout", "'500ms'")];
    let mut service = with(&ssh, &keys).started().run();
    error_shown(&service, "connecting through the proxy: no answer for 500ms");
    let began = Instant::now();
    let answer = service.command("stop");
    assert!(answer.starts_with("ok") && began.elapsed() < STOP_WITHIN, "{answer} {:?}", began.elapsed());
}

// -- what has no meaning -------------------------------------------------------------------------------------

#[test]
fn what_the_defaults_say_of_data_connections_neither_stops_a_server_nor_is_it_shown() {
    let ssh = SftpServer::start();
    ssh.put("/1.zip", zip(1, 5_000));
    let defaults = "[defaults]\nmode = 'active'\npassive = 'epsv'\ntls = 'explicit'\ntls_max = '1.2'\n";
    let setup = Setup::new().toml(defaults).server(ssh.server("omc01"));
    let said = check(&setup);
    assert!(said.starts_with("ok") && said.contains(", logged in as mro; "), "{said}");
    recorded(&setup.started().run(), 1);
}

// -- windows -------------------------------------------------------------------------------------------------

#[test]
fn a_window_opens_and_at_its_end_sessions_are_closed_and_a_transfer_is_kept() {
    let ssh = SftpServer::start();
    ssh.put("/1.zip", sized(1, 4_000_000));
    let zone = zone_in_which_it_is("11:59:52");
    let keys = [("windows", "['11:00-12:00']"), ("max_rate", "'200kB/s'")];
    let service = with(&ssh, &keys).env("TZ", &zone).started().run();
    service.wait_line(Stream::Stderr, SOON, "the end", |line| line.contains("its window has ended"));
    service.wait_for(SOON, "all are closed", |service| {
        ssh.journal().open == 0 && shown(service, "state") == "waiting"
    });
    let received: u64 = service.partial().values().sum();
    assert!(received > 100_000 && received < 4_000_000, "{received}");
    assert_eq!(service.server_status("omc01")["connections"]["in_use"], 0);
    assert_eq!(service.server_status("omc01")["outside_windows"], true);
}

#[test]
fn outside_of_its_windows_a_server_is_not_connected_to_until_they_open() {
    let ssh = SftpServer::start();
    ssh.put("/1.zip", zip(1, 5_000));
    let setup = with(&ssh, &[("windows", "['12:00-13:00']")]).env("TZ", &zone_in_which_it_is("11:59:50"));
    let said = check(&setup);
    assert!(said.starts_with("ok") && said.contains("not tried: outside of its windows"), "{said}");
    let service = setup.started().run();
    service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("waits for its window"));
    let opens = shown(&service, "next_scan").as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
    assert_eq!(ssh.journal().passwords, 0);
    recorded(&service, 1);
    assert!(chrono::Utc::now() >= opens.unwrap());
}

// -- change without restart ----------------------------------------------------------------------------------

/// interface 7.2
#[test]
fn a_private_key_that_was_changed_under_its_old_name_is_a_change() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 1_000));
    let mut service = Setup::new().server(sshd.server("omc01")).started().run();
    recorded(&service, 1);
    assert_eq!(service.command("reload"), "ok: 1 server untouched");
    let right = fs::read(&sshd.key).unwrap();
    write_key(&sshd.key, &Algorithm::Ed25519);
    assert_eq!(service.command("reload"), "ok: 1 server changed");
    error_shown(&service, "publickey was not taken");
    fs::write(&sshd.key, &right).unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server changed");
    faultless(&service);
    // one that cannot be used is refused, and the one before stays in use
    fs::write(&sshd.key, "no key").unwrap();
    let answer = service.command("reload");
    assert!(answer.starts_with("failed: ") && answer.contains("private_key_file"), "{answer}");
    put(&sshd.root, "2.zip", &zip(2, 1_000));
    fs::write(&sshd.key, &right).unwrap();
    recorded(&service, 2);
    assert_eq!(service.command("reload"), "ok: 1 server untouched");
}

/// interface 7.2
#[test]
fn known_hosts_concern_the_servers_that_they_name_alone() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 1_000));
    let setup = Setup::new();
    let file = setup.directory().join("known_hosts");
    let own = format!("[127.0.0.1]:{} {}\n", sshd.addr.port(), sshd.public_key);
    fs::write(&file, &own).unwrap();
    let server = sshd.server("omc01").without("host_key");
    let server = server.key("known_hosts_file", &format!("'{}'", file.display()));
    let mut service = setup.server(server).started().run();
    recorded(&service, 1);
    let stranger = write_key(&file.with_file_name("stranger"), &Algorithm::Ed25519);
    let stranger = stranger.public_key().to_openssh().unwrap();
    fs::write(&file, format!("{own}# a new server\nomc99 {stranger}\n")).unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server untouched");
    fs::write(&file, format!("[127.0.0.1]:{} {stranger}\n", sshd.addr.port())).unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server changed");
    error_shown(&service, "wrong host key");
    fs::write(&file, format!("{own}@revoked * {stranger}\n")).unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server changed");
    faultless(&service);
    assert_eq!(service.server_status("omc01")["last_error"], Value::Null);
}
