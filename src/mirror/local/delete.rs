//! Deleting one file of the mirror, for the quota.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::root::MirrorRoot;
use super::tree::{open_directory, open_server, size_of_stat};
use crate::base::names::{RemotePath, ServerName};
use crate::mirror::store::Deleted;

/// Deletes the file at `path` below `{root}/{server}`, never through a symbolic link.
///
/// # Errors
///
/// The system's, except that the file or a directory above it does not exist.
pub(super) fn delete(mirror: &MirrorRoot, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
    match try_delete(mirror, server, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Deleted::AlreadyGone),
        done => done,
    }
}

fn try_delete(mirror: &MirrorRoot, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
    let (home, name) = home_of(mirror, server, path)?;
    let stat = rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::unlinkat(&home, name, AtFlags::empty())?;
    // blocks of 512 bytes, whatever the file system's own size (stat(2)); sparse and compressed files take less
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    Ok(Deleted::Removed { bytes: blocks.max(u64::from(size_of_stat(&stat) > 0)) })
}

/// Makes the deletion of the file at `path` durable. A file that came back after a power loss and is marked as evicted
/// would lie there for ever.
///
/// # Errors
///
/// The system's, except that the directory does not exist.
pub(super) fn sync_deleted(mirror: &MirrorRoot, server: &ServerName, path: &RemotePath) -> io::Result<()> {
    let sync = || -> io::Result<()> { Ok(rustix::fs::fsync(home_of(mirror, server, path)?.0)?) };
    match sync() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The size in bytes of the file at `path`, if it is there.
///
/// # Errors
///
/// The system's, except that it is not there.
pub(super) fn present_size(
    mirror: &MirrorRoot,
    server: &ServerName,
    path: &RemotePath,
) -> io::Result<Option<u64>> {
    let look = || -> io::Result<u64> {
        let (home, name) = home_of(mirror, server, path)?;
        let stat = rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(size_of_stat(&stat))
    };
    match look() {
        Ok(size) => Ok(Some(size)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the files below `root` durably, for an operator who has nothing open there. Those that are gone are fine.
///
/// # Errors
///
/// The system's, with the file; some are deleted then, and the same call goes on with the rest.
pub(super) fn delete_durably(root: &Path, files: &[(ServerName, RemotePath)]) -> anyhow::Result<()> {
    let home = |server: &ServerName, path| home_below(open_server(root, server)?.as_fd(), path);
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let mut changed = BTreeMap::new();
    for (server, path) in files {
        let delete = || -> io::Result<()> {
            let (home, name) = home(server, path)?;
            Ok(rustix::fs::unlinkat(&home, name, AtFlags::empty())?)
        };
        gone(delete()).with_context(|| format!("cannot delete {path} of {server}"))?;
        let directory = path.text().rsplit_once('/').map_or("", |(directory, _)| directory);
        changed.insert((server.as_str(), directory), (server, path));
    }
    for (server, path) in changed.into_values() {
        let sync = || -> io::Result<()> { Ok(rustix::fs::fsync(home(server, path)?.0)?) };
        gone(sync()).with_context(|| format!("cannot sync the directory of {path} of {server}"))?;
    }
    Ok(())
}

/// The size in bytes of the file at `path` in the mirror at `root`, if it is there, for an operator who has nothing open
/// there.
///
/// # Errors
///
/// The system's, except that it is not there.
pub(super) fn size_at(root: &Path, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
    let look = || -> io::Result<u64> {
        let (home, name) = home_below(open_server(root, server)?.as_fd(), path)?;
        Ok(size_of_stat(&rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW)?))
    };
    match look() {
        Ok(size) => Ok(Some(size)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether anything lies at the file's place in the mirror, however long its path is: the system
/// takes 4096 bytes at a time, and files in deep trees were stored directory by directory.
///
/// # Errors
///
/// The system's, except that it is not there.
pub(super) fn is_there(root: &Path, server: &ServerName, path: &RemotePath) -> io::Result<bool> {
    let below = path.text().trim_start_matches('/');
    let found = match std::fs::symlink_metadata(root.join(server.as_str()).join(below)) {
        Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
            open_server(root, server).and_then(|top| {
                let (home, name) = home_below(top.as_fd(), path)?;
                Ok(rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW).map(drop)?)
            })
        }
        found => found.map(drop),
    };
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    match found {
        Ok(()) => Ok(true),
        // a single name that is too long for the file system was never stored
        Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => Ok(false),
        Err(error) if gone.contains(&error.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

fn home_of<'p>(
    mirror: &MirrorRoot,
    server: &ServerName,
    path: &'p RemotePath,
) -> io::Result<(OwnedFd, &'p str)> {
    home_below(mirror.existing(server)?.as_fd(), path)
}

/// The directory of a file below `{root}/{server}`, and its name there.
fn home_below<'p>(top: BorrowedFd<'_>, path: &'p RemotePath) -> io::Result<(OwnedFd, &'p str)> {
    let text = path.text();
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
    let directory = RemotePath::from_parts(Vec::new(), directory.to_owned());
    Ok((open_directory(top, &directory)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::local::tree::make_component;

    #[test]
    fn a_file_is_found_however_long_its_path_is() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerName::new("omc01").unwrap();
        let file = |text: &str| RemotePath::from_text(text, encoding_rs::UTF_8).unwrap();
        let deep = format!("/{}", "d".repeat(200)).repeat(25);
        let (there, gone) = (file(&format!("{deep}/1.zip")), file(&format!("{deep}/2.zip")));
        assert!(!is_there(folder.path(), &server, &there).unwrap());
        std::fs::create_dir(folder.path().join("omc01")).unwrap();
        let mut home: OwnedFd = std::fs::File::open(folder.path().join("omc01")).unwrap().into();
        for name in there.components() {
            make_component(home.as_fd(), name).unwrap();
            let directory = RemotePath::from_parts(Vec::new(), format!("/{name}"));
            home = open_directory(home.as_fd(), &directory).unwrap();
        }
        assert!(is_there(folder.path(), &server, &there).unwrap());
        assert!(!is_there(folder.path(), &server, &gone).unwrap());
    }

    #[test]
    fn several_are_deleted_for_good_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerName::new("omc01").unwrap();
        let file = |text: &str| (server.clone(), RemotePath::from_text(text, encoding_rs::UTF_8).unwrap());
        let files = ["/a/1.zip", "/a/2.zip", "/b/3.zip", "/c/gone.zip"].map(file);
        delete_durably(folder.path(), &files).unwrap();
        for path in ["a/1.zip", "a/2.zip", "b/3.zip", "b/4.zip"] {
            let path = folder.path().join("omc01").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        delete_durably(folder.path(), &files).unwrap();
        let left =
            |directory: &str| std::fs::read_dir(folder.path().join("omc01").join(directory)).unwrap().count();
        assert_eq!((left("a"), left("b")), (0, 1));
        std::os::unix::fs::symlink(folder.path().join("omc01/b"), folder.path().join("omc01/link")).unwrap();
        let error = delete_durably(folder.path(), &[file("/link/4.zip")]).unwrap_err();
        assert!(error.to_string().contains("/link/4.zip of omc01") && left("b") == 1, "{error:#}");
    }

    #[test]
    fn a_file_is_deleted_and_one_that_is_gone_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        let server = ServerName::new("omc01").unwrap();
        let path = RemotePath::from_text("/a/1.zip", encoding_rs::UTF_8).unwrap();
        assert_eq!(delete(&mirror, &server, &path).unwrap(), Deleted::AlreadyGone);
        std::fs::create_dir_all(folder.path().join("omc01/a")).unwrap();
        std::fs::write(folder.path().join("omc01/a/1.zip"), [1; 5000]).unwrap();
        assert!(present_size(&mirror, &server, &path).unwrap().is_some());
        assert!(matches!(delete(&mirror, &server, &path).unwrap(), Deleted::Removed { bytes } if bytes > 0));
        assert!(present_size(&mirror, &server, &path).unwrap().is_none());
    }

    #[test]
    fn no_record_leads_outside_of_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("omc01/a")).unwrap();
        std::fs::write(folder.path().join("precious.zip"), b"theirs").unwrap();
        for text in ["/../precious.zip", "/a/../../precious.zip", "/a/..", "/..", "/."] {
            let path = RemotePath::from_parts(text.into(), text.into());
            assert!(delete(&mirror, &ServerName::new("omc01").unwrap(), &path).is_err(), "{text}");
        }
        assert!(folder.path().join("precious.zip").is_file() && folder.path().join("omc01/a").is_dir());
    }

    #[test]
    fn nothing_is_deleted_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("1.zip"), b"theirs").unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("omc01")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("omc01/a")).unwrap();
        let path = RemotePath::from_text("/a/1.zip", encoding_rs::UTF_8).unwrap();
        assert!(delete(&mirror, &ServerName::new("omc01").unwrap(), &path).is_err());
        assert!(outside.path().join("1.zip").is_file());
    }
}
