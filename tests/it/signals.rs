//! `stop` and signals: how soon everything ends, whatever a server, a transfer or the notify host is doing.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{CONNECT, Ending, File, ListStyle, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, recorded};
use crate::support::zips::{sized, zip};

/// The promise for `stop`.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The promise for SIGTERM and SIGINT.
const END_WITHIN: Duration = Duration::from_secs(5);

/// An address where connecting is neither accepted nor refused: the queue of the listener is full.
struct BlackHole {
    _listener: TcpListener,
    _waiting: Vec<Socket>,
    addr: SocketAddr,
}

impl BlackHole {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        socket.listen(0).unwrap();
        let listener: TcpListener = socket.into();
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&addr.into()).ok();
            waiting.push(client);
        }
        let full = TcpStream::connect_timeout(&addr, Duration::from_millis(100));
        assert!(full.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut), "the queue is full");
        Self { _listener: listener, _waiting: waiting, addr }
    }
}

/// A server that is in somebody's way, and how to see that it is.
struct Obstacle {
    name: &'static str,
    ftp: ScriptedServer,
    reached: fn(&ScriptedServer) -> bool,
}

impl Obstacle {
    fn new(name: &'static str, rule: Rule, reached: fn(&ScriptedServer) -> bool) -> Self {
        let ftp = ScriptedServer::start();
        ftp.put("/d/1.zip", File::new(zip(1, 400_000)));
        ftp.rule(rule);
        Self { name, ftp, reached }
    }

    /// Every step of the conversation at which a server can fall silent, and transfers of every kind.
    fn all() -> Vec<Self> {
        let dos = Self::new("list", Rule::on("LIST").stall(10), |ftp| ftp.count("LIST") > 0);
        dos.ftp.manner(|manner| {
            manner.mlsd_in_feat = false;
            manner.mlsd_works = false;
            manner.list_style = ListStyle::Dos;
        });
        let every = Duration::from_millis(5);
        vec![
            dos,
            Self::new("greeting", Rule::on(CONNECT).hang(), |ftp| ftp.connections() > 0),
            Self::new("user", Rule::on("USER").hang(), |ftp| ftp.count("USER") > 0),
            Self::new("pass", Rule::on("PASS").hang(), |ftp| ftp.count("PASS") > 0),
            Self::new("feat", Rule::on("FEAT").hang(), |ftp| ftp.count("FEAT") > 0),
            Self::new("type", Rule::on("TYPE").hang(), |ftp| ftp.count("TYPE") > 0),
            Self::new("mlsd", Rule::on("MLSD").hang(), |ftp| ftp.count("MLSD") > 0),
            Self::new("mlsd-data", Rule::on("MLSD").stall(10), |ftp| ftp.count("MLSD") > 0),
            Self::new("mlsd-end", Rule::on("MLSD").closing(""), |ftp| ftp.count("MLSD") > 0),
            Self::new("retr", Rule::on("RETR").hang(), |ftp| ftp.count("RETR") > 0),
            Self::new("retr-data", Rule::on("RETR").stall(200_000), |ftp| ftp.count("RETR") > 0),
            Self::new("retr-end", Rule::on("RETR").closing(""), |ftp| ftp.count("RETR") > 0),
            Self::new("retr-cut", Rule::on("RETR").cut(9, Ending::Silence), |ftp| ftp.count("RETR") > 0),
            Self::new("retr-slow", Rule::on("RETR").trickle(500, every), |ftp| ftp.count("RETR") > 0),
        ]
    }

    fn server(&self) -> Server {
        Server::scripted(self.name, &self.ftp).key("timeout", "'60s'")
    }
}

/// A service in the middle of all obstacles, with one host more that takes no connection.
fn stuck(obstacles: &[Obstacle], hole: &BlackHole) -> Service {
    let setup = Setup::new().server(Server::at("connecting", hole.addr).key("timeout", "'60s'"));
    let setup = obstacles.iter().fold(setup, |setup, obstacle| setup.server(obstacle.server()));
    let service = setup.started().run();
    for obstacle in obstacles {
        service.wait_for(SOON, obstacle.name, |_| (obstacle.reached)(&obstacle.ftp));
    }
    service
}

/// interface 2.4
#[test]
fn stop_answers_within_two_seconds_at_whatever_step_the_servers_are_silent() {
    let (obstacles, hole) = (Obstacle::all(), BlackHole::new());
    let mut service = stuck(&obstacles, &hole);
    let asked = Instant::now();
    let answer = service.command("stop");
    let took = asked.elapsed();
    assert!(answer.starts_with("ok"), "{answer}");
    assert!(took < STOP_WITHIN, "{took:?}");
    let status = service.status();
    for server in status["servers"].as_array().unwrap() {
        assert_eq!(server["state"], "stopped", "{server}");
    }
    for obstacle in &obstacles {
        service.wait_for(SOON, "no login is left", |_| obstacle.ftp.open() == 0);
    }
}

#[test]
fn stop_over_the_control_socket_is_as_quick() {
    let (obstacles, hole) = (Obstacle::all(), BlackHole::new());
    let service = stuck(&obstacles, &hole);
    let asked = Instant::now();
    let answer = service.mrosync(&["ctl"], &["stop"]);
    let took = asked.elapsed();
    assert!(answer.status.success() && answer.stdout.starts_with(b"ok"), "{answer:?}");
    assert!(took < STOP_WITHIN, "{took:?}");
}

