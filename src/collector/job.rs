//! A piece of work of one scan: a directory to list, or a file to fetch.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::facts::FileFacts;
use crate::base::names::{RemoteName, RemotePath};

/// One piece of work for one connection.
#[derive(Debug, Clone)]
pub enum Job {
    /// List a directory.
    List(DirectoryJob),
    /// Fetch a file.
    Fetch(FileJob),
}

/// A directory to list.
#[derive(Debug, Clone)]
pub struct DirectoryJob {
    /// On the server.
    pub path: Arc<RemotePath>,
    /// Directories between it and the configured one.
    pub depth: usize,
    /// What the server calls it, where it tells; see [`crate::protocol::Entry::unique`].
    pub unique: Option<u64>,
    /// The directories above it, as far as this scan went through them.
    pub above: Option<Rc<Lineage>>,
    /// Failed tries on other connections in this scan.
    pub tries: u32,
}

impl DirectoryJob {
    /// Returns whether a listing of what the server calls `own` is that of a directory above this one, though
    /// the server called this one otherwise.
    #[must_use]
    pub fn is_another(&self, own: Option<u64>) -> bool {
        let differs = own.is_some() && self.unique.is_some() && own != self.unique;
        differs && Lineage::upwards(self.above.as_ref()).any(|above| above.unique == own)
    }
}

/// A directory that others are below of, and those above it.
#[derive(Debug)]
pub struct Lineage {
    /// What the server calls it, where it tells.
    pub unique: Option<u64>,
    /// What its listing amounted to, where that was known in time and tells anything.
    pub listing: Option<u64>,
    /// The one above it.
    pub above: Option<Rc<Lineage>>,
}

impl Lineage {
    /// The directory itself and those above it, from below.
    pub fn upwards(lineage: Option<&Rc<Self>>) -> impl Iterator<Item = &Self> {
        std::iter::successors(lineage.map(Rc::as_ref), |directory| directory.above.as_deref())
    }
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct FileJob {
    /// On the server.
    pub directory: Arc<RemotePath>,
    /// In that directory.
    pub name: RemoteName,
    /// As listed.
    pub facts: FileFacts,
    /// Whether the mirror holds something of that name already.
    pub name_taken: bool,
    /// What of it is on record.
    pub on_record: OnRecord,
    /// Failed tries on other connections in this scan.
    pub tries: u32,
}

/// What is on record of a file that is to be fetched all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRecord {
    /// Nothing.
    #[default]
    Nothing,
    /// Another content, which was no archive and is gone from the mirror.
    Gone,
    /// Another content, which was no archive and lies in the mirror.
    Present,
}

impl FileJob {
    /// The full path on the server.
    #[must_use]
    pub fn path(&self) -> RemotePath {
        self.directory.join(&self.name)
    }
}
