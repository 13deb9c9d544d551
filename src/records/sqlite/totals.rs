//! The sums, which triggers keep (see schema.sql).

use rusqlite::{Connection, Row};

use super::rows::unsigned;
use crate::records::types::Totals;

/// All statements of this file, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 1] = [TOTALS];

const TOTALS: &str = "SELECT present_files, present_bytes, evicted_files, evicted_bytes, pending, delivered,
    cancelled, changes FROM totals WHERE id = 1";

pub(super) fn read(connection: &Connection) -> rusqlite::Result<Totals> {
    connection.prepare_cached(TOTALS)?.query_row([], totals)
}

/// The sums, in the order of [`TOTALS`].
pub(super) fn totals(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        present_files: unsigned(row, 0)?,
        present_bytes: unsigned(row, 1)?,
        evicted_files: unsigned(row, 2)?,
        evicted_bytes: unsigned(row, 3)?,
        pending_notices: unsigned(row, 4)?,
        delivered_notices: unsigned(row, 5)?,
        cancelled_notices: unsigned(row, 6)?,
        changes: unsigned(row, 7)?,
    })
}
