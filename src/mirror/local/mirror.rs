//! The mirror that is open, as everybody uses it.

use std::io;
use std::sync::Arc;

use anyhow::Context;

use super::delete::{delete, present_size, sync_deleted};
use super::idle::{partial_bytes, unfinished};
use super::marker::mark;
use super::meter::Meter;
use super::presence::gone;
use super::publishing::publisher::Publisher;
use super::root::MirrorRoot;
use super::server::LocalServer;
use super::tree::PARTIAL_DIRECTORY;
use crate::base::names::{RemotePath, ServerName};
use crate::mirror::identity::MirrorId;
use crate::mirror::server::ServerMirror;
use crate::mirror::store::{Deleted, MirrorStore, UnfinishedFile};
use crate::quota::Measured;

/// See the module.
#[derive(Debug)]
pub(super) struct LocalMirror {
    root: MirrorRoot,
    publisher: Publisher,
    meter: Meter,
    renames: bool,
}

impl LocalMirror {
    /// What lies below `root`, and `publisher` makes durable; where it `renames`, finished files are moved from the
    /// first one on.
    pub(super) fn new(root: MirrorRoot, publisher: Publisher, renames: bool) -> Self {
        Self { root, publisher, meter: Meter::default(), renames }
    }
}

impl MirrorStore for LocalMirror {
    fn is_in_place(&self) -> bool {
        self.root.is_in_place()
    }

    fn mark(&self, id: MirrorId) -> io::Result<()> {
        mark(&self.root, id)
    }

    fn server(&self, name: &ServerName) -> anyhow::Result<Arc<dyn ServerMirror>> {
        let directories = self.root.server(name)?;
        if self.renames {
            directories.use_renames();
        }
        Ok(Arc::new(LocalServer::new(directories, &self.publisher)))
    }

    fn measure(&self) -> io::Result<Measured> {
        self.meter.measure(self.root.handle())
    }

    fn partial_bytes(&self) -> io::Result<u64> {
        partial_bytes(&self.root)
    }

    fn unfinished(&self) -> anyhow::Result<Vec<UnfinishedFile>> {
        let shown = self.root.path().display();
        unfinished(&self.root).with_context(|| format!("cannot read {shown}/{PARTIAL_DIRECTORY}"))
    }

    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
        present_size(&self.root, server, path)
    }

    fn gone(&self, files: &[(&ServerName, &RemotePath)]) -> Vec<bool> {
        gone(&self.root, files)
    }

    fn delete(&self, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
        delete(&self.root, server, path)
    }

    fn sync_deleted(&self, server: &ServerName, path: &RemotePath) -> io::Result<()> {
        sync_deleted(&self.root, server, path)
    }
}
