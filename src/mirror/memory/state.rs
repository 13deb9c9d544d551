//! What a mirror in memory holds, and what a test does to it past the service.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::tree::{Node, Tree};
use crate::base::names::{RemotePath, ServerName};
use crate::mirror::identity::MirrorId;
use crate::mirror::partial_name::PartialName;
use crate::mirror::store::Deleted;
use crate::quota::{Measured, Usage};

/// See the module. Clones are the same mirror.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryMirror(Arc<Mutex<State>>);

/// What is in it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// A service has worked there.
    pub(super) is_made: bool,
    pub(super) is_open: bool,
    /// Another one lies in its place since.
    pub(super) replaced: u32,
    pub(super) marker: Option<MirrorId>,
    pub(super) servers: BTreeMap<String, Tree>,
    /// Directories that finished files cannot be moved into.
    pub(super) apart: BTreeSet<(String, String)>,
    /// So many of the next calls that write fail so.
    fails: Option<(u32, ErrorKind)>,
}

impl State {
    pub(super) fn tree(&mut self, server: &ServerName) -> io::Result<&mut Tree> {
        self.servers.get_mut(server.as_str()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Fails where a test wants it.
    pub(super) fn may_write(&mut self) -> io::Result<()> {
        match &mut self.fails {
            Some((left @ 1.., kind)) => {
                *left -= 1;
                Err((*kind).into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn size(&mut self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
        let found = self.tree(server).and_then(|tree| tree.find(path).cloned());
        match found {
            Ok(Node::File(content)) => Ok(Some(content.lock().len() as u64)),
            Ok(_) => Ok(Some(0)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn delete(&mut self, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
        self.may_write()?;
        let found = self.tree(server).and_then(|tree| {
            let at = tree.file_place(path)?;
            match tree.nodes.get(&at) {
                None => Err(ErrorKind::NotFound.into()),
                Some(Node::Directory) => Err(ErrorKind::IsADirectory.into()),
                Some(_) => Ok(tree.nodes.remove(&at)),
            }
        });
        match found {
            Ok(Some(Node::File(content))) => Ok(Deleted::Removed { bytes: content.lock().len() as u64 }),
            Ok(_) => Ok(Deleted::Removed { bytes: 0 }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Deleted::AlreadyGone),
            Err(error) => Err(error),
        }
    }

    pub(super) fn measure(&self) -> Measured {
        let contents = self.servers.values().flat_map(|tree| tree.nodes.values());
        let used = contents.map(|node| if let Node::File(content) = node { content.lock().len() } else { 0 });
        let usage = Usage { used: used.sum::<usize>() as u64, available: 1 << 40 };
        Measured { usage, fault: None, at: Instant::now() }
    }
}

/// What a test does past the service.
impl MemoryMirror {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Puts a file of somebody else at `path`.
    pub(crate) fn put(&self, server: &ServerName, path: &RemotePath, content: &[u8]) {
        self.place(server, path, Node::File(Arc::new(Mutex::new(content.to_vec()))));
    }

    /// Puts a symbolic link there that leads out of the mirror.
    pub(crate) fn link(&self, server: &ServerName, path: &RemotePath) {
        self.place(server, path, Node::Link);
    }

    fn place(&self, server: &ServerName, path: &RemotePath, node: Node) {
        let mut state = self.state();
        let tree = state.servers.entry(server.as_str().to_owned()).or_default();
        let names: Vec<&str> = path.components().collect();
        for depth in 1..names.len() {
            tree.nodes.entry(names[..depth].join("/")).or_insert(Node::Directory);
        }
        tree.nodes.insert(names.join("/"), node);
    }

    /// Removes what lies at `path`.
    pub(crate) fn remove(&self, server: &ServerName, path: &RemotePath) {
        let names: Vec<&str> = path.components().collect();
        self.state().tree(server).unwrap().nodes.remove(&names.join("/"));
    }

    /// The content of the file at `path`.
    pub(crate) fn content(&self, server: &ServerName, path: &RemotePath) -> Option<Vec<u8>> {
        match self.state().tree(server).ok()?.find(path).ok()? {
            Node::File(content) => Some(content.lock().clone()),
            Node::Directory | Node::Link => None,
        }
    }

    /// Nobody has written to the partial file for so long.
    pub(crate) fn age(&self, server: &ServerName, name: PartialName, by: Duration) {
        let mut state = self.state();
        let partial = state.tree(server).unwrap().partials.get_mut(&name.to_string()).unwrap();
        partial.written -= by;
    }

    /// Another mirror lies at its place from now on, which is empty.
    pub(crate) fn replace(&self) {
        let mut state = self.state();
        let replaced = state.replaced + 1;
        *state = State { replaced, ..State::default() };
    }
}