/// interface 2.6
#[test]
fn sigterm_and_sigint_end_it_with_0_within_five_seconds_at_whatever_step_the_servers_are_silent() {
    let (obstacles, hole) = (Obstacle::all(), BlackHole::new());
    let mut service = stuck(&obstacles, &hole);
    for signal in [Signal::TERM, Signal::INT] {
        let asked = Instant::now();
        service.signal(signal);
        let ended = service.wait_exit(END_WITHIN);
        assert_eq!(ended.code(), Some(0), "{signal:?}");
        assert!(asked.elapsed() < END_WITHIN, "{signal:?}: {:?}", asked.elapsed());
        if signal == Signal::TERM {
            for obstacle in &obstacles {
                obstacle.ftp.drop_connections();
            }
            let before: Vec<usize> = obstacles.iter().map(|obstacle| obstacle.ftp.connections()).collect();
            service.restart();
            for (obstacle, before) in obstacles.iter().zip(before) {
                service.wait_for(SOON, obstacle.name, |_| obstacle.ftp.connections() > before);
            }
        }
    }
}

#[test]
fn sigterm_ends_a_service_that_was_never_started() {
    let ftp = ScriptedServer::start();
    for signal in [Signal::TERM, Signal::INT] {
        let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).run();
        service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("ready"));
        service.signal(signal);
        assert_eq!(service.wait_exit(END_WITHIN).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_silent_notify_host_delays_neither_stop_nor_the_end() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for n in 0..8 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
    }
    notify.answer(Answer::Hang);
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let mut service = setup.toml("[notify]\ntimeout = '60s'").started().run();
    recorded(&service, 8);
    notify.wait_for(SOON, "calls hang", |calls| calls.len() >= 4);
    let asked = Instant::now();
    assert!(service.command("stop").starts_with("ok"));
    assert!(asked.elapsed() < STOP_WITHIN, "{:?}", asked.elapsed());
    assert_eq!(service.terminate(END_WITHIN).code(), Some(0));
}

/// interface 2.6
#[test]
fn what_was_downloaded_before_a_signal_is_on_record_after_it() {
    let ftp = ScriptedServer::start();
    for n in 0..200 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 2000)));
    }
    let setup = Setup::new().server(Server::scripted("omc01", &ftp));
    let mut service = setup.started().run();
    service.wait_for(SOON, "some files", |service| service.mirrored().len() > 20);
    assert_eq!(service.terminate(END_WITHIN).code(), Some(0));
    let (files, records) = (service.mirrored(), service.records());
    assert_eq!(records.len(), files.len());
    for record in records {
        assert!(files.contains_key(&format!("omc01{}", record["path"].as_str().unwrap())), "{record}");
    }
}

#[test]
fn what_is_half_downloaded_at_a_stop_is_resumed_by_the_next_start() {
    let ftp = ScriptedServer::start();
    let content = sized(7, 400_000);
    ftp.put("/1.zip", File::new(content.clone()));
    ftp.rule(Rule::on("RETR").once().stall(200_000));
    let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).started().run();
    let half = |service: &Service| service.partial().values().any(|size| *size == 200_000);
    service.wait_for(SOON, "half of it", half);
    assert!(service.command("stop").starts_with("ok"));
    assert!(half(&service) && service.mirrored().is_empty() && service.records().is_empty());
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 1);
    let offsets: Vec<u64> = ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.offset).collect());
    // its end is fetched once more, to compare
    assert!(matches!(offsets[..], [0, 100_000..=200_000]), "{offsets:?}");
    assert!(std::fs::read(service.root().join("omc01/1.zip")).unwrap() == content);
}

#[test]
fn starting_and_stopping_in_quick_succession_leaves_a_service_that_works() {
    let ftp = ScriptedServer::start();
    for n in 0..20 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 50_000)));
    }
    let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).run();
    for _ in 0..10 {
        assert!(service.command("start").starts_with("ok"));
        let asked = Instant::now();
        assert!(service.command("stop").starts_with("ok"));
        assert!(asked.elapsed() < STOP_WITHIN, "{:?}", asked.elapsed());
    }
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 20);
    assert_eq!(service.mirrored().len(), 20);
    assert!(ftp.max_open() <= 4, "{}", ftp.max_open());
}

/// interface 2.7
#[test]
fn sighup_reads_nothing_again_where_nohup_had_it_ignored() {
    let ftp = ScriptedServer::start();
    let setup = Setup::new().server(Server::scripted("omc01", &ftp));
    let run = setup.command(&["run"]);
    let mut nohup = Command::new("nohup");
    nohup.arg(run.get_program()).args(run.get_args()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut service = nohup.stderr(Stdio::piped()).spawn().expect("nohup");
    let mut log = BufReader::new(service.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("is ready")));
    let signal = |signal| kill_process(Pid::from_child(&service), signal).unwrap();
    signal(Signal::HUP);
    // in its turn behind what SIGHUP would have asked for
    assert!(setup.command(&["ctl"]).arg("reload").output().unwrap().status.success());
    signal(Signal::TERM);
    assert!(log.all(|line| !line.contains("SIGHUP")));
    assert!(service.wait().unwrap().success());
}
