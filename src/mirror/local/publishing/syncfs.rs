//! Waits for the disk that many files share.
//!
//! A lone file has its data and its directories synced one by one. For many files that is a wait each, however many
//! run beside each other; where the file system is one of which it is known, a single sync of all of it does the same
//! for all of them.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// From so many files on one sync of the file system is cheaper than those of files and directories.
const WORTH_IT: usize = 16;
/// A sync of the file system that takes longer writes the data of others, for which our files should not wait …
const SLOW: Duration = Duration::from_secs(2);
/// … for so long.
const AVOID: Duration = Duration::from_secs(60);
/// Syncs that run beside each other. More win little: by then all of them wait for the same commit of the journal.
const SYNCING: usize = 16;
/// ext4, XFS and btrfs (statfs(2)): after syncfs, data, names and directories are on the disk, its cache included. File
/// systems in user space and on the network may know better, so they are not among them.
const KNOWN: [u64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];
/// Since Linux 5.8 syncfs tells of data that could not be written (syncfs(2)); before, it was always a success.
const TELLS_ERRORS: (u32, u32) = (5, 8);

/// The sync of a whole file system, where it can stand for those of each file and directory.
#[derive(Debug, Default)]
pub(in crate::mirror::local) struct WholeSync {
    /// Whether the file system is one of those; `None` until somebody asks.
    suits: Option<bool>,
    avoided_until: Option<Instant>,
}

impl WholeSync {
    /// Returns whether it is to be used for `files` files on the file system of `place`.
    pub(in crate::mirror::local) fn suits(&mut self, files: usize, place: BorrowedFd<'_>) -> bool {
        files >= WORTH_IT
            && self.avoided_until.is_none_or(|until| Instant::now() >= until)
            && *self.suits.get_or_insert_with(|| tells_errors() && is_known(place))
    }

    /// Syncs the file system of `place`. The data of all files written before, and all names given before, are on the
    /// disk then.
    ///
    /// # Errors
    ///
    /// The system's, which may be about anybody's file: nothing is known of ours.
    pub(in crate::mirror::local) fn sync(&mut self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        let began = Instant::now();
        let synced = rustix::fs::syncfs(place);
        if synced.is_err() || began.elapsed() > SLOW {
            self.avoided_until = Some(Instant::now() + AVOID);
        }
        synced
    }
}

fn is_known(place: BorrowedFd<'_>) -> bool {
    let kind = rustix::fs::fstatfs(place).ok().and_then(|stat| u64::try_from(stat.f_type).ok());
    kind.is_some_and(|kind| KNOWN.contains(&kind))
}

fn tells_errors() -> bool {
    let system = rustix::system::uname();
    system.release().to_str().ok().and_then(version).is_some_and(|version| version >= TELLS_ERRORS)
}

/// The first two numbers of a kernel's release, such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Does `work` for each of `items` on several threads; the answers are in the order of the items.
pub(in crate::mirror::local) fn parallel_map<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut answers = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return answers };
            answers.push((place, work(item)));
        }
    };
    let mut answers = scope(|threads| {
        let helpers = 1..items.len().min(SYNCING);
        // a thread that the system does not give is one helper less
        let helpers: Vec<_> =
            helpers.filter_map(|_| Builder::new().spawn_scoped(threads, take).ok()).collect();
        let mut answers = take();
        for helper in helpers {
            match helper.join() {
                Ok(more) => answers.extend(more),
                // costs the whole batch, as a panic on this thread would
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        answers
    });
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
impl WholeSync {
    /// Takes every file system for a known one.
    pub(in crate::mirror::local) fn anywhere() -> Self {
        Self { suits: Some(true), avoided_until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_the_kernel_is_read_by_its_first_two_numbers() {
        let read =
            [("5.8.0", (5, 8)), ("6.1.0-18-amd64", (6, 1)), ("5.10-rc1", (5, 10)), ("4.19.0", (4, 19))];
        read.into_iter().for_each(|(release, numbers)| assert_eq!(version(release), Some(numbers)));
        assert_eq!((version(""), version("6"), version("Linux")), (None, None, None));
        assert!((5, 10) > TELLS_ERRORS && (4, 19) < TELLS_ERRORS);
    }

    #[test]
    fn few_files_and_unknown_file_systems_are_synced_one_by_one() {
        use std::os::fd::AsFd;
        let proc = std::fs::File::open("/proc").unwrap();
        let mut whole = WholeSync::default();
        assert!(!whole.suits(WORTH_IT, proc.as_fd()));
        let mut known = WholeSync::anywhere();
        assert!(known.suits(WORTH_IT, proc.as_fd()) && !known.suits(WORTH_IT - 1, proc.as_fd()));
        known.avoided_until = Some(Instant::now() + AVOID);
        assert!(!known.suits(WORTH_IT, proc.as_fd()));
    }
}
