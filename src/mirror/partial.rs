//! Files under way: `{root}/.partial/{server}/{hash}_{size}_{time}`.
//!
//! The name of a partial file says everything that resuming it needs, so there is no second file to keep in step:
//! a hash of the path on the server, and the size and time that the server showed when the download began. A
//! partial file stays until its download is recorded; until then it is also the proof that a finished file of the
//! same inode is ours, should the machine stop between linking and recording.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::local::intent;
use super::local::tree::{ServerMirror, names_in, size_of_stat};
use super::partial_name::{PartialName, path_hash};
use crate::base::names::RemotePath;

/// When a download is resumed, this much of what is there is fetched again and compared, because two contents may
/// share size and time. Against a power loss it is no help: see `tree::Mirror::open`.
const OVERLAP: u64 = 64 * 1024;

/// Bytes after which the disk begins to write. Long enough to be one piece of work for it.
const WRITE_BACK: u64 = 8 << 20;

/// Why a transfer of a file that outgrew what the server shows was ended. Its bytes are dropped.
#[derive(Debug, thiserror::Error)]
pub enum Outgrown {
    /// There is no room for more of it.
    #[error(
        "the server sends more than the {listed} bytes that it shows, and the limit leaves no room for more"
    )]
    NoRoom {
        /// As the server shows it.
        listed: u64,
    },
    /// The same, where the server shows no size.
    #[error("the server shows no size, and after {length} bytes the limit leaves no room for more")]
    NoRoomUnsized {
        /// Bytes received.
        length: u64,
    },
    /// Another file of the server of which it shows no size gets room first. It has not had its turn yet.
    #[error("the server shows no size, and another such file of it gets its room first")]
    AfterAnother,
    /// Others needed the room.
    #[error("cut to make room for other files: the server sends more than the {listed} bytes that it shows")]
    Cut {
        /// As the server shows it.
        listed: u64,
    },
    /// Nothing that is still being written grows so far.
    #[error("the server sends more than {limit} bytes, far more than it shows")]
    Endless {
        /// The most that is taken.
        limit: u64,
    },
}

/// A partial file that nobody wrote to for so long, and for whose path the server shows no file any more, is removed.
const KEPT_UNCLAIMED: Duration = Duration::from_secs(24 * 3600);

/// Files of one server whose broken transfers are remembered; of further ones nothing is kept, and they begin anew.
const MAX_LEFTOVERS: usize = 100_000;

/// What an earlier run left in `.partial`, by path. Read once when a scanner starts.
#[derive(Debug, Default)]
pub struct Leftovers(HashMap<u128, Vec<PartialName>>);

impl Leftovers {
    /// Reads the directory; files with foreign names are left alone.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn read(mirror: &ServerMirror) -> io::Result<Self> {
        let mut by_path: HashMap<u128, Vec<PartialName>> = HashMap::new();
        let names = names_in(mirror.partial())?;
        for name in names.iter().filter_map(|name| PartialName::parse(name)) {
            by_path.entry(name.path_hash).or_default().push(name);
        }
        let mut all = Self(by_path);
        for noted in names.iter().filter_map(|name| intent::parse(name)) {
            mirror.use_renames();
            all.add(noted);
        }
        Ok(all)
    }

    /// Reads those that nobody wrote to for a day. One that has its final name already proves that the file is ours,
    /// and is no leftover in this sense.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn read_aged(mirror: &ServerMirror, now: SystemTime) -> io::Result<Self> {
        let mut all = Self::read(mirror)?;
        let newest = now.checked_sub(KEPT_UNCLAIMED).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let newest = newest.map_or(0, |since| since.as_secs());
        let aged = |name: &PartialName| {
            stat(mirror, *name).is_some_and(|stat| {
                stat.st_nlink == 1 && u64::try_from(stat.st_mtime).is_ok_and(|at| at < newest)
            })
        };
        all.0.retain(|_, names| {
            names.retain(aged);
            !names.is_empty()
        });
        Ok(all)
    }

    /// Returns whether nothing is left over, which spares the look-ups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether no more broken transfers are to be remembered.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_LEFTOVERS
    }

    /// Takes out what was left over for `path`.
    pub fn take(&mut self, path: &RemotePath) -> Vec<PartialName> {
        if self.0.is_empty() { Vec::new() } else { self.0.remove(&path_hash(path)).unwrap_or_default() }
    }

    /// Notes a partial file that a broken transfer left.
    pub fn add(&mut self, name: PartialName) {
        let names = self.0.entry(name.path_hash).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// Forgets a partial file that is removed.
    pub fn forget(&mut self, name: PartialName) {
        if let Some(names) = self.0.get_mut(&name.path_hash) {
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.0.remove(&name.path_hash);
            }
        }
    }

    /// All of them.
    pub fn into_names(self) -> impl Iterator<Item = PartialName> {
        self.0.into_values().flatten()
    }
}

