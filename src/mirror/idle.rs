//! Partial files that nobody works on: they go before any finished zip.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use anyhow::Context;
use rustix::fs::AtFlags;

use super::local::tree::{Mirror, PARTIAL_DIRECTORY, names_in, open_component, size_of_stat};
use super::partial_name::is_partial_name;
use crate::base::humanize::count;
use crate::quota::DiskCounters;

/// A partial file as it lies there.
struct Idle {
    /// In unix seconds.
    written: i64,
    home: Rc<OwnedFd>,
    server: String,
    name: String,
    size: u64,
    /// On the disk, in bytes.
    blocks: u64,
}

/// Removes partial files that nobody works on, those first that were written to longest ago, until `missing` bytes are
/// free or none is left. Those of servers that are configured no more are among them; those that prove a finished file
/// to be ours are not. Returns the bytes that became free on the disk.
///
/// # Errors
///
/// When `.partial` cannot be read.
pub fn drop_idle(mirror: &Mirror, counters: &DiskCounters, missing: u64) -> anyhow::Result<u64> {
    let mut idle = all(mirror)
        .with_context(|| format!("cannot read {}/{PARTIAL_DIRECTORY}", mirror.path().display()))?;
    idle.sort_by_key(|file| file.written);
    let (mut bytes, mut freed, mut files) = (0_u64, 0_u64, 0_u64);
    for Idle { home, server, name, size, blocks, .. } in idle {
        if bytes.min(freed) >= missing {
            break;
        }
        let remove = || rustix::fs::unlinkat(&*home, name.as_str(), AtFlags::empty());
        match counters.if_idle(&key(&server, &name), remove) {
            Some(Ok(())) => {
                counters.partial_gone(size);
                (bytes, freed, files) = (bytes + size, freed + blocks, files + 1);
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
pub fn key(server: &str, name: &str) -> String {
    format!("{server}/{name}")
}

fn all(mirror: &Mirror) -> io::Result<Vec<Idle>> {
    let mut files = Vec::new();
    for server in names_in(mirror.partial())? {
        let Ok(home) = open_component(mirror.partial(), &server) else { continue };
        let home = Rc::new(home);
        for name in names_in(home.as_fd())?.into_iter().filter(|name| is_partial_name(name)) {
            let Ok(stat) = rustix::fs::statat(&*home, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let size = size_of_stat(&stat);
            if stat.st_nlink == 1 && size > 0 {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512).max(1);
                let (home, server) = (Rc::clone(&home), server.clone());
                files.push(Idle { written: stat.st_mtime, home, server, name, size, blocks });
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::base::names::ServerName;

    fn name(n: u32) -> String {
        format!("{n:032x}_1000_5.1")
    }

    /// interface 12.4
    #[test]
    fn idle_ones_go_from_the_oldest_on_and_neither_proofs_nor_those_at_work_nor_foreign_files() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(folder.path()).unwrap();
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
        let at_work = counters.busy(key("omc01", &name(3)));
        at_work.is(1000);
        assert_eq!(counters.idle(), 2000);
        assert!(drop_idle(&mirror, &counters, 500).unwrap() > 0);
        assert!(!old.try_exists().unwrap() && young.try_exists().unwrap());
        assert_eq!((counters.partial(), counters.idle()), (2000, 1000));
        assert!(drop_idle(&mirror, &counters, u64::MAX).unwrap() > 0);
        assert!(
            !young.try_exists().unwrap()
                && busy.try_exists().unwrap()
                && proof.try_exists().unwrap()
                && foreign.try_exists().unwrap()
        );
        assert_eq!((counters.idle(), drop_idle(&mirror, &counters, u64::MAX).unwrap()), (0, 0));
        drop(at_work);
        assert!(drop_idle(&mirror, &counters, 1).unwrap() > 0 && !busy.try_exists().unwrap());
    }
}
