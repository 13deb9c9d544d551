//! The console: standard input, on a thread of its own because reading it cannot be cancelled. At a terminal it is the
//! editor's ([`super::editor`]).

use std::io::{BufRead, BufReader, Read, Write};

use super::{Answer, Command, CommandLine, Form, Requests, editor};
use crate::base::blocking;
use crate::terminal::screen::Screen;

/// Longer lines are no commands.
const MAX_LINE: u64 = 4096;

/// Reads commands until the end of the input, which is not a command: the service goes on without a console.
pub fn start(requests: Requests, screen: &Screen) -> std::io::Result<()> {
    if editor::is_wanted() {
        match editor::start(requests.clone(), screen) {
            Ok(()) => return Ok(()),
            Err(error) => log::info!("the console goes without line editing: {error:#}"),
        }
    }
    let serve = move || serve(std::io::stdin(), std::io::stdout(), |command| requests.ask_blocking(command));
    blocking::spawn("console", serve).map(drop)
}

/// Reads commands from `input` to its end, asks each, and writes the answers to `output`.
pub fn serve(input: impl Read, mut output: impl Write, ask: impl Fn(Command) -> Answer) {
    let mut input = BufReader::new(input);
    while let Some(line) = next_line(&mut input) {
        if line.trim().is_empty() {
            continue;
        }
        let answer = match line.parse() {
            Ok(CommandLine { command, form }) => ask(command).text(form),
            Err(unknown) => Answer::from(unknown).text(Form::People),
        };
        // somebody who closed standard output does not want the answers
        drop(writeln!(output, "{answer}").and_then(|()| output.flush()));
    }
}

/// The next line, cut to [`MAX_LINE`] bytes; `None` at the end.
fn next_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    if input.take(MAX_LINE).read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    if !line.ends_with(b"\n") && line.len() as u64 == MAX_LINE {
        input.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> Vec<String> {
        let mut output = Vec::new();
        serve(input, &mut output, |command| Answer::Done(command.to_string()));
        String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_line_gets_one_answer_and_blank_ones_none() {
        assert_eq!(answers(b"start\n\n  \r\nSTOP\nnonsense\nstatus").len(), 4);
    }

    #[test]
    fn an_endless_line_is_one_unknown_command() {
        let mut input = vec![b'x'; 1_000_000];
        input.extend_from_slice(b"\nstop\n");
        let answers = answers(&input);
        assert_eq!(answers.len(), 2);
        assert!(answers[0].starts_with("failed: unknown command x") && answers[1] == "ok: stop");
    }

    #[test]
    fn bytes_that_are_no_text_are_an_unknown_command() {
        assert!(answers(b"\xff\xfe\n")[0].starts_with("failed"));
    }
}
