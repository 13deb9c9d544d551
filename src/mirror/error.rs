//! Why a mirror, or a file of it, cannot be used.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::names::RemotePath;

/// Something else than a directory where a part of the mirror should be.
#[derive(Debug, thiserror::Error)]
#[error(
    "sync.root: {} is no directory, or a symbolic link, and links are not followed in the mirror; move it away", .0.display()
)]
pub struct NotDirectory(pub PathBuf);

/// A part of the mirror that finished files cannot be moved into.
#[derive(Debug, thiserror::Error)]
#[error(
    "sync.root: {}/{place} is another file system than {}/{partial}, so that finished files cannot be moved \
     there; mount one file system on {} for all of it, or on none of the directories below", .root.display(), .root.display(), .root.display()
)]
pub struct Apart {
    /// The mirror.
    pub root: PathBuf,
    /// Below it.
    pub place: String,
    /// Where they come from, below it.
    pub partial: &'static str,
}

/// Why a file did not get its final name.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The name is taken by something that was not downloaded here.
    #[error("the mirror holds another file of that name, which is left alone")]
    NameTaken,
    /// The directory is another file system than the partial files.
    #[error(
        "its directory {0} in the mirror is another file system than .partial, so that it cannot be moved there; what was \
         fetched is kept until that is mended"
    )]
    Apart(Arc<RemotePath>),
    /// The disk said no.
    #[error("cannot store: {}", crate::base::humanize::why(.0))]
    Disk(anyhow::Error),
    /// The publisher's thread ended.
    #[error("the publisher is gone")]
    Gone,
}

impl From<anyhow::Error> for PublishError {
    fn from(error: anyhow::Error) -> Self {
        Self::Disk(error)
    }
}
