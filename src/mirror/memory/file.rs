//! One file, in memory.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::part::Part;
use super::tree::{Content, Node};
use crate::base::names::{RemoteName, RemotePath};
use crate::base::read_at::ReadAt;
use crate::mirror::error::PublishError;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{PartialFile, Target};

/// See the module.
#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) part: Part,
    pub(super) partial: PartialName,
    pub(super) content: Content,
}

impl MemoryFile {
    fn give_name(&self, target: &Target) -> io::Result<Result<(), PublishError>> {
        self.part.write(|tree| {
            tree.make_directory(&target.directory)?;
            let at = tree.file_place(&target.directory.join(&target.name))?;
            match tree.nodes.get(&at) {
                Some(Node::File(other)) if target.replaces || Arc::ptr_eq(other, &self.content) => {}
                None => {}
                Some(_) => return Ok(Err(PublishError::NameTaken)),
            }
            tree.nodes.insert(at, Node::File(Arc::clone(&self.content)));
            Ok(Ok(()))
        })
    }
}

impl ReadAt for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.content.lock();
        let rest = content.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

#[async_trait(?Send)]
impl PartialFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().len() as u64)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.part.write(|tree| {
            if let Some(partial) = tree.partials.get_mut(&self.partial.to_string()) {
                partial.written = SystemTime::now();
            }
            let (mut content, at) = (self.content.lock(), usize::try_from(at).unwrap());
            let end = content.len().max(at + bytes.len());
            content.resize(end, 0);
            content[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.content.lock().resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }

    fn equals(&self, directory: &RemotePath, name: &RemoteName, size: u64) -> bool {
        let there = self.part.with(|tree| tree.find(&directory.join(name)).cloned());
        let Ok(Node::File(other)) = there else { return false };
        if Arc::ptr_eq(&other, &self.content) {
            return false;
        }
        let (own, other) = (self.content.lock().clone(), other.lock().clone());
        other.len() as u64 == size && own.get(..other.len()) == Some(&other[..])
    }

    async fn publish(self: Arc<Self>, target: Target) -> Result<(), PublishError> {
        if self.part.is_apart(&target.directory) {
            return Err(PublishError::Apart(target.directory));
        }
        self.give_name(&target).map_err(anyhow::Error::new)?
    }
}
