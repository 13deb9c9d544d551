//! Reads a whole zip archive to see whether it can be read.
//!
//! The structure (APPNOTE.TXT 6.3 section 4.3) is read here; the `zip` crate decompresses and compares checksums.
//! Opening a damaged archive with the crate would look for other archives in it, allocate what a record claims
//! to need, and see but one of two entries with the same name.
//!
//! `rc-zip-sync` 4 was tried on the fuzz corpus and on damaged archives: it finds cuts, holes and wrong checksums as well, and
//! both of two entries with the same name. It does not do here, because an entry of a method that it cannot unpack (LZMA,
//! encryption) is an error to it where a look from outside says whether bytes are missing, an archive with more than 64 KiB
//! of padding behind it is none, and it keeps the whole directory in memory, as many entries as a server likes.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use zip::ZipReadOptions;
use zip::read::read_zipfile_from_stream_with_options;

use super::end::{CENTRAL_HEADER, Directory};
use super::source::Source;
use super::{Interrupted, u16_at, u32_at, u64_at};

/// Most bytes of one archive that are unpacked, or read for that if those are more. Entries that do not fit in
/// are looked at from outside, so that a bomb costs minutes rather than days.
pub const MAX_UNPACKED_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Most entries of one archive that are unpacked; the others are looked at from outside.
pub const MAX_UNPACKED_ENTRIES: u64 = 100_000;

/// Methods that this build unpacks, as the features of the `zip` crate in Cargo.toml: stored, deflate, deflate64,
/// bzip2.
const METHODS: [u16; 4] = [0, 8, 9, 12];
const STORED: u16 = 0;

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";

const LOCAL_HEADER_BYTES: usize = 30;
const CENTRAL_HEADER_BYTES: usize = 46;

/// Flags of an entry: its data are encrypted; its sizes follow its data.
const ENCRYPTED: u16 = 1;
const SIZES_FOLLOW: u16 = 8;

/// Extra field with the numbers that need 64 bits (section 4.5.3).
const ZIP64_EXTRA: u16 = 1;

/// Read or unpacked between two looks at the exit flag.
const STEP_BYTES: usize = 256 * 1024;

/// So many zeros in a row are a hole in what was compressed or encrypted: by chance they never come there.
const HOLE_BYTES: usize = 512;

/// How much of an archive is unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// Read through in search of holes.
    pub(super) searched: u64,
    /// Rather stopped than left undone, where it is more.
    pub(super) strict: bool,
}

impl Limits {
    /// Of a file of `size` bytes, whose entries may be told to lie upon each other.
    pub(super) fn of(size: u64) -> Self {
        Self { bytes: MAX_UNPACKED_BYTES, entries: MAX_UNPACKED_ENTRIES, searched: size, strict: false }
    }
}

/// Why an archive is not proved.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing is known about it.
    Interrupted(Interrupted),
    /// What is wrong where.
    Damaged(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Interrupted(Interrupted::Disk(error))
    }
}

/// Reads every entry of the archive with this directory, which begins at `before` in the file. Returns how many
/// entries were looked at from outside alone.
pub(super) fn read_all(
    disk: &Disk<'_>,
    directory: Directory,
    before: u64,
    limits: &mut Limits,
) -> Result<u64, Failure> {
    let data_end = before + directory.start;
    let step = STEP_BYTES.min(usize::try_from(data_end + directory.size).unwrap_or(STEP_BYTES)).max(1);
    let mut archive = Archive { disk, start: before, data_end, limits, buffer: vec![0; step], unproved: 0 };
    let mut central = BufReader::with_capacity(step, disk.section(data_end, directory.size));
    let mut entries = 0;
    while let Some(entry) = next_entry(&mut central).map_err(|error| disk.explain(entries + 1, &error))? {
        entries += 1;
        archive.check(&entry).map_err(|error| disk.explain(entries, &error))?;
    }
    let announced = if directory.zip64 { entries } else { entries % (1 << 16) };
    if announced != directory.entries {
        let text = format!("it holds {entries} entries and announces {}", directory.entries);
        return Err(Failure::Damaged(text));
    }
    Ok(archive.unproved)
}

