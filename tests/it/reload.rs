//! Change without restart: what `reload` and SIGHUP change, what they leave alone, and what they refuse.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::http::ask;
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, content, logged, put, ready, recorded};
use crate::support::wait::eventually;
use crate::support::zips::{sized, zip};
use crate::web::page;

/// How long a reload may take: scanners that are to end have 2 s, as at `stop`.
const RELOAD_WITHIN: Duration = Duration::from_secs(3);

fn list(servers: &[Server]) -> String {
    servers.iter().map(Server::toml).collect()
}

/// A service whose list of servers is the configuration number 1.
fn with(servers: &[Server]) -> Setup {
    Setup::new().toml(&list(servers))
}

/// Writes the list anew and reloads; the answer.
#[track_caller]
fn reload(service: &mut Service, servers: &[Server]) -> String {
    service.configure(1, &list(servers));
    service.command("reload")
}

fn names(service: &Service) -> Vec<String> {
    let servers = service.status()["servers"].as_array().cloned().unwrap();
    servers.iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

fn number(service: &Service, server: &str, key: &str) -> u64 {
    service.server_status(server)[key].as_u64().unwrap()
}

#[track_caller]
fn goes_on(service: &Service, server: &str) {
    let before = number(service, server, "scans");
    service.wait_for(SOON, "it goes on scanning", |service| number(service, server, "scans") > before + 1);
}

/// A server in the middle of a file that takes some seconds, with its only login.
struct Busy(ScriptedServer);

impl Busy {
    const BYTES: usize = 400_000;

    fn new() -> Self {
        let ftp = ScriptedServer::start();
        ftp.put("/large.zip", File::new(sized(1, Self::BYTES)));
        ftp.rule(Rule::on("RETR").trickle(4000, Duration::from_millis(30)));
        Self(ftp)
    }

    fn server(&self, name: &str) -> Server {
        Server::scripted(name, &self.0).key("connections", "1")
    }

    fn wait(&self) {
        self.0.wait_for(SOON, "the file is under way", |journal| {
            journal.retrs.iter().any(|retr| retr.sent > 10_000 && retr.ended.is_none())
        });
    }

    #[track_caller]
    fn still_under_way(&self) {
        let ended = self.0.journal(|journal| journal.retrs[0].ended);
        assert!(ended.is_none(), "the file was there too early to prove anything");
    }

    /// The file came over the one connection that there ever was, in one go.
    #[track_caller]
    fn undisturbed(&self, service: &Service, name: &str) {
        service.wait_for(SOON, "the file is there", |service| {
            service.mirrored().contains_key(&format!("{name}/large.zip"))
        });
        let retrs = self.0.journal(|journal| journal.retrs.clone());
        assert_eq!((retrs.len(), retrs[0].offset, retrs[0].sent), (1, 0, Self::BYTES as u64));
        assert_eq!((self.0.connections(), self.0.count("USER")), (1, 1));
    }
}

/// interface 7.1, 7.3, 7.8
#[test]
fn servers_are_added_removed_and_changed_while_the_others_run_on_undisturbed() {
    let (busy, [gone, other, new]) = (Busy::new(), [1, 2, 3].map(|_| ScriptedServer::start()));
    for ftp in [&gone, &other, &new] {
        put(ftp, "/a.zip", zip(1, 1000));
    }
    let changing = |connections: &str| Server::scripted("omc03", &other).key("connections", connections);
    let first = [busy.server("omc01"), Server::scripted("omc02", &gone), changing("2")];
    let mut service = with(&first).started().run();
    recorded(&service, 2);
    busy.wait();
    let scans = number(&service, "omc03", "scans");
    let logins = other.count("USER");
    service.configure(1, &list(&[Server::scripted("omc04", &new), busy.server("omc01"), changing("1")]));
    let asked = Instant::now();
    service.signal(Signal::HUP);
    let said = "1 server added, 1 removed, 1 changed, 1 untouched";
    service.wait_line(Stream::Stderr, SOON, "the change", |line| line.contains(said));
    assert!(asked.elapsed() < RELOAD_WITHIN, "{:?}", asked.elapsed());
    busy.still_under_way();
    assert_eq!(names(&service), ["omc04", "omc01", "omc03"], "in the order of the configuration");
    gone.wait_for(SOON, "it is logged out of", |journal| {
        journal.connections.values().all(|visit| visit.closed.is_some())
    });
    recorded(&service, 3);
    busy.still_under_way();
    other.wait_for(SOON, "a new login", |journal| journal.count("USER") > logins);
    goes_on(&service, "omc03");
    assert!(number(&service, "omc03", "scans") > scans, "its counters go on");
    assert_eq!(number(&service, "omc03", "files_downloaded"), 1);
    assert_eq!(service.server_status("omc03")["connections"]["granted"], 1);
    busy.undisturbed(&service, "omc01");
    assert!(service.is_running(), "SIGHUP ended it");
    assert_eq!(gone.open(), 0);
    assert!(service.mirrored().contains_key("omc02/a.zip"), "what was collected stays");
}

/// interface 7.2
#[test]
fn reloading_what_has_not_changed_touches_nothing() {
    let busy = Busy::new();
    let servers = [busy.server("omc01")];
    let mut service = with(&servers).started().run();
    ready(&service);
    busy.wait();
    for _ in 0..5 {
        assert_eq!(reload(&mut service, &servers), "ok: 1 server untouched");
    }
    busy.still_under_way();
    busy.undisturbed(&service, "omc01");
}

/// interface 1.3, 7.6, 7.7
#[test]
fn a_faulty_configuration_is_refused_whole_and_every_fault_is_named() {
    let (old, new) = (ScriptedServer::start(), ScriptedServer::start());
    put(&old, "/a.zip", zip(1, 1000));
    let mut service = with(&[Server::scripted("omc01", &old)]).started().run();
    recorded(&service, 1);
    let faulty = Server::scripted("omc03", &old).key("connections", "65").key("colour", "'red'");
    let servers = list(&[Server::scripted("omc02", &new), faulty]);
    service.configure(1, &format!("[quota]\nmax_used_percent = 50\n{servers}"));
    let refused = "failed: the configuration is refused, the old one stays in force";
    let answer = service.command("reload");
    assert!(answer.starts_with(refused), "{answer}");
    let faults = ["servers[1] (omc03).connections: ", "servers[1] (omc03).colour: "];
    faults.iter().for_each(|fault| assert!(answer.contains(fault), "{answer}"));
    let asked = service.mrosync(&["ctl"], &["reload"]);
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    let lines = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(lines.lines().next(), Some(refused));
    for fault in faults {
        assert_eq!(lines.lines().filter(|line| line.starts_with(fault)).count(), 1, "{lines}");
        // the answer can be here before the line that was written before it
        service.wait_for(SOON, "a line each time it is asked", |service| {
            logged(service, &format!("stays in force: {fault}")).len() == 2
        });
    }
    // a running service can be asked for its status by a configuration without faults alone
    service.configure(1, &list(&[Server::scripted("omc01", &old)]));
    assert_eq!(service.status()["disk"]["max_used_percent"], 100.0);
    assert_eq!(names(&service), ["omc01"]);
    assert_eq!(new.connections(), 0);
    service.configure(1, "[[servers]\nname = 'geheim");
    let answer = service.command("reload");
    assert!(answer.contains("is not valid TOML") && !answer.contains("geheim"), "{answer}");
    service.configure(1, &list(&[Server::scripted("omc01", &old)]));
    goes_on(&service, "omc01");
}

/// interface 7.2
#[test]
fn a_changed_password_is_used_from_now_on() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a.zip", zip(1, 1000));
    ftp.manner(|manner| manner.login = ("mro".to_owned(), "new-secret".to_owned()));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "old-secret\n").unwrap();
    let password = format!("'{}'", file.display());
    let server = || Server::scripted("omc01", &ftp).without("password").key("password_file", &password);
    let mut service = with(&[server()]).interval("1h").started().run();
    ready(&service);
    service.wait_for(SOON, "the old one is refused", |service| {
        service.server_status("omc01")["state"] == "unreachable"
    });
    fs::write(&file, "new-secret\n").unwrap();
    assert_eq!(service.command("reload"), "ok: 1 server changed");
    recorded(&service, 1);
    assert_eq!(service.server_status("omc01")["last_error"], Value::Null);
    assert!(!service.lines(Stream::Stderr).join("\n").contains("secret"));
}

