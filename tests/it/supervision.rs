//! Panics and hangs within the program, and what systemd hears of them. The faults are those of `src/base/failpoints.rs`, so
//! the program under test is the real one, as long as it is built with debug assertions.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, ready};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

/// Servers with one zip each, by the names omc00, omc01 and so on.
struct Fleet(Vec<ScriptedServer>);

impl Fleet {
    fn of(count: u64) -> Self {
        let server = |n| {
            let server = ScriptedServer::start();
            server.put(format!("/d/{n}.zip"), File::new(zip(n, 20_000)));
            server
        };
        Self((0..count).map(server).collect())
    }

    fn setup(&self, faults: &str) -> Setup {
        self.setup_with(faults, |_, server| server)
    }

    fn setup_with(&self, faults: &str, change: impl Fn(usize, Server) -> Server) -> Setup {
        let setup = Setup::new().env("MROSYNC_FAULT", faults);
        let server = |n: usize, ftp| change(n, Server::scripted(&format!("omc{n:02}"), ftp));
        self.0.iter().enumerate().fold(setup, |setup, (n, ftp)| setup.server(server(n, ftp)))
    }

    fn retrs(&self, n: usize) -> usize {
        self.0[n].retrs(format!("/d/{n}.zip"))
    }
}

#[track_caller]
fn logged(service: &Service, wanted: &[&str]) {
    let has_all = |line: &str| wanted.iter().all(|part| line.contains(part));
    service.wait_line(Stream::Stderr, SOON, &format!("a line with {wanted:?}"), has_all);
}

#[track_caller]
fn all_recorded(service: &Service, count: usize) {
    service
        .wait_for(SOON, &format!("{count} files are recorded"), |service| service.records().len() == count);
}

/// Servers that go through scan after scan while something else happens.
fn scans(service: &Service, name: &str) -> u64 {
    service.server_status(name)["scans"].as_u64().unwrap()
}

#[track_caller]
fn goes_on(service: &Service, name: &str) {
    let before = scans(service, name);
    service.wait_for(SOON, "it goes on scanning", |service| scans(service, name) > before + 2);
}

#[test]
fn a_panic_anywhere_costs_that_piece_of_work_and_is_logged_with_its_owner_and_place() {
    // what panics, whose log line it is, and where
    let rows = [
        ("scan:omc01=panic*1", "server=omc01 ", "src/collector/collect.rs:"),
        ("resolve:omc02=panic*1", "server=omc02 ", "src/net/route.rs:"),
        ("fetch:omc03=panic*1", "server=omc03 ", "src/collector/fetching/fetch_file.rs:"),
        ("record:omc04=panic*1", "server=omc04 ", "src/collector/fetching/publish.rs:"),
        ("verify:server=omc05=panic*1", "server=omc05 ", "src/collector/fetching/proof.rs:"),
        ("store:6.zip=panic*2", "publisher ", "src/mirror/local/publishing/publisher.rs:"),
        ("warden=pass*3,warden=panic*1", "warden ", "src/actors/quota_warden.rs:"),
        ("announce=panic*1", "notifier ", "src/actors/notifier.rs:"),
        ("control=panic*1", "main ", "src/control/socket.rs:"),
        ("status=panic*1", "main ", "src/service/overview.rs:"),
        ("begin:omc07=panic*1", "server=omc07 ", "src/actors/scanner.rs:"),
    ];
    let (fleet, notify) = (Fleet::of(8), NotifyStub::start());
    let faults: Vec<&str> = rows.iter().map(|(fault, ..)| *fault).collect();
    let verify = |n, server: Server| if n == 5 { server.key("verify", "'zip'") } else { server };
    let mut service = fleet.setup_with(&faults.join(","), verify).notify(&notify.url()).run();
    ready(&service);
    let answer = service.command("start");
    assert_eq!(answer, "failed: 1 of 8 scanners did not start: omc07; they will when they can");
    // the first client and the first status meet their panics
    let first = service.mrosync(&["ctl"], &["status", "--json"]);
    assert!(!first.status.success(), "{first:?}");
    assert!(service.command("status").starts_with("failed: main thread"), "no answer says why");
    all_recorded(&service, 8);
    service.wait_for(SOON, "all are announced", |service| service.status()["notify"]["pending"] == 0);
    for (_, owner, place) in rows {
        logged(&service, &["ERROR", owner, "panicked at", place]);
    }
    assert_eq!(fleet.retrs(4), 1, "it has its final name already, and is recorded");
    let again =
        fleet.0[6].journal(|journal| journal.retrs.iter().map(|retr| retr.offset > 0).collect::<Vec<_>>());
    let (first, later) = again.split_first().unwrap();
    // how often depends on whether another file was in its batch, which is then stored again without it
    assert!(
        !first && later.iter().all(|resumed| *resumed),
        "it lies in .partial, and only its end comes again"
    );
    // room, partial files and errors are all given back
    service.wait_for(SOON, "nothing is left over", |service| {
        let status = service.status();
        let bytes: u64 = service.mirrored().values().sum();
        let clean = |server: &serde_json::Value| server["last_error"].is_null();
        status["disk"]["mirror_bytes"] == bytes
            && service.partial().is_empty()
            && status["servers"].as_array().unwrap().iter().all(clean)
    });
    goes_on(&service, "omc00");
    assert!(service.command("stop").starts_with("ok"));
}

