//! Partial files that nobody works on: they go before any finished zip.

use super::partial_name::PartialName;
use super::store::{MirrorStore, UnfinishedFile};
use crate::base::humanize::count;
use crate::quota::DiskCounters;

/// Removes partial files that nobody works on, those first that were written to longest ago, until `missing` bytes are
/// free or none is left. Those of servers that are configured no more are among them; those that prove a finished file
/// to be ours are not. Returns the bytes that became free on the disk.
///
/// # Errors
///
/// When `.partial` cannot be read.
pub fn drop_idle(mirror: &dyn MirrorStore, counters: &DiskCounters, missing: u64) -> anyhow::Result<u64> {
    let mut idle = mirror.unfinished()?;
    idle.sort_by_key(|file| file.written);
    let (mut bytes, mut freed, mut files) = (0_u64, 0_u64, 0_u64);
    for UnfinishedFile { server, name, size, on_disk, remove, .. } in idle {
        if bytes.min(freed) >= missing {
            break;
        }
        match counters.if_idle(&key(&server, name), remove) {
            Some(Ok(())) => {
                counters.partial_gone(size);
                (bytes, freed, files) = (bytes + size, freed + on_disk, files + 1);
                log::debug!("server={server} removes the partial file {name} of {size} bytes to make room");
            }
            Some(Err(error)) => log::debug!("server={server} cannot remove the partial file {name}: {error}"),
            None => {}
        }
    }
    if files > 0 {
        log::info!("{} of {bytes} bytes removed to make room", count(files, "partial file"));
    }
    Ok(freed)
}

/// What a partial file is called among those that are worked on.
#[must_use]
pub fn key(server: &str, name: PartialName) -> String {
    format!("{server}/{name}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::base::names::ServerName;
    use crate::mirror::at;

    fn name(n: u32) -> PartialName {
        PartialName::parse(&format!("{n:032x}_1000_5.1")).unwrap()
    }

    /// interface 12.4
    #[test]
    fn idle_ones_go_from_the_oldest_on_and_neither_proofs_nor_those_at_work_nor_foreign_files() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = at(folder.path()).open().unwrap();
        for server in ["omc01", "gone"] {
            mirror.server(&ServerName::new(server).unwrap()).unwrap();
        }
        let put = |place: &str, age: u64| {
            let path = folder.path().join(".partial").join(place);
            std::fs::write(&path, [1; 1000]).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
            path
        };
        let young = put(&format!("omc01/{}", name(1)), 10);
        let old = put(&format!("gone/{}", name(2)), 1000);
        let busy = put(&format!("omc01/{}", name(3)), 5000);
        let proof = put(&format!("omc01/{}", name(4)), 5000);
        let foreign = put("omc01/README", 5000);
        std::fs::hard_link(&proof, folder.path().join("omc01/a.zip")).unwrap();
        let counters = Arc::new(DiskCounters::default());
        counters.set_partial(3000);
        let at_work = counters.busy(key("omc01", name(3)));
        at_work.is(1000);
        assert_eq!(counters.idle(), 2000);
        assert!(drop_idle(&*mirror, &counters, 500).unwrap() > 0);
        assert!(!old.try_exists().unwrap() && young.try_exists().unwrap());
        assert_eq!((counters.partial(), counters.idle()), (2000, 1000));
        assert!(drop_idle(&*mirror, &counters, u64::MAX).unwrap() > 0);
        assert!(
            !young.try_exists().unwrap()
                && busy.try_exists().unwrap()
                && proof.try_exists().unwrap()
                && foreign.try_exists().unwrap()
        );
        assert_eq!((counters.idle(), drop_idle(&*mirror, &counters, u64::MAX).unwrap()), (0, 0));
        drop(at_work);
        assert!(drop_idle(&*mirror, &counters, 1).unwrap() > 0 && !busy.try_exists().unwrap());
    }
}