/// interface 7.2
#[test]
fn a_certificate_that_was_renewed_under_its_old_name_is_a_change() {
    let ftp = ScriptedServer::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let write = |content: &str| {
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        fs::write(&file, format!("{content}\n{pem}")).unwrap();
    };
    write("old");
    let ca_file = format!("'{}'", file.display());
    let server = Server::scripted("omc01", &ftp).key("tls", "'explicit'").key("tls_ca_file", &ca_file);
    let mut service = with(&[server]).run();
    assert_eq!(service.command("reload"), "ok: 1 server untouched");
    write("new");
    assert_eq!(service.command("reload"), "ok: 1 server changed");
}

/// interface 7.3
#[test]
fn a_server_that_is_removed_in_the_middle_of_a_file_resumes_it_when_it_is_added_again() {
    let (ftp, other) = (ScriptedServer::start(), ScriptedServer::start());
    let whole = sized(1, 400_000);
    put(&ftp, "/1.zip", whole.clone());
    ftp.rule(Rule::on("RETR").once().stall(200_000));
    let (server, other) = (Server::scripted("omc01", &ftp), Server::scripted("omc02", &other));
    let mut service = with(&[server.clone(), other.clone()]).started().run();
    ready(&service);
    let half = |service: &Service| service.partial().values().any(|size| *size == 200_000);
    service.wait_for(SOON, "half of it", half);
    let asked = Instant::now();
    assert_eq!(reload(&mut service, std::slice::from_ref(&other)), "ok: 1 server removed, 1 untouched");
    assert!(asked.elapsed() < RELOAD_WITHIN, "{:?}", asked.elapsed());
    service.wait_for(SOON, "no login is left", |_| ftp.open() == 0);
    goes_on(&service, "omc02");
    assert!(half(&service) && names(&service) == ["omc02"]);
    assert_eq!(reload(&mut service, &[other, server]), "ok: 1 server added, 1 untouched");
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == whole);
    let offsets: Vec<u64> = ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.offset).collect());
    assert!(matches!(offsets[..], [0, 100_000..=200_000]), "{offsets:?}");
}