#[test]
fn a_scanner_begins_again_at_growing_intervals_which_shrink_after_a_good_scan() {
    let fleet = Fleet::of(2);
    let faults = "scan:omc01=panic*2,scan:omc01=pass*3,scan:omc01=panic*1";
    let service = fleet.setup(faults).started().run();
    ready(&service);
    service.wait_for(SOON, "it panicked three times", |service| waits(service).len() == 3);
    assert_eq!(waits(&service), ["1s", "2s", "1s"]);
    all_recorded(&service, 2);
    goes_on(&service, "omc01");
}

/// After how long omc01 began again, each time.
fn waits(service: &Service) -> Vec<String> {
    let lines =
        service.lines(Stream::Stderr).into_iter().filter(|line| line.contains("server=omc01 the scan broke"));
    lines.filter_map(|line| Some(line.split_once("it begins again in ")?.1.to_owned())).collect()
}

#[test]
fn a_download_that_panics_gives_its_room_back() {
    let fleet = Fleet::of(1);
    // room for one file at a time: a second one has to wait while the first one's is held
    let setup = fleet.setup("fetch:omc00=panic*1").toml("[quota]\nmax_bytes = '25kB'");
    let service = setup.started().run();
    ready(&service);
    all_recorded(&service, 1);
}

#[test]
fn a_supervisor_that_panics_within_a_command_takes_the_next_one() {
    let fleet = Fleet::of(1);
    let mut service = fleet.setup("supervisor=panic*1").run();
    ready(&service);
    assert!(service.command("start").starts_with("failed"));
    logged(&service, &["ERROR", "main ", "panicked at src/actors/supervisor.rs:"]);
    assert!(service.command("stop").starts_with("ok"));
    assert!(service.command("start").starts_with("ok"));
    all_recorded(&service, 1);
}

#[test]
fn the_keepers_panic_ends_the_process_with_1_and_the_next_start_goes_on() {
    let fleet = Fleet::of(1);
    let mut service = fleet.setup("keeper=panic").started().run();
    assert_eq!(service.wait_exit(SOON).code(), Some(1));
    logged(&service, &["ERROR", "keeper ", "panicked at src/actors/record_keeper.rs:"]);
    logged(&service, &["ERROR", "the records are lost"]);
    service.forget_env("MROSYNC_FAULT");
    service.restart();
    ready(&service);
    all_recorded(&service, 1);
    assert_eq!(fleet.retrs(0), 1, "it was whole and lies in the mirror");
}

#[test]
fn a_scan_that_hangs_is_named_and_ended_and_begins_again() {
    let fleet = Fleet::of(5);
    let faults = "scan:omc01=hang*1,resolve:omc02=hang*1,record:omc03=hang*1,fetch:omc04=hang*1";
    // the timeout of a look-up is not what this is about
    let patient = |_, server: Server| server.key("timeout", "'60s'");
    let setup = fleet.setup_with(faults, patient).env("MROSYNC_STUCK_AFTER_MS", "3000");
    let mut service = setup.started().run();
    ready(&service);
    let hung = "the scan hung: no sign of life for";
    logged(&service, &["ERROR", "server=omc01", hung, "under way: a scan for"]);
    logged(&service, &["ERROR", "server=omc02", hung, "logging in for"]);
    logged(&service, &["ERROR", "server=omc03", hung, "recording what was fetched for"]);
    logged(&service, &["ERROR", "server=omc04", hung, "fetching /d/4.zip for", "it begins again in"]);
    all_recorded(&service, 5);
    assert_eq!(fleet.retrs(3), 1, "it has its final name already, and is recorded");
    for server in ["omc01", "omc02", "omc03", "omc04"] {
        service.wait_for(SOON, "a good scan clears the fault", |service| {
            service.server_status(server)["last_error"].is_null()
        });
    }
    assert!(service.command("stop").starts_with("ok"));
}

