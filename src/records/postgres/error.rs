//! What the database and the way to it say, sorted by what the caller does about it.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::records::error::FailureKind;

/// What `mrosync.fence` raises.
pub(super) const FENCED: &str = "MRF01";

/// Why something failed. Nothing of it was kept, unless its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn unreachable(detail: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unreachable, detail: detail.into() }
    }

    pub(super) fn other(detail: impl Into<String>) -> Self {
        Self { kind: FailureKind::Other, detail: detail.into() }
    }

    /// What is stored cannot be read.
    pub(super) fn damaged(detail: impl Into<String>) -> Self {
        Self { kind: FailureKind::Damaged, detail: detail.into() }
    }

    /// Another service writes these records now.
    pub(super) fn taken() -> Self {
        let detail = "another service has taken these records: stop one of the two, and start this one again";
        Self { kind: FailureKind::Replaced, detail: detail.to_owned() }
    }

    /// Sorts what the client says.
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: kind_of(error), detail: words(error) }
    }

    /// And names the host that it comes from.
    pub(super) fn at(self, place: &str) -> Self {
        Self { detail: format!("{place}: {}", self.detail), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

/// The error with its causes, which the client leaves out, in one line.
pub(super) fn words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = said.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return format!("{}{hint}", said.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn kind_of(error: &Error) -> FailureKind {
    let Some(code) = error.code() else {
        // values that this program never stores, or no answer at all
        return match error.source() {
            Some(cause) if cause.is::<std::io::Error>() => FailureKind::Unreachable,
            _ if error.is_closed() => FailureKind::Unreachable,
            Some(_) if error.to_string().starts_with("error deserializing") => FailureKind::Damaged,
            _ => FailureKind::Other,
        };
    };
    kind_of_code(code)
}

fn kind_of_code(code: &SqlState) -> FailureKind {
    match code.code() {
        FENCED => FailureKind::Replaced,
        // disk_full
        "53100" => FailureKind::DiskFull,
        // a standby after a failover that a pooler hides; starting, stopping, out of connections; any broken connection
        "25006" | "53300" | "57P01" | "57P02" | "57P03" | "57P05" => FailureKind::Unreachable,
        "25P03" | "57014" | "40001" | "40P01" | "55P03" => FailureKind::Busy,
        "42501" => FailureKind::ReadOnly,
        "XX001" | "XX002" => FailureKind::Damaged,
        other if other.starts_with("08") => FailureKind::Unreachable,
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_says_is_sorted_by_what_helps() {
        for (code, kind) in [
            ("MRF01", FailureKind::Replaced),
            ("53100", FailureKind::DiskFull),
            ("25006", FailureKind::Unreachable),
            ("57P03", FailureKind::Unreachable),
            ("08006", FailureKind::Unreachable),
            ("08P01", FailureKind::Unreachable),
            ("40P01", FailureKind::Busy),
            ("42501", FailureKind::ReadOnly),
            ("XX001", FailureKind::Damaged),
            ("28P01", FailureKind::Other),
            ("42P01", FailureKind::Other),
        ] {
            assert_eq!(kind_of_code(&SqlState::from_code(code)), kind, "{code}");
        }
    }
}
