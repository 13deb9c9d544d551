//! What can go wrong with the record database, sorted by what the caller does about it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Error as SqliteError, ErrorCode, ffi};

use super::sqlite::connect::beside;

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
    /// Anything else.
    #[error("cannot open the record database {}: {detail}", .file.display())]
    Other {
        /// The database.
        file: PathBuf,
        /// What was tried, and what came of it.
        detail: String,
    },
}

impl OpenError {
    /// Sorts what SQLite said while `file` was opened.
    pub(in crate::records) fn sqlite(file: &Path, error: &SqliteError) -> Self {
        let (trouble, detail) = sort(file, error);
        let file = file.to_owned();
        match trouble {
            Trouble::DiskFull => Self::DiskFull { file },
            Trouble::ReadOnly => Self::ReadOnly { file, detail },
            Trouble::Damaged => Self::Damaged { file, detail },
            Trouble::Busy => Self::Locked { file },
            Trouble::Other | Trouble::Replaced => Self::Other { file, detail },
        }
    }

    /// Sorts what the system said while it was asked to do `attempt` for `file`.
    pub(in crate::records) fn io(file: &Path, attempt: &str, error: &io::Error) -> Self {
        let (file, detail) = (file.to_owned(), format!("cannot {attempt}: {error}"));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { file, detail }
            }
            _ => Self::Other { file, detail },
        }
    }
}

/// An operation on the open record database that failed. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} in {}: {source_text}", .file.display())]
pub struct RecordsError {
    trouble: Trouble,
    attempt: &'static str,
    file: PathBuf,
    source_text: String,
}

impl RecordsError {
    pub(in crate::records) fn new(attempt: &'static str, file: &Path, error: &SqliteError) -> Self {
        let (trouble, source_text) = sort(file, error);
        Self { trouble, attempt, file: file.to_owned(), source_text }
    }

    /// Trouble that SQLite does not notice.
    pub(in crate::records) fn told(
        attempt: &'static str,
        file: &Path,
        trouble: Trouble,
        source_text: String,
    ) -> Self {
        Self { trouble, attempt, file: file.to_owned(), source_text }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }
}

/// The trouble and its words. A file system that turned read-only under an open file, as ext4 does when it meets an
/// error, is a mere error of the disk to SQLite; what it is shows when anything about a file is changed.
fn sort(file: &Path, error: &SqliteError) -> (Trouble, String) {
    match Trouble::of(error) {
        Trouble::Other | Trouble::DiskFull if is_read_only(file) => {
            (Trouble::ReadOnly, format!("{error}: its file system is read-only"))
        }
        trouble => (trouble, error.to_string()),
    }
}

fn is_read_only(file: &Path) -> bool {
    let touched = File::open(beside(file, ".lock")).and_then(|lock| lock.set_modified(SystemTime::now()));
    touched.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// The kinds of trouble that call for different measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No room to write: try again once there is.
    DiskFull,
    /// The file or its file system became unwritable.
    ReadOnly,
    /// What is stored cannot be read. Trying again does not help.
    Damaged,
    /// Another program held the lock for longer than we wait: try again.
    Busy,
    /// The file was deleted or replaced under our hands.
    Replaced,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What becomes of it, for the log.
    #[must_use]
    pub fn outlook(self) -> &'static str {
        match self {
            Self::DiskFull => "nothing is lost: it goes on by itself once there is room",
            Self::ReadOnly => "nothing is lost: it goes on by itself once the file can be written again",
            Self::Damaged => "what cannot be read is left as it is: stop the service and restore a backup",
            Self::Busy => "nothing is lost: it goes on by itself once the other program lets go",
            Self::Replaced => "until then nothing is fetched, recorded or announced",
            Self::Other => "nothing is lost: it is tried again and again",
        }
    }

    pub(in crate::records) fn of(error: &SqliteError) -> Self {
        match error {
            SqliteError::SqliteFailure(failure, _) | SqliteError::SqlInputError { error: failure, .. } => {
                Self::of_failure(*failure)
            }
            // values that this program never stores
            SqliteError::FromSqlConversionFailure(..)
            | SqliteError::IntegralValueOutOfRange(..)
            | SqliteError::InvalidColumnType(..)
            | SqliteError::QueryReturnedNoRows
            | SqliteError::Utf8Error(..) => Self::Damaged,
            _ => Self::Other,
        }
    }

    fn of_failure(failure: ffi::Error) -> Self {
        match failure.code {
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::SystemIoFailure => match failure.extended_code {
                // a user's disk quota (EDQUOT) fails writes so; a full disk fails the growth of -shm so
                ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE => Self::DiskFull,
                ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS => Self::Damaged,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_says_is_sorted_by_what_helps() {
        for (code, trouble) in [
            (ffi::SQLITE_FULL, Trouble::DiskFull),
            (ffi::SQLITE_IOERR_WRITE, Trouble::DiskFull),
            (ffi::SQLITE_IOERR_SHMSIZE, Trouble::DiskFull),
            (ffi::SQLITE_READONLY_DIRECTORY, Trouble::ReadOnly),
            (ffi::SQLITE_PERM, Trouble::ReadOnly),
            (ffi::SQLITE_NOTADB, Trouble::Damaged),
            (ffi::SQLITE_CORRUPT_INDEX, Trouble::Damaged),
            (ffi::SQLITE_IOERR_CORRUPTFS, Trouble::Damaged),
            (ffi::SQLITE_BUSY_SNAPSHOT, Trouble::Busy),
            (ffi::SQLITE_LOCKED, Trouble::Busy),
            (ffi::SQLITE_IOERR_READ, Trouble::Other),
            (ffi::SQLITE_NOMEM, Trouble::Other),
        ] {
            let error = SqliteError::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(Trouble::of(&error), trouble, "{code}: {error}");
        }
    }

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
