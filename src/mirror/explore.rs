//! One directory of a scan: listed, its directories made and queued, its new zips queued.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::AtFlags;
use tokio::time::Instant;

use super::jobs::{DirectoryJob, FileJob, Lineage};
use super::obtain::discard_known;
use super::scan::Scan;
use super::tree::make_component;
use crate::facts::{FileFacts, Knowledge};
use crate::ftp::listing::{Entry, Kind, Summary};
use crate::ftp::{FtpError, Session};
use crate::names::{RemoteName, RemotePath};

/// A tree is cut below this many directories; a server that lists a loop has no end otherwise.
const MAX_DEPTH: usize = 256;
/// Files that are looked up together.
const LOOK_UP: usize = 1024;

/// A directory under way.
struct Directory<'s, 'v> {
    scan: &'s Scan<'v>,
    job: &'s DirectoryJob,
    /// Its place in the mirror.
    home: OwnedFd,
    /// Zips not looked up yet.
    zips: Vec<(RemoteName, FileFacts)>,
    /// Which part of the directory those are.
    part: u32,
    /// Zips so far.
    files: u64,
    /// No directory was found in it and every zip is on record.
    is_quiet: bool,
}

/// Lists the directory of `job`, and queues what is found. Entries are used as they come: fetching begins while
/// the listing is still going on.
///
/// # Errors
///
/// When the listing is incomplete; what came of it is queued all the same.
pub(super) async fn explore(
    scan: &Scan<'_>,
    session: &mut Session,
    job: &DirectoryJob,
) -> Result<(), FtpError> {
    let server = scan.server;
    let key = server.memory.borrow().key(&job.path);
    if let Some(every) = server.quiet_directories
        && let Some(files) = server.quiet.borrow().rests(key, every, Instant::now())
    {
        scan.count(files);
        return Ok(());
    }
    let mut listing = session.list(&job.path).await?;
    let before = server.quiet.borrow().listing(key);
    if let Some(before) = before
        && listing.is_still(before).await
    {
        if job.depth == 0 {
            // any other is made when the one above it is listed
            home(scan, job)?;
        }
        listing.finish(&mut Vec::new()).await?;
        let files = server.quiet.borrow_mut().same_again(key, Instant::now());
        scan.count(files);
        return Ok(());
    }
    server.quiet.borrow_mut().forget(key);
    let home = home(scan, job)?;
    let mut directory = Directory { scan, job, home, zips: Vec::new(), part: 0, files: 0, is_quiet: true };
    let mut entries = Vec::new();
    loop {
        let more = listing.next(&mut entries).await;
        directory.take(&mut entries).await?;
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                // what came is true, and used
                directory.look_up().await?;
                return Err(error);
            }
        }
    }
    let fingerprint = listing.fingerprint();
    let verdict = listing.finish(&mut entries).await;
    directory.take(&mut entries).await?;
    directory.look_up().await?;
    let summary = verdict?;
    if directory.is_quiet && lost(&summary) == 0 {
        server.quiet.borrow_mut().remember(key, fingerprint, directory.files, Instant::now());
    }
    scan.count(0);
    report(scan, &job.path, &summary);
    Ok(())
}

/// The directory in the mirror, made where it is missing.
fn home(scan: &Scan<'_>, job: &DirectoryJob) -> Result<OwnedFd, FtpError> {
    scan.server.mirror.make_directory(&job.path).map_err(|error| {
        FtpError::Local(anyhow::Error::new(error).context("cannot make the directory in the mirror"))
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

impl Directory<'_, '_> {
    async fn take(&mut self, entries: &mut Vec<Entry>) -> Result<(), FtpError> {
        for entry in entries.drain(..) {
            match entry.kind {
                Kind::Directory => {
                    self.is_quiet = false;
                    self.descend(&entry.name, entry.unique);
                }
                // a link to a zip is fetched as the file it names; one to a directory is not followed
                Kind::File | Kind::Link if entry.name.is_zip() => {
                    self.scan.tally.borrow_mut().files += 1;
                    self.files += 1;
                    self.zips.push((entry.name, entry.facts));
                }
                Kind::File | Kind::Link => {}
            }
            if self.zips.len() >= LOOK_UP {
                self.look_up().await?;
            }
        }
        Ok(())
    }

    fn descend(&self, name: &RemoteName, unique: Option<u64>) {
        let Self { scan, job, .. } = self;
        let path = job.path.join(name);
        if job.depth + 1 > MAX_DEPTH {
            scan.complain(&path, &format!("deeper than {MAX_DEPTH} directories"), "the tree is cut here");
            return;
        }
        if unique.is_some_and(|unique| Lineage::holds(job.lineage.as_ref(), unique)) {
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
        let above = job.lineage.clone();
        let lineage = match unique {
            Some(unique) => Some(Rc::new(Lineage { unique, above })),
            None => above,
        };
        let (path, depth) = (Arc::new(path), job.depth + 1);
        scan.jobs.add_directory(key, DirectoryJob { path, depth, lineage, tries: 0 });
    }

    /// Asks the records for the zips collected so far, unless they are what they were when all of them were known.
    async fn look_up(&mut self) -> Result<(), FtpError> {
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
        let settled = answers.iter().all(|answer| *answer != Knowledge::New);
        server.memory.borrow_mut().settle(&job.path, part, &zips, settled);
        self.is_quiet &= settled;
        for ((name, facts), answer) in zips.iter().zip(answers) {
            match answer {
                Knowledge::Known => self.known(name),
                Knowledge::Changed { was } => self.changed(name, was, *facts),
                Knowledge::New => self.queue(name, *facts),
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

    /// Queues a new file, unless it waits for its next try or for a second look.
    fn queue(&self, name: &RemoteName, facts: FileFacts) {
        let Self { scan, job, .. } = self;
        let path = job.path.join(name);
        let memory = scan.server.memory.borrow();
        if !memory.may_try(&path, &facts, Instant::now()) {
            scan.tally.borrow_mut().waiting += 1;
            return;
        }
        let key = memory.key(&path);
        let directory = Arc::clone(&job.path);
        let name_taken = rustix::fs::statat(&self.home, name.text(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        scan.jobs.add_file(key, FileJob { directory, name: name.clone(), facts, name_taken, tries: 0 });
    }
}

/// What of the listing could not be used.
fn lost(summary: &Summary) -> u64 {
    summary.not_understood + summary.names_refused + summary.too_long
}

/// Lines and names that are not used are counted, and shown by one sample.
fn report(scan: &Scan<'_>, path: &RemotePath, summary: &Summary) {
    let lost = lost(summary);
    if lost == 0 {
        return;
    }
    scan.tally.borrow_mut().not_understood += lost;
    let sample = summary.sample.as_deref().or(summary.refused_sample.as_deref()).unwrap_or("(too long)");
    let text =
        format!("{lost} lines of the listing are not usable, the first: {}", crate::names::Printable(sample));
    scan.complain(path, &text, "the rest of the directory is used");
}
