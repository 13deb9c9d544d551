//! When the servers began that are mirrored from the first start on (`since = "now"`).

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::base::names::ServerName;

/// All of them: no name is empty.
const BEGINNINGS: &str = "SELECT server, at FROM beginnings WHERE server > ''";
const BEGINNING: &str = "SELECT at FROM beginnings WHERE server = ?1";
const BEGIN: &str = "INSERT INTO beginnings (server, at) VALUES (?1, ?2)";
const FORGET: &str = "DELETE FROM beginnings WHERE server = ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 4] = [BEGINNINGS, BEGINNING, BEGIN, FORGET];

/// Reads when all servers began, in unix seconds.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut beginnings = connection.prepare_cached(BEGINNINGS)?;
    beginnings.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Reads when the server began.
pub(super) fn of(connection: &Connection, server: &ServerName) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(BEGINNING)?.query_row([server.as_str()], |row| row.get(0)).optional()
}

/// Who has begun to be asked for, and who is not any more.
pub(super) struct Turnover<'a> {
    gone: Vec<&'a String>,
    new: Vec<&'a ServerName>,
}

impl<'a> Turnover<'a> {
    pub(super) fn new(known: &'a BTreeMap<String, i64>, servers: &'a [ServerName]) -> Self {
        let gone =
            known.keys().filter(|name| !servers.iter().any(|server| server.as_str() == *name)).collect();
        let new = servers.iter().filter(|server| !known.contains_key(server.as_str())).collect();
        Self { gone, new }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }

    /// Remembers that the new ones begin at `now`.
    pub(super) fn keep(&self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        for name in &self.gone {
            connection.prepare_cached(FORGET)?.execute([name])?;
        }
        for server in &self.new {
            connection.prepare_cached(BEGIN)?.execute(params![server.as_str(), now])?;
        }
        Ok(())
    }
}
