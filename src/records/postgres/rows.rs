//! Values as PostgreSQL keeps them.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::Failure;
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::names::{RemotePath, ServerName};
use crate::records::stored::StoredPath;

/// A column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    Ok(row.try_get(column)?)
}

/// A number that is never negative unless something is damaged.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Failure> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|_| Failure::damaged(format!("{value} in column {column} is below 0")))
}

/// A size as PostgreSQL can hold it. No disk holds a file of 8 EiB.
pub(super) fn storable(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// How many rows are asked for.
pub(super) fn as_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn server_name(row: &Row, column: usize) -> Result<ServerName, Failure> {
    let name: &str = get(row, column)?;
    ServerName::new(name).map_err(|why| Failure::damaged(format!("a server is called {name:?}: {why}")))
}

/// Puts a file's path together from four columns: `wire, text` of its directory, and `name, text`.
pub(super) fn remote_path(row: &Row, first: usize) -> Result<RemotePath, Failure> {
    let stored = StoredPath {
        directory: get(row, first)?,
        directory_text: get(row, first + 1)?,
        name: get(row, first + 2)?,
        text: get(row, first + 3)?,
    };
    stored.path().map_err(|error| Failure::damaged(format!("a path has no text: {error}")))
}

/// A time from two columns.
pub(super) fn modified(row: &Row, first: usize) -> Result<Option<Modified>, Failure> {
    let (seconds, source): (Option<i64>, Option<i16>) = (get(row, first)?, get(row, first + 1)?);
    let source = source.and_then(|code| TimeSource::from_code(code.into()));
    Ok(seconds.zip(source).map(|(unix_seconds, source)| Modified { unix_seconds, source }))
}

/// The two columns of times.
#[derive(Default)]
pub(super) struct Times {
    pub(super) seconds: Vec<Option<i64>>,
    pub(super) sources: Vec<Option<i16>>,
}

impl Times {
    pub(super) fn push(&mut self, facts: &FileFacts) {
        self.seconds.push(facts.modified.map(|time| time.unix_seconds));
        self.sources.push(facts.modified.and_then(|time| i16::try_from(time.source.code()).ok()));
    }
}
