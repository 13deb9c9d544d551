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

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use zip::ZipReadOptions;
use zip::read::read_zipfile_from_stream_with_options;

use super::end::{CENTRAL_HEADER, Directory};
use super::source::Source;
use super::{Interrupted, u16_at, u32_at, u64_at};
use crate::base::read_at::ReadAt;

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
pub(super) const STEP_BYTES: usize = 256 * 1024;

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
pub(super) struct Section<'a> {
    disk: &'a Disk<'a>,
    position: u64,
    end: u64,
}

impl Section<'_> {
    /// Where the next byte is read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
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

    /// The file itself.
    pub(super) fn source(&self) -> Source<'a> {
        self.source
    }

    /// A part of it, as a stream.
    pub(super) fn section(&self, start: u64, length: u64) -> Section<'_> {
        Section { disk: self, position: start, end: start.saturating_add(length) }
    }

    pub(super) fn ask_to_stop(&self) -> io::Result<()> {
        if (self.stop)() { Err(self.fail(Interrupted::Stopped)) } else { Ok(()) }
    }

    /// Keeps the reason beside the error, which comes back in the words of some decoder.
    fn fail(&self, failure: Interrupted) -> io::Error {
        self.failure.set(Some(failure));
        io::Error::other("closed")
    }

    /// Why reading failed, where that says nothing about the file.
    pub(super) fn why_closed(&self) -> Option<Interrupted> {
        self.failure.take()
    }

    /// What an error met while reading means.
    fn explain(&self, entry: u64, error: &io::Error) -> Failure {
        self.closed.set(false);
        match self.why_closed() {
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

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