/// interface 5.18
#[test]
fn a_server_that_is_added_to_begin_now_brings_nothing_of_before() {
    let [old, new] = [1, 2].map(|_| ScriptedServer::start());
    put(&old, "/a.zip", zip(1, 1000));
    let now = chrono::Utc::now().timestamp();
    new.put("/before.zip", File::new(zip(2, 1000)).modified(now - 86_400));
    new.put("/after.zip", File::new(zip(3, 1000)).modified(now + 600));
    let first = || Server::scripted("omc01", &old);
    let mut service = with(&[first()]).started().run();
    recorded(&service, 1);
    let added = || Server::scripted("omc02", &new).key("since", "'now'");
    let done = reload(&mut service, &[first(), added()]);
    assert!(done.starts_with("ok: 1 server added, 1 untouched"), "{done}");
    recorded(&service, 2);
    goes_on(&service, "omc02");
    // its beginning is remembered, so that it is the same server as before
    let again = reload(&mut service, &[first(), added()]);
    assert!(again.starts_with("ok: 2 servers untouched"), "{again}");
    goes_on(&service, "omc02");
    recorded(&service, 2);
    assert!(!service.mirrored().contains_key("omc02/before.zip"));
}

/// interface 7.3
#[test]
fn a_stopped_service_is_changed_too_and_begins_with_what_it_is_then() {
    let [one, two] = [1, 2].map(|_| ScriptedServer::start());
    let mut service = with(&[Server::scripted("omc01", &one)]).run();
    ready(&service);
    let answer = reload(&mut service, &[Server::scripted("omc02", &two)]);
    assert_eq!(answer, "ok: 1 server added, 1 removed");
    assert_eq!(service.server_status("omc02")["state"], "stopped");
    assert_eq!((one.connections(), two.connections()), (0, 0), "nothing begins by itself");
    assert_eq!(service.command("start"), "ok: started 1 server");
    goes_on(&service, "omc02");
    assert_eq!(service.command("stop"), "ok: stopped 1 server");
    assert_eq!(reload(&mut service, &[Server::scripted("omc01", &one)]), "ok: 1 server added, 1 removed");
    assert_eq!((one.connections(), service.status()["running"].as_bool()), (0, Some(false)));
}

