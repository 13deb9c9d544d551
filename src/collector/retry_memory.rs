//! What a scanner remembers from scan to scan: which files failed and when to try them again, which listings have
//! nothing new, and what was complained of already. All of it is bounded, and losing it costs work, never a file.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::warn_once::WarnOnce;
use crate::base::backoff::Backoff;
use crate::base::facts::FileFacts;
use crate::base::failpoints;
use crate::base::names::{RemoteName, RemotePath};

/// Most entries of each kind; beyond it the kind is forgotten and learnt anew.
const MAX_ENTRIES: usize = 100_000;
/// Longest reason that is kept of a failure, in characters.
const MAX_REASON_CHARS: usize = 160;
/// Longest wait between two tries of a file that does not change on the server.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// What is no archive is taken once it has stayed the same for so long.
const STAYS: Duration = Duration::from_secs(15 * 60);

/// What stands still does so for this long at least, however often the server is scanned.
const STANDS: Duration = Duration::from_secs(5);
/// A file that as many scans in a row have not met any more is no longer watched, where there are many.
const UNMET_SCANS: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct RetryMemory {
    keys: RandomState,
    failures: HashMap<u64, Failure>,
    seen_empty: HashMap<u64, FileFacts>,
    no_archives: HashMap<u64, NoArchive>,
    standing: HashMap<u64, Standing>,
    /// See [`STANDS`].
    stands: Duration,
    /// The number of the scan under way.
    scan: u64,
    /// See [`STAYS`].
    stays: Duration,
    all_known: HashMap<(u64, u32), u64>,
    /// Directories that held something when they were listed last.
    filled: HashSet<u64>,
    said: HashSet<u64>,
    /// Directories that files cannot be moved into.
    apart: HashSet<u64>,
    retry: Backoff,
    /// What was complained of already.
    pub(super) warn_once: WarnOnce,
    fault: Option<Fault>,
}

/// What went wrong in the scan under way.
#[derive(Debug)]
struct Fault {
    text: String,
    is_ours: bool,
}

/// A file that is no archive, and since when it is what it is.
#[derive(Debug)]
struct NoArchive {
    facts: FileFacts,
    digest: u128,
    since: Instant,
}

/// A file in which nothing shows whether more is to come, and since when it stands still.
#[derive(Debug)]
struct Standing {
    facts: FileFacts,
    since: Instant,
    /// The scans that saw it so first and last.
    scans: (u64, u64),
}

/// A file that was tried and could not be taken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// As listed when it was tried last.
    pub facts: FileFacts,
    /// Tries in a row with these facts.
    pub count: u32,
    /// Not before, while the facts stay the same.
    pub next_try: Instant,
    /// When it was first tried, whatever the facts were then.
    pub since: DateTime<Utc>,
    /// Why it was not taken, as said to people.
    pub reason: Box<str>,
    /// It was complained of, and not taken for an upload under way.
    pub complained: bool,
}

