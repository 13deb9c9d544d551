//! A directory under way: its entries as they come, its directories made and queued, its new files looked up and queued.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::base::facts::{FileFacts, Knowledge, Shifted};
use crate::base::names::RemoteName;
use crate::collector::fetching::partial_files::discard_known;
use crate::collector::job::{DirectoryJob, FileJob, Lineage, OnRecord};
use crate::collector::scan_state::ScanState;
use crate::mirror::server::{MAX_DEPTH, MirrorDirectory};
use crate::protocol::{Entry, Kind, ProtocolError};

/// Most entries that are kept until their listing is settled.
const MAX_ON_TRIAL: usize = 20_000;
/// Directories that are queued together, and files that are looked up together.
const TOGETHER: usize = 1024;

/// A directory under way.
pub(in crate::collector) struct Directory<'s, 'v> {
    scan: &'s ScanState<'v>,
    job: &'s DirectoryJob,
    /// Its place in the mirror.
    home: Box<dyn MirrorDirectory>,
    /// Directories not queued yet, and what the server calls them.
    subdirectories: Vec<(RemoteName, Option<u64>)>,
    /// Wanted files not looked up yet.
    new_names: Vec<(RemoteName, FileFacts)>,
    /// Which part of the directory those are.
    part: u32,
    /// Wanted files listed.
    pub(in crate::collector) files: u64,
    /// No directory was found in it and every file is on record.
    pub(in crate::collector) is_quiet: bool,
    /// Entries of a listing that may be of another directory, as long as that is not settled.
    pub(in crate::collector) on_trial: Option<Vec<Entry>>,
    /// What the listing itself calls the directory, where it says.
    pub(in crate::collector) own: Option<u64>,
}

impl<'s, 'v> Directory<'s, 'v> {
    /// Nothing of it yet; it is made in the mirror.
    pub(in crate::collector) fn of(
        scan: &'s ScanState<'v>,
        job: &'s DirectoryJob,
    ) -> Result<Self, ProtocolError> {
        let (home, subdirectories, new_names) = (home(scan, job)?, Vec::new(), Vec::new());
        Ok(Self {
            scan,
            job,
            home,
            subdirectories,
            new_names,
            part: 0,
            files: 0,
            is_quiet: true,
            on_trial: None,
            own: None,
        })
    }

    /// Returns whether the listing says of itself that it is of a directory above.
    pub(in crate::collector) fn is_another(&self) -> bool {
        self.job.is_another(self.own)
    }

    /// Takes entries as they come; those on trial are kept, as far as their number allows.
    pub(in crate::collector) async fn take(&mut self, entries: &mut Vec<Entry>) -> Result<(), ProtocolError> {
        if self.is_another() {
            entries.clear();
            return Ok(());
        }
        match &mut self.on_trial {
            Some(kept) if kept.len() + entries.len() <= MAX_ON_TRIAL => kept.append(entries),
            Some(_) => {
                self.confirm().await?;
                self.sort(entries).await?;
            }
            None => self.sort(entries).await?,
        }
        Ok(())
    }

    /// What was on trial is used.
    pub(in crate::collector) async fn confirm(&mut self) -> Result<(), ProtocolError> {
        let mut kept = self.on_trial.take().unwrap_or_default();
        self.sort(&mut kept).await
    }

