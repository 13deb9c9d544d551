//! Deleting one file of the mirror, for the quota.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::tree::{Mirror, open_directory, size_of_stat};
use crate::names::{RemotePath, ServerName};

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone now.
    Removed {
        /// What it took on the disk, in bytes.
        bytes: u64,
    },
    /// Somebody else was faster: a hand, or an eviction whose record was lost in a crash.
    AlreadyGone,
}

/// Deletes the file at `path` below `{root}/{server}`, never through a symbolic link.
///
/// # Errors
///
/// The system's, except that the file or a directory above it does not exist.
pub fn delete(mirror: &Mirror, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
    match try_delete(mirror, server, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Deleted::AlreadyGone),
        done => done,
    }
}

fn try_delete(mirror: &Mirror, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
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
pub fn sync_deleted(mirror: &Mirror, server: &ServerName, path: &RemotePath) -> io::Result<()> {
    let sync = || -> io::Result<()> { Ok(rustix::fs::fsync(home_of(mirror, server, path)?.0)?) };
    match sync() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether the file at `path` is there.
///
/// # Errors
///
/// The system's, except that it is not there.
pub fn is_present(mirror: &Mirror, server: &ServerName, path: &RemotePath) -> io::Result<bool> {
    let look = || -> io::Result<()> {
        let (home, name) = home_of(mirror, server, path)?;
        match rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(()),
            Err(error) => Err(Errno::into(error)),
        }
    };
    match look() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn home_of<'p>(
    mirror: &Mirror,
    server: &ServerName,
    path: &'p RemotePath,
) -> io::Result<(impl AsFd, &'p str)> {
    let top = mirror.existing(server)?;
    let text = path.text();
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
    let directory = RemotePath::from_parts(Vec::new(), directory.to_owned());
    Ok((open_directory(top.as_fd(), &directory)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_deleted_and_one_that_is_gone_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(folder.path()).unwrap();
        let server = ServerName::new("omc01").unwrap();
        let path = RemotePath::from_text("/a/1.zip", encoding_rs::UTF_8).unwrap();
        assert_eq!(delete(&mirror, &server, &path).unwrap(), Deleted::AlreadyGone);
        std::fs::create_dir_all(folder.path().join("omc01/a")).unwrap();
        std::fs::write(folder.path().join("omc01/a/1.zip"), [1; 5000]).unwrap();
        assert!(is_present(&mirror, &server, &path).unwrap());
        assert!(matches!(delete(&mirror, &server, &path).unwrap(), Deleted::Removed { bytes } if bytes > 0));
        assert!(!is_present(&mirror, &server, &path).unwrap());
    }

    #[test]
    fn no_record_leads_outside_of_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(folder.path()).unwrap();
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
        let mirror = Mirror::open(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("omc01")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("omc01/a")).unwrap();
        let path = RemotePath::from_text("/a/1.zip", encoding_rs::UTF_8).unwrap();
        assert!(delete(&mirror, &ServerName::new("omc01").unwrap(), &path).is_err());
        assert!(outside.path().join("1.zip").is_file());
    }
}
