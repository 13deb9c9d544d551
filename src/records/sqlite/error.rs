//! What SQLite says, sorted by what the caller does about it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Error as SqliteError, ErrorCode, ffi};

use super::files::sibling_path;
use crate::records::error::{FailureKind, OpenError, RecordsError};

/// Sorts what SQLite said while `file` was opened.
pub(super) fn open_error(file: &Path, error: &SqliteError) -> OpenError {
    let (kind, detail) = sort(file, error);
    OpenError::of_kind(kind, file, detail)
}

/// Sorts what SQLite said to `attempt`.
pub(super) fn records_error(attempt: &'static str, file: &Path, error: &SqliteError) -> RecordsError {
    let (kind, detail) = sort(file, error);
    RecordsError::new(kind, attempt, file, detail)
}

/// The kind and its words. A file system that turned read-only under an open file, as ext4 does when it meets an
/// error, is a mere error of the disk to SQLite; what it is shows when anything about a file is changed.
fn sort(file: &Path, error: &SqliteError) -> (FailureKind, String) {
    match kind_of(error) {
        FailureKind::Other | FailureKind::DiskFull if is_read_only(file) => {
            (FailureKind::ReadOnly, format!("{error}: its file system is read-only"))
        }
        kind => (kind, error.to_string()),
    }
}

fn is_read_only(file: &Path) -> bool {
    let touched =
        File::open(sibling_path(file, ".lock")).and_then(|lock| lock.set_modified(SystemTime::now()));
    touched.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// Returns the kind of failure that SQLite reports.
pub(super) fn kind_of(error: &SqliteError) -> FailureKind {
    match error {
        SqliteError::SqliteFailure(failure, _) | SqliteError::SqlInputError { error: failure, .. } => {
            kind_of_failure(*failure)
        }
        // values that this program never stores
        SqliteError::FromSqlConversionFailure(..)
        | SqliteError::IntegralValueOutOfRange(..)
        | SqliteError::InvalidColumnType(..)
        | SqliteError::QueryReturnedNoRows
        | SqliteError::Utf8Error(..) => FailureKind::Damaged,
        _ => FailureKind::Other,
    }
}

fn kind_of_failure(failure: ffi::Error) -> FailureKind {
    match failure.code {
        ErrorCode::DiskFull => FailureKind::DiskFull,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => FailureKind::ReadOnly,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => FailureKind::Damaged,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => FailureKind::Busy,
        ErrorCode::SystemIoFailure => match failure.extended_code {
            // a user's disk quota (EDQUOT) fails writes so; a full disk fails the growth of -shm so
            ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE => FailureKind::DiskFull,
            ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS => FailureKind::Damaged,
            _ => FailureKind::Other,
        },
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_says_is_sorted_by_what_helps() {
        for (code, kind) in [
            (ffi::SQLITE_FULL, FailureKind::DiskFull),
            (ffi::SQLITE_IOERR_WRITE, FailureKind::DiskFull),
            (ffi::SQLITE_IOERR_SHMSIZE, FailureKind::DiskFull),
            (ffi::SQLITE_READONLY_DIRECTORY, FailureKind::ReadOnly),
            (ffi::SQLITE_PERM, FailureKind::ReadOnly),
            (ffi::SQLITE_NOTADB, FailureKind::Damaged),
            (ffi::SQLITE_CORRUPT_INDEX, FailureKind::Damaged),
            (ffi::SQLITE_IOERR_CORRUPTFS, FailureKind::Damaged),
            (ffi::SQLITE_BUSY_SNAPSHOT, FailureKind::Busy),
            (ffi::SQLITE_LOCKED, FailureKind::Busy),
            (ffi::SQLITE_IOERR_READ, FailureKind::Other),
            (ffi::SQLITE_NOMEM, FailureKind::Other),
        ] {
            let error = SqliteError::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(kind_of(&error), kind, "{code}: {error}");
        }
    }
}
