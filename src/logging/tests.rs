//! The log as a whole: what is written where, whatever the disk does.

use super::*;
use chrono::Utc;
use log::Log;
use std::fs::OpenOptions;
use std::io;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

/// A disk that holds `room` more bytes.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Disk {
    fn with_room(room: usize) -> Self {
        Self(Arc::new(Mutex::new((Vec::new(), room))))
    }

    fn set_room(&self, room: usize) {
        self.0.lock().unwrap().1 = room;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        let taken = bytes.len().min(disk.1);
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        disk.0.extend_from_slice(&bytes[..taken]);
        disk.1 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn output(name: &str, disk: &Disk) -> Output {
    Output { name: name.to_owned(), to: Box::new(disk.clone()) }
}

fn settings(level: LevelFilter) -> LogSettings {
    LogSettings { level, file: None, format: LogFormat::Text }
}

fn logger(level: LevelFilter, disk: &Disk) -> Box<dyn Log> {
    RunLog::new(&settings(level), output("the log", disk), None).dispatch().into_log().1
}

fn say(logger: &dyn Log, level: Level, target: &str, message: &str) {
    logger.log(&Record::builder().level(level).target(target).args(format_args!("{message}")).build());
}

/// What was logged, without the times.
fn untimed(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest)).collect()
}

/// interface 9.1
#[test]
fn a_line_has_time_level_module_and_message() {
    let disk = Disk::with_room(1000);
    let logger = logger(LevelFilter::Info, &disk);
    say(&*logger, Level::Info, "mrosync::actors::scanner", "server=omc01 started");
    say(&*logger, Level::Error, "mrosync", "lost");
    say(&*logger, Level::Warn, "mrosyncer::x", "not ours");
    let text = disk.text();
    let time = text.split(' ').next().unwrap();
    let parsed = chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.3fZ").unwrap();
    assert_eq!(time.len(), "2026-11-23T03:00:05.123Z".len());
    assert!((Utc::now().naive_utc() - parsed).num_seconds().abs() < 60, "{time} is not now in UTC");
    assert_eq!(
        untimed(&text),
        [
            "INFO  [actors::scanner] server=omc01 started",
            "ERROR [mrosync] lost",
            "WARN  [mrosyncer::x] not ours"
        ]
    );
}

#[test]
fn one_record_is_one_line_whatever_it_holds() {
    let disk = Disk::with_room(1000);
    let logger = logger(LevelFilter::Info, &disk);
    say(&*logger, Level::Info, "mrosync::x", "a.zip\n2026-11-23T03:00:05.123Z ERROR [x] forged\u{1b}[2J\r");
    assert_eq!(
        untimed(&disk.text()),
        ["INFO  [x] a.zip\\n2026-11-23T03:00:05.123Z ERROR [x] forged\\u{1b}[2J\\r"]
    );
}

#[test]
fn other_crates_never_log_below_warn() {
    let disk = Disk::with_room(10_000);
    let logger = logger(LevelFilter::Trace, &disk);
    for foreign in ["suppaftp", "suppaftp::async_ftp", "rustls::client", "awc", "h2", "mio::poll", "mrosyncx"]
    {
        say(&*logger, Level::Trace, foreign, "PASS geheim");
        say(&*logger, Level::Debug, foreign, "PASS geheim");
        say(&*logger, Level::Info, foreign, "starting 1 workers");
    }
    say(&*logger, Level::Trace, "mrosync::ftp", "ours");
    say(&*logger, Level::Warn, "rustls", "theirs");
    assert_eq!(untimed(&disk.text()), ["TRACE [ftp] ours", "WARN  [rustls] theirs"]);
}

/// interface 9.2
#[test]
fn equal_warnings_are_written_a_few_times_and_then_counted() {
    let disk = Disk::with_room(10_000);
    let log = RunLog::new(&settings(LevelFilter::Info), output("the log", &disk), None);
    let logger = log.dispatch().into_log().1;
    for _ in 0..100 {
        say(&*logger, Level::Warn, "mrosync::x", "cannot accept");
    }
    say(&*logger, Level::Warn, "mrosync::x", "another");
    log.sum_up(true);
    let text = disk.text();
    let lines = untimed(&text);
    assert_eq!(lines.iter().filter(|line| **line == "WARN  [x] cannot accept").count(), 5, "{text}");
    assert!(lines.last().unwrap().starts_with("WARN  [x] cannot accept (said 95 times more"), "{text}");
}

#[test]
fn malformed_requests_of_the_status_page_write_nothing() {
    let disk = Disk::with_room(1000);
    let logger = logger(LevelFilter::Trace, &disk);
    say(&*logger, Level::Error, "actix_http::h1::dispatcher", "stream error: request parse error");
    assert_eq!(disk.text(), "");
}

#[test]
fn the_level_holds_for_all() {
    let disk = Disk::with_room(1000);
    let warnings = logger(LevelFilter::Warn, &disk);
    for target in ["mrosync::x", "rustls"] {
        say(&*warnings, Level::Info, target, "too much");
        say(&*warnings, Level::Warn, target, "enough");
    }
    assert_eq!(untimed(&disk.text()), ["WARN  [x] enough", "WARN  [rustls] enough"]);
    assert!(
        !logger(LevelFilter::Off, &disk)
            .enabled(&log::Metadata::builder().level(Level::Error).target("mrosync").build())
    );
}

