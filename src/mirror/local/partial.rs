//! Partial files, `{root}/.partial/{server}/{hash}_{size}_{time}`, as they lie there.

use std::io;

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::intent;
use super::root::ServerDirectories;
use super::tree::size_of_stat;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::PartialState;

/// Removes a partial file; one that is gone already is fine.
///
/// # Errors
///
/// The system's.
pub(super) fn remove(mirror: &ServerDirectories, name: PartialName) -> io::Result<()> {
    match rustix::fs::unlinkat(mirror.partial(), name.to_string(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    if mirror.renames() { intent::remove(mirror, name) } else { Ok(()) }
}

/// The stat of a partial file, where it exists.
pub(super) fn stat(mirror: &ServerDirectories, name: PartialName) -> Option<Stat> {
    rustix::fs::statat(mirror.partial(), name.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// What a stat says: a second link is the finished file.
pub(super) fn state(stat: &Stat) -> PartialState {
    let size = size_of_stat(stat);
    if stat.st_nlink == 1 { PartialState::Unfinished { size } } else { PartialState::Finished { size } }
}

/// What tells a file from all others, whatever it is called.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
