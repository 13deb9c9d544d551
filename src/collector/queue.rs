//! The work of one scan: directories to list and files to fetch, shared by the server's connections.
//!
//! Listings and transfers share the connections, and neither starves the other: while both kinds wait, one
//! connection at least does each. With a single connection they take turns.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};

use tokio::sync::Notify;

use super::job::{DirectoryJob, FileJob, Job};
use crate::config::Order;

/// Most files that wait to be fetched. Further ones are found again by the scan that follows at once.
const MAX_FILES: usize = 20_000;
/// Most directories that wait to be listed, and most bytes of their paths: a million short ones, or fewer long ones.
const MAX_DIRECTORIES: usize = 1_000_000;
const MAX_DIRECTORY_BYTES: usize = 64 << 20;
/// Most paths of one scan, those that are done included. A tree that grows below whoever lists it has no end
/// otherwise, and each path is remembered for as long as its scan lasts.
const MAX_PATHS: usize = 4_000_000;

/// The jobs of one scan.
#[derive(Debug, Default)]
pub struct Jobs {
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    directories: Vec<DirectoryJob>,
    /// Of their paths.
    directory_bytes: usize,
    files: VecDeque<FileJob>,
    order: Order,
    /// Keys of everything that was ever put in, so that no path is worked on twice in a scan.
    taken: HashSet<u64>,
    listing: usize,
    fetching: usize,
    workers: usize,
    listed_last: bool,
    /// Nothing more is fetched in this scan; files only count.
    held: bool,
    unfetched: u64,
    overflowed: bool,
    directories_dropped: u64,
    ended: bool,
}

impl Jobs {
    /// No jobs yet; of the files, those are handed out first that `order` says.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let jobs = Self::default();
        jobs.state.borrow_mut().order = order;
        jobs
    }

    /// Adds a directory under the number `key`; false when it was added before or there are too many.
    pub fn add_directory(&self, key: u64, job: DirectoryJob) -> bool {
        let mut state = self.state.borrow_mut();
        if state.has_no_room_for(&job) {
            state.directories_dropped += u64::from(!state.taken.contains(&key));
            return false;
        }
        let new = state.taken.insert(key);
        if new {
            state.push_directory(job);
            self.changed.notify_one();
        }
        new
    }

    /// Adds a file under the number `key`, once.
    pub fn add_file(&self, key: u64, job: FileJob) {
        let mut state = self.state.borrow_mut();
        if state.held {
            state.unfetched += 1;
        } else if state.files.len() >= MAX_FILES || state.taken.len() >= MAX_PATHS {
            state.overflowed = true;
            state.unfetched += 1;
        } else if state.taken.insert(key) {
            state.push_file(job);
            self.changed.notify_one();
        }
    }

    /// Gives a job back, for another connection.
    pub fn give_back(&self, job: Job) {
        let mut state = self.state.borrow_mut();
        match job {
            Job::List(job) => state.push_directory(job),
            Job::Fetch(job) if state.held => {
                drop(job);
                state.unfetched += 1;
            }
            Job::Fetch(job) => state.files.push_front(job),
        }
        self.changed.notify_one();
    }

    /// The next job for a connection; `None` when the scan's work is done. The connection calls
    /// [`Jobs::finished`] after each.
    pub async fn next(&self) -> Option<Job> {
        loop {
            // enrolled before the look, so that no change in between is missed
            let changed = self.changed.notified();
            if let Some(answer) = self.try_next() {
                return answer;
            }
            changed.await;
        }
    }

    fn try_next(&self) -> Option<Option<Job>> {
        let mut state = self.state.borrow_mut();
        if state.ended {
            return Some(None);
        }
        if let Some(job) = state.pick() {
            if !state.directories.is_empty() || !state.files.is_empty() {
                self.changed.notify_one();
            }
            return Some(Some(job));
        }
        if state.listing + state.fetching == 0 && state.directories.is_empty() && state.files.is_empty() {
            state.ended = true;
            self.changed.notify_waiters();
            return Some(None);
        }
        None
    }

    /// A connection is done with a job, well or badly.
    pub fn finished(&self, listed: bool) {
        let mut state = self.state.borrow_mut();
        if listed {
            state.listing -= 1
        } else {
            state.fetching -= 1
        }
        drop(state);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Returns whether a connection that fetches now would be given another file next.
    #[must_use]
    pub fn another_file(&self) -> bool {
        let state = self.state.borrow();
        !state.ended && state.would_fetch(state.fetching.saturating_sub(1)) == Some(true)
    }

    /// How many connections share the work.
    pub fn set_workers(&self, workers: usize) {
        self.state.borrow_mut().workers = workers;
        self.changed.notify_waiters();
    }

    /// Fetch nothing more in this scan: there is no room.
    pub fn hold(&self) {
        let mut state = self.state.borrow_mut();
        state.held = true;
        state.unfetched += state.files.len() as u64;
        state.files.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Ends the scan with its work undone.
    pub fn end(&self) {
        self.state.borrow_mut().ended = true;
        self.changed.notify_waiters();
    }

    /// Returns whether the work is done, or the scan was given up.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// Files that wait for a connection, or were seen and could not be put in.
    #[must_use]
    pub fn waiting_files(&self) -> u64 {
        let state = self.state.borrow();
        state.files.len() as u64 + state.unfetched
    }

    /// Returns whether there were more new files than fit, so that the next scan should follow at once.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.state.borrow().overflowed
    }

    /// Directories that were too many at a time, and are not listed in this scan.
    #[must_use]
    pub fn directories_dropped(&self) -> u64 {
        self.state.borrow().directories_dropped
    }
}

