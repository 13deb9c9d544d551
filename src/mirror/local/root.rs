//! The root of the mirror and the parts of its servers, as handles of directories.
//!
//! [`MirrorRoot`] is the root, locked against a second service, [`ServerDirectories`] one server's part of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::tree::{
    BOOT_FILE, DIRECTORY_MODE, LOCK_FILE, PARTIAL_DIRECTORY, are_apart, descend, make_and_open, names_in,
    open_component, open_server,
};
use crate::base::durable::make_directories;
use crate::base::names::{RemotePath, ServerName};
use crate::base::start_error::StartError;
use crate::mirror::error::{Apart, NotDirectory};
use crate::mirror::partial_name::is_partial_name;

/// Where Linux tells the boots of a machine apart.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The mirror's root, locked against a second service.
#[derive(Debug)]
pub(super) struct MirrorRoot {
    path: PathBuf,
    root: OwnedFd,
    partial: OwnedFd,
    /// Held for its lock alone.
    _lock: File,
}

impl MirrorRoot {
    /// Opens the mirror at `path`, making it where it is missing.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`] when another service holds it; else what could not be made or opened.
    pub(super) fn open(path: &Path) -> Result<Self, StartError> {
        let shown = path.display();
        make_directories(path, DIRECTORY_MODE).with_context(|| format!("cannot make the mirror {shown}"))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("cannot open {shown}"))?;
        let partial = make_and_open(root.as_fd(), PARTIAL_DIRECTORY)
            .with_context(|| format!("cannot make {shown}/{PARTIAL_DIRECTORY}"))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&partial, LOCK_FILE, flags, Mode::from_raw_mode(0o600))
            .with_context(|| format!("cannot make {shown}/{PARTIAL_DIRECTORY}/{LOCK_FILE}"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(path)),
            Err(error) => {
                return Err(anyhow::Error::new(error).context(format!("cannot lock {shown}")).into());
            }
        }
        let mirror = Self { path: path.to_owned(), root, partial, _lock: lock.into() };
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        mirror.distrust_other_boots(boot.trim()).with_context(|| format!("cannot tidy {shown}/.partial"))?;
        Ok(mirror)
    }

    /// Removes what is half downloaded where the machine was started anew since: after a power loss a file may have
    /// its length and not its bytes. What has its final name was synced before it got it, and stays.
    fn distrust_other_boots(&self, boot: &str) -> anyhow::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.partial, BOOT_FILE, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        let mut before = String::new();
        file.read_to_string(&mut before)?;
        // a machine that does not tell its boots apart has nothing to compare
        if boot.is_empty() || before == boot {
            return Ok(());
        }
        let mut removed = 0;
        for server in names_in(self.partial.as_fd())? {
            let Ok(directory) = open_component(self.partial.as_fd(), &server) else { continue };
            for name in names_in(directory.as_fd())? {
                let stat = rustix::fs::statat(&directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
                if stat.st_nlink == 1 && is_partial_name(&name) {
                    rustix::fs::unlinkat(&directory, name.as_str(), AtFlags::empty())?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            log::info!(
                "{} from before the machine was started, and fetched anew",
                crate::base::humanize::count_is(removed, "file half downloaded")
            );
        }
        let noted = file
            .set_len(0)
            .and_then(|()| file.write_all_at(boot.as_bytes(), 0))
            .and_then(|()| file.sync_all());
        if let Err(error) = noted {
            // the next start trusts nothing then, which costs work and no file
            log::debug!("cannot note the boot of the machine beside the partial files: {error}");
        }
        Ok(())
    }

    /// Handles of the root and of its `.partial`, for the marker.
    pub(super) fn root_and_partial(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.root.as_fd(), self.partial.as_fd())
    }

    /// Returns whether its path still leads to the directories that are open: the disk may have been unmounted, or another one
    /// mounted there.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let same = |open: BorrowedFd<'_>, path: &Path| {
            let there = rustix::fs::stat(path).ok().zip(rustix::fs::fstat(open).ok());
            there.is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
        };
        same(self.root.as_fd(), &self.path) && same(self.partial.as_fd(), &self.path.join(PARTIAL_DIRECTORY))
    }

    /// Where the mirror lies, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's handle, for measuring its file system.
    #[must_use]
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory of partial files.
    pub(super) fn partial(&self) -> BorrowedFd<'_> {
        self.partial.as_fd()
    }

    /// The part of one server, made where it is missing.
    ///
    /// # Errors
    ///
    /// Where something else than a directory stands in the way, a symbolic link included.
    pub fn server(&self, name: &ServerName) -> anyhow::Result<ServerDirectories> {
        let shown = self.path.display();
        let made = |parent: BorrowedFd<'_>, path: String| {
            make_and_open(parent, name.as_str()).map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory => anyhow::Error::new(NotDirectory(PathBuf::from(path))),
                _ => anyhow::Error::new(error).context(format!("cannot make {path}")),
            })
        };
        let top = made(self.root.as_fd(), format!("{shown}/{name}"))?;
        let partial = made(self.partial.as_fd(), format!("{shown}/{PARTIAL_DIRECTORY}/{name}"))?;
        if are_apart(partial.as_fd(), top.as_fd()) {
            bail!(Apart { root: self.path.clone(), place: name.to_string(), partial: PARTIAL_DIRECTORY });
        }
        // both names are durable before anything below them is
        rustix::fs::fsync(&self.root).with_context(|| format!("cannot sync {shown}"))?;
        rustix::fs::fsync(&self.partial)
            .with_context(|| format!("cannot sync {shown}/{PARTIAL_DIRECTORY}"))?;
        Ok(ServerDirectories { top, partial, renames: AtomicBool::new(false) })
    }

    /// The part of one server, where it exists.
    ///
    /// # Errors
    ///
    /// `NotFound` where it does not, and the system's words else.
    pub fn existing(&self, name: &ServerName) -> io::Result<OwnedFd> {
        Ok(open_component(self.root.as_fd(), name.as_str())?)
    }
}

