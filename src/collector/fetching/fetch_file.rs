//! One new file: whether it is ours already, room for it, its bytes, and its way into the mirror and the records.

use std::io::ErrorKind::ReadOnlyFilesystem;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::admission::{Filling, NoRoom, room};
use super::fetch::{Fetched, fetch};
use super::partial_files::{discard, keep_for_next_try};
use super::proof::{Found, PROOFS};
use super::publish::{Held, publish};
use crate::archive::{Format, Formats, begins_as_archive};
use crate::base::blocking::{BlockingError, run_blocking};
use crate::base::facts::{Earlier, FileFacts, Knowledge};
use crate::base::failpoints;
use crate::base::humanize;
use crate::base::io_error::{self, is_no_space};
use crate::base::names::RemotePath;
use crate::collector::fetching::wanted::{FetchError, Wanted};
use crate::collector::job::{FileJob, OnRecord};
use crate::collector::server::Server;
use crate::config::Verify;
use crate::mirror::error::PublishError;
use crate::mirror::idle::key;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::FinishedFile;
use crate::protocol::{ErrorScope, ProtocolError, Session};
use crate::quota::{Busy, Reservation};

/// A size that is believed without another look.
const PLAUSIBLE: u64 = 64 * 1024 * 1024 * 1024;

/// What became of a file that was to be fetched; whoever asked for it counts it, and says so.
#[derive(Debug)]
pub(in crate::collector) enum FileOutcome {
    /// It was put on record since it was found to be new, or the scan is over.
    NothingToDo,
    /// It is whole, and on its way to be stored and recorded.
    Publishing {
        /// In bytes.
        size: u64,
        /// What is worth saying of it; nothing where that was said before.
        found: Option<Found>,
    },
    /// It is seen empty for the first time; the next scan believes it.
    Empty(FileFacts),
    /// Nothing in it could show whether more is to come, and it is seen with this size and time for the first time.
    Unsettled,
    /// It looks as if it is still being uploaded.
    Unfinished(FetchError),
    /// It is no archive, and taken once it has stayed the same for long enough.
    Watched(FetchError),
    /// It cannot be taken as it is.
    Failed(String),
    /// Not now, for a reason of our own; the next scan tries again, and finds it better at once.
    Waits(String),
    /// The same of a disk that takes no file at all: each further one would fail the same way.
    DiskTakesNothing(String),
    /// There is no room for any file.
    NoRoom,
}

/// What a file is fetched with, beside its session.
#[derive(Clone, Copy)]
pub(in crate::collector) struct Fetching<'s> {
    pub(in crate::collector) server: &'s Server,
    /// Files that may be received and not recorded yet.
    pub(in crate::collector) publishing: &'s Arc<Semaphore>,
    /// Whether another file will be fetched on the same connection next, as it looks now.
    pub(in crate::collector) is_another_next: &'s dyn Fn() -> bool,
}

/// Fetches the file of `job` and hands it on to be stored and recorded, which goes on by itself.
///
/// # Errors
///
/// Only such as another connection could help against.
pub(in crate::collector) async fn fetch_file(
    fetching: Fetching<'_>,
    session: &mut dyn Session,
    job: &FileJob,
) -> Result<FileOutcome, ProtocolError> {
    let (server, path) = (fetching.server, job.path());
    if server.have_records_changed() && is_on_record(server, job).await? {
        return Ok(FileOutcome::NothingToDo);
    }
    // closed is impossible: the semaphore lives as long as the scan
    let Ok(turn) = Arc::clone(fetching.publishing).acquire_owned().await else {
        return Ok(FileOutcome::NothingToDo);
    };
    let facts = plausible_facts(server, session, job, &path).await?;
    match find_finished(server, job, facts, &path)? {
        Ok(None) => {}
        Ok(Some(finished)) => return Ok(adopt(server, job, finished, turn)),
        Err(error) => return Ok(FileOutcome::Failed(error.to_string())),
    }
    if is_apart(server, &job.directory) {
        return Ok(FileOutcome::Failed(PublishError::Apart(Arc::clone(&job.directory)).to_string()));
    }
    let may_be_empty = facts.size == Some(0) && server.memory().seen_empty(&path, facts);
    if facts.size == Some(0) && !may_be_empty {
        return Ok(FileOutcome::Empty(facts));
    }
    let (promised, verify) = (Format::of_name(job.name.wire()), server.settings.verify);
    let stands_still = verify == Verify::Auto
        && promised != Some(Format::Zip)
        && server.memory().stands_still(&path, facts, Instant::now());
    // why fetch it twice?
    if verify == Verify::Auto
        && promised.is_none()
        && !stands_still
        && facts.size.is_some_and(|size| size > 0)
    {
        return Ok(FileOutcome::Unsettled);
    }
    let has_stayed = |digest| server.memory().has_stayed(&path, job.facts, digest, Instant::now());
    let wanted = Wanted {
        path: &path,
        facts,
        may_be_empty,
        promised,
        stands_still,
        has_stayed: &has_stayed,
        verify,
        another: fetching.is_another_next,
    };
    match receive(server, session, job, wanted).await {
        Ok((fetched, earlier, (reservation, busy))) => {
            let (size, found) = (fetched.size, (earlier != Earlier::IsTheSame).then_some(fetched.found));
            let is_plausible = job.facts.size.is_none_or(|size| is_plausible(server, size));
            publish(server, job, fetched, earlier, Held::new(reservation, busy, turn), is_plausible);
            Ok(FileOutcome::Publishing { size, found })
        }
        Err(error) => sort_out(error),
    }
}

