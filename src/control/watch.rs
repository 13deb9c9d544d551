//! `mrosync ctl status --watch`: the status again and again. In place on a page of its own at a terminal, which is
//! found as it was afterwards; one after the other where output is no terminal, or as JSON.
//!
//! A service that goes away is said so, and asked again. The end is q, Ctrl-C or a signal that ends programs.
//!
//! The modes of the terminal are set by rustix, which is here anyway, and not by crossterm (0.29, five crates that
//! nothing else needs): that one measures `/dev/tty` where standard output may be another terminal, takes its modes
//! where standard input is a pipe, and keeps what it found in a global.

use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::{Local, Utc};
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::mpsc;

use super::client::{self, Meaning, Reply};
use super::{Command, CommandLine, Form};
use crate::base::blocking::{self, Threads, run_blocking};
use crate::base::names::Printable;
use crate::status::table::{self, Page};
use crate::terminal::text::{Style, cut};
use crate::terminal::{can_move, is_rich, size};

/// The other page, without cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// One frame: shown whole where the terminal knows how to, and drawn over the one before without wiping it first.
const FRAME: &str = "\x1b[?2026h\x1b[H";
const FRAME_END: &str = "\x1b[J\x1b[?2026l";
/// Ctrl-C and Ctrl-Z, which come as keys while the terminal does not turn them into signals.
const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 26;
/// Keys that wait.
const KEYS: usize = 16;
/// Questions under way. One that was asked is waited for before the next.
static ASKING: Threads = Threads::new("asking", 1);

/// Shows the status every `pause` until the user has seen enough.
///
/// # Errors
///
/// The terminal or its signals cannot be had.
pub fn run(socket: &Path, json: bool, pause: Duration) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let in_place = !json && can_move(&stdout());
    let form = if json || in_place { Form::Json } else { Form::People };
    let command = CommandLine { command: Command::Status, form };
    let view = if in_place { View::Page(Terminal::enter()?) } else { View::Lines { blank: !json } };
    let watched = runtime.block_on(watch(socket.to_owned(), command, pause, view));
    // a service that hangs with its answer is not waited for
    runtime.shutdown_background();
    watched
}

enum View {
    Page(Terminal),
    Lines {
        /// An empty line between two of them.
        blank: bool,
    },
}

/// What ended a wait.
enum Next {
    Show,
    Suspend,
    End,
}

async fn watch(socket: PathBuf, command: CommandLine, pause: Duration, mut view: View) -> anyhow::Result<()> {
    let mut events = Events::listen(matches!(view, View::Page(_)))?;
    let mut last: Option<Reply> = None;
    loop {
        let (asked, command) = (socket.clone(), command.clone());
        let asking = run_blocking(&ASKING, move || client::ask(&asked, command));
        tokio::pin!(asking);
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer.unwrap_or_else(|error| Err(error.into())),
                next = events.next() => match next {
                    Next::End => return Ok(()),
                    next => view.again(next, last.as_ref())?,
                },
            }
        };
        let trouble = view.take(answer, &mut last, pause);
        if trouble.is_err() {
            // who reads along has seen enough
            return Ok(());
        }
        let due = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => break,
                next = events.next() => match next {
                    Next::End => return Ok(()),
                    next => view.again(next, last.as_ref())?,
                },
            }
        }
    }
}

impl View {
    /// Shows an answer, or why there is none.
    fn take(
        &mut self,
        answer: anyhow::Result<Reply>,
        last: &mut Option<Reply>,
        pause: Duration,
    ) -> std::io::Result<()> {
        let trouble = answer.as_ref().err().map(|error| format!("{error:#}; trying again"));
        match self {
            Self::Page(terminal) => {
                if let Ok(answer) = answer {
                    *last = Some(answer);
                }
                terminal.trouble = trouble;
                terminal.pause = pause;
                terminal.draw(last.as_ref())
            }
            Self::Lines { blank } => match answer {
                Ok(Reply { text, .. }) => {
                    let blank = if *blank { "\n" } else { "" };
                    writeln!(stdout(), "{text}{blank}").and_then(|()| stdout().flush())
                }
                Err(_) => {
                    let told = trouble.unwrap_or_default();
                    // where it cannot be told, the missing status tells it
                    drop(writeln!(std::io::stderr(), "mrosync: {}", Printable(&told)));
                    Ok(())
                }
            },
        }
    }

    /// The window has another size, or the program was suspended meanwhile.
    fn again(&mut self, next: Next, last: Option<&Reply>) -> anyhow::Result<()> {
        let Self::Page(terminal) = self else { return Ok(()) };
        if matches!(next, Next::Suspend) {
            terminal.suspend()?;
        }
        Ok(terminal.draw(last)?)
    }
}

/// The page of its own.
struct Terminal {
    /// Standard input as it was found, where it is the terminal.
    before: Option<Termios>,
    /// Whether it is to be put back.
    entered: bool,
    colour: bool,
    trouble: Option<String>,
    pause: Duration,
}

impl Terminal {
    fn enter() -> anyhow::Result<Self> {
        let before = stdin().is_terminal().then(|| tcgetattr(stdin())).transpose()?;
        let (colour, pause) = (is_rich(&stdout()), Duration::ZERO);
        let terminal = Self { before, entered: true, colour, trouble: None, pause };
        terminal.open().context("cannot use the terminal")?;
        Ok(terminal)
    }

