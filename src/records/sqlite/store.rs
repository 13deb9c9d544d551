//! The open database: each operation is one read or one write transaction.

use std::fs::File;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::records_error;
use super::rescue::OpenFile;
use super::{amend, begin, downloads, known, mirror, outbox, present, remembered, totals};
use crate::base::facts::{Due, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::change::{Change, Changed};
use crate::records::error::RecordsError;
use crate::records::store::RecordStore;
use crate::records::types::{PresentFile, RecordedMirror, Totals, Writes, Written};

/// How long [`RecordStore::close`] waits for readers; the service has 5 s for all of its end.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// Files whose times are settled in one transaction.
const SHIFTS_TOGETHER: usize = 1000;

/// The open record database and the lock that keeps a second service out of it.
#[derive(Debug)]
pub(super) struct SqliteStore {
    pub(super) connection: Connection,
    file: OpenFile,
    /// Declared last, so that the database is closed before another service may open it.
    _lock: File,
}

impl SqliteStore {
    pub(super) fn new(connection: Connection, file: OpenFile, lock: File) -> Self {
        Self { connection, file, _lock: lock }
    }

    /// Runs `work`, which is known to people as `what`.
    fn read<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        self.file.check(&self.connection, what)?;
        work(&mut self.connection).map_err(|error| records_error(what, self.file.path(), &error))
    }

    /// Runs `work` in one snapshot.
    fn read_snapshot<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        self.read(what, |connection| work(&connection.transaction()?))
    }

    /// Runs `work` in one write transaction, of which nothing stays where it fails.
    pub(super) fn write<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RecordsError> {
        self.read(what, |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }
}

impl RecordStore for SqliteStore {
    fn totals(&mut self) -> Result<Totals, RecordsError> {
        self.read("read the totals", |connection| totals::read(connection))
    }

    fn look_up(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        files: &[(RemoteName, FileFacts)],
    ) -> Result<Vec<Knowledge>, RecordsError> {
        const WHAT: &str = "look up files";
        let found =
            self.read_snapshot(WHAT, |snapshot| known::find_all(snapshot, server, directory, files))?;
        if found.iter().any(|finding| finding.update.is_some()) {
            self.write(WHAT, |transaction| known::keep_updates(transaction, files, &found))?;
        }
        Ok(found.into_iter().map(|finding| finding.knowledge).collect())
    }

    fn settle_shifts(&mut self, server: &ServerName, files: &[Shifted]) -> Result<(), RecordsError> {
        files.chunks(SHIFTS_TOGETHER).try_for_each(|files| {
            self.write("settle times", |transaction| {
                files.iter().try_for_each(|file| known::settle_shift(transaction, server, file))
            })
        })
    }

    fn commit(&mut self, writes: &Writes<'_>) -> Result<Written, RecordsError> {
        self.write(writes.describe(), |transaction| {
            let recorded = writes.downloads.iter().map(|file| downloads::insert(transaction, file));
            let recorded = recorded.collect::<rusqlite::Result<_>>()?;
            let delivered = outbox::deliver(transaction, writes.delivered, writes.delivered_at)?;
            outbox::postpone(transaction, writes.postponed)?;
            Ok(Written { recorded, delivered })
        })
    }

    fn due_notices(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
        held: &[ServerName],
    ) -> Result<Due, RecordsError> {
        self.read("find due notices", |connection| outbox::due(connection, now, limit, in_flight, held))
    }

    fn oldest_present(
        &mut self,
        announced: bool,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        self.read("find the oldest files", |connection| present::oldest(connection, announced, after, limit))
    }

    fn present_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.read_snapshot("find present files", |snapshot| present::all_after(snapshot, after, limit))
    }

    fn missing_after(&mut self, after: i64, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.read("find missing files", |connection| mirror::missing(connection, after, limit))
    }

    fn change(&mut self, change: &Change, now: i64) -> Result<Changed, RecordsError> {
        self.write(change.describe(), |transaction| match change {
            Change::Evicted(ids) => present::evict(transaction, ids, now, |_| Ok(())),
            Change::Missing(ids) => mirror::miss(transaction, ids, now),
            Change::Found(ids) => mirror::find(transaction, ids, now),
            Change::Amend(amendment, ids) => amend::amend(transaction, *amendment, ids, now),
            Change::Mark(mark, files) => amend::mark(transaction, *mark, files),
        })
    }

    fn begin_servers(&mut self, servers: &[ServerName], now: i64) -> Result<Vec<i64>, RecordsError> {
        const WHAT: &str = "remember the beginnings";
        let known = self.read(WHAT, |connection| begin::all(connection))?;
        let turnover = begin::Turnover::new(&known, servers);
        // a start without a change writes nothing: the disk may be full
        if !turnover.is_empty() {
            self.write(WHAT, |transaction| turnover.keep(transaction, now))?;
        }
        Ok(servers.iter().map(|server| known.get(server.as_str()).copied().unwrap_or(now)).collect())
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, RecordsError> {
        self.read_snapshot("read which mirror they belong to", |snapshot| mirror::recorded(snapshot, some))
    }

    fn remember_mirror(&mut self, marker: &str) -> Result<(), RecordsError> {
        self.write("remember the mirror", |transaction| mirror::remember(transaction, marker))
    }

    fn remembered(&mut self, key: &str) -> Result<Option<String>, RecordsError> {
        self.read("read what is remembered", |connection| remembered::read(connection, key))
    }

    fn remember(&mut self, key: &str, value: &str) -> Result<(), RecordsError> {
        self.write("remember something", |transaction| remembered::keep(transaction, key, value))
    }

    /// Leaves one file where no reader holds it.
    fn close(self: Box<Self>) {
        let Self { connection, mut file, _lock } = *self;
        if let Err(error) = file.check(&connection, "close the records") {
            log::error!("{error}");
        }
        let tidied = connection
            .busy_timeout(CLOSE_TIMEOUT)
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        let closed = connection.close().map_err(|(_, error)| error);
        if let Err(error) = tidied.and(closed) {
            log::debug!("{} was closed without a checkpoint: {error}", file.path().display());
        }
    }
}
