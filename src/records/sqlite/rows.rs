//! Values as SQLite keeps them.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::names::{RemotePath, ServerName};
use crate::records::stored::StoredPath;

/// A number that is never negative unless the file is damaged.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A size as SQLite can hold it. No disk holds a file of 8 EiB.
pub(super) fn storable(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn server_name(row: &Row<'_>, column: usize) -> rusqlite::Result<ServerName> {
    let name = row.get_ref(column)?.as_str()?;
    ServerName::new(name)
        .map_err(|why| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into()))
}

/// Puts a file's path together from four columns: `wire, text` of its directory, and `name, text`. `first` is the one of
/// the directory's `wire`.
pub(super) fn remote_path(row: &Row<'_>, first: usize) -> rusqlite::Result<RemotePath> {
    let stored = StoredPath {
        directory: row.get_ref(first)?.as_blob()?,
        directory_text: row.get_ref(first + 1)?.as_str_or_null()?,
        name: row.get_ref(first + 2)?.as_blob()?,
        text: row.get_ref(first + 3)?.as_str_or_null()?,
    };
    stored.path().map_err(|error| rusqlite::Error::Utf8Error(first, error))
}

pub(super) fn modified(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Modified>> {
    let (seconds, source): (Option<i64>, Option<i64>) = (row.get(first)?, row.get(first + 1)?);
    Ok(seconds
        .zip(source.and_then(TimeSource::from_code))
        .map(|(unix_seconds, source)| Modified { unix_seconds, source }))
}

/// The two columns of a time.
pub(super) fn modified_columns(facts: &FileFacts) -> (Option<i64>, Option<i64>) {
    (facts.modified.map(|time| time.unix_seconds), facts.modified.map(|time| time.source.code()))
}
