//! One directory of a scan: listed, its directories made and queued, its new zips queued.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::AtFlags;
use tokio::time::Instant;

use super::jobs::{DirectoryJob, FileJob, Lineage, OnRecord};
use super::loops::is_loop;
use super::obtain::discard_known;
use super::scan::Scan;
use super::tree::make_component;
use crate::facts::{FileFacts, Knowledge};
use crate::names::{RemoteName, RemotePath};
use crate::remote::{Entry, Fingerprint, Kind, RemoteError, Session, Summary};

/// A tree is cut below this many directories; a server that lists a loop has no end otherwise.
pub(super) const MAX_DEPTH: usize = 256;
/// Directories that are queued together, and files that are looked up together.
const TOGETHER: usize = 1024;

/// Numbers of entries at which servers are known to cut a listing without a word: 10,000 lines, with or without those
/// for the directory itself and its parent.
const SUSPICIOUS: [u64; 2] = [9_998, 10_000];

/// A directory under way.
struct Directory<'s, 'v> {
    scan: &'s Scan<'v>,
    job: &'s DirectoryJob,
    /// Its place in the mirror.
    home: OwnedFd,
    /// Directories not queued yet, and what the server calls them.
    subdirectories: Vec<(RemoteName, Option<u64>)>,
    /// Zips not looked up yet.
    zips: Vec<(RemoteName, FileFacts)>,
    /// Which part of the directory those are.
    part: u32,
    /// Zips listed.
    files: u64,
    /// No directory was found in it and every zip is on record.
    is_quiet: bool,
}

/// Lists the directory of `job`, and queues what is found. Entries are used as they come, a thousand together:
/// fetching begins while a long listing is still going on.
///
/// # Errors
///
/// When the listing is incomplete; what came of it is queued all the same.
pub(super) async fn explore(
    scan: &Scan<'_>,
    session: &mut Session,
    job: &DirectoryJob,
) -> Result<(), RemoteError> {
    let server = scan.server;
    let key = server.memory.borrow().key(&job.path);
    if let Some(every) = server.quiet_directories()
        && let Some(files) = server.quiet.borrow().rests(key, every, Instant::now())
    {
        scan.count(files);
        return Ok(());
    }
    let Some(mut walked) = walk(scan, session, job, key).await? else {
        let files = server.quiet.borrow_mut().same_again(key, Instant::now());
        scan.count(files);
        return Ok(());
    };
    if walked.is_empty() && (job.depth == 0 || server.memory.borrow().was_filled(&job.path)) {
        // the listing of one that is missing or forbidden may look the same
        session.confirm_empty(&job.path).await?;
    }
    if session.loses_entries(&job.path, &walked.summary, job.depth == 0).await {
        let (name, path) = (&server.settings.name, &job.path);
        log::warn!("server={name} path={path}: MLSD leaves out what LIST shows; LIST is used from now on");
        scan.tally.borrow_mut().files -= walked.files;
        if let Some(again) = walk(scan, session, job, key).await? {
            walked = again;
        }
    }
    server.memory.borrow_mut().filled(&job.path, !walked.is_empty());
    if walked.asks_for_nothing(job) {
        server.quiet.borrow_mut().remember(key, walked.listing, walked.files, Instant::now());
    }
    scan.count(0);
    report(scan, &job.path, &walked.summary);
    Ok(())
}

/// What the listing of a directory amounted to.
struct Walked {
    summary: Summary,
    /// Zips in it.
    files: u64,
    /// All of it.
    listing: Fingerprint,
    /// No directory was found in it and every zip is on record.
    is_quiet: bool,
}

impl Walked {
    fn is_empty(&self) -> bool {
        self.summary.is_empty()
    }

    /// Whether the same listing again would be nothing to look into: nothing to fetch, to descend into or to tell.
    fn asks_for_nothing(&self, job: &DirectoryJob) -> bool {
        let tells = self.summary.unused() > 0 || SUSPICIOUS.contains(&self.summary.entries);
        self.is_quiet && !tells && !(job.depth == 0 && self.is_empty())
    }
}

