//! Storing finished files: from whole bytes in a partial file to a name in the mirror that survives a power loss.
//!
//! Order for each file: data synced → partial directory synced → linked under its final name → final directory
//! and all unsynced directories above it synced. Only then may the file be recorded. The partial name stays as the
//! proof of ownership until the record is committed, and is removed after that.
//!
//! A sync that fails is never simply repeated: the kernel tells of a lost write once, and a second sync would
//! succeed without it. Data that could not be synced are fetched anew, and a name that could not be synced is taken
//! back and given again.
//!
//! Where the file system has no hard links, a note takes the place of the partial name ([`super::intent`]), and the file is
//! moved.
//!
//! Files come in batches, because the waits of a journaling file system are shared: one commit of its journal makes
//! many files durable. Within a step the syncs of a batch run beside each other, because each ends with a flush of
//! the disk's cache, and flushes that wait at the same time become one. Many files share syncs of the whole file system
//! instead: see `publisher`, on whose thread all of this blocks and `syncfs`.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use anyhow::Context;
use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, StatxFlags, renameat_with};
use rustix::io::Errno;

use super::intent;
use super::syncfs::{WholeSync, beside_each_other};
use super::tree::{ServerMirror, make_and_open, open_directory};
use crate::base::failpoints;
use crate::base::names::{RemoteName, RemotePath};
use crate::base::watchdog::Pulse;
use crate::mirror::partial::{remove, stat};
use crate::mirror::partial_name::PartialName;

/// Bytes of two files that are compared at a time.
const COMPARED: usize = 64 * 1024;

/// Directories that are remembered as synced. Beyond it all are forgotten, which costs a sync each.
const MAX_REMEMBERED: usize = 100_000;

/// A whole, verified file that has no final name yet.
#[derive(Debug)]
pub struct Staged {
    /// Where it lies and goes.
    pub mirror: Arc<ServerMirror>,
    /// Its name in `.partial`.
    pub partial: PartialName,
    /// Its content.
    pub file: File,
    /// The directory on the server, and below `{root}/{server}`.
    pub directory: Arc<RemotePath>,
    /// Its name on the server, and in the mirror.
    pub name: RemoteName,
    /// What has its name now is an earlier content of the same file, and gives way.
    pub replaces: bool,
    /// Of the scan that waits for it.
    pub pulse: Option<Arc<Pulse>>,
}

/// Why a file did not get its final name.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is taken by something that was not downloaded here.
    #[error("the mirror holds another file of that name, which is left alone")]
    NameTaken,
    /// The directory is another file system than the partial files.
    #[error(
        "its directory {0} in the mirror is another file system than .partial, so that it cannot be moved there; what was \
         fetched is kept until that is mended"
    )]
    Apart(Arc<RemotePath>),
    /// The disk said no.
    #[error("cannot store: {}", crate::base::humanize::why(.0))]
    Disk(anyhow::Error),
    /// The publisher's thread ended.
    #[error("the publisher is gone")]
    Gone,
}

impl From<anyhow::Error> for StoreError {
    fn from(error: anyhow::Error) -> Self {
        Self::Disk(error)
    }
}

/// Directories whose own names are known to be on disk, so that they are synced once and not for each file.
#[derive(Debug, Default)]
pub struct DurableDirectories {
    known: HashSet<Birth>,
    /// Those that will be known after the sync that the batch under way ends with.
    coming: Vec<Birth>,
    whole: WholeSync,
}

/// Makes a batch of files durable under their final names, each by syncs of its own; one outcome for each, in order.
#[must_use]
pub fn store_batch(batch: &[Staged], durable: &mut DurableDirectories) -> Vec<Result<(), StoreError>> {
    let mut outcomes: Vec<Result<(), StoreError>> =
        sync_data(batch).into_iter().map(|synced| Ok(synced?)).collect();
    for (staged, outcome) in batch.iter().zip(&outcomes) {
        if outcome.is_err() {
            forget_data(staged);
        }
    }
    sync_partial_directories(batch, &mut outcomes);
    let mut homes = Homes::default();
    let mut touched = Vec::with_capacity(batch.len());
    for (staged, outcome) in batch.iter().zip(&mut outcomes) {
        let home =
            if outcome.is_ok() { link(staged, &mut homes, durable, false).map(Some) } else { Ok(None) };
        touched.push(home.unwrap_or_else(|error| {
            *outcome = Err(error);
            None
        }));
    }
    let synced = beside_each_other(&homes.0, |(_, _, home)| rustix::fs::fsync(home));
    for ((staged, home), outcome) in batch.iter().zip(touched).zip(&mut outcomes) {
        if let Some(Err(error)) = home.and_then(|home| synced.get(home)) {
            take_back(staged);
            *outcome = Err(disk(*error, "syncing the directory"));
        }
    }
    outcomes
}

