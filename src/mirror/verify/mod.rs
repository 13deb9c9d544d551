//! Says when a received file is whole, for whoever is about to store it.
//!
//! Reads at positions and leaves the file's own position alone, so the handle that wrote it will do. Waits for
//! the disk, and [`readable`] for the processor: call them where that is allowed.

mod end;
mod unpack;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use unpack::{MAX_UNPACKED_BYTES, MAX_UNPACKED_ENTRIES};

/// How an archive begins: with an entry, with its end record if there are no entries, or with the mark of a split
/// archive that needed no split after all, in its two spellings (APPNOTE.TXT 6.3 section 8.5).
const BEGINNINGS: [&[u8]; 4] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04", b"PK00PK\x03\x04"];

/// The longest of them.
const BEGINNING_BYTES: usize = 8;

/// What a file looks like from its first and last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZipShape {
    /// No bytes at all.
    Empty,
    /// Begins as a zip archive and ends as one.
    Whole,
    /// Begins as a zip archive and does not end as one.
    Cut,
    /// Does not begin as a zip archive.
    NotZip,
}

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The caller wanted to stop; nothing is known about the archive.
    #[error("stopped while reading the archive")]
    Stopped,
    /// It is no readable zip archive; the text says what is wrong where.
    #[error("no readable zip archive: {0}")]
    Damaged(String),
    /// The local disk failed; nothing is known about the archive.
    #[error("cannot read the received file: {0}")]
    Disk(#[from] io::Error),
}

/// Looks whether the first `size` bytes of `file` are a zip archive from the first to the last. Reads 30 bytes;
/// up to 64 KiB more where the archive has a comment or no end.
///
/// Nothing may follow the archive: that would be something that nobody expects, or a file that still grows.
///
/// # Errors
///
/// What the disk says, also where the file is shorter than `size`.
pub fn inspect(file: &File, size: u64) -> io::Result<ZipShape> {
    if size == 0 {
        return Ok(ZipShape::Empty);
    }
    if !begins_as_zip(file, size)? {
        return Ok(ZipShape::NotZip);
    }
    Ok(if end::find_directory(file, size)?.is_some() { ZipShape::Whole } else { ZipShape::Cut })
}

/// Reads all of a zip archive: every entry is unpacked and its checksum compared. Encrypted entries and those of
/// a method that this build lacks count as readable if they lie where the archive says, and so do those beyond
/// [`MAX_UNPACKED_BYTES`] and [`MAX_UNPACKED_ENTRIES`]. Something may stand before the archive, nothing after it.
///
/// `stop` is asked at least once for every MiB read or unpacked.
///
/// # Errors
///
/// See [`Unreadable`].
pub fn readable(file: &File, stop: &dyn Fn() -> bool) -> Result<(), Unreadable> {
    unpack::read_all(file, stop, unpack::Limits::default())
}

/// Of a file too short to tell, whether it could be the beginning of an archive.
fn begins_as_zip(file: &File, size: u64) -> io::Result<bool> {
    let mut head = [0; BEGINNING_BYTES];
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(BEGINNING_BYTES);
    let head = head.get_mut(..length).unwrap_or_default();
    file.read_exact_at(head, 0)?;
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

    fn shape(bytes: &[u8]) -> ZipShape {
        inspect(&file(bytes), bytes.len() as u64).unwrap()
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
            assert_eq!(shape(&archive(&[], comment)), ZipShape::Whole);
            assert_eq!(shape(&archive(&[b"one", b"two"], comment)), ZipShape::Whole);
        }
    }

    #[test]
    fn an_archive_cut_anywhere_is_not_whole() {
        for comment in [&b""[..], b"a comment"] {
            let bytes = archive(&[b"one", b"two"], comment);
            // a file that grows under the hand that receives it is as good as cut
            let file = file(&bytes);
            for size in 2..bytes.len() as u64 {
                assert_eq!(inspect(&file, size).unwrap(), ZipShape::Cut, "{size}");
            }
        }
    }

    #[test]
    fn an_archive_with_bytes_behind_it_is_not_whole() {
        let bytes = archive(&[b"one"], b"");
        for tail in [&b"\0"[..], b"\r\n", &[0; 70_000]] {
            assert_eq!(shape(&[&bytes, tail].concat()), ZipShape::Cut);
        }
    }

    #[test]
    fn an_archive_whose_directory_does_not_fit_before_its_end_is_not_whole() {
        let bytes = archive(&[b"one"], b"");
        for field in [12, 16] {
            let mut bytes = bytes.clone();
            let at = end_of(&bytes) + field;
            bytes[at] += 1;
            assert_eq!(shape(&bytes), ZipShape::Cut);
        }
    }

    #[test]
    fn what_does_not_begin_as_an_archive_is_none() {
        let ended = [b"x", &archive(&[b"one"], b"")[..]].concat();
        for bytes in [&b"<html>"[..], b"P", b"PX", b"PK\x01\x02", b"PK\x07\x08data", b"\0\0\0\0", &ended] {
            assert_eq!(shape(bytes), ZipShape::NotZip, "{bytes:?}");
        }
        assert_eq!(shape(b""), ZipShape::Empty);
    }

    #[test]
    fn the_marks_of_split_archives_are_beginnings_too() {
        let bytes = archive(&[b"one"], b"");
        for mark in [&b"PK\x07\x08"[..], b"PK00"] {
            assert_eq!(shape(&[mark, &bytes].concat()), ZipShape::Whole);
            assert_eq!(shape(mark), ZipShape::Cut);
        }
    }

    #[test]
    fn an_end_in_64_bits_is_looked_up_where_32_bits_do_not_do() {
        let bytes = archive(&[b"one", b"two"], b"");
        let wide = with_zip64_end(&bytes, 8..20);
        assert_eq!(shape(&wide), ZipShape::Whole);
        // the record: its signature, size and start of the directory; the locator: position of the record
        let record = wide.len() - 22 - 20 - 56;
        for at in [record, record + 40, record + 48, record + 56 + 8, record + 56 + 15] {
            let mut broken = wide.clone();
            broken[at] = broken[at].wrapping_add(1);
            assert_eq!(shape(&broken), ZipShape::Cut, "{}", at - record);
        }
        let mut unused = with_zip64_end(&bytes, 0..0);
        unused[record] = 0;
        assert_eq!(shape(&unused), ZipShape::Whole);
    }

    #[test]
    fn the_largest_value_means_itself_where_nothing_is_told_in_64_bits() {
        let mut bytes = archive(&[b"one"], b"");
        let end = end_of(&bytes);
        bytes[end + 8..end + 12].fill(0xff);
        assert_eq!(shape(&bytes), ZipShape::Whole);
        bytes[end + 16..end + 20].fill(0xff);
        assert_eq!(shape(&bytes), ZipShape::Cut);
    }

    #[test]
    fn a_file_shorter_than_it_should_be_is_an_error_of_its_own() {
        let bytes = archive(&[b"one"], b"");
        assert!(inspect(&file(&bytes), bytes.len() as u64 + 1).is_err());
    }
}