    /// Keys come one by one, unseen; those that send signals too, so that the terminal is always put back.
    fn open(&self) -> std::io::Result<()> {
        if let Some(before) = &self.before {
            let mut raw = before.clone();
            raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        }
        write!(stdout(), "{ENTER}")?;
        stdout().flush()
    }

    fn close(&self) -> std::io::Result<()> {
        write!(stdout(), "{LEAVE}")?;
        stdout().flush()?;
        if let Some(before) = &self.before {
            tcsetattr(stdin(), OptionalActions::Drain, before)?;
        }
        Ok(())
    }

    fn suspend(&self) -> anyhow::Result<()> {
        self.close()?;
        // goes on here once the shell says so
        kill_current_process_group(Signal::TSTP)?;
        Ok(self.open()?)
    }

    fn draw(&self, answer: Option<&Reply>) -> std::io::Result<()> {
        let size = size(stdout());
        let frame = self.frame(answer, size.columns, size.rows);
        let mut out = FRAME.to_owned();
        for (number, line) in frame.iter().enumerate() {
            if number > 0 {
                out.push_str("\r\n");
            }
            out.push_str(line);
            // the rest of the line before, and no blank that was not there
            out.push_str("\x1b[K");
        }
        out.push_str(FRAME_END);
        stdout().write_all(out.as_bytes())?;
        stdout().flush()
    }

    /// At most so many lines: the status, cut below, and one line of what there is to know beside it.
    fn frame(&self, answer: Option<&Reply>, columns: usize, rows: usize) -> Vec<String> {
        let page = Page { columns: columns.saturating_sub(1), colour: self.colour };
        let mut lines = match answer {
            Some(Reply { meaning: Meaning::Status(status), .. }) => table::fitted(status, page, Utc::now()),
            Some(Reply { text, .. }) => vec![cut(&Printable(text).to_string(), page.columns)],
            None => Vec::new(),
        };
        let room = rows.saturating_sub(if self.trouble.is_some() { 3 } else { 2 });
        let more = lines.len().saturating_sub(room);
        lines.truncate(room);
        lines.push(String::new());
        if let Some(trouble) = &self.trouble {
            let trouble = cut(&Printable(trouble).to_string(), page.columns);
            lines.push(Style::Red.paint(&trouble, self.colour));
        }
        let more = if more > 0 { format!("; {more} lines more") } else { String::new() };
        let every = crate::base::humanize::duration(self.pause);
        let last_line = format!("{}, every {every}; q ends{more}", Local::now().format("%H:%M:%S"));
        lines.push(Style::Dim.paint(&cut(&last_line, page.columns), self.colour));
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.entered {
            // a terminal that is gone needs nothing
            drop(self.close());
        }
    }
}

/// Keys and signals.
struct Events {
    keys: mpsc::Receiver<u8>,
    resized: unix::Signal,
    ends: [unix::Signal; 3],
}

impl Events {
    fn listen(with_keys: bool) -> anyhow::Result<Self> {
        let (sender, keys) = mpsc::channel(KEYS);
        if with_keys && stdin().is_terminal() {
            blocking::spawn("keys", move || read_keys(&sender))?;
        }
        let signal = |kind| signal(kind).context("cannot listen for signals");
        let ends = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { keys, resized: signal(SignalKind::window_change())?, ends })
    }

    async fn next(&mut self) -> Next {
        let Self { keys, resized, ends: [interrupt, terminate, hangup] } = self;
        loop {
            tokio::select! {
                Some(key) = keys.recv() => match key {
                    b'q' | b'Q' | CTRL_C => return Next::End,
                    CTRL_Z => return Next::Suspend,
                    _ => {}
                },
                _ = resized.recv() => return Next::Show,
                _ = interrupt.recv() => return Next::End,
                _ = terminate.recv() => return Next::End,
                _ = hangup.recv() => return Next::End,
            }
        }
    }
}

/// Until the end of the input or of the program; reading cannot be cancelled.
fn read_keys(sender: &mpsc::Sender<u8>) {
    for key in stdin().lock().bytes() {
        let Ok(key) = key else { return };
        if sender.blocking_send(key).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ServerStatus, ServiceStatus};

    fn terminal(trouble: Option<&str>) -> Terminal {
        let trouble = trouble.map(str::to_owned);
        Terminal { before: None, entered: false, colour: false, trouble, pause: Duration::from_secs(2) }
    }

    #[test]
    fn a_frame_is_never_higher_than_the_window_and_says_what_is_below() {
        let status =
            Box::new(ServiceStatus { servers: vec![ServerStatus::default(); 30], ..Default::default() });
        let reply = Reply { text: String::new(), meaning: Meaning::Status(status) };
        let trouble = terminal(Some("cannot reach the service; trying again"));
        for rows in [3, 4, 24] {
            let frame = trouble.frame(Some(&reply), 40, rows);
            assert!(frame.len() <= rows, "{rows}: {frame:#?}");
            assert!(frame.iter().any(|line| line.starts_with("cannot reach the service")), "{frame:#?}");
            assert!(frame.last().unwrap().contains("every 2s; q ends; "), "{frame:#?}");
        }
    }
}