    /// A listing broke off: what came is true, and used, unless it may be of another directory.
    pub(in crate::collector) async fn use_what_came(&mut self) -> Result<(), ProtocolError> {
        if self.is_another() {
            return Ok(());
        }
        let of_another =
            |entry: &Entry| entry.kind == Kind::Directory && self.job.path.has_component(entry.name.wire());
        if self.on_trial.as_ref().is_some_and(|kept| kept.iter().any(of_another)) {
            self.on_trial = None;
        }
        self.confirm().await?;
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
                // a link to a file is fetched as the file it names; one to a directory is not followed
                Kind::File | Kind::Link if self.wants(&entry.name, &entry.facts) => {
                    self.scan.tally.borrow_mut().files += 1;
                    self.files += 1;
                    self.new_names.push((entry.name, entry.facts));
                }
                Kind::File | Kind::Link => {}
            }
            if self.new_names.len() >= TOGETHER || self.subdirectories.len() >= TOGETHER {
                self.use_all(None).await?;
            }
        }
        Ok(())
    }

    fn wants(&self, name: &RemoteName, facts: &FileFacts) -> bool {
        self.scan.server.settings.selection.wants(name, facts, || self.job.path.join(name))
    }

    fn wants_directory(&self, name: &RemoteName) -> bool {
        self.scan.server.settings.selection.wants_directory(|| self.job.path.join(name))
    }

    /// Returns whether nothing of it was queued yet.
    pub(in crate::collector) fn is_untouched(&self) -> bool {
        self.part == 0
    }

    /// Queues what was taken; `listing` is its fingerprint where it is complete and tells anything.
    pub(in crate::collector) async fn use_all(&mut self, listing: Option<u64>) -> Result<(), ProtocolError> {
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
            scan.warn_once(&path, &format!("deeper than {MAX_DEPTH} directories"), "the tree is cut here");
            return;
        }
        if unique.is_some() && Lineage::upwards(Some(lineage)).any(|above| above.unique == unique) {
            scan.leave_out(&path, &"the same directory as one above it, by another name", "not followed");
            return;
        }
        if let Err(error) = self.home.make(name) {
            scan.directory_waits(&path, &format!("cannot make the directory in the mirror: {error}"));
            return;
        }
        let key = scan.server.memory().key(&path);
        let (path, depth) = (Arc::new(path), job.depth + 1);
        let above = Some(Rc::clone(lineage));
        scan.jobs.add_directory(key, DirectoryJob { path, depth, unique, above, tries: 0 });
    }

    /// Asks the records for the files collected so far, unless they are what they were when all of them were known.
    async fn look_up(&mut self) -> Result<(), ProtocolError> {
        let files = std::mem::take(&mut self.new_names);
        let part = self.part;
        self.part += 1;
        let (scan, job) = (self.scan, self.job);
        let server = scan.server;
        if files.is_empty() || server.memory().is_all_known(&job.path, part, &files) {
            return Ok(());
        }
        let files: Arc<[_]> = files.into();
        let answers = server.records().look_up(&job.path, Arc::clone(&files)).await?;
        let is_known = |answer: &Knowledge| matches!(answer, Knowledge::Known | Knowledge::Changed { .. });
        let all_known = answers.iter().all(is_known);
        server.memory().mark_all_known(&job.path, part, &files, all_known);
        self.is_quiet &= all_known;
        for ((name, facts), answer) in files.iter().zip(answers) {
            match answer {
                Knowledge::Known => self.known(name),
                Knowledge::Changed { was } => server.tell_changed(&job.path.join(name), was, *facts),
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
        if !server.partial_files().is_empty() {
            discard_known(server, &self.job.path.join(name));
        }
    }

    fn outdated(&self, name: &RemoteName, was: FileFacts, is: FileFacts) {
        let server = self.scan.server;
        let (own, path) = (&server.settings.name, self.job.path.join(name));
        let text =
            format!("nothing proved it whole when it was downloaded, and it changed from {was} to {is}");
        if server.memory().first_time(&path, &text) {
            log::info!("server={own} path={path}: {text}; fetched again");
        }
    }

    /// Queues a new file, unless it waits for its next try or for a second look.
    fn queue(&self, name: &RemoteName, facts: FileFacts, on_record: OnRecord) {
        let Self { scan, job, .. } = self;
        let path = job.path.join(name);
        scan.server.progress().lateness().seen(&path, &facts, chrono::Utc::now().timestamp_millis());
        scan.orphans.borrow_mut().take(&path);
        let memory = scan.server.memory();
        if let Some(failure) = memory.waits(&path, &facts, Instant::now()) {
            scan.tally.borrow_mut().waiting += 1;
            scan.incomplete(&path, failure);
            return;
        }
        let key = memory.key(&path);
        let directory = Arc::clone(&job.path);
        let name_taken = self.home.has(name);
        let job = FileJob { directory, name: name.clone(), facts, name_taken, on_record, tries: 0 };
        scan.jobs.add_file(key, job);
    }
}

/// The directory in the mirror, made where it is missing.
pub(in crate::collector) fn home(
    scan: &ScanState<'_>,
    job: &DirectoryJob,
) -> Result<Box<dyn MirrorDirectory>, ProtocolError> {
    scan.server.mirror().directory(&job.path).map_err(|error| {
        ProtocolError::Local(anyhow::Error::new(error).context("cannot make the directory in the mirror"))
    })
}
