//! Finds the end of a zip archive and, by it, the central directory (APPNOTE.TXT 6.3 sections 4.3.14 to 4.3.16).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{u16_at, u32_at, u64_at};

const END: &[u8] = b"PK\x05\x06";
const ZIP64_END: &[u8] = b"PK\x06\x06";
const ZIP64_LOCATOR: &[u8] = b"PK\x06\x07";

const END_BYTES: usize = 22;
const ZIP64_END_BYTES: usize = 56;
const ZIP64_LOCATOR_BYTES: usize = 20;
const MAX_COMMENT_BYTES: usize = 65_535;

/// The central directory of an archive, as its end record describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    /// From the beginning of the archive.
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) entries: u64,
    /// Where in the file the record stands that says so; the directory lies before it.
    pub(super) described_at: u64,
    /// Whether `entries` has 64 bits; otherwise it may have lost all but its lower 16.
    pub(super) zip64: bool,
}

impl Directory {
    fn if_before_record(self) -> Option<Self> {
        let end = self.start.checked_add(self.size)?;
        (end <= self.described_at).then_some(self)
    }
}

/// Finds the end record whose comment reaches exactly to the end of the file of `size` bytes, and which describes
/// a directory before it.
pub(super) fn find_directory(file: &File, size: u64) -> io::Result<Option<Directory>> {
    // usually there is no comment, and the record is all that is read
    for length in [END_BYTES, END_BYTES + MAX_COMMENT_BYTES] {
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(length);
        let start = size - length as u64;
        let mut tail = vec![0; length];
        file.read_exact_at(&mut tail, start)?;
        for (index, record) in tail.windows(END_BYTES).enumerate().rev() {
            let comment = length - index - END_BYTES;
            if record.starts_with(END)
                && usize::from(u16_at(record, 20)) == comment
                && let Some(directory) = read_end(file, record, start + index as u64)?
            {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}

fn read_end(file: &File, record: &[u8], at: u64) -> io::Result<Option<Directory>> {
    let (entries, size, start) = (u16_at(record, 10), u32_at(record, 12), u32_at(record, 16));
    let does_not_fit = entries == u16::MAX || size == u32::MAX || start == u32::MAX;
    if does_not_fit && let Some(locator) = read_before(file, at, ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES)? {
        return read_zip64_end(file, u64_at(&locator, 8), at - ZIP64_LOCATOR_BYTES as u64);
    }
    // without a locator, the largest value is meant as it stands
    let (entries, size, start) = (entries.into(), size.into(), start.into());
    Ok(Directory { start, size, entries, described_at: at, zip64: false }.if_before_record())
}

fn read_zip64_end(file: &File, at: u64, locator_at: u64) -> io::Result<Option<Directory>> {
    let Some(end) = at.checked_add(ZIP64_END_BYTES as u64).filter(|end| *end <= locator_at) else {
        return Ok(None);
    };
    let Some(record) = read_before(file, end, ZIP64_END, ZIP64_END_BYTES)? else { return Ok(None) };
    let (entries, size, start) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
    Ok(Directory { start, size, entries, described_at: at, zip64: true }.if_before_record())
}

/// The record of `length` bytes that ends at `end`, if it begins with its signature.
fn read_before(file: &File, end: u64, signature: &[u8], length: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(start) = end.checked_sub(length as u64) else { return Ok(None) };
    let mut record = vec![0; length];
    file.read_exact_at(&mut record, start)?;
    Ok(record.starts_with(signature).then_some(record))
}
