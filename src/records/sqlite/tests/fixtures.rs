//! A place for a database that goes with the test.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::records::fixtures;
use crate::records::reader::RecordReader;
use crate::records::sqlite::reader::SqliteReader;
use crate::records::sqlite::store::SqliteStore;
use crate::records::store::RecordStore;

pub(in crate::records::sqlite) struct Place(TempDir);

impl Place {
    pub(in crate::records::sqlite) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::records::sqlite) fn directory(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    pub(in crate::records::sqlite) fn file(&self) -> PathBuf {
        self.directory().join("records.db")
    }

    pub(in crate::records::sqlite) fn open(&self) -> Box<SqliteStore> {
        Box::new(SqliteStore::open(&self.file()).unwrap())
    }

    pub(in crate::records::sqlite) fn read(&self) -> SqliteReader {
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
