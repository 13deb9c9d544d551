//! The part of one server, in memory.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::file::MemoryFile;
use super::part::Part;
use super::tree::{Content, Node, Partial, Tree};
use crate::base::names::{RemoteName, RemotePath};
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{FinishedFile, Found, MirrorDirectory, PartialFile, PartialState, ServerMirror};

fn file(part: &Part, partial: PartialName, content: Content) -> Arc<dyn PartialFile> {
    Arc::new(MemoryFile { part: part.clone(), partial, content })
}

fn state_of(tree: &Tree, name: &str) -> PartialState {
    let Some(Partial { content, .. }) = tree.partials.get(name) else { return PartialState::Missing };
    let size = content.lock().len() as u64;
    if tree.is_finished(content) {
        PartialState::Finished { size }
    } else {
        PartialState::Unfinished { size }
    }
}

impl ServerMirror for Part {
    fn directory(&self, path: &RemotePath) -> io::Result<Box<dyn MirrorDirectory>> {
        self.write(|tree| tree.make_directory(path))?;
        Ok(Box::new(MemoryDirectory { part: self.clone(), path: path.clone() }))
    }

    fn is_apart(&self, path: &RemotePath) -> bool {
        Part::is_apart(self, path)
    }

    fn capacity(&self) -> Option<u64> {
        Some(1 << 40)
    }

    fn partials(&self) -> io::Result<Vec<PartialName>> {
        self.with(|tree| Ok(tree.partials.keys().filter_map(|name| PartialName::parse(name)).collect()))
    }

    fn partials_before(&self, time: SystemTime) -> io::Result<Vec<PartialName>> {
        self.with(|tree| {
            let is_old = |partial: &Partial| partial.written < time && !tree.is_finished(&partial.content);
            let old = tree.partials.iter().filter(|(_, partial)| is_old(partial));
            Ok(old.filter_map(|(name, _)| PartialName::parse(name)).collect())
        })
    }

    fn partial(&self, name: PartialName) -> PartialState {
        self.with(|tree| Ok(state_of(tree, &name.to_string()))).unwrap_or(PartialState::Missing)
    }

    fn open_partial(&self, name: PartialName) -> io::Result<Arc<dyn PartialFile>> {
        let content = self.write(|tree| {
            let empty = || Partial { content: Arc::new(Mutex::default()), written: SystemTime::now() };
            Ok(Arc::clone(&tree.partials.entry(name.to_string()).or_insert_with(empty).content))
        })?;
        Ok(file(self, name, content))
    }

    fn remove_partial(&self, name: PartialName) -> io::Result<()> {
        self.write(|tree| {
            tree.partials.remove(&name.to_string());
            Ok(())
        })
    }

    fn look(
        &self,
        directory: &RemotePath,
        name: &RemoteName,
        partials: &[PartialName],
    ) -> anyhow::Result<Found> {
        let path = directory.join(name);
        let found = self.with(|tree| {
            let there = tree.find(&path).ok().cloned();
            let mut found = Found { is_taken: there.is_some(), ..Found::default() };
            for &partial in partials {
                let Some(Partial { content, .. }) = tree.partials.get(&partial.to_string()) else { continue };
                if matches!(&there, Some(Node::File(other)) if Arc::ptr_eq(other, content)) {
                    let (size, file) =
                        (content.lock().len() as u64, file(self, partial, Arc::clone(content)));
                    found.finished = Some(FinishedFile { partial, size, file });
                } else {
                    found.others.push((partial, state_of(tree, &partial.to_string())));
                }
            }
            Ok(found)
        });
        Ok(found?)
    }
}

/// A directory that is open.
#[derive(Debug)]
struct MemoryDirectory {
    part: Part,
    path: RemotePath,
}

impl MirrorDirectory for MemoryDirectory {
    fn make(&self, name: &RemoteName) -> io::Result<()> {
        self.part.write(|tree| {
            let at = tree.file_place(&self.path.join(name))?;
            tree.nodes.entry(at).or_insert(Node::Directory);
            Ok(())
        })
    }

    fn has(&self, name: &RemoteName) -> bool {
        self.part.with(|tree| tree.find(&self.path.join(name)).map(drop)).is_ok()
    }
}