/// What the central directory says of an entry.
#[derive(Debug)]
struct Entry {
    flags: u16,
    method: u16,
    checksum: u32,
    packed: u64,
    unpacked: u64,
    /// Of the local header, from the beginning of the archive.
    start: u64,
}

/// The file that holds the archive, until it is not to be read any more.
pub(super) struct Disk<'a> {
    source: Source<'a>,
    stop: &'a dyn Fn() -> bool,
    /// Why reading failed, where that says nothing about the archive.
    failure: Cell<Option<Interrupted>>,
    /// Set after a failure to unpack.
    closed: Cell<bool>,
}

/// A part of the file, as a stream.
struct Section<'a> {
    disk: &'a Disk<'a>,
    position: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.disk.closed.get() {
            return Err(io::Error::other("closed"));
        }
        self.disk.ask_to_stop()?;
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self.disk.source.read_at(buffer.get_mut(..length).unwrap_or_default(), self.position);
        let read = read.map_err(|error| self.disk.fail(Interrupted::Disk(error)))?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<'a> Disk<'a> {
    pub(super) fn new(source: Source<'a>, stop: &'a dyn Fn() -> bool) -> Self {
        Self { source, stop, failure: Cell::new(None), closed: Cell::new(false) }
    }

    fn section(&self, start: u64, length: u64) -> Section<'_> {
        Section { disk: self, position: start, end: start.saturating_add(length) }
    }

    fn ask_to_stop(&self) -> io::Result<()> {
        if (self.stop)() { Err(self.fail(Interrupted::Stopped)) } else { Ok(()) }
    }

    /// Keeps the reason beside the error, which comes back in the words of some decoder.
    fn fail(&self, failure: Interrupted) -> io::Error {
        self.failure.set(Some(failure));
        io::Error::other("closed")
    }

    /// What an error met while reading means.
    fn explain(&self, entry: u64, error: &io::Error) -> Failure {
        self.closed.set(false);
        match self.failure.take() {
            Some(failure) => Failure::Interrupted(failure),
            None => Failure::Damaged(format!("entry {entry}: {error}")),
        }
    }
}

/// Reads the next header of the central directory (section 4.3.12).
fn next_entry(central: &mut BufReader<Section<'_>>) -> io::Result<Option<Entry>> {
    if central.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut header = [0; CENTRAL_HEADER_BYTES];
    central.read_exact(&mut header)?;
    if !header.starts_with(CENTRAL_HEADER) {
        return Err(invalid("the directory holds something else"));
    }
    let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(&header, at)));
    let mut variable = vec![0; name + extra + comment];
    central.read_exact(&mut variable)?;
    let mut entry = Entry {
        flags: u16_at(&header, 8),
        method: u16_at(&header, 10),
        checksum: u32_at(&header, 16),
        packed: u32_at(&header, 20).into(),
        unpacked: u32_at(&header, 24).into(),
        start: u32_at(&header, 42).into(),
    };
    entry.widen(variable.get(name..name + extra).unwrap_or_default());
    Ok(Some(entry))
}

impl Entry {
    /// Takes the numbers that did not fit into 32 bits from the extra fields (section 4.5.3).
    fn widen(&mut self, mut extra: &[u8]) {
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let (field, after) = rest.split_at_checked(u16_at(head, 2).into()).unwrap_or((rest, &[]));
            extra = after;
            if u16_at(head, 0) == ZIP64_EXTRA {
                let mut numbers = field.chunks_exact(8).map(|number| u64_at(number, 0));
                for number in [&mut self.unpacked, &mut self.packed, &mut self.start] {
                    if *number == u64::from(u32::MAX) {
                        *number = numbers.next().unwrap_or(*number);
                    }
                }
            }
        }
    }
}