impl State {
    /// Chooses by need: each kind keeps a connection as long as the other waits too. `None` where nothing waits.
    fn would_fetch(&self, fetching: usize) -> Option<bool> {
        let (some_files, some_directories) = (!self.files.is_empty(), !self.directories.is_empty());
        Some(match (some_files, some_directories) {
            (false, false) => return None,
            (true, false) => true,
            (false, true) => false,
            (true, true) if self.files.len() >= MAX_FILES / 2 => true,
            (true, true) if self.workers <= 1 => self.listed_last,
            (true, true) => self.listing > 0 && fetching <= self.listing.max(self.workers.saturating_sub(2)),
        })
    }

    fn pick(&mut self) -> Option<Job> {
        let fetch = self.would_fetch(self.fetching)?;
        self.listed_last = !fetch;
        if fetch {
            self.fetching += 1;
            self.files.pop_front().map(Job::Fetch)
        } else {
            self.listing += 1;
            let job = self.directories.pop()?;
            self.directory_bytes -= bytes_of(&job);
            Some(Job::List(job))
        }
    }

    /// In its place among those that wait; where times are equal or not known, behind them.
    fn push_file(&mut self, job: FileJob) {
        let time = |job: &FileJob| job.facts.modified.map(|modified| modified.unix_seconds);
        let new = time(&job);
        let at = match self.order {
            Order::Listed => self.files.len(),
            // without a time: the least urgent in either order
            Order::OldestFirst => {
                let key = |time: Option<i64>| (time.is_none(), time);
                self.files.partition_point(|waiting| key(time(waiting)) <= key(new))
            }
            Order::NewestFirst => self.files.partition_point(|waiting| time(waiting) >= new),
        };
        self.files.insert(at, job);
    }

    fn push_directory(&mut self, job: DirectoryJob) {
        self.directory_bytes += bytes_of(&job);
        self.directories.push(job);
    }

    fn has_no_room_for(&self, job: &DirectoryJob) -> bool {
        self.directories.len() >= MAX_DIRECTORIES
            || self.directory_bytes + bytes_of(job) > MAX_DIRECTORY_BYTES
            || self.taken.len() >= MAX_PATHS
    }
}

