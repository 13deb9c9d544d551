//! Known files that a server lists with times shifted as a whole: once it is clear whether its zone changed or the files
//! did, their records follow.

use rusqlite::{Connection, OptionalExtension, params};

use super::downloads::{FIND_DIRECTORY, keep_listed};
use super::known::{LOOK_UP, SET_TIME, keep_update};
use super::rows::modified_columns;
use crate::base::facts::Shifted;
use crate::base::names::ServerName;
use crate::records::compare::ListingUpdate;

/// Settles what the time of one file means.
pub(super) fn settle(connection: &Connection, server: &ServerName, file: &Shifted) -> rusqlite::Result<()> {
    let mut find = connection.prepare_cached(FIND_DIRECTORY)?;
    let directory = find.query_row(params![server.as_str(), file.directory.wire()], |row| row.get(0));
    let Some(directory): Option<i64> = directory.optional()? else { return Ok(()) };
    let mut look_up = connection.prepare_cached(LOOK_UP)?;
    let known = look_up.query_row(params![directory, file.name.wire()], |row| Ok((row.get(0)?, row.get(4)?)));
    // forgotten meanwhile, it is fetched again
    let Some((id, changes)): Option<(i64, Option<i64>)> = known.optional()? else { return Ok(()) };
    match (file.is_zone, changes) {
        (false, _) => keep_update(connection, ListingUpdate::Changed { id }, &file.facts),
        (true, Some(_)) => keep_listed(connection, id, &file.facts, 0),
        (true, None) => {
            let (seconds, source) = modified_columns(&file.facts);
            connection.prepare_cached(SET_TIME)?.execute(params![id, seconds, source]).map(drop)
        }
    }
}
