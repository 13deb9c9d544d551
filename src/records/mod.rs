//! The record of every download: what was fetched, announced and evicted, for ever.
//!
//! [`open`] and [`read`] are the only ways in, [`RecordStore`] and [`RecordReader`] what comes out, whichever store keeps
//! the records. Beside them stand what all stores share: the words, what follows from a record and a listing, filters,
//! the output of `mrosync records`; and what the keeper does around a store: one commit for many writes, and what the
//! log hears.

mod cancelled;
mod change;
mod compare;
#[cfg(test)]
mod conformance;
mod counts;
mod database;
mod error;
mod export;
mod fault_log;
mod filter;
#[cfg(test)]
pub(crate) mod fixtures;
mod group_commit;
mod logged;
#[cfg(test)]
pub(crate) mod memory;
mod postgres;
mod reader;
mod search;
mod sqlite;
mod store;
mod stored;
mod sums;
mod types;

use std::path::PathBuf;

use crate::config::RecordsSettings;
use database::Database;

pub use crate::base::facts::{Download, Due, Knowledge, Notice, Postponed};
pub use cancelled::{CancelledNotices, Tell};
pub use change::{Amendment, Change, Changed, Mark, OutboxEffect};
pub use counts::{Counts, count};
pub use error::{FailureKind, OpenError, RecordsError};
pub use export::{found_json, newest_json, write_csv, write_json, write_table};
pub use fault_log::Work;
pub use filter::Filter;
pub use group_commit::{Committed, GroupCommit, Outcome, When, Write};
pub use logged::{LoggedStore, SharedFault};
pub use reader::{Page, Query, ReadError, RecordReader, VisitError};
pub use search::{Found, search};
pub use store::RecordStore;
pub use sums::{Ever, LEFT, Left, Sums};
pub use types::{BATCH, PresentFile, RecordRow, Recorded, RecordedMirror, Totals, Writes, Written};

/// The store that is configured: a line for each there is.
fn database_of(settings: &RecordsSettings) -> Box<dyn Database> {
    match settings {
        RecordsSettings::Sqlite(path) => Box::new(sqlite::SqliteFile(path.clone())),
        RecordsSettings::Postgres(settings) => Box::new(postgres::PostgresDatabase(settings.clone())),
    }
}

/// Opens the records for writing, and makes them where there are none. Nobody else can until they are closed.
///
/// # Errors
///
/// [`OpenError`]; the records are unchanged then.
pub fn open(settings: &RecordsSettings) -> Result<Box<dyn RecordStore>, OpenError> {
    database_of(settings).open()
}

/// Opens the records for reading, whether or not a service runs. Changes nothing.
///
/// # Errors
///
/// [`OpenError`].
pub fn read(settings: &RecordsSettings) -> Result<Box<dyn RecordReader>, OpenError> {
    database_of(settings).read()
}

/// Looks whether the records can be opened, for `check`, and returns what was found in words. Changes nothing.
///
/// # Errors
///
/// [`OpenError`].
pub fn examine(settings: &RecordsSettings) -> Result<String, OpenError> {
    database_of(settings).examine()
}

/// Returns the files of this machine that a service writes, there or not, for `check`.
#[must_use]
pub fn files(settings: &RecordsSettings) -> Vec<PathBuf> {
    database_of(settings).files()
}
