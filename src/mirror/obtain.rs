//! One new file of a scan: room for it, its bytes, and its way into the mirror and the records.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::AtFlags;
use tokio::sync::OwnedSemaphorePermit;

use super::fetch::{FetchError, Fetched, Wanted, fetch};
use super::jobs::{FileJob, Job};
use super::partial::{Leftovers, PartialName, remove, stat};
use super::ports::{Records, Room};
use super::scan::Scan;
use super::server::Server;
use super::store::{Publisher, Staged, StoreError};
use super::tree::{ServerMirror, open_directory, size_of_stat};
use crate::facts::{Download, FileFacts};
use crate::ftp::{Blame, FtpError, Session};
use crate::names::RemotePath;
use crate::quota::{Gauge, Hold};
use crate::status::Progress;

/// How long to wait before asking again for room that downloads under way hold.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How often to ask again; then the file is left for the next scan.
const ROOM_TRIES: u32 = 100;

/// Fetches the file of `job` and hands it on to be stored and recorded, which goes on by itself.
///
/// # Errors
///
/// Only such as another connection could help against; all others are noted with the file, which is tried again
/// in a later scan.
pub(super) async fn obtain(scan: &Scan<'_>, session: &mut Session, job: &FileJob) -> Result<(), FtpError> {
    let path = job.path();
    let Ok(turn) = Arc::clone(&scan.publishing).acquire_owned().await else { return Ok(()) };
    let facts = match job.facts.size {
        Some(_) => job.facts,
        None => FileFacts { size: session.size(path.wire()).await?, ..job.facts },
    };
    match find_finished(scan.server, job, facts, &path) {
        Ok(None) => {}
        Ok(Some((name, size))) => return adopt(scan, job, name, size, turn),
        Err(error) => {
            scan.file_failed(&path, job.facts, &error);
            return Ok(());
        }
    }
    let may_be_empty = facts.size == Some(0) && scan.server.memory.borrow_mut().seen_empty(&path, facts);
    if facts.size == Some(0) && !may_be_empty {
        scan.tally.borrow_mut().waiting += 1;
        return Ok(());
    }
    let another = || scan.jobs.another_file();
    let verify = scan.server.settings.verify;
    let wanted = Wanted { path: &path, facts, may_be_empty, verify, another: &another };
    let Some(mut hold) = room(scan, job, wanted).await else { return Ok(()) };
    match fetch(session, &scan.server.mirror, wanted, &mut hold, &scan.server.gauge).await {
        Ok(fetched) => {
            publish(scan, job, fetched, hold, turn);
            Ok(())
        }
        Err(error) => {
            scan.server.leftovers.borrow_mut().add(PartialName::new(&path, facts));
            scan.not_fetched(job, error)
        }
    }
}

