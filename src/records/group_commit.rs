//! Gathers writes, so that one sync of the disk serves many files.
//!
//! A write that comes alone does not wait. What follows a commit closely is gathered for some milliseconds.

use std::time::{Duration, Instant};

use super::fault_log::Work;
use super::logged::LoggedStore;
use super::types::Writes;
use crate::base::facts::{Download, Postponed};

/// From one commit to the next, unless so many writes wait.
const GATHER: Duration = Duration::from_millis(10);
/// Writes that do not wait for more.
const FULL: usize = 64;

/// Something to be written with the next commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A zip is safe on disk.
    Download(Download),
    /// These records were announced.
    Delivered(Vec<i64>),
    /// These are called again later.
    Postponed(Vec<Postponed>),
}

/// When a commit is to be made because of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// As soon as what has arrived already is gathered too.
    Now,
    /// After this long.
    After(Duration),
    /// With a commit that was asked for before.
    Arranged,
}

/// The writes that wait, each with `A`, the one who waits for it.
#[derive(Debug)]
pub struct GroupCommit<A> {
    gathered: Vec<(Write, A)>,
    /// When the last commit ended.
    committed: Option<Instant>,
}

/// What came of a commit.
#[derive(Debug)]
pub struct Committed<A> {
    /// Those who wait for downloads to be recorded.
    pub downloads: Outcome<A>,
    /// Those who wait for the outcome of calls to be kept.
    pub calls: Outcome<A>,
}

/// What came of writes of one kind, and whom it concerns. None of them is a success without an asker.
#[derive(Debug)]
pub struct Outcome<A> {
    /// Those who wait for it.
    pub askers: Vec<A>,
    /// How it ended for all of them.
    pub result: anyhow::Result<()>,
}

impl<A> Default for GroupCommit<A> {
    fn default() -> Self {
        Self { gathered: Vec::new(), committed: None }
    }
}

impl<A> GroupCommit<A> {
    /// Adds a write and returns when the commit for it is to be made.
    pub fn add(&mut self, write: Write, asker: A, now: Instant) -> When {
        let since = self.committed.map_or(GATHER, |at| now.saturating_duration_since(at));
        let when = match self.gathered.len() {
            0 if since >= GATHER => When::Now,
            0 => When::After(GATHER - since),
            FULL => When::Now,
            _ => When::Arranged,
        };
        self.gathered.push((write, asker));
        when
    }

    /// Returns whether no write waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Writes all that waits in one go, at `now` in unix milliseconds. Where that fails, downloads and calls are tried
    /// each by themselves: one kind may go on while the other fails.
    pub fn commit(&mut self, records: &mut LoggedStore, now: i64) -> Committed<A> {
        let (mut downloads, mut downloading) = (Vec::new(), Vec::new());
        let (mut delivered, mut postponed, mut calling) = (Vec::new(), Vec::new(), Vec::new());
        for (write, asker) in std::mem::take(&mut self.gathered) {
            match write {
                Write::Download(download) => {
                    downloads.push(download);
                    downloading.push(asker);
                }
                Write::Delivered(ids) => {
                    delivered.extend(ids);
                    calling.push(asker);
                }
                Write::Postponed(notices) => {
                    postponed.extend(notices);
                    calling.push(asker);
                }
            }
        }
        let all =
            Writes { downloads: &downloads, delivered: &delivered, delivered_at: now, postponed: &postponed };
        let mut commit =
            |work, writes: &Writes<'_>| records.attempt(work, |store| store.commit(writes).map(drop));
        let both = !downloading.is_empty() && !calling.is_empty();
        let (recorded, kept) = if both && commit(Work::Record, &all).is_ok() {
            (Ok(()), Ok(()))
        } else {
            let some =
                |askers: &[A], work, writes| if askers.is_empty() { Ok(()) } else { commit(work, writes) };
            let mut some = some;
            (
                some(&downloading, Work::Record, &Writes { downloads: &downloads, ..Writes::default() }),
                some(&calling, Work::Deliver, &Writes { downloads: &[], ..all }),
            )
        };
        self.committed = Some(Instant::now());
        Committed {
            downloads: Outcome { askers: downloading, result: recorded },
            calls: Outcome { askers: calling, result: kept },
        }
    }
}

