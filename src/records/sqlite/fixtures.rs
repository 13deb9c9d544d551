//! A place for a database that goes with the test.

use std::path::PathBuf;

use tempfile::TempDir;

use super::reader::SqliteReader;
use super::store::SqliteStore;
use crate::records::fixtures;
use crate::records::reader::RecordReader;
use crate::records::store::RecordStore;

pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory().join("records.db")
    }

    pub(super) fn open(&self) -> Box<SqliteStore> {
        Box::new(SqliteStore::open(&self.file()).unwrap())
    }

    pub(super) fn read(&self) -> SqliteReader {
        SqliteReader::open(&self.file()).unwrap()
    }
}

impl fixtures::Place for Place {
    fn open(&self) -> Box<dyn RecordStore> {
        Self::open(self)
    }

    fn read(&self) -> Box<dyn RecordReader> {
        Box::new(Self::read(self))
    }
}