impl RetryMemory {
    /// Remembers nothing. Files are tried again after `interval` at first.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            keys: RandomState::new(),
            failures: HashMap::new(),
            seen_empty: HashMap::new(),
            no_archives: HashMap::new(),
            standing: HashMap::new(),
            stands: failpoints::stands().unwrap_or(STANDS),
            scan: 0,
            stays: failpoints::stays().unwrap_or(STAYS),
            all_known: HashMap::new(),
            filled: HashSet::new(),
            said: HashSet::new(),
            apart: HashSet::new(),
            retry: Backoff { first: interval, most: LONGEST_WAIT },
            warn_once: WarnOnce::default(),
            fault: None,
        }
    }

    /// From now on files are tried again after `interval` at first.
    pub fn follow(&mut self, interval: Duration) {
        self.retry.first = interval;
    }

    /// A number for a path that other paths do not have, as far as a server can arrange it.
    #[must_use]
    pub fn key(&self, path: &RemotePath) -> u64 {
        self.keys.hash_one(path.wire())
    }

    /// The failure for which the file is left alone now; `None` where it may be tried: it never failed, its wait is
    /// over, or the server shows something new.
    #[must_use]
    pub fn waits(&self, path: &RemotePath, facts: &FileFacts, now: Instant) -> Option<&Failure> {
        let failure = self.failures.get(&self.key(path))?;
        (now < failure.next_try && failure.facts.agrees_with(facts)).then_some(failure)
    }

    /// The file failed with these facts, for this reason. Returns what is remembered of it, the wait included.
    pub fn failed(&mut self, path: &RemotePath, facts: FileFacts, reason: &str, now: Instant) -> Failure {
        let key = self.key(path);
        make_room(&mut self.failures);
        let before = self.failures.get(&key);
        let same = before.filter(|failure| failure.facts.agrees_with(&facts));
        let count = same.map_or(0, |failure| failure.count).saturating_add(1);
        let since = before.map_or_else(Utc::now, |failure| failure.since);
        let mut next_try = now + self.retry.after(count);
        if let Some(file) = self.no_archives.get(&key).filter(|file| file.facts.agrees_with(&facts)) {
            next_try = next_try.min(now.max(file.since + self.stays));
        }
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        let failure = Failure { facts, count, next_try, since, reason, complained: false };
        self.failures.insert(key, failure.clone());
        failure
    }

    /// Returns whether the file was tried before with these facts, and could not be taken.
    #[must_use]
    pub fn was_tried(&self, path: &RemotePath, facts: &FileFacts) -> bool {
        self.failures.get(&self.key(path)).is_some_and(|failure| failure.facts == *facts)
    }

    /// The failure of the file was complained of.
    pub fn complained(&mut self, path: &RemotePath) {
        let key = self.key(path);
        self.failures.entry(key).and_modify(|failure| failure.complained = true);
    }

    /// Notes a fault of the scan under way. One of our own side, which keeps more than one file away, stays until the
    /// scan ends. Returns the fault to be shown.
    pub fn fault(&mut self, text: String, is_ours: bool) -> &str {
        let fault = match self.fault.take() {
            Some(before) if before.is_ours && !is_ours => before,
            _ => Fault { text, is_ours },
        };
        &self.fault.insert(fault).text
    }

    /// The fault of the scan that ends now.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take().map(|fault| fault.text)
    }

    /// The file is downloaded, or gone.
    pub fn done(&mut self, path: &RemotePath) {
        let key = self.key(path);
        self.failures.remove(&key);
        self.seen_empty.remove(&key);
        self.no_archives.remove(&key);
        self.standing.remove(&key);
    }

    /// A scan begins. Files that are gone are not watched for ever.
    pub fn scan_begins(&mut self) {
        self.scan += 1;
        if self.standing.len() >= MAX_ENTRIES / 2 {
            let scan = self.scan;
            self.standing.retain(|_, file| file.scans.1 + UNMET_SCANS >= scan);
        }
    }

    /// Notes that this scan sees the file with this size and time; true when an earlier one saw it so, too, and that is
    /// not a moment ago. A file of which no size is shown never stands still.
    pub fn stands_still(&mut self, path: &RemotePath, facts: FileFacts, now: Instant) -> bool {
        if facts.size.is_none() {
            return false;
        }
        let (key, scan, is_full) = (self.key(path), self.scan, self.standing.len() >= MAX_ENTRIES);
        match self.standing.get_mut(&key) {
            Some(file) if file.facts == facts => {
                file.scans.1 = scan;
                file.scans.0 < scan && now >= file.since + self.stands
            }
            // when there is room again, its time begins
            None if is_full => false,
            _ => {
                self.standing.insert(key, Standing { facts, since: now, scans: (scan, scan) });
                false
            }
        }
    }

    /// Notes what a file that is no archive is now, by its facts and a digest of its bytes; true when it has been so for
    /// long enough.
    pub fn has_stayed(&mut self, path: &RemotePath, facts: FileFacts, digest: u128, now: Instant) -> bool {
        let key = self.key(path);
        match self.no_archives.get(&key) {
            Some(file) if file.digest == digest && file.facts.agrees_with(&facts) => {
                now >= file.since + self.stays
            }
            // when there is room again, its time begins
            None if self.no_archives.len() >= MAX_ENTRIES => false,
            _ => {
                self.no_archives.insert(key, NoArchive { facts, digest, since: now });
                self.stays.is_zero()
            }
        }
    }

    /// Notes that a scan saw the file empty; true when an earlier one had seen it so already.
    pub fn seen_empty(&mut self, path: &RemotePath, facts: FileFacts) -> bool {
        let key = self.key(path);
        make_room(&mut self.seen_empty);
        self.seen_empty.insert(key, facts).is_some_and(|before| before.agrees_with(&facts))
    }

    /// Returns whether part `part` of the directory's listing holds the same files as when all of them were
    /// known.
    #[must_use]
    pub fn is_all_known(&self, directory: &RemotePath, part: u32, files: &[(RemoteName, FileFacts)]) -> bool {
        let known = self.all_known.get(&(self.key(directory), part));
        known.is_some_and(|known| *known == self.keys.hash_one(files))
    }

    /// Notes whether all files of that part are known now.
    pub fn mark_all_known(
        &mut self,
        directory: &RemotePath,
        part: u32,
        files: &[(RemoteName, FileFacts)],
        all_known: bool,
    ) {
        let key = (self.key(directory), part);
        if all_known {
            make_room(&mut self.all_known);
            self.all_known.insert(key, self.keys.hash_one(files));
        } else {
            self.all_known.remove(&key);
        }
    }

    /// Of no listing all files count as known any more: records were changed by hand.
    pub fn forget_known(&mut self) {
        self.all_known.clear();
    }

    /// Returns whether the directory held something when it was listed last.
    #[must_use]
    pub fn was_filled(&self, directory: &RemotePath) -> bool {
        self.filled.contains(&self.key(directory))
    }

    /// Notes whether the directory holds anything.
    pub fn filled(&mut self, directory: &RemotePath, filled: bool) {
        let key = self.key(directory);
        if !filled {
            self.filled.remove(&key);
        } else if self.filled.len() < MAX_ENTRIES {
            self.filled.insert(key);
        }
    }

    /// Files cannot be moved into this directory of the mirror.
    pub fn apart(&mut self, directory: &RemotePath) {
        let key = self.key(directory);
        if self.apart.len() < MAX_ENTRIES {
            self.apart.insert(key);
        }
    }

    /// Returns whether that is known of it.
    #[must_use]
    pub fn is_apart(&self, directory: &RemotePath) -> bool {
        !self.apart.is_empty() && self.apart.contains(&self.key(directory))
    }

    /// They can be moved into it.
    pub fn joined(&mut self, directory: &RemotePath) {
        let key = self.key(directory);
        self.apart.remove(&key);
    }

    /// True the first time that `warning` about `path` comes up, so that the log is not filled by each scan.
    pub fn first_time(&mut self, path: &RemotePath, warning: &str) -> bool {
        if self.said.len() >= MAX_ENTRIES {
            self.said.clear();
        }
        self.said.insert(self.keys.hash_one((path.wire(), warning)))
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
    use crate::base::facts::{Modified, TimeSource};
    use crate::base::fixtures::path;

    fn size(size: u64) -> FileFacts {
        FileFacts { size: Some(size), modified: None }
    }

    /// interface 10.13
    #[test]
    fn a_failed_file_waits_ever_longer_and_is_tried_at_once_when_it_changes() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let now = Instant::now();
        let mut wait = |size| (memory.failed(&path("/a.zip"), size, "cut", now).next_try - now).as_secs();
        assert_eq!([(); 6].map(|()| wait(size(1))), [60, 120, 240, 480, 900, 900]);
        assert!(memory.waits(&path("/a.zip"), &size(1), now + Duration::from_secs(899)).is_some());
        assert!(memory.waits(&path("/a.zip"), &size(1), now + Duration::from_secs(900)).is_none());
        assert!(memory.waits(&path("/a.zip"), &size(2), now).is_none());
        assert_eq!(memory.failed(&path("/a.zip"), size(2), "cut", now).count, 1);
        memory.done(&path("/a.zip"));
        assert!(memory.waits(&path("/a.zip"), &size(2), now).is_none());
    }

    #[test]
    fn a_failed_file_is_remembered_since_its_first_try_and_with_its_last_reason() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let now = Instant::now();
        let first = memory.failed(&path("/a.zip"), size(1), "cut", now).since;
        let last = memory.failed(&path("/a.zip"), size(2), &"x".repeat(1000), now);
        assert_eq!((last.since, last.reason.len()), (first, MAX_REASON_CHARS));
    }

    #[test]
    fn a_directory_is_known_to_have_held_something_until_it_is_empty() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        assert!(!memory.was_filled(&path("/a.zip")));
        memory.filled(&path("/a.zip"), true);
        assert!(memory.was_filled(&path("/a.zip")));
        memory.filled(&path("/a.zip"), false);
        assert!(!memory.was_filled(&path("/a.zip")));
    }

    #[test]
    fn an_empty_file_is_believed_when_it_is_seen_so_twice() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        assert!(!memory.seen_empty(&path("/a.zip"), size(0)));
        assert!(memory.seen_empty(&path("/a.zip"), size(0)));
    }

    /// interface 10.11
    #[test]
    fn what_is_no_archive_is_believed_when_it_has_stayed_the_same_for_a_quarter_of_an_hour() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!memory.has_stayed(&path("/a.zip"), size(1), 7, began));
        assert!(!memory.has_stayed(&path("/a.zip"), size(1), 7, after(899)));
        // other bytes of the same size and time, then another size: each begins anew
        assert!(!memory.has_stayed(&path("/a.zip"), size(1), 8, after(900)));
        assert!(!memory.has_stayed(&path("/a.zip"), size(2), 8, after(1000)));
        assert!(!memory.has_stayed(&path("/a.zip"), size(2), 8, after(1899)));
        assert!(memory.has_stayed(&path("/a.zip"), size(2), 8, after(1900)));
        memory.done(&path("/a.zip"));
        assert!(!memory.has_stayed(&path("/a.zip"), size(2), 8, after(1900)));
    }

    #[test]
    fn what_is_no_archive_is_looked_at_again_when_its_time_is_over_and_not_much_later() {
        let mut memory = RetryMemory::new(Duration::from_secs(500));
        let began = Instant::now();
        let mut at = began;
        for (now, next) in [(0, 500), (500, 900), (900, 900)] {
            assert!((at - began).as_secs() == now);
            memory.has_stayed(&path("/a.zip"), size(1), 7, at);
            at = memory.failed(&path("/a.zip"), size(1), "no archive", at).next_try;
            assert_eq!((at - began).as_secs(), next);
        }
    }

    /// interface 10.32
    #[test]
    fn a_file_stands_still_when_two_scans_have_seen_the_same_and_some_seconds_lie_between() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let began = Instant::now();
        let mut seen = |facts, seconds, scan: bool| {
            if scan {
                memory.scan_begins();
            }
            memory.stands_still(&path("/a.zip"), facts, began + Duration::from_secs(seconds))
        };
        assert!(!seen(size(1), 0, true));
        assert!(!seen(size(1), 60, false), "the same listing says nothing new");
        assert!(seen(size(1), 60, true) && seen(size(1), 61, false));
        assert!(!seen(size(2), 62, true) && !seen(size(2), 66, true) && seen(size(2), 67, true));
        let later = Modified { unix_seconds: 1, source: TimeSource::Utc };
        let touched = FileFacts { modified: Some(later), ..size(2) };
        assert!(!seen(touched, 80, true) && seen(touched, 90, true));
        assert!(!seen(FileFacts { size: None, ..touched }, 100, true));
    }

    #[test]
    fn files_that_are_gone_are_not_watched_for_ever() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let numbered = |n: usize| RemotePath::from_text(&format!("/{n}"), encoding_rs::UTF_8).unwrap();
        let now = Instant::now();
        for n in 0..=MAX_ENTRIES {
            memory.stands_still(&numbered(n), size(1), now);
        }
        assert_eq!(memory.standing.len(), MAX_ENTRIES);
        for _ in 0..UNMET_SCANS {
            memory.scan_begins();
            memory.stands_still(&numbered(0), size(1), now);
        }
        assert_eq!(memory.standing.len(), MAX_ENTRIES);
        memory.scan_begins();
        assert_eq!(memory.standing.len(), 1);
    }

    #[test]
    fn all_of_a_listing_is_known_only_while_every_fact_stays_the_same() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        let name = RemoteName::from_wire(b"a.zip", encoding_rs::UTF_8).unwrap();
        let (before, after) = ([(name.clone(), size(1))], [(name, size(2))]);
        assert!(!memory.is_all_known(&path("/a.zip"), 0, &before));
        memory.mark_all_known(&path("/a.zip"), 0, &before, true);
        assert!(
            memory.is_all_known(&path("/a.zip"), 0, &before)
                && !memory.is_all_known(&path("/a.zip"), 1, &before)
        );
        assert!(!memory.is_all_known(&path("/a.zip"), 0, &after));
        memory.mark_all_known(&path("/a.zip"), 0, &after, false);
        assert!(!memory.is_all_known(&path("/a.zip"), 0, &before));
        memory.mark_all_known(&path("/a.zip"), 0, &after, true);
        memory.forget_known();
        assert!(!memory.is_all_known(&path("/a.zip"), 0, &after));
    }

    /// interface 18.4
    #[test]
    fn a_fault_of_our_own_side_is_shown_before_those_of_single_files_until_the_scan_ends() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        assert_eq!(memory.fault("/a.zip: no".to_owned(), false), "/a.zip: no");
        assert_eq!(memory.fault("/d: No space left".to_owned(), true), "/d: No space left");
        assert_eq!(memory.fault("/b.zip: no".to_owned(), false), "/d: No space left");
        assert_eq!(memory.take_fault().as_deref(), Some("/d: No space left"));
        assert_eq!(memory.take_fault(), None);
    }

    #[test]
    fn a_warning_is_first_once() {
        let mut memory = RetryMemory::new(Duration::from_secs(60));
        assert!(memory.first_time(&path("/a.zip"), "x") && memory.first_time(&path("/a.zip"), "y"));
        assert!(!memory.first_time(&path("/a.zip"), "x"));
    }
}
