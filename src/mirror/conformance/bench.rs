//! A mirror on the bench: what a test does to it past the store, and its words.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use encoding_rs::UTF_8;

use crate::base::facts::FileFacts;
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::mirror::error::PublishError;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{PartialFile, ServerMirror, Target};
use crate::mirror::store::{MirrorLocation, MirrorStore};

/// A mirror that goes with the test; nothing is in it yet.
pub(crate) trait Bench {
    fn location(&self) -> Arc<dyn MirrorLocation>;

    /// Puts a file of somebody else at `path`, and the directories above it.
    fn put(&self, server: &ServerName, path: &RemotePath, content: &[u8]);

    /// Puts a symbolic link there, to a directory outside in which `precious.zip` lies.
    fn link(&self, server: &ServerName, path: &RemotePath);

    /// All files, by their paths; nothing where the server has no part.
    fn files(&self, server: &ServerName) -> BTreeSet<String>;

    /// Whether a directory lies there.
    fn is_directory(&self, server: &ServerName, path: &RemotePath) -> bool;

    /// Removes what lies at `path`, a directory with all below it.
    fn remove(&self, server: &ServerName, path: &RemotePath);

    /// The content of the file at `path`, if it is one.
    fn content(&self, server: &ServerName, path: &RemotePath) -> Option<Vec<u8>>;

    /// Nobody has written to the partial file for so long.
    fn age(&self, server: &ServerName, name: PartialName, by: Duration);

    /// Another, empty mirror lies at its place from now on.
    fn replace(&self);

    /// Whether what lies outside is as it was.
    fn is_outside_untouched(&self) -> bool;
}

pub(super) fn omc01() -> ServerName {
    ServerName::new("omc01").unwrap()
}

pub(super) fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text, UTF_8).unwrap()
}

pub(super) fn name(text: &str) -> RemoteName {
    RemoteName::from_wire(text.as_bytes(), UTF_8).unwrap()
}

/// The partial name of the file at `path`, of which the server shows so many bytes.
pub(super) fn partial(path: &RemotePath, size: u64) -> PartialName {
    PartialName::new(path, FileFacts { size: Some(size), modified: None })
}

/// Where a file goes.
pub(super) fn target(directory: &str, file: &str) -> Target {
    Target { directory: Arc::new(path(directory)), name: name(file), replaces: false, pulse: None }
}

pub(super) fn open(bench: &dyn Bench) -> (Arc<dyn MirrorStore>, Arc<dyn ServerMirror>) {
    let mirror = bench.location().open().unwrap();
    let server = mirror.server(&omc01()).unwrap();
    (mirror, server)
}

/// A file of this content that has no final name yet; it will be at `path`.
pub(super) fn write(server: &dyn ServerMirror, path: &RemotePath, content: &[u8]) -> Arc<dyn PartialFile> {
    let file = server.open_partial(partial(path, content.len() as u64)).unwrap();
    file.write_at(content, 0).unwrap();
    file
}

pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// Publishes a file of this content.
pub(super) fn publish(
    server: &dyn ServerMirror,
    target: Target,
    content: &[u8],
) -> (PartialName, Result<(), PublishError>) {
    let path = target.directory.join(&target.name);
    let file = write(server, &path, content);
    (partial(&path, content.len() as u64), block_on(file.publish(target)))
}
