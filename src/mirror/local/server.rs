//! The part of one server, as the collector uses it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::file::LocalFile;
use super::intent;
use super::partial::{identity, remove, stat, state};
use super::publishing::publisher::Publisher;
use super::root::ServerDirectories;
use super::tree::{are_apart, make_component, names_in, open_directory};
use crate::base::names::{RemoteName, RemotePath};
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{FinishedFile, Found, MirrorDirectory, PartialFile, PartialState, ServerMirror};

/// See the module.
#[derive(Debug)]
pub(super) struct LocalServer {
    directories: Arc<ServerDirectories>,
    publisher: Publisher,
}

impl LocalServer {
    /// What lies in `directories`, and `publisher` makes durable.
    pub(super) fn new(directories: ServerDirectories, publisher: &Publisher) -> Self {
        Self { directories: Arc::new(directories), publisher: publisher.clone() }
    }

    fn finished(&self, partial: PartialName, file: File, size: u64) -> FinishedFile {
        let file = Arc::new(LocalFile::new(&self.directories, partial, file, &self.publisher));
        FinishedFile { partial, size, file }
    }

    fn open(&self, partial: PartialName) -> anyhow::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened =
            rustix::fs::openat(self.directories.partial(), partial.to_string(), flags, Mode::empty());
        let opened = opened.map_err(io::Error::from);
        Ok(opened.with_context(|| format!("cannot open the partial file {partial}"))?.into())
    }
}

impl ServerMirror for LocalServer {
    fn directory(&self, path: &RemotePath) -> io::Result<Box<dyn MirrorDirectory>> {
        Ok(Box::new(LocalDirectory(self.directories.make_directory(path)?)))
    }

    fn is_apart(&self, path: &RemotePath) -> bool {
        let home = open_directory(self.directories.top(), path);
        home.is_ok_and(|home| are_apart(self.directories.partial(), home.as_fd()))
    }

    fn capacity(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(self.directories.partial()).ok()?;
        Some(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    fn partials(&self) -> io::Result<Vec<PartialName>> {
        let names = names_in(self.directories.partial())?;
        let mut partials: Vec<PartialName> =
            names.iter().filter_map(|name| PartialName::parse(name)).collect();
        for noted in names.iter().filter_map(|name| intent::parse(name)) {
            self.directories.use_renames();
            partials.push(noted);
        }
        Ok(partials)
    }

    fn partials_before(&self, time: SystemTime) -> io::Result<Vec<PartialName>> {
        let before = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut partials = self.partials()?;
        partials.retain(|name| {
            stat(&self.directories, *name).is_some_and(|stat| {
                stat.st_nlink == 1 && u64::try_from(stat.st_mtime).is_ok_and(|at| at < before)
            })
        });
        Ok(partials)
    }

    fn partial(&self, name: PartialName) -> PartialState {
        stat(&self.directories, name).map_or(PartialState::Missing, |stat| state(&stat))
    }

    fn open_partial(&self, name: PartialName) -> io::Result<Arc<dyn PartialFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(self.directories.partial(), name.to_string(), flags, mode)?;
        Ok(Arc::new(LocalFile::new(&self.directories, name, file.into(), &self.publisher)))
    }

    fn remove_partial(&self, name: PartialName) -> io::Result<()> {
        remove(&self.directories, name)
    }

    fn look(
        &self,
        directory: &RemotePath,
        name: &RemoteName,
        partials: &[PartialName],
    ) -> anyhow::Result<Found> {
        let mirror = &self.directories;
        let home = open_directory(mirror.top(), directory).ok();
        let looked = |home: &OwnedFd| rustix::fs::statat(home, name.text(), AtFlags::SYMLINK_NOFOLLOW).ok();
        let there = home.as_ref().and_then(looked);
        let mut found = Found { is_taken: there.is_some(), ..Found::default() };
        for &partial in partials {
            let stat = stat(mirror, partial);
            if mirror.renames()
                && let Some(home) = home.as_ref().filter(|_| there.is_some())
                && let Some((file, size)) =
                    intent::finished(mirror, partial, &directory.join(name), home, name.text())
            {
                found.finished = Some(self.finished(partial, file, size));
                continue;
            }
            let is_it = stat.zip(there).is_some_and(|(a, b)| identity(&a) == identity(&b));
            match stat.map(|stat| state(&stat)) {
                Some(state) if is_it => {
                    found.finished = Some(self.finished(partial, self.open(partial)?, state.size()));
                }
                Some(state) => found.others.push((partial, state)),
                // a note about a file that is not there; one that stays is removed by the next look
                None if mirror.renames() => drop(remove(mirror, partial)),
                None => {}
            }
        }
        Ok(found)
    }
}

/// A directory of the mirror that is open.
#[derive(Debug)]
struct LocalDirectory(OwnedFd);

impl MirrorDirectory for LocalDirectory {
    fn make(&self, name: &RemoteName) -> io::Result<()> {
        make_component(self.0.as_fd(), name.text())
    }

    fn has(&self, name: &RemoteName) -> bool {
        rustix::fs::statat(&self.0, name.text(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}
