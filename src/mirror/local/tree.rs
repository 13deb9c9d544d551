//! Directories below the root of the mirror, opened relative to handles and never through a symbolic link.
//!
//! Everything below `{root}/{server}` is reached component by component from a handle of that directory, so that neither
//! a name from a server nor a link that somebody put into the mirror leads outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::base::names::{RemotePath, ServerName};

/// Work in progress lies here, beside the servers' directories and on the same file system.
pub(super) const PARTIAL_DIRECTORY: &str = ".partial";
/// In it: held by the service that works in the mirror.
pub(super) const LOCK_FILE: &str = ".lock";
/// Which boot of the machine wrote the partial files.
pub(super) const BOOT_FILE: &str = ".boot";
/// Of directories that are made.
pub(super) const DIRECTORY_MODE: u32 = 0o755;

/// Returns whether nothing can be moved from one directory to the other: two file systems, or two mounts of one. The kernel
/// compares the mounts before it looks for the name, and nothing has this one.
pub(super) fn are_apart(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    const NOTHING: &str = ".mrosync-is-one-file-system";
    rustix::fs::renameat(from, NOTHING, to, NOTHING) == Err(Errno::XDEV)
}

/// Opens the part of one server in the mirror at `root`, for who holds no lock on it.
///
/// # Errors
///
/// `NotFound` where there is none; `NotADirectory` (or `TooManyLinks`) where it is none.
pub(super) fn open_server(root: &Path, name: &ServerName) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(open_component(root.as_fd(), name.as_str())?)
}

/// Opens the directory at `path` below `top`.
///
/// # Errors
///
/// `NotFound` where it is missing; else as [`ServerMirror::make_directory`].
pub(super) fn open_directory(top: BorrowedFd<'_>, path: &RemotePath) -> io::Result<OwnedFd> {
    descend(top, path, |parent, name| Ok(open_component(parent, name)?))
}

/// Opens component after component from `top` on.
pub(super) fn descend(
    top: BorrowedFd<'_>,
    path: &RemotePath,
    open: impl Fn(BorrowedFd<'_>, &str) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let mut directory: Option<OwnedFd> = None;
    for component in path.components() {
        let parent = directory.as_ref().map_or(top, AsFd::as_fd);
        directory = Some(open(parent, component)?);
    }
    directory.map_or_else(|| top.try_clone_to_owned(), Ok)
}

/// Makes a directory below `parent`; one that exists is fine.
///
/// # Errors
///
/// The system's, except that it exists.
pub(super) fn make_component(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    refuse_dots(name)?;
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Names in a directory, without the dot entries and without those that are not UTF-8 (none of ours is).
///
/// # Errors
///
/// When the directory cannot be read.
pub(super) fn names_in(directory: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// The size in bytes that a stat shows.
#[must_use]
pub(super) fn size_of_stat(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Opens a directory below `parent`, made where it is missing.
///
/// # Errors
///
/// Where something else than a directory has the name, a symbolic link included.
pub(super) fn make_and_open(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match open_component(parent, name) {
        Err(Errno::NOENT) => {
            make_component(parent, name)?;
            Ok(open_component(parent, name)?)
        }
        opened => Ok(opened?),
    }
}

/// Opens one component, which is a name and neither a way up nor a link: so one after the other stays below the
/// first. `openat2` would promise the same, from Linux 5.6 on.
pub(super) fn open_component(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    refuse_dots(name)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Names of servers were checked long before; this holds for what else a path may be made of, such as the records.
fn refuse_dots(name: &str) -> Result<(), Errno> {
    if matches!(name, "" | "." | "..") { Err(Errno::INVAL) } else { Ok(()) }
}
