//! The console at a terminal: line editing, history, completion, and progress of the first sync above the line.
//!
//! It answers what the plain console answers, but for `status`, which fits the terminal. Log lines and answers go
//! through [`crate::terminal::screen`], so that none runs into the line being edited. The history is kept in memory:
//! the service's user has no home of its own, and the commands are short.

use std::io::{stdin, stdout};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, getpid, kill_process};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};

use super::command::words;
use super::operator::{shown, stopping};
use super::{Answer, Command, CommandLine, Form, Requests};
use crate::base::blocking;
use crate::status::ServiceStatus;
use crate::status::progress_line::{FirstSync, Standing};
use crate::terminal::screen::Screen;
use crate::terminal::text::cut;
use crate::terminal::{can_move, is_rich, size};

const PROMPT: &str = "mrosync> ";
/// Between two looks at the first sync.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The answer to Ctrl-D.
const NO_END: &str =
    "the end of the input is not a command, and the service goes on; 'quit' or Ctrl-C ends it";
/// So many ends of the input in a row, each at once, and nobody is there any more.
const MAX_ENDS: u32 = 8;
/// "At once": nobody types faster.
const AT_ONCE: Duration = Duration::from_millis(5);

type Line = Editor<Words, MemHistory>;

/// Returns whether standard input and output are a terminal whose user wants more than plain lines.
#[must_use]
pub fn is_wanted() -> bool {
    can_move(&stdin()) && is_rich(&stdout())
}

/// Edits lines on a thread of its own until the terminal is gone, which does not end the service.
///
/// # Errors
///
/// The terminal is none that can be edited on.
pub fn start(requests: Requests, screen: &Screen) -> anyhow::Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_dups(true)?.build();
    let mut line: Line = Editor::with_history(config, MemHistory::new()).context("no line editing")?;
    line.set_helper(Some(Words));
    let mut printer = line.create_external_printer().context("no printing beside the line")?;
    // a terminal that is gone shows nothing
    screen.open(move |text| drop(printer.print(text))).context("no hold of the terminal")?;
    let (asking, showing, screen) = (requests.clone(), screen.clone(), screen.clone());
    blocking::spawn("console", move || serve(line, &requests, &screen))?;
    blocking::spawn("progress", move || tell_first_sync(&asking, &showing))?;
    Ok(())
}

fn serve(mut line: Line, requests: &Requests, screen: &Screen) {
    let mut ends = 0;
    loop {
        screen.settle();
        let began = Instant::now();
        let read = line.readline(PROMPT);
        screen.pass();
        match read {
            Ok(typed) if typed.trim().is_empty() => {}
            Ok(typed) => {
                // memory that is full forgets the oldest
                line.add_history_entry(typed.trim()).ok();
                if answer(&typed, requests, screen) {
                    return;
                }
            }
            // raw mode keeps the terminal from sending the signal itself
            Err(ReadlineError::Interrupted) => {
                kill_process(getpid(), Signal::INT).ok();
                return;
            }
            Err(ReadlineError::Eof) => {
                ends = if began.elapsed() < AT_ONCE { ends + 1 } else { 0 };
                if ends >= MAX_ENDS {
                    return log::info!("the terminal is gone; the service goes on without a console");
                }
                screen.say(NO_END);
            }
            Err(error) => {
                return log::info!("the console cannot be read ({error}); the service goes on without it");
            }
        }
    }
}

/// Answers one line; true once the service ends.
fn answer(typed: &str, requests: &Requests, screen: &Screen) -> bool {
    let CommandLine { command, form } = match typed.parse() {
        Ok(line) => line,
        Err(unknown) => {
            screen.say(&Answer::from(unknown).text(Form::People));
            return false;
        }
    };
    let ends = command == Command::Quit;
    let answer = match command {
        Command::Stop | Command::Quit => {
            let answer = stopping(
                || requests.ask_blocking(command),
                || status(requests),
                |line| show(screen, Some(line)),
            );
            show(screen, None);
            answer
        }
        _ => requests.ask_blocking(command),
    };
    match answer {
        Answer::Status(status) if form == Form::People => screen.say(&shown(&status)),
        answer => screen.say(&answer.text(form)),
    }
    ends
}

fn status(requests: &Requests) -> Option<Box<ServiceStatus>> {
    match requests.ask_blocking(Command::Status) {
        Answer::Status(status) => Some(status),
        _ => None,
    }
}

/// A line of progress, cut to the terminal: one that wraps could not be taken away again.
fn show(screen: &Screen, line: Option<String>) {
    let columns = size(stdout()).columns.saturating_sub(1);
    screen.progress(line.map(|line| cut(&line, columns)));
}

/// Shows how far the first sync is, until all servers came to the end of a scan.
fn tell_first_sync(requests: &Requests, screen: &Screen) {
    let mut sync = FirstSync::new(Instant::now());
    // never told anything: a pause that nothing ends
    let (_never, pause) = mpsc::channel::<()>();
    while pause.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        // an answer that is none: the service is ending
        let Some(status) = status(requests) else { return };
        match sync.look(&status, Instant::now()) {
            Standing::Idle => show(screen, None),
            Standing::Going(line) => show(screen, Some(line)),
            Standing::Done(line) => {
                show(screen, None);
                return screen.say(&line);
            }
        }
    }
}

/// Completes the commands.
struct Words;

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line.get(..pos).unwrap_or(line)))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Validator for Words {}

impl Helper for Words {}

/// Where the word begins that is typed last, and what it may become.
fn complete(typed: &str) -> (usize, Vec<String>) {
    let start = typed.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let (before, word) = typed.split_at(start);
    let fits = |known: &&str| known.starts_with(&word.to_lowercase());
    let known: Vec<&str> = match before.trim().to_lowercase().as_str() {
        "" => words().filter(fits).collect(),
        "status" => ["--json"].into_iter().filter(fits).collect(),
        _ => Vec::new(),
    };
    (start, known.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_whatever_their_case_from_the_commands_themselves() {
        assert_eq!(complete("stat"), (0, vec!["status".to_owned()]));
        assert_eq!(complete("  STO"), (2, vec!["stop".to_owned()]));
        assert_eq!(complete("st").1, ["start", "stop", "status"]);
        assert_eq!(complete("status "), (7, vec!["--json".to_owned()]));
        assert_eq!(complete("stop --"), (5, Vec::new()));
        assert_eq!(complete("").1.len(), words().count());
    }
}
