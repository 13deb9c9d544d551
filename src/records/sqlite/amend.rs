//! What an operator changes in the records afterwards.

use rusqlite::{Connection, OptionalExtension, params};

use super::downloads::{insert, is_recorded};
use crate::base::facts::Download;
use crate::records::change::{Amendment, Changed, Mark};

const FORGET: &str =
    "DELETE FROM downloads WHERE id = ?1 RETURNING evicted_at IS NULL AND notified_at IS NULL";
const REQUEUE: &str = "UPDATE downloads SET notified_at = NULL, attempts = 0, next_attempt_at = ?2
    WHERE id = ?1 AND notified_at IS NOT NULL AND evicted_at IS NULL";
/// All times of such a record are the one of the marking, by which it is known again. It counts as announced and not
/// as cancelled, so that nobody looks for what went wrong.
const SETTLE: &str = "UPDATE downloads SET notified_at = downloaded_at, next_attempt_at = 0,
    evicted_at = CASE WHEN ?2 THEN downloaded_at END WHERE id = ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 3] = [FORGET, REQUEUE, SETTLE];

/// Amends the records `ids`. `now` is in unix milliseconds.
pub(super) fn amend(
    connection: &Connection,
    amendment: Amendment,
    ids: &[i64],
    now: i64,
) -> rusqlite::Result<Changed> {
    let mut sum = Changed::default();
    for id in ids {
        match amendment {
            Amendment::Forget => {
                let mut forget = connection.prepare_cached(FORGET)?;
                let pending: Option<bool> = forget.query_row([id], |row| row.get(0)).optional()?;
                sum.records += u64::from(pending.is_some());
                sum.cancelled_notices += u64::from(pending == Some(true));
            }
            Amendment::Requeue => {
                sum.records += connection.prepare_cached(REQUEUE)?.execute(params![id, now])? as u64;
            }
        }
    }
    Ok(sum)
}

/// Puts files on record that were never fetched.
pub(super) fn mark(connection: &Connection, mark: Mark, files: &[Download]) -> rusqlite::Result<Changed> {
    let mut records = 0;
    for file in files {
        if is_recorded(connection, file)? {
            continue;
        }
        let id = insert(connection, file)?.id();
        if mark != Mark::LocalToAnnounce {
            connection.prepare_cached(SETTLE)?.execute(params![id, mark == Mark::Listed])?;
        }
        records += 1;
    }
    Ok(Changed { records, cancelled_notices: 0 })
}
