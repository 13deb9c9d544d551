//! The records in one SQLite file.
//!
//! [`Records`] is the only writer. It is plain blocking code for one thread that owns it; every method is one
//! transaction that is on disk when it returns, and may be repeated without harm. [`RecordsReader`] reads
//! beside it, from another process. Neither keeps anything in memory that grows with the number of records.

mod amend;
mod begin;
pub(super) mod connect;
mod downloads;
#[cfg(test)]
pub(super) mod fixtures;
mod known;
mod mark;
mod mirror;
mod outbox;
mod place;
mod present;
mod reader;
mod shift;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::names::{RemotePath, ServerName};

use super::{ExportError, Filter, OpenError, RecordsError, Trouble};
use crate::base::facts::{Download, Due, Knowledge, Notice, Postponed};
pub use amend::{Amended, Amendment, BATCH};
pub use downloads::{Recorded, Writes};
pub use mark::Mark;
pub use mirror::Standing;
pub use present::{Evicted, PresentFile};
pub use reader::{RecordRow, RecordsReader};

/// How long [`Records::close`] waits for readers; the service has 5 s for all of its end.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// The open record database and the lock that keeps a second service out of it.
#[derive(Debug)]
pub struct Records {
    connection: Connection,
    file: PathBuf,
    /// Of the file that is open.
    identity: place::Identity,
    /// What became of the records when the file was found deleted or replaced.
    rescue: Option<String>,
    /// Declared last, so that the database is closed before another service may open it.
    _lock: File,
}

/// Sums over all records. Reading them costs the same however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files downloaded and, as far as is known, still in the mirror.
    pub present_files: u64,
    /// Their size in bytes.
    pub present_bytes: u64,
    /// Files evicted, or found deleted by hand.
    pub evicted_files: u64,
    /// Their size in bytes.
    pub evicted_bytes: u64,
    /// Notices still to be delivered.
    pub pending_notices: u64,
    /// Notices delivered.
    pub delivered_notices: u64,
    /// Notices that were cancelled because the file was evicted first.
    pub cancelled_notices: u64,
    /// Changes of downloaded files that were noticed on servers.
    pub changes: u64,
}

impl Totals {
    /// Files ever downloaded.
    #[must_use]
    pub fn downloads(&self) -> u64 {
        self.present_files + self.evicted_files
    }
}

impl Records {
    /// The sums over all records.
    ///
    /// # Errors
    ///
    /// [`RecordsError`] where the database cannot be read.
    pub fn totals(&mut self) -> Result<Totals, RecordsError> {
        self.attempt("read the totals", |connection| read_totals(connection))
    }

    /// Ends the use of the database and leaves one file where no reader holds it. Nothing is lost without it:
    /// every method has written before it returns.
    pub fn close(mut self) {
        if let Err(error) = self.still_in_place("close the records") {
            log::error!("{error}");
        }
        let Self { connection, file, _lock, .. } = self;
        let tidied = connection
            .busy_timeout(CLOSE_TIMEOUT)
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        let closed = connection.close().map_err(|(_, error)| error);
        if let Err(error) = tidied.and(closed) {
            log::debug!("{} was closed without a checkpoint: {error}", file.display());
        }
    }

    /// Runs `work`, which is known to people as `what`.
    fn attempt<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        self.still_in_place(what)?;
        work(&mut self.connection).map_err(|error| RecordsError::new(what, &self.file, &error))
    }

    /// Runs `work` in one write transaction, of which nothing stays where it fails.
    fn write<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        self.attempt(what, |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }
}

const TOTALS: &str = "SELECT present_files, present_bytes, evicted_files, evicted_bytes, pending, delivered,
    cancelled, changes FROM totals WHERE id = 1";

fn read_totals(connection: &Connection) -> rusqlite::Result<Totals> {
    connection.prepare_cached(TOTALS)?.query_row([], totals)
}

/// The sums, in the order of [`TOTALS`].
fn totals(row: &rusqlite::Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        present_files: unsigned(row, 0)?,
        present_bytes: unsigned(row, 1)?,
        evicted_files: unsigned(row, 2)?,
        evicted_bytes: unsigned(row, 3)?,
        pending_notices: unsigned(row, 4)?,
        delivered_notices: unsigned(row, 5)?,
        cancelled_notices: unsigned(row, 6)?,
        changes: unsigned(row, 7)?,
    })
}

/// Every statement of the service, all of them prepared once.
fn statements() -> impl Iterator<Item = &'static str> {
    let files = downloads::STATEMENTS.into_iter().chain(known::STATEMENTS).chain(present::STATEMENTS);
    let files = files.chain(outbox::STATEMENTS).chain(amend::STATEMENTS).chain(begin::STATEMENTS);
    files.chain(mark::STATEMENTS).chain(mirror::STATEMENTS)
}

/// A number that is never negative unless the file is damaged.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A size as SQLite can hold it. No disk holds a file of 8 EiB.
fn storable(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn server_name(row: &Row<'_>, column: usize) -> rusqlite::Result<ServerName> {
    let name = row.get_ref(column)?.as_str()?;
    ServerName::new(name)
        .map_err(|why| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into()))
}

