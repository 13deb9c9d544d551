//! The control socket and `ctl`: who may use it, what it answers, and that no client hinders another.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Service, Stream};
use crate::support::steps::{SOON, one, ready};
use crate::support::zips::zip;

fn socket(service: &Service) -> PathBuf {
    service.directory().join("control.sock")
}

fn ctl(service: &Service, arguments: &[&str]) -> Output {
    service.mrosync(&["ctl"], arguments)
}

/// The only line of an answer that is ok.
#[track_caller]
fn ok(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.starts_with("ok") && text.lines().count() == 1, "{output:?}");
    text
}

/// Sends these bytes and ends, then reads the answer; `None` where the connection broke.
fn tell(socket: &Path, bytes: &[u8]) -> Option<String> {
    let mut stream = UnixStream::connect(socket).expect("a service that listens");
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok().map(|_| answer)
}

/// interface 1.3
#[test]
fn ctl_starts_stops_and_shows_the_running_service() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let service = one(&ftp).run();
    ready(&service);
    ok(&ctl(&service, &["stop"]));
    ok(&ctl(&service, &["start"]));
    ok(&ctl(&service, &["start"]));
    service.wait_for(SOON, "the zip", |service| service.records().len() == 1);
    assert_eq!(service.status()["running"], true);
    let shown = ctl(&service, &["status"]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("omc01"), "{shown:?}");
    let json = ctl(&service, &["status", "--json"]);
    assert_eq!(json.status.code(), Some(0));
    assert!(serde_json::from_slice::<Value>(&json.stdout).unwrap().is_object());
    ok(&ctl(&service, &["stop"]));
    assert_eq!(service.status()["running"], false);
    assert!(service.lines(Stream::Stdout).is_empty(), "the console was not asked");
}

/// interface 1.14
#[test]
fn ctl_fails_with_1_and_says_why_where_no_service_runs() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    ready(&service);
    service.kill();
    assert!(socket(&service).symlink_metadata().is_ok(), "the socket of the killed service is left");
    for stale in [true, false] {
        if !stale {
            std::fs::remove_file(socket(&service)).unwrap();
        }
        for command in [&["start"][..], &["stop"], &["status"], &["status", "--json"]] {
            let output = ctl(&service, command);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stdout.is_empty(), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("control.sock"), "{output:?}");
        }
    }
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_away_with_the_service() {
    let ftp = ScriptedServer::start();
    for by_signal in [true, false] {
        let mut service = one(&ftp).started().run();
        ready(&service);
        let metadata = std::fs::symlink_metadata(socket(&service)).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        if by_signal {
            assert_eq!(service.terminate(SOON).code(), Some(0));
        } else {
            service.send("quit");
            assert_eq!(service.wait_exit(SOON).code(), Some(0));
        }
        let gone = socket(&service).symlink_metadata().unwrap_err();
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound, "by signal: {by_signal}");
    }
}

#[test]
fn the_socket_of_a_killed_service_is_replaced() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    ready(&service);
    service.kill();
    assert!(socket(&service).symlink_metadata().is_ok());
    service.restart();
    ready(&service);
    ok(&ctl(&service, &["start"]));
    assert_eq!(std::fs::symlink_metadata(socket(&service)).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let ftp = ScriptedServer::start();
    let setup = one(&ftp);
    let path = setup.directory().join("control.sock");
    std::fs::write(&path, "precious").unwrap();
    let mut service = setup.run();
    assert!(service.wait_exit(SOON).code().is_some_and(|code| code != 0));
    service.wait_line(Stream::Stderr, SOON, "the path is named", |line| line.contains("control.sock"));
    assert_eq!(std::fs::read(path).unwrap(), b"precious");
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).started().run();
    ready(&service);
    let path = &socket(&service);
    let ask = |n: usize| match n % 4 {
        0 => tell(path, b"start\n").is_some_and(|answer| answer.starts_with("ok")),
        1 => tell(path, b"stop\n").is_some_and(|answer| answer.starts_with("ok")),
        2 => tell(path, b"help\n").is_some_and(|answer| answer.contains("start")),
        _ => tell(path, b"status --json\n").is_some_and(|answer| answer.contains("\"omc01\"")),
    };
    let answered = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..40).map(|n| scope.spawn(move || ask(n))).collect();
        asking.into_iter().filter_map(|asking| asking.join().ok()).filter(|answered| *answered).count()
    });
    assert_eq!(answered, 40);
}

#[test]
fn a_client_that_says_nothing_hinders_nobody() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    ready(&service);
    let path = socket(&service);
    let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(b"sta").unwrap();
    // asks, and never reads what it is told
    let mut deaf = UnixStream::connect(&path).unwrap();
    deaf.write_all(b"status --json\n").unwrap();
    let asked = Instant::now();
    ok(&ctl(&service, &["start"]));
    assert!(service.command("stop").starts_with("ok"));
    assert!(asked.elapsed() < Duration::from_secs(8), "nobody waits until they are given up");
    half.write_all(b"tus --json\n").unwrap();
    half.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"running\":false"), "{answer}");
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0), "nor the end");
    drop(silent);
}

