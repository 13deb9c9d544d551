//! What the service remembers from one start to the next, beside the records.

use rusqlite::{Connection, OptionalExtension};

const READ: &str = "SELECT value FROM remembered WHERE key = ?1";
const KEEP: &str = "INSERT INTO remembered (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 2] = [READ, KEEP];

/// Reads what is remembered under `key`.
pub(super) fn read(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection.prepare_cached(READ)?.query_row([key], |row| row.get(0)).optional()
}

/// Remembers `value` under `key`.
pub(super) fn keep(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(KEEP)?.execute([key, value]).map(drop)
}
