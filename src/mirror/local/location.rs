//! The place of a mirror on this machine, opened or not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use encoding_rs::Encoding;

use super::delete::{delete_durably, is_there, size_at};
use super::marker::marker;
use super::meter::Meter;
use super::mirror::LocalMirror;
use super::publishing::publisher::Publisher;
use super::root::{MirrorRoot, apart, refuse_in_use};
use super::tree::{BOOT_FILE, LOCK_FILE, PARTIAL_DIRECTORY};
use super::walk::{count_files, files};
use crate::base::file_names::FileNames;
use crate::base::names::{RemotePath, ServerName};
use crate::base::start_error::StartError;
use crate::mirror::error::Apart;
use crate::mirror::identity::MirrorId;
use crate::mirror::store::{MachinePaths, MirrorLocation, MirrorStore, MirroredFile};
use crate::quota::Measured;

/// See the module.
#[derive(Debug)]
pub(crate) struct LocalLocation {
    root: PathBuf,
    publisher: fn() -> io::Result<Publisher>,
    /// Finished files are moved to their names from the first one on; else once a hard link was refused.
    renames: bool,
}

impl LocalLocation {
    /// The mirror at `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), publisher: Publisher::start, renames: false }
    }

    /// The same for tests whose clock is paused.
    #[cfg(test)]
    pub(crate) fn on_this_thread(root: &Path) -> Self {
        Self { publisher: || Ok(Publisher::on_this_thread()), ..Self::new(root) }
    }

    /// The same as on a file system that has no hard links.
    #[cfg(test)]
    pub(super) fn without_links(root: &Path) -> Self {
        Self { renames: true, ..Self::new(root) }
    }
}

impl MirrorLocation for LocalLocation {
    fn path(&self) -> &Path {
        &self.root
    }

    fn is_reachable(&self) -> bool {
        self.root.is_dir()
    }

    fn is_mirror(&self) -> bool {
        self.root.join(PARTIAL_DIRECTORY).is_dir()
    }

    fn refuse_in_use(&self) -> Result<(), StartError> {
        refuse_in_use(&self.root)
    }

    fn open(&self) -> Result<Arc<dyn MirrorStore>, StartError> {
        let root = MirrorRoot::open(&self.root)?;
        let publisher = (self.publisher)().context("cannot start the publisher")?;
        Ok(Arc::new(LocalMirror::new(root, publisher, self.renames)))
    }

    fn marker(&self) -> io::Result<Option<MirrorId>> {
        marker(&self.root)
    }

    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
        size_at(&self.root, server, path)
    }

    fn is_taken(&self, server: &ServerName, path: &RemotePath) -> io::Result<bool> {
        is_there(&self.root, server, path)
    }

    fn count_files(&self, servers: &[(ServerName, FileNames)], limit: u64) -> u64 {
        count_files(&self.root, servers, limit)
    }

    fn files(
        &self,
        server: &ServerName,
        names: (&FileNames, &'static Encoding),
        directories: &[RemotePath],
    ) -> anyhow::Result<Vec<MirroredFile>> {
        files(&self.root, server, names, directories)
    }

    fn delete(&self, files: &[(ServerName, RemotePath)]) -> anyhow::Result<()> {
        delete_durably(&self.root, files)
    }

    fn apart(&self, server: &ServerName) -> Option<Apart> {
        apart(&self.root, server)
    }

    fn measure(&self) -> anyhow::Result<Measured> {
        // the nearest directory that exists: the service makes the others
        let existing = self.root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
        let shown = existing.display();
        let directory = std::fs::File::open(existing).with_context(|| format!("opening {shown}"))?;
        let measured = Meter::default().measure(&directory);
        measured.with_context(|| format!("measuring the file system of {shown}"))
    }

    fn machine_paths(&self, servers: &[&ServerName]) -> MachinePaths {
        let partial = self.root.join(PARTIAL_DIRECTORY);
        let parts = |server: &&ServerName| [&self.root, &partial].map(|above| above.join(server.as_str()));
        MachinePaths {
            directories: vec![self.root.clone()],
            parts: servers.iter().flat_map(parts).collect(),
            files: [LOCK_FILE, BOOT_FILE].map(|name| partial.join(name)).into(),
            lock: Some(partial.join(LOCK_FILE)),
        }
    }
}
