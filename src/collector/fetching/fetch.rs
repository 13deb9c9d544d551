//! One new file: from its listing to whole bytes in a partial file.
//!
//! Nothing is taken for whole that was not proved so: the server must have closed the transfer with success, and size
//! and content must be right ([`super::proof`]).

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;

use crate::protocol::{FileReceiver, FileRequest, ProtocolError, Received, Session};
use crate::quota::DiskCounters;

use super::admission::Filling;
use super::proof::{Found, Shown, decide};
use crate::collector::fetching::wanted::{FetchError, Wanted};
use crate::mirror::partial::{Outgrown, Partial};
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{PartialFile, ServerMirror};

/// How far a file may outgrow its listing before its transfer is cut. A file that is being uploaded grows while it
/// is fetched; one without end must not fill the disk.
const GROWTH: u64 = 64 * 1024 * 1024;
/// The same for a file of which the server shows no size at all.
const UNSIZED: u64 = 1024 * 1024 * 1024;
/// A transfer begins from the start again so often: once because it is not resumed, once in another way.
const MAX_NEW_STARTS: u32 = 2;

/// A whole file in `.partial`.
#[derive(Debug)]
pub struct Fetched {
    /// Its name there.
    pub partial: PartialName,
    /// Its content.
    pub file: Arc<dyn PartialFile>,
    /// Its size in bytes.
    pub size: u64,
    /// What is worth saying of it.
    pub found: Found,
}

/// Fetches a file into its partial file, resuming where that is safe, and proves it whole.
///
/// # Errors
///
/// As [`FetchError`] says. After a broken transfer the partial file stays for the next try; after a failed proof it
/// goes. Cancelled, it stays, and the session is not reusable.
pub async fn fetch(
    session: &mut dyn Session,
    mirror: &dyn ServerMirror,
    wanted: Wanted<'_>,
    filling: &mut Filling<'_>,
    counters: &DiskCounters,
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
            mirror.remove_partial(name).with_context(|| format!("cannot remove the partial file {name}"))?;
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
            mirror.remove_partial(name)?;
            counters.partial_gone(size);
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
