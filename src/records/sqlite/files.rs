//! The database as a file: its neighbours, and whether it is still the one that was opened.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The owner writes, the group reads.
pub(super) const FILE_MODE: u32 = 0o640;

/// What the names of the database and of the files that SQLite or we keep beside it end in.
pub(super) const ENDINGS: [&str; 4] = ["", "-wal", "-shm", ".lock"];

/// Returns the name of a file beside the database.
pub(super) fn sibling_path(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

/// What tells a file from any other that may take its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        fs::metadata(file).map(|metadata| Self { device: metadata.dev(), inode: metadata.ino() })
    }
}
