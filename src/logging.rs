//! The run log: every record as one line on standard error and, where configured, in a file.
//!
//! The requirement's log module (content in, success or failure out) is the macros of the `log` crate, which
//! everything in the program uses. They have no result to give: a log that cannot be written must not stop what
//! it tells of. The failure shows in the log itself instead, as the number of lines lost, once it can be written
//! again.
//!
//! A line is `2026-11-23T03:00:05.123Z INFO  [scanner] message`: the time is UTC, the part in brackets is the
//! module, and control characters of the message come escaped, so that no name from a server can forge a line.
//! Lines are written on the thread that logs; [`init`] and [`log_panics`] are called once, by the main thread.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use log::{Level, LevelFilter, Record};

use crate::config::LogSettings;
use crate::names::Printable;
use crate::panics;
use crate::terminal::screen::Stderr;

/// Target of this program's own records, and of all modules below.
const OWN_TARGET: &str = "mrosync";

/// The most detailed level of other crates, whatever the settings say: at `trace`, suppaftp shows passwords, and
/// what the rest has to say there is of use to their authors alone.
const FOREIGN_LEVEL: LevelFilter = LevelFilter::Info;

/// Mode of a new log file: its owner writes, a group of operators may read.
const FILE_MODE: u32 = 0o640;
/// Mode of the directories made for it.
const DIRECTORY_MODE: u32 = 0o750;

/// Begins the log: from here on the macros of the `log` crate write lines.
///
/// # Errors
///
/// The log file cannot be opened, its directory cannot be made, or the log has begun already.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let mut outputs = vec![Output { name: "standard error".to_owned(), to: Box::new(Stderr) }];
    if let Some(path) = &settings.file {
        outputs.push(Output {
            name: format!("the log file {}", path.display()),
            to: Box::new(LogFile::open(path)?),
        });
    }
    dispatch(settings.level, outputs).apply().context("cannot begin the log a second time")
}

/// Makes every panic an `error` line with whom the thread works for (such as `server=omc01`), its name, the place and
/// the message, instead of several lines of text.
///
/// While the log has not begun or is off, the line goes to standard error as it is.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let panic = describe(info);
        panics::note(&panic);
        if log::max_level() == LevelFilter::Off {
            let stderr = Output { name: String::new(), to: Box::new(io::stderr()) };
            drop(Sink::new(stderr).write(&line(Level::Error, OWN_TARGET, &panic)));
        } else {
            log::error!(target: OWN_TARGET, "{panic}");
        }
    }));
}

/// A file that lines are appended to; it is made by a later line where there was no room for it.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = match open(path) {
            Ok(file) => Some(file),
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => None,
            Err(error) => return Err(error).context(format!("cannot open the log file {}", path.display())),
        };
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            missing => missing.insert(open(&self.path)?).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// Something that lines are written to, and what people call it.
struct Output {
    name: String,
    to: Box<dyn Write + Send>,
}

fn dispatch(level: LevelFilter, outputs: Vec<Output>) -> fern::Dispatch {
    let sinks: Vec<Sink> = outputs.into_iter().map(Sink::new).collect();
    fern::Dispatch::new()
        .level(level.min(FOREIGN_LEVEL))
        .level_for(OWN_TARGET, level)
        .format(|out, message, record| {
            let line = line(record.level(), record.target(), &message.to_string());
            out.finish(format_args!("{line}"));
        })
        // fern's own outputs panic where neither they nor standard error can be written
        .chain(fern::Output::call(move |record: &Record<'_>| write_all(&sinks, &record.args().to_string())))
}

/// Writes a line everywhere. That an output begins to fail is told in the others, which is where somebody can read it.
fn write_all(sinks: &[Sink], content: &str) {
    for (place, sink) in sinks.iter().enumerate() {
        let Err(begun) = sink.write(content) else { continue };
        let told = line(Level::Warn, OWN_TARGET, &begun);
        for other in sinks.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, other)| other) {
            // both failing leaves nobody to tell
            drop(other.write(&told));
        }
    }
}

fn line(level: Level, target: &str, message: &str) -> String {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let module = target.strip_prefix(OWN_TARGET).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target);
    format!("{time} {level:<5} [{}] {}", Printable(module), Printable(message))
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = info.payload_as_str().unwrap_or("no message");
    let owner = panics::owner();
    let blank = if owner.is_empty() { "" } else { " " };
    format!("{owner}{blank}thread '{name}' panicked at {place}: {message}")
}

/// Something that lines are written to, which may fail at any time and recover.
struct Sink(Mutex<SinkState>);

struct SinkState {
    output: Output,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// Whether the last failure left a line without its end.
    torn: bool,
}

impl Sink {
    fn new(output: Output) -> Self {
        Self(Mutex::new(SinkState { output, lost: 0, torn: false }))
    }

