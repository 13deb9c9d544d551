//! Says what a received file is, and whether it is whole, for whoever is about to store it.
//!
//! Reads at positions and leaves the file's own position alone, so the handle that wrote it will do. Waits for
//! the disk and the processor: call [`prove`] where that is allowed. [`prove_small`] takes about as long as writing
//! the file did, and may be called anywhere.

mod end;
mod gzip;
mod source;
#[cfg(test)]
mod tests;
mod unpack;

use std::hash::Hasher;
use std::io;

use siphasher::sip128::{Hasher128, SipHasher13};

use end::{Directory, find_directory, find_followed};
use gzip::{Fault, Members};
use source::Source;
use unpack::{Disk, Failure, Limits, read_all};

use crate::base::read_at::ReadAt;

pub use unpack::{MAX_UNPACKED_BYTES, MAX_UNPACKED_ENTRIES};

/// How an archive begins: with an entry, with its end record if there are no entries, or with the mark of a split
/// archive that needed no split after all, in its two spellings (APPNOTE.TXT 6.3 section 8.5).
const BEGINNINGS: [&[u8]; 4] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04", b"PK00PK\x03\x04"];
/// The longest of them.
const BEGINNING_BYTES: usize = 8;
/// The mark of a split archive.
const MARK_BYTES: u64 = 4;

/// Files up to this size are proved in memory, and where unpacked they have no more than the second figure and the
/// third: a millisecond or two.
const SMALL: usize = 64 * 1024;
const SMALL_UNPACKED: u64 = 256 * 1024;
const SMALL_ENTRIES: u64 = 256;

/// Archives one after the other in one file.
const MAX_ARCHIVES: u32 = 16;
/// Before an archive that lies within another, as one of its entries, stands the header of that entry: 30 bytes, the
/// name and the extra fields, which are rarely longer than this together.
const MAX_HEADER_BYTES: u64 = 4 * 1024;

/// What ends in so many zeros may be room that was reserved for what is to come. A tape archive ends in fewer: it is
/// filled up to 10 KiB (GNU tar).
const HOLE_BYTES: usize = 16 * 1024;

/// Read at a time where a file is looked at that is no archive.
const BLOCK: usize = 256 * 1024;

/// A form of files that can be proved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A zip archive.
    Zip,
    /// What gzip writes (RFC 1952).
    Gzip,
}

impl Format {
    /// The form that a name promises.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        const ENDINGS: [(&[u8], Format); 3] =
            [(b".zip", Format::Zip), (b".gz", Format::Gzip), (b".tgz", Format::Gzip)];
        let ends_in = |ending: &[u8]| {
            let start = name.len().checked_sub(ending.len());
            start.and_then(|start| name.get(start..)).is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        };
        ENDINGS.into_iter().find_map(|(ending, format)| ends_in(ending).then_some(format))
    }

    /// What a file of this form is called.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Zip => "zip archive",
            Self::Gzip => "gzip file",
        }
    }
}

/// Which forms are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// Zip archives alone.
    Zip,
    /// All.
    Any,
}

impl Formats {
    /// Of a file whose name promises a form, or none: what is called a zip archive is one or nothing.
    #[must_use]
    pub fn of_promise(promised: Option<Format>) -> Self {
        if promised == Some(Format::Zip) { Self::Zip } else { Self::Any }
    }
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No bytes at all.
    Empty,
    /// Nothing but zeros: room that was reserved for what is to come.
    Zeros,
    /// A zip archive, proved by its structure and by the checksums of its entries.
    Archive(Archive),
    /// A zip archive that is not whole.
    Unfinished(Flaw),
    /// A single member of gzip that ends where the file does, proved by its checksum and its length.
    Gzip,
    /// A gzip file that is not whole.
    UnfinishedGzip(Flaw),
    /// Nothing that shows where it ends.
    Other {
        /// Of all its bytes, to tell whether they stay the same.
        digest: u128,
        /// All of it is whole members of gzip, as far as they were read, and more may be to come.
        is_gzip: bool,
        /// It ends in so many zeros that its end may be still to come.
        ends_in_zeros: bool,
    },
}

/// A proved archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Archive {
    /// Bytes of the file before it: a program that unpacks it, for example.
    pub before: u64,
    /// Bytes of the file after it: padding, a line end, a signature.
    pub behind: u64,
    /// Entries that could not be unpacked here, because they are encrypted, of a method that this build lacks, or
    /// beyond [`MAX_UNPACKED_BYTES`] and [`MAX_UNPACKED_ENTRIES`]. They lie where the archive says, and without holes.
    pub unproved: u64,
}

