//! The notices still to be delivered: the rows of `downloads` that are neither notified nor evicted. Runs on
//! the thread that owns [`Records`].

use rusqlite::{Connection, Row, params};

use super::{Notice, Records, RecordsError, remote_path, server_name};

/// Retries come within 5 minutes. A notice that waits for longer than this waits because the clock was set
/// back, and is due.
const LONGEST_WAIT_MS: i64 = 10 * 60 * 1000;

const DUE: &str = "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.attempts,
        d.downloaded_at
    FROM downloads d INDEXED BY outbox CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL
        AND d.next_attempt_at > ?1 AND d.next_attempt_at <= ?2
    ORDER BY d.next_attempt_at, d.id LIMIT ?3";
const NEXT: &str = "SELECT id, next_attempt_at FROM downloads INDEXED BY outbox
    WHERE evicted_at IS NULL AND notified_at IS NULL ORDER BY next_attempt_at, id LIMIT ?1";
const DELIVERED: &str = "UPDATE downloads SET notified_at = ?2, next_attempt_at = 0
    WHERE id = ?1 AND notified_at IS NULL AND evicted_at IS NULL";
const POSTPONE: &str = "UPDATE downloads SET attempts = ?2, next_attempt_at = ?3
    WHERE id = ?1 AND notified_at IS NULL AND evicted_at IS NULL";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 4] = [DUE, NEXT, DELIVERED, POSTPONE];

impl Records {
    /// Up to `limit` notices that are due at `now` (unix milliseconds), the one due longest first, without
    /// those `in_flight`.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn due_notices(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
    ) -> Result<Vec<Notice>, RecordsError> {
        self.attempt("find due notices", |connection| {
            let asked = limit.saturating_add(in_flight.len());
            let mut notices = due(connection, i64::MIN, now, asked)?;
            if notices.len() < asked {
                let beyond = now.saturating_add(LONGEST_WAIT_MS);
                notices.extend(due(connection, beyond, i64::MAX, asked - notices.len())?);
            }
            notices.retain(|notice| !in_flight.contains(&notice.id));
            notices.truncate(limit);
            Ok(notices)
        })
    }

    /// When the next notice is due, in unix milliseconds, without those `in_flight`. It may lie in the past,
    /// and after the clock was set back further ahead than any retry.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn next_notice_at(&mut self, in_flight: &[i64]) -> Result<Option<i64>, RecordsError> {
        self.attempt("find the next notice", |connection| {
            let mut next = connection.prepare_cached(NEXT)?;
            let asked = i64::try_from(in_flight.len()).unwrap_or(i64::MAX).saturating_add(1);
            let mut rows = next.query([asked])?;
            while let Some(row) = rows.next()? {
                if !in_flight.contains(&row.get(0)?) {
                    return row.get(1).map(Some);
                }
            }
            Ok(None)
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

    /// Keeps that a notice failed `attempts` times and is due again at `next_attempt_at` (unix milliseconds,
    /// within 10 minutes). Delivered and cancelled ones stay so.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn postpone(&mut self, id: i64, attempts: u32, next_attempt_at: i64) -> Result<(), RecordsError> {
        self.write("postpone a notice", |transaction| {
            let mut postpone = transaction.prepare_cached(POSTPONE)?;
            postpone.execute(params![id, attempts, next_attempt_at]).map(drop)
        })
    }
}

/// Marks notices as delivered, and says how many that changed.
pub(super) fn deliver(connection: &Connection, ids: &[i64], at: i64) -> rusqlite::Result<usize> {
    let mut deliver = connection.prepare_cached(DELIVERED)?;
    ids.iter().map(|id| deliver.execute(params![id, at])).sum()
}

/// Looks at an entry of the index.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    due(connection, i64::MIN, i64::MAX, 1).map(drop)
}