/// An archive whose directory was found.
struct Archive<'a> {
    disk: &'a Disk<'a>,
    /// Where it begins in the file.
    start: u64,
    /// Where in the file its directory begins, before which lie its entries.
    data_end: u64,
    /// What is still left of them.
    limits: &'a mut Limits,
    buffer: Vec<u8>,
    /// Entries that were looked at from outside alone.
    unproved: u64,
}

impl Archive<'_> {
    fn check(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(data) = self.find_data(entry)? else {
            return Err(invalid("its data are not where the directory says"));
        };
        let cost = entry.packed.max(entry.unpacked);
        if cost == 0 {
            return Ok(());
        }
        let is_known = entry.flags & ENCRYPTED == 0 && METHODS.contains(&entry.method);
        let fits = cost <= self.limits.bytes && self.limits.entries > 0;
        if is_known && fits {
            self.limits.bytes -= cost;
            self.limits.entries -= 1;
            return self.unpack(entry, data);
        }
        if self.limits.strict {
            return Err(self.disk.fail(Interrupted::Stopped));
        }
        self.unproved += 1;
        // what is stored as it is may hold zeros
        let may_hold_zeros = is_known && entry.method == STORED;
        if may_hold_zeros { Ok(()) } else { self.look_for_hole(data, entry.packed) }
    }

    /// Finds a piece of an entry that was reserved and not written yet.
    fn look_for_hole(&mut self, data: u64, packed: u64) -> io::Result<()> {
        let length = packed.min(self.limits.searched);
        self.limits.searched -= length;
        let mut section = self.disk.section(data, length);
        loop {
            let filled = fill(&mut section, &mut self.buffer)?;
            let block = self.buffer.get(..filled).unwrap_or_default();
            if block.chunks_exact(HOLE_BYTES).any(is_zero) {
                return Err(invalid("a part of its data is nothing but zeros"));
            }
            if filled < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Where the data of an entry begin: behind its local header (section 4.3.7).
    fn find_data(&self, entry: &Entry) -> io::Result<Option<u64>> {
        let Some(start) = self.start.checked_add(entry.start) else { return Ok(None) };
        let mut header = [0; LOCAL_HEADER_BYTES];
        let Some(end) = start.checked_add(header.len() as u64).filter(|end| *end <= self.data_end) else {
            return Ok(None);
        };
        self.disk
            .source
            .read_exact_at(&mut header, start)
            .map_err(|error| self.disk.fail(Interrupted::Disk(error)))?;
        let data = end + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let fits = data.checked_add(entry.packed).is_some_and(|end| end <= self.data_end);
        Ok((fits && header.starts_with(LOCAL_HEADER)).then_some(data))
    }

    fn unpack(&mut self, entry: &Entry, data: u64) -> io::Result<()> {
        // the crate wants a stream that begins with a local header: this one leaves all numbers to the options
        let [version, flags, method] = [20, SIZES_FOLLOW, entry.method].map(u16::to_le_bytes);
        let header = [LOCAL_HEADER, &version, &flags, &method, &[0; LOCAL_HEADER_BYTES - 10]].concat();
        let mut stream = header.as_slice().chain(self.disk.section(data, entry.packed));
        let options = ZipReadOptions::new()
            .override_compressed_size(entry.packed)
            .override_uncompressed_size(entry.unpacked)
            .override_crc(entry.checksum);
        let content = read_zipfile_from_stream_with_options(&mut stream, options)?;
        let Some(mut content) = content else { return Err(invalid("it is no entry")) };
        let read = drain(&mut content, self.disk, &mut self.buffer);
        // dropped, the content reads on to its end: after a failure there is no point in that
        self.disk.closed.set(read.is_err());
        match read? {
            length if length == entry.unpacked => Ok(()),
            _ => Err(invalid("it is shorter than announced")),
        }
    }
}

/// Reads to the end and gives the length.
fn drain(content: &mut dyn Read, disk: &Disk<'_>, buffer: &mut [u8]) -> io::Result<u64> {
    let mut length = 0;
    loop {
        disk.ask_to_stop()?;
        match content.read(buffer)? {
            0 => return Ok(length),
            read => length += read as u64,
        }
    }
}

/// Reads until `buffer` is full or the stream has ended, and gives the length.
fn fill(stream: &mut Section<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;
    use crate::archive::end::find_directory;
    use crate::archive::tests::with_zip64_end;

    const METHODS: [CompressionMethod; 3] =
        [CompressionMethod::Stored, CompressionMethod::Deflated, CompressionMethod::Bzip2];

    fn read(bytes: &[u8]) -> Result<u64, Failure> {
        read_within(bytes, Limits::of(bytes.len() as u64))
    }

    fn read_within(bytes: &[u8], limits: Limits) -> Result<u64, Failure> {
        read_until(bytes, &|| false, limits)
    }

    fn read_until(bytes: &[u8], stop: &dyn Fn() -> bool, mut limits: Limits) -> Result<u64, Failure> {
        let source = Source::Memory(bytes);
        let Some(directory) = find_directory(source, bytes.len() as u64)? else {
            return Err(Failure::Damaged("it does not end as one".to_owned()));
        };
        let before = directory.before(source)?;
        read_all(&Disk::new(source, stop), directory, before, &mut limits)
    }

    fn limits(bytes: u64, entries: u64) -> Limits {
        Limits { bytes, entries, ..Limits::of(1 << 20) }
    }

    /// What is wrong with a damaged archive.
    fn damage(result: Result<u64, Failure>) -> String {
        match result {
            Err(Failure::Damaged(text)) => text,
            other => panic!("not damaged: {other:?}"),
        }
    }

    fn options(method: CompressionMethod) -> SimpleFileOptions {
        SimpleFileOptions::default().compression_method(method)
    }

    fn archive(method: CompressionMethod, contents: &[&[u8]]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (index, content) in contents.iter().enumerate() {
            writer.start_file(format!("{index}"), options(method)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// A little that compresses, and a little that does not.
    fn content() -> Vec<u8> {
        (0..3000_u32).flat_map(|number| (number / 7).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
    }

    fn position(bytes: &[u8], signature: &[u8]) -> usize {
        bytes.windows(signature.len()).position(|window| window == signature).unwrap()
    }

    /// Puts `extra` into the only header of the directory.
    fn with_extra(bytes: &[u8], extra: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
        let central = position(bytes, CENTRAL_HEADER);
        let end = bytes.len() - 22;
        let (mut header, mut record) = (bytes[central..end].to_vec(), bytes[end..].to_vec());
        header[30..32].copy_from_slice(&u16::try_from(extra.len()).unwrap().to_le_bytes());
        change(&mut header);
        header.splice(47..47, extra.iter().copied());
        record[12..16].copy_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
        [&bytes[..central], &header, &record].concat()
    }

    /// interface 10.14
    #[test]
    fn archives_of_every_method_are_read() {
        for method in METHODS {
            let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
            writer.add_directory("empty", options(method)).unwrap();
            for name in ["a", "目录/文件.xml"] {
                writer.start_file(name, options(method)).unwrap();
                writer.write_all(&content()).unwrap();
            }
            writer.start_file("nothing", options(method)).unwrap();
            writer.start_file("large", options(method).large_file(true)).unwrap();
            writer.write_all(b"x").unwrap();
            writer.set_comment("a comment").unwrap();
            read(&writer.finish().unwrap().into_inner()).unwrap();
        }
        read(&archive(CompressionMethod::Stored, &[])).unwrap();
    }

    #[test]
    fn an_archive_written_as_a_stream_has_its_sizes_behind_the_data() {
        for method in METHODS {
            let mut writer = ZipWriter::new_stream(Vec::new());
            writer.start_file("a", options(method)).unwrap();
            writer.write_all(&content()).unwrap();
            writer.start_file("b", options(method)).unwrap();
            writer.write_all(b"x").unwrap();
            let bytes = writer.finish().unwrap().into_inner();
            assert_eq!(u16_at(&bytes, 6) & SIZES_FOLLOW, SIZES_FOLLOW);
            read(&bytes).unwrap();
        }
    }

    /// interface 10.14
    #[test]
    fn one_changed_byte_of_content_is_found() {
        let stored = archive(CompressionMethod::Stored, &[b"first", b"second"]);
        let start = position(&stored, b"second");
        for at in start..start + 6 {
            let mut bytes = stored.clone();
            bytes[at] ^= 1;
            assert_eq!(damage(read(&bytes)), "entry 2: Invalid checksum");
        }
        for method in METHODS {
            let mut bytes = archive(method, &[&content()]);
            let middle = position(&bytes, CENTRAL_HEADER) / 2;
            bytes[middle] ^= 0x10;
            assert!(damage(read(&bytes)).starts_with("entry 1: "));
        }
    }

    #[test]
    fn one_of_two_entries_with_the_same_name_is_not_overlooked() {
        for at in [0, 1] {
            let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
            // "1" becomes "0" in both headers
            for name in [position(&bytes, b"1second"), bytes.len() - 23] {
                bytes[name] = b'0';
            }
            read(&bytes).unwrap();
            let content = position(&bytes, [&b"first"[..], b"second"][at]);
            bytes[content] ^= 1;
            assert_eq!(damage(read(&bytes)), format!("entry {}: Invalid checksum", at + 1));
        }
    }

    #[test]
    fn an_archive_cut_anywhere_is_damaged() {
        let bytes = archive(CompressionMethod::Deflated, &[b"first", b"second"]);
        for length in 0..bytes.len() {
            assert_eq!(damage(read(&bytes[..length])), "it does not end as one");
        }
        assert_eq!(damage(read(b"<html>a page of more than 22 bytes</html>")), "it does not end as one");
    }

    #[test]
    fn bytes_missing_in_the_middle_are_found() {
        for method in METHODS {
            let mut bytes = archive(method, &[&content(), b"second"]);
            bytes.drain(100..200);
            damage(read(&bytes));
        }
    }

    #[test]
    fn something_may_stand_before_an_archive() {
        let bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
        read(&[b"#!/bin/sh\n", &bytes[..]].concat()).unwrap();
        let mut changed = [b"#!/bin/sh\n", &bytes[..]].concat();
        let at = position(&changed, b"second");
        changed[at] ^= 1;
        assert_eq!(damage(read(&changed)), "entry 2: Invalid checksum");
    }

    #[test]
    fn what_cannot_be_unpacked_here_is_looked_at_from_outside() {
        // an encrypted entry; one of a method that nobody knows
        for (field, value) in [(8, 1), (10, 99)] {
            let mut bytes = archive(CompressionMethod::Stored, &[b"first"]);
            let (content, central) = (position(&bytes, b"first"), position(&bytes, CENTRAL_HEADER));
            bytes[content] ^= 1;
            damage(read(&bytes));
            bytes[central + field] = value;
            read(&bytes).unwrap();
            bytes[central + 20] += 1; // its packed size reaches into the directory
            assert_eq!(damage(read(&bytes)), "entry 1: its data are not where the directory says");
        }
    }

    #[test]
    fn entries_that_lie_nowhere_are_damage() {
        let bytes = archive(CompressionMethod::Stored, &[b"first"]);
        let central = position(&bytes, CENTRAL_HEADER);
        let lies: [(usize, &[u8], &str); 6] = [
            (central + 42, &[1], "entry 1: its data are not where the directory says"),
            (central + 42, &[0xfe; 4], "entry 1: its data are not where the directory says"),
            (central + 42, &[0xff; 4], "entry 1: its data are not where the directory says"),
            (0, b"PK\x01\x02", "entry 1: its data are not where the directory says"),
            (central + 28, &[0xff; 2], "entry 1: failed to fill whole buffer"),
            (central, b"PK\x03\x04", "entry 1: the directory holds something else"),
        ];
        for (at, lie, expected) in lies {
            let mut bytes = bytes.clone();
            bytes[at..at + lie.len()].copy_from_slice(lie);
            assert_eq!(damage(read(&bytes)), expected);
        }
    }

    #[test]
    fn sizes_are_compared_with_what_comes_out() {
        for method in METHODS {
            let bytes = archive(method, &[b"first"]);
            let size = position(&bytes, CENTRAL_HEADER) + 24;
            for (size_byte, expected) in [(6, "is shorter than announced"), (4, "larger than its declared")] {
                let mut bytes = bytes.clone();
                bytes[size] = size_byte;
                let text = damage(read(&bytes));
                assert!(text.contains(expected), "{text}");
            }
        }
    }

    #[test]
    fn the_number_of_entries_is_the_announced_one() {
        for announced in [0, 1, 3] {
            let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
            let end = bytes.len() - 22;
            bytes[end + 10] = announced;
            assert_eq!(damage(read(&bytes)), format!("it holds 2 entries and announces {announced}"));
        }
    }

    /// So many entries without content, all of them the same one, announced by their lower 16 bits.
    fn crowded(entries: u32) -> Vec<u8> {
        let central = [CENTRAL_HEADER, &[0; 42]].concat();
        let mut bytes = [LOCAL_HEADER, &[0; 26]].concat();
        bytes.extend(central.repeat(entries as usize));
        let [lower, upper, ..] = entries.to_le_bytes();
        let numbers = [[lower, upper, lower, upper], (entries * 46).to_le_bytes(), 30_u32.to_le_bytes()];
        bytes.extend([b"PK\x05\x06", &[0; 4][..], &numbers.concat(), &[0; 2]].concat());
        bytes
    }

    #[test]
    fn more_entries_than_16_bits_count_are_announced_by_their_lower_bits() {
        read(&crowded(65_537)).unwrap();
    }

    #[test]
    fn a_number_of_entries_in_64_bits_is_meant_as_it_stands() {
        let mut bytes = with_zip64_end(&archive(CompressionMethod::Stored, &[b"first", b"second"]), 0..0);
        let end = bytes.len() - 22;
        bytes[end + 8..end + 12].fill(0xff);
        read(&bytes).unwrap();
        let mut bytes = with_zip64_end(&crowded(65_537), 8..20);
        assert_eq!(damage(read(&bytes)), "it holds 65537 entries and announces 1");
        let record = position(&bytes, b"PK\x06\x06");
        bytes[record + 32..record + 36].copy_from_slice(&65_537_u32.to_le_bytes());
        read(&bytes).unwrap();
    }

    #[test]
    fn something_may_stand_between_directory_and_end() {
        let mut bytes = archive(CompressionMethod::Stored, &[b"first"]);
        let end = bytes.len() - 22;
        bytes.splice(end..end, *b"something");
        read(&bytes).unwrap();
    }

    #[test]
    fn entries_without_any_data_need_not_be_well_packed() {
        let mut bytes = archive(CompressionMethod::Stored, &[b""]);
        let central = position(&bytes, CENTRAL_HEADER);
        for method in [8, 9, 12] {
            bytes[central + 10] = method;
            read(&bytes).unwrap();
        }
    }

    #[test]
    fn numbers_in_64_bits_are_found_among_the_extra_fields() {
        let bytes = archive(CompressionMethod::Stored, &[b"first"]);
        let wide = |number: u64| number.to_le_bytes();
        let other = [0x55, 0x54, 8, 0, 7, 7, 7, 7, 7, 7, 7, 7];
        let extra = [&other[..], &[1, 0, 24, 0], &wide(5), &wide(5), &wide(0), &other].concat();
        let all = |header: &mut [u8]| {
            header[20..28].fill(0xff);
            header[42..46].fill(0xff);
        };
        read(&with_extra(&bytes, &extra, all)).unwrap();
        let packed = |header: &mut [u8]| header[20..24].fill(0xff);
        read(&with_extra(&bytes, &[&[1, 0, 8, 0][..], &wide(5)].concat(), packed)).unwrap();
        for lie in [u64::MAX, 1 << 40] {
            let extra = [&[1, 0, 8, 0][..], &wide(lie)].concat();
            let text = damage(read(&with_extra(&bytes, &extra, packed)));
            assert_eq!(text, "entry 1: its data are not where the directory says");
        }
        // cut in the middle of a number
        damage(read(&with_extra(&bytes, &[1, 0, 8, 0, 5], packed)));
    }

    /// interface 10.14
    #[test]
    fn beyond_the_limits_only_the_places_are_checked() {
        let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
        let at = position(&bytes, b"second");
        bytes[at] ^= 1;
        damage(read_within(&bytes, limits(11, 2)));
        read_within(&bytes, limits(10, 2)).unwrap();
        read_within(&bytes, limits(11, 1)).unwrap();
        let header = at - 31;
        bytes[header] = 0;
        damage(read_within(&bytes, limits(0, 0)));
    }

    /// interface 10.14
    #[test]
    fn a_hole_is_found_in_what_cannot_be_unpacked_here() {
        let content: Vec<u8> = content();
        // encrypted; a method that nobody knows; deflated, and beyond the limit
        for (field, value, allowed) in [(8, 1, u64::MAX), (10, 93, u64::MAX), (10, 8, 0)] {
            let mut bytes = archive(CompressionMethod::Stored, &[&content, b"second"]);
            let central = position(&bytes, CENTRAL_HEADER);
            bytes[central + field] = value;
            let unproved = read_within(&bytes, limits(allowed, 2)).unwrap();
            assert_eq!(unproved, if allowed == 0 { 2 } else { 1 });
            bytes[4000..5100].fill(0);
            let text = damage(read_within(&bytes, limits(allowed, 2)));
            assert_eq!(text, "entry 1: a part of its data is nothing but zeros");
        }
    }

    #[test]
    fn a_stop_is_heard_at_every_step_and_ends_the_reading() {
        let large = vec![0; 4 << 20];
        for method in METHODS {
            let file = archive(method, &[&large, b"second"]);
            let all_of_it = Limits::of(file.len() as u64);
            let polls = Cell::new(0);
            let count = |last: u32| {
                polls.set(polls.get() + 1);
                polls.get() == last
            };
            read_until(&file, &|| count(0), all_of_it).unwrap();
            let all = polls.take();
            assert!(all >= 4, "asked {all} times in 4 MiB");
            for last in [1, 2, all / 2, all] {
                let stopped = read_until(&file, &|| count(last), all_of_it);
                assert!(matches!(stopped, Err(Failure::Interrupted(Interrupted::Stopped))), "{stopped:?}");
                assert_eq!(polls.take(), last);
            }
        }
    }

    #[test]
    fn a_stop_is_heard_among_entries_without_content() {
        let stopped = read_until(&crowded(1), &|| true, limits(0, 0));
        assert!(matches!(stopped, Err(Failure::Interrupted(Interrupted::Stopped))), "{stopped:?}");
    }

    #[test]
    fn a_damaged_entry_is_not_read_to_its_end() {
        let mut bytes = archive(CompressionMethod::Stored, &[&vec![0; 4 << 20]]);
        let central = position(&bytes, CENTRAL_HEADER);
        bytes[central + 10] = 8; // not deflated at all
        let polls = Cell::new(0);
        let count = || {
            polls.set(polls.get() + 1);
            false
        };
        damage(read_until(&bytes, &count, Limits::of(bytes.len() as u64)));
        assert!(polls.get() < 10, "asked {} times", polls.get());
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |end: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 32).unwrap() % end
        };
        let archives = METHODS.map(|method| archive(method, &[&content(), b"second", b""]));
        for round in 0..1000 {
            let mut bytes = archives[round % archives.len()].clone();
            let central = position(&bytes, CENTRAL_HEADER);
            for _ in 0..=below(4) {
                let at =
                    if below(2) == 0 { below(bytes.len()) } else { central + below(bytes.len() - central) };
                bytes[at] = [0, 1, 0xff, u8::try_from(below(256)).unwrap()][below(4)];
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let content = super::super::prove(&file, bytes.len() as u64, &|| false).unwrap();
            let small = super::super::prove_small(&file, bytes.len() as u64).unwrap();
            assert!(small.is_none_or(|small| small == content), "{content:?}");
        }
    }
}