#[test]
fn a_crowd_of_silent_clients_makes_room_for_one_that_asks() {
    let ftp = ScriptedServer::start();
    let service = one(&ftp).run();
    ready(&service);
    let path = socket(&service);
    // more than are served at a time, and more than were ever let in
    let mut silent: Vec<_> = (0..150).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let asked = Instant::now();
    ok(&ctl(&service, &["start"]));
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}: nobody waits until they are given up",
        asked.elapsed()
    );
    // those that came last still have their place
    let last = silent.last_mut().unwrap();
    last.write_all(b"help\n").unwrap();
    last.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("status --json"), "{answer}");
}

#[test]
fn of_two_services_that_start_on_one_socket_at_once_one_is_refused() {
    let ftp = ScriptedServer::start();
    let common = tempfile::tempdir().unwrap();
    let path = common.path().join("control.sock");
    let socket = format!("[control]\nsocket = '{}'\n", path.display());
    // left by a service that was killed, so that both are tempted to replace it
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut services: Vec<Service> = (0..4).map(|_| one(&ftp).toml(&socket).run()).collect();
    for round in 0..4 {
        let said = |service: &Service, words: &str| {
            service.lines(Stream::Stderr).iter().any(|line| line.contains(words))
        };
        for service in &services {
            service.wait_for(SOON, "it runs or is refused", |service| {
                said(service, "is ready") || said(service, "another mrosync")
            });
        }
        let (ready, mut refused): (Vec<_>, Vec<_>) =
            services.iter_mut().partition(|service| said(service, "is ready"));
        assert_eq!((ready.len(), refused.len()), (1, 3), "round {round}");
        assert!(refused.iter_mut().all(|service| service.wait_exit(SOON).code() == Some(2)));
        assert!(tell(&path, b"help\n").is_some_and(|answer| answer.contains("start")));
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        services.iter_mut().for_each(Service::kill);
        services.iter_mut().for_each(Service::restart);
    }
}

#[test]
fn a_socket_is_not_put_where_others_could_replace_it() {
    let ftp = ScriptedServer::start();
    for (mode, owner, refusal, warning) in [
        (0o755, None, None, false),
        (0o1777, None, None, false),
        (0o775, None, None, true),
        (0o777, None, Some("can be written by everybody (mode 0777)"), false),
        (0o755, Some(12345), Some("belongs to another user (uid 12345)"), false),
    ] {
        if owner.is_some() && !rustix::process::geteuid().is_root() {
            // only root can give a directory away
            continue;
        }
        let setup = one(&ftp);
        let directory = setup.directory().join("run");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&directory, owner, None).unwrap();
        let socket = directory.join("control.sock");
        let mut service = setup.toml(&format!("[control]\nsocket = '{}'\n", socket.display())).run();
        match refusal {
            Some(why) => {
                assert_eq!(service.wait_exit(SOON).code(), Some(2), "{mode:o}");
                service.wait_line(Stream::Stderr, SOON, "the directory is named", |line| {
                    line.contains("control.socket: ") && line.contains(why)
                });
                assert!(socket.symlink_metadata().is_err());
            }
            None => {
                ready(&service);
                let warned = |line: &String| line.contains("WARN") && line.contains("can replace the socket");
                assert_eq!(service.lines(Stream::Stderr).iter().any(warned), warning, "{mode:o}");
            }
        }
    }
}

#[test]
fn a_service_that_ends_leaves_the_socket_of_another_alone() {
    let ftp = ScriptedServer::start();
    let mut first = one(&ftp).run();
    ready(&first);
    let path = socket(&first);
    std::fs::remove_file(&path).unwrap();
    let second = one(&ftp).toml(&format!("[control]\nsocket = '{}'\n", path.display())).run();
    ready(&second);
    assert_eq!(first.terminate(SOON).code(), Some(0));
    assert!(tell(&path, b"help\n").is_some_and(|answer| answer.contains("start")));
}

#[test]
fn a_client_hears_of_its_silent_stop_while_others_ask_for_the_status() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    ftp.rule(Rule::on("RETR").hang());
    let service = one(&ftp).started().run();
    service.wait_for(SOON, "a transfer", |_| ftp.count("RETR") > 0);
    let path = &socket(&service);
    std::thread::scope(|scope| {
        let stop = scope.spawn(move || tell(path, b"stop\n"));
        assert!(tell(path, b"status --json\n").is_some_and(|answer| answer.contains("\"servers\"")));
        assert!(stop.join().unwrap().is_some_and(|answer| answer.starts_with("ok")));
    });
}

#[test]
fn garbage_is_refused_and_harms_nothing() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    ready(&service);
    let path = socket(&service);
    let endless = vec![b's'; 1_000_000];
    let garbage: [&[u8]; 7] = [
        b"",
        b"\n",
        b"\xff\xfe\x00\x01\n",
        b"start; stop\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0start\n",
        &endless,
    ];
    for bytes in garbage {
        // a connection that is broken off is an answer too
        if let Some(answer) = tell(&path, bytes) {
            assert!(answer.is_empty() || answer.starts_with("failed: unknown command"), "{answer}");
            assert!(answer.lines().count() <= 1 && answer.len() < 1000, "{answer}");
        }
        drop(UnixStream::connect(&path).unwrap().write_all(bytes));
    }
    assert_eq!(service.status()["running"], false);
    assert_eq!(ftp.connections(), 0);
    assert!(tell(&path, b"  STATR \r\n").unwrap().starts_with("ok"), "case and blanks do not matter");
    assert!(service.command("stop").starts_with("ok"));
}
