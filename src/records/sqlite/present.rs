//! Which downloaded files still lie in the mirror, the oldest first, and which were evicted.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{remote_path, server_name, unsigned};
use crate::records::change::Changed;
use crate::records::types::PresentFile;

const EVICT: &str = "UPDATE downloads SET evicted_at = ?2, next_attempt_at = 0
    WHERE id = ?1 AND evicted_at IS NULL RETURNING notified_at IS NULL";
/// Indexes are named, so that neither statistics nor another SQLite can turn these into a walk over all rows.
const PRESENT_ANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_announced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NOT NULL AND d.id > ?1 ORDER BY d.id LIMIT ?2";
const PRESENT_UNANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_unannounced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND d.id > ?1 ORDER BY d.id LIMIT ?2";

const NEWEST_ANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_announced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NOT NULL AND d.id > ?1 ORDER BY d.id DESC LIMIT ?2";
const NEWEST_UNANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_unannounced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND d.id > ?1 ORDER BY d.id DESC LIMIT ?2";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 5] =
    [EVICT, PRESENT_ANNOUNCED, PRESENT_UNANNOUNCED, NEWEST_ANNOUNCED, NEWEST_UNANNOUNCED];

/// Reads the oldest present files, announced or not as asked.
pub(super) fn oldest(
    connection: &Connection,
    announced: bool,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<PresentFile>> {
    let sql = if announced { PRESENT_ANNOUNCED } else { PRESENT_UNANNOUNCED };
    read(connection, sql, after, limit)
}

/// Reads the oldest present files, whether announced or not. Of one snapshot.
pub(super) fn all_after(
    snapshot: &Connection,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<PresentFile>> {
    let mut files = read(snapshot, PRESENT_ANNOUNCED, after, limit)?;
    files.extend(read(snapshot, PRESENT_UNANNOUNCED, after, limit)?);
    files.sort_unstable_by_key(|file| file.id);
    files.truncate(limit);
    Ok(files)
}

/// Marks files as evicted at `at`, and has `note` see each that was present before.
pub(super) fn evict(
    connection: &Connection,
    ids: &[i64],
    at: i64,
    mut note: impl FnMut(i64) -> rusqlite::Result<()>,
) -> rusqlite::Result<Changed> {
    let mut evict = connection.prepare_cached(EVICT)?;
    let mut sum = Changed::default();
    for id in ids {
        let cancelled: Option<bool> = evict.query_row(params![id, at], |row| row.get(0)).optional()?;
        let Some(cancelled) = cancelled else { continue };
        note(*id)?;
        sum.records += 1;
        sum.cancelled_notices += u64::from(cancelled);
    }
    Ok(sum)
}

/// Looks at an entry of each index.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    read(connection, PRESENT_ANNOUNCED, None, 1)?;
    read(connection, PRESENT_UNANNOUNCED, None, 1).map(drop)
}

/// The `some` present files downloaded first and as many downloaded last, in no order; some perhaps twice.
pub(super) fn ends(connection: &Connection, some: usize) -> rusqlite::Result<Vec<PresentFile>> {
    let mut ends = Vec::new();
    for (announced, unannounced) in
        [(PRESENT_ANNOUNCED, PRESENT_UNANNOUNCED), (NEWEST_ANNOUNCED, NEWEST_UNANNOUNCED)]
    {
        let mut files = read(connection, announced, None, some)?;
        files.extend(read(connection, unannounced, None, some)?);
        let newest = announced == NEWEST_ANNOUNCED;
        files.sort_unstable_by_key(|file| if newest { -file.id } else { file.id });
        ends.extend(files.into_iter().take(some));
    }
    Ok(ends)
}

/// Reads files with a statement whose columns are those of the ones above.
pub(super) fn read(
    connection: &Connection,
    sql: &str,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<PresentFile>> {
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![after.unwrap_or(i64::MIN), limit], |row| {
        Ok(PresentFile {
            id: row.get(0)?,
            server: server_name(row, 1)?,
            path: remote_path(row, 2)?,
            size: unsigned(row, 6)?,
            announced: row.get(7)?,
        })
    })?;
    rows.collect()
}
