//! One server's part of a mirror: its directories, and its files from the first byte to the final name.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::error::PublishError;
use super::partial_name::PartialName;
use crate::base::names::{RemoteName, RemotePath};
use crate::base::read_at::ReadAt;
use crate::base::watchdog::Pulse;

/// A tree is cut below this many directories; a server that lists a loop has no end otherwise.
pub const MAX_DEPTH: usize = 256;

/// One server's part of an open mirror; what [`store`](super::store) says holds here too.
///
/// **A file's way.** It is written as a partial file ([`open_partial`](Self::open_partial)), whose name says all that
/// resuming it needs. [`PartialFile::publish`] makes it durable under its final name; the partial name stays and is the
/// proof that the file is ours, until the file is on record and [`remove_partial`](Self::remove_partial) takes it away.
/// Whoever was stopped in between finds it with [`look`](Self::look).
///
/// **Cancelled** or stopped at any moment, a file is partial or whole, and its partial name is there until it is on
/// record: nothing is ever half there under a final name.
pub trait ServerMirror: fmt::Debug + Send + Sync {
    /// Opens the directory at `path`, and makes what is missing of it. It need not survive a power loss: files make
    /// the directories that they lie in durable.
    ///
    /// # Errors
    ///
    /// The system's, such as where a file or a symbolic link stands in the way.
    fn directory(&self, path: &RemotePath) -> io::Result<Box<dyn MirrorDirectory>>;

    /// Returns whether finished files cannot be moved into the directory at `path`, as it is now. One that cannot be opened is
    /// none.
    fn is_apart(&self, path: &RemotePath) -> bool;

    /// Returns how many bytes could ever be stored, where that is known.
    fn capacity(&self) -> Option<u64>;

    /// Lists the partial files, and those that are not there any more but prove a finished file to be ours. Files with
    /// other names are left alone.
    ///
    /// # Errors
    ///
    /// The system's.
    fn partials(&self) -> io::Result<Vec<PartialName>>;

    /// Lists the partial files that nobody wrote to since `time`. One that has its final name already proves that the
    /// file is ours, and is not among them.
    ///
    /// # Errors
    ///
    /// The system's.
    fn partials_before(&self, time: SystemTime) -> io::Result<Vec<PartialName>>;

    /// Says what there is of a partial file.
    fn partial(&self, name: PartialName) -> PartialState;

    /// Opens the partial file of `name` with what is in it, or makes an empty one.
    ///
    /// # Errors
    ///
    /// The system's.
    fn open_partial(&self, name: PartialName) -> io::Result<Arc<dyn PartialFile>>;

    /// Removes a partial file, and with it the proof that the finished file is ours; one that is gone already is fine.
    /// A power loss may bring it back.
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove_partial(&self, name: PartialName) -> io::Result<()>;

    /// Looks at what has the final name of a file, and what there is of its `partials`. Proofs of a file that is not
    /// there are removed.
    ///
    /// # Errors
    ///
    /// Where a finished file that is ours cannot be opened.
    fn look(
        &self,
        directory: &RemotePath,
        name: &RemoteName,
        partials: &[PartialName],
    ) -> anyhow::Result<Found>;
}

/// A directory of the mirror, opened for its listing.
pub trait MirrorDirectory: fmt::Debug {
    /// Makes a directory in it; one that exists is fine, and so is anything else of that name.
    ///
    /// # Errors
    ///
    /// The system's.
    fn make(&self, name: &RemoteName) -> io::Result<()>;

    /// Returns whether anything of this name lies in it, a symbolic link included.
    fn has(&self, name: &RemoteName) -> bool;
}

/// What there is of a partial file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartialState {
    /// Nothing, as far as its name tells.
    Missing,
    /// So many bytes, which have no other name.
    Unfinished {
        /// In bytes.
        size: u64,
    },
    /// It has its final name, too, and proves that the file is ours.
    Finished {
        /// In bytes.
        size: u64,
    },
}

impl PartialState {
    /// Bytes in it.
    #[must_use]
    pub fn size(self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Unfinished { size } | Self::Finished { size } => size,
        }
    }
}

/// What was found of a file.
#[derive(Debug, Default)]
pub struct Found {
    /// Something has its final name.
    pub is_taken: bool,
    /// That is a whole file that was downloaded here, and may not be on record.
    pub finished: Option<FinishedFile>,
    /// Other partial files of it, which may be of other contents.
    pub others: Vec<(PartialName, PartialState)>,
}

/// A file under its final name that is proved to be ours.
#[derive(Debug, Clone)]
pub struct FinishedFile {
    /// The partial file that proves it.
    pub partial: PartialName,
    /// In bytes.
    pub size: u64,
    /// Its content.
    pub file: Arc<dyn PartialFile>,
}

/// The content of a file that has no final name yet, or just got it. Dropped at any time, what was written stays.
#[async_trait(?Send)]
pub trait PartialFile: ReadAt {
    /// Returns the bytes in it.
    ///
    /// # Errors
    ///
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Writes `bytes` at the place `at`, which is its end or before. They need not survive a power loss.
    ///
    /// # Errors
    ///
    /// The system's; a part of them may be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts it to so many bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn cut(&self, size: u64) -> io::Result<()>;

    /// Returns whether another file of this name holds the same bytes, of which there are `size`.
    fn equals(&self, directory: &RemotePath, name: &RemoteName, size: u64) -> bool;

    /// Makes the whole file durable under its final name: content, name, and the names of all directories above it
    /// survive a power loss when this returns. Stores may gather many files for that.
    ///
    /// Nothing else may write to it any more. Cancelled, the file is stored all the same; its partial name tells the
    /// next run so.
    ///
    /// # Errors
    ///
    /// As [`PublishError`] says. The final name is what it was before, and the partial file still there, except where the
    /// disk lost some of its bytes: then it is gone, so that nobody resumes from it.
    async fn publish(self: Arc<Self>, target: Target) -> Result<(), PublishError>;
}

/// Where a whole file goes.
#[derive(Debug)]
pub struct Target {
    /// The directory on the server, and in the mirror.
    pub directory: Arc<RemotePath>,
    /// Its name on the server, and in the mirror.
    pub name: RemoteName,
    /// What has its name now is an earlier content of the same file, and gives way. What is no file never does.
    pub replaces: bool,
    /// Of the scan that waits for it, which must hear that the disk moves.
    pub pulse: Option<Arc<Pulse>>,
}
