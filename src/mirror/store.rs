//! What a store of mirrored files promises: [`MirrorLocation`] before it is opened, [`MirrorStore`] while it is, and for
//! one server [`ServerMirror`].
//!
//! What all of them hold to:
//!
//! **Names.** A file lies at its path on the server, below the name of the server, in the text form of both. No name leads
//! out of its server's part, whoever put it together (`..`), and no symbolic link is followed there: what lies behind one
//! is neither read, written nor deleted.
//!
//! **Foreign files.** What was not downloaded here is never overwritten, moved or deleted. Whether a file is ours is the
//! store's own affair; nobody else sees what it knows that by.
//!
//! **Blocking.** Methods block for as long as the disk takes, unless they are `async`. They may be called from any
//! thread, and by several at a time.
//!
//! **Repetition.** Every call may be repeated, also after a success that nobody heard of: what is deleted already is
//! no failure, nor is what has its name.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;

use super::error::Apart;
use super::identity::MirrorId;
use super::partial_name::PartialName;
use super::server::ServerMirror;
use crate::base::file_names::FileNames;
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::base::start_error::StartError;
use crate::quota::Measured;

/// Where a mirror lies, or should: for who opens it, and for who only looks, beside a service that has it open.
///
/// Looking makes and changes nothing.
pub trait MirrorLocation: fmt::Debug + Send + Sync {
    /// Returns where it is, for messages.
    fn path(&self) -> &Path;

    /// Returns whether there is anything to look at, such as a disk that is mounted.
    fn is_reachable(&self) -> bool;

    /// Returns whether a service has ever worked there.
    fn is_mirror(&self) -> bool;

    /// Refuses a mirror in which another service works.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`]. What keeps this from looking is said by [`open`](Self::open).
    fn refuse_in_use(&self) -> Result<(), StartError>;

    /// Opens the mirror, and makes it where it is missing. No other service can until it is dropped; parts of servers
    /// that were opened before go on, and hold nobody up.
    ///
    /// What is half downloaded and may not be what it seems, as after a power loss, is gone then.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`] when another service holds it; else what could not be made or opened.
    fn open(&self) -> Result<Arc<dyn MirrorStore>, StartError>;

    /// Reads the marker of the mirror, where there is one.
    ///
    /// # Errors
    ///
    /// The system's, except that something on the way does not exist; `InvalidData` where it is no marker.
    fn marker(&self) -> io::Result<Option<MirrorId>>;

    /// Returns the size in bytes of the file at `path`, if it is there.
    ///
    /// # Errors
    ///
    /// The system's, except that it is not there.
    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>>;

    /// Returns whether anything lies at the file's place, which would be in its way.
    ///
    /// # Errors
    ///
    /// The system's, except that it is not there.
    fn is_taken(&self, server: &ServerName, path: &RemotePath) -> io::Result<bool>;

    /// Counts the files of `servers`, by their names, and stops at `limit`. What cannot be read holds none.
    fn count_files(&self, servers: &[(ServerName, FileNames)], limit: u64) -> u64;

    /// Finds the files of `server` with such `names`, which are in this encoding on the wire, below its `directories`. Those that a running service is storing at this moment are
    /// left out: it records them itself.
    ///
    /// # Errors
    ///
    /// The system's, with the path; a server without a part in the mirror has no files.
    fn files(
        &self,
        server: &ServerName,
        names: (&FileNames, &'static Encoding),
        directories: &[RemotePath],
    ) -> anyhow::Result<Vec<MirroredFile>>;

    /// Deletes files, so that no power loss brings them back. Those that are gone are fine.
    ///
    /// # Errors
    ///
    /// The system's, with the file; some are deleted then, and the same call goes on with the rest.
    fn delete(&self, files: &[(ServerName, RemotePath)]) -> anyhow::Result<()>;

    /// Says where finished files of `server` could not be moved into its part.
    fn apart(&self, server: &ServerName) -> Option<Apart>;

    /// Measures how full it is, and what else keeps files away, whether or not the mirror exists already.
    ///
    /// # Errors
    ///
    /// The system's, with what was measured.
    fn measure(&self) -> anyhow::Result<Measured>;

    /// Returns what a service opens on this machine, there or not, for `check`.
    fn machine_paths(&self, servers: &[&ServerName]) -> MachinePaths;
}

/// What a service opens on this machine.
#[derive(Debug, Default)]
pub struct MachinePaths {
    /// Directories that are written into.
    pub directories: Vec<PathBuf>,
    /// The same, which no symbolic link may stand for.
    pub parts: Vec<PathBuf>,
    /// Files that are written.
    pub files: Vec<PathBuf>,
    /// The one of them that says which service works there.
    pub lock: Option<PathBuf>,
}

/// A file in the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredFile {
    /// On the server.
    pub directory: Arc<RemotePath>,
    /// In that directory.
    pub name: RemoteName,
    /// In bytes.
    pub size: u64,
    /// When it was changed last, in unix seconds.
    pub modified: i64,
}