/// interface 7.4
#[test]
fn limits_interval_notify_host_and_level_change_while_it_runs() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, "/a.zip", zip(1, 1000));
    let service =
        with(&[Server::scripted("omc01", &ftp)]).toml("[sync]\ninterval = '1h'\n[log]\nlevel = 'info'\n");
    let mut service = service.started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "it waits for an hour", |service| {
        service.server_status("omc01")["state"] == "waiting"
    });
    let (scans, connections) = (number(&service, "omc01", "scans"), ftp.connections());
    assert!(logged(&service, "DEBUG").is_empty());
    service.configure(
        2,
        &format!(
            "[sync]\ninterval = '300ms'\n[quota]\nmax_used_percent = 99\nmax_bytes = '1TB'\n\
             [notify]\nurl = '{}'\n[log]\nlevel = 'debug'\n",
            notify.url()
        ),
    );
    assert_eq!(service.command("reload"), "ok: 1 server untouched; sync, quota, notify, log changed");
    notify.wait_for(SOON, "the file is announced there", |calls| !calls.is_empty());
    service.wait_for(SOON, "it does not wait for the hour to end", |service| {
        number(service, "omc01", "scans") > scans + 2
    });
    assert_eq!(ftp.connections(), connections, "by the same session");
    let disk = service.status()["disk"].clone();
    assert_eq!(
        (&disk["max_used_percent"], &disk["max_bytes"]),
        (&99.0.into(), &1_000_000_000_000_u64.into())
    );
    service.wait_line(Stream::Stderr, SOON, "details", |line| line.contains("DEBUG"));
}

/// interface 7.5
#[test]
fn what_cannot_change_is_named_and_waits_for_the_next_start() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a.zip", zip(1, 1000));
    let mut service = with(&[Server::scripted("omc01", &ftp)]).toml("").started().run();
    recorded(&service, 1);
    let at = |name: &str| service.directory().join(name).display().to_string();
    let elsewhere = format!(
        "[sync]\nroot = '{}'\n[records]\npath = '{}'\n[control]\nsocket = '{}'\n[quota]\nmax_used_percent = 98\n",
        at("other"),
        at("other.db"),
        at("other.sock")
    );
    service.configure(2, &elsewhere);
    for changed in ["; quota changed", ""] {
        let answer = service.command("reload");
        let expected = format!(
            "ok: 1 server untouched{changed}; needs a restart: sync.root, records.path, control.socket"
        );
        assert_eq!(answer, expected, "as often as it is asked");
    }
    put(&ftp, "/b.zip", zip(2, 1000));
    service.wait_for(SOON, "the old mirror goes on", |service| service.mirrored().len() == 2);
    let is_there = |service: &Service, name: &str| service.directory().join(name).try_exists().unwrap();
    assert!(!is_there(&service, "other") && !is_there(&service, "other.db"));
    service.restart();
    service.wait_for(SOON, "the new mirror", |service| is_there(service, "other/omc01/b.zip"));
}