/// What the server shows of the file; its size is asked for where the listing has none that can be believed.
async fn plausible_facts(
    server: &Server,
    session: &mut dyn Session,
    job: &FileJob,
    path: &RemotePath,
) -> Result<FileFacts, ProtocolError> {
    if job.facts.size.is_some_and(|size| is_plausible(server, size)) {
        return Ok(job.facts);
    }
    let size = session.size(path).await?.filter(|size| is_plausible(server, *size));
    Ok(FileFacts { size, ..job.facts })
}

/// Why a file is not there after all.
enum NotReceived {
    NoRoom(NoRoom),
    Fetch(FetchError),
}

/// Gets room for the file, and its bytes. What a broken transfer left is kept, or goes where it can be of no use.
async fn receive(
    server: &Server,
    session: &mut dyn Session,
    job: &FileJob,
    wanted: Wanted<'_>,
) -> Result<(Fetched, Earlier, (Reservation, Busy)), NotReceived> {
    let again = server.memory().was_tried(wanted.path, &job.facts);
    let partial = PartialName::new(wanted.path, wanted.facts);
    let counters = server.counters();
    let busy = counters.busy(key(server.settings.name.as_str(), partial));
    let reservation = room(server, wanted.path, wanted.facts).await.map_err(NotReceived::NoRoom)?;
    let mut filling = Filling::new(server, reservation, busy, wanted.facts, again);
    failpoints::hang_here("fetch", server.settings.name.as_str()).await;
    let received = async {
        let fetched = fetch(session, server.mirror(), wanted, &mut filling, counters).await?;
        let earlier = earlier(job, &fetched).await?;
        Ok((fetched, earlier))
    };
    match received.await {
        Ok((fetched, earlier)) => Ok((fetched, earlier, filling.into_parts())),
        Err(error) => {
            keep_for_next_try(server, partial);
            Err(NotReceived::Fetch(error))
        }
    }
}

/// What it means that a file was not received. Gives back what another connection could help against.
fn sort_out(error: NotReceived) -> Result<FileOutcome, ProtocolError> {
    let error = match error {
        NotReceived::NoRoom(NoRoom::ForIt(why)) => return Ok(FileOutcome::Waits(why)),
        NotReceived::NoRoom(NoRoom::ForAny) => return Ok(FileOutcome::NoRoom),
        NotReceived::Fetch(error) => error,
    };
    Ok(match error {
        FetchError::Unchecked(_) | FetchError::AfterAnother(_) => FileOutcome::Waits(error.to_string()),
        FetchError::Remote(ProtocolError::Local(error)) | FetchError::Local(error) => {
            let why = humanize::why(&error);
            if takes_nothing(&error) { FileOutcome::DiskTakesNothing(why) } else { FileOutcome::Waits(why) }
        }
        FetchError::Remote(error) if error.scope() != ErrorScope::Entry => return Err(error),
        FetchError::Unproved(_) | FetchError::Unsettled => FileOutcome::Watched(error),
        error if error.is_unfinished() => FileOutcome::Unfinished(error),
        error => FileOutcome::Failed(error.to_string()),
    })
}

