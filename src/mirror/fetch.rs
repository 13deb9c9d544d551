//! One new file: from its listing to whole bytes in a partial file.
//!
//! Nothing is taken for whole that was not proved so: the server must have closed the transfer with success, the
//! size must be the one it shows, and a zip archive must have its end.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Verify;
use crate::facts::FileFacts;
use crate::names::RemotePath;
use crate::quota::{Gauge, Hold};
use crate::remote::{Received, RemoteError, Session};
use crate::{fault, panics, pulse};

use super::partial::{Partial, PartialName, remove};
use super::tree::ServerMirror;
use super::verify::{Unreadable, ZipShape, inspect, readable};

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
    Remote(#[from] RemoteError),
    /// What came is not what the server shows.
    #[error("received {received} bytes, but the server shows {shown}")]
    WrongSize {
        /// Bytes in the partial file.
        received: u64,
        /// By the listing, or by SIZE after the transfer.
        shown: u64,
    },
    /// `verify = "size"`, or an unclean end of TLS, and no size to compare with.
    #[error("the server shows no size, so that the file cannot be proved whole")]
    NoSize,
    /// It begins as a zip archive and does not end as one: still being uploaded, or damaged on the server.
    #[error("the zip archive has no end; it is still being uploaded, or damaged on the server")]
    CutZip,
    /// `verify = "zip"` and no archive.
    #[error("not a readable zip archive: {0}")]
    NotReadable(String),
    /// Put together from two contents, as far as can be told.
    #[error("it changed while it was fetched, and what came is no readable zip archive: {0}")]
    Mixed(String),
    /// No bytes at all; believed when a later scan sees the same.
    #[error("the file is empty; it is taken once two scans have seen it so")]
    Empty,
    /// Our own disk.
    #[error("{0:#}")]
    Local(#[from] anyhow::Error),
}

impl FetchError {
    /// Whether it looks as if the file is still being uploaded.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::WrongSize { .. } | Self::CutZip | Self::Mixed(_) | Self::Empty)
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Local(error.into())
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
    /// It ends in `.zip` and does not begin as a zip archive; taken all the same.
    pub not_a_zip: bool,
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
    /// It was tried before, with the same size and time, and could not be taken.
    pub again: bool,
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
    session: &mut Session,
    mirror: &ServerMirror,
    wanted: Wanted<'_>,
    hold: &mut Hold,
    gauge: &Gauge,
) -> Result<Fetched, FetchError> {
    let name = PartialName::new(wanted.path, wanted.facts);
    let limit = wanted.facts.size.map_or(UNSIZED, |size| size.saturating_add(GROWTH));
    let mut partial = Partial::open(mirror, name, limit)?;
    let resumed = partial.length() > 0;
    let end = transfer_some_way(session, wanted, &mut partial, hold, gauge).await?;
    partial.finish()?;
    let size = partial.length();
    let proof = async {
        prove_size(session, &wanted, size, end, resumed).await?;
        // what was put together from two transfers, or is larger or smaller than listed, may be of two contents
        let doubtful = !wanted.again && (resumed || wanted.facts.size.is_some_and(|listed| listed != size));
        prove_content(&wanted, partial.file(), size, doubtful).await
    };
    match proof.await {
        Ok(not_a_zip) => Ok(Fetched { partial: name, file: partial.into_file(), size, not_a_zip }),
        // the connection broke while the size was asked for: nothing is said against the bytes
        Err(FetchError::Remote(error)) => Err(error.into()),
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
    session: &mut Session,
    wanted: Wanted<'_>,
    partial: &mut Partial,
    hold: &mut Hold,
    gauge: &Gauge,
) -> Result<Received, FetchError> {
    for _ in 0..MAX_NEW_STARTS {
        let resumed = partial.length() > 0;
        match transfer(session, wanted, partial, hold).await {
            Err(error)
                if session.is_reusable()
                    && ((resumed && error.refuses_to_resume()) || error.asks_to_start_over()) =>
            {
                gauge.partial_gone(partial.length());
                partial.start_over()?;
            }
            outcome => return Ok(outcome?),
        }
    }
    Ok(transfer(session, wanted, partial, hold).await?)
}

async fn transfer(
    session: &mut Session,
    wanted: Wanted<'_>,
    partial: &mut Partial,
    hold: &mut Hold,
) -> Result<Received, RemoteError> {
    let offset = partial.length();
    let take = |bytes: &[u8]| {
        let before = partial.length();
        partial.append(bytes)?;
        hold.written(partial.length().saturating_sub(before));
        Ok(())
    };
    session.fetch(wanted.path, offset, wanted.facts.size, take, wanted.another).await
}

/// The bytes received equal the size that the server shows: in the listing, or asked now where that differs, was
/// missing, or the file was put together from two transfers.
async fn prove_size(
    session: &mut Session,
    wanted: &Wanted<'_>,
    received: u64,
    end: Received,
    resumed: bool,
) -> Result<(), FetchError> {
    let shown = match end.size_after {
        Some(size) => Some(size),
        None if wanted.facts.size == Some(received) && !resumed => return Ok(()),
        None => session.size(wanted.path).await?,
    };
    match shown {
        Some(shown) if shown == received => Ok(()),
        Some(shown) => Err(FetchError::WrongSize { received, shown }),
        None => match wanted.facts.size {
            Some(shown) if shown == received => Ok(()),
            Some(shown) => Err(FetchError::WrongSize { received, shown }),
            None if end.clean_end && wanted.verify != Verify::Size => Ok(()),
            None => Err(FetchError::NoSize),
        },
    }
}

/// Looks into the file as far as `verify` asks. Answers whether it is no zip archive and is taken all the same.
/// A `doubtful` archive is read through whatever `verify` says, except that the size alone may count.
async fn prove_content(
    wanted: &Wanted<'_>,
    file: &File,
    size: u64,
    doubtful: bool,
) -> Result<bool, FetchError> {
    if size == 0 && wanted.verify != Verify::Zip {
        return if wanted.may_be_empty { Ok(false) } else { Err(FetchError::Empty) };
    }
    match wanted.verify {
        Verify::Size => Ok(false),
        Verify::Auto => match inspect(file, size)? {
            ZipShape::Whole if doubtful => {
                read_through(file.try_clone()?).await.map(|()| false).map_err(|error| match error {
                    Unreadable::Disk(error) => error.into(),
                    error => FetchError::Mixed(error.to_string()),
                })
            }
            ZipShape::Whole | ZipShape::Empty => Ok(false),
            ZipShape::Cut => Err(FetchError::CutZip),
            ZipShape::NotZip => Ok(true),
        },
        Verify::Zip => match read_through(file.try_clone()?).await {
            Ok(()) => Ok(false),
            Err(Unreadable::Disk(error)) => Err(error.into()),
            Err(error) => Err(FetchError::NotReadable(error.to_string())),
        },
    }
}

/// Reads a whole archive beside the scanner's thread, which unpacking gigabytes would block. Cancelled, the reading
/// ends soon as well.
async fn read_through(file: File) -> Result<(), Unreadable> {
    struct StopOnDrop(Arc<AtomicBool>);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    // the other thread works for this one, and its signs of life are ours
    let (owner, pulse) = (panics::owner(), pulse::own());
    let reading = tokio::task::spawn_blocking(move || {
        panics::own_thread(&owner);
        fault::here("verify", &owner);
        let goes_on = || {
            pulse.iter().for_each(|pulse| pulse.beat());
            stop.load(Ordering::Relaxed)
        };
        readable(&file, &goes_on)
    });
    reading.await.unwrap_or_else(|panic| Err(Unreadable::Disk(io::Error::other(panic))))
}
