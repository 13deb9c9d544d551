//! Whether what came is taken: what the server says of its size, and what its bytes are.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::archive::{Archive, Content, Flaw, Interrupted, prove, prove_small};
use crate::base::blocking::{Threads, run_blocking};
use crate::base::{failpoints, panics, watchdog};
use crate::collector::fetching::wanted::{FetchError, Wanted};
use crate::config::Verify;
use crate::mirror::server::PartialFile;

/// Files read back beside each other, of all servers together. Each takes half a MiB, and a processor while it lasts.
const MAX_PROOFS: usize = 16;

/// Also for files that are compared with those of the mirror.
pub(in crate::collector) static PROOFS: Threads = Threads::new("archive check", MAX_PROOFS);

/// What the server shows of the size of a file that came, asked again where there was a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::collector) enum Shown {
    /// As many bytes as came.
    Same,
    /// Another number.
    Other(u64),
    /// Nothing.
    Nothing,
}

/// What is worth saying of a file that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// It is no zip archive; taken all the same.
    pub no_archive: bool,
    /// Bytes behind the end of the archive.
    pub behind: u64,
    /// The server shows this size, and not the one of the archive that came.
    pub contradicts: Option<u64>,
}

impl Found {
    const NO_ARCHIVE: Self = Self { no_archive: true, behind: 0, contradicts: None };

    fn archive(archive: Archive) -> Self {
        Self { behind: archive.behind, ..Self::default() }
    }
}

/// Decides about the first `size` bytes of `file`. `clean_end` is false where the end of the transfer is not to be
/// relied on, so that size or content must prove it.
pub(in crate::collector) async fn decide(
    wanted: &Wanted<'_>,
    file: &Arc<dyn PartialFile>,
    size: u64,
    shown: Shown,
    clean_end: bool,
) -> Result<Found, FetchError> {
    let verify = wanted.verify;
    if verify == Verify::Size && size > 0 {
        return agree(shown, size, false).map(|()| Found::default());
    }
    // bytes that are said to be missing are the better reason
    let wrong_size = |error: FetchError| match shown {
        Shown::Other(shown) => FetchError::WrongSize { received: size, shown },
        _ => error,
    };
    match look_into(file, size).await? {
        Content::Archive(archive) => match shown {
            Shown::Other(shown) if verify == Verify::Auto && archive.behind == 0 => {
                Ok(Found { contradicts: Some(shown), ..Found::archive(archive) })
            }
            _ => agree(shown, size, clean_end || archive.behind == 0).map(|()| Found::archive(archive)),
        },
        Content::Unfinished(flaw) if verify == Verify::Zip => {
            Err(wrong_size(FetchError::NotReadable(describe(flaw))))
        }
        Content::Unfinished(Flaw::NoEnd) => Err(wrong_size(FetchError::CutZip)),
        Content::Unfinished(Flaw::Damaged(text)) => Err(wrong_size(FetchError::DamagedZip(text))),
        Content::Empty | Content::Zeros | Content::Other { .. } if verify == Verify::Zip => {
            Err(wrong_size(FetchError::NotReadable(describe(Flaw::NoEnd))))
        }
        Content::Zeros => Err(wrong_size(FetchError::Zeros)),
        Content::Empty => {
            agree(shown, size, clean_end && verify != Verify::Size)?;
            if wanted.may_be_empty { Ok(Found::NO_ARCHIVE) } else { Err(FetchError::Empty) }
        }
        Content::Other { digest } => {
            agree(shown, size, clean_end)?;
            if (wanted.has_stayed)(digest) { Ok(Found::NO_ARCHIVE) } else { Err(FetchError::NoArchive) }
        }
    }
}

/// Returns whether the server shows as many bytes as came, or says nothing against them where that is enough.
fn agree(shown: Shown, received: u64, nothing_is_enough: bool) -> Result<(), FetchError> {
    match shown {
        Shown::Same => Ok(()),
        Shown::Other(shown) => Err(FetchError::WrongSize { received, shown }),
        Shown::Nothing if nothing_is_enough => Ok(()),
        Shown::Nothing => Err(FetchError::NoSize),
    }
}

fn describe(flaw: Flaw) -> String {
    match flaw {
        Flaw::NoEnd => "it does not end as one".to_owned(),
        Flaw::Damaged(text) => text,
    }
}

/// Finds out what a file is: a small one at once, any other beside the scanner's thread, which unpacking gigabytes
/// would block. Cancelled, the reading ends soon as well.
async fn look_into(file: &Arc<dyn PartialFile>, size: u64) -> Result<Content, FetchError> {
    // whatever a decoder makes of hostile bytes costs the file that has them
    let small = catch_unwind(AssertUnwindSafe(|| {
        failpoints::here("verify", &panics::owner());
        prove_small(&**file, size)
    }));
    match small.unwrap_or_else(|_| Err(broke()))? {
        Some(content) => Ok(content),
        None => read_through(Arc::clone(file), size).await,
    }
}

fn broke() -> io::Error {
    io::Error::other(panics::take_last().unwrap_or_else(|| "a panic".to_owned()))
}

async fn read_through(file: Arc<dyn PartialFile>, size: u64) -> Result<Content, FetchError> {
    struct StopOnDrop(Arc<AtomicBool>);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    // the other thread works for this one, and its signs of life are ours
    let pulse = watchdog::own();
    let reading = run_blocking(&PROOFS, move || {
        failpoints::here("verify", &panics::owner());
        let goes_on = || {
            pulse.iter().for_each(|pulse| pulse.beat());
            stop.load(Ordering::Relaxed)
        };
        prove(&*file, size, &goes_on)
    });
    match reading.await? {
        Ok(content) => Ok(content),
        Err(Interrupted::Disk(error)) => Err(error.into()),
        Err(Interrupted::Stopped) => Err(io::Error::other(Interrupted::Stopped).into()),
    }
}
