//! Opens the record database for its one writer: makes it, checks it, brings it up to date. A file that is
//! refused is left byte for byte as it was.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::{BUSY_TIMEOUT, SETTINGS, connect, require_wal};
use super::error::open_error;
use super::files::{FILE_MODE, sibling_path};
use super::lock::{lock, with_reserve};
use super::reader::read_ends;
use super::rescue::OpenFile;
use super::schema::{Header, MIGRATIONS, migrate};
use super::store::SqliteStore;
use super::{amend, begin, downloads, known, mirror, outbox, present, remembered, totals};
use crate::base::durable::make_directories;
use crate::records::error::OpenError;

const DIRECTORY_MODE: u32 = 0o750;

impl SqliteStore {
    /// Opens the database at `path`, which is made with its directory when missing. Takes time for the
    /// pages that it looks at, not for the number of records.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is unchanged then.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    pub(super) fn open_within(path: &Path, busy_timeout: Duration) -> Result<Self, OpenError> {
        let file = place(path)?;
        // before anything else touches the file: closing it would drop SQLite's locks of this process
        let lock = lock(&file)?;
        never_begin_beside_a_log(&file, &lock)?;
        let connection = with_reserve(&lock, || open_locked(&file, busy_timeout))?;
        let looked_at = file.clone();
        let file = OpenFile::new(file).map_err(|error| OpenError::io(&looked_at, "look at it", &error))?;
        Ok(Self::new(connection, file, lock))
    }
}

fn open_locked(file: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    make(file)?;
    let sorted = |error: rusqlite::Error| open_error(file, &error);
    let mut connection = connect(file, busy_timeout).map_err(sorted)?;
    let version = Header::read(&connection).map_err(sorted)?.version_for_writer(file)?;
    require_wal(&connection, file)?;
    connection.execute_batch(SETTINGS).map_err(sorted)?;
    migrate(&mut connection, version, &MIGRATIONS).map_err(sorted)?;
    probe(&connection).map_err(|error| match open_error(file, &error) {
        // after the version was found right, whatever is missing is damage
        OpenError::Other { file, detail } => OpenError::Damaged { file, detail },
        other => other,
    })?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sorted)?;
    Ok(connection)
}

/// SQLite would delete the log of a database that is gone, and with it the latest records: whoever lost the file must
/// decide. Without a log it was moved away in order, which is the way to begin anew, and is said.
fn never_begin_beside_a_log(file: &Path, lock: &File) -> Result<(), OpenError> {
    let length = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(OpenError::io(file, "look at it", &error)),
    };
    if length(file)? > 0 {
        return Ok(());
    }
    if length(&sibling_path(file, "-wal"))? > 0 {
        return Err(OpenError::Lost { file: file.to_owned() });
    }
    // the room in the lock file is taken once the database is made
    if lock.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        log::warn!(
            "the record database {} was there before and is gone: an empty one is made, and all that the servers \
             show counts as new",
            file.display()
        );
    }
    Ok(())
}

/// Every statement of the service, all of them prepared once.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let files = downloads::STATEMENTS.into_iter().chain(known::STATEMENTS).chain(present::STATEMENTS);
    let files = files.chain(outbox::STATEMENTS).chain(amend::STATEMENTS).chain(begin::STATEMENTS);
    files.chain(mirror::STATEMENTS).chain(totals::STATEMENTS).chain(remembered::STATEMENTS)
}

/// Looks at every table and index, at a place or two each, and prepares every statement.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    for sql in statements() {
        connection.prepare_cached(sql)?;
    }
    totals::read(connection)?;
    read_ends(connection)?;
    present::probe(connection)?;
    outbox::probe(connection)
}

/// Makes the directory, and follows links: SQLite puts its -wal file beside the file itself.
fn place(path: &Path) -> Result<PathBuf, OpenError> {
    let Some(name) = path.file_name() else {
        let detail = "its path does not end in a file name".to_owned();
        return Err(OpenError::Other { file: path.to_owned(), detail });
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directories(parent, DIRECTORY_MODE)
        .map_err(|error| OpenError::io(path, "make its directory", &error))?;
    fs::canonicalize(path)
        .or_else(|_| fs::canonicalize(parent).map(|parent| parent.join(name)))
        .map_err(|error| OpenError::io(path, "find its directory", &error))
}

/// Makes an empty file where there is none, with our mode: SQLite would let others read it.
fn make(file: &Path) -> Result<(), OpenError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(file)
        .map(drop)
        .map_err(|error| OpenError::io(file, "write to it", &error))
}
