//! The records, opened for the one who writes: each operation is one transaction, and one round trip.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::directories::KnownDirectories;
use super::downloads::Batch;
use super::error::Failure;
use super::lease::Lease;
use super::link::Link;
use super::outbox::{self, Later};
use super::rows::get;
use super::statement::{Statement, transact};
use super::{begin, change, known, present, schema, totals};
use crate::base::facts::{Due, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::config::PostgresSettings;
use crate::records::change::{Amendment, Change, Changed};
use crate::records::error::{OpenError, RecordsError};
use crate::records::store::RecordStore;
use crate::records::types::{PresentFile, Recorded, RecordedMirror, Totals, Writes, Written};

/// How long [`RecordStore::close`] may take; the service has 5 s for all of its end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// Files whose times are settled in one transaction.
const SHIFTS_TOGETHER: usize = 1000;

/// See the module.
pub(super) struct PostgresStore {
    link: Link,
    lease: Lease,
    directories: KnownDirectories,
}

impl PostgresStore {
    /// Connects, makes the tables or brings them up to date, and takes the records.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the records are unchanged then.
    pub(super) fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let link = Link::new(settings)?;
        schema::migrate(&link)?;
        let lease = Lease::take(&link)?;
        Ok(Self { link, lease, directories: KnownDirectories::default() })
    }

    /// Writes in one transaction.
    fn write(
        &self,
        attempt: &'static str,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Row>>, RecordsError> {
        self.link.attempt(attempt, async |client| {
            let life = self.lease.life()?;
            Ok(transact(client, life, statements).await?)
        })
    }

    /// Puts a batch on record beside the other `statements`, and returns the rows of the latter.
    fn put(
        &mut self,
        attempt: &'static str,
        batch: &Batch<'_>,
        others: &[Statement<'_>],
    ) -> Result<(Vec<Recorded>, Vec<Vec<Row>>), RecordsError> {
        // once more where a directory was gone that was taken for known
        for _ in 0..2 {
            let mut statements = batch.directories.making(&self.directories);
            let made = statements.len();
            statements.extend(others.iter().map(|other| Statement::new(other.sql, &other.parameters)));
            statements.extend(batch.statements());
            let mut answers = self.write(attempt, &statements)?;
            let of_batch = answers.split_off((made + others.len()).min(answers.len()));
            let recorded = batch.recorded(&of_batch).map_err(|failure| self.failed(attempt, failure))?;
            if let Some(recorded) = recorded {
                self.directories.add(&batch.directories);
                return Ok((recorded, answers.split_off(made.min(answers.len()))));
            }
            self.directories.clear();
        }
        Err(self.failed(attempt, Failure::damaged("a directory that was put on record is not there")))
    }

    fn failed(&self, attempt: &'static str, Failure { kind, detail }: Failure) -> RecordsError {
        RecordsError::new(kind, attempt, self.link.place(), detail)
    }

    fn files(
        &self,
        attempt: &'static str,
        sql: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        self.link.attempt(attempt, async |client| present::read(client, sql, after, limit).await)
    }
}

impl RecordStore for PostgresStore {
    fn totals(&mut self) -> Result<Totals, RecordsError> {
        self.link.attempt("read the totals", totals::read)
    }

    fn look_up(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        files: &[(RemoteName, FileFacts)],
    ) -> Result<Vec<Knowledge>, RecordsError> {
        const WHAT: &str = "look up files";
        let found = self
            .link
            .attempt(WHAT, async |client| known::find_all(client, server, directory, files).await)?;
        let updates = known::Updates::of(files, &found);
        if !updates.is_empty() {
            self.write(WHAT, &updates.statements())?;
        }
        Ok(found.into_iter().map(|finding| finding.knowledge).collect())
    }

    fn settle_shifts(&mut self, server: &ServerName, files: &[Shifted]) -> Result<(), RecordsError> {
        files.chunks(SHIFTS_TOGETHER).try_for_each(|files| {
            let shifts = known::Shifts::new(server, files);
            self.write("settle times", &[shifts.statement()]).map(drop)
        })
    }

    fn commit(&mut self, writes: &Writes<'_>) -> Result<Written, RecordsError> {
        let Writes { downloads, delivered, delivered_at, postponed } = *writes;
        let later = Later::new(postponed);
        let mut others = Vec::new();
        if !delivered.is_empty() {
            others.push(outbox::deliver(&delivered, &delivered_at));
        }
        if !postponed.is_empty() {
            others.push(later.statement());
        }
        let attempt = writes.describe();
        let (recorded, answers) = match downloads {
            [] if others.is_empty() => return Ok(Written::default()),
            [] => (Vec::new(), self.write(attempt, &others)?),
            _ => self.put(attempt, &Batch::of_downloads(downloads), &others)?,
        };
        let told = answers.first().and_then(|rows| rows.first()).filter(|_| !delivered.is_empty());
        let told = told.map(|row| get::<i64>(row, 0)).transpose();
        let told = told.map_err(|failure| self.failed(attempt, failure))?.unwrap_or_default();
        Ok(Written { recorded, delivered: usize::try_from(told).unwrap_or_default() })
    }

    fn due_notices(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
        held: &[ServerName],
    ) -> Result<Due, RecordsError> {
        self.link.attempt("find due notices", async |client| {
            outbox::due(client, now, limit, in_flight, held).await
        })
    }

    fn oldest_present(
        &mut self,
        announced: bool,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        let sql = if announced { present::ANNOUNCED } else { present::UNANNOUNCED };
        self.files("find the oldest files", sql, after, limit)
    }

    fn present_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.files("find present files", present::ALL, after, limit)
    }

    fn missing_after(&mut self, after: i64, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.files("find missing files", present::MISSING, Some(after), limit)
    }

    fn change(&mut self, change: &Change, now: i64) -> Result<Changed, RecordsError> {
        let attempt = change.describe();
        let (sql, ids) = match change {
            Change::Evicted(ids) => (change::EVICT, ids),
            Change::Missing(ids) => (change::MISS, ids),
            Change::Found(ids) => (change::FIND, ids),
            Change::Amend(Amendment::Forget, ids) => (change::FORGET, ids),
            Change::Amend(Amendment::Requeue, ids) => (change::REQUEUE, ids),
            Change::Mark(_, files) if files.is_empty() => return Ok(Changed::default()),
            Change::Mark(mark, files) => {
                let (recorded, _) = self.put(attempt, &Batch::of_marked(files, *mark), &[])?;
                let new = recorded.iter().filter(|one| matches!(one, Recorded::New { .. })).count();
                return Ok(Changed { records: new as u64, cancelled_notices: 0 });
            }
        };
        let answers = self.write(attempt, &[change::of_records(sql, &ids.as_slice(), &now)])?;
        let rows = answers.first().map(Vec::as_slice).unwrap_or_default();
        change::changed(rows).map_err(|failure| self.failed(attempt, failure))
    }

    fn begin_servers(&mut self, servers: &[ServerName], now: i64) -> Result<Vec<i64>, RecordsError> {
        const WHAT: &str = "remember the beginnings";
        let known = self.link.attempt(WHAT, begin::all)?;
        let names: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
        let is_settled = known.len() == names.len() && names.iter().all(|name| known.contains_key(*name));
        if !is_settled {
            self.write(WHAT, &begin::keep(&names.as_slice(), &now))?;
        }
        Ok(names.iter().map(|name| known.get(*name).copied().unwrap_or(now)).collect())
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, RecordsError> {
        self.link
            .attempt("read which mirror they belong to", async |client| present::recorded(client, some).await)
    }

    fn remember_mirror(&mut self, marker: &str) -> Result<(), RecordsError> {
        let statement = Statement::new(present::REMEMBER, &[(&marker, Type::TEXT)]);
        self.write("remember the mirror", &[statement]).map(drop)
    }

    fn remembered(&mut self, key: &str) -> Result<Option<String>, RecordsError> {
        self.link.attempt("read what is remembered", async |client| begin::remembered(client, key).await)
    }

    fn remember(&mut self, key: &str, value: &str) -> Result<(), RecordsError> {
        let statement = Statement::new(begin::REMEMBER, &[(&key, Type::TEXT), (&value, Type::TEXT)]);
        self.write("remember something", &[statement]).map(drop)
    }

    /// As dropping it does.
    fn close(self: Box<Self>) {}
}

impl Drop for PostgresStore {
    /// Lets the next one begin at once. Where that cannot be said, it waits until this one is silent for long enough.
    fn drop(&mut self) {
        self.lease.release(&self.link, CLOSE_LIMIT);
    }
}