/// Puts a file's path together from five columns: `server, wire, text` of its directory, and `name, text`.
/// `first` is the one of the directory's `wire`.
fn remote_path(row: &Row<'_>, first: usize) -> rusqlite::Result<RemotePath> {
    let directory_wire = row.get_ref(first)?.as_blob()?;
    let directory_text = row.get_ref(first + 1)?.as_str_or_null()?;
    let name = row.get_ref(first + 2)?.as_blob()?;
    let text = row.get_ref(first + 3)?.as_str_or_null()?;

    let mut wire = Vec::with_capacity(directory_wire.len() + 1 + name.len());
    wire.extend_from_slice(directory_wire);
    if directory_wire != b"/" {
        wire.push(b'/');
    }
    wire.extend_from_slice(name);
    if let Some(whole) = text.filter(|text| text.starts_with('/')) {
        return Ok(RemotePath::from_parts(wire, whole.to_owned()));
    }
    let directory = text_of(directory_text, directory_wire, first)?;
    let slash = if directory == "/" { "" } else { "/" };
    let text = format!("{directory}{slash}{}", text_of(text, name, first + 2)?);
    Ok(RemotePath::from_parts(wire, text))
}

/// The text of a name: its own, or its bytes where it has none.
fn text_of<'a>(text: Option<&'a str>, wire: &'a [u8], column: usize) -> rusqlite::Result<&'a str> {
    match text {
        Some(text) => Ok(text),
        None => std::str::from_utf8(wire).map_err(|error| rusqlite::Error::Utf8Error(column, error)),
    }
}

