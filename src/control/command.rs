//! The commands: what can be asked, how people type it, and how `mrosync records` and `mrosync mirror` say more than
//! people do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Marking;
use crate::base::humanize::nearest;
use crate::base::names::Printable;
use crate::records::{self, Amendment, BATCH};

/// What can be asked of the running service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start all scanners.
    Start,
    /// Stop all scanners.
    Stop,
    /// Show what everybody does.
    Status,
    /// Read the configuration again.
    Reload {
        /// So many files may be deleted at once by a limit that is lower than before.
        confirm: Option<u64>,
    },
    /// Scan one server now.
    Scan(String),
    /// Stop scanning one server, until it is resumed.
    Pause(String),
    /// Scan a paused server again.
    Resume(String),
    /// Change records. Said by other commands of this program, and no word for people.
    Change(Change),
    /// List the commands.
    Help,
    /// End the service.
    Quit,
}

/// A change of the records or the mirror. On the control socket it is an object on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Take these records out, [`BATCH`] at most, as are those of all others.
    Forget(Vec<i64>),
    /// Announce these again.
    Requeue(Vec<i64>),
    /// Put these files on record.
    Mark(Marking),
    /// These files are missing from the mirror.
    Missing(Vec<i64>),
    /// These lie in the mirror again.
    Found(Vec<i64>),
    /// What lies at the mirror's place is the mirror of the records.
    Adopt {},
}

impl Change {
    /// An amendment of these records.
    #[must_use]
    pub fn amend(amendment: Amendment, ids: Vec<i64>) -> Self {
        match amendment {
            Amendment::Forget => Self::Forget(ids),
            Amendment::Requeue => Self::Requeue(ids),
        }
    }

    /// Returns the change of records that is asked for; none where it is about the mirror.
    #[must_use]
    pub fn of_records(self) -> Option<records::Change> {
        match self {
            Self::Forget(ids) => Some(records::Change::Amend(Amendment::Forget, ids)),
            Self::Requeue(ids) => Some(records::Change::Amend(Amendment::Requeue, ids)),
            Self::Mark(Marking { mark, files, .. }) => Some(records::Change::Mark(mark, files)),
            Self::Missing(ids) => Some(records::Change::Missing(ids)),
            Self::Found(ids) => Some(records::Change::Found(ids)),
            Self::Adopt {} => None,
        }
    }

    /// Returns whether it is about some, and not about more than are changed at a time.
    fn is_one_batch(&self) -> bool {
        let count = match self {
            Self::Forget(ids) | Self::Requeue(ids) | Self::Missing(ids) | Self::Found(ids) => ids.len(),
            Self::Mark(marking) => marking.files.len(),
            Self::Adopt {} => 1,
        };
        (1..=BATCH).contains(&count)
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// For people: the status as a table, everything else on one line.
    #[default]
    People,
    /// The status as an object on one line.
    Json,
    /// The faults of a configuration one a line.
    Lines,
}

/// A command as it is written, and how its answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// What is asked.
    pub command: Command,
    /// How the answer is written.
    pub form: Form,
}

/// A line that is none of the commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown command {}; {}the commands are start, stop, status, reload, scan, pause, resume, help and quit", Printable(.0), meant(.0)
)]
pub struct UnknownCommand(String);

/// Asks whether a word that is nearly one of the commands was meant to be it.
fn meant(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
    let near = nearest(&word, words()).filter(|near| *near != word);
    near.map(|near| format!("did you mean {near}? ")).unwrap_or_default()
}

/// The answer to `help`.
pub const HELP: &str = "\
start    start scanning all servers (also: statr)
stop     stop scanning; what is half downloaded is resumed by the next start
status   show what every server does; 'status --json' for programs
reload   read the configuration again, and change what has changed; everything else runs on;
         'reload --confirm NUMBER' for a limit that deletes so many files at once
