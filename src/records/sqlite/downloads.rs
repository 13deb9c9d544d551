//! Puts downloads on record.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::rows::{modified_columns, storable};
use crate::base::facts::{Download, Earlier, FileFacts};
use crate::records::stored::text_beside;
use crate::records::types::Recorded;

const FIND: &str = "SELECT id FROM downloads WHERE directory = ?1 AND name = ?2";
pub(super) const FIND_DIRECTORY: &str = "SELECT id, text FROM directories WHERE server = ?1 AND wire = ?2";
const INSERT_DIRECTORY: &str =
    "INSERT INTO directories (server, wire, text) VALUES (?1, ?2, ?3) RETURNING id";
/// A file that was marked as listed and never there (see [`crate::records::Mark`]) is downloaded after all where its download was
/// under way when it was marked.
const INSERT: &str = "INSERT INTO downloads
        (directory, name, text, size, modified, modified_source, downloaded_at, next_attempt_at, no_archive)
    VALUES (:directory, :name, :text, :size, :modified, :source, :downloaded_at, :downloaded_at, :no_archive)
    ON CONFLICT (directory, name) DO UPDATE SET size = excluded.size, modified = excluded.modified,
        modified_source = excluded.modified_source, downloaded_at = excluded.downloaded_at,
        notified_at = NULL, evicted_at = NULL, attempts = 0, next_attempt_at = excluded.downloaded_at,
        no_archive = excluded.no_archive
    WHERE evicted_at = downloaded_at AND notified_at = downloaded_at RETURNING id";
/// Its notice goes with it, so that one that is under way is not taken for that of the new content.
const GIVE_WAY: &str = "DELETE FROM downloads WHERE directory = ?1 AND name = ?2 AND no_archive = 1";
const SAME_AGAIN: &str = "UPDATE downloads SET modified = ?3, modified_source = ?4
    WHERE directory = ?1 AND name = ?2 AND no_archive = 1 RETURNING id";
const FORGET_SHOWN: &str = "DELETE FROM last_listed WHERE id = ?1";
const SHOWN_OTHERWISE: &str = "INSERT INTO last_listed VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified,
        modified_source = excluded.modified_source, changes = changes + excluded.changes";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 8] =
    [FIND, FIND_DIRECTORY, INSERT_DIRECTORY, INSERT, SHOWN_OTHERWISE, GIVE_WAY, SAME_AGAIN, FORGET_SHOWN];

/// Returns whether the path is on record.
pub(super) fn is_recorded(connection: &Connection, file: &Download) -> rusqlite::Result<bool> {
    let (server, directory, name) = (file.server.as_str(), &file.directory, &file.name);
    find(connection, &Key { server, directory: directory.wire(), name: name.wire() }).map(|id| id.is_some())
}

/// What tells one record from another: the server, and the bytes on the wire.
pub(super) struct Key<'a> {
    pub(super) server: &'a str,
    pub(super) directory: &'a [u8],
    pub(super) name: &'a [u8],
}

/// Returns the record with this key.
pub(super) fn find(connection: &Connection, key: &Key<'_>) -> rusqlite::Result<Option<i64>> {
    let Key { server, directory, name } = *key;
    let mut find_directory = connection.prepare_cached(FIND_DIRECTORY)?;
    let found = find_directory.query_row(params![server, directory], |row| row.get::<_, i64>(0));
    let Some(directory) = found.optional()? else { return Ok(None) };
    connection.prepare_cached(FIND)?.query_row(params![directory, name], |row| row.get(0)).optional()
}

/// Puts a download on record.
pub(super) fn insert(connection: &Connection, file: &Download) -> rusqlite::Result<Recorded> {
    let (directory, text) = directory_of(connection, file)?;
    let (seconds, source) = modified_columns(&file.facts);
    match file.earlier {
        Earlier::Stays => {}
        Earlier::GivesWay => {
            connection.prepare_cached(GIVE_WAY)?.execute(params![directory, file.name.wire()])?;
        }
        Earlier::IsTheSame => {
            let row = params![directory, file.name.wire(), seconds, source];
            let same = connection.prepare_cached(SAME_AGAIN)?.query_row(row, |row| row.get(0)).optional()?;
            if let Some(id) = same {
                connection.prepare_cached(FORGET_SHOWN)?.execute([id])?;
                keep_if_shown_otherwise(connection, id, file)?;
                return Ok(Recorded::Already { id });
            }
        }
    }
    let inserted = connection.prepare_cached(INSERT)?.query_row(
        named_params! {
            ":directory": directory, ":name": file.name.wire(), ":text": text, ":size": storable(file.size),
            ":modified": seconds, ":source": source, ":downloaded_at": file.downloaded_at,
            ":no_archive": file.no_archive,
        },
        |row| row.get(0),
    );
    let Some(id) = inserted.optional()? else {
        let mut find = connection.prepare_cached(FIND)?;
        let id = find.query_row(params![directory, file.name.wire()], |row| row.get(0))?;
        return Ok(Recorded::Already { id });
    };
    keep_if_shown_otherwise(connection, id, file)?;
    Ok(Recorded::New { id })
}

/// The size that a listing shows may not be the one that came.
fn keep_if_shown_otherwise(connection: &Connection, id: i64, file: &Download) -> rusqlite::Result<()> {
    if file.facts.size.is_some_and(|size| size != file.size) {
        keep_listed(connection, id, &file.facts, 0)?;
    }
    Ok(())
}

/// The directory of a download, which is put on record where it is new, and the `text` of the download in it.
fn directory_of<'a>(
    connection: &Connection,
    file: &'a Download,
) -> rusqlite::Result<(i64, Option<Cow<'a, str>>)> {
    let (server, directory) = (file.server.as_str(), file.directory.as_ref());
    let own_text = text_beside(directory.wire(), directory.text());
    let name_text = text_beside(file.name.wire(), file.name.text()).map(Cow::Borrowed);
    let found: Option<(i64, Option<String>)> = connection
        .prepare_cached(FIND_DIRECTORY)?
        .query_row(params![server, directory.wire()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((id, text)) if text.as_deref() == own_text => Ok((id, name_text)),
        Some((id, _)) => Ok((id, Some(Cow::Owned(directory.join(&file.name).text().to_owned())))),
        None => {
            let mut insert = connection.prepare_cached(INSERT_DIRECTORY)?;
            let row = params![server, directory.wire(), own_text];
            Ok((insert.query_row(row, |row| row.get(0))?, name_text))
        }
    }
}

/// Keeps a listing that is not what was stored. Its size is foreign and may be any number, so its bits are kept.
pub(super) fn keep_listed(
    connection: &Connection,
    id: i64,
    listed: &FileFacts,
    changes: i64,
) -> rusqlite::Result<()> {
    let (seconds, source) = modified_columns(listed);
    let size = listed.size.map(u64::cast_signed);
    connection.prepare_cached(SHOWN_OTHERWISE)?.execute(params![id, size, seconds, source, changes])?;
    Ok(())
}
