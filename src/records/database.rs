//! A place where records are kept.

use std::path::PathBuf;

use super::error::OpenError;
use super::reader::RecordReader;
use super::store::RecordStore;

/// Records that can be opened. A new store implements this, [`RecordStore`] and [`RecordReader`], has a line in
/// `records::database_of`, and passes `records::conformance`.
pub(super) trait Database {
    /// Opens the records for writing, makes them where there are none, and brings them up to date. Takes no time that
    /// grows with their number.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the records are unchanged then.
    fn open(&self) -> Result<Box<dyn RecordStore>, OpenError>;

    /// Opens the records for reading, whether or not a service runs. Changes nothing, and waits a moment for a service
    /// that is making them.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    fn read(&self) -> Result<Box<dyn RecordReader>, OpenError>;

    /// Looks whether the records can be opened, and returns what was found, to be said after their place. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    fn examine(&self) -> Result<String, OpenError> {
        self.read().map(|_| "opens".to_owned())
    }

    /// Returns the files of this machine that a service writes, there or not.
    fn files(&self) -> Vec<PathBuf>;
}
