//! Bytes that can be read at any place, wherever they are kept.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at places, by several threads at a time where they like.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Reads what is there at `at`, at most as much as fits into `buffer`; 0 bytes at the end.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Fills `buffer` with what is at `at`.
    ///
    /// # Errors
    ///
    /// What the disk says; `UnexpectedEof` where there is less.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }
}
