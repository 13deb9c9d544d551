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
//! Where the file system has no hard links, a note takes the place of the partial name ([`intent`](super::super::intent)), and the file is
//! moved.
//!
//! Files come in batches, because the waits of a journaling file system are shared: one commit of its journal makes
//! many files durable. Within a step the syncs of a batch run beside each other, because each ends with a flush of
//! the disk's cache, and flushes that wait at the same time become one. Many files share syncs of the whole file system
//! instead: see `publisher`, on whose thread all of this blocks and `syncfs`.

use std::io;

use anyhow::Context;
use rustix::fs::Advice;
use rustix::io::Errno;

use super::staged::Staged;
use super::syncfs::parallel_map;
use crate::mirror::error::PublishError;
use crate::mirror::local::durable::{DurableDirectories, OpenDirectories};
use crate::mirror::local::link::{disk, link, take_back};
use crate::mirror::local::partial::{remove, stat};
use crate::mirror::local::root::ServerDirectories;

/// Makes a batch of files durable under their final names, each by syncs of its own; one outcome for each, in order.
#[must_use]
pub(in crate::mirror::local) fn store_batch(
    batch: &[Staged],
    durable: &mut DurableDirectories,
) -> Vec<Result<(), PublishError>> {
    let mut outcomes: Vec<Result<(), PublishError>> =
        sync_data(batch).into_iter().map(|synced| Ok(synced?)).collect();
    for (staged, outcome) in batch.iter().zip(&outcomes) {
        if outcome.is_err() {
            forget_data(staged);
        }
    }
    sync_partial_directories(batch, &mut outcomes);
    let mut homes = OpenDirectories::default();
    let mut touched = Vec::with_capacity(batch.len());
    for (staged, outcome) in batch.iter().zip(&mut outcomes) {
        let home =
            if outcome.is_ok() { link(staged, &mut homes, durable, false).map(Some) } else { Ok(None) };
        touched.push(home.unwrap_or_else(|error| {
            *outcome = Err(error);
            None
        }));
    }
    let synced = homes.sync();
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
pub(in crate::mirror::local) fn link_batch(
    batch: &[Staged],
    durable: &mut DurableDirectories,
) -> Vec<Result<(), PublishError>> {
    let mut homes = OpenDirectories::default();
    batch.iter().map(|staged| link(staged, &mut homes, durable, true).map(drop)).collect()
}

/// One sync of the file system, after which the names of the files `linked` and the data of the files `written` are
/// durable; the partial names of the latter, too. If it fails, nothing is known of any of them: their names are taken
/// back, and data that no name proves is forgotten.
pub(in crate::mirror::local) fn sync_together(
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
    parallel_map(batch, sync)
}

fn sync_partial_directories(batch: &[Staged], outcomes: &mut [Result<(), PublishError>]) {
    let mut mirrors: Vec<&ServerDirectories> = Vec::new();
    let mut places = Vec::with_capacity(batch.len());
    for Staged { mirror, .. } in batch {
        let place = mirrors.iter().position(|other| std::ptr::eq(*other, &raw const **mirror));
        places.push(place.unwrap_or(mirrors.len()));
        if place.is_none() {
            mirrors.push(mirror);
        }
    }
    let synced = parallel_map(&mirrors, |mirror| rustix::fs::fsync(mirror.partial()));
    for (place, outcome) in places.into_iter().zip(outcomes) {
        if let (Ok(()), Some(Err(error))) = (&outcome, synced.get(place)) {
            *outcome = Err(disk(*error, "syncing .partial"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::mirror::local::intent;
    use crate::mirror::local::publishing::staged::fixtures::{mirror, stage};
    use crate::mirror::local::tree::open_directory;

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
        assert_eq!(parallel_map(&items, |item| item * 2), (0..200).step_by(2).collect::<Vec<_>>());
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
        assert!(matches!(outcomes.as_slice(), [Err(PublishError::NameTaken), Ok(())]), "{outcomes:?}");
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
        let taken = |outcome: &Result<(), PublishError>| matches!(outcome, Err(PublishError::NameTaken));
        assert!(outcomes[0].is_ok() && taken(&outcomes[1]) && taken(&outcomes[2]) && outcomes[3].is_ok());
        assert_eq!(std::fs::read(place("1.zip")).unwrap(), b"now");
        // its partial name is the proof that it is not on record yet; nothing else is left
        assert_eq!(std::fs::metadata(place("1.zip")).unwrap().nlink(), 2);
        assert_eq!(std::fs::read_dir(folder.path().join(".partial/omc01")).unwrap().count(), 4);
    }

    #[test]
    fn without_hard_links_a_file_is_moved_and_a_note_proves_it_to_be_ours_until_it_is_recorded() {
        let (folder, mirror) = mirror();
        mirror.use_renames();
        std::fs::write(folder.path().join("omc01/taken.zip"), b"theirs").unwrap();
        let batch = [stage(&mirror, "/a", "1.zip", b"one"), stage(&mirror, "/", "taken.zip", b"ours")];
        let outcomes = store_batch(&batch, &mut DurableDirectories::default());
        assert!(matches!(outcomes.as_slice(), [Ok(()), Err(PublishError::NameTaken)]), "{outcomes:?}");
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
        assert!(matches!(outcomes.as_slice(), [Err(PublishError::Disk(_)), Ok(())]), "{outcomes:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
