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
    /// The next call that writes but so many fails so, or all of them.
    fails: Option<(Option<u32>, ErrorKind)>,
    /// Calls that wrote, or failed to.
    writes: u32,
}

impl State {
    pub(super) fn tree(&mut self, server: &ServerName) -> io::Result<&mut Tree> {
        self.servers.get_mut(server.as_str()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Fails where a test wants it.
    pub(super) fn may_write(&mut self) -> io::Result<()> {
        self.writes += 1;
        match &mut self.fails {
            Some((Some(left @ 1..), _)) => *left -= 1,
            Some((None, kind)) => return Err((*kind).into()),
            Some((Some(_), kind)) => {
                let error = (*kind).into();
                self.fails = None;
                return Err(error);
            }
            None => {}
        }
        Ok(())
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

    /// All files, by their paths.
    pub(crate) fn files(&self, server: &ServerName) -> BTreeSet<String> {
        let mut state = self.state();
        let nodes = state.tree(server).map(|tree| tree.nodes.clone()).unwrap_or_default();
        let files = nodes.into_iter().filter(|(_, node)| !matches!(node, Node::Directory));
        files.map(|(at, _)| format!("/{at}")).collect()
    }

    /// Whether a directory lies there.
    pub(crate) fn is_directory(&self, server: &ServerName, path: &RemotePath) -> bool {
        let mut state = self.state();
        let Ok(tree) = state.tree(server) else { return false };
        path.components().next().is_none() || matches!(tree.find(path), Ok(Node::Directory))
    }

    /// Removes what lies at `path`, and all below it.
    pub(crate) fn remove(&self, server: &ServerName, path: &RemotePath) {
        let at = path.components().collect::<Vec<_>>().join("/");
        let below = format!("{at}/");
        let mut state = self.state();
        state.tree(server).unwrap().nodes.retain(|other, _| *other != at && !other.starts_with(&below));
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

    /// Finished files can be moved into this directory, or not.
    pub(crate) fn set_apart(&self, server: &ServerName, directory: &RemotePath, is_apart: bool) {
        let at = (server.as_str().to_owned(), directory.text().to_owned());
        let mut state = self.state();
        if is_apart {
            state.apart.insert(at);
        } else {
            state.apart.remove(&at);
        }
    }

    /// The next call that writes but so many fails so, and all of them where there is no number.
    pub(crate) fn fail(&self, at: Option<u32>, kind: ErrorKind) {
        self.state().fails = Some((at, kind));
    }

    /// None fails any more.
    pub(crate) fn heal(&self) {
        self.state().fails = None;
    }

    /// Calls that wrote, or failed to.
    pub(crate) fn writes(&self) -> u32 {
        self.state().writes
    }
}
