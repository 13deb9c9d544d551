//! Directories whose names survive a power loss, each synced once and not for each file.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::publishing::staged::Staged;
use super::publishing::syncfs::{WholeSync, parallel_map};
use super::root::ServerDirectories;
use super::tree::make_and_open;
use crate::base::names::RemotePath;

/// Directories that are remembered as synced. Beyond it all are forgotten, which costs a sync each.
const MAX_REMEMBERED: usize = 100_000;

/// Directories whose own names are known to be on disk, so that they are synced once and not for each file.
#[derive(Debug, Default)]
pub(super) struct DurableDirectories {
    known: HashSet<DirectoryId>,
    /// Those that will be known after the sync that the batch under way ends with.
    coming: Vec<DirectoryId>,
    whole: WholeSync,
}

impl DurableDirectories {
    /// Returns whether so many files, of which this is one, are better synced together than one by one.
    pub(super) fn suits(&mut self, files: usize, one: &Staged) -> bool {
        self.whole.suits(files, one.mirror.partial())
    }

    /// Opens `directory`, makes what is missing, and syncs the names of all directories on the way, or leaves that to
    /// the sync of the `whole` file system that follows.
    fn open(
        &mut self,
        mirror: &ServerDirectories,
        directory: &RemotePath,
        whole: bool,
    ) -> io::Result<OwnedFd> {
        let mut handle: Option<OwnedFd> = None;
        for component in directory.components() {
            let parent = handle.as_ref().map_or(mirror.top(), AsFd::as_fd);
            let child = make_and_open(parent, component)?;
            let id = DirectoryId::of(&child)?;
            if !id.is_some_and(|id| self.known.contains(&id)) {
                if whole {
                    self.coming.extend(id);
                } else {
                    rustix::fs::fsync(parent)?;
                    self.remember(id);
                }
            }
            handle = Some(child);
        }
        handle.map_or_else(|| mirror.top().try_clone_to_owned(), Ok)
    }

    /// Makes all names durable that were given so far, those of directories included.
    pub(super) fn sync_whole(&mut self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        let coming = std::mem::take(&mut self.coming);
        self.whole.sync(place)?;
        self.remember(coming);
        Ok(())
    }

    fn remember(&mut self, ids: impl IntoIterator<Item = DirectoryId>) {
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.extend(ids);
    }
}

/// A directory and its id: an inode number alone is given to another directory after a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct DirectoryId {
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

impl DirectoryId {
    /// `None` where the file system keeps no time of id.
    fn of(directory: &OwnedFd) -> io::Result<Option<Self>> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, wanted)?;
        let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let born = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        Ok(known.then_some(Self { device, inode: stat.stx_ino, born }))
    }
}

/// The directories of a batch, each opened once and synced once.
#[derive(Debug, Default)]
pub(super) struct OpenDirectories(Vec<(Arc<ServerDirectories>, Arc<RemotePath>, OwnedFd)>);

impl OpenDirectories {
    /// Syncs all of them; one outcome for each, in order.
    pub(super) fn sync(&self) -> Vec<Result<(), Errno>> {
        parallel_map(&self.0, |(_, _, home)| rustix::fs::fsync(home))
    }

    /// The handle of one of them.
    pub(super) fn get(&self, place: usize) -> Option<&OwnedFd> {
        self.0.get(place).map(|(_, _, home)| home)
    }

    /// Which of them is the directory of `staged`, opened where it is not yet.
    pub(super) fn of(
        &mut self,
        staged: &Staged,
        durable: &mut DurableDirectories,
        whole: bool,
    ) -> io::Result<usize> {
        let same = |(other, path, _): &(Arc<ServerDirectories>, Arc<RemotePath>, OwnedFd)| {
            Arc::ptr_eq(other, &staged.mirror)
                && (Arc::ptr_eq(path, &staged.directory) || *path == staged.directory)
        };
        if let Some(place) = self.0.iter().position(same) {
            return Ok(place);
        }
        let home = durable.open(&staged.mirror, &staged.directory, whole)?;
        self.0.push((Arc::clone(&staged.mirror), Arc::clone(&staged.directory), home));
        Ok(self.0.len() - 1)
    }
}

#[cfg(test)]
impl DurableDirectories {
    /// Takes the file system for one of those that are synced as a whole.
    pub(super) fn synced_as_a_whole() -> Self {
        Self { whole: WholeSync::anywhere(), ..Self::default() }
    }
}