/// Looks what an earlier run left for `path`. Partial files of another size or time are removed; one that has its
/// final name already is a download that was stored and not recorded.
fn find_finished(
    server: &Server,
    job: &FileJob,
    facts: FileFacts,
    path: &RemotePath,
) -> Result<Option<(PartialName, u64)>, StoreError> {
    if !job.name_taken && server.leftovers.borrow().is_empty() {
        return Ok(None);
    }
    let leftovers = server.leftovers.borrow_mut().take(path);
    let final_stat = open_directory(server.mirror.top(), &job.directory)
        .ok()
        .and_then(|home| rustix::fs::statat(home.as_fd(), job.name.text(), AtFlags::SYMLINK_NOFOLLOW).ok());
    let current = PartialName::new(path, facts);
    let mut finished = None;
    for name in leftovers {
        let partial = stat(&server.mirror, name);
        let same = partial.zip(final_stat).filter(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        match (same, partial) {
            (Some((partial, _)), _) => finished = Some((name, size_of_stat(&partial))),
            (None, Some(partial)) if name != current => {
                discard(&server.mirror, &server.gauge, name, &partial)
            }
            _ => {}
        }
    }
    match (finished, final_stat) {
        (None, Some(_)) => Err(StoreError::NameTaken),
        (finished, _) => Ok(finished),
    }
}

fn discard(mirror: &ServerMirror, gauge: &Gauge, name: PartialName, stat: &rustix::fs::Stat) {
    match remove(mirror, name) {
        Ok(()) if stat.st_nlink == 1 => gauge.partial_gone(size_of_stat(stat)),
        Ok(()) => {}
        Err(error) => {
            log::warn!("cannot remove the partial file {name}: {error}; the next start tries again")
        }
    }
}

/// Removes what is left of a file that is recorded: a run before this one was stopped in between.
pub(super) fn discard_known(server: &Server, path: &RemotePath) {
    let leftovers = server.leftovers.borrow_mut().take(path);
    for name in leftovers {
        if let Some(stat) = stat(&server.mirror, name) {
            discard(&server.mirror, &server.gauge, name, &stat);
        }
    }
}

/// Removes all partial files, once none of them can be of use any more.
pub(super) fn discard_leftovers(server: &Server) {
    server.leftovers.take();
    let names = match Leftovers::read(&server.mirror) {
        Ok(leftovers) => leftovers.into_names(),
        Err(error) => return log::warn!("server={} cannot read .partial: {error}", server.settings.name),
    };
    for name in names {
        if let Some(stat) = stat(&server.mirror, name) {
            discard(&server.mirror, &server.gauge, name, &stat);
        }
    }
}

/// Takes over a download that an earlier run stored and could not record any more.
fn adopt(
    scan: &Scan<'_>,
    job: &FileJob,
    partial: PartialName,
    size: u64,
    turn: OwnedSemaphorePermit,
) -> Result<(), FtpError> {
    let server = scan.server;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let opened =
        rustix::fs::openat(server.mirror.partial(), partial.to_string(), flags, rustix::fs::Mode::empty());
    let file = opened.map_err(|error| FtpError::Local(error.into()))?.into();
    log::info!("server={} path={}: stored by an earlier run, recorded now", server.settings.name, job.path());
    let fetched = Fetched { partial, file, size, not_a_zip: false };
    publish(scan, job, fetched, server.gauge.hold(0), turn);
    Ok(())
}

/// Waits for room; `None` when the file is left for a later scan.
async fn room(scan: &Scan<'_>, job: &FileJob, wanted: Wanted<'_>) -> Option<Hold> {
    let path = wanted.path;
    let partial = PartialName::new(path, wanted.facts);
    let there = stat(&scan.server.mirror, partial).map_or(0, |stat| size_of_stat(&stat));
    let size = wanted.facts.size.unwrap_or(0);
    for _ in 0..ROOM_TRIES {
        match scan.server.guard.make_room(size.saturating_sub(there)).await {
            Ok(Room::Granted(hold)) => return Some(hold),
            Ok(Room::Busy) => tokio::time::sleep(ROOM_PAUSE).await,
            Ok(Room::Held) => break,
            Ok(Room::TooLarge) => {
                scan.file_waits(path, &"larger than all the room that the quota could free");
                return None;
            }
            Err(error) => {
                scan.file_waits(path, &format!("cannot make room: {error:#}"));
                return None;
            }
        }
    }
    scan.jobs.hold();
    scan.jobs.give_back(Job::Fetch(job.clone()));
    None
}

/// What a file needs on its way from whole to recorded, apart from the scan, which may be stopped meanwhile.
struct Way {
    publisher: Publisher,
    records: Rc<dyn Records>,
    mirror: Arc<ServerMirror>,
    gauge: Arc<Gauge>,
    progress: Arc<Progress>,
    leftovers: Rc<RefCell<Leftovers>>,
    staged: Staged,
    download: Download,
    _hold: Hold,
    _turn: OwnedSemaphorePermit,
}

/// Sends a whole file on its way: stored, then recorded, then its partial name is removed.
fn publish(scan: &Scan<'_>, job: &FileJob, fetched: Fetched, hold: Hold, turn: OwnedSemaphorePermit) {
    let server = scan.server;
    let path = job.path();
    server.memory.borrow_mut().done(&path);
    scan.tally.borrow_mut().fetched += 1;
    let Fetched { partial, file, size, not_a_zip } = fetched;
    if not_a_zip {
        log::warn!("server={} path={path}: it is no zip archive; taken as it is", server.settings.name);
    }
    let (directory, name) = (Arc::clone(&job.directory), job.name.clone());
    let download = Download {
        server: server.settings.name.clone(),
        directory: Arc::clone(&directory),
        name: name.clone(),
        facts: partial.facts,
        size,
        downloaded_at: chrono::Utc::now().timestamp_millis(),
    };
    let way = Way {
        publisher: server.publisher.clone(),
        records: Rc::clone(&server.records),
        mirror: Arc::clone(&server.mirror),
        gauge: Arc::clone(&server.gauge),
        progress: Arc::clone(&server.progress),
        leftovers: Rc::clone(&server.leftovers),
        staged: Staged { mirror: Arc::clone(&server.mirror), partial, file, directory, name },
        download,
        _hold: hold,
        _turn: turn,
    };
    let mut publishing = server.publishing.borrow_mut();
    // those that are done already need not be remembered
    while publishing.try_join_next().is_some() {}
    publishing.spawn_local(way.go());
}

impl Way {
    async fn go(self) {
        let Self { publisher, records, mirror, gauge, progress, leftovers, staged, download, _hold, _turn } =
            self;
        let (partial, size) = (staged.partial, download.size);
        let (server, path) = (download.server.clone(), download.directory.join(&download.name));
        let outcome = match publisher.store(staged).await {
            Ok(()) => records.record(download).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => {
                // the proof of ownership has served; one that stays is removed by the next start
                remove(&mirror, partial)
                    .unwrap_or_else(|error| log::warn!("server={server} path={path}: {error}"));
                gauge.partial_gone(size);
                log::debug!("server={server} path={path}: downloaded, {size} bytes");
                progress.update(|status| {
                    status.files_downloaded += 1;
                    status.bytes_downloaded += size;
                });
            }
            Err(error) => {
                // the proof that the file is ours, should it have its final name already
                leftovers.borrow_mut().add(partial);
                let ours =
                    error.is::<StoreError>() && matches!(error.downcast_ref(), Some(StoreError::NameTaken));
                let level = if ours { log::Level::Warn } else { log::Level::Error };
                log::log!(level, "server={server} path={path}: {error:#}; the next scan tries again");
                progress.update(|status| status.last_error = Some(format!("{path}: {error:#}")));
            }
        }
    }
}

impl Scan<'_> {
    /// Sorts out why a file was not fetched. Gives back what another connection could help against.
    fn not_fetched(&self, job: &FileJob, error: FetchError) -> Result<(), FtpError> {
        let text = match error {
            FetchError::Ftp(FtpError::Local(error)) | FetchError::Local(error) => {
                if disk_is_full(&error) {
                    // each further one would fail the same way
                    self.jobs.hold();
                }
                self.file_waits(&job.path(), &format!("{error:#}"));
                return Ok(());
            }
            FetchError::Ftp(error) => match error.blame() {
                Blame::Entry => error.to_string(),
                _ => return Err(error),
            },
            other if other.is_unfinished() => {
                self.file_unfinished(&job.path(), job.facts, &other);
                return Ok(());
            }
            other => other.to_string(),
        };
        self.file_failed(&job.path(), job.facts, &text);
        Ok(())
    }
}

fn disk_is_full(error: &anyhow::Error) -> bool {
    let full = |cause: &std::io::Error| {
        matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    };
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(full))
}
