//! What a person at a terminal gets, and what nobody else does.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::pty::Pty;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Setup, Stream};
use crate::support::steps::{SOON, one, ready};
use crate::support::wait::{self, output_within};
use crate::support::zips::zip;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const PROMPT: &str = "mrosync> ";
const UP: &str = "\x1b[A";

fn ftp() -> ScriptedServer {
    let ftp = ScriptedServer::start();
    ftp.put("/MR/a.zip", File::new(zip(1, 3000)));
    ftp
}

/// The service at a terminal, with a prompt.
fn console(setup: &Setup, columns: u16, environment: &[(&str, &str)]) -> Pty {
    let pty = Pty::run(&setup.command(&["run"]), columns, 40, environment);
    pty.wait(SOON, "it is ready", |screen| screen.contains("is ready"));
    pty
}

/// `ctl …` for the service whose directory this is.
fn ctl(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mrosync"));
    command.arg("ctl").args(arguments).arg("--config").arg(directory.join("0.toml"));
    command
}

/// What somebody types before the program listens is echoed twice.
fn prompt(pty: &Pty) {
    pty.wait(SOON, "there is a prompt", |screen| {
        screen.lines().any(|line| line.starts_with(PROMPT.trim_end()))
    });
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn has_line(screen: &str, line: &str) -> bool {
    screen.lines().any(|shown| shown.trim_end() == line)
}

/// interface 3.2
#[test]
fn a_line_is_edited_completed_and_recalled() {
    let ftp = ftp();
    let setup = one(&ftp);
    let mut pty = console(&setup, 80, &[]);
    prompt(&pty);
    // a slip of the finger, mended in the middle of the line
    pty.keys("hlp\x1b[D\x1b[De");
    pty.wait(SOON, "the letter is put in", |screen| has_line(screen, "mrosync> help"));
    pty.keys("\r");
    pty.wait(SOON, "help is answered", |screen| screen.contains("show this"));
    pty.keys("sta");
    pty.keys("r\t\r");
    pty.wait(SOON, "start is completed and answered", |screen| {
        has_line(screen, "mrosync> start") && screen.lines().any(|line| line.starts_with("ok: "))
    });
    pty.keys(&format!("{UP}{UP}"));
    pty.wait(SOON, "the line before the last is back", |screen| {
        screen.lines().last().is_some_and(|line| line.trim_end() == "mrosync> help")
    });
}

/// interface 3.2
#[test]
fn log_lines_leave_the_edited_line_whole() {
    let ftp = ftp();
    let setup = one(&ftp);
    let mut pty = console(&setup, 120, &[]);
    prompt(&pty);
    pty.keys("start\r");
    pty.wait(SOON, "it is started", |screen| screen.contains("ok: "));
    pty.keys("status --js");
    // at the level debug and five scans a second, something is always logged
    let logged = pty.raw().matches("DEBUG").count();
    pty.wait(SOON, "much is logged meanwhile", |_| pty.raw().matches("DEBUG").count() > logged + 20);
    let screen = pty.screen();
    assert_eq!(screen.lines().last().map(str::trim_end), Some("mrosync> status --js"), "{screen}");
    let torn = |line: &&str| {
        let whole = line.starts_with("20") || line.starts_with("mrosync> ") || line.starts_with("first sync");
        line.contains("status --js") && !line.starts_with("mrosync> ") || line.contains("DEBUG") && !whole
    };
    assert_eq!(screen.lines().find(torn), None, "{screen}");
    pty.keys("on\r");
    pty.wait(SOON, "the line is what was typed", |screen| screen.contains("\"running\":true"));
}

/// interface 3.2
#[test]
fn ctrl_d_ends_nothing_and_ctrl_c_ends_in_order() {
    let ftp = ftp();
    let setup = one(&ftp);
    let mut pty = console(&setup, 80, &[]);
    prompt(&pty);
    pty.keys(CTRL_D);
    pty.wait(SOON, "it says that it goes on", |screen| screen.contains("the service goes on"));
    pty.keys("start\r");
    pty.wait(SOON, "it does", |screen| screen.contains("ok: "));
    pty.keys(CTRL_C);
    assert_eq!(pty.wait_exit(SOON), 0);
    pty.wait(SOON, "it ends in order", |screen| {
        screen.contains("SIGINT: ending") && screen.contains("ended")
    });
    assert_eq!(pty.modes(), pty.modes_found());
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_service() {
    let ftp = ftp();
    let setup = one(&ftp);
    let mut pty = console(&setup, 80, &[]);
    prompt(&pty);
    pty.terminate();
    assert_eq!(pty.wait_exit(SOON), 0);
    assert_eq!(pty.modes(), pty.modes_found());
}

/// interface 3.4
#[test]
fn status_fits_the_terminal_in_colour() {
    let (up, down) = (ftp(), ScriptedServer::start());
    down.go_down();
    let setup =
        Setup::new().server(Server::scripted("上海omc01", &up)).server(Server::scripted("omc02", &down));
    let service_setup = setup.started();
    let directory = service_setup.directory();
    let service = service_setup.run();
    ready(&service);
    service.wait_for(SOON, "one is reached and one is not", |service| {
        service.server_status("omc02")["state"] == "unreachable" && service.records().len() == 1
    });
    for (columns, heading) in [(40, "PENDING"), (80, "FETCHED"), (200, "LAST ERROR")] {
        let mut pty = Pty::run(&ctl(&directory, &["status"]), columns, 40, &[]);
        assert_eq!(pty.wait_exit(SOON), 0);
        pty.wait(SOON, "the whole status", |screen| screen.contains("SERVER") && screen.contains("omc02"));
        let screen = pty.screen();
        let top = screen.split("service ").next().unwrap_or_default();
        assert!(top.lines().any(|line| line.starts_with("! omc02 unreachable")), "{screen}");
        assert!(screen.lines().any(|line| line.starts_with("SERVER") && line.contains(heading)), "{screen}");
        assert!(pty.raw().contains("\x1b[1;31munreachable\x1b[0m"), "{:?}", pty.raw());
        // one line more would have come from a line that wrapped
        let servers = screen.lines().skip_while(|line| !line.starts_with("SERVER")).count();
        assert_eq!(servers, 3, "{screen}");
    }
    let plain = output_within(SOON, &mut ctl(&directory, &["status"]));
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.starts_with("service ") && !plain.contains('\x1b'), "{plain}");
    let pty = Pty::run(&ctl(&directory, &["status"]), 200, 40, &[("NO_COLOR", "1")]);
    pty.wait(SOON, "the plain status", |screen| screen.contains("LAST SCAN"));
    assert!(pty.screen().starts_with("service ") && !pty.raw().contains('\x1b'), "{:?}", pty.raw());
    let pty = Pty::run(&ctl(&directory, &["status"]), 200, 40, &[("NO_COLOR", "")]);
    pty.wait(SOON, "an empty variable is none", |screen| screen.starts_with("! "));
}

/// interface 3.6
#[test]
fn watch_refreshes_in_place_outlives_the_service_and_gives_the_terminal_back() {
    let ftp = ftp();
    let setup = one(&ftp);
    let directory = setup.directory();
    let mut service = setup.run();
    ready(&service);
    let mut pty = Pty::run(&ctl(&directory, &["status", "--watch=0.1"]), 80, 20, &[]);
    let before = pty.modes_found();
    pty.wait(SOON, "it shows the status", |screen| {
        screen.lines().any(|line| line.starts_with("omc01") && line.contains("stopped"))
    });
    assert!(pty.is_on_other_page() && !pty.has_cursor());
    service.command("start");
    pty.wait(SOON, "it is refreshed in place", |screen| {
        screen.lines().filter(|line| line.starts_with("omc01")).count() == 1 && screen.contains("waiting")
    });
    pty.resize(40, 20);
    pty.wait(SOON, "it fits the window", |screen| {
        screen.lines().any(|line| line.starts_with("SERVER") && !line.contains("TOOK"))
    });
    assert!(!pty.raw().contains("\x1b[2J"), "wiping the screen makes it flicker");
    service.kill();
    pty.wait(SOON, "it says that the service is gone", |screen| screen.contains("cannot reach the service"));
    service.restart();
    pty.wait(SOON, "it finds it again", |screen| {
        screen.contains("omc01") && !screen.contains("cannot reach the service")
    });
    pty.keys("q");
    assert_eq!(pty.wait_exit(SOON), 0);
    pty.wait(SOON, "the page is left", |_| !pty.is_on_other_page() && pty.has_cursor());
    assert_eq!(pty.modes(), before);
}

/// interface 3.6
#[test]
fn watch_ends_by_ctrl_c_and_by_a_signal_with_the_terminal_as_it_was() {
    let ftp = ftp();
    let setup = one(&ftp);
    let directory = setup.directory();
    let service = setup.run();
    ready(&service);
    for by_key in [true, false] {
        let mut pty = Pty::run(&ctl(&directory, &["status", "--watch"]), 80, 20, &[]);
        let before = pty.modes_found();
        pty.wait(SOON, "it shows the status", |screen| screen.contains("q ends"));
        assert_ne!(pty.modes(), before);
        if by_key {
            pty.keys(CTRL_C);
        } else {
            pty.terminate();
        }
        assert_eq!(pty.wait_exit(SOON), 0);
        pty.wait(SOON, "the page is left", |_| !pty.is_on_other_page() && pty.has_cursor());
        assert_eq!(pty.modes(), before);
    }
}

/// interface 3.7
#[test]
fn watch_without_a_terminal_prints_one_status_after_the_other() {
    let ftp = ftp();
    let setup = one(&ftp);
    let directory = setup.directory();
    let service = setup.run();
    ready(&service);
    let lines = tempfile::NamedTempFile::new().unwrap();
    let watching = |output: Stdio| {
        let mut command = ctl(&directory, &["status", "--watch=0.1", "--json"]);
        Killed(command.stdin(Stdio::null()).stdout(output).spawn().unwrap())
    };
    let _printing = watching(lines.reopen().unwrap().into());
    let printed = || std::fs::read_to_string(lines.path()).unwrap();
    wait::eventually(SOON, "it is printed again and again", || printed().matches('\n').count() >= 3);
    let line = printed().lines().next().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["running"], false, "{line}");
    let mut unread = watching(Stdio::piped());
    drop(unread.0.stdout.take());
    wait::eventually(SOON, "it ends without a reader", || unread.0.try_wait().unwrap().is_some());
}

