//! Opening: what is made, what is refused, and what is brought up to date.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::super::connection::{BUSY_TIMEOUT, connect};
use super::super::files::sibling_path;
use super::super::lock::{RESERVE_BYTES, with_reserve};
use super::super::reader::SqliteReader;
use super::super::schema::{APPLICATION_ID, Header, MIGRATIONS, known_version, migrate};
use super::super::store::SqliteStore;
use crate::records::error::{FailureKind, OpenError};
use crate::records::fixtures::{Shortcuts, download, record_some, server};
use crate::records::sqlite::tests::fixtures::Place;
use crate::records::store::RecordStore;

const PAGE: u64 = 4096;

/// A closed database with enough records for several pages of each kind.
fn filled(place: &Place) -> PathBuf {
    let mut records = place.open();
    record_some(&mut *records, 500);
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
    let error = SqliteStore::open_within(file, Duration::from_millis(50)).unwrap_err();
    assert!(fs::read(file).unwrap() == before, "{error}: the file was changed");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    error
}

#[test]
fn the_database_and_its_directory_are_made_and_closed_to_strangers() {
    let place = Place::new();
    let file = place.directory().join("var/lib/records.db");
    let records = Box::new(SqliteStore::open(&file).unwrap());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode();
    for ending in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(sibling_path(&file, ending)) & 0o137, 0, "records.db{ending}");
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
    record_some(&mut *place.open(), 3);
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
    let unmade = "BEGIN; PRAGMA application_id = 0; PRAGMA user_version = 0; DROP TABLE downloads; COMMIT;";
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
    record_some(&mut *records, 3);
    let (file, log) = (place.directory().join("other.db"), place.directory().join("other.db-wal"));
    fs::copy(sibling_path(&place.file(), "-wal"), &log).unwrap();
    let bytes = fs::read(&log).unwrap();
    let lost = |file: &Path| matches!(SqliteStore::open(file), Err(OpenError::Lost { .. }));
    assert!(lost(&file) && !file.is_file());
    fs::write(&file, b"").unwrap();
    assert!(lost(&file) && fs::read(&log).unwrap() == bytes);
    fs::copy(place.file(), &file).unwrap();
    assert_eq!(SqliteStore::open(&file).unwrap().totals().unwrap().downloads(), 3);
    fs::remove_file(&file).unwrap();
    fs::remove_file(&log).ok();
    assert_eq!(SqliteStore::open(&file).unwrap().totals().unwrap().downloads(), 0, "moved away in order");
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
    record_some(&mut *records, 100);
    let after_crash = place.directory().join("crashed.db");
    for ending in ["", "-wal"] {
        fs::copy(sibling_path(&place.file(), ending), sibling_path(&after_crash, ending)).unwrap();
    }
    assert_eq!(SqliteStore::open(&after_crash).unwrap().totals().unwrap().downloads(), 100);
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
    fs::write(&file, b"this is no database, and longer than a header of one hundred bytes ......").unwrap();
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
        fs::copy(sibling_path(&file, ending), sibling_path(&copy, ending)).unwrap();
    }
    let log = fs::read(sibling_path(&copy, "-wal")).unwrap();
    assert!(!log.is_empty());
    let error = refusal(&copy);
    assert!(matches!(error, OpenError::NewerVersion { found: 77, .. }), "{error}");
    assert_eq!(fs::read(sibling_path(&copy, "-wal")).unwrap(), log);
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
    let lock = OpenOptions::new().write(true).open(sibling_path(&place.file(), ".lock")).unwrap();
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
        let error = SqliteStore::open(&path).unwrap_err();
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
        let error = SqliteStore::open(&place.directory().join(path)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_database_of_version_1_is_brought_up_to_date_with_its_records() {
    let place = Place::new();
    let file = filled(&place);
    tamper(
        &file,
        "ALTER TABLE downloads DROP COLUMN no_archive; DROP TABLE beginnings; DROP TABLE mirror; DROP TABLE remembered;
        DROP TRIGGER missing_deleted; DROP TABLE missing; DROP INDEX outbox;
        PRAGMA user_version = 1;
        CREATE INDEX outbox ON downloads (next_attempt_at)
            WHERE evicted_at IS NULL AND notified_at IS NULL",
    );
    let reader = SqliteReader::open(&file).unwrap_err();
    assert!(matches!(reader, OpenError::OlderVersion { found: 1, .. }), "{reader}");
    let mut records = place.open();
    assert_eq!(records.begin_servers(&[server("a")], 5).unwrap(), [5]);
    assert_eq!(records.totals().unwrap().downloads(), 500);
    assert_eq!(records.due(0, 9, &[]).fresh.len(), 9);
}

#[test]
fn a_migration_that_fails_leaves_the_version_before_it() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 2);
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
    migrate(&mut records.connection, 3, &[steps[0], steps[1], steps[2], "CREATE TABLE third (id INTEGER)"])
        .unwrap();
    assert_eq!(version(&records.connection), (4, 2));
    assert_eq!(records.totals().unwrap().downloads(), 2);
}

#[test]
fn trouble_while_running_is_told_apart() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 500);
    records.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let trouble = |records: &mut SqliteStore| records.record(&[download("x.zip", 1)]).unwrap_err().kind();
    assert_eq!(trouble(&mut records), FailureKind::Busy);
    other.execute_batch("ROLLBACK").unwrap();
    records.connection.pragma_update(None, "query_only", true).unwrap();
    assert_eq!(trouble(&mut records), FailureKind::ReadOnly);
    records.connection.pragma_update(None, "query_only", false).unwrap();
    records.record(&[download("x.zip", 1)]).unwrap();
    drop((records, other));
    // a page in the middle, where opening does not look
    overwrite(&place.file(), middle_page(&place.file()), &[0xff; PAGE as usize]);
    let mut records = place.open();
    assert_eq!(records.present_after(None, 500).unwrap_err().kind(), FailureKind::Damaged);
}

/// Where a page in the midst of the rows of `downloads` begins.
fn middle_page(file: &Path) -> u64 {
    let sql = "SELECT pageno FROM dbstat WHERE name = 'downloads' AND pagetype = 'leaf' ORDER BY path";
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let pages: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(pages.len() > 3);
    (pages[pages.len() / 2].cast_unsigned() - 1) * PAGE
}