/// Gives files their final names, whose data are durable. The names are durable only after the next
/// [`sync_together`].
pub(super) fn link_batch(batch: &[Staged], durable: &mut DurableDirectories) -> Vec<Result<(), StoreError>> {
    let mut homes = Homes::default();
    batch.iter().map(|staged| link(staged, &mut homes, durable, true).map(drop)).collect()
}

/// One sync of the file system, after which the names of the files `linked` and the data of the files `written` are
/// durable; the partial names of the latter, too. If it fails, nothing is known of any of them: their names are taken
/// back, and data that no name proves is forgotten.
pub(super) fn sync_together(
    linked: &[&Staged],
    written: &[Staged],
    durable: &mut DurableDirectories,
) -> Result<(), Errno> {
    let Some(Staged { mirror, .. }) = linked.first().copied().or(written.first()) else { return Ok(()) };
    // all of them lie on one file system, or they could not be linked
    let synced = durable.sync_whole(mirror.partial());
    // the disk moves, which all of them wait for
    let all = linked.iter().copied().chain(written);
    all.filter_map(|staged| staged.pulse.as_ref()).for_each(|pulse| pulse.beat());
    if synced.is_err() {
        linked.iter().for_each(|staged| take_back(staged));
        written.iter().for_each(forget_data);
    }
    synced
}

pub(super) fn disk(error: Errno, attempt: &'static str) -> StoreError {
    StoreError::Disk(anyhow::Error::new(io::Error::from(error)).context(attempt))
}

/// After a failed sync nobody knows which bytes reached the disk: none of them is resumed from. A file that has its
/// final name was synced before it got it.
fn forget_data(staged: &Staged) {
    let Staged { mirror, partial, .. } = staged;
    if stat(mirror, *partial).is_some_and(|stat| stat.st_nlink == 1)
        && let Err(error) = remove(mirror, *partial)
    {
        log::warn!("cannot remove the partial file {partial}, whose data could not be synced: {error}");
    }
}