/// A mirror that is open: no other service works in it until this is dropped.
pub trait MirrorStore: fmt::Debug + Send + Sync {
    /// Returns whether this is still what lies at its location: a disk may have been unmounted, or another one mounted there.
    fn is_in_place(&self) -> bool;

    /// Gives the mirror a marker, in the place of the one of before. It survives a power loss when this returns.
    ///
    /// # Errors
    ///
    /// The system's; the mirror has one of the two markers then.
    fn mark(&self, id: MirrorId) -> io::Result<()>;

    /// Opens the part of one server, which is made, durably, where it is missing.
    ///
    /// # Errors
    ///
    /// Where something else than a directory stands in the way, a symbolic link included, or [`Apart`] (inside).
    fn server(&self, name: &ServerName) -> anyhow::Result<Arc<dyn ServerMirror>>;

    /// Measures how full it is, and what else keeps files away.
    ///
    /// # Errors
    ///
    /// The system's.
    fn measure(&self) -> io::Result<Measured>;

    /// Sums the bytes of all partial files of all servers, except those that have their final names.
    ///
    /// # Errors
    ///
    /// The system's; a file that vanishes meanwhile is no error.
    fn partial_bytes(&self) -> io::Result<u64>;

    /// Lists the partial files of all servers that have bytes and no final name, those of servers that are configured no
    /// more among them.
    ///
    /// # Errors
    ///
    /// The system's; a file that vanishes meanwhile is no error.
    fn unfinished(&self) -> anyhow::Result<Vec<UnfinishedFile>>;

    /// Returns the size in bytes of the file at `path`, if it is there.
    ///
    /// # Errors
    ///
    /// The system's, except that it is not there.
    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>>;

    /// Returns whether the file at `path` is there.
    ///
    /// # Errors
    ///
    /// The system's, except that it is not there.
    fn is_present(&self, server: &ServerName, path: &RemotePath) -> io::Result<bool> {
        Ok(self.size(server, path)?.is_some())
    }

    /// Says for each of `files`, which may be many, whether it is gone. One that cannot be looked at is not.
    fn gone(&self, files: &[(&ServerName, &RemotePath)]) -> Vec<bool> {
        files.iter().map(|(server, path)| matches!(self.is_present(server, path), Ok(false))).collect()
    }

    /// Deletes the file at `path`. A power loss may bring it back until [`sync_deleted`](Self::sync_deleted) has returned.
    ///
    /// # Errors
    ///
    /// The system's, except that the file or a directory above it does not exist.
    fn delete(&self, server: &ServerName, path: &RemotePath) -> io::Result<Deleted>;

    /// Makes the deletion of the file at `path`, and of all others deleted from its directory before, durable.
    ///
    /// # Errors
    ///
    /// The system's, except that the directory does not exist.
    fn sync_deleted(&self, server: &ServerName, path: &RemotePath) -> io::Result<()>;
}

/// What became of a file that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone now.
    Removed {
        /// What it took on the disk, in bytes.
        bytes: u64,
    },
    /// Somebody else was faster: a hand, or an eviction whose record was lost in a crash.
    AlreadyGone,
}

/// A partial file as it lies there, whoever works on it.
pub struct UnfinishedFile {
    /// Whose it is, configured or not.
    pub server: String,
    /// Its name.
    pub name: PartialName,
    /// In bytes.
    pub size: u64,
    /// On the disk, in bytes.
    pub on_disk: u64,
    /// When it was written last, in unix seconds.
    pub written: i64,
    /// Removes it.
    pub remove: Box<dyn FnOnce() -> io::Result<()>>,
}