/// interface 7.10
#[test]
fn twenty_reloads_in_quick_succession_leak_neither_threads_nor_files_nor_memory() {
    let [one, two, three] = [1, 2, 3].map(|_| ScriptedServer::start());
    for ftp in [&one, &two, &three] {
        put(ftp, "/a.zip", zip(1, 1000));
    }
    let [one, two, three] = [("omc01", &one), ("omc02", &two), ("omc03", &three)].map(|(name, ftp)| {
        move |connections: usize| Server::scripted(name, ftp).key("connections", &connections.to_string())
    });
    let directory = tempfile::tempdir().unwrap();
    let log = format!("[log]\nfile = '{}'\n", directory.path().join("log").display());
    let lists = [[one(4), two(1)], [one(4), three(2)], [one(4), two(2)], [three(1), one(4)]];
    let mut service = with(&lists[0]).toml(&log).started().run();
    recorded(&service, 2);
    let turn = |service: &mut Service, times: usize| {
        for servers in lists.iter().cycle().take(times) {
            let answer = reload(service, servers);
            assert!(answer.starts_with("ok: "), "{answer}");
        }
    };
    // whatever is made once is made now
    turn(&mut service, 8);
    recorded(&service, 3);
    goes_on(&service, "omc01");
    let (threads, files) = service.threads_and_files();
    let memory = service.status()["process"]["memory_bytes"].as_u64().unwrap();
    turn(&mut service, 20);
    goes_on(&service, "omc01");
    let leaks = |service: &Service| {
        let now = service.threads_and_files();
        // how many idle logins and waiting threads there are differs from moment to moment; each reload would leave one
        now.0 >= threads + 10 || now.1 >= files + 10
    };
    // threads that wait for more work leave after some seconds
    service.wait_for(SOON, &format!("hardly more than {threads} threads and {files} files"), |service| {
        !leaks(service)
    });
    let grown = service.status()["process"]["memory_bytes"].as_u64().unwrap().saturating_sub(memory);
    assert!(grown < 6 << 20, "{grown} bytes more than before");
}

/// interface 7.8
#[test]
fn a_blocked_scanner_that_is_removed_delays_nobody_and_never_meets_another_of_its_name() {
    let [one, two] = [1, 2].map(|_| ScriptedServer::start());
    put(&one, "/a.zip", zip(1, 1000));
    put(&two, "/a.zip", zip(2, 1000));
    let (one, two) = (Server::scripted("omc01", &one), Server::scripted("omc02", &two));
    let setup = with(&[one.clone(), two.clone()]).env("MROSYNC_FAULT", "scan:omc01=block*1");
    let mut service = setup.started().run();
    recorded(&service, 1);
    let asked = Instant::now();
    let answer = reload(&mut service, std::slice::from_ref(&two));
    assert_eq!(answer, "ok: 1 server removed, 1 untouched; still stopping: omc01");
    assert!(asked.elapsed() < RELOAD_WITHIN, "{:?}", asked.elapsed());
    goes_on(&service, "omc02");
    let threads = service.threads_and_files().0;
    let answer = reload(&mut service, &[one, two]);
    assert_eq!(answer, "ok: 1 server added, 1 untouched; still stopping: omc01");
    assert!(service.threads_and_files().0 <= threads + 2, "it has its old thread");
    goes_on(&service, "omc02");
    assert_eq!(number(&service, "omc01", "scans"), 0, "whose thread is blocked");
}

/// interface 7.10
#[test]
fn a_stop_does_not_wait_behind_a_reload() {
    let [one, two] = [1, 2].map(|_| ScriptedServer::start());
    let (one, two) = (Server::scripted("omc01", &one), Server::scripted("omc02", &two));
    let setup = with(&[one.clone(), two.clone()]).env("MROSYNC_FAULT", "scan:omc01=block*1");
    let mut service = setup.started().run();
    ready(&service);
    goes_on(&service, "omc02");
    service.configure(1, &list(std::slice::from_ref(&two)));
    // the reload waits for the blocked one
    service.signal(Signal::HUP);
    service.wait_for(SOON, "it has begun", |service| names(service) == ["omc02"]);
    let asked = Instant::now();
    let answer = service.command("stop");
    assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
    assert_eq!(answer, "failed: still stopping: omc01");
    service.wait_for(SOON, "the other has ended", |service| {
        service.server_status("omc02")["state"] == "stopped"
    });
}

