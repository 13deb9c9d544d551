//! The partial files of all servers, for the quota.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::AtFlags;

use super::intent;
use super::root::MirrorRoot;
use super::tree::{names_in, open_component, size_of_stat};
use crate::mirror::partial_name::PartialName;
use crate::mirror::store::UnfinishedFile;

/// Those that have bytes and no second link.
pub(super) fn unfinished(mirror: &MirrorRoot) -> io::Result<Vec<UnfinishedFile>> {
    let mut files = Vec::new();
    for server in names_in(mirror.partial())? {
        let Ok(home) = open_component(mirror.partial(), &server) else { continue };
        let home = Rc::new(home);
        let names = names_in(home.as_fd())?;
        files.extend(names.iter().filter_map(|name| look(&home, &server, PartialName::parse(name)?)));
    }
    Ok(files)
}

fn look(home: &Rc<OwnedFd>, server: &str, name: PartialName) -> Option<UnfinishedFile> {
    let stat = rustix::fs::statat(&**home, name.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let size = size_of_stat(&stat);
    if stat.st_nlink > 1 || size == 0 {
        return None;
    }
    // blocks of 512 bytes, whatever the file system's own size (stat(2)); sparse and compressed files take less
    let on_disk = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512).max(1);
    let (server, home) = (server.to_owned(), Rc::clone(home));
    let remove = move || Ok(rustix::fs::unlinkat(&*home, name.to_string(), AtFlags::empty())?);
    Some(UnfinishedFile { server, name, size, on_disk, written: stat.st_mtime, remove: Box::new(remove) })
}

/// The bytes that lie in `.partial` of all servers.
pub(super) fn partial_bytes(mirror: &MirrorRoot) -> io::Result<u64> {
    let mut bytes = 0;
    for server in names_in(mirror.partial())? {
        let Ok(home) = open_component(mirror.partial(), &server) else { continue };
        // a note is no partial file
        for name in names_in(home.as_fd())?.into_iter().filter(|name| intent::parse(name).is_none()) {
            let stat = rustix::fs::statat(&home, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            // a second link is the finished file, which the records count
            bytes += stat.ok().filter(|stat| stat.st_nlink == 1).map_or(0, |stat| size_of_stat(&stat));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_bytes_count_what_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        for directory in ["omc01", ".partial/omc01"] {
            std::fs::create_dir(folder.path().join(directory)).unwrap();
        }
        let partial = folder.path().join(".partial/omc01");
        std::fs::write(partial.join("half"), [0; 100]).unwrap();
        std::fs::write(partial.join("done"), [0; 1000]).unwrap();
        std::fs::hard_link(partial.join("done"), folder.path().join("omc01/done.zip")).unwrap();
        assert_eq!(partial_bytes(&mirror).unwrap(), 100);
    }
}