/// Removes a partial file; one that is gone already is fine.
///
/// # Errors
///
/// The system's.
pub fn remove(mirror: &ServerMirror, name: PartialName) -> io::Result<()> {
    match rustix::fs::unlinkat(mirror.partial(), name.to_string(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    if mirror.renames() { intent::remove(mirror, name) } else { Ok(()) }
}

/// The stat of a partial file, where it exists.
#[must_use]
pub fn stat(mirror: &ServerMirror, name: PartialName) -> Option<Stat> {
    rustix::fs::statat(mirror.partial(), name.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// A partial file being written. Dropped at any time, what was written stays for the next try.
#[derive(Debug)]
pub struct Partial {
    /// What it is called.
    pub name: PartialName,
    file: File,
    /// Bytes known to be right: written here, or there before and compared.
    length: u64,
    /// What lay beyond `length` and must come again.
    expected: Vec<u8>,
    /// More than this is never written.
    limit: u64,
    /// The disk has begun to write what lies before.
    begun: u64,
    /// Bytes of an earlier try that were of no use, and are gone.
    dropped: u64,
}

impl Partial {
    /// Opens the partial file of `name`, or makes it. What an earlier try left is kept where the server's size and
    /// time are known and unchanged, which the equal name says, and dropped otherwise.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, read or cut.
    pub fn open(mirror: &ServerMirror, name: PartialName, limit: u64) -> anyhow::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(mirror.partial(), name.to_string(), flags, Mode::from_raw_mode(0o644))
            .with_context(|| format!("cannot make the partial file {name}"))?;
        let mut partial =
            Self { name, file: file.into(), length: 0, expected: Vec::new(), limit, begun: 0, dropped: 0 };
        let found = rustix::fs::fstat(&partial.file);
        let there = size_of_stat(&found.with_context(|| format!("cannot look at the partial file {name}"))?);
        if there > 0 && name.resumes(there) {
            let overlap = OVERLAP.min(there.div_ceil(2));
            partial.length = there - overlap;
            partial.expected = vec![0; usize::try_from(overlap)?];
            let read = partial.file.read_exact_at(&mut partial.expected, partial.length);
            read.with_context(|| format!("cannot read the partial file {name}"))?;
        } else if there > 0 {
            partial.start_over().with_context(|| format!("cannot empty the partial file {name}"))?;
            partial.dropped = there;
        }
        Ok(partial)
    }

    /// From where on the server is asked for bytes; also the length so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that were there when it was opened, and are dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many of the next bytes of the transfer were not there before.
    #[must_use]
    pub fn adds(&self, bytes: &[u8]) -> u64 {
        bytes.len().saturating_sub(self.expected.len()) as u64
    }

    /// Bytes in the file, those included that must come again.
    #[must_use]
    pub fn there(&self) -> u64 {
        self.length + self.expected.len() as u64
    }

    /// The file itself, for the verification and the syncing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file itself, once nothing more is written.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// Forgets what is there.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn start_over(&mut self) -> io::Result<()> {
        self.length = 0;
        self.expected = Vec::new();
        self.file.set_len(0)
    }

    /// Takes the next bytes of the transfer.
    ///
    /// # Errors
    ///
    /// When they differ from what an earlier try left (the content changed: the file is emptied), when there are
    /// more than the limit, and when they cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let again = self.expected.len().min(bytes.len());
        let (compared, new) = bytes.split_at(again);
        if self.expected.get(..again) != Some(compared) {
            self.start_over()?;
            bail!("what the server sends differs from what it sent before; starting over");
        }
        self.expected.drain(..again);
        self.length += again as u64;
        if self.length + new.len() as u64 > self.limit {
            bail!(Outgrown::Endless { limit: self.limit });
        }
        self.file.write_all_at(new, self.length).context("cannot write the partial file")?;
        self.length += new.len() as u64;
        self.write_back();
        Ok(())
    }

    /// Has the disk begin with a long file before it is whole, so that the sync of it finds little left to wait for.
    fn write_back(&mut self) {
        // less than begun after it was cut
        let from = self.begun.min(self.length);
        if let Some(length) = NonZeroU64::new(self.length - from).filter(|length| length.get() >= WRITE_BACK)
        {
            // a hint: pages that are dirty are written and stay cached
            rustix::fs::fadvise(&self.file, from, Some(length), Advice::DontNeed).ok();
            self.begun = self.length;
        }
    }

    /// Ends the writing: what an earlier try left beyond the end of this one goes.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.expected.is_empty() {
            self.expected = Vec::new();
            self.file.set_len(self.length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::facts::{FileFacts, Modified, TimeSource};
    use crate::base::names::ServerName;
    use crate::mirror::local::tree::Mirror;

    fn facts(size: u64, seconds: i64) -> FileFacts {
        let modified = Modified { unix_seconds: seconds, source: TimeSource::Utc };
        FileFacts { size: Some(size), modified: Some(modified) }
    }

    fn path(text: &str) -> RemotePath {
        RemotePath::from_text(text, encoding_rs::UTF_8).unwrap()
    }

    fn server() -> (tempfile::TempDir, ServerMirror) {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(folder.path()).unwrap();
        let server = mirror.server(&ServerName::new("omc01").unwrap()).unwrap();
        (folder, server)
    }

    #[test]
    fn a_half_file_is_resumed_after_its_end_was_compared() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        Partial::open(&server, name, 100).unwrap().append(b"abcdef").unwrap();
        let mut again = Partial::open(&server, name, 100).unwrap();
        assert_eq!(again.length(), 3);
        again.append(b"de").unwrap();
        again.append(b"fghij").unwrap();
        again.finish().unwrap();
        let mut content = vec![0; 10];
        again.file().read_exact_at(&mut content, 0).unwrap();
        assert_eq!((content.as_slice(), again.length()), (&b"abcdefghij"[..], 10));
    }

    #[test]
    fn a_half_file_of_another_content_is_dropped() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        Partial::open(&server, name, 100).unwrap().append(b"abcdef").unwrap();
        let mut again = Partial::open(&server, name, 100).unwrap();
        assert!(again.append(b"XY").is_err());
        assert_eq!(Partial::open(&server, name, 100).unwrap().length(), 0);
    }

    #[test]
    fn nothing_is_resumed_where_size_or_time_is_unknown_or_smaller() {
        let (_folder, server) = server();
        let untimed = FileFacts { size: Some(10), modified: None };
        for facts in [untimed, facts(3, 1)] {
            let name = PartialName::new(&path("/a.zip"), facts);
            Partial::open(&server, name, 100).unwrap().append(b"abcdef").unwrap();
            assert_eq!(Partial::open(&server, name, 100).unwrap().length(), 0, "{name}");
        }
    }

    #[test]
    fn a_transfer_without_end_is_cut_at_the_limit() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        let mut partial = Partial::open(&server, name, 10).unwrap();
        partial.append(b"0123456789").unwrap();
        assert!(partial.append(b"0").is_err());
    }

    #[test]
    fn a_shorter_second_transfer_leaves_no_tail_of_the_first() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        Partial::open(&server, name, 100).unwrap().append(b"abcdefgh").unwrap();
        let mut again = Partial::open(&server, name, 100).unwrap();
        again.append(b"ef").unwrap();
        again.finish().unwrap();
        assert_eq!(again.file().metadata().unwrap().len(), again.length());
    }

    #[test]
    fn leftovers_are_found_by_the_path_they_belong_to() {
        let (_folder, server) = server();
        let (old, new) = (facts(10, 1), facts(20, 2));
        for facts in [old, new] {
            Partial::open(&server, PartialName::new(&path("/a.zip"), facts), 100).unwrap();
        }
        let mut leftovers = Leftovers::read(&server).unwrap();
        assert_eq!(leftovers.take(&path("/b.zip")), []);
        assert_eq!(leftovers.take(&path("/a.zip")).len(), 2);
        assert!(leftovers.is_empty());
    }
}
