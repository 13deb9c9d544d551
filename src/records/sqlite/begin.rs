//! When the servers began that are mirrored from the first start on (`since = "now"`). Runs on the thread that owns
//! [`Records`].

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Records, RecordsError, RecordsReader};
use crate::base::names::ServerName;

/// All of them: no name is empty.
const BEGINNINGS: &str = "SELECT server, at FROM beginnings WHERE server > ''";
const BEGINNING: &str = "SELECT at FROM beginnings WHERE server = ?1";
const BEGIN: &str = "INSERT INTO beginnings (server, at) VALUES (?1, ?2)";
const FORGET: &str = "DELETE FROM beginnings WHERE server = ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 4] = [BEGINNINGS, BEGINNING, BEGIN, FORGET];

impl Records {
    /// Remembers that `servers` begin at `now`, in unix seconds, unless they have begun before, and answers when each
    /// did, in their order. All others are forgotten: one that comes back begins anew.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; nothing is changed then.
    pub fn begin(&mut self, servers: &[ServerName], now: i64) -> Result<Vec<i64>, RecordsError> {
        const WHAT: &str = "remember the beginnings";
        let known = self.attempt(WHAT, |connection| read(connection))?;
        let gone: Vec<_> =
            known.keys().filter(|name| !servers.iter().any(|server| server.as_str() == *name)).collect();
        let new: Vec<_> = servers.iter().filter(|server| !known.contains_key(server.as_str())).collect();
        // a start without a change writes nothing: the disk may be full
        if !gone.is_empty() || !new.is_empty() {
            self.write(WHAT, |transaction| {
                for name in &gone {
                    transaction.prepare_cached(FORGET)?.execute([name])?;
                }
                for server in &new {
                    transaction.prepare_cached(BEGIN)?.execute(params![server.as_str(), now])?;
                }
                Ok(())
            })?;
        }
        Ok(servers.iter().map(|server| known.get(server.as_str()).copied().unwrap_or(now)).collect())
    }
}

fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut beginnings = connection.prepare_cached(BEGINNINGS)?;
    beginnings.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl RecordsReader {
    /// When the server began, in unix seconds, where that is remembered.
    ///
    /// # Errors
    ///
    /// Whatever fails while reading.
    pub fn beginning(&self, server: &ServerName) -> Result<Option<i64>, RecordsError> {
        self.ask(|connection| {
            connection.prepare_cached(BEGINNING)?.query_row([server.as_str()], |row| row.get(0)).optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, server};
    use super::*;

    #[test]
    fn a_server_begins_once_and_anew_after_it_was_not_asked_for() {
        let place = Place::new();
        let [a, b] = [server("a"), server("b")];
        assert_eq!(place.open().begin(std::slice::from_ref(&a), 100).unwrap(), [100]);
        let mut records = place.open();
        assert_eq!(records.begin(&[b.clone(), a.clone()], 200).unwrap(), [200, 100]);
        records.connection.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(records.begin(&[b.clone(), a.clone()], 300).unwrap(), [200, 100], "nothing is written");
        records.connection.pragma_update(None, "query_only", false).unwrap();
        assert_eq!(records.begin(std::slice::from_ref(&b), 400).unwrap(), [200]);
        assert_eq!(RecordsReader::open(&place.file()).unwrap().beginning(&a).unwrap(), None);
        assert_eq!(records.begin(&[a.clone(), b], 500).unwrap(), [500, 200]);
        assert_eq!(RecordsReader::open(&place.file()).unwrap().beginning(&a).unwrap(), Some(500));
    }
}