/// What an archive lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It has no end.
    NoEnd,
    /// The text says what is wrong where.
    Damaged(String),
}

/// Why nothing is known about a file.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The caller wanted to stop.
    #[error("stopped while reading the archive")]
    Stopped,
    /// The local disk failed.
    #[error("cannot read the received file: {0}")]
    Disk(#[from] io::Error),
}

/// Says what the first `size` bytes of `file` are, of these `formats`. Every entry of an archive is unpacked and its checksum compared; for
/// exceptions see [`Archive::unproved`].
///
/// An archive begins where the file does. Anything may follow it, up to a MiB and any number of equal bytes, and
/// archives may follow one another. Where the file begins otherwise, an archive at its very end counts, unless it is an
/// entry of another archive, which is unfinished then.
///
/// `stop` is asked at least once for every MiB read or unpacked.
///
/// # Errors
///
/// See [`Interrupted`]; a file that is shorter than `size` is a failure of the disk.
pub fn prove(
    file: &dyn ReadAt,
    size: u64,
    formats: Formats,
    stop: &dyn Fn() -> bool,
) -> Result<Content, Interrupted> {
    Proof::new(Source::File(file), size, stop, Limits::of(size)).content(formats)
}

/// The same as [`prove`] for a file that is small, whose entries are, too. `None` where that takes longer.
///
/// # Errors
///
/// What the disk says, also where the file is shorter than `size`.
pub fn prove_small(file: &dyn ReadAt, size: u64, formats: Formats) -> io::Result<Option<Content>> {
    let Some(length) = usize::try_from(size).ok().filter(|length| *length <= SMALL) else { return Ok(None) };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    let limits = Limits { bytes: SMALL_UNPACKED, entries: SMALL_ENTRIES, searched: 0, strict: true };
    match Proof::new(Source::Memory(&bytes), size, &|| false, limits).content(formats) {
        Ok(content) => Ok(Some(content)),
        Err(Interrupted::Stopped) => Ok(None),
        Err(Interrupted::Disk(error)) => Err(error),
    }
}

/// Returns whether the file begins as one of these `formats` does, which says nothing of the rest.
///
/// # Errors
///
/// What the disk says.
pub fn begins_as_archive(file: &dyn ReadAt, size: u64, formats: Formats) -> io::Result<bool> {
    let source = Source::File(file);
    Ok(begins_as_zip(source, size)? || (formats == Formats::Any && gzip::begins(source, 0, size)?))
}

/// The reading of one file.
struct Proof<'a> {
    source: Source<'a>,
    size: u64,
    disk: Disk<'a>,
    stop: &'a dyn Fn() -> bool,
    limits: Limits,
}

impl<'a> Proof<'a> {
    fn new(source: Source<'a>, size: u64, stop: &'a dyn Fn() -> bool, limits: Limits) -> Self {
        Self { source, size, disk: Disk::new(source, stop), stop, limits }
    }

    fn content(self, formats: Formats) -> Result<Content, Interrupted> {
        if self.size == 0 {
            return Ok(Content::Empty);
        }
        if formats == Formats::Any && gzip::begins(self.source, 0, self.size)? {
            return self.gzip();
        }
        self.zip()
    }

    fn gzip(mut self) -> Result<Content, Interrupted> {
        match gzip::read_members(&self.disk, self.size, &mut self.limits) {
            Ok(Members::One) => Ok(Content::Gzip),
            Ok(Members::Open) => self.other(true),
            Err(Fault::Flaw(flaw)) => Ok(Content::UnfinishedGzip(flaw)),
            Err(Fault::Interrupted(error)) => Err(error),
        }
    }

    fn zip(mut self) -> Result<Content, Interrupted> {
        let begins = begins_as_zip(self.source, self.size)?;
        let mut flaw = begins.then_some(Flaw::NoEnd);
        if let Some(directory) = find_directory(self.source, self.size)? {
            match self.archive(directory, begins, 0) {
                Ok(archive) => return Ok(Content::Archive(archive)),
                Err(Failure::Interrupted(error)) => return Err(error),
                Err(Failure::Damaged(text)) if begins || self.is_unfinished(directory)? => {
                    flaw = Some(Flaw::Damaged(text));
                }
                Err(Failure::Damaged(_)) => {}
            }
        }
        match flaw {
            Some(flaw) => self.followed(begins, flaw),
            None => self.other(false),
        }
    }

    /// Returns whether what was found at the end of the file belongs to an archive whose rest is still to
    /// come.
    fn is_unfinished(&self, directory: Directory) -> io::Result<bool> {
        Ok(!directory.is_part && directory.is_likely(self.source)?)
    }

