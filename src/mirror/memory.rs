//! What a scanner remembers from scan to scan: which files failed and when to try them again, which listings have
//! nothing new, and what was complained of already. All of it is bounded, and losing it costs work, never a file.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::names::{FileFacts, RemoteName, RemotePath};

/// Most entries of each kind; beyond it the kind is forgotten and learnt anew.
const MAX_ENTRIES: usize = 100_000;
/// Longest wait between two tries of a file that does not change on the server.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// See the module.
#[derive(Debug)]
pub struct Memory {
    keys: RandomState,
    failures: HashMap<u64, Failure>,
    seen_empty: HashMap<u64, FileFacts>,
    settled: HashMap<(u64, u32), u64>,
    said: HashSet<u64>,
    retry: Backoff,
}

#[derive(Debug)]
struct Failure {
    facts: FileFacts,
    count: u32,
    next_try: Instant,
}

impl Memory {
    /// Remembers nothing. Files are tried again after `interval` at first.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            keys: RandomState::new(),
            failures: HashMap::new(),
            seen_empty: HashMap::new(),
            settled: HashMap::new(),
            said: HashSet::new(),
            retry: Backoff { first: interval, most: LONGEST_WAIT },
        }
    }

    /// A number for a path that other paths do not have, as far as a server can arrange it.
    #[must_use]
    pub fn key(&self, path: &RemotePath) -> u64 {
        self.keys.hash_one(path.wire())
    }

    /// Whether the file may be tried now: it never failed, its wait is over, or the server shows something new.
    #[must_use]
    pub fn may_try(&self, path: &RemotePath, facts: &FileFacts, now: Instant) -> bool {
        self.failures
            .get(&self.key(path))
            .is_none_or(|failure| now >= failure.next_try || !failure.facts.agrees_with(facts))
    }

    /// The file failed with these facts. Answers how long it is left alone while they stay the same.
    pub fn failed(&mut self, path: &RemotePath, facts: FileFacts, now: Instant) -> Duration {
        let key = self.key(path);
        let before = self.failures.get(&key).filter(|failure| failure.facts.agrees_with(&facts));
        let count = before.map_or(0, |failure| failure.count).saturating_add(1);
        let wait = self.retry.after(count);
        make_room(&mut self.failures);
        self.failures.insert(key, Failure { facts, count, next_try: now + wait });
        wait
    }

    /// The file is downloaded, or gone.
    pub fn done(&mut self, path: &RemotePath) {
        let key = self.key(path);
        self.failures.remove(&key);
        self.seen_empty.remove(&key);
    }

    /// Notes that a scan saw the file empty; true when an earlier one had seen it so already.
    pub fn seen_empty(&mut self, path: &RemotePath, facts: FileFacts) -> bool {
        let key = self.key(path);
        make_room(&mut self.seen_empty);
        self.seen_empty.insert(key, facts).is_some_and(|before| before.agrees_with(&facts))
    }

    /// Whether part `part` of the directory's listing holds the same files as when all of them were known.
    #[must_use]
    pub fn is_settled(&self, directory: &RemotePath, part: u32, files: &[(RemoteName, FileFacts)]) -> bool {
        self.settled.get(&(self.key(directory), part)) == Some(&self.keys.hash_one(files))
    }

    /// Notes whether all files of that part are known now.
    pub fn settle(&mut self, directory: &RemotePath, part: u32, files: &[(RemoteName, FileFacts)], settled: bool) {
        let key = (self.key(directory), part);
        if settled {
            make_room(&mut self.settled);
            self.settled.insert(key, self.keys.hash_one(files));
        } else {
            self.settled.remove(&key);
        }
    }

    /// True the first time that `complaint` about `path` comes up, so that the log is not filled by each scan.
    pub fn first_time(&mut self, path: &RemotePath, complaint: &str) -> bool {
        if self.said.len() >= MAX_ENTRIES {
            self.said.clear();
        }
        self.said.insert(self.keys.hash_one((path.wire(), complaint)))
    }
}

fn make_room<K, V>(entries: &mut HashMap<K, V>) {
    if entries.len() >= MAX_ENTRIES {
        entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> RemotePath {
        RemotePath::from_text("/a.zip", encoding_rs::UTF_8).unwrap()
    }

    fn size(size: u64) -> FileFacts {
        FileFacts { size: Some(size), modified: None }
    }

    #[test]
    fn a_failed_file_waits_ever_longer_and_is_tried_at_once_when_it_changes() {
        let mut memory = Memory::new(Duration::from_secs(60));
        let now = Instant::now();
        let waits: Vec<u64> = (0..6).map(|_| memory.failed(&path(), size(1), now).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        assert!(!memory.may_try(&path(), &size(1), now + Duration::from_secs(899)));
        assert!(memory.may_try(&path(), &size(1), now + Duration::from_secs(900)));
        assert!(memory.may_try(&path(), &size(2), now));
        assert_eq!(memory.failed(&path(), size(2), now).as_secs(), 60);
        memory.done(&path());
        assert!(memory.may_try(&path(), &size(2), now));
    }

    #[test]
    fn an_empty_file_is_believed_when_it_is_seen_so_twice() {
        let mut memory = Memory::new(Duration::from_secs(60));
        assert!(!memory.seen_empty(&path(), size(0)));
        assert!(memory.seen_empty(&path(), size(0)));
    }

    #[test]
    fn a_listing_is_settled_only_while_every_fact_stays_the_same() {
        let mut memory = Memory::new(Duration::from_secs(60));
        let name = RemoteName::from_wire(b"a.zip", encoding_rs::UTF_8).unwrap();
        let (before, after) = ([(name.clone(), size(1))], [(name, size(2))]);
        assert!(!memory.is_settled(&path(), 0, &before));
        memory.settle(&path(), 0, &before, true);
        assert!(memory.is_settled(&path(), 0, &before) && !memory.is_settled(&path(), 1, &before));
        assert!(!memory.is_settled(&path(), 0, &after));
        memory.settle(&path(), 0, &after, false);
        assert!(!memory.is_settled(&path(), 0, &before));
    }

    #[test]
    fn a_complaint_is_made_once() {
        let mut memory = Memory::new(Duration::from_secs(60));
        assert!(memory.first_time(&path(), "x") && memory.first_time(&path(), "y"));
        assert!(!memory.first_time(&path(), "x"));
    }
}
