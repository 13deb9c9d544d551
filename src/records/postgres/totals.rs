//! The sums, which triggers keep for each server (see schema.sql).

use tokio_postgres::{Client, Row};

use super::error::Failure;
use super::rows::unsigned;
use crate::records::types::Totals;

pub(super) const TOTALS: &str = "SELECT coalesce(sum(present_files), 0)::int8, coalesce(sum(present_bytes), 0)::int8,
    coalesce(sum(evicted_files), 0)::int8, coalesce(sum(evicted_bytes), 0)::int8, coalesce(sum(pending), 0)::int8,
    coalesce(sum(delivered), 0)::int8, coalesce(sum(cancelled), 0)::int8, coalesce(sum(changes), 0)::int8
    FROM mrosync.sums";

pub(super) async fn read(client: &Client) -> Result<Totals, Failure> {
    of_rows(&client.query_typed(TOTALS, &[]).await?)
}

/// The sums, in the order of [`TOTALS`].
pub(super) fn of_rows(rows: &[Row]) -> Result<Totals, Failure> {
    let row = rows.first().ok_or_else(|| Failure::damaged("there are no sums"))?;
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
