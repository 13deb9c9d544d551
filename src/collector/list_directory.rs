//! One directory of a scan: listed, its directories made and queued, its new zips queued.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::AtFlags;
use tokio::time::Instant;

use super::fetch_file::discard_known;
use super::loops::is_loop;
use super::queue::{DirectoryJob, FileJob, Lineage, OnRecord};
use super::scan::Scan;
use super::server::Server;
use crate::base::facts::{FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath};
use crate::mirror::tree::{MAX_DEPTH, make_component};
use crate::protocol::{Confirmation, Entry, Fingerprint, Kind, ProtocolError, Session, Summary};

/// Ways of listing that a directory is tried in, one after the other.
pub(super) const MAX_WAYS: usize = 5;
/// Most entries that are kept until their listing is settled.
const MAX_ON_TRIAL: usize = 20_000;
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
    /// Entries of a listing that may be of another directory, as long as that is not settled.
    on_trial: Option<Vec<Entry>>,
    /// What the listing itself calls the directory, where it says.
    own: Option<u64>,
}

/// Lists the directory of `job`, and queues what is found. Entries are used as they come, a thousand together:
/// fetching begins while a long listing is still going on.
///
/// # Errors
///
/// When the listing is incomplete; what came of it is queued all the same.
pub(super) async fn explore(
    scan: &Scan<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
) -> Result<(), ProtocolError> {
    let server = scan.server;
    let key = server.memory.borrow().key(&job.path);
    if let Some(every) = server.quiet_directories()
        && let Some(files) = server.quiet.borrow().rests(key, every, Instant::now())
    {
        scan.count(files);
        return Ok(());
    }
    let walked = match list_until_settled(scan, session, job, key).await? {
        Walk::Done(walked) => walked,
        Walk::SameAgain | Walk::Again => {
            let files = server.quiet.borrow_mut().same_again(key, Instant::now());
            scan.count(files);
            return Ok(());
        }
    };
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

/// What became of listing a directory.
enum Walk {
    /// Its listing is what it was when it asked for nothing.
    SameAgain,
    /// Another way of listing is used from now on.
    Again,
    Done(Box<Walked>),
}

/// Lists the directory, and again as long as the way in which it is listed changes.
async fn list_until_settled(
    scan: &Scan<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
    key: u64,
) -> Result<Walk, ProtocolError> {
    for _ in 0..MAX_WAYS {
        match walk(scan, session, job, key).await? {
            Walk::Again => {}
            settled => return Ok(settled),
        }
    }
    let text = "each way of listing it contradicts the others";
    Err(ProtocolError::listing_cut(text))
}

/// Lists the directory once.
async fn walk(
    scan: &Scan<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
    key: u64,
) -> Result<Walk, ProtocolError> {
    let mut listing = session.list(&job.path).await?;
    let before = scan.server.quiet.borrow().listing(key);
    if let Some(before) = before
        && listing.is_unchanged(before).await
    {
        if job.depth == 0 {
            // any other is made when the one above it is listed
            home(scan, job)?;
        }
        listing.finish(&mut Vec::new()).await?;
        return Ok(Walk::SameAgain);
    }
    scan.server.quiet.borrow_mut().forget(key);
    let mut directory = Directory::of(scan, job)?;
    directory.on_trial = listing.is_tentative().then(Vec::new);
    let mut entries = Vec::new();
    loop {
        let more = listing.next(&mut entries).await;
        directory.own = listing.own_unique();
        directory.take(&mut entries).await?;
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                directory.use_what_came().await?;
                return Err(error);
            }
        }
    }
    let fingerprint = listing.fingerprint();
    let verdict = listing.finish(&mut entries).await;
    directory.take(&mut entries).await?;
    let Ok(summary) = &verdict else {
        directory.use_what_came().await?;
        return verdict.map(|_| Walk::Again);
    };
    if directory.is_another() {
        return Err(ProtocolError::listing_of_another());
    }
    let expected = job.depth == 0 || scan.server.memory.borrow().was_filled(&job.path);
    if let Confirmation::ListAgain(told) = session.confirm_listing(&job.path, summary, expected).await? {
        if let Some(told) = told {
            log::warn!("server={} path={}: {told}", scan.server.settings.name, job.path);
        }
        scan.tally.borrow_mut().files -= directory.files;
        return Ok(Walk::Again);
    }
    directory.stands().await?;
    let known = (summary.is_telling && directory.is_untouched()).then_some(summary.fingerprint);
    if let Some(fingerprint) = known
        && is_loop(session, scan.server.settings.encoding, job, fingerprint).await?
    {
        let above = "the same as a directory above it, and leads to itself again and again";
        scan.leave_out(&job.path, &above, "not followed");
    } else {
        directory.use_all(known).await?;
    }
    let Directory { files, is_quiet, .. } = directory;
    Ok(Walk::Done(Box::new(Walked { summary: verdict?, files, listing: fingerprint, is_quiet })))
}

