//! A whole file on its way to its final name.

use std::fs::File;
use std::sync::Arc;

use crate::base::names::{RemoteName, RemotePath};
use crate::base::watchdog::Pulse;
use crate::mirror::local::root::ServerDirectories;
use crate::mirror::partial_name::PartialName;

/// A whole, verified file that has no final name yet.
#[derive(Debug)]
pub(in crate::mirror::local) struct Staged {
    /// Where it lies and goes.
    pub mirror: Arc<ServerDirectories>,
    /// Its name in `.partial`.
    pub partial: PartialName,
    /// Its content.
    pub file: Arc<File>,
    /// The directory on the server, and below `{root}/{server}`.
    pub directory: Arc<RemotePath>,
    /// Its name on the server, and in the mirror.
    pub name: RemoteName,
    /// What has its name now is an earlier content of the same file, and gives way.
    pub replaces: bool,
    /// Of the scan that waits for it.
    pub pulse: Option<Arc<Pulse>>,
}

#[cfg(test)]
pub(in crate::mirror::local) mod fixtures {
    use std::os::unix::fs::FileExt;

    use encoding_rs::UTF_8;

    use super::*;
    use crate::base::facts::FileFacts;
    use crate::base::names::ServerName;
    use crate::mirror::local::root::MirrorRoot;

    /// A whole file of this content that has no final name yet.
    pub(in crate::mirror::local) fn stage(
        mirror: &Arc<ServerDirectories>,
        directory: &str,
        name: &str,
        content: &[u8],
    ) -> Staged {
        let directory = Arc::new(RemotePath::from_text(directory, UTF_8).unwrap());
        let name = RemoteName::from_wire(name.as_bytes(), UTF_8).unwrap();
        let partial = PartialName::new(&directory.join(&name), FileFacts::default());
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CREATE;
        let file = rustix::fs::openat(mirror.partial(), partial.to_string(), flags, mode);
        let file = Arc::new(File::from(file.unwrap()));
        file.write_all_at(content, 0).unwrap();
        file.set_len(content.len() as u64).unwrap();
        Staged { mirror: Arc::clone(mirror), partial, file, directory, name, replaces: false, pulse: None }
    }

    pub(in crate::mirror::local) fn mirror() -> (tempfile::TempDir, Arc<ServerDirectories>) {
        let folder = tempfile::tempdir().unwrap();
        let mirror = MirrorRoot::open(folder.path()).unwrap();
        let server = Arc::new(mirror.server(&ServerName::new("omc01").unwrap()).unwrap());
        (folder, server)
    }
}
