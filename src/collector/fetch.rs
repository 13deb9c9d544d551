//! One new file: from its listing to whole bytes in a partial file.
//!
//! Nothing is taken for whole that was not proved so: the server must have closed the transfer with success, and size
//! and content must be right (`mirror/proof.rs`).

use std::fs::File;
use std::io;

use anyhow::Context;
use async_trait::async_trait;

use crate::base::blocking::BlockingError;
use crate::base::facts::FileFacts;
use crate::base::names::RemotePath;
use crate::config::Verify;
use crate::protocol::{FileReceiver, FileRequest, ProtocolError, Received, Session};
use crate::quota::Gauge;

use super::admission::Filling;
use super::proof::{Found, Shown, decide};
use crate::mirror::partial::{Outgrown, Partial, remove};
use crate::mirror::partial_name::PartialName;
use crate::mirror::tree::ServerMirror;

/// How far a file may outgrow its listing before its transfer is cut. A file that is being uploaded grows while it
/// is fetched; one without end must not fill the disk.
const GROWTH: u64 = 64 * 1024 * 1024;
/// The same for a file of which the server shows no size at all.
const UNSIZED: u64 = 1024 * 1024 * 1024;
/// A transfer begins from the start again so often: once because it is not resumed, once in another way.
const MAX_NEW_STARTS: u32 = 2;

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
    /// Believed when it has stayed the same for long enough.
    #[error("it is no zip archive; taken as it is once it has stayed the same for 15 minutes")]
    NoArchive,
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
    /// Whether it looks as if the file is still being uploaded.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(
            self,
            Self::WrongSize { .. }
                | Self::Broken { .. }
                | Self::CutZip
                | Self::DamagedZip(_)
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

/// A whole file in `.partial`.
#[derive(Debug)]
pub struct Fetched {
    /// Its name there.
    pub partial: PartialName,
    /// Its content.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// What is worth saying of it.
    pub found: Found,
}

/// What to fetch and how sure to be.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// On the server.
    pub path: &'a RemotePath,
    /// As listed.
    pub facts: FileFacts,
    /// An earlier scan has seen it empty too.
    pub may_be_empty: bool,
    /// Whether a file that is no archive has stayed what it is, by this digest of its bytes, for long enough.
    pub has_stayed: &'a dyn Fn(u128) -> bool,
    /// How sure to be.
    pub verify: Verify,
    /// Whether another file will be fetched on the same connection next, as it looks now.
    pub another: &'a dyn Fn() -> bool,
}

/// Fetches a file into its partial file, resuming where that is safe, and proves it whole.
///
/// # Errors
///
/// As [`FetchError`] says. After a broken transfer the partial file stays for the next try; after a failed proof it
/// goes. Cancelled, it stays, and the session is not reusable.
pub async fn fetch(
    session: &mut dyn Session,
    mirror: &ServerMirror,
    wanted: Wanted<'_>,
    filling: &mut Filling<'_>,
    gauge: &Gauge,
) -> Result<Fetched, FetchError> {
    let name = PartialName::new(wanted.path, wanted.facts);
    let limit = wanted.facts.size.map_or(UNSIZED, |size| size.saturating_add(GROWTH));
    let mut partial = Partial::open(mirror, name, limit)?;
    let resumed = partial.length() > 0;
    filling.has(partial.dropped() + partial.there());
    filling.settle(partial.there());
    let end = match transfer_some_way(session, wanted, &mut partial, filling).await {
        Err(FetchError::Remote(ProtocolError::Local(error))) if error.is::<Outgrown>() => {
            // it is never resumed, and must not fill the disk meanwhile
            remove(mirror, name).with_context(|| format!("cannot remove the partial file {name}"))?;
            filling.settle(0);
            let text = error.to_string();
            let is_at_fault = !matches!(error.downcast_ref(), Some(Outgrown::AfterAnother));
            return Err(if is_at_fault {
                FetchError::Outgrown(text)
            } else {
                FetchError::AfterAnother(text)
            });
        }
        outcome => {
            // emptied where its content turned out to be another
            filling.settle(partial.there());
            outcome?
        }
    };
    partial.finish()?;
    filling.settle(partial.there());
    let size = partial.length();
    let proof = async {
        let shown = ask_size(session, &wanted, size, end, resumed).await?;
        decide(&wanted, partial.file(), size, shown, end.clean_end).await
    };
    match proof.await {
        Ok(found) => Ok(Fetched { partial: name, file: partial.into_file(), size, found }),
        // what came is true as far as it goes
        Err(FetchError::WrongSize { received, shown }) if !end.clean_end && received < shown => {
            Err(FetchError::Broken { received, shown })
        }
        // the connection broke while the size was asked for, or there is no thread: nothing is said against the bytes
        Err(error @ (FetchError::Remote(_) | FetchError::Unchecked(_))) => Err(error),
        Err(error) => {
            remove(mirror, name)?;
            gauge.partial_gone(size);
            Err(error)
        }
    }
}

