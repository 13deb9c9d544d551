//! Connections to the database, and what they are set to.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::open_error;
use crate::records::error::OpenError;

/// How long a statement waits for another program's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are statements, so that none is ever prepared twice.
const CACHED_STATEMENTS: usize = 64;

/// FULL: what a method has returned from survives a power cut. The page cache is the only memory that could
/// grow with the file, hence its limit of 8 MiB; the -wal file is cut to 64 MiB after a long reader let it grow.
pub(super) const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -8192;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

/// Connects without reading or changing anything yet, and so that closing changes nothing either. What a statement is
/// asked changes nothing about its plan (QPSG): SQLite would plan each join anew whenever its statement comes out of the
/// cache, which costs as much as a look-up of twenty files.
pub(super) fn connect(file: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Without a write-ahead log every reader would stop the writer.
pub(super) fn require_wal(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let mode: rusqlite::Result<String> =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
    match mode.as_deref() {
        Ok("wal") => Ok(()),
        Ok(mode) => {
            let detail = format!("its file system allows no write-ahead log, only mode {mode}");
            Err(OpenError::Other { file: file.to_owned(), detail })
        }
        Err(error) => Err(open_error(file, error)),
    }
}
