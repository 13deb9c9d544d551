//! A mirror in memory, for tests: of the collector, and of what every store is held to.
//!
//! What a file is known to be ours by is its content: partial name and final name are two names of one.

mod file;
mod part;
mod server;
mod state;
mod tree;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use encoding_rs::{Encoding, UTF_8};

use super::error::Apart;
use super::identity::MirrorId;
use super::partial_name::PartialName;
use super::server::ServerMirror;
use super::store::{Deleted, MachinePaths, MirrorLocation, MirrorStore, MirroredFile, UnfinishedFile};
use crate::base::file_names::FileNames;
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::base::start_error::StartError;
use crate::quota::Measured;
use part::Part;
use tree::Node;

pub(crate) use state::MemoryMirror;

impl MirrorLocation for MemoryMirror {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn is_mirror(&self) -> bool {
        self.state().is_made
    }

    fn refuse_in_use(&self) -> Result<(), StartError> {
        let refused = || StartError::Refused("another mrosync works in memory".to_owned());
        if self.state().is_open { Err(refused()) } else { Ok(()) }
    }

    fn open(&self) -> Result<Arc<dyn MirrorStore>, StartError> {
        self.refuse_in_use()?;
        let mut state = self.state();
        (state.is_made, state.is_open) = (true, true);
        Ok(Arc::new(OpenMirror { mirror: self.clone(), replaced: state.replaced }))
    }

    fn marker(&self) -> io::Result<Option<MirrorId>> {
        Ok(self.state().marker)
    }

    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
        self.state().size(server, path)
    }

    fn is_taken(&self, server: &ServerName, path: &RemotePath) -> io::Result<bool> {
        let mut state = self.state();
        let Ok(tree) = state.tree(server) else { return Ok(false) };
        Ok(tree.find(path).is_ok())
    }

    fn count_files(&self, servers: &[(ServerName, FileNames)], limit: u64) -> u64 {
        let state = self.state();
        let counts = servers.iter().filter_map(|(server, files)| {
            let fits = |(at, node): &(&String, &Node)| {
                let name = at.rsplit('/').next().unwrap_or_default();
                matches!(node, Node::File(_)) && files.fit(name.as_bytes(), UTF_8)
            };
            Some(state.servers.get(server.as_str())?.nodes.iter().filter(fits).count() as u64)
        });
        counts.sum::<u64>().min(limit)
    }

    fn files(
        &self,
        server: &ServerName,
        (names, encoding): (&FileNames, &'static Encoding),
        directories: &[RemotePath],
    ) -> anyhow::Result<Vec<MirroredFile>> {
        let mut state = self.state();
        let Ok(tree) = state.tree(server) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (at, node) in &tree.nodes {
            let Node::File(content) = node else { continue };
            if tree.partials.values().any(|partial| Arc::ptr_eq(&partial.content, content)) {
                continue;
            }
            let (above, name) = at.rsplit_once('/').unwrap_or(("", at));
            let (wire, ..) = encoding.encode(name);
            let name = RemoteName::from_wire(&wire, encoding)?;
            let directory =
                RemotePath::from_text(&format!("/{above}"), encoding).map_err(anyhow::Error::msg)?;
            let within = |top: &RemotePath| top.text() == "/" || directory.text().starts_with(top.text());
            if names.fit_name(&name) && directories.iter().any(within) {
                let size = content.lock().len() as u64;
                found.push(MirroredFile { directory: Arc::new(directory), name, size, modified: 0 });
            }
        }
        Ok(found)
    }

    fn delete(&self, files: &[(ServerName, RemotePath)]) -> anyhow::Result<()> {
        for (server, path) in files {
            self.state().delete(server, path)?;
        }
        Ok(())
    }

    fn apart(&self, _: &ServerName) -> Option<Apart> {
        None
    }

    fn measure(&self) -> anyhow::Result<Measured> {
        Ok(self.state().measure())
    }

    fn machine_paths(&self, _: &[&ServerName]) -> MachinePaths {
        MachinePaths::default()
    }
}

/// The mirror while it is open.
#[derive(Debug)]
struct OpenMirror {
    mirror: MemoryMirror,
    replaced: u32,
}

