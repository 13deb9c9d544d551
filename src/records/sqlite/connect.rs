//! Opens the record database for its one writer: makes it, checks it, brings it up to date. A file that is
//! refused is left byte for byte as it was.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustix::fs::FallocateFlags;

use super::place::Identity;
use super::{OpenError, Records, outbox, present, read_totals, reader};
use crate::base::durable::make_directories;

/// "MROS" in the header of every record database, see schema.sql.
const APPLICATION_ID: i64 = 1_297_239_891;

/// Step n takes a database of version n to version n + 1. Steps are only ever added.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("beginnings.sql"),
    include_str!("lanes.sql"),
    include_str!("no_archives.sql"),
    include_str!("mirror.sql"),
];

/// How long a statement waits for another program's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are statements, so that none is ever prepared twice.
const CACHED_STATEMENTS: usize = 64;

/// Room for the -shm file and the first pages of the -wal file, kept in the lock file: a service that starts on
/// a full disk must be able to open its records, or it could not evict anything.
const RESERVE_BYTES: u64 = 256 * 1024;

/// The owner writes, the group reads.
pub(super) const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// FULL: what a method has returned from survives a power cut. The page cache is the only memory that could
/// grow with the file, hence its limit of 8 MiB; the -wal file is cut to 64 MiB after a long reader let it grow.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -8192;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

impl Records {
    /// Opens the database at `path`, which is made with its directory when missing. Takes time for the
    /// pages that it looks at, not for the number of records.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is unchanged then.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    fn open_within(path: &Path, busy_timeout: Duration) -> Result<Self, OpenError> {
        let file = place(path)?;
        // before anything else touches the file: closing it would drop SQLite's locks of this process
        let lock = lock(&file)?;
        never_begin_beside_a_log(&file, &lock)?;
        let connection = with_reserve(&lock, || open_locked(&file, busy_timeout))?;
        let identity = Identity::of(&file).map_err(|error| OpenError::io(&file, "look at it", &error))?;
        Ok(Self { connection, file, identity, rescue: None, _lock: lock })
    }
}

