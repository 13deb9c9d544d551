//! Which of many files are gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::AtFlags;

use super::root::MirrorRoot;
use super::tree::open_directory;
use crate::base::names::{RemotePath, ServerName};

/// Says for each of the files whether it is gone; one that cannot be looked at is not. Servers are collected from side by
/// side, and so is what lies in the records in a row: here each directory is opened once for all of its files.
pub(super) fn gone(mirror: &MirrorRoot, files: &[(&ServerName, &RemotePath)]) -> Vec<bool> {
    let mut sorted: Vec<_> = files.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, (server, path))| (*server, path.text()));
    let mut look = Look { mirror, home: None };
    let is_gone = |(number, (server, path))| (number, look.is_gone(server, path));
    let mut found: Vec<(usize, bool)> = sorted.into_iter().map(is_gone).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, is_gone)| is_gone).collect()
}

struct Look<'m> {
    mirror: &'m MirrorRoot,
    /// The directory that was opened last.
    home: Option<Home>,
}

struct Home {
    server: ServerName,
    path: String,
    handle: OwnedFd,
}

impl Look<'_> {
    fn is_gone(&mut self, server: &ServerName, path: &RemotePath) -> bool {
        self.find(server, path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn find(&mut self, server: &ServerName, path: &RemotePath) -> io::Result<()> {
        let text = path.text();
        let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
        let home = match self.home.take() {
            Some(home) if home.server == *server && home.path == directory => home,
            _ => self.open(server, directory)?,
        };
        let home = self.home.insert(home);
        rustix::fs::statat(&home.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn open(&self, server: &ServerName, directory: &str) -> io::Result<Home> {
        let path = RemotePath::from_parts(Vec::new(), directory.to_owned());
        let handle = open_directory(self.mirror.existing(server)?.as_fd(), &path)?;
        Ok(Home { server: server.clone(), path: directory.to_owned(), handle })
    }
}
