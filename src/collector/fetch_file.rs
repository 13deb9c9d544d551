//! One new file of a scan: room for it, its bytes, and its way into the mirror and the records.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::admission::{Filling, room};
use super::fetch::{FetchError, Fetched, Wanted, fetch};
use super::ports::Records;
use super::proof::{Found, PROOFS};
use super::queue::{FileJob, OnRecord};
use super::retry_memory::Memory;
use super::scan::Scan;
use super::server::Server;
use crate::archive::begins_as_archive;
use crate::base::blocking::{BlockingError, run_blocking};
use crate::base::facts::{Download, Earlier, FileFacts, Knowledge};
use crate::base::failpoints;
use crate::base::humanize;
use crate::base::names::RemotePath;
use crate::base::watchdog;
use crate::mirror::idle::key;
use crate::mirror::intent;
use crate::mirror::partial::{Leftovers, remove, stat};
use crate::mirror::partial_name::PartialName;
use crate::mirror::publisher::Publisher;
use crate::mirror::store::{Staged, StoreError, same_content};
use crate::mirror::tree::{ServerMirror, are_apart, open_directory, size_of_stat};
use crate::protocol::{ErrorScope, ProtocolError, Session};
use crate::quota::{Busy, Gauge, Hold};
use crate::status::Progress;

/// A size that is believed without another look.
const PLAUSIBLE: u64 = 64 * 1024 * 1024 * 1024;

/// Fetches the file of `job` and hands it on to be stored and recorded, which goes on by itself.
///
/// # Errors
///
/// Only such as another connection could help against; all others are noted with the file, which is tried again
/// in a later scan.
pub(super) async fn obtain(
    scan: &Scan<'_>,
    session: &mut dyn Session,
    job: &FileJob,
) -> Result<(), ProtocolError> {
    let path = job.path();
    if scan.server.have_records_changed() && is_on_record(scan, job).await? {
        return Ok(());
    }
    let Ok(turn) = Arc::clone(&scan.publishing).acquire_owned().await else { return Ok(()) };
    let facts = if job.facts.size.is_some_and(|size| is_plausible(scan.server, size)) {
        job.facts
    } else {
        let size = session.size(&path).await?.filter(|size| is_plausible(scan.server, *size));
        FileFacts { size, ..job.facts }
    };
    match find_finished(scan.server, job, facts, &path) {
        Ok(None) => {}
        Ok(Some(finished)) => return adopt(scan, job, finished, turn),
        Err(error) => {
            scan.file_failed(&path, job.facts, &error);
            return Ok(());
        }
    }
    if is_apart(scan.server, &job.directory) {
        scan.file_failed(&path, job.facts, &StoreError::Apart(Arc::clone(&job.directory)));
        return Ok(());
    }
    let may_be_empty = facts.size == Some(0) && scan.server.memory.borrow_mut().seen_empty(&path, facts);
    if facts.size == Some(0) && !may_be_empty {
        scan.file_empty(&path, facts);
        return Ok(());
    }
    let has_stayed =
        |digest| scan.server.memory.borrow_mut().has_stayed(&path, job.facts, digest, Instant::now());
    let verify = scan.server.settings.verify;
    let another = || scan.jobs.another_file();
    let has_stayed = &has_stayed;
    let again = scan.server.memory.borrow().was_tried(&path, &job.facts);
    let wanted = Wanted { path: &path, facts, may_be_empty, has_stayed, verify, another: &another };
    let gauge = &scan.server.gauge;
    let partial = PartialName::new(&path, facts);
    let busy = gauge.busy(key(scan.server.settings.name.as_str(), &partial.to_string()));
    let Some(hold) = room(scan, job, wanted).await else { return Ok(()) };
    let mut filling = Filling::new(scan.server, hold, busy, facts, again);
    failpoints::hang_here("fetch", scan.server.settings.name.as_str()).await;
    match fetch(session, &scan.server.mirror, wanted, &mut filling, gauge).await {
        Ok(fetched) => {
            let earlier = match earlier(scan, job, &fetched).await {
                Ok(earlier) => earlier,
                Err(error) => {
                    keep_for_next_try(scan.server, partial);
                    return scan.not_fetched(job, error.into());
                }
            };
            let room = filling.into_parts();
            if earlier != Earlier::IsTheSame {
                scan.remark(&path, fetched.size, fetched.found);
            }
            publish(scan, job, fetched, earlier, (room, turn));
            Ok(())
        }
        Err(error) => {
            keep_for_next_try(scan.server, partial);
            scan.not_fetched(job, error)
        }
    }
}

