//! What the service answers. It becomes text where it leaves the process: at the console, on the control socket and on
//! the status page. Nothing inside of the process reads that text again; [`super::client`] reads it in another one.

use std::fmt;

use super::command::{Form, HELP, UnknownCommand};
use crate::base::names::Printable;
use crate::status::{ServiceStatus, json, table};

/// What the text of a failure begins with.
pub const FAILED: &str = "failed";
/// What the text of the answer to `reload` begins with where the configuration has faults.
pub const REFUSED: &str = "failed: the configuration is refused";
/// What the text of what was done begins with.
pub const OK: &str = "ok: ";

/// The answer to a command.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It is done; in words.
    Done(String),
    /// So many records or files are changed.
    Changed(usize),
    /// It is not done; why.
    Failed(String),
    /// The configuration has these faults, and the one of before stays in force.
    Refused(Vec<String>),
    /// The service at this moment.
    Status(Box<ServiceStatus>),
    /// What may be asked.
    Help,
}

impl Answer {
    /// Returns whether it was not done.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Refused(_))
    }

    /// The lines of it as `form` has them, without a line end after the last. Whatever words hold, those of one answer
    /// to a change are one line.
    #[must_use]
    pub fn text(&self, form: Form) -> String {
        match self {
            Self::Done(done) => format!("{OK}{}", Printable(done)),
            Self::Changed(count) => format!("{OK}{count}"),
            Self::Failed(reason) => failed(reason),
            Self::Refused(faults) => refused(faults, form),
            Self::Status(status) if form == Form::Json => {
                json::write(status).unwrap_or_else(|error| failed(&error))
            }
            Self::Status(status) => table::plain(status),
            Self::Help => HELP.to_owned(),
        }
    }
}

fn failed(reason: &impl fmt::Display) -> String {
    format!("{FAILED}: {}", Printable(&reason.to_string()))
}

/// On one line, or a line for each of them below the first.
fn refused(faults: &[String], form: Form) -> String {
    let (between, separator) = if form == Form::Lines { ("\n", "\n") } else { (": ", "; ") };
    let faults: Vec<String> = faults.iter().map(|fault| Printable(fault).to_string()).collect();
    format!("{REFUSED}, the old one stays in force{between}{}", faults.join(separator))
}

impl From<Result<String, String>> for Answer {
    fn from(outcome: Result<String, String>) -> Self {
        outcome.map_or_else(Self::Failed, Self::Done)
    }
}

impl From<UnknownCommand> for Answer {
    fn from(unknown: UnknownCommand) -> Self {
        Self::Failed(unknown.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_on_one_line_or_one_a_line() {
        let refused = Answer::Refused(vec!["a.b: is\nwrong".to_owned(), "c: too".to_owned()]);
        let head = "failed: the configuration is refused, the old one stays in force";
        assert_eq!(refused.text(Form::People), format!("{head}: a.b: is\\nwrong; c: too"));
        assert_eq!(refused.text(Form::Lines), format!("{head}\na.b: is\\nwrong\nc: too"));
        assert!(refused.is_failure());
    }

    #[test]
    fn the_answer_to_a_change_is_one_line_whatever_its_words_hold() {
        for (answer, text) in [
            (Answer::Done("started".to_owned()), "ok: started"),
            (Answer::Changed(3), "ok: 3"),
            (Answer::Failed("no".to_owned()), "failed: no"),
            (Answer::Failed("no\nok: \u{9b}2J".to_owned()), "failed: no\\nok: \\u{9b}2J"),
        ] {
            assert_eq!(answer.text(Form::People), text);
            assert_eq!(answer.is_failure(), text.starts_with(FAILED), "{text}");
        }
    }

    #[test]
    fn a_status_is_an_object_for_programs_and_a_table_for_people() {
        let status = Answer::Status(Box::default());
        assert!(json::read(&status.text(Form::Json)).is_ok());
        assert!(status.text(Form::People).starts_with("service   stopped, up 0s"));
    }
}