    /// Proves the archive with this directory, and what stands before it in the file.
    fn archive(&mut self, directory: Directory, begins: bool, depth: u32) -> Result<Archive, Failure> {
        let damaged = |text: &str| Err(Failure::Damaged(text.to_owned()));
        if directory.is_part {
            return damaged("it is the last of several parts");
        }
        let before = directory.before(self.source)?;
        if before > 0 && !(begins && before == MARK_BYTES) {
            if begins {
                self.archives_until(before, depth)?;
            } else if directory.entries == 0 || self.is_entry(before)? {
                return damaged("it lies within another archive, whose end is missing");
            }
        }
        let unproved = read_all(&self.disk, directory, before, &mut self.limits)?;
        Ok(Archive { before, behind: self.size - directory.end, unproved })
    }

    /// Archives that follow one another: what stands before the last one is one, too.
    fn archives_until(&mut self, end: u64, depth: u32) -> Result<(), Failure> {
        match find_directory(self.source, end)? {
            Some(directory) if depth < MAX_ARCHIVES => self.archive(directory, true, depth + 1).map(drop),
            _ => Err(Failure::Damaged("its beginning belongs to another archive".to_owned())),
        }
    }

    /// Returns whether the data of an entry begin at `at`.
    fn is_entry(&self, at: u64) -> io::Result<bool> {
        let start = at.saturating_sub(MAX_HEADER_BYTES);
        let mut before = vec![0; usize::try_from(at - start).unwrap_or(0)];
        self.source.read_exact_at(&mut before, start)?;
        let leads_here = |(index, header): (usize, &[u8])| {
            header.starts_with(b"PK\x03\x04")
                && index + header.len() + usize::from(u16_at(header, 26)) + usize::from(u16_at(header, 28))
                    == before.len()
        };
        Ok(before.windows(30).enumerate().any(leads_here))
    }

    /// An archive that begins where the file does, and is whole, though something follows it.
    fn followed(mut self, begins: bool, flaw: Flaw) -> Result<Content, Interrupted> {
        if begins {
            for directory in find_followed(self.source, self.size, self.stop)? {
                match self.archive(directory, true, 0) {
                    Ok(archive) => return Ok(Content::Archive(archive)),
                    Err(Failure::Interrupted(error)) => return Err(error),
                    Err(Failure::Damaged(_)) => {}
                }
            }
        }
        if (self.stop)() { Err(Interrupted::Stopped) } else { Ok(Content::Unfinished(flaw)) }
    }

    /// What shows no end: whether there is anything in it, and what it amounts to.
    fn other(self, is_gzip: bool) -> Result<Content, Interrupted> {
        let mut digest = SipHasher13::new();
        let mut buffer = vec![0; BLOCK.min(usize::try_from(self.size).unwrap_or(BLOCK))];
        let (mut at, mut zeros) = (0, 0);
        while at < self.size {
            if (self.stop)() {
                return Err(Interrupted::Stopped);
            }
            let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let block = buffer.get_mut(..length).unwrap_or_default();
            self.source.read_exact_at(block, at)?;
            digest.write(block);
            let last = block.iter().rposition(|byte| *byte != 0);
            zeros = last.map_or(zeros + block.len(), |last| block.len() - last - 1);
            at += block.len() as u64;
        }
        if zeros as u64 == self.size {
            return Ok(Content::Zeros);
        }
        let (digest, ends_in_zeros) = (digest.finish128().as_u128(), zeros >= HOLE_BYTES);
        Ok(Content::Other { digest, is_gzip, ends_in_zeros })
    }
}

/// Of a file too short to tell, whether it could be the beginning of an archive.
fn begins_as_zip(source: Source<'_>, size: u64) -> io::Result<bool> {
    let mut head = [0; BEGINNING_BYTES];
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(BEGINNING_BYTES);
    let head = head.get_mut(..length).unwrap_or_default();
    source.read_exact_at(head, 0)?;
    let alike =
        |beginning: &&[u8]| beginning.iter().zip(head.iter()).all(|(expected, found)| expected == found);
    // one letter says nothing
    Ok(length > 1 && BEGINNINGS.iter().any(alike))
}

/// The little-endian numbers of a record that was read whole; 0 beyond its end.
fn u16_at(record: &[u8], at: usize) -> u16 {
    array_at(record, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(record: &[u8], at: usize) -> u32 {
    array_at(record, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    array_at(record, at).map_or(0, u64::from_le_bytes)
}

fn array_at<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..)?.first_chunk().copied()
}