fn open_locked(file: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    make(file)?;
    let sorted = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    let mut connection = connect(file, busy_timeout).map_err(sorted)?;
    let version = Header::read(&connection).map_err(sorted)?.version_for_writer(file)?;
    require_wal(&connection, file)?;
    connection.execute_batch(SETTINGS).map_err(sorted)?;
    migrate(&mut connection, version, &MIGRATIONS).map_err(sorted)?;
    probe(&connection).map_err(|error| match OpenError::sqlite(file, &error) {
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
    if length(&beside(file, "-wal"))? > 0 {
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

/// Without a write-ahead log every reader would stop the writer.
fn require_wal(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let mode: rusqlite::Result<String> =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
    match mode.as_deref() {
        Ok("wal") => Ok(()),
        Ok(mode) => {
            let detail = format!("its file system allows no write-ahead log, only mode {mode}");
            Err(OpenError::Other { file: file.to_owned(), detail })
        }
        Err(error) => Err(OpenError::sqlite(file, error)),
    }
}

/// Looks at every table and index, at a place or two each, and prepares every statement.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    for sql in super::statements() {
        connection.prepare_cached(sql)?;
    }
    read_totals(connection)?;
    reader::read_ends(connection)?;
    present::probe(connection)?;
    outbox::probe(connection)
}

/// Opens, and where the disk is full once more with the room that the lock file holds. The reserve is taken
/// again only by an opening that does without it.
fn with_reserve<T>(lock: &File, open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let result = match open() {
        Err(OpenError::DiskFull { .. }) if release(lock) => return open(),
        result => result,
    };
    if result.is_ok()
        && let Err(error) = rustix::fs::fallocate(lock, FallocateFlags::empty(), 0, RESERVE_BYTES)
    {
        log::debug!("no room is kept in the lock file of the record database: {error}");
    }
    result
}

/// Whether giving the reserve up made room.
fn release(lock: &File) -> bool {
    lock.metadata().is_ok_and(|metadata| metadata.len() > 0) && lock.set_len(0).is_ok()
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

/// Keeps a second service out for as long as the answer lives. The lock file stays: removing it would let two
/// services lock two files of the same name.
fn lock(file: &Path) -> Result<File, OpenError> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(beside(file, ".lock"))
        .map_err(|error| OpenError::io(file, "make its lock file", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { file: file.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(file, "lock its lock file", &error)),
    }
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

/// Connects without reading or changing anything yet, and so that closing changes nothing either.
pub(super) fn connect(file: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Applies the steps from `version` on, each with its new version number in one transaction. A new database is made by
/// one, so that nobody reads it half made and takes it for that of an earlier release.
fn migrate(connection: &mut Connection, version: usize, steps: &[&str]) -> rusqlite::Result<()> {
    let missing: Vec<(&&str, i64)> = steps.iter().zip(1..).skip(version).collect();
    for together in missing.chunks(if version == 0 { steps.len() } else { 1 }) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (step, number) in together {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// The name of a file that SQLite or we keep beside the database.
pub(in crate::records) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

/// What tells whose database it is.
pub(super) struct Header {
    application_id: i64,
    version: i64,
    tables: i64,
}

impl Header {
    /// Reads the header and the schema, and with that learns whether the file is a database at all.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // all of it as of one moment: a service may be making the database just now
        let snapshot = connection.unchecked_transaction()?;
        Ok(Self {
            application_id: snapshot.pragma_query_value(None, "application_id", |row| row.get(0))?,
            version: snapshot.pragma_query_value(None, "user_version", |row| row.get(0))?,
            tables: snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    /// Whether nothing was put into the file yet.
    fn is_new(&self) -> bool {
        (self.application_id, self.version, self.tables) == (0, 0, 0)
    }

    /// How many migrations the file has had; none where it is new.
    pub(super) fn version_for_writer(&self, file: &Path) -> Result<usize, OpenError> {
        if self.is_new() {
            return Ok(0);
        }
        let file = file.to_owned();
        if self.application_id != APPLICATION_ID {
            return Err(OpenError::NotOurs { file });
        }
        match usize::try_from(self.version) {
            Ok(version) if version > MIGRATIONS.len() => {
                Err(OpenError::NewerVersion { file, found: self.version, known: known_version() })
            }
            Ok(version) if version > 0 => Ok(version),
            _ => Err(OpenError::Damaged { file, detail: format!("its version is {}", self.version) }),
        }
    }

    /// Whether a reader, which changes nothing, can do with the file.
    pub(super) fn check_for_reader(&self, file: &Path) -> Result<(), OpenError> {
        if self.is_new() {
            return Err(OpenError::Unmade { file: file.to_owned() });
        }
        if self.version_for_writer(file)? < MIGRATIONS.len() {
            let file = file.to_owned();
            return Err(OpenError::OlderVersion { file, found: self.version, known: known_version() });
        }
        Ok(())
    }
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;

    use super::super::Trouble;
    use super::super::fixtures::{Place, directory, download, record_some};
    use super::super::reader::CHUNK_OF_ROWS;
    use super::*;

    const PAGE: u64 = 4096;

    /// A closed database with enough records for several pages of each kind.
    fn filled(place: &Place) -> PathBuf {
        let mut records = place.open();
        record_some(&mut records, 500);
        records.close();
        place.file()
    }

    /// Changes the database with plain SQLite, as another program would.
    fn tamper(file: &Path, sql: &str) {
        Connection::open(file).unwrap().execute_batch(sql).unwrap();
    }

    fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(file).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Opens `file`, and checks that the refusal left it as it was and names it.
    fn refusal(file: &Path) -> OpenError {
        let before = fs::read(file).unwrap();
        let error = Records::open_within(file, Duration::from_millis(50)).unwrap_err();
        assert!(fs::read(file).unwrap() == before, "{error}: the file was changed");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        error
    }

    #[test]
    fn the_database_and_its_directory_are_made_and_closed_to_strangers() {
        let place = Place::new();
        let file = place.directory().join("var/lib/records.db");
        let records = Records::open(&file).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode();
        for ending in ["", "-wal", "-shm", ".lock"] {
            assert_eq!(mode(beside(&file, ending)) & 0o137, 0, "records.db{ending}");
        }
        assert_eq!(mode(place.directory().join("var/lib")) & 0o027, 0);
        records.close();
        let left: Vec<_> =
            fs::read_dir(file.parent().unwrap()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn an_empty_file_is_a_new_database_and_keeps_its_records() {
        let place = Place::new();
        fs::write(place.file(), b"").unwrap();
        record_some(&mut place.open(), 3);
        assert_eq!(place.open().totals().unwrap().downloads(), 3);
    }

    #[test]
    fn the_header_is_read_as_of_one_moment_however_often_it_changes_meanwhile() {
        let place = Place::new();
        fs::write(place.file(), b"").unwrap();
        let made = format!(
            "BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; \
                            CREATE TABLE downloads (id); COMMIT;"
        );
        let unmade =
            "BEGIN; PRAGMA application_id = 0; PRAGMA user_version = 0; DROP TABLE downloads; COMMIT;";
        let writer = connect(&place.file(), BUSY_TIMEOUT).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;").unwrap();
        let reader = connect(&place.file(), BUSY_TIMEOUT).unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..500 {
                writer.execute_batch(&made).unwrap();
                writer.execute_batch(unmade).unwrap();
            }
        });
        while !writing.is_finished() {
            let Header { application_id, version, tables } = Header::read(&reader).unwrap();
            let of_one_moment = [(0, 0, 0), (APPLICATION_ID, 1, 1)];
            assert!(of_one_moment.contains(&(application_id, version, tables)));
        }
        writing.join().unwrap();
    }

    #[test]
    fn no_empty_database_is_made_beside_the_log_of_one_that_is_gone() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 3);
        let (file, log) = (place.directory().join("other.db"), place.directory().join("other.db-wal"));
        fs::copy(beside(&place.file(), "-wal"), &log).unwrap();
        let bytes = fs::read(&log).unwrap();
        let lost = |file: &Path| matches!(Records::open(file), Err(OpenError::Lost { .. }));
        assert!(lost(&file) && !file.is_file());
        fs::write(&file, b"").unwrap();
        assert!(lost(&file) && fs::read(&log).unwrap() == bytes);
        fs::copy(place.file(), &file).unwrap();
        assert_eq!(Records::open(&file).unwrap().totals().unwrap().downloads(), 3);
        fs::remove_file(&file).unwrap();
        fs::remove_file(&log).ok();
        assert_eq!(Records::open(&file).unwrap().totals().unwrap().downloads(), 0, "moved away in order");
    }

    #[test]
    fn the_settings_are_those_that_the_promises_rest_on() {
        let place = Place::new();
        let records = place.open();
        let setting = |name: &str| -> String {
            let sql = format!("SELECT CAST((SELECT * FROM pragma_{name}) AS TEXT)");
            records.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(setting("journal_mode"), "wal");
        assert_eq!(setting("synchronous"), "2");
        assert_eq!(setting("foreign_keys"), "1");
        assert_eq!(setting("cache_size"), "-8192");
        assert_eq!(setting("journal_size_limit"), "67108864");
        assert_eq!(setting("user_version"), known_version().to_string());
        let wait: i64 = records.connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0)).unwrap();
        assert_eq!(wait, 5000);
    }

    #[test]
    fn what_was_committed_is_there_after_a_crash() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 100);
        let after_crash = place.directory().join("crashed.db");
        for ending in ["", "-wal"] {
            fs::copy(beside(&place.file(), ending), beside(&after_crash, ending)).unwrap();
        }
        assert_eq!(Records::open(&after_crash).unwrap().totals().unwrap().downloads(), 100);
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_was() {
        let place = Place::new();
        let file = filled(&place);
        let sound = fs::read(&file).unwrap();
        let connection = Connection::open(&file).unwrap();
        let root = |name: &str| -> u64 {
            let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
            let page: i64 = connection.query_row(sql, [name], |row| row.get(0)).unwrap();
            (page.cast_unsigned() - 1) * PAGE
        };
        let roots = ["downloads", "totals", "present_unannounced", "present_announced", "outbox"].map(root);
        connection.close().unwrap();
        let refused = |what: &str| {
            let error = refusal(&file);
            assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
            fs::write(&file, &sound).unwrap();
        };
        fs::write(&file, b"this is no database, and longer than a header of one hundred bytes ......")
            .unwrap();
        refused("text");
        fs::write(&file, &sound[..sound.len() / 2]).unwrap();
        refused("half a file");
        overwrite(&file, 0, b"XQLite");
        refused("header");
        overwrite(&file, 100, &[0xff; 2000]);
        refused("schema");
        for root in roots {
            overwrite(&file, root, &[0xff; PAGE as usize]);
            refused(&format!("root page at {root}"));
        }
        tamper(&file, "DELETE FROM totals");
        refused("no totals");
        tamper(&file, "DROP INDEX outbox");
        refused("no outbox");
        tamper(&file, "DROP INDEX outbox; ALTER TABLE downloads DROP COLUMN attempts");
        refused("no column");
        tamper(&file, "ALTER TABLE last_listed DROP COLUMN changes");
        refused("no column in a table of few rows");
        tamper(&file, "PRAGMA user_version = -1");
        refused("version -1");
        assert_eq!(place.open().totals().unwrap().downloads(), 500);
    }

    #[test]
    fn a_refusal_leaves_the_write_ahead_log_of_a_crash_alone() {
        let place = Place::new();
        let file = filled(&place);
        let records = place.open();
        records.connection.execute_batch("PRAGMA user_version = 77").unwrap();
        let copy = place.directory().join("crashed.db");
        for ending in ["", "-wal"] {
            fs::copy(beside(&file, ending), beside(&copy, ending)).unwrap();
        }
        let log = fs::read(beside(&copy, "-wal")).unwrap();
        assert!(!log.is_empty());
        let error = refusal(&copy);
        assert!(matches!(error, OpenError::NewerVersion { found: 77, .. }), "{error}");
        assert_eq!(fs::read(beside(&copy, "-wal")).unwrap(), log);
    }

    #[test]
    fn the_database_of_a_later_release_or_another_program_is_refused_and_left_as_it_was() {
        let place = Place::new();
        let file = filled(&place);
        let later = known_version() + 1;
        tamper(&file, &format!("PRAGMA user_version = {later}"));
        let refused = refusal(&file);
        assert!(
            matches!(refused, OpenError::NewerVersion { found, known, .. } if found == later && known == later - 1)
        );
        tamper(&file, "PRAGMA user_version = 1; PRAGMA application_id = 7");
        assert!(matches!(refusal(&file), OpenError::NotOurs { .. }));
        let other = place.directory().join("other.db");
        tamper(&other, "CREATE TABLE photos (id INTEGER)");
        assert!(matches!(refusal(&other), OpenError::NotOurs { .. }));
    }

    #[test]
    fn on_a_full_disk_the_reserve_is_given_up_once_and_taken_again_by_a_later_start() {
        let place = Place::new();
        drop(place.open());
        let lock = OpenOptions::new().write(true).open(beside(&place.file(), ".lock")).unwrap();
        let reserve = || lock.metadata().unwrap().len();
        assert_eq!(reserve(), RESERVE_BYTES);
        let tries = Cell::new(0);
        let full_while = |full: &dyn Fn() -> bool| {
            with_reserve(&lock, || {
                tries.set(tries.get() + 1);
                if full() { Err(OpenError::DiskFull { file: place.file() }) } else { Ok(()) }
            })
        };
        full_while(&|| reserve() > 0).unwrap();
        assert_eq!((tries.get(), reserve()), (2, 0));
        full_while(&|| true).unwrap_err();
        assert_eq!((tries.get(), reserve()), (3, 0));
        full_while(&|| false).unwrap();
        assert_eq!((tries.get(), reserve()), (4, RESERVE_BYTES));
    }

    #[test]
    fn a_second_service_is_kept_out_under_every_name_of_the_file() {
        let place = Place::new();
        let first = place.open();
        let link = place.directory().join("link.db");
        symlink(place.file(), &link).unwrap();
        for path in [place.file(), link] {
            let error = Records::open(&path).unwrap_err();
            assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        }
        first.close();
        place.open();
    }

    #[test]
    fn a_lock_of_another_program_is_told_as_such() {
        let place = Place::new();
        let file = filled(&place);
        let other = Connection::open(&file).unwrap();
        other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").unwrap();
        let error = refusal(&file);
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_is_told_with_its_reason() {
        let place = Place::new();
        fs::write(place.directory().join("file"), b"").unwrap();
        for (path, reason) in [
            ("file/records.db", "cannot make its directory"),
            ("", "write to it: Is a directory"),
            ("..", "not end"),
        ] {
            let error = Records::open(&place.directory().join(path)).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_database_of_version_1_is_brought_up_to_date_with_its_records() {
        let place = Place::new();
        let file = filled(&place);
        tamper(
            &file,
            "ALTER TABLE downloads DROP COLUMN no_archive; DROP TABLE beginnings; DROP TABLE mirror;
            DROP TRIGGER missing_deleted; DROP TABLE missing; DROP INDEX outbox;
            PRAGMA user_version = 1;
            CREATE INDEX outbox ON downloads (next_attempt_at)
                WHERE evicted_at IS NULL AND notified_at IS NULL",
        );
        let reader = super::super::RecordsReader::open(&file).unwrap_err();
        assert!(matches!(reader, OpenError::OlderVersion { found: 1, .. }), "{reader}");
        let mut records = place.open();
        assert_eq!(records.begin(&[super::super::fixtures::server("a")], 5).unwrap(), [5]);
        assert_eq!(records.totals().unwrap().downloads(), 500);
        assert_eq!(records.due_notices(0, 9, &[]).unwrap().fresh.len(), 9);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 2);
        let steps = [
            MIGRATIONS[0],
            MIGRATIONS[1],
            "CREATE TABLE second (id INTEGER)",
            "CREATE TABLE third (id INTEGER); SELECT * FROM nowhere",
        ];
        migrate(&mut records.connection, 2, &steps).unwrap_err();
        let version = |connection: &Connection| -> (i64, i64) {
            let sql = "SELECT (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema
                WHERE name IN ('second', 'third')";
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(version(&records.connection), (3, 1));
        migrate(
            &mut records.connection,
            3,
            &[steps[0], steps[1], steps[2], "CREATE TABLE third (id INTEGER)"],
        )
        .unwrap();
        assert_eq!(version(&records.connection), (4, 2));
        assert_eq!(records.totals().unwrap().downloads(), 2);
    }

    #[test]
    fn trouble_while_running_is_told_apart() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 500);
        records.connection.busy_timeout(Duration::from_millis(1)).unwrap();
        let other = Connection::open(place.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let trouble = |records: &mut Records| records.record(&[download("x.zip", 1)]).unwrap_err().trouble();
        assert_eq!(trouble(&mut records), Trouble::Busy);
        other.execute_batch("ROLLBACK").unwrap();
        records.connection.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(trouble(&mut records), Trouble::ReadOnly);
        records.connection.pragma_update(None, "query_only", false).unwrap();
        records.record(&[download("x.zip", 1)]).unwrap();
        drop((records, other));
        // a page in the middle, where opening does not look
        overwrite(&place.file(), middle_page(&place.file()), &[0xff; PAGE as usize]);
        let mut records = place.open();
        assert_eq!(records.present_after(None, 500).unwrap_err().trouble(), Trouble::Damaged);
    }

    /// Where a page in the midst of the rows of `downloads` begins.
    fn middle_page(file: &Path) -> u64 {
        let sql = "SELECT pageno FROM dbstat WHERE name = 'downloads' AND pagetype = 'leaf' ORDER BY path";
        let connection = Connection::open(file).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let pages: Vec<i64> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(pages.len() > 3);
        (pages[pages.len() / 2].cast_unsigned() - 1) * PAGE
    }

    #[test]
    fn every_statement_finds_its_rows_by_an_index_in_their_order() {
        let place = Place::new();
        let mut records = place.open();
        let files: Vec<_> = (0..400)
            .map(|n| {
                let mut file = download(format!("{n}.zip"), n);
                file.directory = Arc::new(directory(&format!("/{}", n % 40)));
                file
            })
            .collect();
        records.record(&files).unwrap();
        // the plans hold with statistics, which an operator may have gathered, and without
        for statistics in ["", "ANALYZE"] {
            records.connection.execute_batch(statistics).unwrap();
            let mut named = 0;
            for sql in super::super::statements().chain([CHUNK_OF_ROWS]) {
                let mut explain = records.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let mut rows = explain.raw_query();
                while let Some(row) = rows.next().unwrap() {
                    let step: String = row.get(3).unwrap();
                    let in_order =
                        step.contains("USING INDEX outbox") || step.contains("USING COVERING INDEX outbox");
                    let searched = step.starts_with("SEARCH") || in_order || step == "SCAN totals";
                    assert!(searched && !step.contains("TEMP B-TREE"), "{step}: {sql}");
                    named += usize::from(step.contains("INDEX present_") || in_order);
                }
            }
            assert_eq!(named, 7, "the statements with an index of their own");
        }
    }
}