/// interface 2.7
#[test]
fn closing_the_terminal_ends_it_in_good_order() {
    let ftp = ScriptedServer::start();
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("log");
    let setup =
        with(&[Server::scripted("omc01", &ftp)]).toml(&format!("[log]\nfile = '{}'\n", log.display()));
    let run = setup.command(&["run"]);
    let words = std::iter::once(run.get_program()).chain(run.get_args()).map(|word| word.to_string_lossy());
    let line: Vec<String> = words.map(|word| format!("'{word}'")).collect();
    // script(1) gives it a terminal, which is gone with script
    let mut script = Command::new("script");
    let script = script.args(["--quiet", "--command", &format!("exec {}", line.join(" ")), "/dev/null"]);
    let mut terminal =
        script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("script, of Debian's bsdutils");
    let logged = |words: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(words));
    eventually(SOON, "it is ready", || logged("is ready"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    eventually(SOON, "it has ended", || logged("the terminal is gone: ending") && logged(" ended"));
}

/// The status page that is served last.
fn last_page(service: &Service, after: usize) -> SocketAddr {
    let pages = |service: &Service| logged(service, "status page is at http://");
    service.wait_for(SOON, "the page's address", |service| pages(service).len() > after);
    let line = pages(service).pop().unwrap();
    line.split("http://").nth(1).unwrap().trim_end_matches('/').parse().unwrap()
}

/// interface 7.4
#[test]
fn the_status_page_follows_its_servers_its_token_and_its_address() {
    let [one, two] = [1, 2].map(|_| ScriptedServer::start());
    let (one, two) = (Server::scripted("omc01", &one), Server::scripted("omc02", &two));
    let mut service = with(&[one]).toml("[web]\nlisten = '127.0.0.1:0'\n").run();
    let at = page(&service);
    let status = |at, line: &str| ask(at, line, &[("Authorization", "Bearer 0123456789abcdef")]).status;
    assert_eq!(status(at, "GET /api/history?server=omc02"), 401, "there is no token");
    assert_eq!(reload(&mut service, &[two]), "ok: 1 server added, 1 removed");
    assert_eq!(ask(at, "GET /api/history?server=omc02", &[]).status, 200);
    assert_eq!(ask(at, "GET /api/history?server=omc01", &[]).status, 404);
    assert!(!ask(at, "GET /metrics", &[]).body.contains("omc01"));
    let token = service.directory().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let guarded = format!("[web]\nlisten = '127.0.0.1:0'\ntoken_file = '{}'\n", token.display());
    service.configure(2, &guarded);
    assert_eq!(service.command("reload"), "ok: 1 server untouched; web changed");
    assert_eq!(status(at, "POST /api/start"), 200, "at the same address");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    service.configure(2, &guarded.replace("127.0.0.1:0", &busy.to_string()));
    let answer = service.command("reload");
    assert!(answer.ends_with(&format!("web.listen: another program listens on {busy}")), "{answer}");
    assert_eq!(status(at, "GET /api/status"), 200);
    drop(taken);
    assert_eq!(service.command("reload"), "ok: 1 server untouched; web changed");
    assert_eq!((last_page(&service, 1), status(busy, "GET /api/status")), (busy, 200));
    service.wait_for(SOON, "the old address is closed", |_| std::net::TcpStream::connect(at).is_err());
    service.configure(2, "");
    assert_eq!(service.command("reload"), "ok: 1 server untouched; web changed");
    service.wait_for(SOON, "no page is left", |_| std::net::TcpStream::connect(busy).is_err());
}
