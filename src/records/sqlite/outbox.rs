//! The notices still to be delivered: the rows of `downloads` that are neither notified nor evicted.

use std::collections::HashSet;

use rusqlite::{Connection, Row, params};

use super::rows::{remote_path, server_name, unsigned};
use crate::base::facts::{Due, Notice, Postponed};
use crate::base::names::ServerName;

/// Retries come within 5 minutes. A notice that waits for longer than this waits because the clock was set
/// back, and is due.
const LONGEST_WAIT_MS: i64 = 10 * 60 * 1000;

/// Whether it was tried comes first in the index, so that a fresh one is found beside any number that failed. Ids are
/// above 0: the smaller of id and 0 ties the condition to the row at hand, or SQLite reads all directories into a Bloom
/// filter before the first row.
pub(super) const FRESH: &str = "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.attempts,
        d.downloaded_at, d.size
    FROM downloads d INDEXED BY outbox CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND (d.attempts > 0) = 0
        AND instr(?2, '/' || p.server || '/') = min(d.id, 0)
    ORDER BY d.next_attempt_at, d.id LIMIT ?1";
const TRIED: &str = "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.attempts,
        d.downloaded_at, d.size
    FROM downloads d INDEXED BY outbox CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND (d.attempts > 0) = 1
        AND d.next_attempt_at > ?1 AND d.next_attempt_at <= ?2
        AND instr(?4, '/' || p.server || '/') = min(d.id, 0)
    ORDER BY d.next_attempt_at, d.id LIMIT ?3";
const NEXT: &str = "SELECT id, next_attempt_at FROM downloads INDEXED BY outbox
    WHERE evicted_at IS NULL AND notified_at IS NULL AND (attempts > 0) = 1
    ORDER BY next_attempt_at, id LIMIT ?1";
const DELIVERED: &str = "UPDATE downloads SET notified_at = ?2, next_attempt_at = 0
    WHERE id = ?1 AND notified_at IS NULL AND evicted_at IS NULL";
const POSTPONE: &str = "UPDATE downloads SET attempts = ?2, next_attempt_at = ?3
    WHERE id = ?1 AND notified_at IS NULL AND evicted_at IS NULL";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 5] = [FRESH, TRIED, NEXT, DELIVERED, POSTPONE];

/// Reads the notices that are due, see [`RecordStore::due_notices`](crate::records::RecordStore::due_notices).
pub(super) fn due(
    connection: &Connection,
    now: i64,
    limit: usize,
    in_flight: &[i64],
    held: &[ServerName],
) -> rusqlite::Result<Due> {
    // no name has a slash
    let held: String = held.iter().map(|server| format!("/{server}/")).collect();
    let known: HashSet<i64> = in_flight.iter().copied().collect();
    let asked = limit.saturating_add(known.len());
    let wanted = |mut notices: Vec<Notice>| {
        notices.retain(|notice| !known.contains(&notice.id));
        notices.truncate(limit);
        notices
    };
    let mut again = tried(connection, (i64::MIN, now), asked, &held)?;
    if again.len() < asked {
        let beyond = now.saturating_add(LONGEST_WAIT_MS);
        again.extend(tried(connection, (beyond, i64::MAX), asked - again.len(), &held)?);
    }
    let (fresh, tried) = (wanted(fresh(connection, asked, &held)?), wanted(again));
    let next_at = if tried.len() < limit { next(connection, &known, &tried)? } else { None };
    Ok(Due { fresh, tried, next_at })
}

/// Keeps when notices are due again.
pub(super) fn postpone(connection: &Connection, postponed: &[Postponed]) -> rusqlite::Result<()> {
    let mut postpone = connection.prepare_cached(POSTPONE)?;
    postponed.iter().try_for_each(|Postponed { id, attempts, at }| {
        postpone.execute(params![id, attempts.max(&1), at]).map(drop)
    })
}

/// Marks notices as delivered, and says how many that changed.
pub(super) fn deliver(connection: &Connection, ids: &[i64], at: i64) -> rusqlite::Result<usize> {
    let mut deliver = connection.prepare_cached(DELIVERED)?;
    ids.iter().map(|id| deliver.execute(params![id, at])).sum()
}

/// Looks at an entry of the index.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    fresh(connection, 1, "")?;
    tried(connection, (i64::MIN, i64::MAX), 1, "").map(drop)
}

/// `held` has the names of servers, each between slashes.
fn fresh(connection: &Connection, limit: usize, held: &str) -> rusqlite::Result<Vec<Notice>> {
    let mut fresh = connection.prepare_cached(FRESH)?;
    fresh.query_map(params![as_limit(limit), held], notice)?.collect()
}

fn tried(
    connection: &Connection,
    (after, until): (i64, i64),
    limit: usize,
    held: &str,
) -> rusqlite::Result<Vec<Notice>> {
    let mut tried = connection.prepare_cached(TRIED)?;
    tried.query_map(params![after, until, as_limit(limit), held], notice)?.collect()
}

fn next(connection: &Connection, known: &HashSet<i64>, due: &[Notice]) -> rusqlite::Result<Option<i64>> {
    let mut next = connection.prepare_cached(NEXT)?;
    let others = known.len().saturating_add(due.len());
    let mut rows = next.query([as_limit(others.saturating_add(1))])?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if !known.contains(&id) && !due.iter().any(|notice| notice.id == id) {
            return row.get(1).map(Some);
        }
    }
    Ok(None)
}

fn as_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    Ok(Notice {
        id: row.get(0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        attempts: row.get(6)?,
        downloaded_at: row.get(7)?,
        size: unsigned(row, 8)?,
    })
}
