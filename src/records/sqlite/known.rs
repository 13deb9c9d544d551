//! What is known of the files of a listing: whether each was ever downloaded, whether it changed since, and whether its
//! time was only shifted.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::downloads::{FIND_DIRECTORY, keep_listed};
use super::rows::{modified, modified_columns, unsigned};
use crate::base::facts::{FileFacts, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::compare::{Finding, KnownFile, ListingUpdate};

const LOOK_UP: &str = "SELECT d.id, d.size, d.modified, d.modified_source,
        l.changes, l.size, l.modified, l.modified_source, d.no_archive, d.evicted_at IS NULL
    FROM downloads d LEFT JOIN last_listed l ON l.id = d.id WHERE d.directory = ?1 AND d.name = ?2";
const SHOWN_AS_STORED: &str = "DELETE FROM last_listed WHERE id = ?1";
const SET_TIME: &str = "UPDATE downloads SET modified = ?2, modified_source = ?3 WHERE id = ?1";
const COUNT_CHANGES: &str = "UPDATE totals SET changes = changes + ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 4] = [LOOK_UP, SHOWN_AS_STORED, SET_TIME, COUNT_CHANGES];

/// The files of `listing` whose records are to keep something of it.
pub(super) fn keep_updates(
    connection: &Connection,
    listing: &[(RemoteName, FileFacts)],
    found: &[Finding],
) -> rusqlite::Result<()> {
    listing.iter().zip(found).try_for_each(|((_, facts), finding)| {
        finding.update.map_or(Ok(()), |update| keep_update(connection, update, facts))
    })
}

/// Reads the columns of [`LOOK_UP`].
fn known_file(row: &Row<'_>) -> rusqlite::Result<KnownFile> {
    let size = unsigned(row, 1)?;
    let changes: Option<i64> = row.get(4)?;
    let expected = match changes {
        None => FileFacts { size: Some(size), modified: modified(row, 2)? },
        Some(_) => {
            let listed: Option<i64> = row.get(5)?;
            FileFacts { size: listed.map(i64::cast_unsigned), modified: modified(row, 6)? }
        }
    };
    let (no_archive, is_present) = (row.get(8)?, row.get(9)?);
    Ok(KnownFile {
        id: row.get(0)?,
        size,
        expected,
        listing_lags: changes == Some(0),
        no_archive,
        is_present,
    })
}

/// Compares each of `files` with its record. Of one snapshot, which spares each its own lock.
pub(super) fn find_all(
    connection: &Connection,
    server: &ServerName,
    directory: &RemotePath,
    files: &[(RemoteName, FileFacts)],
) -> rusqlite::Result<Vec<Finding>> {
    let mut find_directory = connection.prepare_cached(FIND_DIRECTORY)?;
    let id = find_directory.query_row(params![server.as_str(), directory.wire()], |row| row.get(0));
    let Some(id): Option<i64> = id.optional()? else {
        return Ok(files.iter().map(|_| Finding::NEW).collect());
    };
    let mut look_up = connection.prepare_cached(LOOK_UP)?;
    let find = |(name, facts): &(RemoteName, FileFacts)| {
        let known = look_up.query_row(params![id, name.wire()], known_file).optional()?;
        Ok(known.map_or(Finding::NEW, |known| known.compare(facts)))
    };
    files.iter().map(find).collect()
}

/// Keeps what a listing said.
fn keep_update(connection: &Connection, update: ListingUpdate, listed: &FileFacts) -> rusqlite::Result<()> {
    match update {
        ListingUpdate::Changed { id } => {
            keep_listed(connection, id, listed, 1)?;
            connection.prepare_cached(COUNT_CHANGES)?.execute([1])?;
        }
        ListingUpdate::CaughtUp { id } => {
            let (seconds, source) = modified_columns(listed);
            connection.prepare_cached(SET_TIME)?.execute(params![id, seconds, source])?;
            connection.prepare_cached(SHOWN_AS_STORED)?.execute([id])?;
        }
    }
    Ok(())
}

/// Settles what the time of one file means.
pub(super) fn settle_shift(
    connection: &Connection,
    server: &ServerName,
    file: &Shifted,
) -> rusqlite::Result<()> {
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
