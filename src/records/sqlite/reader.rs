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

use super::connect::{BUSY_TIMEOUT, Header, beside, connect};
use super::downloads::find;
use super::{
    ExportError, Filter, OpenError, RecordsError, Totals, Trouble, modified, read_totals, remote_path,
    server_name, unsigned,
};
use crate::base::facts::Modified;
use crate::base::names::{RemoteName, RemotePath, ServerName};

/// How long the making of a database may take: a few writes of a service that was just started.
const MADE_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks whether it is made.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Rows in one snapshot, and in memory.
const CHUNK: i64 = 1000;

/// One download, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its record; the lower, the earlier it was downloaded.
    pub id: i64,
    /// Where it comes from.
    pub server: ServerName,
    /// Its path on the server.
    pub path: RemotePath,
    /// Bytes stored.
    pub size: u64,
    /// The server's time of it when it was downloaded.
    pub modified: Option<Modified>,
    /// In unix milliseconds, as are the others.
    pub downloaded_at: i64,
    /// When its notice was delivered.
    pub notified_at: Option<i64>,
    /// When it was deleted from the mirror.
    pub evicted_at: Option<i64>,
}

/// The record database, opened for reading. Changes nothing in it.
#[derive(Debug)]
pub struct RecordsReader {
    connection: Connection,
    file: PathBuf,
    /// Set where SQLite reads without locks: what must not change while it does.
    unlocked: Option<Stamp>,
}