impl<A> Outcome<A> {
    /// Returns whether something was written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.askers.is_empty() && self.result.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::FailureKind;
    use super::super::fixtures::{download, record_some};
    use super::super::memory::MemoryRecords;
    use super::*;

    fn write(n: i64) -> Write {
        Write::Download(download(format!("{n}.zip"), n))
    }

    #[test]
    fn a_write_that_comes_alone_does_not_wait_and_one_close_behind_a_commit_does() {
        let mut records = LoggedStore::new(MemoryRecords::default().open().unwrap());
        let mut commits = GroupCommit::default();
        assert_eq!(commits.add(write(1), 1, Instant::now()), When::Now);
        assert_eq!(commits.add(write(2), 2, Instant::now()), When::Arranged);
        let committed = commits.commit(&mut records, 0);
        assert_eq!(committed.downloads.askers, [1, 2]);
        let ended = commits.committed.unwrap();
        let close = ended + Duration::from_millis(3);
        assert_eq!(commits.add(write(3), 3, close), When::After(GATHER - Duration::from_millis(3)));
        commits.commit(&mut records, 0);
        let later = commits.committed.unwrap() + GATHER;
        assert_eq!(commits.add(write(4), 4, later), When::Now);
        assert!(!commits.is_empty());
    }

    #[test]
    fn a_full_hand_does_not_wait_for_its_time() {
        let mut commits = GroupCommit { gathered: Vec::new(), committed: Some(Instant::now()) };
        let now = Instant::now();
        let when: Vec<_> = (0..66).map(|n| commits.add(write(n), n, now)).collect();
        assert!(matches!(when[0], When::After(_)));
        assert!(when[1..64].iter().all(|when| *when == When::Arranged));
        assert_eq!(when[64..], [When::Now, When::Arranged]);
    }

    #[test]
    fn one_commit_serves_downloads_and_calls_and_each_asker_once() {
        let memory = MemoryRecords::default();
        let mut store = memory.open().unwrap();
        let ids = record_some(&mut *store, 2);
        let before = memory.commits();
        let mut records = LoggedStore::new(store);
        let mut commits = GroupCommit::default();
        commits.add(write(3), 'a', Instant::now());
        commits.add(Write::Delivered(vec![ids[0]]), 'b', Instant::now());
        commits.add(
            Write::Postponed(vec![Postponed { id: ids[1], attempts: 1, at: 99 }]),
            'c',
            Instant::now(),
        );
        let Committed { downloads, calls } = commits.commit(&mut records, 50);
        assert!(downloads.is_written() && calls.is_written());
        assert_eq!((downloads.askers, calls.askers), (vec!['a'], vec!['b', 'c']));
        assert_eq!(memory.commits(), before + 1);
        let totals = records.attempt(Work::Sum, |store| store.totals()).unwrap();
        assert_eq!((totals.present_files, totals.pending_notices, totals.delivered_notices), (3, 2, 1));
    }

    #[test]
    fn downloads_go_on_while_the_outcomes_of_calls_cannot_be_kept() {
        let memory = MemoryRecords::default();
        let mut records = LoggedStore::new(memory.open().unwrap());
        let mut commits = GroupCommit::default();
        commits.add(write(1), 'a', Instant::now());
        commits.add(Write::Delivered(vec![1]), 'b', Instant::now());
        memory.fail_where(|attempt| (attempt != "record downloads").then_some(FailureKind::Other));
        let Committed { downloads, calls } = commits.commit(&mut records, 50);
        assert!(downloads.is_written() && calls.result.is_err() && !calls.is_written());
        memory.fail_where(|_| None);
        assert_eq!(records.attempt(Work::Sum, |store| store.totals()).unwrap().downloads(), 1);
    }

    #[test]
    fn once_the_records_are_closed_every_asker_is_told_so() {
        let mut records = LoggedStore::new(MemoryRecords::default().open().unwrap());
        let mut commits = GroupCommit::default();
        commits.add(write(1), (), Instant::now());
        records.close();
        let error = commits.commit(&mut records, 1).downloads.result.unwrap_err();
        assert_eq!(error.to_string(), "the records are closed");
    }
}
