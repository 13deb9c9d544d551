//! Reads the records beside a running service, for `mrosync records`. Holds a snapshot for a thousand rows at
//! a time only, so that it neither blocks the writer nor keeps the write-ahead log from being emptied.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};
use rustix::fs::Access;

use super::connection::{BUSY_TIMEOUT, connect};
use super::downloads::{Key, find};
use super::error::{kind_of, open_error, records_error};
use super::files::sibling_path;
use super::rows::{modified, remote_path, server_name, unsigned};
use super::schema::Header;
use super::{begin, mirror};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::error::{FailureKind, OpenError, RecordsError};
use crate::records::filter::Filter;
use crate::records::reader::{Page, ReadError, RecordReader};
use crate::records::types::{RecordRow, RecordedMirror};

/// How long the making of a database may take: a few writes of a service that was just started.
const MADE_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks whether it is made.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Rows in one snapshot, and in memory.
pub(super) const PAGE: i64 = 1000;

/// The record database, opened for reading. Changes nothing in it.
#[derive(Debug)]
pub(super) struct SqliteReader {
    pub(super) connection: Connection,
    file: PathBuf,
    /// Set where SQLite reads without locks: what must not change while it does.
    pub(super) unlocked: Option<Stamp>,
}

impl SqliteReader {
    /// Opens the database at `path`, whether or not a service runs, with permission to read the file. While
    /// no service runs, a user who may not write beside it can read only what a service closed in order.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, MADE_WITHIN)
    }

    #[expect(clippy::disallowed_methods, reason = "a command of its own, with nothing else to do meanwhile")]
    pub(super) fn open_within(path: &Path, limit: Duration) -> Result<Self, OpenError> {
        let deadline = Instant::now() + limit;
        loop {
            match Self::try_open(path) {
                Err(OpenError::Unmade { .. }) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                opened => return opened,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, OpenError> {
        let file = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::Missing { file: path.to_owned() },
            _ => OpenError::io(path, "find it", &error),
        })?;
        rustix::fs::access(&file, Access::READ_OK)
            .map_err(|error| OpenError::io(&file, "read it", &error.into()))?;
        let (connection, header, unlocked) = match open_shared(&file) {
            Ok((connection, header)) => (connection, header, None),
            Err(error) if lacks_shared_memory(&error) => {
                let stamp = stamp_without_log(&file, &error)?;
                let (connection, header) = open_unlocked(&file).map_err(|error| open_error(&file, &error))?;
                (connection, header, Some(stamp))
            }
            Err(error) => return Err(open_error(&file, &error)),
        };
        header.check_for_reader(&file)?;
        // from here on closing may tidy up, as the last one of every SQLite database does
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|error| open_error(&file, &error))?;
        Ok(Self { connection, file, unlocked })
    }

    /// Reads what `question` asks for, again where a service wrote meanwhile while it was read without locks.
    fn ask<T>(&mut self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        loop {
            let answer = question(&self.connection);
            if !self.reopen_if_overtaken()? {
                return answer.map_err(|error| self.failed(&error).into());
            }
        }
    }

    /// Opens the file again where a service changed it while it was read without locks, and says so: what
    /// was read is worthless then.
    fn reopen_if_overtaken(&mut self) -> Result<bool, OpenError> {
        let overtaken = self.unlocked.as_ref().is_some_and(|stamp| !stamp.still_holds(&self.file));
        if overtaken {
            *self = Self::open(&self.file)?;
        }
        Ok(overtaken)
    }

    fn failed(&self, error: &rusqlite::Error) -> RecordsError {
        records_error("read the records", &self.file, error)
    }
}

impl RecordReader for SqliteReader {
    fn newest(&mut self, limit: u32) -> Result<Vec<RecordRow>, ReadError> {
        self.ask(|connection| read_newest(connection, limit))
    }

    fn last_id(&mut self) -> Result<Option<i64>, ReadError> {
        self.ask(last_id)
    }

    fn page(&mut self, after: i64, until: i64, filter: &Filter) -> Result<Page, ReadError> {
        self.ask(|connection| read_page(connection, after, until, filter))
    }

    fn knows(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        name: &RemoteName,
    ) -> Result<bool, ReadError> {
        let key = Key { server: server.as_str(), directory: directory.wire(), name: name.wire() };
        self.ask(|connection| find(connection, &key).map(|id| id.is_some()))
    }

    fn servers(&mut self) -> Result<Vec<String>, ReadError> {
        self.ask(|connection| {
            let mut servers = connection.prepare_cached("SELECT DISTINCT server FROM directories")?;
            servers.query_map([], |row| row.get(0))?.collect()
        })
    }