#[test]
fn a_process_that_was_stopped_for_a_while_takes_no_scan_for_hung() {
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on("RETR").trickle(200, Duration::from_millis(50)));
    ftp.put("/large.zip", File::new(zip(1, 60_000)));
    // the server's own silence is not what this is about
    let server = Server::scripted("omc01", &ftp).key("timeout", "'60s'");
    let setup = Setup::new().server(server).env("MROSYNC_STUCK_AFTER_MS", "2000");
    let service = setup.started().run();
    ftp.wait_for(SOON, "it comes", |journal| journal.retrs.first().is_some_and(|retr| retr.sent > 1000));
    service.signal(Signal::STOP);
    // longer than the limit and than the grace after it
    try_obtain(Duration::from_secs(6), || None::<()>);
    service.signal(Signal::CONT);
    all_recorded(&service, 1);
    let log = service.lines(Stream::Stderr).join("\n");
    assert!(!log.contains("hung") && !log.contains("blocked"), "{log}");
    assert_eq!(ftp.retrs("/large.zip"), 1);
}

#[test]
fn a_name_that_is_never_resolved_costs_its_timeout() {
    let fleet = Fleet::of(2);
    let timeout = |n, server: Server| if n == 1 { server.key("timeout", "'1s'") } else { server };
    let mut service = fleet.setup_with("resolve:omc01=hang*1", timeout).started().run();
    ready(&service);
    logged(&service, &["WARN", "server=omc01 scan failed", "resolving the host"]);
    all_recorded(&service, 2);
    assert!(service.command("stop").starts_with("ok"));
}

#[test]
fn a_scanner_whose_thread_is_blocked_is_named_and_hinders_nobody() {
    let fleet = Fleet::of(2);
    let mut service = fleet.setup("scan:omc01=block").env("MROSYNC_STUCK_AFTER_MS", "500").started().run();
    ready(&service);
    logged(
        &service,
        &["ERROR", "server=omc01 its thread is blocked: no sign of life for", "under way: a scan for"],
    );
    let blocked = service.server_status("omc01");
    assert_eq!(blocked["state"], "unreachable");
    assert!(blocked["last_error"].as_str().unwrap().starts_with("its thread is blocked"), "{blocked}");
    goes_on(&service, "omc00");
    for _ in 0..2 {
        let asked = Instant::now();
        assert_eq!(service.command("stop"), "failed: still stopping: omc01");
        assert!(asked.elapsed() < Duration::from_secs(3), "stop took {:?}", asked.elapsed());
        let asked = Instant::now();
        let again = service.command("start");
        assert!(asked.elapsed() < Duration::from_secs(3), "start took {:?}", asked.elapsed());
        assert_eq!(again, "failed: 1 of 2 scanners did not start: omc01; they will when they can");
        goes_on(&service, "omc00");
    }
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
}

/// interface 8.3
#[test]
fn a_file_system_that_does_not_answer_status_does_not_hold_up_the_end() {
    let fleet = Fleet::of(1);
    let mut service = fleet.setup("measure=block").started().run();
    ready(&service);
    assert_eq!(service.status()["running"], true);
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
}

/// The other end of `NOTIFY_SOCKET`.
struct Systemd {
    socket: UnixDatagram,
    /// What came and when.
    heard: Vec<(Instant, String)>,
}

impl Systemd {
    /// systemd that starts `setup` with this `WatchdogSec`.
    fn of(setup: Setup, watchdog: Duration) -> (Self, Setup) {
        let path = setup.directory().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let usec = watchdog.as_micros().to_string();
        let setup = setup.env("NOTIFY_SOCKET", &path.display().to_string()).env("WATCHDOG_USEC", &usec);
        (Self { socket, heard: Vec::new() }, setup)
    }