/// Whether a file may have this many bytes: one that is larger than the file system of the mirror has them by mistake.
fn is_plausible(server: &Server, size: u64) -> bool {
    let has_room = |stat: rustix::fs::StatVfs| stat.f_blocks.saturating_mul(stat.f_frsize) >= size;
    size <= PLAUSIBLE || rustix::fs::fstatvfs(server.mirror.partial()).is_ok_and(has_room)
}

/// Whether the file was put on record since it was found to be new.
async fn is_on_record(scan: &Scan<'_>, job: &FileJob) -> Result<bool, ProtocolError> {
    let file: Arc<[_]> = Arc::new([(job.name.clone(), job.facts)]);
    let known = scan.server.records.look_up(&job.directory, file).await?;
    Ok(known.first().is_some_and(|known| matches!(known, Knowledge::Known | Knowledge::Changed { .. })))
}

/// A download that was stored and not recorded.
struct Finished {
    /// Its name in `.partial`, where it still has one.
    partial: PartialName,
    size: u64,
    /// It was moved to its final name, and opened there.
    moved: Option<std::fs::File>,
}

/// Whether the directory is known to be another file system than the partial files, and still is.
fn is_apart(server: &Server, directory: &RemotePath) -> bool {
    if !server.memory.borrow().is_apart(directory) {
        return false;
    }
    let home = open_directory(server.mirror.top(), directory);
    let still = home.is_ok_and(|home| are_apart(server.mirror.partial(), home.as_fd()));
    if !still {
        server.memory.borrow_mut().joined(directory);
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
) -> Result<Option<Finished>, StoreError> {
    if !job.name_taken && server.leftovers.borrow().is_empty() {
        return Ok(None);
    }
    let leftovers = server.leftovers.borrow_mut().take(path);
    let home = open_directory(server.mirror.top(), &job.directory).ok();
    let final_stat = home
        .as_ref()
        .and_then(|home| rustix::fs::statat(home.as_fd(), job.name.text(), AtFlags::SYMLINK_NOFOLLOW).ok());
    let current = PartialName::new(path, facts);
    let mut finished = None;
    for name in leftovers {
        let partial = stat(&server.mirror, name);
        if server.mirror.renames() {
            let noted = home.as_ref().filter(|_| final_stat.is_some());
            let noted =
                noted.and_then(|home| intent::finished(&server.mirror, name, path, home, job.name.text()));
            if let Some((file, size)) = noted {
                finished = Some(Finished { partial: name, size, moved: Some(file) });
                continue;
            }
        }
        let same = partial.zip(final_stat).filter(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        match (same, partial) {
            (Some((partial, _)), _) => {
                finished = Some(Finished { partial: name, size: size_of_stat(&partial), moved: None });
            }
            (None, Some(partial)) if name != current => {
                discard(&server.mirror, &server.gauge, name, &partial)
            }
            // a note about a file that is not there
            (None, None) if server.mirror.renames() => drop(remove(&server.mirror, name)),
            _ => {}
        }
    }
    match (finished, final_stat) {
        (None, Some(_)) if job.on_record != OnRecord::Present => Err(StoreError::NameTaken),
        (finished, _) => Ok(finished),
    }
}

/// Remembers what a broken transfer left, where there is something to resume. A server that shows other names in
/// every scan, and sends nothing of them, must fill neither the memory nor the disk.
fn keep_for_next_try(server: &Server, name: PartialName) {
    match stat(&server.mirror, name) {
        Some(stat)
            if stat.st_nlink == 1
                && (stat.st_size == 0
                    || !name.resumes(size_of_stat(&stat))
                    || server.leftovers.borrow().is_full()) =>
        {
            discard(&server.mirror, &server.gauge, name, &stat);
        }
        Some(_) => server.leftovers.borrow_mut().add(name),
        None => {}
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
    leftovers.into_iter().for_each(|name| discard_any(server, name));
}

/// Removes a partial file, or what is left of it where it was moved to its final name.
fn discard_any(server: &Server, name: PartialName) {
    match stat(&server.mirror, name) {
        Some(stat) => discard(&server.mirror, &server.gauge, name, &stat),
        None if server.mirror.renames() => drop(remove(&server.mirror, name)),
        None => {}
    }
}

/// Removes all partial files, once none of them can be of use any more.
pub(super) fn discard_leftovers(server: &Server) {
    server.leftovers.take();
    let names = match Leftovers::read(&server.mirror) {
        Ok(leftovers) => leftovers.into_names(),
        Err(error) => return log::warn!("server={} cannot read .partial: {error}", server.settings.name),
    };
    names.for_each(|name| discard_any(server, name));
}

/// The partial files of long ago, among which those are that no listing claims.
pub(super) fn aged_leftovers(server: &Server) -> Leftovers {
    Leftovers::read_aged(&server.mirror, SystemTime::now()).unwrap_or_else(|error| {
        log::warn!("server={} cannot read .partial: {error}", server.settings.name);
        Leftovers::default()
    })
}

/// Removes partial files of long ago whose files no listing of a whole scan showed. Those of a directory that could
/// not be listed are among them, which costs their bytes once more, should the directory come back.
pub(super) fn discard_unclaimed(server: &Server, unclaimed: Leftovers) {
    for name in unclaimed.into_names() {
        server.leftovers.borrow_mut().forget(name);
        if let Some(stat) = stat(&server.mirror, name) {
            let size = size_of_stat(&stat);
            log::info!(
                "server={} removes the partial file {name} of {size} bytes: its file is gone from the server",
                server.settings.name
            );
            discard(&server.mirror, &server.gauge, name, &stat);
        }
    }
}

/// Takes over a download that an earlier run stored and could not record any more.
fn adopt(
    scan: &Scan<'_>,
    job: &FileJob,
    Finished { partial, size, moved }: Finished,
    turn: OwnedSemaphorePermit,
) -> Result<(), ProtocolError> {
    let server = scan.server;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let open =
        || rustix::fs::openat(server.mirror.partial(), partial.to_string(), flags, rustix::fs::Mode::empty());
    let opened = moved.map_or_else(|| open().map(std::fs::File::from), Ok);
    let file = opened.map_err(|error| {
        let error = anyhow::Error::new(std::io::Error::from(error));
        ProtocolError::Local(error.context(format!("cannot open the partial file {partial}")))
    })?;
    // it was proved before; what it is, is only for the case that it changes
    let no_archive = !begins_as_archive(&file, size).unwrap_or(true);
    log::info!("server={} path={}: stored by an earlier run, recorded now", server.settings.name, job.path());
    let found = Found { no_archive, ..Found::default() };
    let fetched = Fetched { partial, file, size, found };
    let earlier = if job.on_record == OnRecord::Nothing { Earlier::Stays } else { Earlier::GivesWay };
    let busy = server.gauge.busy(key(server.settings.name.as_str(), &partial.to_string()));
    publish(scan, job, fetched, earlier, ((server.gauge.hold(0), busy), turn));
    Ok(())
}

/// What a file needs on its way from whole to recorded, apart from the scan, which may be stopped meanwhile.
struct Way {
    publisher: Publisher,
    records: Rc<dyn Records>,
    mirror: Arc<ServerMirror>,
    gauge: Arc<Gauge>,
    progress: Arc<Progress>,
    memory: Rc<RefCell<Memory>>,
    under_way: UnderWay,
    staged: Staged,
    download: Download,
    _room: (Hold, Busy),
    _turn: OwnedSemaphorePermit,
}

/// Whether the mirror holds the very content that was fetched, which the server merely shows otherwise.
async fn is_the_same(scan: &Scan<'_>, job: &FileJob, fetched: &Fetched) -> Result<bool, BlockingError> {
    let home = open_directory(scan.server.mirror.top(), &job.directory);
    let (Ok(home), Ok(file)) = (home, fetched.file.try_clone()) else { return Ok(false) };
    let (name, size) = (job.name.text().to_owned(), fetched.size);
    let compare = move || same_content(home, &name, &file, size);
    run_blocking(&PROOFS, compare).await
}

/// What the file means for its earlier record, where there is one.
async fn earlier(scan: &Scan<'_>, job: &FileJob, fetched: &Fetched) -> Result<Earlier, BlockingError> {
    Ok(match job.on_record {
        OnRecord::Nothing => Earlier::Stays,
        OnRecord::Present if is_the_same(scan, job, fetched).await? => Earlier::IsTheSame,
        OnRecord::Present | OnRecord::Gone => Earlier::GivesWay,
    })
}

/// Sends a whole file on its way: stored, then recorded, then its partial name is removed.
fn publish(
    scan: &Scan<'_>,
    job: &FileJob,
    fetched: Fetched,
    earlier: Earlier,
    (room, turn): ((Hold, Busy), OwnedSemaphorePermit),
) {
    let server = scan.server;
    let path = job.path();
    server.memory.borrow_mut().done(&path);
    scan.tally.borrow_mut().fetched += 1;
    let Fetched { partial, file, size, found } = fetched;
    let listed = job.facts.size;
    let (directory, name) = (Arc::clone(&job.directory), job.name.clone());
    let download = Download {
        server: server.settings.name.clone(),
        directory: Arc::clone(&directory),
        name: name.clone(),
        facts: if listed.is_none_or(|size| is_plausible(server, size)) { partial.facts } else { job.facts },
        size,
        downloaded_at: chrono::Utc::now().timestamp_millis(),
        no_archive: found.no_archive,
        earlier,
    };
    let (leftovers, stranded) = (Rc::clone(&server.leftovers), Rc::clone(&server.stranded));
    let under_way = UnderWay { leftovers, stranded, partial, done: false };
    let way = Way {
        publisher: server.publisher.clone(),
        records: Rc::clone(&server.records),
        mirror: Arc::clone(&server.mirror),
        gauge: Arc::clone(&server.gauge),
        progress: Arc::clone(&server.progress),
        memory: Rc::clone(&server.memory),
        under_way,
        staged: Staged {
            mirror: Arc::clone(&server.mirror),
            partial,
            file,
            directory,
            name,
            replaces: job.on_record == OnRecord::Present,
            pulse: watchdog::own(),
        },
        download,
        _room: room,
        _turn: turn,
    };
    let mut publishing = server.publishing.borrow_mut();
    // those that are done already need not be remembered; their panics were logged
    while publishing.try_join_next().is_some() {}
    publishing.spawn_local(way.go());
}

impl Way {
    async fn go(self) {
        let Self { publisher, records, mirror, gauge, progress, memory, under_way, .. } = self;
        let Self { staged, download, _room, _turn, .. } = self;
        let (partial, size) = (staged.partial, download.size);
        let (server, path) = (download.server.clone(), download.directory.join(&download.name));
        let (received_at, facts) = (download.downloaded_at, download.facts);
        let earlier = download.earlier;
        let _replacing = (earlier == Earlier::GivesWay).then(|| gauge.replacing(&server, &path));
        let stored = match earlier {
            Earlier::IsTheSame => Ok(()),
            Earlier::Stays | Earlier::GivesWay => publisher.store(staged).await,
        };
        let outcome = match stored {
            Ok(()) => {
                failpoints::hang_here("record", server.as_str()).await;
                records.record(download).await
            }
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => {
                under_way.done();
                // the proof of ownership has served; one that stays is removed by the next start
                remove(&mirror, partial)
                    .unwrap_or_else(|error| log::warn!("server={server} path={path}: {error}"));
                gauge.partial_gone(size);
                if earlier == Earlier::IsTheSame {
                    return log::debug!("server={server} path={path}: the same content as before");
                }
                log::debug!("server={server} path={path}: downloaded, {size} bytes");
                progress.lateness().arrived(&path, size, received_at);
                progress.update(|status| {
                    status.files_downloaded += 1;
                    status.bytes_downloaded += size;
                });
            }
            Err(error) => {
                // the proof that the file is ours, should it have its final name already, is kept
                drop(under_way);
                let text = humanize::why(&error);
                if let Some(StoreError::Apart(directory)) = error.downcast_ref() {
                    let mut memory = memory.borrow_mut();
                    memory.apart(directory);
                    memory.failed(&path, facts, &text, Instant::now());
                    memory.complained(&path);
                }
                let (level, is_ours) = match error.downcast_ref() {
                    Some(StoreError::NameTaken) => (log::Level::Warn, false),
                    Some(_) => (log::Level::Error, true),
                    // the keeper has said so, once for all files
                    None => (log::Level::Debug, true),
                };
                let mut memory = memory.borrow_mut();
                let next = "the next scan tries again";
                let first = memory.complaints.is_first(&path, &text, next, level, Instant::now());
                let level = if first { level } else { log::Level::Debug };
                log::log!(level, "server={server} path={path}: {text}; {next}");
                let shown = memory.fault(format!("{path}: {text}"), is_ours).to_owned();
                progress.update(|status| status.last_error = Some(shown));
            }
        }
    }
}

/// A file between whole and recorded. Whatever ends its way before the record, a panic included, its partial file is
/// noted as a leftover: it is the proof that the file is ours, should it have its final name already.
struct UnderWay {
    leftovers: Rc<RefCell<Leftovers>>,
    stranded: Rc<Cell<u64>>,
    partial: PartialName,
    done: bool,
}

impl UnderWay {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.stranded.set(self.stranded.get() + 1);
        // never a second panic; borrowed by nobody, because each look is over before anything waits
        if let Ok(mut leftovers) = self.leftovers.try_borrow_mut() {
            leftovers.add(self.partial);
        }
    }
}

impl Scan<'_> {
    /// Sorts out why a file was not fetched. Gives back what another connection could help against.
    fn not_fetched(&self, job: &FileJob, error: FetchError) -> Result<(), ProtocolError> {
        let text = match error {
            FetchError::Unchecked(_) | FetchError::AfterAnother(_) => {
                self.file_waits(&job.path(), &error);
                return Ok(());
            }
            FetchError::Remote(ProtocolError::Local(error)) | FetchError::Local(error) => {
                if takes_nothing(&error) {
                    // each further one would fail the same way
                    self.jobs.hold();
                }
                self.file_waits(&job.path(), &humanize::why(&error));
                return Ok(());
            }
            FetchError::Remote(error) => match error.scope() {
                ErrorScope::Entry => error.to_string(),
                _ => return Err(error),
            },
            FetchError::NoArchive => {
                self.file_is_watched(&job.path(), job.facts, &error);
                return Ok(());
            }
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

/// Whether the disk takes no file at all now.
fn takes_nothing(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let is = |kind| matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem);
    let of_system = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<std::io::Error>() {
        Some(error) => Some(error.kind()),
        None => cause.downcast_ref::<Errno>().map(|errno| std::io::Error::from(*errno).kind()),
    };
    error.chain().filter_map(of_system).any(is)
}