fn modified(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Modified>> {
    let (seconds, source): (Option<i64>, Option<i64>) = (row.get(first)?, row.get(first + 1)?);
    Ok(seconds
        .zip(source.and_then(TimeSource::from_code))
        .map(|(unix_seconds, source)| Modified { unix_seconds, source }))
}

/// The two columns of a time.
fn modified_columns(facts: &FileFacts) -> (Option<i64>, Option<i64>) {
    (facts.modified.map(|time| time.unix_seconds), facts.modified.map(|time| time.source.code()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::fixtures::{Place, directory, download, mlsd, name, server};
    use super::*;

    /// The totals, counted anew from all rows.
    fn counted(records: &Records) -> Totals {
        let sql = "SELECT count(*) FILTER (WHERE evicted_at IS NULL),
                ifnull(sum(size) FILTER (WHERE evicted_at IS NULL), 0),
                count(*) FILTER (WHERE evicted_at IS NOT NULL),
                ifnull(sum(size) FILTER (WHERE evicted_at IS NOT NULL), 0),
                count(*) FILTER (WHERE evicted_at IS NULL AND notified_at IS NULL),
                count(notified_at), count(*) FILTER (WHERE evicted_at IS NOT NULL AND notified_at IS NULL),
                (SELECT ifnull(sum(changes), 0) FROM last_listed)
            FROM downloads";
        records.connection.query_row(sql, [], totals).unwrap()
    }

    /// Marsaglia's xorshift64: the same numbers in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }

        fn ids(&mut self) -> Vec<i64> {
            (0..self.below(6)).map(|_| self.below(150).cast_signed()).collect()
        }
    }

    fn anything(records: &mut Records, dice: &mut Dice, at: i64) {
        let file = |dice: &mut Dice| {
            let mut file = download(format!("{}.zip", dice.below(100)), at);
            (file.size, file.facts.size) = (dice.below(1000), Some(dice.below(1000)));
            file
        };
        match dice.below(6) {
            0 | 1 => {
                let files: Vec<_> = (0..dice.below(8)).map(|_| file(dice)).collect();
                records.record(&files).unwrap();
            }
            2 => drop(records.mark_evicted(&dice.ids(), at).unwrap()),
            3 => drop(records.mark_delivered(&dice.ids(), at).unwrap()),
            4 => {
                let id = dice.below(150).cast_signed();
                records.settle(&[], at, &[Postponed { id, attempts: 1, at: at + 5 }]).unwrap();
            }
            _ => {
                let listing: Vec<_> = (0..9)
                    .map(|n| (name(format!("{n}.zip")), mlsd(dice.below(3), dice.below(3).cast_signed())))
                    .collect();
                records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
            }
        }
    }

    #[test]
    fn the_totals_are_the_sums_over_all_records_whatever_happens() {
        let place = Place::new();
        let mut records = place.open();
        let mut dice = Dice(0x2545_F491_4F6C_DD1D);
        for at in 1..600 {
            anything(&mut records, &mut dice, at);
            assert_eq!(records.totals().unwrap(), counted(&records), "after {at} operations");
        }
        let totals = records.totals().unwrap();
        let each =
            [totals.present_bytes, totals.evicted_files, totals.pending_notices, totals.delivered_notices];
        assert!(
            each.into_iter().chain([totals.cancelled_notices, totals.changes]).all(|sum| sum > 3),
            "{totals:?}"
        );
        drop(records);
        assert_eq!(place.open().totals().unwrap(), totals);
    }

    #[test]
    fn the_totals_stay_right_when_rows_are_deleted_by_hand() {
        let place = Place::new();
        let mut records = place.open();
        let ids = fixtures::record_some(&mut records, 6);
        records.mark_delivered(&ids[..3], 7).unwrap();
        records.mark_evicted(&ids[2..5], 8).unwrap();
        let listing = [(name("1.zip"), mlsd(99, 60)), (name("6.zip"), mlsd(99, 60))];
        records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
        records.connection.execute("DELETE FROM downloads WHERE id % 2 = 0", []).unwrap();
        let changes = records.totals().unwrap().changes;
        assert_eq!(records.totals().unwrap(), Totals { changes, ..counted(&records) });
        assert_eq!(counted(&records).changes, 1, "the change of a deleted record is gone with it");
    }

    #[test]
    fn a_write_holds_the_lock_from_its_beginning_and_keeps_nothing_where_it_fails() {
        let place = Place::new();
        let mut records = place.open();
        let other = Connection::open(place.file()).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        let refused = records.write("try", |transaction| {
            other.execute_batch("BEGIN IMMEDIATE").unwrap_err();
            transaction.execute("UPDATE totals SET changes = 5", [])?;
            transaction.execute_batch("SELECT * FROM nowhere")
        });
        assert!(refused.unwrap_err().to_string().starts_with("cannot try in "));
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(records.totals().unwrap().changes, 0);
    }

    /// From 14 servers in turn, 5000 files to a directory, with a name as equipment makers give it.
    fn nth_download(n: i64) -> Download {
        let mut file = download(format!("TD-LTE_MRO_VENDOR_OMC01_{n:06}_20261123030000.zip"), n);
        file.server = server(&format!("omc{:02}", n % 14));
        file.directory = Arc::new(directory(&format!("/MR/20261123/{:03}", n / 70_000)));
        (file.size, file.facts) = (1_000_000, mlsd(1_000_000, 1_795_402_800));
        file
    }

    /// Does `work` and prints how long it took for each of `count`.
    fn timed<T>(what: &str, count: i64, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        let total = start.elapsed();
        println!("{what}: {total:?}, {:.2} us each of {count}", total.as_secs_f64() * 1e6 / count as f64);
        value
    }

    #[test]
    #[ignore = "takes a minute; shows the cost of everything with a million records"]
    fn a_million_records_cost_no_more_to_open_than_a_few() {
        const MILLION: i64 = 1_000_000;
        let place = Place::new();
        let mut records = place.open();
        timed("record in thousands", MILLION, || {
            for thousand in 0..MILLION / 1000 {
                let files: Vec<_> = (0..1000).map(|n| nth_download(thousand * 1000 + n)).collect();
                records.record(&files).unwrap();
            }
        });
        let ids = |range: std::ops::Range<i64>| range.collect::<Vec<_>>();
        timed("deliver", 900_000, || records.mark_delivered(&ids(1..900_001), 1).unwrap());
        timed("evict", 800_000, || records.mark_evicted(&ids(1..800_001), 1).unwrap());
        records.close();
        let bytes = std::fs::metadata(place.file()).unwrap().len();
        println!("{} bytes a record", bytes / MILLION.cast_unsigned());

        let start = Instant::now();
        let mut records = timed("open", 1, || place.open());
        assert!(start.elapsed() < Duration::from_secs(1));
        let listing: Vec<_> =
            (0..5000).map(|n| nth_download(n * 14)).map(|file| (file.name, file.facts)).collect();
        let first = nth_download(0);
        for turn in ["cold", "warm"] {
            let found = timed(&format!("look up, {turn}"), 5000, || {
                records.look_up(&first.server, &first.directory, &listing).unwrap()
            });
            assert_eq!(found.iter().filter(|found| **found == Knowledge::Known).count(), 5000);
        }
        timed("totals", 1, || records.totals().unwrap());
        timed("oldest present", 100, || {
            assert_eq!(records.oldest_present(100, None, true).unwrap()[0].id, 800_001)
        });
        timed("due notices", 100, || {
            assert_eq!(records.due_notices(MILLION, 100, &[]).unwrap().fresh.len(), 100)
        });
        timed("deliver one by one", 200, || {
            (900_001..900_201).for_each(|id| assert_eq!(records.mark_delivered(&[id], 1).unwrap(), 1));
        });
        let mut next = MILLION;
        for batch in [1, 64] {
            timed(&format!("record in batches of {batch}"), batch * 200, || {
                for _ in 0..200 {
                    let files: Vec<_> = (0..batch).map(|n| nth_download(next + n)).collect();
                    records.record(&files).unwrap();
                    next += batch;
                }
            });
        }
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        timed("export as json", next, || {
            crate::records::write_json(&mut reader, &Filter::default(), &mut std::io::sink()).unwrap()
        });
    }
}
