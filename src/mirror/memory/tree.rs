//! The files of one server, in memory.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::base::names::RemotePath;

/// The bytes of a file, whatever it is called: two names of one content are two names of one file.
pub(super) type Content = Arc<Mutex<Vec<u8>>>;

/// What lies at a path.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Directory,
    File(Content),
    /// A symbolic link, which leads out of the mirror.
    Link,
}

/// A partial file.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) content: Content,
    pub(super) written: SystemTime,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Without a slash in front, and without the root.
    pub(super) nodes: BTreeMap<String, Node>,
    /// By name.
    pub(super) partials: BTreeMap<String, Partial>,
}

/// The place of `path`, and of the directory that it lies in.
fn place(path: &RemotePath) -> io::Result<Vec<&str>> {
    let components: Vec<&str> = path.components().collect();
    let leads_away = components.iter().any(|name| matches!(*name, "" | "." | ".."));
    if leads_away { Err(ErrorKind::InvalidInput.into()) } else { Ok(components) }
}

impl Tree {
    /// Walks down to the directory at `components`, and makes what is missing where `make` says so.
    fn walk(&mut self, components: &[&str], make: bool) -> io::Result<()> {
        for depth in 1..=components.len() {
            let at = components.get(..depth).unwrap_or_default().join("/");
            match self.nodes.get(&at) {
                Some(Node::Directory) => {}
                Some(_) => return Err(ErrorKind::NotADirectory.into()),
                None if make => drop(self.nodes.insert(at, Node::Directory)),
                None => return Err(ErrorKind::NotFound.into()),
            }
        }
        Ok(())
    }

    pub(super) fn make_directory(&mut self, path: &RemotePath) -> io::Result<()> {
        self.walk(&place(path)?, true)
    }

    /// Where a file of this path lies, whose directory is there.
    pub(super) fn file_place(&mut self, path: &RemotePath) -> io::Result<String> {
        let components = place(path)?;
        let (_, above) = components.split_last().ok_or(ErrorKind::InvalidInput)?;
        self.walk(above, false)?;
        Ok(components.join("/"))
    }

    /// What lies at `path`.
    pub(super) fn find(&mut self, path: &RemotePath) -> io::Result<&Node> {
        let at = self.file_place(path)?;
        self.nodes.get(&at).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether this content has a final name.
    pub(super) fn is_finished(&self, content: &Content) -> bool {
        self.nodes.values().any(|node| matches!(node, Node::File(other) if Arc::ptr_eq(other, content)))
    }
}
