//! What the tests of the records share.

use std::path::PathBuf;
use std::sync::Arc;

use encoding_rs::UTF_8;
use tempfile::TempDir;

use super::{Download, Recorded, Records};
use crate::base::facts::{Earlier, FileFacts, Modified, TimeSource};
use crate::base::names::{RemoteName, RemotePath, ServerName};

/// A place for a database that goes with the test.
pub(in crate::records) struct Place(TempDir);

impl Place {
    pub(in crate::records) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::records) fn directory(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    pub(in crate::records) fn file(&self) -> PathBuf {
        self.directory().join("records.db")
    }

    pub(in crate::records) fn open(&self) -> Records {
        Records::open(&self.file()).unwrap()
    }
}

pub(in crate::records) fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

pub(in crate::records) fn directory(text: &str) -> RemotePath {
    RemotePath::from_text(text, UTF_8).unwrap()
}

pub(in crate::records) fn name(wire: impl AsRef<[u8]>) -> RemoteName {
    RemoteName::from_wire(wire.as_ref(), UTF_8).unwrap()
}

/// What MLSD says of a file.
pub(in crate::records) fn mlsd(size: u64, unix_seconds: i64) -> FileFacts {
    FileFacts { size: Some(size), modified: Some(Modified { unix_seconds, source: TimeSource::Mlsd }) }
}

/// A file of 10 bytes in `/in` of omc01, changed at second 60 and downloaded at millisecond `at`.
pub(in crate::records) fn download(file_name: impl AsRef<[u8]>, at: i64) -> Download {
    Download {
        server: server("omc01"),
        directory: Arc::new(directory("/in")),
        name: name(file_name),
        facts: mlsd(10, 60),
        size: 10,
        downloaded_at: at,
        no_archive: false,
        earlier: Earlier::Stays,
    }
}

/// Records `count` downloads, the first at millisecond 1, and answers their ids.
pub(in crate::records) fn record_some(records: &mut Records, count: i64) -> Vec<i64> {
    let files: Vec<_> = (1..=count).map(|at| download(format!("{at}.zip"), at)).collect();
    records.record(&files).unwrap().into_iter().map(new_id).collect()
}

pub(in crate::records) fn new_id(recorded: Recorded) -> i64 {
    match recorded {
        Recorded::New { id } => id,
        Recorded::Already { id } => panic!("{id} was on record before"),
    }
}
