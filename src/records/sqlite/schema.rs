//! Which version of the schema a file has, and the way to the latest.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::records::error::OpenError;

/// "MROS" in the header of every record database, see schema.sql.
pub(super) const APPLICATION_ID: i64 = 1_297_239_891;

/// Step n takes a database of version n to version n + 1. Steps are only ever added.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("schema.sql"),
    include_str!("beginnings.sql"),
    include_str!("lanes.sql"),
    include_str!("no_archives.sql"),
    include_str!("mirror.sql"),
    include_str!("remembered.sql"),
];

/// What tells whose database it is.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) application_id: i64,
    pub(super) version: i64,
    pub(super) tables: i64,
}

impl Header {
    /// Reads the header and the schema, and with that learns whether the file is a database at all.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // all of it as of one moment: a service may be making the database just now
        let snapshot = connection.unchecked_transaction()?;
        Ok(Self {
            application_id: snapshot.pragma_query_value(None, "application_id", |row| row.get(0))?,
            version: snapshot.pragma_query_value(None, "user_version", |row| row.get(0))?,
            tables: snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    /// Returns whether nothing was put into the file yet.
    fn is_new(&self) -> bool {
        (self.application_id, self.version, self.tables) == (0, 0, 0)
    }

    /// Returns how many migrations the file has had; none where it is new.
    pub(super) fn version_for_writer(&self, file: &Path) -> Result<usize, OpenError> {
        if self.is_new() {
            return Ok(0);
        }
        let file = file.to_owned();
        if self.application_id != APPLICATION_ID {
            return Err(OpenError::NotOurs { file });
        }
        match usize::try_from(self.version) {
            Ok(version) if version > MIGRATIONS.len() => {
                Err(OpenError::NewerVersion { file, found: self.version, known: known_version() })
            }
            Ok(version) if version > 0 => Ok(version),
            _ => Err(OpenError::Damaged { file, detail: format!("its version is {}", self.version) }),
        }
    }

    /// Returns whether a reader, which changes nothing, can do with the file.
    pub(super) fn check_for_reader(&self, file: &Path) -> Result<(), OpenError> {
        if self.is_new() {
            return Err(OpenError::Unmade { file: file.to_owned() });
        }
        if self.version_for_writer(file)? < MIGRATIONS.len() {
            let file = file.to_owned();
            return Err(OpenError::OlderVersion { file, found: self.version, known: known_version() });
        }
        Ok(())
    }
}

pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies the `steps` from `version` on, each with its new version number in one transaction. A new database is made by
/// one, so that nobody reads it half made and takes it for that of an earlier release.
pub(super) fn migrate(connection: &mut Connection, version: usize, steps: &[&str]) -> rusqlite::Result<()> {
    let missing: Vec<(&&str, i64)> = steps.iter().zip(1..).skip(version).collect();
    for together in missing.chunks(if version == 0 { steps.len() } else { 1 }) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (step, number) in together {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
        transaction.commit()?;
    }
    Ok(())
}
