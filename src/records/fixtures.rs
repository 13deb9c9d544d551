//! What the tests of the records share.

use std::sync::Arc;

use super::change::{Amendment, Change, Changed, Mark};
use super::error::RecordsError;
use super::reader::RecordReader;
use super::store::RecordStore;
use super::types::{Recorded, Writes};
use crate::base::facts::{Download, Due, Earlier, FileFacts, Modified, Postponed, TimeSource};
pub(crate) use crate::base::fixtures::{name, path as directory, server};

/// A place for records that goes with the test.
pub(crate) trait Place {
    fn open(&self) -> Box<dyn RecordStore>;

    fn read(&self) -> Box<dyn RecordReader>;
}

/// Operations one by one, in the words of tests.
pub(crate) trait Shortcuts: RecordStore {
    fn deliver(&mut self, ids: &[i64], at: i64) -> usize {
        let writes = Writes { delivered: ids, delivered_at: at, ..Writes::default() };
        self.commit(&writes).unwrap().delivered
    }

    fn postpone(&mut self, id: i64, attempts: u32, at: i64) {
        let writes = Writes { postponed: &[Postponed { id, attempts, at }], ..Writes::default() };
        self.commit(&writes).unwrap();
    }

    fn due(&mut self, now: i64, limit: usize, in_flight: &[i64]) -> Due {
        self.due_notices(now, limit, in_flight, &[]).unwrap()
    }

    fn evict(&mut self, ids: &[i64], at: i64) -> Changed {
        self.change(&Change::Evicted(ids.to_vec()), at).unwrap()
    }

    fn miss(&mut self, ids: &[i64], at: i64) -> Changed {
        self.change(&Change::Missing(ids.to_vec()), at).unwrap()
    }

    fn find_again(&mut self, ids: &[i64], now: i64) -> u64 {
        self.change(&Change::Found(ids.to_vec()), now).unwrap().records
    }

    fn amend(&mut self, amendment: Amendment, ids: &[i64], now: i64) -> Changed {
        self.change(&Change::Amend(amendment, ids.to_vec()), now).unwrap()
    }

    fn mark(&mut self, mark: Mark, files: &[Download]) -> Result<u64, RecordsError> {
        Ok(self.change(&Change::Mark(mark, files.to_vec()), 0)?.records)
    }
}

impl<S: RecordStore + ?Sized> Shortcuts for S {}

/// What MLSD says of a file.
pub(crate) fn mlsd(size: u64, unix_seconds: i64) -> FileFacts {
    FileFacts { size: Some(size), modified: Some(Modified { unix_seconds, source: TimeSource::Utc }) }
}

/// A file of 10 bytes in `/in` of omc01, changed at second 60 and downloaded at millisecond `at`.
pub(crate) fn download(file_name: impl AsRef<[u8]>, at: i64) -> Download {
    Download {
        server: server("omc01"),
        directory: Arc::new(directory("/in")),
        name: name(file_name),
        facts: mlsd(10, 60),
        size: 10,
        downloaded_at: at,
        no_archive: false,
        earlier: Earlier::Stays,
    }
}

/// Records `count` downloads, the first at millisecond 1, and returns their ids.
pub(crate) fn record_some<S: RecordStore + ?Sized>(records: &mut S, count: i64) -> Vec<i64> {
    let files: Vec<_> = (1..=count).map(|at| download(format!("{at}.zip"), at)).collect();
    records.record(&files).unwrap().into_iter().map(new_id).collect()
}

pub(crate) fn new_id(recorded: Recorded) -> i64 {
    match recorded {
        Recorded::New { id } => id,
        Recorded::Already { id } => panic!("{id} was on record before"),
    }
}