/// Refuses the mirror at `path` where another service works in it. Makes nothing.
///
/// # Errors
///
/// [`StartError::Refused`].
pub(super) fn refuse_in_use(path: &Path) -> Result<(), StartError> {
    let lock = path.join(PARTIAL_DIRECTORY).join(LOCK_FILE);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // what cannot be opened is told when the mirror is
    let Ok(lock) = rustix::fs::open(&lock, flags, Mode::empty()) else { return Ok(()) };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(in_use(path)),
        _ => Ok(()),
    }
}

fn in_use(path: &Path) -> StartError {
    StartError::Refused(format!("another mrosync works in {}", path.display()))
}

/// The part of a server in the mirror at `root`, where files cannot be moved into it. For who holds no lock on it;
/// nothing is changed.
#[must_use]
pub(super) fn apart(root: &Path, name: &ServerName) -> Option<Apart> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
    let top = match open_server(root, name) {
        // it would be made there
        Err(error) if error.kind() == io::ErrorKind::NotFound => open(root).ok()?,
        found => found.ok()?,
    };
    let from = open(&root.join(PARTIAL_DIRECTORY)).or_else(|_| open(root)).ok()?;
    are_apart(from.as_fd(), top.as_fd()).then(|| Apart {
        root: root.to_owned(),
        place: name.to_string(),
        partial: PARTIAL_DIRECTORY,
    })
}

/// One server's mirror and the place of its partial files.
#[derive(Debug)]
pub(super) struct ServerDirectories {
    top: OwnedFd,
    partial: OwnedFd,
    /// The file system has no hard links: files are moved to their final names.
    renames: AtomicBool,
}

impl ServerDirectories {
    /// Returns whether files are moved to their final names, because the file system has no hard links.
    #[must_use]
    pub fn renames(&self) -> bool {
        self.renames.load(Ordering::Relaxed)
    }