scan     scan one server now: 'scan NAME'
pause    stop scanning one server until it is resumed, also by later starts: 'pause NAME'
resume   scan a paused server again: 'resume NAME'
help     show this
quit     stop, and end the service (also: exit)";

/// What may be typed, as the help lists it: the first word of each of its lines.
pub fn words() -> impl Iterator<Item = &'static str> {
    let lines = HELP.lines().filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.split_whitespace().next())
}

impl FromStr for CommandLine {
    type Err = UnknownCommand;

    /// Reads one line. Case and surrounding blanks do not matter.
    fn from_str(line: &str) -> Result<Self, UnknownCommand> {
        if let Some(command) = about_one(line) {
            return Ok(command.into());
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (command, form) = match words.as_slice() {
            // `statr` as the requirement spells it
            ["start" | "statr"] => (Command::Start, Form::People),
            ["stop"] => (Command::Stop, Form::People),
            ["status"] => (Command::Status, Form::People),
            ["status", "--json"] => (Command::Status, Form::Json),
            ["reload", options @ ..] => reload(options).ok_or_else(|| unknown(line))?,
            ["help"] => (Command::Help, Form::People),
            ["quit" | "exit"] => (Command::Quit, Form::People),
            _ => return Err(unknown(line)),
        };
        Ok(Self { command, form })
    }
}

/// A word and the name of a server, which is taken as it is.
fn about_one(line: &str) -> Option<Command> {
    let (word, name) = line.trim().split_once(char::is_whitespace)?;
    let name = name.trim().to_owned();
    match word.to_lowercase().as_str() {
        "scan" => Some(Command::Scan(name)),
        "pause" => Some(Command::Pause(name)),
        "resume" => Some(Command::Resume(name)),
        _ => None,
    }
}

/// `[--confirm NUMBER] [--lines]`, in any order.
fn reload(mut options: &[&str]) -> Option<(Command, Form)> {
    let (mut confirm, mut form) = (None, Form::People);
    loop {
        options = match options {
            [] => return Some((Command::Reload { confirm }, form)),
            ["--lines", rest @ ..] => {
                form = Form::Lines;
                rest
            }
            ["--confirm", number, rest @ ..] => {
                confirm = Some(number.parse().ok()?);
                rest
            }
            _ => return None,
        }
    }
}

fn unknown(line: &str) -> UnknownCommand {
    UnknownCommand(line.trim().chars().take(80).collect())
}

impl CommandLine {
    /// The status in JSON.
    pub const STATUS: Self = Self { command: Command::Status, form: Form::Json };

    /// Reads one line of the control socket, where an object is a [`Change`]. One that was cut is none.
    ///
    /// # Errors
    ///
    /// [`UnknownCommand`].
    pub fn from_socket(line: &str) -> Result<Self, UnknownCommand> {
        if !line.starts_with('{') {
            return line.parse();
        }
        let change = serde_json::from_str(line).ok().filter(Change::is_one_batch);
        change.map(|change| Command::Change(change).into()).ok_or_else(|| unknown(line))
    }
}

impl From<Command> for CommandLine {
    /// With an answer for people.
    fn from(command: Command) -> Self {
        Self { command, form: Form::default() }
    }
}

impl fmt::Display for Command {
    /// As it is typed; a [`Change`] as it goes over the control socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Status => "status",
            Self::Reload { confirm: None } => "reload",
            Self::Reload { confirm: Some(number) } => return write!(f, "reload --confirm {number}"),
            Self::Scan(name) => return write!(f, "scan {name}"),
            Self::Pause(name) => return write!(f, "pause {name}"),
            Self::Resume(name) => return write!(f, "resume {name}"),
            Self::Help => "help",
            Self::Quit => "quit",
            Self::Change(change) => {
                return f.write_str(&serde_json::to_string(change).map_err(|_| fmt::Error)?);
            }
        })
    }
}

