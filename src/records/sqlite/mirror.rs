//! Which mirror the records belong to, and which of their files were not found there.

use rusqlite::{Connection, OptionalExtension, params};

use super::{present, totals};
use crate::records::change::Changed;
use crate::records::types::{PresentFile, RecordedMirror};

const MARKER: &str = "SELECT marker FROM mirror WHERE id = 1";
const REMEMBER: &str =
    "INSERT INTO mirror (id, marker) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET marker = excluded.marker";
const MISS: &str = "INSERT INTO missing (id) VALUES (?1) ON CONFLICT (id) DO NOTHING";
const NOT_MISSING: &str = "DELETE FROM missing WHERE id = ?1";
/// Not those that were marked as listed (see [`crate::records::Mark`]), which never were ours.
const FOUND: &str = "UPDATE downloads SET evicted_at = NULL,
        next_attempt_at = CASE WHEN notified_at IS NULL THEN ?2 ELSE 0 END
    WHERE id = ?1 AND evicted_at IS NOT NULL
        AND NOT (evicted_at = downloaded_at AND notified_at IS NOT NULL AND notified_at = downloaded_at)";
const MISSING: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM missing m CROSS JOIN downloads d ON d.id = m.id CROSS JOIN directories p ON p.id = d.directory
    WHERE m.id > ?1 ORDER BY m.id LIMIT ?2";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 6] = [MARKER, REMEMBER, MISS, NOT_MISSING, FOUND, MISSING];

/// Remembers the marker of the mirror.
pub(super) fn remember(connection: &Connection, marker: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(REMEMBER)?.execute([marker]).map(drop)
}

/// Marks files as evicted that may be found again.
pub(super) fn miss(connection: &Connection, ids: &[i64], at: i64) -> rusqlite::Result<Changed> {
    let mut miss = connection.prepare_cached(MISS)?;
    present::evict(connection, ids, at, |id| miss.execute([id]).map(drop))
}

/// Marks evicted files as present again.
pub(super) fn find(connection: &Connection, ids: &[i64], now: i64) -> rusqlite::Result<Changed> {
    let (mut found, mut settled) =
        (connection.prepare_cached(FOUND)?, connection.prepare_cached(NOT_MISSING)?);
    let mut records = 0;
    for id in ids {
        records += found.execute(params![id, now])? as u64;
        settled.execute([id])?;
    }
    Ok(Changed { records, cancelled_notices: 0 })
}

/// Reads files that were found missing.
pub(super) fn missing(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<PresentFile>> {
    present::read(connection, MISSING, Some(after), limit)
}

/// Reads which mirror it is. Of one snapshot.
pub(super) fn recorded(connection: &Connection, some: usize) -> rusqlite::Result<RecordedMirror> {
    let marker = connection.prepare_cached(MARKER)?.query_row([], |row| row.get(0)).optional()?;
    let mut sample = present::ends(connection, some)?;
    sample.sort_unstable_by_key(|file| file.id);
    sample.dedup_by_key(|file| file.id);
    Ok(RecordedMirror { marker, totals: totals::read(connection)?, sample })
}
