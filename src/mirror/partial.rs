//! Files under way: `{root}/.partial/{server}/{hash}_{size}_{time}`.
//!
//! The name of a partial file says everything that resuming it needs, so there is no second file to keep in step:
//! a hash of the path on the server, and the size and time that the server showed when the download began. A
//! partial file stays until its download is recorded; until then it is also the proof that a finished file of the
//! same inode is ours, should the machine stop between linking and recording.

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::partial_name::PartialName;
use super::server::{PartialFile, ServerMirror};

/// When a download is resumed, this much of what is there is fetched again and compared, because two contents may
/// share size and time. Against a power loss it is no help: see [`MirrorLocation::open`](super::store::MirrorLocation::open).
const OVERLAP: u64 = 64 * 1024;

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

/// A partial file being written. Dropped at any time, what was written stays for the next try.
#[derive(Debug)]
pub struct Partial {
    /// What it is called.
    pub name: PartialName,
    file: Arc<dyn PartialFile>,
    /// Bytes known to be right: written here, or there before and compared.
    length: u64,
    /// What lay beyond `length` and must come again.
    expected: Vec<u8>,
    /// More than this is never written.
    limit: u64,
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
    pub fn open(mirror: &dyn ServerMirror, name: PartialName, limit: u64) -> anyhow::Result<Self> {
        let file = mirror.open_partial(name);
        let file = file.with_context(|| format!("cannot make the partial file {name}"))?;
        let there = file.size().with_context(|| format!("cannot look at the partial file {name}"))?;
        let mut partial = Self { name, file, length: 0, expected: Vec::new(), limit, dropped: 0 };
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

    /// The file itself, once nothing more is written.
    #[must_use]
    pub fn into_file(self) -> Arc<dyn PartialFile> {
        self.file
    }

    /// The file itself, for the verification.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn PartialFile> {
        &self.file
    }

    /// Forgets what is there.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn start_over(&mut self) -> io::Result<()> {
        self.length = 0;
        self.expected = Vec::new();
        self.file.cut(0)
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
        self.file.write_at(new, self.length).context("cannot write the partial file")?;
        self.length += new.len() as u64;
        Ok(())
    }

    /// Ends the writing: what an earlier try left beyond the end of this one goes.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.expected.is_empty() {
            self.expected = Vec::new();
            self.file.cut(self.length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::facts::{FileFacts, Modified, TimeSource};
    use crate::base::fixtures::path;
    use crate::base::names::ServerName;
    use crate::mirror::at;

    fn facts(size: u64, seconds: i64) -> FileFacts {
        let modified = Modified { unix_seconds: seconds, source: TimeSource::Utc };
        FileFacts { size: Some(size), modified: Some(modified) }
    }

    fn server() -> (tempfile::TempDir, Arc<dyn ServerMirror>) {
        let folder = tempfile::tempdir().unwrap();
        let mirror = at(folder.path()).open().unwrap();
        let server = mirror.server(&ServerName::new("omc01").unwrap()).unwrap();
        (folder, server)
    }

    #[test]
    fn a_half_file_is_resumed_after_its_end_was_compared() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        Partial::open(&*server, name, 100).unwrap().append(b"abcdef").unwrap();
        let mut again = Partial::open(&*server, name, 100).unwrap();
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
        Partial::open(&*server, name, 100).unwrap().append(b"abcdef").unwrap();
        let mut again = Partial::open(&*server, name, 100).unwrap();
        assert!(again.append(b"XY").is_err());
        assert_eq!(Partial::open(&*server, name, 100).unwrap().length(), 0);
    }

    #[test]
    fn nothing_is_resumed_where_size_or_time_is_unknown_or_smaller() {
        let (_folder, server) = server();
        let untimed = FileFacts { size: Some(10), modified: None };
        for facts in [untimed, facts(3, 1)] {
            let name = PartialName::new(&path("/a.zip"), facts);
            Partial::open(&*server, name, 100).unwrap().append(b"abcdef").unwrap();
            assert_eq!(Partial::open(&*server, name, 100).unwrap().length(), 0, "{name}");
        }
    }

    #[test]
    fn a_transfer_without_end_is_cut_at_the_limit() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        let mut partial = Partial::open(&*server, name, 10).unwrap();
        partial.append(b"0123456789").unwrap();
        assert!(partial.append(b"0").is_err());
    }

    #[test]
    fn a_shorter_second_transfer_leaves_no_tail_of_the_first() {
        let (_folder, server) = server();
        let name = PartialName::new(&path("/a.zip"), facts(10, 1));
        Partial::open(&*server, name, 100).unwrap().append(b"abcdefgh").unwrap();
        let mut again = Partial::open(&*server, name, 100).unwrap();
        again.append(b"ef").unwrap();
        again.finish().unwrap();
        assert_eq!(again.file().size().unwrap(), again.length());
    }
}
