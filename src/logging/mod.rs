//! The run log: every record as one line on standard error and, where configured, in a file.
//!
//! The requirement's log module (content in, success or failure out) is the macros of the `log` crate, which
//! everything in the program uses. They have no result to give: a log that cannot be written must not stop what
//! it tells of. The failure shows in the log itself instead, as the number of lines lost, once it can be written
//! again.
//!
//! What a line looks like is for `line` to say, where it is written for `sink`. Lines are written on the thread that
//! logs; [`init`] and [`log_panics`] are called once, by the main thread. Level, form and file may be changed while
//! the program runs ([`RunLog`]).

mod line;
mod repeats;
mod ring;
mod sink;
#[cfg(test)]
mod tests;

use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use log::{Level, LevelFilter, Metadata, Record};
use parking_lot::RwLock;

use crate::base::panics;
use crate::config::{LogFormat, LogSettings};
use crate::terminal::screen::Screen;

use line::line;
use repeats::{Repeats, Withheld};
use ring::Ring;
use sink::{LogFile, Output, Sink};

/// Target of this program's own records, and of all modules below.
const OWN_TARGET: &str = "mrosync";

/// The most detailed level of other crates, whatever the settings say: at `trace`, suppaftp shows passwords, and
/// what the rest has to say below a warning is of use to their authors alone.
const FOREIGN_LEVEL: LevelFilter = LevelFilter::Warn;

/// Says nothing but what clients of the status page send that is no HTTP, as an error each time.
const SILENT_TARGET: &str = "actix_http";

/// The log that has begun, for whoever changes it.
#[derive(Clone)]
pub struct RunLog(Arc<Shared>);

struct Shared {
    options: RwLock<LogOptions>,
    repeats: Repeats,
    stderr: Sink,
    file: Sink,
    ring: Ring,
}

/// What is written, and how.
#[derive(Debug, Clone, Copy)]
struct LogOptions {
    level: LevelFilter,
    format: LogFormat,
}

/// Begins the log: from here on the macros of the `log` crate write lines.
///
/// # Errors
///
/// The log file cannot be opened, its directory cannot be made, or the log has begun already.
pub fn init(settings: &LogSettings, screen: &Screen) -> anyhow::Result<RunLog> {
    let stderr = Output { name: "standard error".to_owned(), to: Box::new(screen.stderr()) };
    let file = settings.file.as_deref().map(LogFile::at_the_start).transpose()?;
    let log = RunLog::new(settings, stderr, file.map(LogFile::into_output));
    log.dispatch().apply().context("cannot begin the log a second time")?;
    log::set_max_level(settings.level);
    Ok(log)
}

impl RunLog {
    fn new(settings: &LogSettings, stderr: Output, file: Option<Output>) -> Self {
        let options = LogOptions { level: settings.level, format: settings.format };
        Self(Arc::new(Shared {
            options: RwLock::new(options),
            repeats: Repeats::default(),
            stderr: Sink::new(Some(stderr)),
            file: Sink::new(file),
            ring: Ring::default(),
        }))
    }

    /// Takes over level and form, and opens the file, as [`Self::reopen`] does.
    ///
    /// # Errors
    ///
    /// As there; level and form are taken over all the same.
    pub fn change(&self, settings: &LogSettings) -> anyhow::Result<()> {
        let options = LogOptions { level: settings.level, format: settings.format };
        *self.0.options.write() = options;
        log::set_max_level(settings.level);
        self.reopen(settings.file.as_deref())
    }

    /// Opens the file by its name, which may be of another one meanwhile: when this returns, nothing is written to the
    /// one of before any more, and each line is in one of them. Without a name, standard error is all there is.
    ///
    /// # Errors
    ///
    /// The file cannot be opened; the one of before is kept.
    pub fn reopen(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let file = path.map(LogFile::open).transpose()?;
        self.0.file.redirect(file.map(LogFile::into_output));
        Ok(())
    }

    /// The newest lines after the one of this number, as the status page answers with them: of one server where it is
    /// named, and no more detailed than `level`.
    #[must_use]
    pub fn tail(&self, after: u64, server: Option<&str>, level: Level) -> String {
        self.0.ring.tail(after, server, level)
    }

    fn dispatch(&self) -> fern::Dispatch {
        let (filtered, formatted, written) = (self.clone(), self.clone(), self.clone());
        fern::Dispatch::new()
            .level(FOREIGN_LEVEL)
            .level_for(OWN_TARGET, LevelFilter::Trace)
            .level_for(SILENT_TARGET, LevelFilter::Off)
            .filter(move |metadata: &Metadata<'_>| metadata.level() <= filtered.options().level)
            .format(move |out, message, record| {
                let (level, target, message) = (record.level(), record.target(), message.to_string());
                if formatted.0.repeats.admits(level, target, &message, Instant::now()) {
                    formatted.0.ring.keep(level, target, &message);
                    let line = line(formatted.options().format, level, target, &message);
                    out.finish(format_args!("{line}"));
                }
            })
            // fern's own outputs panic where neither they nor standard error can be written
            .chain(fern::Output::call(move |record: &Record<'_>| written.write(&record.args().to_string())))
    }

    fn options(&self) -> LogOptions {
        *self.0.options.read()
    }

    /// Writes how often warnings and errors were said again that were not written each time, where a minute is over since
    /// the first of them; at the end of the program, all of them.
    pub fn sum_up(&self, at_the_end: bool) {
        let format = self.options().format;
        for Withheld { level, target, message } in self.0.repeats.due((!at_the_end).then(Instant::now)) {
            self.0.ring.keep(level, &target, &message);
            self.write(&line(format, level, &target, &message));
        }
    }

    /// Writes a line everywhere. That an output begins to fail is told in the other, which is where somebody can read
    /// it.
    fn write(&self, content: &str) {
        let (Shared { stderr, file, .. }, format) = (&*self.0, self.options().format);
        for (sink, other) in [(stderr, file), (file, stderr)] {
            if let Err(begun) = sink.write(content, format) {
                // both failing leaves nobody to tell
                drop(other.write(&line(format, Level::Warn, OWN_TARGET, &begun), format));
            }
        }
    }
}

/// Makes every panic an `error` line with whom the thread works for (such as `server=omc01`), its name, the place and
/// the message, instead of several lines of text.
///
/// While the log has not begun or is off, the line goes to standard error as it is.
pub fn log_panics(screen: &Screen) {
    let screen = screen.clone();
    std::panic::set_hook(Box::new(move |info| {
        let panic = describe(info);
        panics::note(&panic);
        if log::max_level() == LevelFilter::Off {
            let stderr = Output { name: String::new(), to: Box::new(screen.stderr()) };
            let line = line(LogFormat::Text, Level::Error, OWN_TARGET, &panic);
            drop(Sink::new(Some(stderr)).write(&line, LogFormat::Text));
        } else {
            log::error!(target: OWN_TARGET, "{panic}");
        }
    }));
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
