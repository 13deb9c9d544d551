//! Says what a received file is, and whether it is whole, for whoever is about to store it.
//!
//! Reads at positions and leaves the file's own position alone, so the handle that wrote it will do. Waits for
//! the disk and the processor: call [`prove`] where that is allowed. [`prove_small`] takes about as long as writing
//! the file did, and may be called anywhere.

mod end;
mod source;
mod unpack;

use std::hash::Hasher;
use std::io;

use siphasher::sip128::{Hasher128, SipHasher13};

use end::{Directory, find_directory, find_followed};
use source::Source;
use unpack::{Disk, Failure, Limits, is_zero, read_all};

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

/// Read at a time where a file is looked at that is no archive.
const BLOCK: usize = 256 * 1024;

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
    /// No zip archive.
    Other {
        /// Of all its bytes, to tell whether they stay the same.
        digest: u128,
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

/// Says what the first `size` bytes of `file` are. Every entry of an archive is unpacked and its checksum compared; for
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
pub fn prove(file: &dyn ReadAt, size: u64, stop: &dyn Fn() -> bool) -> Result<Content, Interrupted> {
    Proof::new(Source::File(file), size, stop, Limits::of(size)).content()
}

/// The same as [`prove`] for a file that is small, whose entries are, too. `None` where that takes longer.
///
/// # Errors
///
/// What the disk says, also where the file is shorter than `size`.
pub fn prove_small(file: &dyn ReadAt, size: u64) -> io::Result<Option<Content>> {
    let Some(length) = usize::try_from(size).ok().filter(|length| *length <= SMALL) else { return Ok(None) };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    let limits = Limits { bytes: SMALL_UNPACKED, entries: SMALL_ENTRIES, searched: 0, strict: true };
    match Proof::new(Source::Memory(&bytes), size, &|| false, limits).content() {
        Ok(content) => Ok(Some(content)),
        Err(Interrupted::Stopped) => Ok(None),
        Err(Interrupted::Disk(error)) => Err(error),
    }
}

/// Returns whether the file begins as an archive does, which says nothing of the rest.
///
/// # Errors
///
/// What the disk says.
pub fn begins_as_archive(file: &dyn ReadAt, size: u64) -> io::Result<bool> {
    begins_as_zip(Source::File(file), size)
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

    fn content(mut self) -> Result<Content, Interrupted> {
        if self.size == 0 {
            return Ok(Content::Empty);
        }
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
            None => self.other(),
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

    /// What is no archive: whether there is anything in it, and what it amounts to.
    fn other(self) -> Result<Content, Interrupted> {
        let mut digest = SipHasher13::new();
        let mut buffer = vec![0; BLOCK.min(usize::try_from(self.size).unwrap_or(BLOCK))];
        let (mut at, mut zeros) = (0, true);
        while at < self.size {
            if (self.stop)() {
                return Err(Interrupted::Stopped);
            }
            let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let block = buffer.get_mut(..length).unwrap_or_default();
            self.source.read_exact_at(block, at)?;
            digest.write(block);
            zeros &= is_zero(block);
            at += block.len() as u64;
        }
        Ok(if zeros { Content::Zeros } else { Content::Other { digest: digest.finish128().as_u128() } })
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Cursor, Write};
    use std::ops::Range;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// Where the fixed part of an end record lies in an archive without a comment.
    fn end_of(archive: &[u8]) -> usize {
        archive.len() - 22
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// What the bytes are, proved in both ways.
    fn prove(bytes: &[u8]) -> Content {
        let file = file(bytes);
        let content = super::prove(&file, bytes.len() as u64, &|| false).unwrap();
        if let Some(small) = prove_small(&file, bytes.len() as u64).unwrap() {
            assert_eq!(small, content);
        }
        content
    }

    fn whole(before: u64, behind: u64) -> Content {
        Content::Archive(Archive { before, behind, unproved: 0 })
    }

    fn unfinished(bytes: &[u8]) -> Flaw {
        match prove(bytes) {
            Content::Unfinished(flaw) => flaw,
            other => panic!("not unfinished: {other:?}"),
        }
    }

    fn is_other(bytes: &[u8]) -> bool {
        matches!(prove(bytes), Content::Other { .. })
    }

    fn archive(contents: &[&[u8]], comment: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (index, content) in contents.iter().enumerate() {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            writer.start_file(format!("mro_{index}.xml"), options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.set_raw_comment(comment.into()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    /// The archive with its end told in 64 bits as well, and `hidden` bytes of the end in 32 bits at their largest.
    pub(super) fn with_zip64_end(archive: &[u8], hidden: Range<usize>) -> Vec<u8> {
        let (body, end) = archive.split_at(end_of(archive));
        let wide = |value: u32| u64::from(value).to_le_bytes();
        let (entries, size, start) = (u16_at(end, 10).into(), u32_at(end, 12), u32_at(end, 16));
        let mut record = [b"PK\x06\x06", &44_u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8]].concat();
        for value in [entries, entries, size, start] {
            record.extend_from_slice(&wide(value));
        }
        let position = (body.len() as u64).to_le_bytes();
        let locator = [b"PK\x06\x07", &[0; 4][..], &position, &1_u32.to_le_bytes()].concat();
        let mut end = end.to_vec();
        end[hidden].fill(0xff);
        [body, &record, &locator, &end].concat()
    }

    #[test]
    fn an_archive_is_whole_with_or_without_entries_and_comment() {
        for comment in [&b""[..], b"x", b"with PK\x05\x06 in it", &[b'x'; 65_535]] {
            assert_eq!(prove(&archive(&[], comment)), whole(0, 0));
            assert_eq!(prove(&archive(&[b"one", b"two"], comment)), whole(0, 0));
        }
    }

    #[test]
    fn an_archive_cut_anywhere_is_unfinished() {
        for comment in [&b""[..], b"a comment"] {
            let bytes = archive(&[b"one", b"two"], comment);
            for size in 2..bytes.len() {
                assert_eq!(unfinished(&bytes[..size]), Flaw::NoEnd, "{size}");
            }
        }
    }

    #[test]
    fn bytes_that_are_still_to_come_make_an_archive_unfinished_wherever_they_are_missing() {
        let bytes = archive(&[&[b'x'; 3000], &[b'y'; 3000]], b"");
        for (from, to) in [(0, 100), (500, 1500), (2900, 3200), (4000, 4010), (6000, bytes.len() - 22)] {
            let mut holed = bytes.clone();
            holed[from..to].fill(0);
            assert!(matches!(unfinished(&holed), Flaw::Damaged(_)), "{from} to {to}");
        }
        let mut endless = bytes.clone();
        endless[3000..].fill(0);
        assert_eq!(unfinished(&endless), Flaw::NoEnd);
        assert_eq!(prove(&vec![0; bytes.len()]), Content::Zeros);
        assert_eq!(prove(&vec![0; 700_000]), Content::Zeros);
    }

    /// interface 10.15
    #[test]
    fn what_follows_an_archive_is_counted_and_does_no_harm() {
        let signature: Vec<u8> =
            (0..700_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for bytes in [archive(&[b"one", b"two"], b""), archive(&[], b""), archive(&[b"one"], b"comment\0")] {
            let tails = [&b"\n"[..], b"\r\n", b"\0", &[0; 300], &[0x1a; 128], &[0; 700_000], &signature];
            for tail in tails.into_iter().map(<[u8]>::to_vec).chain([[&signature, &[0; 90_000][..]].concat()])
            {
                assert_eq!(prove(&[&bytes[..], &tail].concat()), whole(0, tail.len() as u64));
            }
        }
        // an end record in what follows, which describes nothing
        let bytes = archive(&[b"one"], b"");
        let tail = [&b"PK\x05\x06"[..], &[7; 18], b"PK\x05\x06", &[0; 40]].concat();
        assert_eq!(prove(&[&bytes[..], &tail].concat()), whole(0, tail.len() as u64));
    }

    #[test]
    fn an_archive_within_another_is_no_whole_one() {
        let inner = archive(&[b"one", b"two"], b"");
        let outer = archive(&[b"first", &inner, b"last"], b"");
        let end = outer.windows(inner.len()).position(|window| window == inner).unwrap() + inner.len();
        for tail in [&b""[..], b"\0", &[0; 5000]] {
            let cut = [&outer[..end], tail].concat();
            assert!(matches!(prove(&cut), Content::Unfinished(_)), "{} zeros", tail.len());
        }
        let cut = [&b"#!/bin/sh\n"[..], &outer[..end]].concat();
        assert!(matches!(prove(&cut), Content::Unfinished(_)));
        assert_eq!(prove(&outer), whole(0, 0));
    }

    #[test]
    fn something_may_stand_before_an_archive() {
        let bytes = archive(&[b"one", b"two"], b"");
        for stub in [&b"#!/bin/sh\nunzip $0; exit\n"[..], b"MZ\x90\0", &[b'x'; 100_000]] {
            let stubbed = [stub, &bytes].concat();
            assert_eq!(prove(&stubbed), whole(stub.len() as u64, 0));
            let mut damaged = stubbed.clone();
            damaged[stub.len() + 31] ^= 1;
            damaged[stub.len() + 45] ^= 1;
            assert!(matches!(prove(&damaged), Content::Unfinished(_)), "{}", stub.len());
        }
        let wide = with_zip64_end(&bytes, 8..20);
        assert_eq!(prove(&[b"#!/bin/sh\n", &wide[..]].concat()), whole(10, 0));
    }

    #[test]
    fn archives_may_follow_one_another() {
        let [a, b, c] = [&b"one"[..], b"two", b"three"].map(|content| archive(&[content], b""));
        assert_eq!(prove(&[&a[..], &b, &c].concat()), whole((a.len() + b.len()) as u64, 0));
        let mut damaged = [&a[..], &b, &c].concat();
        damaged[a.len() + 40] ^= 1;
        let proved = prove(&damaged);
        assert_eq!(proved, whole(0, (b.len() + c.len()) as u64), "the first of them is whole");
        damaged[40] ^= 1;
        assert!(matches!(prove(&damaged), Content::Unfinished(_)));
    }

    #[test]
    fn an_archive_over_a_longer_or_a_shorter_one_is_whole_once_it_is_written() {
        let (short, long) = (archive(&[&[b'x'; 400]], b""), archive(&[&[b'y'; 4000]], b""));
        let over = |new: &[u8], old: &[u8], written: usize| {
            let rest = old.get(written..).unwrap_or_default();
            [&new[..written], rest].concat()
        };
        for written in (45..short.len()).step_by(7) {
            assert!(matches!(prove(&over(&short, &long, written)), Content::Unfinished(_)), "{written}");
        }
        let rest = (long.len() - short.len()) as u64;
        assert_eq!(prove(&over(&short, &long, short.len())), whole(0, rest));
        for written in (45..long.len()).step_by(7) {
            assert!(matches!(prove(&over(&long, &short, written)), Content::Unfinished(_)), "{written}");
        }
    }

    #[test]
    fn an_archive_whose_directory_does_not_fit_before_its_end_is_not_whole() {
        let bytes = archive(&[b"one"], b"");
        for field in [12, 16] {
            let mut bytes = bytes.clone();
            let at = end_of(&bytes) + field;
            bytes[at] += 1;
            assert_eq!(unfinished(&bytes), Flaw::NoEnd);
        }
    }

    #[test]
    fn what_does_not_begin_as_an_archive_is_none() {
        for bytes in [&b"<html>"[..], b"P", b"PX", b"PK\x01\x02", b"PK\x07\x08data", b"\x1f\x8b\x08"] {
            assert!(is_other(bytes), "{bytes:?}");
        }
        let digests = [&b"one"[..], b"two", b"one"].map(prove);
        assert!(digests[0] == digests[2] && digests[0] != digests[1]);
        assert_eq!((prove(b""), prove(b"\0\0\0\0")), (Content::Empty, Content::Zeros));
        // the last of several parts, whose entries lie in others
        let mut part = archive(&[b"one"], b"");
        let end = end_of(&part);
        part[end + 4] = 3;
        part[..40].fill(b'x');
        assert!(is_other(&part));
    }

    #[test]
    fn the_marks_of_split_archives_are_beginnings_too() {
        let bytes = archive(&[b"one"], b"");
        for mark in [&b"PK\x07\x08"[..], b"PK00"] {
            assert_eq!(prove(&[mark, &bytes].concat()), whole(4, 0));
            assert_eq!(unfinished(mark), Flaw::NoEnd);
        }
    }

    #[test]
    fn an_end_in_64_bits_is_looked_up_where_32_bits_do_not_do() {
        let bytes = archive(&[b"one", b"two"], b"");
        let wide = with_zip64_end(&bytes, 8..20);
        assert_eq!(prove(&wide), whole(0, 0));
        // the record: its signature, size and start of the directory
        let record = wide.len() - 22 - 20 - 56;
        for at in [record, record + 40, record + 48] {
            let mut broken = wide.clone();
            broken[at] = broken[at].wrapping_add(1);
            assert_eq!(unfinished(&broken), Flaw::NoEnd, "{}", at - record);
        }
        let mut unused = with_zip64_end(&bytes, 0..0);
        unused[record] = 0;
        assert_eq!(prove(&unused), whole(0, 0));
    }

    #[test]
    fn the_largest_value_means_itself_where_nothing_is_told_in_64_bits() {
        let mut bytes = archive(&[b"one"], b"");
        let end = end_of(&bytes);
        bytes[end + 16..end + 20].fill(0xff);
        assert_eq!(unfinished(&bytes), Flaw::NoEnd);
    }

    #[test]
    fn what_takes_longer_is_left_to_whoever_has_the_time() {
        let deflated = |content: &[u8]| {
            let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
            writer.start_file("a", SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
            writer.finish().unwrap().into_inner()
        };
        let large = deflated(&vec![0; 2 << 20]);
        assert!(large.len() < SMALL);
        assert_eq!(prove_small(&file(&large), large.len() as u64).unwrap(), None);
        assert_eq!(prove(&large), whole(0, 0));
        let small = deflated(&vec![0; 200_000]);
        assert_eq!(prove_small(&file(&small), small.len() as u64).unwrap(), Some(whole(0, 0)));
        let long = archive(&[&vec![7; SMALL]], b"");
        assert_eq!(prove_small(&file(&long), long.len() as u64).unwrap(), None);
        let file = file(&long);
        assert!(matches!(super::prove(&file, long.len() as u64, &|| true), Err(Interrupted::Stopped)));
    }

    #[test]
    fn a_file_shorter_than_it_should_be_is_an_error_of_its_own() {
        let bytes = archive(&[b"one"], b"");
        assert!(super::prove(&file(&bytes), bytes.len() as u64 + 1, &|| false).is_err());
        assert!(prove_small(&file(&bytes), bytes.len() as u64 + 1).is_err());
    }
}
