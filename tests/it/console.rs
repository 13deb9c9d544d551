//! The console of `run`: what may be typed, what is answered where, and that it may be missing.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, ready, recorded};
use crate::support::zips::zip;

/// Types the lines one after another and gives back all lines on standard output that answer them.
fn answers(service: &mut Service, lines: &[&str]) -> Vec<String> {
    let before = service.lines(Stream::Stdout).len();
    for line in lines {
        service.send(line);
    }
    // unknown, so that its own answer shows that everything before was answered
    let mark = format!("that-was-all-after-{before}");
    service.send(&mark);
    service.wait_line(Stream::Stdout, SOON, "the last answer", |line| line.contains(&mark));
    let mut answers = service.lines(Stream::Stdout).split_off(before);
    answers.pop();
    answers
}

/// Waits until the service is so old; it had the time then to do what it should not.
fn grown_older(service: &Service, seconds: f64) {
    let age = |service: &Service| service.status()["uptime_seconds"].as_f64().unwrap();
    let until = age(service) + seconds;
    service.wait_for(SOON, "some time has passed", |service| age(service) >= until);
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// interface 1.1
#[test]
fn nothing_is_scanned_before_start() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = one(&ftp).run();
    ready(&service);
    grown_older(&service, 1.0);
    assert_eq!(ftp.connections(), 0);
    assert_eq!(service.status()["running"], false);
    assert_eq!(service.server_status("omc01")["state"], "stopped");
    assert!(service.command("start").starts_with("ok"));
    service.wait_for(SOON, "the zip", |service| service.mirrored().len() == 1);
    assert_eq!(service.status()["running"], true);
}

/// interface 2.4
#[test]
fn nothing_is_scanned_after_stop() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).started().run();
    service.wait_for(SOON, "a scan", |_| ftp.listings("/") > 1);
    assert!(service.command("stop").starts_with("ok"));
    let before = ftp.commands().len();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    grown_older(&service, 1.0);
    assert_eq!(ftp.commands().len(), before);
    assert!(service.mirrored().is_empty());
    assert_eq!(service.status()["running"], false);
}

/// interface 2.1, 2.2
#[test]
fn each_start_and_stop_is_answered_by_exactly_one_line_whatever_its_case_and_blanks() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    let lines = ["start", "stop", "statr", "STOP", "  Start\t", "\tsToP  ", "STATR\r", "stop\r", "", "  \t"];
    let answers = answers(&mut service, &lines);
    assert_eq!(answers.len(), 8, "{answers:#?}");
    assert!(answers.iter().all(|line| line.starts_with("ok")), "{answers:#?}");
    // the log may come a moment after the answer
    service.wait_for(SOON, "each is logged once", |service| {
        let said = service.lines(Stream::Stderr);
        let count = |word: &str| said.iter().filter(|line| line.contains(word)).count();
        (count("started 1 server"), count("stopped 1 server")) == (4, 4)
    });
}

/// interface 2.2
#[test]
fn an_unknown_word_fails_with_one_line_that_says_so_and_does_nothing() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    let endless = "x".repeat(100_000);
    let lines = ["frobnicate", "start now", "startx", "-start", "st art", "\u{1b}[2Jstart", &endless];
    let answers = answers(&mut service, &lines);
    assert_eq!(answers.len(), lines.len(), "{answers:#?}");
    assert!(answers.iter().all(|line| line.starts_with("failed: unknown command ")), "{answers:#?}");
    assert!(answers[0].starts_with("failed: unknown command frobnicate"));
    assert!(!answers.iter().any(|line| line.contains('\u{1b}') || line.len() > 1000));
    assert_eq!(service.status()["running"], false);
    assert_eq!(ftp.connections(), 0);
}

/// interface 2.3
#[test]
fn start_while_started_changes_nothing() {
    let ftp = ScriptedServer::start();
    let content = zip(1, 300_000);
    ftp.put("/1.zip", File::new(content.clone()));
    ftp.rule(Rule::on("RETR").once().stall(100_000));
    let mut service =
        Setup::new().server(Server::scripted("omc01", &ftp).key("timeout", "'60s'")).started().run();
    let has_half = |service: &Service| service.partial().values().any(|size| *size == 100_000);
    service.wait_for(SOON, "half of the file", has_half);
    let connections = ftp.connections();
    assert!(service.command("start").starts_with("ok"));
    assert!(service.command("statr").starts_with("ok"));
    assert_eq!(service.status()["running"], true);
    grown_older(&service, 0.5);
    assert!(has_half(&service));
    assert_eq!(ftp.connections(), connections, "no second scanner has come");
    ftp.release();
    recorded(&service, 1);
    assert_eq!(ftp.retrs("/1.zip"), 1, "the transfer went on");
    let scans = ftp.listings("/");
    service.wait_for(SOON, "scans go on", |_| ftp.listings("/") > scans + 1);
}

