//! What becomes of records after the download. Each change is one statement, whose row says what it came to.

use tokio_postgres::types::Type;

use super::error::Failure;
use super::rows::get;
use super::statement::Statement;
use crate::records::change::Changed;

/// $2 is the time, in all of them.
pub(super) const EVICT: &str = "WITH gone AS (
        DELETE FROM mrosync.files WHERE id = ANY($1) RETURNING id, notified_at, attempts),
    kept AS (
        UPDATE mrosync.records r SET evicted_at = $2, notified_at = gone.notified_at, attempts = nullif(gone.attempts, 0)
        FROM gone WHERE r.id = gone.id)
    SELECT count(*), count(*) FILTER (WHERE notified_at IS NULL) FROM gone";
pub(super) const MISS: &str = "WITH gone AS (
        DELETE FROM mrosync.files WHERE id = ANY($1) RETURNING id, notified_at, attempts),
    kept AS (
        UPDATE mrosync.records r SET evicted_at = $2, notified_at = gone.notified_at, attempts = nullif(gone.attempts, 0)
        FROM gone WHERE r.id = gone.id),
    missed AS (INSERT INTO mrosync.missing (id) SELECT id FROM gone ON CONFLICT DO NOTHING)
    SELECT count(*), count(*) FILTER (WHERE notified_at IS NULL) FROM gone";
/// Not those that were marked as listed (see [`crate::records::Mark`]), which never were ours.
pub(super) const FIND: &str = "WITH back AS (
        UPDATE mrosync.records SET evicted_at = NULL
        WHERE id = ANY($1) AND evicted_at IS NOT NULL
            AND NOT (evicted_at = downloaded_at AND notified_at IS NOT NULL AND notified_at = downloaded_at)
        RETURNING id, directory, size, notified_at, attempts),
    present AS (
        INSERT INTO mrosync.files (id, server, size, notified_at, attempts, next_attempt_at)
        SELECT back.id, d.server, back.size, back.notified_at, coalesce(back.attempts, 0),
            CASE WHEN back.notified_at IS NULL THEN $2 ELSE 0 END
        FROM back JOIN mrosync.directories d ON d.id = back.directory),
    settled AS (DELETE FROM mrosync.missing WHERE id = ANY($1))
    SELECT count(*), 0::int8 FROM back";
pub(super) const REQUEUE: &str = "WITH again AS (
        UPDATE mrosync.files SET notified_at = NULL, attempts = 0, next_attempt_at = $2
        WHERE id = ANY($1) AND notified_at IS NOT NULL RETURNING id)
    SELECT count(*), 0::int8 FROM again";
pub(super) const FORGET: &str = "WITH gone AS (DELETE FROM mrosync.records WHERE id = ANY($1) RETURNING id),
    absent AS (DELETE FROM mrosync.files WHERE id = ANY($1) RETURNING notified_at),
    missed AS (DELETE FROM mrosync.missing WHERE id = ANY($1)),
    listed AS (DELETE FROM mrosync.last_listed WHERE id = ANY($1))
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FILTER (WHERE notified_at IS NULL) FROM absent)
    WHERE $2::int8 IS NOT NULL";

/// One of the statements above for these records.
pub(super) fn of_records<'a>(sql: &'a str, ids: &'a &'a [i64], now: &'a i64) -> Statement<'a> {
    Statement::new(sql, &[(ids, Type::INT8_ARRAY), (now, Type::INT8)])
}

/// Reads what it came to.
pub(super) fn changed(rows: &[tokio_postgres::Row]) -> Result<Changed, Failure> {
    let Some(row) = rows.first() else { return Ok(Changed::default()) };
    let count = |column| get::<i64>(row, column).map(|count| u64::try_from(count).unwrap_or_default());
    Ok(Changed { records: count(0)?, cancelled_notices: count(1)? })
}