/// Lists the directory once. `None` where its listing is what it was when it asked for nothing.
async fn walk(
    scan: &Scan<'_>,
    session: &mut Session,
    job: &DirectoryJob,
    key: u64,
) -> Result<Option<Walked>, RemoteError> {
    let mut listing = session.list(&job.path).await?;
    let before = scan.server.quiet.borrow().listing(key);
    if let Some(before) = before
        && listing.is_still(before).await
    {
        if job.depth == 0 {
            // any other is made when the one above it is listed
            home(scan, job)?;
        }
        listing.finish(&mut Vec::new()).await?;
        return Ok(None);
    }
    scan.server.quiet.borrow_mut().forget(key);
    let mut directory = Directory::of(scan, job)?;
    let mut entries = Vec::new();
    loop {
        let more = listing.next(&mut entries).await;
        directory.take(&mut entries).await?;
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                // what came is true, and used
                directory.use_all(None).await?;
                return Err(error);
            }
        }
    }
    let fingerprint = listing.fingerprint();
    let verdict = listing.finish(&mut entries).await;
    directory.take(&mut entries).await?;
    let known = verdict.as_ref().ok().filter(|summary| summary.is_telling && directory.is_untouched());
    let known = known.map(|summary| summary.fingerprint);
    if let Some(fingerprint) = known
        && is_loop(session, scan.server.settings.encoding, job, fingerprint).await?
    {
        let above = "the same as a directory above it, and leads to itself again and again";
        scan.complain(&job.path, &above, "not followed");
    } else {
        directory.use_all(known).await?;
    }
    let Directory { files, is_quiet, .. } = directory;
    Ok(Some(Walked { summary: verdict?, files, listing: fingerprint, is_quiet }))
}

/// The directory in the mirror, made where it is missing.
fn home(scan: &Scan<'_>, job: &DirectoryJob) -> Result<OwnedFd, RemoteError> {
    scan.server.mirror.make_directory(&job.path).map_err(|error| {
        RemoteError::Local(anyhow::Error::new(error).context("cannot make the directory in the mirror"))
    })
}

impl Scan<'_> {
    /// Counts a directory that was listed, and zips of it that were not counted one by one.
    fn count(&self, files: u64) {
        let mut tally = self.tally.borrow_mut();
        tally.directories += 1;
        tally.files += files;
    }
}

impl<'s, 'v> Directory<'s, 'v> {
    /// Nothing of it yet; it is made in the mirror.
    fn of(scan: &'s Scan<'v>, job: &'s DirectoryJob) -> Result<Self, RemoteError> {
        let (home, subdirectories, zips) = (home(scan, job)?, Vec::new(), Vec::new());
        Ok(Self { scan, job, home, subdirectories, zips, part: 0, files: 0, is_quiet: true })
    }

    async fn take(&mut self, entries: &mut Vec<Entry>) -> Result<(), RemoteError> {
        for entry in entries.drain(..) {
            match entry.kind {
                Kind::Directory if !self.wants_directory(&entry.name) => {}
                Kind::Directory => {
                    self.is_quiet = false;
                    self.subdirectories.push((entry.name, entry.unique));
                }
                // a link to a zip is fetched as the file it names; one to a directory is not followed
                Kind::File | Kind::Link if entry.name.is_zip() && self.wants(&entry.name, &entry.facts) => {
                    self.scan.tally.borrow_mut().files += 1;
                    self.files += 1;
                    self.zips.push((entry.name, entry.facts));
                }
                Kind::File | Kind::Link => {}
            }
            if self.zips.len() >= TOGETHER || self.subdirectories.len() >= TOGETHER {
                self.use_all(None).await?;
            }
        }
        Ok(())
    }

    fn wants(&self, name: &RemoteName, facts: &FileFacts) -> bool {
        self.scan.server.settings.selection.wants(facts, || self.job.path.join(name))
    }

    fn wants_directory(&self, name: &RemoteName) -> bool {
        self.scan.server.settings.selection.wants_directory(|| self.job.path.join(name))
    }

    /// Whether nothing of it was queued yet.
    fn is_untouched(&self) -> bool {
        self.part == 0
    }

    /// Queues what was taken; `listing` is its fingerprint where it is complete and tells anything.
    async fn use_all(&mut self, listing: Option<u64>) -> Result<(), RemoteError> {
        let Self { job, .. } = self;
        let lineage = Rc::new(Lineage { unique: job.unique, listing, above: job.above.clone() });
        for (name, unique) in std::mem::take(&mut self.subdirectories) {
            self.descend(&name, unique, &lineage);
        }
        self.look_up().await
    }

    fn descend(&self, name: &RemoteName, unique: Option<u64>, lineage: &Rc<Lineage>) {
        let Self { scan, job, .. } = self;
        let path = job.path.join(name);
        if job.depth + 1 > MAX_DEPTH {
            scan.complain(&path, &format!("deeper than {MAX_DEPTH} directories"), "the tree is cut here");
            return;
        }
        if unique.is_some() && Lineage::upwards(Some(lineage)).any(|above| above.unique == unique) {
            scan.complain(&path, &"the same directory as one above it, by another name", "not followed");
            return;
        }
        if let Err(error) = make_component(self.home.as_fd(), name.text()) {
            scan.complain(
                &path,
                &format!("cannot make the directory in the mirror: {error}"),
                "skipped in this scan",
            );
            return;
        }
        let key = scan.server.memory.borrow().key(&path);
        let (path, depth) = (Arc::new(path), job.depth + 1);
        let above = Some(Rc::clone(lineage));
        scan.jobs.add_directory(key, DirectoryJob { path, depth, unique, above, tries: 0 });
    }

