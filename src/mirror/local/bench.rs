//! What every store is held to, on a file system of this machine: with hard links, and without.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::location::LocalLocation;
use crate::base::names::{RemotePath, ServerName};
use crate::mirror::conformance::bench::Bench;
use crate::mirror::partial_name::PartialName;
use crate::mirror::store::MirrorLocation;

/// A mirror in a directory of its own.
pub(in crate::mirror) struct LocalBench {
    folder: TempDir,
    location: fn(&Path) -> LocalLocation,
}

impl LocalBench {
    pub(in crate::mirror) fn new(location: fn(&Path) -> LocalLocation) -> Self {
        // in memory where there is such a file system: some tests sync thousands of files
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::fs::write(folder.path().join("outside/precious.zip"), b"precious").unwrap();
        Self { folder, location }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("mirror")
    }

    fn at(&self, server: &ServerName, path: &RemotePath) -> PathBuf {
        self.root().join(server.as_str()).join(path.text().trim_start_matches('/'))
    }

    fn make_room(&self, server: &ServerName, path: &RemotePath) -> PathBuf {
        let at = self.at(server, path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        at
    }
}

impl Bench for LocalBench {
    fn location(&self) -> Arc<dyn MirrorLocation> {
        Arc::new((self.location)(&self.root()))
    }

    fn put(&self, server: &ServerName, path: &RemotePath, content: &[u8]) {
        std::fs::write(self.make_room(server, path), content).unwrap();
    }

    fn link(&self, server: &ServerName, path: &RemotePath) {
        let outside = self.folder.path().join("outside");
        std::os::unix::fs::symlink(outside, self.make_room(server, path)).unwrap();
    }

    fn files(&self, server: &ServerName) -> BTreeSet<String> {
        let (top, mut files) = (self.root().join(server.as_str()), BTreeSet::new());
        let mut directories = vec![top.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.insert(format!("/{}", path.strip_prefix(&top).unwrap().display()));
                }
            }
        }
        files
    }

    fn is_directory(&self, server: &ServerName, path: &RemotePath) -> bool {
        self.at(server, path).is_dir()
    }

    fn remove(&self, server: &ServerName, path: &RemotePath) {
        let at = self.at(server, path);
        if at.is_dir() { std::fs::remove_dir_all(at) } else { std::fs::remove_file(at) }.unwrap();
    }

    fn content(&self, server: &ServerName, path: &RemotePath) -> Option<Vec<u8>> {
        std::fs::read(self.at(server, path)).ok()
    }

    fn age(&self, server: &ServerName, name: PartialName, by: Duration) {
        let at = self.root().join(".partial").join(server.as_str()).join(name.to_string());
        let file = std::fs::File::options().write(true).open(at).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }

    fn replace(&self) {
        std::fs::rename(self.root(), self.folder.path().join("unmounted")).unwrap();
    }

    fn is_outside_untouched(&self) -> bool {
        let outside = self.folder.path().join("outside");
        std::fs::read_dir(&outside).unwrap().count() == 1
            && std::fs::read(outside.join("precious.zip")).unwrap() == b"precious"
    }
}

mod with_hard_links {
    use super::*;

    crate::mirror::conformance::mirror_store_suite!(LocalBench::new(LocalLocation::new));
}

mod without_hard_links {
    use super::*;

    crate::mirror::conformance::mirror_store_suite!(LocalBench::new(LocalLocation::without_links));
}
