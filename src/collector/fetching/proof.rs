//! Whether what came is taken: what the server says of its size, and what its bytes are.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::archive::{Archive, Content, Flaw, Format, Formats, Interrupted, prove, prove_small};
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
    /// Nothing in it proves it whole; taken all the same, and once more where it changes later.
    pub no_archive: bool,
    /// What it is not, though its name promises that.
    pub is_not: Option<Format>,
    /// Bytes behind the end of the archive.
    pub behind: u64,
    /// The server shows this size, and not the one of the archive or file of this form that came.
    pub contradicts: Option<(u64, Format)>,
}

impl Found {
    /// Nothing proves it whole; `promised` is the form that its name promises and its content has not.
    fn unproved(promised: Option<Format>) -> Self {
        Self { no_archive: true, is_not: promised, ..Self::default() }
    }

    fn archive(archive: Archive) -> Self {
        Self { behind: archive.behind, ..Self::default() }
    }

    fn contradicting(self, shown: u64, format: Format) -> Self {
        Self { contradicts: Some((shown, format)), ..self }
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
    let formats = Formats::of_promise(wanted.promised);
    match look_into(file, size, formats).await? {
        Content::Archive(archive) => match shown {
            Shown::Other(shown) if verify == Verify::Auto && archive.behind == 0 => {
                Ok(Found::archive(archive).contradicting(shown, Format::Zip))
            }
            _ => agree(shown, size, clean_end || archive.behind == 0).map(|()| Found::archive(archive)),
        },
        Content::Unfinished(flaw) if verify == Verify::Zip => {
            Err(wrong_size(FetchError::NotReadable(describe(flaw))))
        }
        Content::Unfinished(Flaw::NoEnd) => Err(wrong_size(FetchError::CutZip)),
        Content::Unfinished(Flaw::Damaged(text)) => Err(wrong_size(FetchError::DamagedZip(text))),
        Content::Empty
        | Content::Zeros
        | Content::Other { .. }
        | Content::Gzip
        | Content::UnfinishedGzip(_)
            if verify == Verify::Zip =>
        {
            Err(wrong_size(FetchError::NotReadable(describe(Flaw::NoEnd))))
        }
        // another member may be to come, as long as nobody has seen it stand still
        Content::Gzip => match shown {
            Shown::Other(shown) if wanted.stands_still => {
                Ok(Found::default().contradicting(shown, Format::Gzip))
            }
            _ => agree(shown, size, true).map(|()| Found::default()),
        },
        Content::UnfinishedGzip(Flaw::NoEnd) => Err(wrong_size(FetchError::CutGzip)),
        Content::UnfinishedGzip(Flaw::Damaged(text)) => Err(wrong_size(FetchError::DamagedGzip(text))),
        Content::Zeros => Err(wrong_size(FetchError::Zeros)),
        Content::Empty => {
            agree(shown, size, clean_end && verify != Verify::Size)?;
            if wanted.may_be_empty { Ok(Found::unproved(wanted.promised)) } else { Err(FetchError::Empty) }
        }
        Content::Other { digest, is_gzip, ends_in_zeros } => {
            agree(shown, size, clean_end)?;
            let promised = wanted.promised.filter(|_| !is_gzip);
            let is_expected = promised.is_none() && !ends_in_zeros;
            judge_unproved(wanted, size, (wanted.has_stayed)(digest), is_expected)
                .map(|()| Found::unproved(promised))
        }
    }
}

/// Decides about a file that nothing in it proves whole: it must have stayed the same for long, or, where it is what its
/// name says and seems to have an end (`is_expected`), stand still with the size that came.
fn judge_unproved(wanted: &Wanted<'_>, size: u64, stayed: bool, is_expected: bool) -> Result<(), FetchError> {
    let is_as_listed = wanted.facts.size == Some(size);
    match wanted.facts.size {
        _ if stayed || (is_expected && is_as_listed && wanted.stands_still) => Ok(()),
        Some(shown) if is_expected && !is_as_listed => Err(FetchError::WrongSize { received: size, shown }),
        Some(_) if is_expected => Err(FetchError::Unsettled),
        _ => Err(FetchError::Unproved(match wanted.promised {
            Some(Format::Zip) => "it is no zip archive",
            Some(Format::Gzip) => "it is no gzip file",
            None => "nothing in it shows where it ends",
        })),
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
async fn look_into(file: &Arc<dyn PartialFile>, size: u64, formats: Formats) -> Result<Content, FetchError> {
    // whatever a decoder makes of hostile bytes costs the file that has them
    let small = catch_unwind(AssertUnwindSafe(|| {
        failpoints::here("verify", &panics::owner());
        prove_small(&**file, size, formats)
    }));
    match small.unwrap_or_else(|_| Err(broke()))? {
        Some(content) => Ok(content),
        None => read_through(Arc::clone(file), size, formats).await,
    }
}

fn broke() -> io::Error {
    io::Error::other(panics::take_last().unwrap_or_else(|| "a panic".to_owned()))
}

async fn read_through(
    file: Arc<dyn PartialFile>,
    size: u64,
    formats: Formats,
) -> Result<Content, FetchError> {
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
        prove(&*file, size, formats, &goes_on)
    });
    match reading.await? {
        Ok(content) => Ok(content),
        Err(Interrupted::Disk(error)) => Err(error.into()),
        Err(Interrupted::Stopped) => Err(io::Error::other(Interrupted::Stopped).into()),
    }
}