/// The directory in the mirror, made where it is missing.
fn home(scan: &Scan<'_>, job: &DirectoryJob) -> Result<OwnedFd, ProtocolError> {
    scan.server.mirror.make_directory(&job.path).map_err(|error| {
        ProtocolError::Local(anyhow::Error::new(error).context("cannot make the directory in the mirror"))
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
    fn of(scan: &'s Scan<'v>, job: &'s DirectoryJob) -> Result<Self, ProtocolError> {
        let (home, subdirectories, zips) = (home(scan, job)?, Vec::new(), Vec::new());
        Ok(Self {
            scan,
            job,
            home,
            subdirectories,
            zips,
            part: 0,
            files: 0,
            is_quiet: true,
            on_trial: None,
            own: None,
        })
    }

    /// Whether the listing says of itself that it is of a directory above.
    fn is_another(&self) -> bool {
        self.job.is_another(self.own)
    }

    /// Takes entries as they come; those on trial are kept, as far as their number allows.
    async fn take(&mut self, entries: &mut Vec<Entry>) -> Result<(), ProtocolError> {
        if self.is_another() {
            entries.clear();
            return Ok(());
        }
        match &mut self.on_trial {
            Some(kept) if kept.len() + entries.len() <= MAX_ON_TRIAL => kept.append(entries),
            Some(_) => {
                self.stands().await?;
                self.sort(entries).await?;
            }
            None => self.sort(entries).await?,
        }
        Ok(())
    }

    /// What was on trial is used.
    async fn stands(&mut self) -> Result<(), ProtocolError> {
        let mut kept = self.on_trial.take().unwrap_or_default();
        self.sort(&mut kept).await
    }

    /// A listing broke off: what came is true, and used, unless it may be of another directory.
    async fn use_what_came(&mut self) -> Result<(), ProtocolError> {
        if self.is_another() {
            return Ok(());
        }
        let of_another =
            |entry: &Entry| entry.kind == Kind::Directory && self.job.path.has_component(entry.name.wire());
        if self.on_trial.as_ref().is_some_and(|kept| kept.iter().any(of_another)) {
            self.on_trial = None;
        }
        self.stands().await?;
        self.use_all(None).await
    }

    async fn sort(&mut self, entries: &mut Vec<Entry>) -> Result<(), ProtocolError> {
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
    async fn use_all(&mut self, listing: Option<u64>) -> Result<(), ProtocolError> {
        let Self { job, .. } = self;
        let lineage = Rc::new(Lineage { unique: job.unique.or(self.own), listing, above: job.above.clone() });
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
            scan.leave_out(&path, &"the same directory as one above it, by another name", "not followed");
            return;
        }
        if let Err(error) = make_component(self.home.as_fd(), name.text()) {
            scan.directory_waits(&path, &format!("cannot make the directory in the mirror: {error}"));
            return;
        }
        let key = scan.server.memory.borrow().key(&path);
        let (path, depth) = (Arc::new(path), job.depth + 1);
        let above = Some(Rc::clone(lineage));
        scan.jobs.add_directory(key, DirectoryJob { path, depth, unique, above, tries: 0 });
    }

    /// Asks the records for the zips collected so far, unless they are what they were when all of them were known.
    async fn look_up(&mut self) -> Result<(), ProtocolError> {
        let zips = std::mem::take(&mut self.zips);
        let part = self.part;
        self.part += 1;
        let (scan, job) = (self.scan, self.job);
        let server = scan.server;
        if zips.is_empty() || server.memory.borrow().is_all_known(&job.path, part, &zips) {
            return Ok(());
        }
        let zips: Arc<[_]> = zips.into();
        let answers = server.records.look_up(&job.path, Arc::clone(&zips)).await?;
        let is_known = |answer: &Knowledge| matches!(answer, Knowledge::Known | Knowledge::Changed { .. });
        let all_known = answers.iter().all(is_known);
        server.memory.borrow_mut().mark_all_known(&job.path, part, &zips, all_known);
        self.is_quiet &= all_known;
        for ((name, facts), answer) in zips.iter().zip(answers) {
            match answer {
                Knowledge::Known => self.known(name),
                Knowledge::Changed { was } => tell_changed(server, &job.path.join(name), was, *facts),
                Knowledge::Shifted { was, by } => {
                    let directory = Arc::clone(&job.path);
                    let file = Shifted { directory, name: name.clone(), facts: *facts, is_zone: false };
                    scan.shifts.add(file, was, by);
                }
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

/// A known file changed, as is told once.
pub(super) fn tell_changed(server: &Server, path: &RemotePath, was: FileFacts, is: FileFacts) {
    let own = &server.settings.name;
    log::warn!(
        "server={own} path={path}: changed after it was downloaded, from {was} to {is}; not fetched again"
    );
    server.progress.update(|status| status.changed_files += 1);
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
    let text = format!(
        "{} not usable, the first: {}",
        crate::base::humanize::count_is(lost, "line of the listing"),
        crate::base::names::Printable(sample)
    );
    scan.complain(path, &text, "the rest of the directory is used");
}
