//! One file, from its first byte to its final name.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rustix::fs::{Advice, Mode, OFlags};

use super::partial::identity;
use super::publishing::publisher::Publisher;
use super::publishing::staged::Staged;
use super::root::ServerDirectories;
use super::tree::{open_directory, size_of_stat};
use crate::base::names::{RemoteName, RemotePath};
use crate::base::read_at::ReadAt;
use crate::mirror::error::PublishError;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{PartialFile, Target};

/// Bytes after which the disk begins to write. Long enough to be one piece of work for it.
const WRITE_BACK: u64 = 8 << 20;
/// Bytes of two files that are compared at a time.
const COMPARED: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct LocalFile {
    mirror: Arc<ServerDirectories>,
    partial: PartialName,
    file: Arc<File>,
    /// The disk has begun to write what lies before.
    begun: AtomicU64,
    publisher: Publisher,
}

impl LocalFile {
    /// The open `file`, whose partial name is `partial`.
    pub(super) fn new(
        mirror: &Arc<ServerDirectories>,
        partial: PartialName,
        file: File,
        publisher: &Publisher,
    ) -> Self {
        let (mirror, publisher) = (Arc::clone(mirror), publisher.clone());
        Self { mirror, partial, file: Arc::new(file), begun: AtomicU64::new(0), publisher }
    }

    /// Has the disk begin with a long file before it is whole, so that the sync of it finds little left to wait for.
    fn write_back(&self, end: u64) {
        // less than begun after it was cut
        let from = self.begun.load(Ordering::Relaxed).min(end);
        if let Some(length) = NonZeroU64::new(end - from).filter(|length| length.get() >= WRITE_BACK) {
            // a hint: pages that are dirty are written and stay cached
            rustix::fs::fadvise(&self.file, from, Some(length), Advice::DontNeed).ok();
            self.begun.store(end, Ordering::Relaxed);
        }
    }
}

impl ReadAt for LocalFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&*self.file, buffer, at)
    }
}

#[async_trait(?Send)]
impl PartialFile for LocalFile {
    fn size(&self) -> io::Result<u64> {
        Ok(size_of_stat(&rustix::fs::fstat(&self.file)?))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        self.write_back(at + bytes.len() as u64);
        Ok(())
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn equals(&self, directory: &RemotePath, name: &RemoteName, size: u64) -> bool {
        let home = open_directory(self.mirror.top(), directory);
        home.is_ok_and(|home| same_content(home, name.text(), &self.file, size))
    }

    async fn publish(self: Arc<Self>, target: Target) -> Result<(), PublishError> {
        let Target { directory, name, replaces, pulse } = target;
        let (mirror, partial, file) = (Arc::clone(&self.mirror), self.partial, Arc::clone(&self.file));
        self.publisher.store(Staged { mirror, partial, file, directory, name, replaces, pulse }).await
    }
}

/// Returns whether the regular file of that name holds the same `size` bytes as `file`, and is another one.
fn same_content(home: impl AsFd, name: &str, file: &File, size: u64) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(there) = rustix::fs::openat(home, name, flags, Mode::empty()).map(File::from) else {
        return false;
    };
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(file), there.metadata()) else { return false };
    let is_another = identity(&a) != (b.dev(), b.ino());
    is_another && b.is_file() && b.len() == size && same_bytes(file, &there, size).unwrap_or(false)
}

fn same_bytes(one: &dyn ReadAt, other: &dyn ReadAt, size: u64) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(COMPARED).min(COMPARED);
        let (a, b) = (a.get_mut(..length).unwrap_or_default(), b.get_mut(..length).unwrap_or_default());
        one.read_exact_at(a, at)?;
        other.read_exact_at(b, at)?;
        if a != b {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::durable::DurableDirectories;
    use super::*;
    use crate::mirror::local::publishing::batch::store_batch;
    use crate::mirror::local::publishing::staged::fixtures::{mirror, stage};

    #[test]
    fn the_same_bytes_in_another_file_are_told_from_that_very_file() {
        let (_folder, mirror) = mirror();
        let batch = ["1.zip", "2.zip"].map(|name| stage(&mirror, "/", name, b"now"));
        assert!(store_batch(&batch[..1], &mut DurableDirectories::default()).iter().all(Result::is_ok));
        let home = || open_directory(mirror.top(), &batch[0].directory).unwrap();
        assert!(!same_content(home(), "1.zip", &batch[0].file, 3), "it is that very file");
        assert!(same_content(home(), "1.zip", &batch[1].file, 3));
        assert!(!same_content(home(), "1.zip", &batch[1].file, 2));
    }
}
