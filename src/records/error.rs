//! What can go wrong with the records, sorted by what the caller does about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::io_error;
use crate::base::start_error::StartError;

/// Why the record database could not be opened. Whatever the reason, an existing file is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file; only the reader says so, the service makes it.
    #[error("there is no record database {}: the service makes it when it first runs", .file.display())]
    Missing {
        /// The database.
        file: PathBuf,
    },
    /// The file is there and empty; only the reader says so, which has waited for the service to make it.
    #[error("the record database {} holds no records yet: its service has not finished making it", .file.display())]
    Unmade {
        /// The database.
        file: PathBuf,
    },
    /// The file is gone or empty, and SQLite's log of it is not: an empty one in its place would delete that.
    #[error(
        "the record database {} is gone, and records are left in its write-ahead log {}-wal: put the file or a \
         backup of it back, or remove the log too to begin with an empty database", .file.display(), .file.display()
    )]
    Lost {
        /// The database.
        file: PathBuf,
    },
    /// The file is no database, or one that cannot be read. A backup helps, or moving it away.
    #[error(
        "the record database {} is damaged ({detail}): it is left as it is; restore a backup of it, or move it \
         away to begin with an empty one", .file.display()
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A later release wrote it.
    #[error(
        "the record database {} has version {found}, and this release knows versions up to {known} only",
        .file.display()
    )]
    NewerVersion {
        /// The database.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The latest version that this release knows.
        known: i64,
    },
    /// An earlier release wrote it; only the reader says so, the service brings it up to date.
    #[error(
        "the record database {} has version {found}, and this release reads version {known}: start its service \
         once, which brings the database up to date", .file.display()
    )]
    OlderVersion {
        /// The database.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The version that this release reads.
        known: i64,
    },
    /// A sound SQLite file of another program.
    #[error("{} is the database of another program", .file.display())]
    NotOurs {
        /// The database.
        file: PathBuf,
    },
    /// The file, its directory or the file system cannot be written; for the reader: cannot be read.
    #[error("no permission to use the record database {}: {detail}", .file.display())]
    ReadOnly {
        /// The database.
        file: PathBuf,
        /// What was refused.
        detail: String,
    },
    /// No room for the few pages that opening takes.
    #[error("the disk of the record database {} is full", .file.display())]
    DiskFull {
        /// The database.
        file: PathBuf,
    },
    /// Another program holds SQLite's lock longer than we wait.
    #[error("the record database {} is locked by another program", .file.display())]
    Locked {
        /// The database.
        file: PathBuf,
    },
    /// Another service has it open.
    #[error("the record database {} is in use by another running service", .file.display())]
    InUse {
        /// The database.
        file: PathBuf,
    },
    /// Its host does not answer, or takes no writes now. It may come back.
    #[error("the record database {} cannot be reached: {detail}", .file.display())]
    Unreachable {
        /// The database.
        file: PathBuf,
        /// What was tried, and what came of it.
        detail: String,
    },
    /// Anything else.
    #[error("cannot open the record database {}: {detail}", .file.display())]
    Other {
        /// The database.
        file: PathBuf,
        /// What was tried, and what came of it.
        detail: String,
    },
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse { .. } => Self::Refused(error.to_string()),
            OpenError::DiskFull { .. } => Self::NoSpace(error.into()),
            OpenError::Unreachable { .. } => Self::Unreachable(error.into()),
            _ => Self::Failed(error.into()),
        }
    }
}

impl OpenError {
    /// Sorts what went wrong with `file`.
    pub(super) fn of_kind(kind: FailureKind, file: &Path, detail: String) -> Self {
        let file = file.to_owned();
        match kind {
            FailureKind::DiskFull => Self::DiskFull { file },
            FailureKind::ReadOnly => Self::ReadOnly { file, detail },
            FailureKind::Damaged => Self::Damaged { file, detail },
            FailureKind::Busy => Self::Locked { file },
            FailureKind::Unreachable => Self::Unreachable { file, detail },
            FailureKind::Other | FailureKind::Replaced => Self::Other { file, detail },
        }
    }

    /// Sorts what the system said while it was asked to do `attempt` for `file`.
    pub(super) fn io(file: &Path, attempt: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            kind if io_error::is_no_space(kind) => FailureKind::DiskFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::ReadOnly,
            _ => FailureKind::Other,
        };
        Self::of_kind(kind, file, format!("cannot {attempt}: {error}"))
    }
}

/// An operation on the open records that failed. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} in {}: {detail}", .place.display())]
pub struct RecordsError {
    kind: FailureKind,
    attempt: &'static str,
    place: PathBuf,
    detail: String,
}

impl RecordsError {
    /// `attempt` failed in the records at `place`.
    pub(super) fn new(kind: FailureKind, attempt: &'static str, place: &Path, detail: String) -> Self {
        Self { kind, attempt, place: place.to_owned(), detail }
    }

    /// Returns what kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}

/// The kinds of failure that call for different measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No room to write: try again once there is.
    DiskFull,
    /// The file or its file system became unwritable.
    ReadOnly,
    /// What is stored cannot be read. Trying again does not help.
    Damaged,
    /// Another program held the lock for longer than we wait: try again.
    Busy,
    /// The file was deleted or replaced under our hands; or another service has taken the records.
    Replaced,
    /// The database does not answer, or takes no writes: try again.
    Unreachable,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// Returns what becomes of it and what helps, for the log.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::DiskFull => "nothing is lost: it goes on by itself once there is room",
            Self::ReadOnly => "nothing is lost: it goes on by itself once the file can be written again",
            Self::Damaged => "what cannot be read is left as it is: stop the service and restore a backup",
            Self::Busy => "nothing is lost: it goes on by itself once the other program lets go",
            Self::Replaced => "until then nothing is fetched, recorded or announced",
            Self::Unreachable => {
                "until then nothing is fetched, recorded, announced or evicted; it goes on by itself once it answers"
            }
            Self::Other => "nothing is lost: it is tried again and again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_sorted_by_what_helps() {
        let file = Path::new("/records.db");
        let sorted = |kind: io::ErrorKind| OpenError::io(file, "make it", &kind.into());
        assert!(matches!(sorted(io::ErrorKind::StorageFull), OpenError::DiskFull { .. }));
        assert!(matches!(sorted(io::ErrorKind::QuotaExceeded), OpenError::DiskFull { .. }));
        assert!(matches!(sorted(io::ErrorKind::ReadOnlyFilesystem), OpenError::ReadOnly { .. }));
        let denied = sorted(io::ErrorKind::PermissionDenied);
        let text = "no permission to use the record database /records.db: cannot make it: permission denied";
        assert_eq!(denied.to_string(), text);
        assert!(matches!(sorted(io::ErrorKind::NotADirectory), OpenError::Other { .. }));
    }
}