    fn beginning(&mut self, server: &ServerName) -> Result<Option<i64>, ReadError> {
        self.ask(|connection| begin::of(connection, server))
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, ReadError> {
        self.ask(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            mirror::recorded(&snapshot, some)
        })
    }
}

/// The ordinary way. It shares the -shm and -wal files with the service, or makes them where none runs.
fn open_shared(file: &Path) -> rusqlite::Result<(Connection, Header)> {
    // SQLite takes read-only access where the file allows no more
    let connection = connect(file, BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    let header = Header::read(&connection)?;
    Ok((connection, header))
}

/// Returns whether the -shm file, which a running service has made already, could not be made, or had no
/// room.
fn lacks_shared_memory(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
        || kind_of(error) == FailureKind::DiskFull
}

/// The way of those who may not write beside the file: no locks and no log, which is right for as long as
/// nobody writes.
fn open_unlocked(file: &Path) -> rusqlite::Result<(Connection, Header)> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = urlencoding::encode_binary(file.as_os_str().as_encoded_bytes());
    let connection = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?;
    let header = Header::read(&connection)?;
    Ok((connection, header))
}

/// The stamp of a database that is whole without its write-ahead log. With one, `error` stands.
fn stamp_without_log(file: &Path, error: &rusqlite::Error) -> Result<Stamp, OpenError> {
    if fs::metadata(sibling_path(file, "-wal")).is_ok_and(|log| log.len() > 0) {
        let detail = "its latest records are in the -wal file beside it, which takes permission to write there, \
                      or a running service";
        return Err(match kind_of(error) {
            FailureKind::DiskFull => OpenError::DiskFull { file: file.to_owned() },
            _ => OpenError::ReadOnly { file: file.to_owned(), detail: detail.to_owned() },
        });
    }
    Stamp::of(file).map_err(|error| OpenError::io(file, "look at it", &error))
}

/// What changes whenever somebody writes to a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        fs::metadata(file).map(|metadata: Metadata| Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn still_holds(&self, file: &Path) -> bool {
        Self::of(file).is_ok_and(|now| now == *self)
    }
}

pub(super) const PAGE_OF_ROWS: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.modified,
        d.modified_source, d.downloaded_at, d.notified_at, d.evicted_at
    FROM downloads d CROSS JOIN directories p ON p.id = d.directory
    WHERE d.id > ?1 AND d.id <= ?2 ORDER BY d.id LIMIT ?3";

/// Looks at the next rows, and keeps those that `filter` means. The rows are counted before they are chosen from, so
/// that a filter that few records pass does not make for long snapshots.
fn read_page(connection: &Connection, after: i64, until: i64, filter: &Filter) -> rusqlite::Result<Page> {
    let mut statement = connection.prepare_cached(PAGE_OF_ROWS)?;
    let mut rows = statement.query(params![after, until, PAGE])?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        page.last = Some(row.get(0)?);
        // the others are not even put together
        if filter.wants_server(row.get_ref(1)?.as_str()?) {
            let row = record_row(row)?;
            page.rows.extend(filter.wants(&row).then_some(row));
        }
    }
    Ok(page)
}

const NEWEST_ROWS: &str = "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.modified,
        d.modified_source, d.downloaded_at, d.notified_at, d.evicted_at
    FROM downloads d CROSS JOIN directories p ON p.id = d.directory
    ORDER BY d.id DESC LIMIT ?1";

fn read_newest(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<RecordRow>> {
    connection.prepare_cached(NEWEST_ROWS)?.query_map([limit], record_row)?.collect()
}

fn record_row(row: &Row<'_>) -> rusqlite::Result<RecordRow> {
    Ok(RecordRow {
        id: row.get(0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        size: unsigned(row, 6)?,
        modified: modified(row, 7)?,
        downloaded_at: row.get(9)?,
        notified_at: row.get(10)?,
        evicted_at: row.get(11)?,
    })
}

fn last_id(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT max(id) FROM downloads", [], |row| row.get(0))
}

/// Reads the first and the last record, if there are any.
pub(super) fn read_ends(connection: &Connection) -> rusqlite::Result<()> {
    let Some(last) = last_id(connection)? else { return Ok(()) };
    let mut statement = connection.prepare_cached(PAGE_OF_ROWS)?;
    for after in [i64::MIN, last - 1] {
        statement.query_row(params![after, last, 1], record_row)?;
    }
    Ok(())
}