impl fmt::Display for CommandLine {
    /// The line that is read as this one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::People => "",
            Form::Json => " --json",
            Form::Lines => " --lines",
        };
        write!(f, "{}{form}", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_whatever_their_case_and_blanks() {
        for (line, command, form) in [
            ("start", Command::Start, Form::People),
            ("  STATR \r\n", Command::Start, Form::People),
            ("Stop", Command::Stop, Form::People),
            ("status", Command::Status, Form::People),
            ("status  --JSON", Command::Status, Form::Json),
            ("reload", Command::Reload { confirm: None }, Form::People),
            ("Reload --lines", Command::Reload { confirm: None }, Form::Lines),
            ("reload --confirm 14", Command::Reload { confirm: Some(14) }, Form::People),
            ("reload --lines --confirm 0", Command::Reload { confirm: Some(0) }, Form::Lines),
            ("Scan  OMC01 \n", Command::Scan("OMC01".to_owned()), Form::People),
            ("pause 上海 a", Command::Pause("上海 a".to_owned()), Form::People),
            ("resume omc01", Command::Resume("omc01".to_owned()), Form::People),
            ("help", Command::Help, Form::People),
            ("exit", Command::Quit, Form::People),
            ("quit", Command::Quit, Form::People),
        ] {
            let expected = CommandLine { command, form };
            assert_eq!(line.parse(), Ok(expected.clone()), "{line}");
            assert_eq!(expected.to_string().parse(), Ok(expected));
        }
    }

    #[test]
    fn each_word_of_the_help_is_a_command() {
        assert!(words().count() >= 5);
        for word in words() {
            let with_name = format!("{word} x").parse::<CommandLine>();
            assert!(word.parse::<CommandLine>().is_ok() || with_name.is_ok(), "{word}");
        }
    }

    /// interface 15.4
    #[test]
    fn changes_come_over_the_socket_alone_and_whole() {
        for (line, change) in [
            (r#"{"forget":[1,20]}"#, Change::amend(Amendment::Forget, vec![1, 20])),
            (r#"{"requeue":[3]}"#, Change::amend(Amendment::Requeue, vec![3])),
            (r#"{"missing":[4,5]}"#, Change::Missing(vec![4, 5])),
            (r#"{"found":[6]}"#, Change::Found(vec![6])),
            (r#"{"adopt":{}}"#, Change::Adopt {}),
        ] {
            let expected: CommandLine = Command::Change(change).into();
            assert_eq!(expected.to_string(), line);
            assert_eq!(CommandLine::from_socket(&format!("{line}\n")), Ok(expected));
            line.parse::<CommandLine>().unwrap_err();
            CommandLine::from_socket(line.trim_end_matches('}')).unwrap_err();
        }
        let many = format!("{{\"found\":{:?}}}\n", vec![1; BATCH + 1]);
        for wrong in ["{\"forget\":[]}\n", "{\"found\":[\"x\"]}\n", "{\"mark\":{}}\n", "{}\n", "[1]\n", &many]
        {
            CommandLine::from_socket(wrong).unwrap_err();
        }
        assert_eq!(CommandLine::from_socket("STOP"), Ok(Command::Stop.into()));
    }

    /// interface 2.10
    #[test]
    fn a_word_that_is_nearly_a_command_is_asked_about() {
        let said = |line: &str| line.parse::<CommandLine>().unwrap_err().to_string();
        assert!(said("strat").starts_with("unknown command strat; did you mean start? the commands are"));
        assert!(said("Stats --json").contains("did you mean status?"), "{}", said("Stats --json"));
        for line in ["nonsense", "stop now", ""] {
            assert!(!said(line).contains("did you mean"), "{line}");
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_itself_made_harmless() {
        let error = "st\u{1b}op now\n".parse::<CommandLine>().unwrap_err().to_string();
        assert!(error.starts_with("unknown command st\\u{1b}op now;"), "{error}");
        assert!("x".repeat(5000).parse::<CommandLine>().unwrap_err().to_string().len() < 200);
    }
}
