//! The records in one SQLite file with a write-ahead log.
//!
//! [`store`] is the one writer, [`reader`] reads beside it. Each operation on the tables is a function of a connection
//! in a file of its own; [`store`] runs it in a transaction.

mod amend;
mod begin;
mod connection;
mod downloads;
mod error;
mod files;
mod known;
mod lock;
mod mirror;
mod open;
mod outbox;
mod present;
mod reader;
mod remembered;
mod rescue;
mod rows;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod totals;

use std::path::PathBuf;

use super::database::Database;
use super::error::OpenError;
use super::reader::RecordReader;
use super::store::RecordStore;

/// A file, which need not be there yet.
pub(super) struct SqliteFile(pub(super) PathBuf);

impl Database for SqliteFile {
    fn open(&self) -> Result<Box<dyn RecordStore>, OpenError> {
        Ok(Box::new(store::SqliteStore::open(&self.0)?))
    }

    fn read(&self) -> Result<Box<dyn RecordReader>, OpenError> {
        Ok(Box::new(reader::SqliteReader::open(&self.0)?))
    }

    fn files(&self) -> Vec<PathBuf> {
        files::ENDINGS.iter().map(|ending| files::sibling_path(&self.0, ending)).collect()
    }
}