impl Drop for OpenMirror {
    fn drop(&mut self) {
        if self.is_in_place() {
            self.mirror.state().is_open = false;
        }
    }
}

impl MirrorStore for OpenMirror {
    fn is_in_place(&self) -> bool {
        self.mirror.state().replaced == self.replaced
    }

    fn mark(&self, id: MirrorId) -> io::Result<()> {
        let mut state = self.mirror.state();
        state.may_write()?;
        state.marker = Some(id);
        Ok(())
    }

    fn server(&self, name: &ServerName) -> anyhow::Result<Arc<dyn ServerMirror>> {
        let mut state = self.mirror.state();
        state.may_write()?;
        state.servers.entry(name.as_str().to_owned()).or_default();
        Ok(Arc::new(Part { mirror: self.mirror.clone(), server: name.clone() }))
    }

    fn measure(&self) -> io::Result<Measured> {
        Ok(self.mirror.state().measure())
    }

    fn partial_bytes(&self) -> io::Result<u64> {
        let state = self.mirror.state();
        let unfinished = state.servers.values().flat_map(|tree| {
            let partials = tree.partials.values();
            partials.filter(|partial| !tree.is_finished(&partial.content))
        });
        Ok(unfinished.map(|partial| partial.content.lock().len() as u64).sum())
    }

    fn unfinished(&self) -> anyhow::Result<Vec<UnfinishedFile>> {
        let state = self.mirror.state();
        let mut files = Vec::new();
        for (server, tree) in &state.servers {
            for (name, partial) in &tree.partials {
                let size = partial.content.lock().len() as u64;
                let Some(parsed) = PartialName::parse(name) else { continue };
                if size == 0 || tree.is_finished(&partial.content) {
                    continue;
                }
                let written = partial.written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let (mirror, at) = (self.mirror.clone(), (server.clone(), name.clone()));
                let remove = move || {
                    let mut state = mirror.state();
                    state.servers.get_mut(&at.0).and_then(|tree| tree.partials.remove(&at.1));
                    Ok(())
                };
                let (server, remove) = (server.clone(), Box::new(remove));
                let written = i64::try_from(written).unwrap_or(i64::MAX);
                files.push(UnfinishedFile { server, name: parsed, size, on_disk: size, written, remove });
            }
        }
        Ok(files)
    }

    fn size(&self, server: &ServerName, path: &RemotePath) -> io::Result<Option<u64>> {
        self.mirror.state().size(server, path)
    }

    fn delete(&self, server: &ServerName, path: &RemotePath) -> io::Result<Deleted> {
        self.mirror.state().delete(server, path)
    }

    fn sync_deleted(&self, _: &ServerName, _: &RemotePath) -> io::Result<()> {
        self.mirror.state().may_write()
    }
}

mod bench {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::mirror::conformance::bench::Bench;

    impl Bench for MemoryMirror {
        fn location(&self) -> Arc<dyn MirrorLocation> {
            Arc::new(self.clone())
        }

        fn put(&self, server: &ServerName, path: &RemotePath, content: &[u8]) {
            Self::put(self, server, path, content);
        }

        fn link(&self, server: &ServerName, path: &RemotePath) {
            Self::link(self, server, path);
        }

        fn files(&self, server: &ServerName) -> BTreeSet<String> {
            Self::files(self, server)
        }

        fn is_directory(&self, server: &ServerName, path: &RemotePath) -> bool {
            Self::is_directory(self, server, path)
        }

        fn remove(&self, server: &ServerName, path: &RemotePath) {
            Self::remove(self, server, path);
        }

        fn content(&self, server: &ServerName, path: &RemotePath) -> Option<Vec<u8>> {
            Self::content(self, server, path)
        }

        fn age(&self, server: &ServerName, name: PartialName, by: Duration) {
            Self::age(self, server, name, by);
        }

        fn replace(&self) {
            Self::replace(self);
        }

        fn is_outside_untouched(&self) -> bool {
            // nothing lies there
            true
        }
    }

    crate::mirror::conformance::mirror_store_suite!(MemoryMirror::default());
}
