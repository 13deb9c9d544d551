//! The files that a scripted server shows: in memory, by path in wire bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory's entries by name.
pub type Entries = BTreeMap<Vec<u8>, Node>;

/// Every directory by its absolute path; `/` is always there.
#[derive(Debug)]
pub struct Tree {
    directories: BTreeMap<Vec<u8>, Entries>,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub enum Node {
    /// Its entries are in the tree, under its path.
    Directory,
    /// A file.
    File(File),
    /// A symbolic link and what it names, relative to its directory or absolute.
    Link(Vec<u8>),
}

/// A file with what the server shows of it, which need not be the truth.
#[derive(Debug, Clone)]
pub struct File {
    /// The bytes that RETR sends.
    pub content: Content,
    /// The size in listings and for SIZE, where it is not the content's.
    pub shown_size: Option<u64>,
    /// Seconds since 1970, for listings and MDTM.
    pub modified: i64,
    /// By how many bytes the file has grown each time somebody looked at its size: an upload under way.
    pub grows_per_look: u64,
    /// How many bytes RETR sends beyond the content: the file grew while it was read.
    pub grows_while_read: u64,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// As they are.
    Bytes(Arc<Vec<u8>>),
    /// A block again and again up to a length: a large file that takes no memory.
    Repeat(Arc<Vec<u8>>, u64),
}

impl File {
    /// A file of `content`, last changed on 2026-11-23 at 03:00:00 UTC.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        Self::of(Content::Bytes(Arc::new(content.into())))
    }

    /// A file of `length` bytes that repeats `block`.
    pub fn repeating(block: impl Into<Vec<u8>>, length: u64) -> Self {
        Self::of(Content::Repeat(Arc::new(block.into()), length))
    }

    fn of(content: Content) -> Self {
        let modified = 1_795_402_800;
        Self { content, shown_size: None, modified, grows_per_look: 0, grows_while_read: 0 }
    }

    /// Shows `size` whatever the content.
    pub fn showing(mut self, size: u64) -> Self {
        self.shown_size = Some(size);
        self
    }

    /// Sets the time of the last change, in seconds since 1970.
    pub fn modified(mut self, unix_seconds: i64) -> Self {
        self.modified = unix_seconds;
        self
    }

    /// Grows by `bytes` each time its size is looked at.
    pub fn growing(mut self, bytes: u64) -> Self {
        self.grows_per_look = bytes;
        self
    }

    /// Sends `bytes` more than it had when RETR began.
    pub fn growing_while_read(mut self, bytes: u64) -> Self {
        self.grows_while_read = bytes;
        self
    }

    /// The size that the server shows now.
    pub fn size(&self) -> u64 {
        self.shown_size.unwrap_or(self.content.len())
    }

    /// What RETR sends: the content, and what comes to it meanwhile.
    pub fn to_send(&self) -> Content {
        match self.grows_while_read {
            0 => self.content.clone(),
            bytes => self.content.grown(bytes),
        }
    }

    /// The size for somebody who looks, after which a growing file is larger.
    pub fn look(&mut self) -> u64 {
        let size = self.size();
        if self.grows_per_look > 0 {
            self.content = self.content.grown(self.grows_per_look);
            self.modified += 1;
        }
        size
    }
}

impl Content {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Repeat(_, length) => *length,
        }
    }

    /// Up to `most` bytes from `offset`; empty at the end.
    pub fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
                bytes[start..bytes.len().min(start + most)].to_vec()
            }
            Self::Repeat(block, length) => {
                let left = length.saturating_sub(offset).min(most as u64) as usize;
                let mut bytes = Vec::with_capacity(left);
                let mut start = (offset % block.len() as u64) as usize;
                while bytes.len() < left {
                    let end = block.len().min(start + left - bytes.len());
                    bytes.extend_from_slice(&block[start..end]);
                    start = 0;
                }
                bytes
            }
        }
    }

    fn grown(&self, bytes: u64) -> Self {
        match self {
            Self::Bytes(old) => {
                let mut new = old.as_ref().clone();
                new.resize(new.len() + bytes as usize, b'+');
                Self::Bytes(Arc::new(new))
            }
            Self::Repeat(block, length) => Self::Repeat(Arc::clone(block), length + bytes),
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { directories: BTreeMap::from([(b"/".to_vec(), Entries::new())]) }
    }
}

impl Tree {
    /// Puts a file where it belongs, with the directories above it.
    pub fn put(&mut self, path: impl AsRef<[u8]>, file: File) {
        self.insert(path.as_ref(), Node::File(file));
    }

    /// Makes a directory, and those above it.
    pub fn make_directory(&mut self, path: impl AsRef<[u8]>) {
        let path = path.as_ref();
        if path != b"/" && !self.directories.contains_key(path) {
            self.insert(path, Node::Directory);
            self.directories.insert(path.to_vec(), Entries::new());
        }
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        self.insert(path.as_ref(), Node::Link(target.as_ref().to_vec()));
    }

    /// Removes a file or link, or a directory with everything below it.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) {
        let path = path.as_ref();
        let below = [path, b"/"].concat();
        self.directories.retain(|directory, _| directory != path && !directory.starts_with(&below));
        let (parent, name) = split(path);
        if let Some(entries) = self.directories.get_mut(parent) {
            entries.remove(name);
        }
    }

    /// The entries of a directory, links followed.
    pub fn entries(&self, path: &[u8]) -> Option<&Entries> {
        let path = self.resolve(path)?;
        self.directories.get(&path)
    }

    /// The entries of a directory, to look at and let grow.
    pub fn entries_mut(&mut self, path: &[u8]) -> Option<&mut Entries> {
        let path = self.resolve(path)?;
        self.directories.get_mut(&path)
    }

    /// The file at a path, links followed.
    pub fn file_mut(&mut self, path: &[u8]) -> Option<&mut File> {
        let path = self.resolve(path)?;
        let (parent, name) = split(&path);
        match self.directories.get_mut(parent)?.get_mut(name)? {
            Node::File(file) => Some(file),
            _ => None,
        }
    }

    /// Whether a directory is there, links followed.
    pub fn is_directory(&self, path: &[u8]) -> bool {
        self.entries(path).is_some()
    }

    /// The path without links, or `None` where one leads nowhere or in a circle.
    fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        const MOST_LINKS: usize = 40;
        let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut at = b"/".to_vec();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                at = split(&at).0.to_vec();
                continue;
            }
            if let Some(Node::Link(target)) = self.directories.get(&at).and_then(|dir| dir.get(&component)) {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    at = b"/".to_vec();
                }
                rest.extend(components(target).rev().map(<[u8]>::to_vec));
                continue;
            }
            at = join(&at, &component);
        }
        Some(at)
    }

    fn insert(&mut self, path: &[u8], node: Node) {
        let (parent, name) = split(path);
        self.make_directory(parent);
        let parent = self.directories.get_mut(parent).expect("the directory was made");
        parent.insert(name.to_vec(), node);
    }
}

/// The path of `name` in `directory`; an absolute `name` stands for itself.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") {
        return name.to_vec();
    }
    let slash: &[u8] = if directory == b"/" { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// The directory of a path, and its last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => (b"/", path.strip_prefix(b"/").unwrap_or(path)),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
    }
}

/// The components of a path that lead somewhere; `..` is one of them.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// An absolute path in its shortest form, `..` taken as it reads.
pub fn normal(path: &[u8]) -> Vec<u8> {
    let mut at = b"/".to_vec();
    for component in components(path) {
        at = if component == b".." { split(&at).0.to_vec() } else { join(&at, component) };
    }
    at
}