/// Takes the final name away again; the next try gives it anew, and syncs the directory with it.
fn take_back(staged: &Staged) {
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

/// The directories of a batch, each opened once and synced once.
#[derive(Debug, Default)]
struct Homes(Vec<(Arc<ServerMirror>, Arc<RemotePath>, OwnedFd)>);

impl Homes {
    /// Which of them is the directory of `staged`, opened where it is not yet.
    fn of(&mut self, staged: &Staged, durable: &mut DurableDirectories, whole: bool) -> io::Result<usize> {
        let same = |(other, path, _): &(Arc<ServerMirror>, Arc<RemotePath>, OwnedFd)| {
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

/// Data to the disk: first the writing of all files is begun, then each is waited for.
fn sync_data(batch: &[Staged]) -> Vec<anyhow::Result<()>> {
    if batch.len() > 1 {
        for staged in batch {
            // begins to write dirty pages back without waiting; pages still dirty stay cached. A hint, so that a
            // file system which knows none costs nothing but speed.
            rustix::fs::fadvise(&staged.file, 0, None, Advice::DontNeed).ok();
        }
    }
    let sync = |staged: &Staged| {
        let synced = rustix::fs::fdatasync(&staged.file).map_err(io::Error::from);
        let synced = synced.context("syncing the data");
        // the disk moves, which all of them wait for
        batch.iter().filter_map(|staged| staged.pulse.as_ref()).for_each(|pulse| pulse.beat());
        synced
    };
    beside_each_other(batch, sync)
}

fn sync_partial_directories(batch: &[Staged], outcomes: &mut [Result<(), StoreError>]) {
    let mut mirrors: Vec<&ServerMirror> = Vec::new();
    let mut places = Vec::with_capacity(batch.len());
    for Staged { mirror, .. } in batch {
        let place = mirrors.iter().position(|other| std::ptr::eq(*other, &raw const **mirror));
        places.push(place.unwrap_or(mirrors.len()));
        if place.is_none() {
            mirrors.push(mirror);
        }
    }
    let synced = beside_each_other(&mirrors, |mirror| rustix::fs::fsync(mirror.partial()));
    for (place, outcome) in places.into_iter().zip(outcomes) {
        if let (Ok(()), Some(Err(error))) = (&outcome, synced.get(place)) {
            *outcome = Err(disk(*error, "syncing .partial"));
        }
    }
}

/// Gives the file its final name. Returns which directory the caller must sync; if `whole`, that sync is one of the
/// whole file system.
fn link(
    staged: &Staged,
    homes: &mut Homes,
    durable: &mut DurableDirectories,
    whole: bool,
) -> Result<usize, StoreError> {
    let Staged { mirror, partial, directory, name, replaces, .. } = staged;
    let place = homes
        .of(staged, durable, whole)
        .with_context(|| format!("cannot open the directory {directory} of the mirror"))?;
    let Some((_, _, home)) = homes.0.get(place) else { return Err(StoreError::Gone) };
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
        Err(Errno::EXIST) => Err(StoreError::NameTaken),
        Err(Errno::XDEV) => Err(StoreError::Apart(Arc::clone(directory))),
        Err(error) if is_for_want_of_links(error) => {
            rename(staged, home).map_err(|failed| match failed {
                // then it was not for want of links
                StoreError::Disk(_) => disk(error, "linking"),
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

/// Returns whether the regular file of that name holds the same `size` bytes as `file`, and is another one.
pub(crate) fn same_content(home: impl AsFd, name: &str, file: &File, size: u64) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(there) = rustix::fs::openat(home, name, flags, Mode::empty()).map(File::from) else {
        return false;
    };
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(file), there.metadata()) else { return false };
    let is_another = identity(&a) != (b.dev(), b.ino());
    is_another && b.is_file() && b.len() == size && same_bytes(file, &there, size).unwrap_or(false)
}

fn same_bytes(one: &File, other: &File, size: u64) -> io::Result<bool> {
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

/// link(2): FAT and exFAT, shares of other systems, file systems in user space, or too many links.
fn is_for_want_of_links(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK)
}

/// The same where there are no hard links: a note proves that the file is ours, until it is recorded.
fn rename(staged: &Staged, home: &OwnedFd) -> Result<(), StoreError> {
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
        Errno::EXIST => StoreError::NameTaken,
        Errno::XDEV => StoreError::Apart(Arc::clone(directory)),
        error => disk(error, "moving it to its name"),
    })
}

impl DurableDirectories {
    /// Returns whether so many files, of which this is one, are better synced together than one by one.
    pub(super) fn suits(&mut self, files: usize, one: &Staged) -> bool {
        self.whole.suits(files, one.mirror.partial())
    }

    /// Opens `directory`, makes what is missing, and syncs the names of all directories on the way, or leaves that to
    /// the sync of the `whole` file system that follows.
    fn open(&mut self, mirror: &ServerMirror, directory: &RemotePath, whole: bool) -> io::Result<OwnedFd> {
        let mut handle: Option<OwnedFd> = None;
        for component in directory.components() {
            let parent = handle.as_ref().map_or(mirror.top(), AsFd::as_fd);
            let child = make_and_open(parent, component)?;
            let birth = Birth::of(&child)?;
            if !birth.is_some_and(|birth| self.known.contains(&birth)) {
                if whole {
                    self.coming.extend(birth);
                } else {
                    rustix::fs::fsync(parent)?;
                    self.remember(birth);
                }
            }
            handle = Some(child);
        }
        handle.map_or_else(|| mirror.top().try_clone_to_owned(), Ok)
    }

    /// Makes all names durable that were given so far, those of directories included.
    fn sync_whole(&mut self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        let coming = std::mem::take(&mut self.coming);
        self.whole.sync(place)?;
        self.remember(coming);
        Ok(())
    }

    fn remember(&mut self, births: impl IntoIterator<Item = Birth>) {
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.extend(births);
    }
}

/// A directory and its birth: an inode number alone is given to another directory after a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Birth {
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

impl Birth {
    /// `None` where the file system keeps no time of birth.
    fn of(directory: &OwnedFd) -> io::Result<Option<Self>> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, wanted)?;
        let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let born = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        Ok(known.then_some(Self { device, inode: stat.stx_ino, born }))
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Returns whether the final name is already this partial file: a run before this one was stopped before it
/// could record.
fn is_same_file(mirror: &ServerMirror, partial: PartialName, home: impl AsFd, name: &str) -> bool {
    let there = rustix::fs::statat(home, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    there.zip(stat(mirror, partial)).is_some_and(|(a, b)| identity(&a) == identity(&b))
}

#[cfg(test)]
pub(super) mod fixtures {
    use encoding_rs::UTF_8;

    use super::*;
    use crate::base::facts::FileFacts;
    use crate::base::names::ServerName;
    use crate::mirror::local::tree::Mirror;
    use crate::mirror::partial::Partial;

    impl DurableDirectories {
        /// Takes the file system for one of those that are synced as a whole.
        pub(in crate::mirror) fn synced_as_a_whole() -> Self {
            Self { whole: WholeSync::anywhere(), ..Self::default() }
        }
    }

    pub(in crate::mirror) fn stage(
        mirror: &Arc<ServerMirror>,
        directory: &str,
        name: &str,
        content: &[u8],
    ) -> Staged {
        let directory = Arc::new(RemotePath::from_text(directory, UTF_8).unwrap());
        let name = RemoteName::from_wire(name.as_bytes(), UTF_8).unwrap();
        let partial = PartialName::new(&directory.join(&name), FileFacts::default());
        let mut writing = Partial::open(mirror, partial, 1 << 20).unwrap();
        writing.append(content).unwrap();
        let file = writing.file().try_clone().unwrap();
        Staged { mirror: Arc::clone(mirror), partial, file, directory, name, replaces: false, pulse: None }
    }

    pub(in crate::mirror) fn mirror() -> (tempfile::TempDir, Arc<ServerMirror>) {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(folder.path()).unwrap();
        let server = Arc::new(mirror.server(&ServerName::new("omc01").unwrap()).unwrap());
        (folder, server)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{mirror, stage};
    use super::*;

    #[test]
    fn a_batch_gets_its_final_names() {
        let (folder, mirror) = mirror();
        let batch = [stage(&mirror, "/a/b", "1.zip", b"one"), stage(&mirror, "/", "2.zip", b"two")];
        assert!(store_batch(&batch, &mut DurableDirectories::default()).iter().all(Result::is_ok));
        assert_eq!(std::fs::read(folder.path().join("omc01/a/b/1.zip")).unwrap(), b"one");
        assert_eq!(std::fs::read(folder.path().join("omc01/2.zip")).unwrap(), b"two");
    }

    #[test]
    fn what_is_done_side_by_side_is_answered_in_order() {
        let items: Vec<u64> = (0..100).collect();
        assert_eq!(beside_each_other(&items, |item| item * 2), (0..200).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn storing_again_after_a_crash_changes_nothing() {
        let (folder, mirror) = mirror();
        let batch = [stage(&mirror, "/", "1.zip", b"one")];
        for _ in 0..2 {
            assert!(store_batch(&batch, &mut DurableDirectories::default()).iter().all(Result::is_ok));
        }
        assert_eq!(std::fs::read(folder.path().join("omc01/1.zip")).unwrap(), b"one");
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone_and_costs_only_its_namesake() {
        let (folder, mirror) = mirror();
        std::fs::write(folder.path().join("omc01/1.zip"), b"theirs").unwrap();
        let batch = [stage(&mirror, "/", "1.zip", b"ours"), stage(&mirror, "/", "2.zip", b"ours")];
        let outcomes = store_batch(&batch, &mut DurableDirectories::default());
        assert!(matches!(outcomes.as_slice(), [Err(StoreError::NameTaken), Ok(())]), "{outcomes:?}");
        assert_eq!(std::fs::read(folder.path().join("omc01/1.zip")).unwrap(), b"theirs");
    }

    #[test]
    fn an_earlier_content_gives_way_where_that_is_wanted_and_nothing_but_a_file_does() {
        let (folder, mirror) = mirror();
        let place = |name: &str| folder.path().join("omc01").join(name);
        std::fs::write(place("1.zip"), b"before").unwrap();
        std::fs::create_dir(place("2.zip")).unwrap();
        std::os::unix::fs::symlink(place("1.zip"), place("3.zip")).unwrap();
        let batch = ["1.zip", "2.zip", "3.zip", "4.zip"].map(|name| {
            let staged = stage(&mirror, "/", name, b"now");
            Staged { replaces: true, ..staged }
        });
        let outcomes = store_batch(&batch, &mut DurableDirectories::default());
        let taken = |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::NameTaken));
        assert!(outcomes[0].is_ok() && taken(&outcomes[1]) && taken(&outcomes[2]) && outcomes[3].is_ok());
        assert_eq!(std::fs::read(place("1.zip")).unwrap(), b"now");
        // its partial name is the proof that it is not on record yet; nothing else is left
        assert_eq!(std::fs::metadata(place("1.zip")).unwrap().nlink(), 2);
        assert_eq!(std::fs::read_dir(folder.path().join(".partial/omc01")).unwrap().count(), 4);
        let home = open_directory(mirror.top(), &batch[0].directory).unwrap();
        assert!(!same_content(&home, "1.zip", &batch[0].file, 3), "it is that very file");
        assert!(same_content(&home, "1.zip", &batch[3].file, 3));
        assert!(!same_content(&home, "1.zip", &batch[3].file, 2));
    }

    #[test]
    fn without_hard_links_a_file_is_moved_and_a_note_proves_it_to_be_ours_until_it_is_recorded() {
        let (folder, mirror) = mirror();
        mirror.use_renames();
        std::fs::write(folder.path().join("omc01/taken.zip"), b"theirs").unwrap();
        let batch = [stage(&mirror, "/a", "1.zip", b"one"), stage(&mirror, "/", "taken.zip", b"ours")];
        let outcomes = store_batch(&batch, &mut DurableDirectories::default());
        assert!(matches!(outcomes.as_slice(), [Ok(()), Err(StoreError::NameTaken)]), "{outcomes:?}");
        assert_eq!(std::fs::read(folder.path().join("omc01/taken.zip")).unwrap(), b"theirs");
        let (path, final_path) =
            (batch[0].directory.join(&batch[0].name), folder.path().join("omc01/a/1.zip"));
        assert_eq!(std::fs::read(&final_path).unwrap(), b"one");
        let home = open_directory(mirror.top(), &batch[0].directory).unwrap();
        let finished = || intent::finished(&mirror, batch[0].partial, &path, &home, "1.zip");
        assert_eq!(finished().unwrap().1, 3);
        // stored again after a crash, nothing changes
        let outcomes = store_batch(&batch[..1], &mut DurableDirectories::default());
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        std::fs::write(&final_path, b"two").unwrap();
        assert!(finished().is_none(), "it is another file");
        remove(&mirror, batch[0].partial).unwrap();
        assert!(!intent::is_noted(&mirror, batch[0].partial));
    }

    #[test]
    fn a_name_that_was_not_synced_is_taken_back_without_hard_links_too() {
        let (folder, mirror) = mirror();
        mirror.use_renames();
        let batch = [stage(&mirror, "/", "1.zip", b"one")];
        assert!(store_batch(&batch, &mut DurableDirectories::default()).iter().all(Result::is_ok));
        take_back(&batch[0]);
        assert!(!folder.path().join("omc01/1.zip").try_exists().unwrap());
        assert!(store_batch(&batch, &mut DurableDirectories::default()).iter().all(Result::is_ok));
        assert_eq!(std::fs::read(folder.path().join("omc01/1.zip")).unwrap(), b"one");
    }

    #[test]
    fn a_link_in_the_way_costs_only_the_files_behind_it() {
        let (folder, mirror) = mirror();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("omc01/link")).unwrap();
        let batch = [stage(&mirror, "/link", "1.zip", b"ours"), stage(&mirror, "/", "2.zip", b"ours")];
        let outcomes = store_batch(&batch, &mut DurableDirectories::default());
        assert!(matches!(outcomes.as_slice(), [Err(StoreError::Disk(_)), Ok(())]), "{outcomes:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
