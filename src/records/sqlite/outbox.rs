//! The notices still to be delivered: the rows of `downloads` that are neither notified nor evicted. Runs on
//! the thread that owns [`Records`].

use std::collections::HashSet;

use rusqlite::{Connection, Row, params};

use super::{Due, Notice, Postponed, Records, RecordsError, remote_path, server_name, unsigned};
use crate::base::names::ServerName;

/// Retries come within 5 minutes. A notice that waits for longer than this waits because the clock was set
/// back, and is due.
const LONGEST_WAIT_MS: i64 = 10 * 60 * 1000;

/// Whether it was tried comes first in the index, so that a fresh one is found beside any number that failed. Ids are
/// above 0: the smaller of id and 0 ties the condition to the row at hand, or SQLite reads all directories into a Bloom
/// filter before the first row.
const FRESH: &str = "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.attempts,
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

impl Records {
    /// Up to `limit` notices that were never tried, up to `limit` that are due again at `now` (unix milliseconds), and
    /// when the next of those is due; without those `in_flight`.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn due_notices(&mut self, now: i64, limit: usize, in_flight: &[i64]) -> Result<Due, RecordsError> {
        self.due_notices_of(now, limit, in_flight, &[])
    }

    /// The same, without those of the servers `held`.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn due_notices_of(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
        held: &[ServerName],
    ) -> Result<Due, RecordsError> {
        // no name has a slash
        let held: String = held.iter().map(|server| format!("/{server}/")).collect();
        self.attempt("find due notices", |connection| {
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
        })
    }

    /// Marks notices as delivered at `at` (unix milliseconds) and says how many that changed. Those of
    /// evicted files stay cancelled.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is marked then.
    pub fn mark_delivered(&mut self, ids: &[i64], at: i64) -> Result<usize, RecordsError> {
        self.write("mark notices as delivered", |transaction| deliver(transaction, ids, at))
    }

    /// Marks notices as delivered at `at`, and keeps when others are due again (within 10 minutes). Delivered and
    /// cancelled ones stay so.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; nothing is kept then.
    pub fn settle(
        &mut self,
        delivered: &[i64],
        at: i64,
        postponed: &[Postponed],
    ) -> Result<(), RecordsError> {
        self.write("keep the outcome of calls", |transaction| {
            deliver(transaction, delivered, at)?;
            postpone(transaction, postponed)
        })
    }
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

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    Ok(Notice {
        id: row.get(0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        attempts: row.get(6)?,
        downloaded_at: row.get(7)?,
        size: unsigned(row, 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, record_some};
    use super::*;

    fn due_ids(records: &mut Records, now: i64, limit: usize, in_flight: &[i64]) -> Vec<i64> {
        let Due { fresh, tried, .. } = records.due_notices(now, limit, in_flight).unwrap();
        fresh.into_iter().chain(tried).map(|notice| notice.id).collect()
    }

    fn next_at(records: &mut Records, in_flight: &[i64]) -> Option<i64> {
        records.due_notices(0, 9, in_flight).unwrap().next_at
    }

    fn put_off(records: &mut Records, id: i64, attempts: u32, at: i64) {
        records.settle(&[], 0, &[Postponed { id, attempts, at }]).unwrap();
    }

    #[test]
    fn a_notice_is_due_from_its_download_until_it_is_delivered() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 2);
        let notices = records.due_notices(100, 9, &[]).unwrap().fresh;
        assert_eq!(notices.len(), 2);
        let Notice { id, server, path, attempts, downloaded_at, size } = &notices[1];
        assert_eq!((*id, server.as_str(), path.text()), (ids[1], "omc01", "/in/2.zip"));
        assert_eq!((*attempts, *downloaded_at, *size), (0, 2, 10));
        drop(records);
        let mut records = place.open();
        assert_eq!(due_ids(&mut records, 100, 9, &[]), ids);
        assert_eq!(records.mark_delivered(&[ids[0], ids[0], 999], 101).unwrap(), 1);
        assert_eq!(records.mark_delivered(&[ids[0]], 102).unwrap(), 0);
        assert_eq!(due_ids(&mut records, 200, 9, &[]), [ids[1]]);
        let at: i64 = records
            .connection
            .query_row("SELECT max(notified_at) FROM downloads", [], |row| row.get(0))
            .unwrap();
        assert_eq!(at, 101);
    }

    #[test]
    fn a_failed_notice_waits_for_its_time_and_those_due_longest_come_first() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3);
        put_off(&mut records, ids[0], 1, 5000);
        put_off(&mut records, ids[1], 2, 4000);
        assert_eq!(due_ids(&mut records, 3999, 9, &[]), [ids[2]]);
        assert_eq!(due_ids(&mut records, 4000, 9, &[]), [ids[2], ids[1]]);
        assert_eq!(due_ids(&mut records, 5000, 9, &[]), [ids[2], ids[1], ids[0]]);
        assert_eq!(due_ids(&mut records, 5000, 1, &[]), [ids[2], ids[1]]);
        assert_eq!(records.due_notices(5000, 9, &[]).unwrap().tried[0].attempts, 2);
    }

    #[test]
    fn notices_in_flight_are_left_out_and_do_not_use_up_the_limit() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 4);
        assert_eq!(due_ids(&mut records, 9, 2, &[ids[0], ids[2]]), [ids[1], ids[3]]);
        // in flight, and not even due
        put_off(&mut records, ids[0], 1, 100);
        assert_eq!(due_ids(&mut records, 9, 1, &[ids[0]]), [ids[1]]);
        assert_eq!((next_at(&mut records, &[ids[1]]), next_at(&mut records, &ids)), (Some(100), None));
    }

    #[test]
    fn the_next_notice_is_the_earliest_of_those_that_wait() {
        let place = Place::new();
        let mut records = place.open();
        assert_eq!(next_at(&mut records, &[]), None);
        let ids = record_some(&mut records, 3);
        put_off(&mut records, ids[0], 1, 7000);
        put_off(&mut records, ids[1], 1, 6000);
        records.mark_delivered(&[ids[2]], 5).unwrap();
        assert_eq!(next_at(&mut records, &[]), Some(6000));
        records.mark_evicted(&[ids[1]], 6).unwrap();
        assert_eq!(next_at(&mut records, &[]), Some(7000));
    }

    #[test]
    fn the_notice_of_an_evicted_file_stays_cancelled() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 1);
        records.mark_evicted(&ids, 5).unwrap();
        assert!(due_ids(&mut records, 9, 9, &[]).is_empty());
        assert_eq!(records.mark_delivered(&ids, 6).unwrap(), 0);
        put_off(&mut records, ids[0], 1, 7);
        assert!(due_ids(&mut records, 9, 9, &[]).is_empty());
        let totals = records.totals().unwrap();
        assert_eq!((totals.delivered_notices, totals.cancelled_notices, totals.pending_notices), (0, 1, 0));
    }

    #[test]
    fn a_delivered_notice_is_not_postponed() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 1);
        records.mark_delivered(&ids, 5).unwrap();
        put_off(&mut records, ids[0], 1, 7);
        assert_eq!((due_ids(&mut records, 9, 9, &[]), next_at(&mut records, &[])), (vec![], None));
        let sql = "SELECT attempts, next_attempt_at FROM downloads";
        let kept: (i64, i64) =
            records.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, (0, 0));
    }

    #[test]
    fn notices_are_due_when_the_clock_was_set_back_by_a_year() {
        let place = Place::new();
        let mut records = place.open();
        let year = 365 * 86_400_000;
        let ids = record_some(&mut records, 3);
        put_off(&mut records, ids[0], 1, year + 300_000);
        put_off(&mut records, ids[1], 1, 300_000);
        assert_eq!(due_ids(&mut records, 2, 1, &[]), [ids[2], ids[0]]);
        assert_eq!(due_ids(&mut records, 3, 9, &[]), [ids[2], ids[0]]);
    }

    #[test]
    fn a_fresh_notice_is_found_beside_any_number_that_failed_and_without_a_look_at_those() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3000);
        let failed: Vec<_> =
            ids.iter().take(2999).map(|id| Postponed { id: *id, attempts: 3, at: 4 }).collect();
        records.settle(&[], 0, &failed).unwrap();
        let due = records.due_notices(10_000, 5, &[]).unwrap();
        assert_eq!(due.fresh.iter().map(|notice| notice.id).collect::<Vec<_>>(), [ids[2999]]);
        assert_eq!(due.tried.len(), 5);
        let mut fresh = records.connection.prepare(FRESH).unwrap();
        fresh.query_map(params![9, ""], notice).unwrap().for_each(drop);
        let steps = fresh.get_status(rusqlite::StatementStatus::VmStep);
        assert!(steps < 200, "{steps} steps of SQLite for one row");
    }

    #[test]
    fn notices_of_servers_that_are_held_are_left_out_and_those_behind_them_are_not() {
        use super::super::fixtures::{download, server};
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3);
        let mut other = download("other.zip", 50);
        other.server = server("omc0");
        records.record(&[other]).unwrap();
        let mut due = |held: &[&str]| {
            let held: Vec<_> = held.iter().map(|name| server(name)).collect();
            let due = records.due_notices_of(100, 1, &[], &held).unwrap();
            due.fresh.iter().map(|notice| notice.id).collect::<Vec<_>>()
        };
        assert_eq!(due(&[]), ids[..1]);
        assert_eq!(due(&["omc0", "omc"]), ids[..1]);
        assert_eq!(due(&["x", "omc01"]), [ids[2] + 1]);
    }
}
