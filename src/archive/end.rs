//! Finds the end of a zip archive and, by it, the central directory (APPNOTE.TXT 6.3 sections 4.3.14 to 4.3.16).

use std::io;

use super::source::Source;
use super::{u16_at, u32_at, u64_at};
use crate::base::read_at::ReadAt;

/// Begins each entry of a central directory (section 4.3.12).
pub(super) const CENTRAL_HEADER: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const ZIP64_END: &[u8] = b"PK\x06\x06";
const ZIP64_LOCATOR: &[u8] = b"PK\x06\x07";

const END_BYTES: usize = 22;
const ZIP64_END_BYTES: usize = 56;
const ZIP64_LOCATOR_BYTES: usize = 20;
const MAX_COMMENT_BYTES: usize = 65_535;

/// What may follow an archive, besides any number of equal bytes at the very end, and still have it found.
const MAX_BEHIND: u64 = 1024 * 1024;
/// End records before the end of the file that are looked at.
const MAX_FOLLOWED: usize = 8;
/// Read at a time where padding is looked for.
const BLOCK: usize = 64 * 1024;

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
    /// Where in the file the archive ends, its comment included.
    pub(super) end: u64,
    /// The last part of an archive of several files, whose entries lie elsewhere.
    pub(super) is_part: bool,
}

impl Directory {
    fn if_before_record(self) -> Option<Self> {
        let end = self.start.checked_add(self.size)?;
        (end <= self.described_at).then_some(self)
    }

    /// Where the archive begins in the file: all its positions are relative to that. Something may stand before it,
    /// a program that unpacks it for example, and then the directory is not where it says.
    pub(super) fn before(self, source: Source<'_>) -> io::Result<u64> {
        let shift = self.described_at - self.size - self.start;
        if shift == 0 || source.has(CENTRAL_HEADER, self.described_at - self.size)? {
            return Ok(shift);
        }
        // something stands between the directory and its record
        let as_told = source.has(CENTRAL_HEADER, self.start)?;
        Ok(if as_told { 0 } else { shift })
    }

    /// Returns whether it is one in all likelihood, whatever its entries are worth: it begins as one, or lies
    /// exactly between the entries and the record that describes it.
    pub(super) fn is_likely(self, source: Source<'_>) -> io::Result<bool> {
        let (size, before) = (self.size, self.before(source)?);
        Ok(size > 0 && (before == 0 || source.has(CENTRAL_HEADER, before + self.start)?))
    }
}

/// Finds the end record whose comment reaches exactly to `end`, and which describes a directory before it.
pub(super) fn find_directory(source: Source<'_>, end: u64) -> io::Result<Option<Directory>> {
    // usually there is no comment, and the record is all that is read
    for length in [END_BYTES, END_BYTES + MAX_COMMENT_BYTES] {
        let length = usize::try_from(end).unwrap_or(usize::MAX).min(length);
        let start = end - length as u64;
        let mut tail = vec![0; length];
        source.read_exact_at(&mut tail, start)?;
        for (index, record) in tail.windows(END_BYTES).enumerate().rev() {
            let comment = length - index - END_BYTES;
            if record.starts_with(END)
                && usize::from(u16_at(record, 20)) == comment
                && let Some(directory) = read_end(source, record, start + index as u64)?
            {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}

/// Finds the end records, the last first, that something follows, of archives that begin where the file does. `stop`
/// is asked now and then.
pub(super) fn find_followed(
    source: Source<'_>,
    size: u64,
    stop: &dyn Fn() -> bool,
) -> io::Result<Vec<Directory>> {
    let padding = padding_start(source, size, stop)?;
    // an end record may end in bytes that look like padding
    let end = size.min(padding.saturating_add(END_BYTES as u64));
    let start = padding.saturating_sub(MAX_BEHIND + (END_BYTES + MAX_COMMENT_BYTES) as u64);
    let mut tail = vec![0; usize::try_from(end - start).unwrap_or(0)];
    source.read_exact_at(&mut tail, start)?;
    let mut found = Vec::new();
    for (index, record) in tail.windows(END_BYTES).enumerate().rev() {
        if found.len() < MAX_FOLLOWED
            && record.starts_with(END)
            && let Some(directory) = read_end(source, record, start + index as u64)?
            && directory.end < size
            && (directory.before(source)? == 0)
        {
            found.push(directory);
        }
    }
    Ok(found)
}

/// Where the run of equal bytes begins that the file ends with.
fn padding_start(source: Source<'_>, size: u64, stop: &dyn Fn() -> bool) -> io::Result<u64> {
    let mut end = size;
    let mut block = vec![0; BLOCK.min(usize::try_from(size).unwrap_or(BLOCK))];
    let mut padding = None;
    while end > 0 && !stop() {
        let length = usize::try_from(end).unwrap_or(BLOCK).min(block.len());
        let start = end - length as u64;
        let block = block.get_mut(..length).unwrap_or_default();
        source.read_exact_at(block, start)?;
        let padding = *padding.get_or_insert(block.last().copied().unwrap_or_default());
        if let Some(last) = block.iter().rposition(|byte| *byte != padding) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(end)
}

fn read_end(source: Source<'_>, record: &[u8], at: u64) -> io::Result<Option<Directory>> {
    let (entries, size, start) = (u16_at(record, 10), u32_at(record, 12), u32_at(record, 16));
    let end = at + END_BYTES as u64 + u64::from(u16_at(record, 20));
    let does_not_fit = entries == u16::MAX || size == u32::MAX || start == u32::MAX;
    if does_not_fit && let Some(locator) = read_before(source, at, ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES)? {
        return read_zip64_end(source, u64_at(&locator, 8), at - ZIP64_LOCATOR_BYTES as u64, end);
    }
    let is_part = !matches!(u16_at(record, 4), 0 | u16::MAX);
    // without a locator, the largest value is meant as it stands
    let (entries, size, start) = (entries.into(), size.into(), start.into());
    Ok(Directory { start, size, entries, described_at: at, zip64: false, end, is_part }.if_before_record())
}

fn read_zip64_end(
    source: Source<'_>,
    told: u64,
    locator_at: u64,
    archive_end: u64,
) -> io::Result<Option<Directory>> {
    // something before the archive moves the record, which lies right before its locator nearly always
    let beside = locator_at.saturating_sub(ZIP64_END_BYTES as u64);
    for at in [told, beside] {
        let Some(end) = at.checked_add(ZIP64_END_BYTES as u64).filter(|end| *end <= locator_at) else {
            continue;
        };
        let Some(record) = read_before(source, end, ZIP64_END, ZIP64_END_BYTES)? else { continue };
        let (entries, size, start) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
        let is_part = u32_at(&record, 16) != 0;
        let directory =
            Directory { start, size, entries, described_at: at, zip64: true, end: archive_end, is_part };
        return Ok(directory.if_before_record());
    }
    Ok(None)
}

/// The record of `length` bytes that ends at `end`, if it begins with its signature.
fn read_before(source: Source<'_>, end: u64, signature: &[u8], length: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(start) = end.checked_sub(length as u64) else { return Ok(None) };
    let mut record = vec![0; length];
    source.read_exact_at(&mut record, start)?;
    Ok(record.starts_with(signature).then_some(record))
}
