//! What to fetch, and why it is not taken.

use std::io;

use crate::archive::Format;
use crate::base::blocking::BlockingError;
use crate::base::facts::FileFacts;
use crate::base::names::RemotePath;
use crate::config::Verify;
use crate::protocol::ProtocolError;

/// What to fetch and how sure to be.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// On the server.
    pub path: &'a RemotePath,
    /// As listed.
    pub facts: FileFacts,
    /// An earlier scan has seen it empty too.
    pub may_be_empty: bool,
    /// The form of files that its name promises.
    pub promised: Option<Format>,
    /// An earlier scan has seen it with the same size and time, too.
    pub stands_still: bool,
    /// Whether a file that is no archive has stayed what it is, by this digest of its bytes, for long enough.
    pub has_stayed: &'a dyn Fn(u128) -> bool,
    /// How sure to be.
    pub verify: Verify,
    /// Whether another file will be fetched on the same connection next, as it looks now.
    pub another: &'a dyn Fn() -> bool,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The way to the server, or the server's answer.
    #[error(transparent)]
    Remote(#[from] ProtocolError),
    /// What came is not what the server shows.
    #[error("received {received} bytes, but the server shows {shown}")]
    WrongSize {
        /// Bytes in the partial file.
        received: u64,
        /// By the listing, or by SIZE after the transfer.
        shown: u64,
    },
    /// The data connection was reset, or TLS ended without close_notify, before all had come. What came is kept.
    #[error("the data connection broke after {received} of {shown} bytes")]
    Broken {
        /// Bytes in the partial file.
        received: u64,
        /// By the listing, or by SIZE after the transfer.
        shown: u64,
    },
    /// `verify = "size"`, or an unclean end of the transfer, and no size to compare with.
    #[error("the server shows no size, so that the file cannot be proved whole")]
    NoSize,
    /// It begins as a zip archive and does not end as one: still being uploaded, or damaged on the server.
    #[error("the zip archive has no end; it is still being uploaded, or damaged on the server")]
    CutZip,
    /// It has the form of a zip archive, and its content is not what that says.
    #[error("the zip archive is not whole ({0}); it is still being uploaded, or damaged on the server")]
    DamagedZip(String),
    /// Room that was reserved for a file.
    #[error("nothing but zeros; its content is still being uploaded")]
    Zeros,
    /// The same of what gzip writes.
    #[error("the gzip file has no end; it is still being uploaded, or damaged on the server")]
    CutGzip,
    /// See [`Self::DamagedZip`].
    #[error("the gzip file is not whole ({0}); it is still being uploaded, or damaged on the server")]
    DamagedGzip(String),
    /// Believed when it has stayed the same for long enough.
    #[error("{0}; taken as it is once it has stayed the same for 15 minutes")]
    Unproved(&'static str),
    /// Nothing in it shows whether more is to come; believed when a later scan sees the same.
    #[error(
        "nothing in it shows whether more is to come; it is taken once two scans have seen the same size and time"
    )]
    Unsettled,
    /// `verify = "zip"` and no archive.
    #[error("not a readable zip archive: {0}")]
    NotReadable(String),
    /// No bytes at all; believed when a later scan sees the same.
    #[error("the file is empty; it is taken once two scans have seen it so")]
    Empty,
    /// It is larger than the server shows, and must go.
    #[error("{0}")]
    Outgrown(String),
    /// The same, but it is not at fault: see [`Outgrown::AfterAnother`].
    #[error("{0}")]
    AfterAnother(String),
    /// Its bytes could not be looked into, which says nothing against them. What came is kept.
    #[error("cannot check the file that came: {0}")]
    Unchecked(#[from] BlockingError),
    /// Our own disk.
    #[error("{}", crate::base::humanize::why(.0))]
    Local(anyhow::Error),
}

impl From<anyhow::Error> for FetchError {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

impl FetchError {
    /// Returns whether it looks as if the file is still being uploaded.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(
            self,
            Self::WrongSize { .. }
                | Self::Broken { .. }
                | Self::CutZip
                | Self::DamagedZip(_)
                | Self::CutGzip
                | Self::DamagedGzip(_)
                | Self::Zeros
                | Self::Empty
        )
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Local(anyhow::Error::new(error).context("cannot use the partial file"))
    }
}