    /// Listens until `wanted` comes; whether it did.
    fn hears(&mut self, limit: Duration, wanted: &str) -> bool {
        let end = Instant::now() + limit;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            let Ok(count) = self.socket.recv(&mut bytes) else { continue };
            let text = String::from_utf8_lossy(&bytes[..count]).trim_end().to_owned();
            let is_wanted = text.starts_with(wanted);
            self.heard.push((Instant::now(), text));
            if is_wanted {
                return true;
            }
        }
        false
    }

    /// Throws away what came so far.
    fn forget(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

/// interface 7.11
#[test]
fn systemd_hears_that_the_configuration_is_read_again_and_when_that_is_over() {
    let fleet = Fleet::of(1);
    let (mut systemd, setup) = Systemd::of(fleet.setup(""), Duration::from_secs(60));
    let service = setup.run();
    assert!(systemd.hears(SOON, "READY=1"));
    service.signal(Signal::HUP);
    assert!(systemd.hears(SOON, "RELOADING=1\nMONOTONIC_USEC="), "{:?}", systemd.heard);
    assert!(systemd.hears(SOON, "READY=1"));
}

#[test]
fn systemd_hears_that_it_is_ready_what_it_does_that_it_lives_and_that_it_ends() {
    let fleet = Fleet::of(2);
    let watchdog = Duration::from_secs(4);
    let (mut systemd, setup) = Systemd::of(fleet.setup(""), watchdog);
    let mut service = setup.started().run();
    assert!(systemd.hears(SOON, "READY=1"), "{:?}", systemd.heard);
    assert!(systemd.hears(SOON, "STATUS=2 servers: "), "{:?}", systemd.heard);
    let mut before = Instant::now();
    for _ in 0..3 {
        assert!(systemd.hears(watchdog / 2, "WATCHDOG=1"), "silent for {:?}", before.elapsed());
        before = Instant::now();
    }
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
    assert!(systemd.hears(SOON, "STOPPING=1"), "{:?}", systemd.heard);
}

#[test]
fn systemd_hears_nothing_of_being_ready_before_commands_are_answered() {
    let fleet = Fleet::of(1);
    let (mut systemd, setup) = Systemd::of(fleet.setup("command:help=hang*1"), Duration::from_secs(60));
    let service = setup.started().run();
    ready(&service);
    assert!(!systemd.hears(Duration::from_secs(2), "READY=1"), "ready without an answer");
    assert_eq!(service.status()["running"], false, "nothing begins before that");
}

#[test]
fn systemd_hears_no_life_while_the_keeper_hangs() {
    let fleet = Fleet::of(1);
    let watchdog = Duration::from_secs(3);
    let (mut systemd, setup) = Systemd::of(fleet.setup("keeper=block"), watchdog);
    let service = setup.started().run();
    assert!(systemd.hears(SOON, "READY=1"));
    logged(&service, &["ERROR", "the heart of the service does not answer"]);
    systemd.forget();
    assert!(!systemd.hears(watchdog, "WATCHDOG=1"), "told to be alive: {:?}", systemd.heard);
    // the rest of it lives, and says so to whoever asks
    assert_eq!(service.status()["running"], true);
}

#[test]
fn systemd_hears_of_life_again_once_the_database_lets_the_keeper_go_on() {
    let fleet = Fleet::of(1);
    let (mut systemd, setup) = Systemd::of(fleet.setup(""), Duration::from_secs(2));
    let mut service = setup.run();
    assert!(systemd.hears(SOON, "READY=1"));
    let locked = rusqlite::Connection::open(service.database()).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(service.command("start").starts_with("ok"));
    logged(&service, &["ERROR", "the heart of the service does not answer"]);
    drop(locked);
    logged(&service, &["WARN", "the heart of the service answers again"]);
    systemd.forget();
    assert!(systemd.hears(SOON, "WATCHDOG=1"));
    all_recorded(&service, 1);
}

#[test]
fn systemd_hears_no_life_while_the_main_thread_hangs() {
    let fleet = Fleet::of(1);
    let watchdog = Duration::from_secs(3);
    let (mut systemd, setup) = Systemd::of(fleet.setup("command:status=block"), watchdog);
    let mut service = setup.started().run();
    assert!(systemd.hears(SOON, "WATCHDOG=1"));
    service.send("status");
    let silent = try_obtain(SOON, || {
        systemd.forget();
        (!systemd.hears(watchdog, "WATCHDOG=1")).then_some(())
    });
    assert!(silent.is_some(), "told to be alive: {:?}", systemd.heard);
    service.signal(Signal::KILL);
}

#[test]
fn the_shipped_unit_is_one_that_systemd_takes() {
    let unit = include_str!("../../config/mrosync.service");
    for line in ["Type=notify", "WatchdogSec=60", "Restart=on-failure", "RestartPreventExitStatus=2"] {
        assert!(unit.lines().any(|own| own == line), "no line {line}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mrosync.service");
    // verified with a program that is there
    std::fs::write(&path, unit.replace("/usr/bin/mrosync", "/bin/true")).unwrap();
    let Ok(verified) = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
        return println!("left out: no systemd-analyze on this machine");
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    // whatever else it says is about the machine's own units
    let own: Vec<&str> = said.lines().filter(|line| line.contains("mrosync.service")).collect();
    assert_eq!(own, [""; 0], "{said}");
}
