//! The part of one server, and how its files are reached.

use std::io;

use super::state::MemoryMirror;
use super::tree::Tree;
use crate::base::names::{RemotePath, ServerName};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) mirror: MemoryMirror,
    pub(super) server: ServerName,
}

impl Part {
    /// Does something with its files. Those of a mirror that was replaced are gone.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Tree) -> io::Result<T>) -> io::Result<T> {
        act(self.mirror.state().tree(&self.server)?)
    }

    /// The same for what writes, which fails where a test wants it.
    pub(super) fn write<T>(&self, act: impl FnOnce(&mut Tree) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.mirror.state();
        state.may_write()?;
        act(state.tree(&self.server)?)
    }

    /// Whether a test wants finished files not to be moved into this directory.
    pub(super) fn is_apart(&self, path: &RemotePath) -> bool {
        let at = (self.server.as_str().to_owned(), path.text().to_owned());
        self.mirror.state().apart.contains(&at)
    }
}
