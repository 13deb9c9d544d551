//! The reader beside a writer, and where nothing can be locked.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::super::files::sibling_path;
use super::super::reader::{PAGE, SqliteReader};
use super::super::store::SqliteStore;
use crate::records::error::OpenError;
use crate::records::filter::Filter;
use crate::records::fixtures::{Shortcuts, download, record_some};
use crate::records::reader::RecordReader;
use crate::records::sqlite::tests::fixtures::Place;
use crate::records::store::RecordStore;
use crate::records::types::{RecordRow, Totals};

fn ids(reader: &mut SqliteReader, server: Option<&str>) -> Vec<i64> {
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
    record_some(&mut *records, PAGE + 3);
    records.close();
    symlink("/nowhere", sibling_path(&place.file(), "-shm")).unwrap();
    place.file()
}

#[test]
fn a_slow_reader_holds_no_snapshot_while_it_looks_at_a_row() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 2 * PAGE + 500);
    let mut reader = place.read();
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
    assert_eq!(rows, 2 * PAGE + 500, "what came later is not shown");
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
                let files: Vec<_> = (0..20).map(|n| download(format!("{batch}-{n}.zip"), batch)).collect();
                records.record(&files).unwrap();
                records.evict(&[batch], 1);
            }
            done.store(true, Ordering::Release);
            records
        })
    };
    let mut looks = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        let seen = ids(&mut place.read(), None);
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
    let mut backup = SqliteStore::open(&backup).unwrap();
    let Totals { present_files, evicted_files, .. } = backup.totals().unwrap();
    let sql = "SELECT count(*) FILTER (WHERE evicted_at IS NULL), count(evicted_at) FROM downloads";
    let counted: (i64, i64) =
        backup_connection(&mut backup).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((present_files as i64, evicted_files as i64), counted);
}

fn backup_connection(records: &mut SqliteStore) -> &Connection {
    &records.connection
}

#[test]
fn the_reader_changes_nothing_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 3);
    records.close();
    let before = fs::read(place.file()).unwrap();
    let mut reader = place.read();
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
    let mut reader = SqliteReader::open(&unshared(&place)).unwrap();
    assert!(reader.unlocked.is_some());
    assert_eq!(ids(&mut reader, None).len() as i64, PAGE + 3);
}

#[test]
fn a_reader_without_locks_notices_when_a_service_overtakes_it() {
    let place = Place::new();
    let mut reader = SqliteReader::open(&unshared(&place)).unwrap();
    fs::remove_file(sibling_path(&place.file(), "-shm")).unwrap();
    let mut shown = Vec::new();
    let mut look = |row: &RecordRow| -> io::Result<()> {
        if shown.is_empty() {
            let mut records = place.open();
            records.evict(&[PAGE + 1], 7);
            records.close();
        }
        shown.push((row.id, row.evicted_at));
        Ok(())
    };
    reader.for_each(&Filter::default(), &mut look).unwrap();
    assert!(reader.unlocked.is_none(), "it was opened again");
    assert_eq!(shown.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (1..=PAGE + 3).collect::<Vec<_>>());
    assert_eq!(shown[PAGE as usize..], [(PAGE + 1, Some(7)), (PAGE + 2, None), (PAGE + 3, None)]);
}

#[test]
fn without_locks_a_log_that_a_crash_left_is_refused_with_the_way_out() {
    let place = Place::new();
    let file = unshared(&place);
    fs::write(sibling_path(&file, "-wal"), b"frames").unwrap();
    let error = SqliteReader::open(&file).unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("or a running service"), "{error}");
}

#[test]
fn a_database_that_is_just_being_made_is_waited_for() {
    let place = Place::new();
    fs::write(place.file(), b"").unwrap();
    let file = place.file();
    let reading = thread::spawn(move || SqliteReader::open_within(&file, Duration::from_secs(20)));
    record_some(&mut *place.open(), 3);
    let mut reader = reading.join().unwrap().unwrap();
    assert!(ids(&mut reader, None).len() <= 3);
}

#[test]
fn the_reader_refuses_what_it_cannot_read_and_says_why() {
    let place = Place::new();
    let open = || SqliteReader::open_within(&place.file(), Duration::ZERO).unwrap_err();
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
