//! Whether the database still lies where it was opened.
//!
//! SQLite goes on writing to a file that was deleted or replaced under its hands, and all of that would be gone with the
//! process. So nothing is read or written any more then, and the records are saved beside the place once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::files::{FILE_MODE, Identity, sibling_path};
use crate::base::durable::sync_above;
use crate::records::error::{FailureKind, RecordsError};

/// The file of an open database, and what became of the records once its name meant another.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: Identity,
    rescue: Option<String>,
}

impl OpenFile {
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self { identity: Identity::of(&path)?, path, rescue: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the name of the database still means the file that is open.
    ///
    /// # Errors
    ///
    /// Where it does not; the records that `connection` sees were saved then, if possible.
    pub(super) fn check(
        &mut self,
        connection: &Connection,
        attempt: &'static str,
    ) -> Result<(), RecordsError> {
        let Self { path, identity, rescue } = self;
        if Identity::of(path).is_ok_and(|now| now == *identity) {
            return Ok(());
        }
        let saved = rescue.get_or_insert_with(|| match save(connection, path) {
            Ok(copy) => format!("all records were saved to {}", copy.display()),
            Err(error) => format!("the records could not be saved: {error:#}"),
        });
        let text = format!(
            "it was deleted or replaced while the service runs; {saved}: put it back, or stop the service and put \
             the copy in its place"
        );
        Err(RecordsError::new(FailureKind::Replaced, attempt, path, text))
    }
}

/// Writes what the open connection sees into a file of its own. An earlier copy is never overwritten.
fn save(connection: &Connection, file: &Path) -> anyhow::Result<PathBuf> {
    let copy = sibling_path(file, ".rescued");
    // empty and ours, so that SQLite need not make it readable for others
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&copy)?;
    let path = copy.to_str().ok_or_else(|| anyhow::anyhow!("its path is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [path])?;
    File::open(&copy)?.sync_all()?;
    sync_above(&copy)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::store::SqliteStore;
    use super::*;
    use crate::records::fixtures::{download, record_some};
    use crate::records::sqlite::tests::fixtures::Place;
    use crate::records::store::RecordStore;

    #[test]
    fn a_database_that_is_deleted_or_replaced_is_saved_and_not_written_to_any_more() {
        for replaced in [false, true] {
            let place = Place::new();
            let mut records = place.open();
            record_some(&mut *records, 5);
            let aside = place.directory().join("aside.db");
            fs::rename(place.file(), &aside).unwrap();
            if replaced {
                fs::write(place.file(), b"").unwrap();
            }
            for _ in 0..2 {
                let error = records.record(&[download("x.zip", 1)]).unwrap_err();
                assert_eq!(error.kind(), FailureKind::Replaced);
                assert!(error.to_string().contains("records.db.rescued"), "{error}");
            }
            assert_eq!(records.totals().unwrap_err().kind(), FailureKind::Replaced);
            let mut copy = SqliteStore::open(&sibling_path(&place.file(), ".rescued")).unwrap();
            assert_eq!(copy.totals().unwrap().downloads(), 5);
            fs::rename(&aside, place.file()).unwrap();
            records.record(&[download("x.zip", 1)]).unwrap();
            assert_eq!(records.totals().unwrap().downloads(), 6);
        }
    }

    #[test]
    fn what_was_written_last_is_saved_at_the_end() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut *records, 5);
        fs::remove_file(place.file()).unwrap();
        records.close();
        let mut copy = SqliteStore::open(&sibling_path(&place.file(), ".rescued")).unwrap();
        assert_eq!(copy.totals().unwrap().downloads(), 5);
    }
}