fn due(connection: &Connection, after: i64, until: i64, limit: usize) -> rusqlite::Result<Vec<Notice>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due = connection.prepare_cached(DUE)?;
    due.query_map(params![after, until, limit], notice)?.collect()
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    Ok(Notice {
        id: row.get(0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        attempts: row.get(6)?,
        downloaded_at: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, record_some};
    use super::*;

    fn due_ids(records: &mut Records, now: i64, limit: usize, in_flight: &[i64]) -> Vec<i64> {
        records.due_notices(now, limit, in_flight).unwrap().into_iter().map(|notice| notice.id).collect()
    }

    #[test]
    fn a_notice_is_due_from_its_download_until_it_is_delivered() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 2);
        let notices = records.due_notices(100, 9, &[]).unwrap();
        assert_eq!(notices.len(), 2);
        let Notice { id, server, path, attempts, downloaded_at } = &notices[1];
        assert_eq!((*id, server.as_str(), path.text()), (ids[1], "omc01", "/in/2.zip"));
        assert_eq!((*attempts, *downloaded_at), (0, 2));
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
        records.postpone(ids[0], 1, 5000).unwrap();
        records.postpone(ids[1], 2, 4000).unwrap();
        assert_eq!(due_ids(&mut records, 3999, 9, &[]), [ids[2]]);
        assert_eq!(due_ids(&mut records, 4000, 9, &[]), [ids[2], ids[1]]);
        assert_eq!(due_ids(&mut records, 5000, 9, &[]), [ids[2], ids[1], ids[0]]);
        assert_eq!(due_ids(&mut records, 5000, 2, &[]), [ids[2], ids[1]]);
        assert_eq!(records.due_notices(5000, 9, &[]).unwrap()[1].attempts, 2);
    }

    #[test]
    fn notices_in_flight_are_left_out_and_do_not_use_up_the_limit() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 4);
        assert_eq!(due_ids(&mut records, 9, 2, &[ids[0], ids[2]]), [ids[1], ids[3]]);
        // in flight, and not even due
        records.postpone(ids[0], 1, 100).unwrap();
        assert_eq!(due_ids(&mut records, 9, 1, &[ids[0]]), [ids[1]]);
        assert_eq!(records.next_notice_at(&[ids[1], ids[2]]).unwrap(), Some(4));
        assert_eq!(records.next_notice_at(&ids).unwrap(), None);
    }

    #[test]
    fn the_next_notice_is_the_earliest_of_those_that_wait() {
        let place = Place::new();
        let mut records = place.open();
        assert_eq!(records.next_notice_at(&[]).unwrap(), None);
        let ids = record_some(&mut records, 3);
        records.postpone(ids[0], 1, 7000).unwrap();
        records.postpone(ids[1], 1, 6000).unwrap();
        records.mark_delivered(&[ids[2]], 5).unwrap();
        assert_eq!(records.next_notice_at(&[]).unwrap(), Some(6000));
        records.mark_evicted(&[ids[1]], 6).unwrap();
        assert_eq!(records.next_notice_at(&[]).unwrap(), Some(7000));
    }

    #[test]
    fn the_notice_of_an_evicted_file_stays_cancelled() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 1);
        records.mark_evicted(&ids, 5).unwrap();
        assert!(due_ids(&mut records, 9, 9, &[]).is_empty());
        assert_eq!(records.mark_delivered(&ids, 6).unwrap(), 0);
        records.postpone(ids[0], 1, 7).unwrap();
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
        records.postpone(ids[0], 1, 7).unwrap();
        assert_eq!((due_ids(&mut records, 9, 9, &[]), records.next_notice_at(&[]).unwrap()), (vec![], None));
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
        records.postpone(ids[0], 1, year + 300_000).unwrap();
        records.postpone(ids[1], 1, 300_000).unwrap();
        assert_eq!(due_ids(&mut records, 2, 1, &[]), [ids[0]]);
        assert_eq!(due_ids(&mut records, 3, 9, &[]), [ids[2], ids[0]]);
    }
}