    /// Asks the records for the zips collected so far, unless they are what they were when all of them were known.
    async fn look_up(&mut self) -> Result<(), RemoteError> {
        let zips = std::mem::take(&mut self.zips);
        let part = self.part;
        self.part += 1;
        let Self { scan, job, .. } = self;
        let server = scan.server;
        if zips.is_empty() || server.memory.borrow().is_settled(&job.path, part, &zips) {
            return Ok(());
        }
        let zips: Arc<[_]> = zips.into();
        let answers = server.records.look_up(&job.path, Arc::clone(&zips)).await?;
        let is_settled = |answer: &Knowledge| matches!(answer, Knowledge::Known | Knowledge::Changed { .. });
        let settled = answers.iter().all(is_settled);
        server.memory.borrow_mut().settle(&job.path, part, &zips, settled);
        self.is_quiet &= settled;
        for ((name, facts), answer) in zips.iter().zip(answers) {
            match answer {
                Knowledge::Known => self.known(name),
                Knowledge::Changed { was } => self.changed(name, was, *facts),
                Knowledge::New => self.queue(name, *facts, OnRecord::Nothing),
                Knowledge::Outdated { was, is_present } => {
                    self.outdated(name, was, *facts);
                    let on_record = if is_present { OnRecord::Present } else { OnRecord::Gone };
                    self.queue(name, *facts, on_record);
                }
            }
        }
        Ok(())
    }

    fn known(&self, name: &RemoteName) {
        let server = self.scan.server;
        if !server.leftovers.borrow().is_empty() {
            discard_known(server, &self.job.path.join(name));
        }
    }

    fn changed(&self, name: &RemoteName, was: FileFacts, is: FileFacts) {
        let server = self.scan.server;
        let (own, path) = (&server.settings.name, self.job.path.join(name));
        log::warn!(
            "server={own} path={path}: changed after it was downloaded, from {was} to {is}; not fetched again"
        );
        server.progress.update(|status| status.changed_files += 1);
    }

    fn outdated(&self, name: &RemoteName, was: FileFacts, is: FileFacts) {
        let server = self.scan.server;
        let (own, path) = (&server.settings.name, self.job.path.join(name));
        let text = format!("it was no zip archive when it was downloaded, and changed from {was} to {is}");
        if server.memory.borrow_mut().first_time(&path, &text) {
            log::info!("server={own} path={path}: {text}; fetched again");
        }
    }

    /// Queues a new file, unless it waits for its next try or for a second look.
    fn queue(&self, name: &RemoteName, facts: FileFacts, on_record: OnRecord) {
        let Self { scan, job, .. } = self;
        let path = job.path.join(name);
        scan.server.progress.lateness().seen(&path, &facts, chrono::Utc::now().timestamp_millis());
        scan.unclaimed.borrow_mut().take(&path);
        let memory = scan.server.memory.borrow();
        if let Some(failure) = memory.waits(&path, &facts, Instant::now()) {
            scan.tally.borrow_mut().waiting += 1;
            scan.incomplete(&path, failure);
            return;
        }
        let key = memory.key(&path);
        let directory = Arc::clone(&job.path);
        let name_taken = rustix::fs::statat(&self.home, name.text(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let job = FileJob { directory, name: name.clone(), facts, name_taken, on_record, tries: 0 };
        scan.jobs.add_file(key, job);
    }
}

/// Lines and names that are not used are counted, and shown by one sample; so is a listing that may have been cut.
fn report(scan: &Scan<'_>, path: &RemotePath, summary: &Summary) {
    if SUSPICIOUS.contains(&summary.entries) {
        scan.tally.borrow_mut().cut_listings += 1;
        let text = format!("exactly {} entries, where some servers cut a listing unsaid", summary.entries);
        scan.complain(path, &text, "what it shows is used");
    }
    let lost = summary.unused();
    if lost == 0 {
        return;
    }
    scan.tally.borrow_mut().not_understood += lost;
    let sample = summary.unused_sample().unwrap_or("(too long)");
    let text =
        format!("{lost} lines of the listing are not usable, the first: {}", crate::names::Printable(sample));
    scan.complain(path, &text, "the rest of the directory is used");
}