/// Transfers the rest of the file. From the start on the same session, where the server does not resume, or not here,
/// or broke off and is asked in another way then.
async fn transfer_some_way(
    session: &mut dyn Session,
    wanted: Wanted<'_>,
    partial: &mut Partial,
    filling: &mut Filling<'_>,
) -> Result<Received, FetchError> {
    for _ in 0..MAX_NEW_STARTS {
        let resumed = partial.length() > 0;
        match transfer(session, wanted, partial, filling).await {
            Err(error)
                if session.is_reusable()
                    && ((resumed && error.refuses_to_resume()) || error.asks_to_start_over()) =>
            {
                partial.start_over()?;
                filling.settle(0);
            }
            outcome => return Ok(outcome?),
        }
    }
    Ok(transfer(session, wanted, partial, filling).await?)
}

async fn transfer(
    session: &mut dyn Session,
    wanted: Wanted<'_>,
    partial: &mut Partial,
    filling: &mut Filling<'_>,
) -> Result<Received, ProtocolError> {
    let offset = partial.length();
    let cut = filling.cut();
    let request = FileRequest { path: wanted.path, offset, expected_size: wanted.facts.size };
    let mut receiver = IntoPartial { partial, filling, another: wanted.another };
    tokio::select! {
        received = session.fetch(request, &mut receiver) => received,
        outgrown = cut => Err(ProtocolError::Local(outgrown.into())),
    }
}

/// Writes what comes into a partial file, as far as there is room.
struct IntoPartial<'p, 'f> {
    partial: &'p mut Partial,
    filling: &'p mut Filling<'f>,
    another: &'p dyn Fn() -> bool,
}

#[async_trait(?Send)]
impl FileReceiver for IntoPartial<'_, '_> {
    async fn receive(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let (before, adds) = (self.partial.there(), self.partial.adds(bytes));
        self.filling.make(adds, before).await?;
        self.partial.append(bytes)?;
        self.filling.written(before, before + adds);
        Ok(())
    }

    fn is_another_next(&self) -> bool {
        (self.another)()
    }
}

/// What the server shows of the size: in the listing, or asked now where that differs, was missing, or the file was put
/// together from two transfers.
async fn ask_size(
    session: &mut dyn Session,
    wanted: &Wanted<'_>,
    received: u64,
    end: Received,
    resumed: bool,
) -> Result<Shown, FetchError> {
    let listed = wanted.facts.size;
    let shown = match end.size_after {
        Some(size) => Some(size),
        None if listed == Some(received) && !resumed => listed,
        // a size of nothing, of which bytes came, is none
        None => session.size(wanted.path).await?.filter(|size| *size > 0 || received == 0).or(listed),
    };
    Ok(match shown {
        Some(shown) if shown == received => Shown::Same,
        Some(shown) => Shown::Other(shown),
        None => Shown::Nothing,
    })
}