fn bytes_of(job: &DirectoryJob) -> usize {
    job.path.wire().len() + job.path.text().len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::facts::FileFacts;
    use crate::base::names::{RemoteName, RemotePath};
    use crate::collector::job::OnRecord;

    fn directory() -> DirectoryJob {
        DirectoryJob { path: Arc::new(RemotePath::root()), depth: 0, unique: None, above: None, tries: 0 }
    }

    fn file() -> FileJob {
        let name = RemoteName::from_wire(b"a.zip", encoding_rs::UTF_8).unwrap();
        FileJob {
            directory: Arc::new(RemotePath::root()),
            name,
            facts: FileFacts::default(),
            name_taken: false,
            on_record: OnRecord::Nothing,
            tries: 0,
        }
    }

    fn jobs(workers: usize, directories: u64, files: u64) -> Jobs {
        let jobs = Jobs::default();
        jobs.set_workers(workers);
        (0..directories).for_each(|key| assert!(jobs.add_directory(key, directory())));
        (0..files).for_each(|key| jobs.add_file(1_000_000 + key, file()));
        jobs
    }

    fn kinds(jobs: &Jobs, count: usize) -> String {
        let kind = |_| match jobs.try_next() {
            Some(Some(Job::List(_))) => 'l',
            Some(Some(Job::Fetch(_))) => 'f',
            Some(None) => 'e',
            None => '-',
        };
        (0..count).map(kind).collect()
    }

    /// interface 5.19
    #[test]
    fn files_are_handed_out_by_their_time_on_request_and_those_without_one_come_last() {
        use crate::base::facts::{Modified, TimeSource};
        let times = [Some(2), None, Some(3), Some(1), Some(2)];
        for (order, expected) in [
            (Order::Listed, times),
            (Order::OldestFirst, [Some(1), Some(2), Some(2), Some(3), None]),
            (Order::NewestFirst, [Some(3), Some(2), Some(2), Some(1), None]),
        ] {
            let jobs = Jobs::new(order);
            jobs.set_workers(9);
            for (key, time) in times.into_iter().enumerate() {
                let modified = time.map(|unix_seconds| Modified { unix_seconds, source: TimeSource::Utc });
                let facts = FileFacts { size: None, modified };
                jobs.add_file(key as u64, FileJob { facts, ..file() });
            }
            let taken = times.map(|_| match jobs.try_next() {
                Some(Some(Job::Fetch(job))) => job.facts.modified.map(|modified| modified.unix_seconds),
                other => panic!("{other:?}"),
            });
            assert_eq!(taken, expected, "{order:?}");
        }
    }

    #[test]
    fn both_kinds_of_work_get_a_connection_while_both_wait() {
        assert_eq!(kinds(&jobs(4, 10, 10), 4), "lfff");
        assert_eq!(kinds(&jobs(2, 10, 10), 2), "lf");
        assert_eq!(kinds(&jobs(4, 10, 0), 4), "llll");
        assert_eq!(kinds(&jobs(4, 0, 10), 4), "ffff");
    }

    #[test]
    fn a_single_connection_takes_turns() {
        let jobs = jobs(1, 3, 3);
        let mut order = String::new();
        for _ in 0..6 {
            let kind = kinds(&jobs, 1);
            jobs.finished(kind == "l");
            order.push_str(&kind);
        }
        assert_eq!(order, "lflflf");
        assert_eq!(kinds(&jobs, 1), "e");
    }

    #[test]
    fn no_path_is_worked_on_twice_in_a_scan() {
        let jobs = jobs(1, 1, 1);
        assert!(!jobs.add_directory(0, directory()));
        jobs.add_file(1_000_000, file());
        assert_eq!(jobs.waiting_files(), 1);
    }

    #[test]
    fn a_held_scan_lists_on_and_counts_what_it_would_fetch() {
        let jobs = jobs(2, 1, 3);
        jobs.hold();
        jobs.add_file(7, file());
        assert_eq!(jobs.waiting_files(), 4);
        assert_eq!(kinds(&jobs, 2), "l-");
    }

    #[tokio::test]
    async fn connections_that_wait_learn_of_the_end() {
        let jobs = jobs(2, 1, 0);
        assert!(matches!(jobs.next().await, Some(Job::List(_))));
        let end = async {
            tokio::task::yield_now().await;
            jobs.finished(true);
        };
        let limit = Duration::from_secs(5);
        let (next, ()) = tokio::join!(tokio::time::timeout(limit, jobs.next()), end);
        assert!(next.unwrap().is_none());
    }

    #[test]
    fn more_files_than_fit_ask_for_another_scan() {
        let jobs = jobs(1, 0, MAX_FILES as u64 + 1);
        assert!(jobs.overflowed());
        assert_eq!(jobs.waiting_files(), MAX_FILES as u64 + 1);
    }

    #[test]
    fn directories_that_wait_take_bounded_memory_however_long_their_paths_are() {
        let jobs = jobs(1, 0, 0);
        let text = "/x".repeat(1 << 20);
        let long = Arc::new(RemotePath::from_parts(text.clone().into(), text));
        let job = || DirectoryJob { path: Arc::clone(&long), depth: 0, unique: None, above: None, tries: 0 };
        let most = MAX_DIRECTORY_BYTES / (4 << 20);
        let taken = (0..2 * most as u64).filter(|key| jobs.add_directory(*key, job())).count();
        assert_eq!((taken, jobs.directories_dropped()), (most, most as u64));
        // one that is there already is not left out
        assert!(!jobs.add_directory(0, job()));
        assert_eq!(jobs.directories_dropped(), most as u64);
        assert_eq!(kinds(&jobs, 1), "l");
        assert!(jobs.add_directory(u64::MAX, job()), "there is room again");
    }

    #[test]
    fn a_tree_that_grows_while_it_is_listed_has_an_end() {
        let jobs = jobs(1, 0, 0);
        // all but one were listed already
        jobs.state.borrow_mut().taken.extend(1..MAX_PATHS as u64);
        assert!(jobs.add_directory(0, directory()));
        assert!(!jobs.add_directory(u64::MAX, directory()));
        jobs.add_file(u64::MAX - 1, file());
        assert!(jobs.overflowed() && jobs.directories_dropped() == 1);
    }
}