/// Returns whether a file may have this many bytes: one that is larger than the file system of the mirror has
/// them by mistake.
fn is_plausible(server: &Server, size: u64) -> bool {
    size <= PLAUSIBLE || server.mirror().capacity().is_some_and(|capacity| capacity >= size)
}

/// Returns whether the file was put on record since it was found to be new.
async fn is_on_record(server: &Server, job: &FileJob) -> Result<bool, ProtocolError> {
    let file: Arc<[_]> = Arc::new([(job.name.clone(), job.facts)]);
    let known = server.records().look_up(&job.directory, file).await?;
    Ok(known.first().is_some_and(|known| matches!(known, Knowledge::Known | Knowledge::Changed { .. })))
}

/// Returns whether the directory is known to be another file system than the partial files, and still is.
fn is_apart(server: &Server, directory: &RemotePath) -> bool {
    if !server.memory().is_apart(directory) {
        return false;
    }
    let still = server.mirror().is_apart(directory);
    if !still {
        server.memory().joined(directory);
    }
    still
}

/// Looks what an earlier run left for `path`. Partial files of another size or time are removed; one that has its
/// final name already is a download that was stored and not recorded.
fn find_finished(
    server: &Server,
    job: &FileJob,
    facts: FileFacts,
    path: &RemotePath,
) -> Result<Result<Option<FinishedFile>, PublishError>, ProtocolError> {
    if !job.name_taken && server.partial_files().is_empty() {
        return Ok(Ok(None));
    }
    let left = server.partial_files().take(path);
    let found = server.mirror().look(&job.directory, &job.name, &left).map_err(ProtocolError::Local)?;
    let current = PartialName::new(path, facts);
    for (name, state) in found.others.into_iter().filter(|(name, _)| *name != current) {
        discard(server, name, state);
    }
    let is_theirs = found.is_taken && found.finished.is_none() && job.on_record != OnRecord::Present;
    Ok(if is_theirs { Err(PublishError::NameTaken) } else { Ok(found.finished) })
}

/// Takes over a download that an earlier run stored and could not record any more.
fn adopt(
    server: &Server,
    job: &FileJob,
    FinishedFile { partial, size, file }: FinishedFile,
    turn: OwnedSemaphorePermit,
) -> FileOutcome {
    // it was proved before; what it is, is only for the case that it changes
    let formats = Formats::of_promise(Format::of_name(job.name.wire()));
    let no_archive = !begins_as_archive(&*file, size, formats).unwrap_or(true);
    log::info!("server={} path={}: stored by an earlier run, recorded now", server.settings.name, job.path());
    let found = Found { no_archive, ..Found::default() };
    let fetched = Fetched { partial, file, size, found };
    let earlier = if job.on_record == OnRecord::Nothing { Earlier::Stays } else { Earlier::GivesWay };
    let counters = server.counters();
    let busy = counters.busy(key(server.settings.name.as_str(), partial));
    let is_plausible = job.facts.size.is_none_or(|size| is_plausible(server, size));
    publish(server, job, fetched, earlier, Held::new(counters.reserve(0), busy, turn), is_plausible);
    FileOutcome::Publishing { size, found: None }
}

/// Returns whether the mirror holds the very content that was fetched, which the server merely shows otherwise.
async fn is_the_same(job: &FileJob, fetched: &Fetched) -> Result<bool, BlockingError> {
    let (file, size) = (Arc::clone(&fetched.file), fetched.size);
    let (directory, name) = (Arc::clone(&job.directory), job.name.clone());
    let compare = move || file.equals(&directory, &name, size);
    run_blocking(&PROOFS, compare).await
}

/// What the file means for its earlier record, where there is one.
async fn earlier(job: &FileJob, fetched: &Fetched) -> Result<Earlier, BlockingError> {
    Ok(match job.on_record {
        OnRecord::Nothing => Earlier::Stays,
        OnRecord::Present if is_the_same(job, fetched).await? => Earlier::IsTheSame,
        OnRecord::Present | OnRecord::Gone => Earlier::GivesWay,
    })
}

/// Returns whether the disk takes no file at all now.
fn takes_nothing(error: &anyhow::Error) -> bool {
    io_error::kinds(error).any(|kind| is_no_space(kind) || kind == ReadOnlyFilesystem)
}