/// interface 3.3
#[test]
fn lines_lost_to_a_full_disk_are_counted_in_the_next_one_written() {
    let disk = Disk::with_room(10);
    let logger = logger(LevelFilter::Info, &disk);
    for _ in 0..3 {
        say(&*logger, Level::Info, "mrosync::x", "lost");
    }
    disk.set_room(1000);
    say(&*logger, Level::Info, "mrosync::x", "written");
    say(&*logger, Level::Info, "mrosync::x", "also");
    let text = disk.text();
    // the torn line ends before the next begins
    assert_eq!(text.lines().next().unwrap().len(), 10, "{text}");
    assert_eq!(
        untimed(&text)[1..],
        [
            "WARN  [mrosync] 3 line(s) of the log could not be written and are lost",
            "INFO  [x] written",
            "INFO  [x] also"
        ]
    );
}

#[test]
fn a_failing_output_does_not_stop_the_other_which_tells_of_it_once() {
    let (full, fine) = (Disk::with_room(0), Disk::with_room(10_000));
    let (stderr, file) = (output("standard error", &fine), output("the file", &full));
    let logger = RunLog::new(&settings(LevelFilter::Info), stderr, Some(file)).dispatch().into_log().1;
    let say = |text: &str| say(&*logger, Level::Info, "mrosync::x", text);
    ["one", "two"].into_iter().for_each(say);
    let told =
        "WARN  [mrosync] the file cannot be written (no storage space): its lines are lost until it can";
    assert_eq!(untimed(&fine.text()), ["INFO  [x] one", told, "INFO  [x] two"]);
    full.set_room(10_000);
    say("three");
    let lost = "WARN  [mrosync] 2 line(s) of the log could not be written and are lost";
    assert_eq!(untimed(&full.text()), [lost, "INFO  [x] three"]);
    full.set_room(0);
    say("four");
    assert_eq!(untimed(&fine.text())[3..], ["INFO  [x] three", "INFO  [x] four", told], "and the next time");
}

/// The child process of the tests below, which need a logger and a panic hook of their own.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child() {
    let Some(file) = std::env::var_os("LOGGING_CHILD_FILE") else { return };
    let screen = Screen::default();
    log_panics(&screen);
    assert!(std::thread::spawn(|| panic!("early")).join().is_err());
    let settings = LogSettings { file: Some(file.into()), ..settings(LevelFilter::Info) };
    init(&settings, &screen).unwrap();
    assert!(init(&settings, &screen).is_err());
    log::info!("before");
    let thread = std::thread::Builder::new().name("scanner".to_owned());
    assert!(thread.spawn(|| panic!("boom\n{}", "bang")).unwrap().join().is_err());
    log::info!("after");
}

/// Runs [`child`] with a log file and `stderr`; gives the lines of the file and what came on stderr.
fn run_child(stderr: Stdio) -> (Vec<String>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logging::tests::child", "--ignored"])
        .env("LOGGING_CHILD_FILE", &file)
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let errors = child.stderr.take();
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        errors.map(|mut errors| errors.read_to_string(&mut text)).transpose().unwrap();
        done.send((child.wait().unwrap(), text)).unwrap();
    });
    let (status, errors) = result.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{status}: {errors}");
    let log = std::fs::read_to_string(&file).unwrap();
    (untimed(&log).into_iter().map(str::to_owned).collect(), errors)
}

fn assert_whole(lines: &[String]) {
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "INFO  [logging::tests] before");
    assert!(
        lines[1].starts_with("ERROR [mrosync] thread 'scanner' panicked at src/logging/tests.rs:"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(": boom\\nbang"), "{lines:?}");
    assert_eq!(lines[2], "INFO  [logging::tests] after");
}

#[test]
fn records_and_panics_reach_the_file_and_standard_error() {
    let (lines, errors) = run_child(Stdio::piped());
    assert_whole(&lines);
    let errors: Vec<String> = untimed(&errors).into_iter().map(str::to_owned).collect();
    // a panic before the log begins is shown as well
    assert!(errors[0].starts_with("ERROR [mrosync] thread 'unnamed' panicked at "), "{errors:?}");
    assert!(errors[0].ends_with(": early"), "{errors:?}");
    assert_whole(&errors[1..]);
}

/// All of it, and that standard error has none of it.
fn assert_told(lines: &[String]) {
    assert!(lines[0].starts_with("WARN  [mrosync] standard error cannot be written ("), "{lines:?}");
    assert_whole(&lines[1..]);
}

#[test]
fn the_program_goes_on_while_standard_error_is_full() {
    assert_told(&run_child(OpenOptions::new().write(true).open("/dev/full").unwrap().into()).0);
}

#[test]
fn the_program_goes_on_when_nobody_reads_standard_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    assert_told(&run_child(writer.into()).0);
}
