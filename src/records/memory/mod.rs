//! Records in memory, for tests: the same answers as those of the other stores, without a disk.

mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::change::{Change, Changed};
use super::compare::Finding;
use super::database::Database;
use super::error::{FailureKind, OpenError, RecordsError};
use super::filter::Filter;
use super::fixtures::Place;
use super::reader::{Page, ReadError, RecordReader};
use super::store::RecordStore;
use super::types::{PresentFile, RecordRow, RecordedMirror, Totals, Writes, Written};
use crate::base::facts::{Due, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use tables::{Row, Tables, key};

/// Records in a page.
const PAGE: usize = 1000;

/// A place for records, which clones share.
#[derive(Clone, Default)]
pub(crate) struct MemoryRecords(Arc<Mutex<State>>);

type FailWhere = Box<dyn Fn(&str) -> Option<FailureKind> + Send>;

#[derive(Default)]
struct State {
    is_open: bool,
    commits: usize,
    fails: Option<FailWhere>,
    tables: Tables,
}

impl MemoryRecords {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Opens the records for writing.
    pub(crate) fn open(&self) -> Result<Box<dyn RecordStore>, OpenError> {
        let is_open = std::mem::replace(&mut self.state().is_open, true);
        if is_open {
            Err(OpenError::InUse { file: "memory".into() })
        } else {
            Ok(Box::new(Open(self.clone())))
        }
    }

    /// Lets attempts fail from here on, by what they are called.
    pub(crate) fn fail_where(&self, fails: impl Fn(&str) -> Option<FailureKind> + Send + 'static) {
        self.state().fails = Some(Box::new(fails));
    }

    /// Returns how many transactions have written.
    pub(crate) fn commits(&self) -> usize {
        self.state().commits
    }
}

impl Place for MemoryRecords {
    fn open(&self) -> Box<dyn RecordStore> {
        Self::open(self).unwrap()
    }

    fn read(&self) -> Box<dyn RecordReader> {
        Box::new(self.clone())
    }
}

impl Database for MemoryRecords {
    fn open(&self) -> Result<Box<dyn RecordStore>, OpenError> {
        Self::open(self)
    }

    fn read(&self) -> Result<Box<dyn RecordReader>, OpenError> {
        Ok(Place::read(self))
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// The one who writes.
struct Open(MemoryRecords);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().is_open = false;
    }
}

impl Open {
    fn read<T>(&self, what: &'static str, read: impl FnOnce(&mut Tables) -> T) -> Result<T, RecordsError> {
        let mut state = self.0.state();
        match state.fails.as_ref().and_then(|fails| fails(what)) {
            Some(kind) => {
                Err(RecordsError::new(kind, what, Path::new("memory"), "as the test has it".to_owned()))
            }
            None => Ok(read(&mut state.tables)),
        }
    }

    fn write<T>(&self, what: &'static str, write: impl FnOnce(&mut Tables) -> T) -> Result<T, RecordsError> {
        let written = self.read(what, write)?;
        self.0.state().commits += 1;
        Ok(written)
    }
}

impl RecordStore for Open {
    fn totals(&mut self) -> Result<Totals, RecordsError> {
        self.read("read the totals", |tables| tables.totals())
    }

    fn look_up(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        files: &[(RemoteName, FileFacts)],
    ) -> Result<Vec<Knowledge>, RecordsError> {
        self.read("look up files", |tables| {
            let compare = |(name, facts): &(RemoteName, FileFacts)| {
                let id = tables.keys.get(&key(server, directory, name));
                id.map_or(Finding::NEW, |id| tables.rows[id].known().compare(facts))
            };
            let found: Vec<Finding> = files.iter().map(compare).collect();
            for ((_, facts), update) in
                files.iter().zip(&found).filter_map(|(file, found)| Some((file, found.update?)))
            {
                tables.update(update, *facts);
            }
            found.into_iter().map(|found| found.knowledge).collect()
        })
    }

    fn settle_shifts(&mut self, server: &ServerName, files: &[Shifted]) -> Result<(), RecordsError> {
        self.write("settle times", |tables| files.iter().for_each(|file| tables.settle_shift(server, file)))
    }

    fn commit(&mut self, writes: &Writes<'_>) -> Result<Written, RecordsError> {
        self.write(writes.describe(), |tables| tables.commit(writes))
    }

    fn due_notices(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
        held: &[ServerName],
    ) -> Result<Due, RecordsError> {
        self.read("find due notices", |tables| tables.due(now, limit, in_flight, held))
    }

    fn oldest_present(
        &mut self,
        announced: bool,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        let wanted = |row: &Row| row.shown.notified_at.is_some() == announced;
        self.read("find the oldest files", |tables| tables.present(after.unwrap_or(i64::MIN), limit, wanted))
    }

    fn present_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.read("find present files", |tables| tables.present(after.unwrap_or(i64::MIN), limit, |_| true))
    }

    fn missing_after(&mut self, after: i64, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.read("find missing files", |tables| {
            let ids = tables.missing.range(after.saturating_add(1)..).take(limit);
            ids.map(|id| tables.rows[id].present()).collect()
        })
    }

    fn change(&mut self, change: &Change, now: i64) -> Result<Changed, RecordsError> {
        self.write(change.describe(), |tables| tables.change(change, now))
    }

    fn begin_servers(&mut self, servers: &[ServerName], now: i64) -> Result<Vec<i64>, RecordsError> {
        self.write("remember the beginnings", |tables| {
            tables.beginnings.retain(|name, _| servers.iter().any(|server| server.as_str() == name));
            let begin =
                |server: &ServerName| *tables.beginnings.entry(server.as_str().to_owned()).or_insert(now);
            servers.iter().map(begin).collect()
        })
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, RecordsError> {
        self.read("read which mirror they belong to", |tables| tables.mirror(some))
    }

    fn remember_mirror(&mut self, marker: &str) -> Result<(), RecordsError> {
        self.write("remember the mirror", |tables| tables.marker = Some(marker.to_owned()))
    }

    fn remembered(&mut self, key: &str) -> Result<Option<String>, RecordsError> {
        self.read("read what is remembered", |tables| tables.remembered.get(key).cloned())
    }

    fn remember(&mut self, key: &str, value: &str) -> Result<(), RecordsError> {
        self.write("remember something", |tables| {
            tables.remembered.insert(key.to_owned(), value.to_owned());
        })
    }

    fn close(self: Box<Self>) {}
}

impl RecordReader for MemoryRecords {
    fn newest(&mut self, limit: u32) -> Result<Vec<RecordRow>, ReadError> {
        Ok(self
            .state()
            .tables
            .rows
            .values()
            .rev()
            .take(limit as usize)
            .map(|row| row.shown.clone())
            .collect())
    }

    fn last_id(&mut self) -> Result<Option<i64>, ReadError> {
        Ok(self.state().tables.rows.keys().next_back().copied())
    }

    fn page(&mut self, after: i64, until: i64, filter: &Filter) -> Result<Page, ReadError> {
        let state = self.state();
        let rows: Vec<_> = state.tables.rows.range(after.saturating_add(1)..=until).take(PAGE).collect();
        let last = rows.last().map(|(id, _)| **id);
        let meant = rows.into_iter().map(|(_, row)| &row.shown).filter(|row| filter.wants(row));
        Ok(Page { last, rows: meant.cloned().collect() })
    }

    fn knows(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        name: &RemoteName,
    ) -> Result<bool, ReadError> {
        Ok(self.state().tables.keys.contains_key(&key(server, directory, name)))
    }

    fn servers(&mut self) -> Result<Vec<String>, ReadError> {
        let names: BTreeSet<_> = self.state().tables.keys.keys().map(|(server, ..)| server.clone()).collect();
        Ok(names.into_iter().collect())
    }

    fn beginning(&mut self, server: &ServerName) -> Result<Option<i64>, ReadError> {
        Ok(self.state().tables.beginnings.get(server.as_str()).copied())
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, ReadError> {
        Ok(self.state().tables.mirror(some))
    }
}

super::conformance::record_store_suite!(MemoryRecords::default());
