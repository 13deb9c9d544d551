//! Proofs of ownership where the file system has no hard links (FAT, exFAT, many shares of NAS).
//!
//! Elsewhere a finished file keeps its partial name until its record is committed, which proves it to be ours. Without
//! links it is moved to its final name, and a note beside the partial files, durable before the move, says which file it
//! will be: its path, size and a checksum. The note goes once the record is committed.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::root::ServerDirectories;
use crate::base::names::RemotePath;
use crate::mirror::partial_name::PartialName;

/// Behind the name of the partial file.
const SUFFIX: &str = ".stored";
/// The first line of a note.
const KIND: &str = "mrosync stored 1";
/// A path, a number and a checksum are shorter.
const MAX_NOTE: u64 = 64 * 1024;

/// The partial file that the note of this name is about.
pub(super) fn parse(name: &str) -> Option<PartialName> {
    PartialName::parse(name.strip_suffix(SUFFIX)?)
}

fn name_of(partial: PartialName) -> String {
    format!("{partial}{SUFFIX}")
}

/// Notes durably that `partial`, whose content is `file`, is about to get its final name.
///
/// # Errors
///
/// The system's.
pub(super) fn note(
    mirror: &ServerDirectories,
    partial: PartialName,
    path: &RemotePath,
    file: &File,
) -> io::Result<()> {
    let (size, digest) = digest(file)?;
    let text = format!("{KIND}\n{size}\n{digest:032x}\n{}", path.text());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let note: File =
        rustix::fs::openat(mirror.partial(), name_of(partial), flags, Mode::from_raw_mode(0o644))?.into();
    note.write_all_at(text.as_bytes(), 0)?;
    note.sync_all()?;
    Ok(rustix::fs::fsync(mirror.partial())?)
}

/// Returns whether there is a note about `partial`.
pub(super) fn is_noted(mirror: &ServerDirectories, partial: PartialName) -> bool {
    rustix::fs::statat(mirror.partial(), name_of(partial), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// The path that a note says, for who looks at the directory of partial files of a server.
pub(super) fn path_in(home: BorrowedFd<'_>, name: &str) -> Option<String> {
    parse(name)?;
    Some(read(home, name)?.path)
}

/// The finished file `name` in `home`, where the note about `partial` proves it to be ours.
pub(super) fn finished(
    mirror: &ServerDirectories,
    partial: PartialName,
    path: &RemotePath,
    home: &OwnedFd,
    name: &str,
) -> Option<(File, u64)> {
    let note = read(mirror.partial(), &name_of(partial)).filter(|note| note.path == path.text())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(home, name, flags, Mode::empty()).ok()?);
    let is_it = file.metadata().is_ok_and(|found| found.is_file() && found.len() == note.size)
        && digest(&file).is_ok_and(|found| found == (note.size, note.digest));
    is_it.then_some((file, note.size))
}

/// Removes the note about `partial`; one that is gone is fine.
///
/// # Errors
///
/// The system's.
pub(super) fn remove(mirror: &ServerDirectories, partial: PartialName) -> io::Result<()> {
    match rustix::fs::unlinkat(mirror.partial(), name_of(partial), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Note {
    path: String,
    size: u64,
    digest: u128,
}

fn read(home: BorrowedFd<'_>, name: &str) -> Option<Note> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(home, name, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(MAX_NOTE).read_to_string(&mut text).ok()?;
    let mut lines = text.splitn(4, '\n');
    if lines.next() != Some(KIND) {
        return None;
    }
    let size = lines.next()?.parse().ok()?;
    let digest = u128::from_str_radix(lines.next()?, 16).ok()?;
    Some(Note { path: lines.next()?.to_owned(), size, digest })
}

fn digest(file: &File) -> io::Result<(u64, u128)> {
    let (mut hasher, mut buffer, mut at) = (SipHasher24::new(), vec![0; 256 * 1024], 0_u64);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok((at, hasher.finish128().as_u128()));
        }
        hasher.write(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
}
