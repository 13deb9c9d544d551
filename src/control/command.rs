//! The commands, as people type them.

use std::fmt;
use std::str::FromStr;

use super::Marking;
use crate::base::names::Printable;
use crate::records::{Amendment, BATCH};

/// What can be asked of the running service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start all scanners.
    Start,
    /// Stop all scanners.
    Stop,
    /// Show what everybody does.
    Status {
        /// As JSON on one line instead of a table.
        json: bool,
    },
    /// Read the configuration again.
    Reload {
        /// Faults come one a line instead of on the line of the answer.
        lines: bool,
    },
    /// Change these records, [`BATCH`] at most. Said by `mrosync records`, and no word for people.
    Amend(Amendment, Vec<i64>),
    /// Put these files on record. Said by `mrosync records`, and no word for people.
    Mark(Marking),
    /// These files are missing from the mirror, [`BATCH`] at most. Said by `mrosync mirror`, as are the next two.
    Missing(Vec<i64>),
    /// These lie in the mirror again.
    Found(Vec<i64>),
    /// What lies at the mirror's place is the mirror of the records.
    Adopt,
    /// List the commands.
    Help,
    /// End the service.
    Quit,
}

/// A line that is none of the commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed: unknown command {}; the commands are start, stop, status, reload, help and quit", Printable(.0))]
pub struct UnknownCommand(String);

/// The answer to `help`.
pub const HELP: &str = "\
start    start scanning all servers (also: statr)
stop     stop scanning; what is half downloaded is resumed by the next start
status   show what every server does; 'status --json' for programs
reload   read the configuration again, and change what has changed; everything else runs on
help     show this
quit     stop, and end the service (also: exit)";

/// What may be typed, as the help lists it: the first word of each of its lines.
pub fn words() -> impl Iterator<Item = &'static str> {
    HELP.lines().filter_map(|line| line.split_whitespace().next())
}

impl FromStr for Command {
    type Err = UnknownCommand;

    /// Reads one line. Case and surrounding blanks do not matter.
    fn from_str(line: &str) -> Result<Self, UnknownCommand> {
        let words: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            // `statr` as the requirement spells it
            ["start" | "statr"] => Ok(Self::Start),
            ["stop"] => Ok(Self::Stop),
            ["status"] => Ok(Self::Status { json: false }),
            ["status", "--json"] => Ok(Self::Status { json: true }),
            ["reload"] => Ok(Self::Reload { lines: false }),
            ["reload", "--lines"] => Ok(Self::Reload { lines: true }),
            ["help"] => Ok(Self::Help),
            ["quit" | "exit"] => Ok(Self::Quit),
            _ => Err(unknown(line)),
        }
    }
}

fn unknown(line: &str) -> UnknownCommand {
    UnknownCommand(line.trim().chars().take(80).collect())
}

impl Command {
    /// Reads one line of the control socket, where `mrosync records` says more than people do. Such a line counts only
    /// with its end: half a number is a number.
    ///
    /// # Errors
    ///
    /// [`UnknownCommand`].
    pub fn from_socket(line: &str) -> Result<Self, UnknownCommand> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let read = match words.as_slice() {
            ["records-forget", ids @ ..] => amend(Amendment::Forget, ids),
            ["records-requeue", ids @ ..] => amend(Amendment::Requeue, ids),
            ["records-mark", words @ ..] => Marking::read(words).map(Self::Mark),
            ["mirror-missing", ids @ ..] => batch(ids).map(Self::Missing),
            ["mirror-found", ids @ ..] => batch(ids).map(Self::Found),
            ["mirror-adopt"] => Some(Self::Adopt),
            _ => return line.parse(),
        };
        read.filter(|_| line.ends_with('\n')).ok_or_else(|| unknown(line))
    }
}

fn amend(amendment: Amendment, ids: &[&str]) -> Option<Command> {
    batch(ids).map(|ids| Command::Amend(amendment, ids))
}

fn batch(ids: &[&str]) -> Option<Vec<i64>> {
    let read: Result<Vec<i64>, _> = ids.iter().map(|id| id.parse()).collect();
    read.ok().filter(|ids| (1..=BATCH).contains(&ids.len()))
}