/// interface 2.3
#[test]
fn stop_while_stopped_changes_nothing() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = one(&ftp).run();
    assert_eq!(
        answers(&mut service, &["stop", "Stop"]).iter().filter(|line| line.starts_with("ok")).count(),
        2
    );
    assert_eq!((service.status()["running"].clone(), ftp.connections()), (false.into(), 0));
    service.command("start");
    recorded(&service, 1);
    assert!(service.command("stop").starts_with("ok"));
    let ageless = |service: &Service| {
        let mut status = service.server_status("omc01");
        for age in ["newest_file_age_seconds", "newest_seen_age_seconds"] {
            status["lateness"].as_object_mut().unwrap().remove(age);
        }
        status
    };
    let before = ageless(&service);
    assert!(service.command("stop").starts_with("ok"));
    assert_eq!(ageless(&service), before);
    assert!(service.command("start").starts_with("ok"));
    let scans = ftp.listings("/");
    service.wait_for(SOON, "it can still be started", |_| ftp.listings("/") > scans);
    assert_eq!(ftp.retrs("/1.zip"), 1);
}

/// interface 2.1
#[test]
fn status_shows_every_server_and_help_every_command() {
    let ftp = ScriptedServer::start();
    let second = Server::scripted("south-02", &ftp).key("directories", "['/b']");
    let mut service = one(&ftp).server(second).run();
    let status = answers(&mut service, &[" STATUS "]);
    for name in ["omc01", "south-02"] {
        let line = status.iter().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{status:#?}"));
        assert!(line.contains("stopped"), "{line}");
    }
    let help = answers(&mut service, &["Help"]).join("\n");
    for word in ["start", "stop", "status", "help", "quit"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

/// interface 2.1
#[test]
fn quit_and_exit_stop_the_scanners_and_end_the_service() {
    for word in ["quit", " EXIT "] {
        let ftp = ScriptedServer::start();
        ftp.put("/1.zip", File::new(zip(1, 300_000)));
        ftp.rule(Rule::on("RETR").stall(100_000));
        let mut service = one(&ftp).started().run();
        service.wait_for(SOON, "a transfer", |_| ftp.retrs("/1.zip") > 0);
        let answer = service.command(word);
        assert!(answer.starts_with("ok"), "{word}: {answer}");
        assert_eq!(service.wait_exit(Duration::from_secs(5)).code(), Some(0), "{word}");
    }
}

/// interface 2.5
#[test]
fn the_end_of_standard_input_is_no_command() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let mut service = one(&ftp).started().run();
    recorded(&service, 1);
    service.close_stdin();
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    recorded(&service, 2);
    assert!(service.mrosync(&["ctl"], &["stop"]).status.success());
    assert_eq!(service.status()["running"], false);
    assert!(service.mrosync(&["ctl"], &["start"]).status.success());
    ftp.put("/3.zip", File::new(zip(3, 3000)));
    recorded(&service, 3);
    assert!(service.is_running());
}

#[test]
fn it_runs_without_a_console_and_with_nobody_reading_its_answers() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    for (stdin, closed) in [(Stdio::null(), false), (Stdio::piped(), true)] {
        let setup = one(&ftp);
        let mut command = setup.command(&["run"]);
        let child = command.arg("--start").stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut service = Killed(child.unwrap());
        if closed {
            use std::io::Write;
            drop(service.0.stdout.take());
            service.0.stdin.take().unwrap().write_all(b"start\nnonsense\nstatus\n").unwrap();
        }
        let root = setup.directory().join("sync/omc01/1.zip");
        crate::support::wait::eventually(SOON, "the zip", || root.is_file());
        let stopped = setup.command(&["ctl", "stop"]).output().unwrap();
        assert!(stopped.status.success() && stopped.stdout.starts_with(b"ok"), "{stopped:?}");
        assert!(service.0.try_wait().unwrap().is_none(), "it goes on");
    }
}

/// interface 2.8
#[test]
fn answers_go_to_standard_output_and_logs_to_standard_error_and_the_log_file() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let setup = one(&ftp);
    let file = setup.directory().join("logs/mrosync.log");
    let setup = setup.toml(&format!("[log]\nlevel = 'trace'\nfile = '{}'", file.display()));
    let mut service = setup.run();
    service.command("start");
    recorded(&service, 1);
    service.command("stop");
    service.command("nonsense");
    assert_eq!(service.terminate(SOON).code(), Some(0));
    let stdout = service.lines(Stream::Stdout);
    assert_eq!(stdout.len(), 3, "{stdout:#?}");
    service.wait_line(Stream::Stderr, SOON, "the last line", |line| line.ends_with("ended"));
    let stderr = service.lines(Stream::Stderr);
    assert!(stderr.len() > 5 && stderr.iter().any(|line| line.contains("1.zip")), "{stderr:#?}");
    assert!(!stderr.iter().any(|line| stdout.contains(line)), "{stderr:#?}");
    let logged = std::fs::read_to_string(file).unwrap();
    // threads write their lines one after another, each first here and then there
    let (mut logged, mut said): (Vec<&str>, Vec<&str>) =
        (logged.lines().collect(), stderr.iter().map(String::as_str).collect());
    logged.sort_unstable();
    said.sort_unstable();
    assert_eq!(logged, said);
}
