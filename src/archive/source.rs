//! The bytes of a received file: of a small one in memory, of any other on the disk.

use std::io;

use crate::base::read_at::ReadAt;

/// See the module. Read at positions; the file's own position is left alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    File(&'a dyn ReadAt),
    Memory(&'a [u8]),
}

impl ReadAt for Source<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, at),
            Self::Memory(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                let (into, from) = (buffer.get_mut(..length), rest.get(..length));
                into.zip(from).into_iter().for_each(|(into, from)| into.copy_from_slice(from));
                Ok(length)
            }
        }
    }
}

impl Source<'_> {
    /// Returns whether these bytes stand at `at`.
    pub(super) fn has(self, bytes: &[u8], at: u64) -> io::Result<bool> {
        let mut there = vec![0; bytes.len()];
        Ok(self.read_at(&mut there, at)? == bytes.len() && there == bytes)
    }
}