    /// From now on they are. Answers whether that is new.
    pub fn use_renames(&self) -> bool {
        !self.renames.swap(true, Ordering::Relaxed)
    }

    /// `{root}/{server}`
    #[must_use]
    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// `{root}/.partial/{server}`
    #[must_use]
    pub fn partial(&self) -> BorrowedFd<'_> {
        self.partial.as_fd()
    }

    /// Opens the directory at `path`, making what is missing of it.
    ///
    /// # Errors
    ///
    /// `NotADirectory` (or `TooManyLinks`) where a file or a symbolic link stands in the way.
    pub fn make_directory(&self, path: &RemotePath) -> io::Result<OwnedFd> {
        descend(self.top(), path, make_and_open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{make_component, open_directory};
    use super::*;
    use crate::base::fixtures::path;

    fn mirror() -> (tempfile::TempDir, MirrorRoot, ServerDirectories) {
        let folder = tempfile::tempdir().unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        let server = mirror.server(&ServerName::new("omc01").unwrap()).unwrap();
        (folder, mirror, server)
    }

    #[test]
    fn directories_are_made_below_the_server() {
        let (folder, _mirror, server) = mirror();
        server.make_directory(&path("/a/b")).unwrap();
        assert!(folder.path().join("omc01/a/b").is_dir());
        open_directory(server.top(), &path("/a/b")).unwrap();
        let missing = open_directory(server.top(), &path("/c")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_in_the_mirror_leads_nowhere() {
        let (folder, _mirror, server) = mirror();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("omc01/link")).unwrap();
        assert!(server.make_directory(&path("/link/inside")).is_err());
        assert!(open_directory(server.top(), &path("/link")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_path_leads_up_whoever_put_it_together() {
        let (folder, _mirror, server) = mirror();
        for text in ["/..", "/../omc02", "/./a", "/a/../../up"] {
            let path = RemotePath::from_parts(text.into(), text.into());
            assert!(server.make_directory(&path).is_err(), "{text}");
            assert!(open_directory(server.top(), &path).is_err(), "{text}");
        }
        assert!(!folder.path().join("omc02").is_dir() && !folder.path().join("up").is_dir());
        assert!(make_component(server.top(), "..").is_err());
    }

    #[test]
    fn a_second_service_in_the_same_mirror_is_refused() {
        let (folder, mirror, _server) = mirror();
        let error = MirrorRoot::open(folder.path()).unwrap_err();
        assert!(matches!(error, StartError::Refused(_)), "{error}");
        refuse_in_use(folder.path()).unwrap_err();
        drop(mirror);
        refuse_in_use(folder.path()).unwrap();
        MirrorRoot::open(folder.path()).unwrap();
    }

    #[test]
    fn what_is_half_downloaded_is_not_trusted_after_the_machine_was_started_anew() {
        let (folder, mirror, server) = mirror();
        let name = |n: u32| format!("{n:032x}_10_5.1");
        let place = folder.path().join(".partial/omc01");
        let left = || {
            let mut left = names_in(server.partial()).unwrap();
            left.sort();
            left
        };
        for n in [1, 2] {
            std::fs::write(place.join(name(n)), b"half").unwrap();
        }
        std::fs::write(place.join("README"), b"of somebody").unwrap();
        std::fs::hard_link(place.join(name(2)), folder.path().join("omc01/2.zip")).unwrap();
        drop(mirror);
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        assert_eq!(left(), [name(1), name(2), "README".to_owned()], "the same boot");
        mirror.distrust_other_boots("").unwrap();
        assert_eq!(left().len(), 3, "nobody knows");
        mirror.distrust_other_boots("another").unwrap();
        assert_eq!(left(), [name(2), "README".to_owned()]);
        std::fs::write(place.join(name(3)), b"half").unwrap();
        mirror.distrust_other_boots("another").unwrap();
        assert_eq!(left().len(), 3, "of this boot");
    }
}
