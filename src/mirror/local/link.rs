//! The final name of a file: given by a hard link, or by a move where there are none, and taken back.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::Context;
use rustix::fs::{AtFlags, FileType, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::durable::{DurableDirectories, OpenDirectories};
use super::intent;
use super::partial::{identity, remove, stat};
use super::publishing::staged::Staged;
use super::root::ServerDirectories;
use super::tree::open_directory;
use crate::base::failpoints;
use crate::mirror::error::PublishError;
use crate::mirror::partial_name::PartialName;

/// Gives the file its final name. Answers which directory the caller must sync; if `whole`, that sync is one of the
/// whole file system.
pub(super) fn link(
    staged: &Staged,
    homes: &mut OpenDirectories,
    durable: &mut DurableDirectories,
    whole: bool,
) -> Result<usize, PublishError> {
    let Staged { mirror, partial, directory, name, replaces, .. } = staged;
    let place = homes
        .of(staged, durable, whole)
        .with_context(|| format!("cannot open the directory {directory} of the mirror"))?;
    let Some(home) = homes.get(place) else { return Err(PublishError::Gone) };
    if mirror.renames() {
        return rename(staged, home).map(|()| place);
    }
    let partial_name = partial.to_string();
    match hard_link(mirror.partial(), &partial_name, home, name.text()) {
        Ok(()) => Ok(place),
        Err(Errno::EXIST) if is_same_file(mirror, *partial, home.as_fd(), name.text()) => Ok(place),
        // the partial name stays, and says that this content is not on record yet
        Err(Errno::EXIST) if *replaces && is_regular(home, name.text()) => {
            let spare = partial.spare();
            remove(mirror, spare).context("replacing")?;
            let spare = spare.to_string();
            let at = mirror.partial();
            match hard_link(at, &partial_name, at, &spare) {
                Ok(()) => rustix::fs::renameat(at, &spare, home, name.text())
                    .map_err(|error| disk(error, "replacing"))?,
                Err(error) if is_for_want_of_links(error) => rename(staged, home)?,
                Err(error) => return Err(disk(error, "replacing")),
            }
            Ok(place)
        }
        Err(Errno::EXIST) => Err(PublishError::NameTaken),
        Err(Errno::XDEV) => Err(PublishError::Apart(Arc::clone(directory))),
        Err(error) if is_for_want_of_links(error) => {
            rename(staged, home).map_err(|failed| match failed {
                // then it was not for want of links
                PublishError::Disk(_) => disk(error, "linking"),
                other => other,
            })?;
            if mirror.use_renames() {
                let error = io::Error::from(error);
                log::info!(
                    "the mirror takes no hard links ({error}): finished files are moved to their names"
                );
            }
            Ok(place)
        }
        Err(error) => Err(disk(error, "linking")),
    }
}

fn hard_link(from: impl AsFd, name: &str, to: impl AsFd, new_name: &str) -> Result<(), Errno> {
    if failpoints::refuses("link", "mirror") {
        return Err(Errno::PERM);
    }
    rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())
}

fn is_regular(home: impl AsFd, name: &str) -> bool {
    let stat = rustix::fs::statat(home, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

/// link(2): FAT and exFAT, shares of other systems, file systems in user space, or too many links.
fn is_for_want_of_links(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK)
}

/// The same where there are no hard links: a note proves that the file is ours, until it is recorded.
fn rename(staged: &Staged, home: &OwnedFd) -> Result<(), PublishError> {
    let Staged { mirror, partial, directory, name, file, replaces, .. } = staged;
    let path = directory.join(name);
    if stat(mirror, *partial).is_none() && intent::is_noted(mirror, *partial) {
        // a run before this one did it, and its note was compared
        return Ok(());
    }
    intent::note(mirror, *partial, &path, file).context("noting which file it will be")?;
    let (from, to) = (partial.to_string(), name.text());
    let move_over = || rustix::fs::renameat(mirror.partial(), &from, home, to);
    let moved = match renameat_with(mirror.partial(), &from, home, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) if *replaces && is_regular(home, to) => move_over(),
        // file systems in user space know no flags
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match rustix::fs::statat(home, to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => move_over(),
                Ok(_) if *replaces && is_regular(home, to) => move_over(),
                Ok(_) => Err(Errno::EXIST),
                Err(error) => Err(error),
            }
        }
        moved => moved,
    };
    if moved.is_err() {
        intent::remove(mirror, *partial).context("removing the note of a file that was not stored")?;
    }
    moved.map_err(|error| match error {
        Errno::EXIST => PublishError::NameTaken,
        Errno::XDEV => PublishError::Apart(Arc::clone(directory)),
        error => disk(error, "moving it to its name"),
    })
}

/// Takes the final name away again; the next try gives it anew, and syncs the directory with it.
pub(super) fn take_back(staged: &Staged) {
    let Staged { mirror, partial, directory, name, .. } = staged;
    let Ok(home) = open_directory(mirror.top(), directory) else { return };
    if mirror.renames() && stat(mirror, *partial).is_none() && intent::is_noted(mirror, *partial) {
        let back = rustix::fs::renameat(&home, name.text(), mirror.partial(), partial.to_string());
        if let Err(error) = back {
            log::warn!(
                "cannot take {}'s name back, which could not be synced: {error}",
                directory.join(name)
            );
        }
        return;
    }
    if is_same_file(mirror, *partial, &home, name.text())
        && let Err(error) = rustix::fs::unlinkat(&home, name.text(), AtFlags::empty())
    {
        log::warn!("cannot take {}'s name back, which could not be synced: {error}", directory.join(name));
    }
}

pub(super) fn disk(error: Errno, attempt: &'static str) -> PublishError {
    PublishError::Disk(anyhow::Error::new(io::Error::from(error)).context(attempt))
}

/// Returns whether the final name is already this partial file: a run before this one was stopped before it could record.
fn is_same_file(mirror: &ServerDirectories, partial: PartialName, home: impl AsFd, name: &str) -> bool {
    let there = rustix::fs::statat(home, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    there.zip(stat(mirror, partial)).is_some_and(|(a, b)| identity(&a) == identity(&b))
}
