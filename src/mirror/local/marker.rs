//! The marker of a mirror, a file below `.partial`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::root::MirrorRoot;
use super::tree::{PARTIAL_DIRECTORY, open_component};
use crate::mirror::identity::MirrorId;

/// Below [`PARTIAL_DIRECTORY`].
const MARKER_FILE: &str = ".mirror";
/// While it is written.
const UNFINISHED_MARKER: &str = ".mirror.new";
/// More of a marker is not read.
const MAX_MARKER_BYTES: u64 = 1024;
const WORDS: &str = "This marks a mirror of mrosync, whose records know the number above: leave it where it is, and \
                     take it along with the files.\n";

/// Reads the marker of the mirror at `root`, where there is one. Makes nothing.
///
/// # Errors
///
/// The system's, except that something on the way does not exist; `InvalidData` where it is no marker.
pub(super) fn marker(root: &Path) -> io::Result<Option<MirrorId>> {
    match open_partial(root).and_then(|partial| read_marker(partial.as_fd())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn open_partial(root: &Path) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(open_component(root.as_fd(), PARTIAL_DIRECTORY)?)
}

fn read_marker(partial: BorrowedFd<'_>) -> io::Result<MirrorId> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat(partial, MARKER_FILE, flags, Mode::empty())?;
    let mut text = String::new();
    File::from(file).take(MAX_MARKER_BYTES).read_to_string(&mut text)?;
    text.lines().next().unwrap_or_default().parse()
}

/// Gives the mirror a marker, in the place of the one of before. It survives a power loss when this returns.
///
/// # Errors
///
/// The system's.
pub(super) fn mark(mirror: &MirrorRoot, id: MirrorId) -> io::Result<()> {
    let (root, partial) = mirror.root_and_partial();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file: File =
        rustix::fs::openat(partial, UNFINISHED_MARKER, flags, Mode::from_raw_mode(0o644))?.into();
    write!(file, "{id}\n{WORDS}")?;
    file.sync_all()?;
    rustix::fs::renameat(partial, UNFINISHED_MARKER, partial, MARKER_FILE)?;
    rustix::fs::fsync(partial)?;
    Ok(rustix::fs::fsync(root)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written_and_one_that_is_spoilt_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [id, other] = [(); 2].map(|()| MirrorId::random().unwrap());
        assert_ne!(id, other);
        assert_eq!(marker(folder.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes nothing");
        assert_eq!(marker(&folder.path().join("nowhere")).unwrap(), None);
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        assert_eq!(marker(folder.path()).unwrap(), None);
        mark(&mirror, id).unwrap();
        assert_eq!(marker(folder.path()).unwrap(), Some(id));
        mark(&mirror, other).unwrap();
        assert_eq!(marker(folder.path()).unwrap(), Some(other));
        std::fs::write(folder.path().join(".partial/.mirror"), "+123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(marker(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