/// interface 3.5
#[test]
fn check_shows_at_a_terminal_whom_it_still_waits_for() {
    let (quick, slow) = (ftp(), ftp());
    slow.rule(Rule::on("USER").hang());
    let setup =
        Setup::new().server(Server::scripted("slow", &slow)).server(Server::scripted("quick", &quick));
    let mut pty = Pty::run(&setup.command(&["check"]), 100, 40, &[]);
    pty.wait(SOON, "the quick one has answered, the other one is named", |screen| {
        screen.lines().any(|line| line.starts_with("ok      server quick"))
            && has_line(screen, "check: 1 of 2 servers still to answer: slow")
    });
    slow.release();
    pty.wait_exit(SOON);
    pty.wait(SOON, "the progress is gone", |screen| {
        screen.contains("server slow") && screen.contains("memory") && !screen.contains("still to answer")
    });
}

/// interface 3.5
#[test]
fn the_first_sync_and_a_stop_show_how_far_they_are() {
    let (quick, slow) = (ftp(), ftp());
    slow.rule(Rule::on("RETR").stall(10));
    let slow_server = Server::scripted("slow", &slow).key("timeout", "'60s'");
    let setup = Setup::new()
        .server(slow_server)
        .server(Server::scripted("quick", &quick))
        .toml("[log]\nlevel = 'error'\n");
    let mut pty = Pty::run(&setup.command(&["run"]), 100, 40, &[]);
    prompt(&pty);
    pty.keys("start\r");
    pty.wait(SOON, "half of it is there", |screen| {
        screen.contains("first sync: 1 of 2 zips local") && screen.contains("1 of 2 servers done")
    });
    slow.behave();
    slow.release();
    pty.wait(SOON, "all of it is there", |screen| screen.contains("first sync: done, 2 zips fetched"));
    let screen = pty.screen();
    assert_eq!(screen.matches("first sync: 1 of 2").count(), 0, "it takes its own place: {screen}");
}

/// interface 3.1
#[test]
fn nothing_but_plain_lines_where_colour_is_not_wanted_or_there_is_no_terminal() {
    let ftp = ftp();
    let setup = one(&ftp);
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut pty = console(&setup, 80, &[environment]);
        pty.keys("start\r");
        pty.wait(SOON, "it is answered", |screen| screen.lines().any(|line| line.starts_with("ok: ")));
        pty.keys("quit\r");
        assert_eq!(pty.wait_exit(SOON), 0);
        let raw = pty.raw();
        assert!(!raw.contains('\x1b') && !raw.contains(PROMPT) && !raw.contains("first sync"), "{raw:?}");
    }
    let mut service = setup.run();
    ready(&service);
    service.command("start");
    service.wait_for(SOON, "it is recorded", |service| service.records().len() == 1);
    service.command("quit");
    service.wait_exit(SOON);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let lines = service.lines(stream).join("\n");
        assert!(
            !lines.contains('\x1b') && !lines.contains(PROMPT) && !lines.contains("first sync"),
            "{lines}"
        );
    }
}
