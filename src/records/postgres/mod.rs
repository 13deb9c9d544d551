//! The records in a PostgreSQL database, which may lie behind a pooler and on several hosts.
//!
//! [`store`] is the one writer, [`reader`] reads beside it. Both ask over a [`link`], which connects again where a
//! connection was lost; so everything here may be asked twice. [`lease`] keeps a second writer out. What is asked
//! for many files is one statement, and what belongs together one transaction and one round trip ([`statement`]).

mod begin;
mod change;
mod directories;
mod downloads;
mod error;
mod known;
mod lease;
mod link;
mod outbox;
mod present;
mod reader;
mod rows;
mod schema;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod totals;

use std::path::PathBuf;

use super::database::Database;
use super::error::OpenError;
use super::reader::RecordReader;
use super::store::RecordStore;
use crate::config::PostgresSettings;

/// A database, in which the records need not be made yet.
pub(super) struct PostgresDatabase(pub(super) PostgresSettings);

impl Database for PostgresDatabase {
    fn open(&self) -> Result<Box<dyn RecordStore>, OpenError> {
        Ok(Box::new(store::PostgresStore::open(&self.0)?))
    }

    fn read(&self) -> Result<Box<dyn RecordReader>, OpenError> {
        Ok(Box::new(reader::PostgresReader::open(&self.0)?))
    }

    fn examine(&self) -> Result<String, OpenError> {
        schema::examine_for_check(&link::Link::new(&self.0)?)
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