impl RecordsReader {
    /// Opens the database at `path`, whether or not a service runs, with permission to read the file. While
    /// no service runs, a user who may not write beside it can read only what a service closed in order.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, MADE_WITHIN)
    }

    #[expect(clippy::disallowed_methods, reason = "a command of its own, with nothing else to do meanwhile")]
    fn open_within(path: &Path, limit: Duration) -> Result<Self, OpenError> {
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
                let (connection, header) =
                    open_unlocked(&file).map_err(|error| OpenError::sqlite(&file, &error))?;
                (connection, header, Some(stamp))
            }
            Err(error) => return Err(OpenError::sqlite(&file, &error)),
        };
        header.check_for_reader(&file)?;
        // from here on closing may tidy up, as the last one of every SQLite database does
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|error| OpenError::sqlite(&file, &error))?;
        Ok(Self { connection, file, unlocked })
    }

    /// The sums over all records.
    ///
    /// # Errors
    ///
    /// [`RecordsError`] where the database cannot be read.
    pub fn totals(&self) -> Result<Totals, RecordsError> {
        read_totals(&self.connection).map_err(|error| self.failed(&error))
    }

    /// The latest `limit` records, the newest first.
    ///
    /// # Errors
    ///
    /// Whatever fails while reading.
    pub fn newest(&mut self, limit: u32) -> Result<Vec<RecordRow>, ExportError> {
        loop {
            let rows = read_newest(&self.connection, limit);
            if !self.reopen_if_overtaken()? {
                return Ok(rows.map_err(|error| self.failed(&error))?);
            }
        }
    }

    /// Asks what needs one look.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        question(&self.connection).map_err(|error| self.failed(&error))
    }

    /// Whether the file is on record.
    ///
    /// # Errors
    ///
    /// Whatever fails while reading.
    pub fn knows(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        name: &RemoteName,
    ) -> Result<bool, ExportError> {
        loop {
            let found = find(&self.connection, (server.as_str(), directory.wire(), name.wire()));
            if !self.reopen_if_overtaken()? {
                return Ok(found.map_err(|error| self.failed(&error))?.is_some());
            }
        }
    }

    /// Shows every record that `filter` means to `visit`, oldest first. Records that are made
    /// meanwhile are not shown. No snapshot is held while `visit` runs, so it may take its time.
    ///
    /// # Errors
    ///
    /// What `visit` answers, at the first record where it does, and whatever fails while reading.
    pub fn for_each(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&RecordRow) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        self.reopen_if_overtaken()?;
        let until = last_id(&self.connection).map_err(|error| self.failed(&error))?;
        let mut after = i64::MIN;
        while let Some(until) = until.filter(|until| after < *until) {
            let chunk = read_chunk(&self.connection, after, until, filter);
            if self.reopen_if_overtaken()? {
                continue;
            }
            let chunk = chunk.map_err(|error| self.failed(&error))?;
            chunk.rows.iter().try_for_each(&mut *visit)?;
            after = chunk.last.unwrap_or(until);
        }
        Ok(())
    }

    /// The widest server name in the directories on record, as `width` measures it.
    pub(in crate::records) fn widest_server(&self, width: fn(&str) -> usize) -> Result<usize, RecordsError> {
        let widest = || {
            let mut servers = self.connection.prepare("SELECT DISTINCT server FROM directories")?;
            let mut rows = servers.query([])?;
            let mut widest = 0;
            while let Some(row) = rows.next()? {
                widest = widest.max(width(row.get_ref(0)?.as_str()?));
            }
            Ok(widest)
        };
        widest().map_err(|error| self.failed(&error))
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
        RecordsError::new("read the records", &self.file, error)
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

/// Whether the -shm file, which a running service has made already, could not be made, or had no room.
fn lacks_shared_memory(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
        || Trouble::of(error) == Trouble::DiskFull
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
    if fs::metadata(beside(file, "-wal")).is_ok_and(|log| log.len() > 0) {
        let detail = "its latest records are in the -wal file beside it, which takes permission to write there, \
                      or a running service";
        return Err(match Trouble::of(error) {
            Trouble::DiskFull => OpenError::DiskFull { file: file.to_owned() },
            _ => OpenError::ReadOnly { file: file.to_owned(), detail: detail.to_owned() },
        });
    }
    Stamp::of(file).map_err(|error| OpenError::io(file, "look at it", &error))
}

/// What changes whenever somebody writes to a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
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

struct Chunk {
    /// The last record looked at, shown or not.
    last: Option<i64>,
    rows: Vec<RecordRow>,
}

pub(super) const CHUNK_OF_ROWS: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.modified,
        d.modified_source, d.downloaded_at, d.notified_at, d.evicted_at
    FROM downloads d CROSS JOIN directories p ON p.id = d.directory
    WHERE d.id > ?1 AND d.id <= ?2 ORDER BY d.id LIMIT ?3";

/// Looks at the next rows, and keeps those that `filter` means. The rows are counted before they are chosen from, so
/// that a filter that few records pass does not make for long snapshots.
fn read_chunk(connection: &Connection, after: i64, until: i64, filter: &Filter) -> rusqlite::Result<Chunk> {
    let mut statement = connection.prepare_cached(CHUNK_OF_ROWS)?;
    let mut rows = statement.query(params![after, until, CHUNK])?;
    let mut chunk = Chunk { last: None, rows: Vec::new() };
    while let Some(row) = rows.next()? {
        chunk.last = Some(row.get(0)?);
        // the others are not even put together
        if filter.wants_server(row.get_ref(1)?.as_str()?) {
            let row = record_row(row)?;
            chunk.rows.extend(filter.wants(&row).then_some(row));
        }
    }
    Ok(chunk)
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
    let mut statement = connection.prepare_cached(CHUNK_OF_ROWS)?;
    for after in [i64::MIN, last - 1] {
        statement.query_row(params![after, last, 1], record_row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::super::fixtures::{Place, download, record_some, server};
    use super::super::{Records, Totals};
    use super::*;

    fn ids(reader: &mut RecordsReader, server: Option<&str>) -> Vec<i64> {
        let mut ids = Vec::new();
        let mut keep = |row: &RecordRow| -> io::Result<()> {
            ids.push(row.id);
            Ok(())
        };
        let servers = server.into_iter().map(str::to_owned).collect();
        reader.for_each(&Filter { servers, ..Filter::default() }, &mut keep).unwrap();
        ids
    }

    /// A closed database, a little longer than a chunk, that its reader cannot share: nothing can be made
    /// beside it.
    fn unshared(place: &Place) -> PathBuf {
        let mut records = place.open();
        record_some(&mut records, CHUNK + 3);
        records.close();
        symlink("/nowhere", beside(&place.file(), "-shm")).unwrap();
        place.file()
    }

    #[test]
    fn every_record_is_shown_once_and_the_oldest_first() {
        let place = Place::new();
        let mut records = place.open();
        let mut all = record_some(&mut records, 2 * CHUNK + 500);
        records.mark_evicted(&[all[7]], 9).unwrap();
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        assert_eq!(ids(&mut reader, None), all);
        // gaps in the ids, and a chunk that ends with the rows
        records.connection.execute("DELETE FROM downloads WHERE id % 5 <> 0", []).unwrap();
        all.retain(|id| id % 5 == 0);
        assert_eq!(ids(&mut reader, None), all);
        assert_eq!(reader.totals().unwrap().downloads(), all.len() as u64);
    }

    #[test]
    fn one_server_can_be_asked_for_and_an_unknown_one_has_no_records() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, CHUNK + 10);
        let mut file = download("x.zip", 1);
        file.server = server("omc02");
        records.record(&[file]).unwrap();
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        assert_eq!(ids(&mut reader, Some("omc02")), [CHUNK + 11]);
        assert_eq!(ids(&mut reader, Some("omc01")).len() as i64, CHUNK + 10);
        assert!(ids(&mut reader, Some("omc03")).is_empty());
    }

    #[test]
    fn an_empty_record_has_nothing_to_show() {
        let place = Place::new();
        drop(place.open());
        assert!(ids(&mut RecordsReader::open(&place.file()).unwrap(), None).is_empty());
    }

    #[test]
    fn a_slow_reader_holds_no_snapshot_while_it_looks_at_a_row() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 2 * CHUNK + 500);
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        let mut rows = 0;
        let mut look = |row: &RecordRow| -> io::Result<()> {
            rows += 1;
            if row.id % 500 == 0 {
                records.record(&[download(format!("late-{rows}.zip"), 1)]).unwrap();
                let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
                let busy: i64 = records.connection.query_row(sql, [], |row| row.get(0)).unwrap();
                assert_eq!(busy, 0, "the log could not be emptied at row {}", row.id);
            }
            Ok(())
        };
        reader.for_each(&Filter::default(), &mut look).unwrap();
        assert_eq!(rows, 2 * CHUNK + 500, "what came later is not shown");
    }

    #[test]
    fn a_reader_and_a_backup_beside_a_busy_writer_see_whole_transactions() {
        let place = Place::new();
        let mut records = place.open();
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                for batch in 0..150 {
                    let files: Vec<_> =
                        (0..20).map(|n| download(format!("{batch}-{n}.zip"), batch)).collect();
                    records.record(&files).unwrap();
                    records.mark_evicted(&[batch], 1).unwrap();
                }
                done.store(true, Ordering::Release);
                records
            })
        };
        let mut looks = 0;
        loop {
            let last = done.load(Ordering::Acquire);
            let seen = ids(&mut RecordsReader::open(&place.file()).unwrap(), None);
            assert_eq!(seen.len() % 20, 0);
            assert_eq!(seen, (1..=seen.len() as i64).collect::<Vec<_>>());
            check_backup(&place, looks);
            looks += 1;
            if last {
                assert_eq!(seen.len(), 3000);
                break;
            }
        }
        drop(writer.join().unwrap());
    }

    /// Makes a backup as the manual says, and checks that it is a record database with true totals.
    fn check_backup(place: &Place, number: usize) {
        let backup = place.directory().join(format!("backup-{number}.db"));
        let source = Connection::open(place.file()).unwrap();
        source.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
        let mut backup = Records::open(&backup).unwrap();
        let Totals { present_files, evicted_files, .. } = backup.totals().unwrap();
        let sql = "SELECT count(*) FILTER (WHERE evicted_at IS NULL), count(evicted_at) FROM downloads";
        let counted: (i64, i64) =
            backup_connection(&mut backup).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((present_files as i64, evicted_files as i64), counted);
    }

    fn backup_connection(records: &mut Records) -> &Connection {
        &records.connection
    }

    #[test]
    fn the_reader_changes_nothing_and_leaves_nothing_behind() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 3);
        records.close();
        let before = fs::read(place.file()).unwrap();
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        assert_eq!(ids(&mut reader, None).len(), 3);
        assert!(reader.connection.execute("DELETE FROM downloads", []).is_err());
        drop(reader);
        assert!(fs::read(place.file()).unwrap() == before);
        let left: Vec<_> =
            fs::read_dir(place.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_closed_database_can_be_read_where_nothing_can_be_made_beside_it() {
        let place = Place::new();
        let mut reader = RecordsReader::open(&unshared(&place)).unwrap();
        assert!(reader.unlocked.is_some());
        assert_eq!(ids(&mut reader, None).len() as i64, CHUNK + 3);
    }

    #[test]
    fn a_reader_without_locks_notices_when_a_service_overtakes_it() {
        let place = Place::new();
        let mut reader = RecordsReader::open(&unshared(&place)).unwrap();
        fs::remove_file(beside(&place.file(), "-shm")).unwrap();
        let mut shown = Vec::new();
        let mut look = |row: &RecordRow| -> io::Result<()> {
            if shown.is_empty() {
                let mut records = place.open();
                records.mark_evicted(&[CHUNK + 1], 7).unwrap();
                records.close();
            }
            shown.push((row.id, row.evicted_at));
            Ok(())
        };
        reader.for_each(&Filter::default(), &mut look).unwrap();
        assert!(reader.unlocked.is_none(), "it was opened again");
        assert_eq!(shown.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (1..=CHUNK + 3).collect::<Vec<_>>());
        assert_eq!(shown[CHUNK as usize..], [(CHUNK + 1, Some(7)), (CHUNK + 2, None), (CHUNK + 3, None)]);
    }

    #[test]
    fn without_locks_a_log_that_a_crash_left_is_refused_with_the_way_out() {
        let place = Place::new();
        let file = unshared(&place);
        fs::write(beside(&file, "-wal"), b"frames").unwrap();
        let error = RecordsReader::open(&file).unwrap_err();
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("or a running service"), "{error}");
    }

    #[test]
    fn a_database_that_is_just_being_made_is_waited_for() {
        let place = Place::new();
        fs::write(place.file(), b"").unwrap();
        let file = place.file();
        let reading = thread::spawn(move || RecordsReader::open_within(&file, Duration::from_secs(20)));
        record_some(&mut place.open(), 3);
        let mut reader = reading.join().unwrap().unwrap();
        assert!(ids(&mut reader, None).len() <= 3);
    }

    #[test]
    fn the_reader_refuses_what_it_cannot_read_and_says_why() {
        let place = Place::new();
        let open = || RecordsReader::open_within(&place.file(), Duration::ZERO).unwrap_err();
        assert!(matches!(open(), OpenError::Missing { .. }));
        fs::write(place.file(), b"").unwrap();
        assert!(matches!(open(), OpenError::Unmade { .. }));
        assert!(fs::read(place.file()).unwrap().is_empty());
        fs::write(place.file(), b"no database at all, but some text that is long enough").unwrap();
        assert!(matches!(open(), OpenError::Damaged { .. }));
        fs::remove_file(place.file()).unwrap();
        place.open().close();
        let connection = Connection::open(place.file()).unwrap();
        connection.execute_batch("PRAGMA user_version = 9").unwrap();
        assert!(matches!(open(), OpenError::NewerVersion { found: 9, .. }));
        connection.execute_batch("PRAGMA application_id = 9").unwrap();
        assert!(matches!(open(), OpenError::NotOurs { .. }));
    }
}