impl fmt::Display for Command {
    /// The line that is read as this command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |f: &mut fmt::Formatter<'_>, word: &str, ids: &[i64]| {
            f.write_str(word)?;
            ids.iter().try_for_each(|id| write!(f, " {id}"))
        };
        f.write_str(match self {
            Self::Amend(Amendment::Forget, forgotten) => return ids(f, "records-forget", forgotten),
            Self::Amend(Amendment::Requeue, queued) => return ids(f, "records-requeue", queued),
            Self::Missing(missing) => return ids(f, "mirror-missing", missing),
            Self::Found(found) => return ids(f, "mirror-found", found),
            Self::Adopt => "mirror-adopt",
            Self::Mark(marking) => return write!(f, "records-mark {marking}"),
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Status { json: false } => "status",
            Self::Status { json: true } => "status --json",
            Self::Reload { lines: false } => "reload",
            Self::Reload { lines: true } => "reload --lines",
            Self::Help => "help",
            Self::Quit => "quit",
        })
    }
}

/// What the answer to `reload` begins with where the configuration has faults.
pub const REFUSED: &str = "failed: the configuration is refused";

/// The answer to `reload` where the configuration has faults: one line, or a line for each of them below the first.
#[must_use]
pub fn refused(faults: &[String], lines: bool) -> String {
    let (between, separator) = if lines { ("\n", "\n") } else { (": ", "; ") };
    let faults: Vec<String> = faults.iter().map(|fault| Printable(fault).to_string()).collect();
    format!("{REFUSED}, the old one stays in force{between}{}", faults.join(separator))
}

/// The one line that answers `start`, `stop` and `quit`, whatever the reason holds.
#[must_use]
pub fn answer_line(outcome: &Result<String, String>) -> String {
    match outcome {
        Ok(done) => format!("ok: {}", Printable(done)),
        Err(reason) => format!("failed: {}", Printable(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_whatever_their_case_and_blanks() {
        for (line, command) in [
            ("start", Command::Start),
            ("  STATR \r\n", Command::Start),
            ("Stop", Command::Stop),
            ("status", Command::Status { json: false }),
            ("status  --JSON", Command::Status { json: true }),
            ("reload", Command::Reload { lines: false }),
            ("Reload --lines", Command::Reload { lines: true }),
            ("help", Command::Help),
            ("exit", Command::Quit),
            ("quit", Command::Quit),
        ] {
            assert_eq!(line.parse(), Ok(command.clone()), "{line}");
            assert_eq!(command.to_string().parse(), Ok(command));
        }
    }

    #[test]
    fn each_word_of_the_help_is_a_command() {
        assert!(words().count() >= 5);
        for word in words() {
            assert!(word.parse::<Command>().is_ok(), "{word}");
        }
    }

    #[test]
    fn records_are_changed_over_the_socket_alone_and_by_whole_lines() {
        for (line, command) in [
            ("records-forget 1 20\n", Command::Amend(Amendment::Forget, vec![1, 20])),
            ("records-requeue 3\n", Command::Amend(Amendment::Requeue, vec![3])),
            ("mirror-missing 4 5\n", Command::Missing(vec![4, 5])),
            ("mirror-found 6\n", Command::Found(vec![6])),
            ("mirror-adopt\n", Command::Adopt),
        ] {
            assert_eq!(Command::from_socket(line), Ok(command.clone()), "{line}");
            assert_eq!(Command::from_socket(&format!("{command}\n")), Ok(command));
            line.parse::<Command>().unwrap_err();
            Command::from_socket(line.trim_end()).unwrap_err();
        }
        for wrong in
            ["records-forget\n", "mirror-found x\n", "records-mark\n", "records-mark listed utf-8 a\n"]
        {
            Command::from_socket(wrong).unwrap_err();
        }
        assert_eq!(Command::from_socket("STOP"), Ok(Command::Stop));
    }

    #[test]
    fn an_unknown_word_is_answered_with_itself_made_harmless() {
        let error = "st\u{1b}op now\n".parse::<Command>().unwrap_err().to_string();
        assert!(error.starts_with("failed: unknown command st\\u{1b}op now;"), "{error}");
        assert!("x".repeat(5000).parse::<Command>().unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn faults_are_told_on_one_line_or_one_a_line() {
        let faults = ["a.b: is\nwrong".to_owned(), "c: too".to_owned()];
        let answer = "failed: the configuration is refused, the old one stays in force";
        assert_eq!(refused(&faults, false), format!("{answer}: a.b: is\\nwrong; c: too"));
        assert_eq!(refused(&faults, true), format!("{answer}\na.b: is\\nwrong\nc: too"));
    }

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(answer_line(&Ok("started".into())), "ok: started");
        assert_eq!(answer_line(&Err("no".into())), "failed: no");
        assert_eq!(answer_line(&Err("no\nok: \u{9b}2J".into())), "failed: no\\nok: \\u{9b}2J");
    }
}