    /// Writes one line; a failure is counted, and told before the next line that can be written.
    ///
    /// Fails with what is to be told elsewhere where this line is the first that is lost.
    fn write(&self, content: &str) -> Result<(), String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(content.len() + 1);
        if state.torn {
            text.push('\n');
        }
        if state.lost > 0 {
            let told = format!("{} line(s) of the log could not be written and are lost", state.lost);
            text.push_str(&line(Level::Warn, OWN_TARGET, &told));
            text.push('\n');
        }
        text.push_str(content);
        text.push('\n');
        let written = state.write(text.as_bytes());
        state.lost = if written.is_ok() { 0 } else { state.lost.saturating_add(1) };
        match written {
            Err(error) if state.lost == 1 => {
                let name = &state.output.name;
                Err(format!("{name} cannot be written ({error}): its lines are lost until it can"))
            }
            _ => Ok(()),
        }
    }
}

impl SinkState {
    fn write(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.output.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = rest.get(written.wrapping_sub(1)) != Some(&b'\n');
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Log;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::sync::mpsc;
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

    fn logger(level: LevelFilter, disk: &Disk) -> Box<dyn Log> {
        dispatch(level, vec![output("the log", disk)]).into_log().1
    }

    fn say(logger: &dyn Log, level: Level, target: &str, message: &str) {
        logger.log(&Record::builder().level(level).target(target).args(format_args!("{message}")).build());
    }

    /// What was logged, without the times.
    fn untimed(text: &str) -> Vec<&str> {
        text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest)).collect()
    }

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
        say(
            &*logger,
            Level::Info,
            "mrosync::x",
            "a.zip\n2026-11-23T03:00:05.123Z ERROR [x] forged\u{1b}[2J\r",
        );
        assert_eq!(
            untimed(&disk.text()),
            ["INFO  [x] a.zip\\n2026-11-23T03:00:05.123Z ERROR [x] forged\\u{1b}[2J\\r"]
        );
    }

    #[test]
    fn other_crates_never_log_below_info() {
        let disk = Disk::with_room(10_000);
        let logger = logger(LevelFilter::Trace, &disk);
        for foreign in
            ["suppaftp", "suppaftp::async_ftp", "rustls::client", "awc", "h2", "mio::poll", "mrosyncx"]
        {
            say(&*logger, Level::Trace, foreign, "PASS geheim");
            say(&*logger, Level::Debug, foreign, "PASS geheim");
        }
        say(&*logger, Level::Trace, "mrosync::ftp", "ours");
        say(&*logger, Level::Info, "rustls", "theirs");
        assert_eq!(untimed(&disk.text()), ["TRACE [ftp] ours", "INFO  [rustls] theirs"]);
    }

    #[test]
    fn the_level_holds_for_all() {
        let disk = Disk::with_room(1000);
        let logger = logger(LevelFilter::Warn, &disk);
        for target in ["mrosync::x", "rustls"] {
            say(&*logger, Level::Info, target, "too much");
            say(&*logger, Level::Warn, target, "enough");
        }
        assert_eq!(untimed(&disk.text()), ["WARN  [x] enough", "WARN  [rustls] enough"]);
        assert!(
            !dispatch(LevelFilter::Off, vec![output("the log", &disk)])
                .into_log()
                .1
                .enabled(&log::Metadata::builder().level(Level::Error).target("mrosync").build())
        );
    }

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
        let outputs = vec![output("the file", &full), output("standard error", &fine)];
        let logger = dispatch(LevelFilter::Info, outputs).into_log().1;
        let say = |text: &str| say(&*logger, Level::Info, "mrosync::x", text);
        ["one", "two"].into_iter().for_each(say);
        let told =
            "WARN  [mrosync] the file cannot be written (no storage space): its lines are lost until it can";
        assert_eq!(untimed(&fine.text()), [told, "INFO  [x] one", "INFO  [x] two"]);
        full.set_room(10_000);
        say("three");
        let lost = "WARN  [mrosync] 2 line(s) of the log could not be written and are lost";
        assert_eq!(untimed(&full.text()), [lost, "INFO  [x] three"]);
        full.set_room(0);
        say("four");
        assert_eq!(
            untimed(&fine.text())[3..],
            ["INFO  [x] three", told, "INFO  [x] four"],
            "and the next time"
        );
    }

    #[test]
    fn a_file_without_room_to_be_made_is_made_by_a_later_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile { path: path.clone(), file: None };
        file.write_all(b"later\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "later\n");
    }

    #[test]
    fn the_file_is_appended_to_and_made_with_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/mrosync.log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path) & !0o640, 0);
        assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path| LogFile::open(path).err().unwrap();
        let error = open(directory.path());
        assert!(format!("{error:#}").contains(&directory.path().display().to_string()), "{error:#}");
        std::fs::write(directory.path().join("file"), "").unwrap();
        let error = open(&directory.path().join("file/x/log"));
        assert!(format!("{error:#}").contains("file/x"), "{error:#}");
    }

    /// The child process of the tests below, which need a logger and a panic hook of their own.
    #[test]
    #[ignore = "run by other tests in a process of its own"]
    fn child() {
        let Some(file) = std::env::var_os("LOGGING_CHILD_FILE") else { return };
        log_panics();
        assert!(std::thread::spawn(|| panic!("early")).join().is_err());
        let settings = LogSettings { level: LevelFilter::Info, file: Some(file.into()) };
        init(&settings).unwrap();
        assert!(init(&settings).is_err());
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
            lines[1].starts_with("ERROR [mrosync] thread 'scanner' panicked at src/logging.rs:"),
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
}
