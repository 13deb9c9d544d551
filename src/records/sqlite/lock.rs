//! The lock file, which keeps a second service out, and in which room is kept for a start on a full disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::files::{FILE_MODE, sibling_path};
use crate::records::error::OpenError;

/// Room for the -shm file and the first pages of the -wal file, kept in the lock file: a service that starts on
/// a full disk must be able to open its records, or it could not evict anything.
pub(super) const RESERVE_BYTES: u64 = 256 * 1024;

/// Keeps a second service out for as long as the answer lives. The lock file stays: removing it would let two
/// services lock two files of the same name.
pub(super) fn lock(file: &Path) -> Result<File, OpenError> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(sibling_path(file, ".lock"))
        .map_err(|error| OpenError::io(file, "make its lock file", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { file: file.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(file, "lock its lock file", &error)),
    }
}

/// Opens, and where the disk is full once more with the room that the lock file holds. The reserve is taken
/// again only by an opening that does without it.
pub(super) fn with_reserve<T>(lock: &File, open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let result = match open() {
        Err(OpenError::DiskFull { .. }) if release(lock) => return open(),
        result => result,
    };
    if result.is_ok()
        && let Err(error) = rustix::fs::fallocate(lock, FallocateFlags::empty(), 0, RESERVE_BYTES)
    {
        log::debug!("no room is kept in the lock file of the record database: {error}");
    }
    result
}

/// Returns whether giving the reserve up made room.
fn release(lock: &File) -> bool {
    lock.metadata().is_ok_and(|metadata| metadata.len() > 0) && lock.set_len(0).is_ok()
}
