//! Lines to entries: bytes in, cut anywhere, entries out.

use std::mem;

use chrono::{DateTime, TimeDelta, Utc};
use encoding_rs::Encoding;

use super::line::Line;
use super::{dos, fields, mlsd, other, unix};
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::file_names::FileNames;
use crate::base::names::{RemoteName, RemotePath};
use crate::protocol::{Entry, EntryCollector, Kind, ListingCut, MAX_NAME_BYTES, Summary};

/// Most lines that wait until it is clear whether `AM` and `PM` behind the times of a listing belong to them.
pub(super) const MAX_UNDECIDED: usize = 4096;

/// Unix shows the time in place of the year of files younger than half a year, by its own clock (`ls` of POSIX). A file
/// that seems older than this is shown by a server that never shows years, or by one whose clock is ahead.
const HALF_A_YEAR: TimeDelta = TimeDelta::days(184);

#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Mlsd,
    List { now: DateTime<Utc>, halves: Halves },
}

/// Whether a word `AM` or `PM` behind a time belongs to it, and a time behind a year to the date. A name may begin so as
/// well: what tells is any other line of the listing with a time and without such a word, or with a time and no year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halves {
    Unknown,
    InTimes,
    InNames,
}

/// Reads one listing.
#[derive(Debug)]
pub struct ListingParser {
    format: Format,
    /// The beginning of a line whose end has not come yet; one byte over the limit marks it as too long.
    pub(super) pending: Vec<u8>,
    /// Lines whose times cannot be read yet, see [`Halves`].
    undecided: Vec<Vec<u8>>,
    pub(super) collector: EntryCollector,
    encoding: &'static Encoding,
    /// The directory that is listed.
    path: Option<RemotePath>,
    /// See [`Summary::doubtful_year`].
    doubtful_year: Option<(i64, RemoteName)>,
}

impl ListingParser {
    /// For the answer to MLSD; `encoding` is that of the names.
    #[must_use]
    pub fn mlsd(encoding: &'static Encoding) -> Self {
        Self::new(Format::Mlsd, encoding)
    }

    /// For the answer to LIST, Unix or DOS, told apart line by line. `now` dates the entries that come without
    /// a year.
    #[must_use]
    pub fn list(encoding: &'static Encoding, now: DateTime<Utc>) -> Self {
        Self::new(Format::List { now, halves: Halves::Unknown }, encoding)
    }

    pub(super) fn new(format: Format, encoding: &'static Encoding) -> Self {
        let (pending, undecided, path, doubtful_year) = (Vec::new(), Vec::new(), None, None);
        let collector = EntryCollector::new(encoding);
        Self { format, pending, undecided, collector, encoding, path, doubtful_year }
    }

    /// Says which directory it is that is listed: servers call entries by their paths.
    #[must_use]
    pub fn of_directory(mut self, path: &RemotePath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// Says which files are wanted.
    #[must_use]
    pub fn of_files(mut self, files: &FileNames) -> Self {
        self.collector = self.collector.of_files(files);
        self
    }

    /// Has the names collected, for [`Summary::names`].
    pub fn collect_names(&mut self) {
        self.collector.collect_names();
    }

    /// Has [`Summary::shows_itself`] set where a directory is named like a component of this path.
    pub fn watch_for(&mut self, path: &RemotePath) {
        self.collector.watch_for(path);
    }

    /// Takes the next bytes, cut anywhere, and appends what is complete and worth mirroring: directories, and
    /// files and links of wanted names. The caller may drain `entries` at any time.
    pub fn feed(&mut self, bytes: &[u8], entries: &mut Vec<Entry>) {
        let taken = self.collector.admit(bytes);
        let mut rest = taken;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at_checked(end).unwrap_or_default();
            rest = after.strip_prefix(b"\n").unwrap_or_default();
            if self.pending.is_empty() {
                self.take_line(line, entries);
            } else {
                self.hold(line);
                self.take_pending(entries);
            }
        }
        self.hold(rest);
        if taken.len() < bytes.len() {
            self.collector.pass_limit();
        }
    }

    /// Ends the listing, with a last line that has no line end if there is one.
    pub fn finish(mut self, entries: &mut Vec<Entry>) -> Summary {
        self.take_pending(entries);
        self.decide(Halves::InTimes, entries);
        Summary { doubtful_year: self.doubtful_year, ..self.collector.finish() }
    }

    /// Entries so far, the unwanted ones included.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.collector.entry_count()
    }

    /// What [`Summary::own_unique`] will be, as far as the listing was read.
    #[must_use]
    pub fn own_unique(&self) -> Option<u64> {
        self.collector.own_unique()
    }

    /// # Errors
    ///
    /// Where a limit was passed, so that reading on is of no use.
    pub fn check_limit(&self) -> Result<(), ListingCut> {
        self.collector.check_limit()
    }

    fn hold(&mut self, part: &[u8]) {
        let room = (MAX_NAME_BYTES + 1).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn take_pending(&mut self, entries: &mut Vec<Entry>) {
        let mut line = mem::take(&mut self.pending);
        self.take_line(&line, entries);
        // keeps the allocation for the next line that comes in two parts
        line.clear();
        self.pending = line;
    }

    fn take_line(&mut self, line: &[u8], entries: &mut Vec<Entry>) {
        let too_long = line.len() > MAX_NAME_BYTES;
        if self.collector.is_over_limit() || (!too_long && fields::is_blank_line(line)) {
            return;
        }
        self.collector.line();
        if too_long {
            self.collector.too_long();
            return;
        }
        // ASCII transfers of files written with CRLF end in CR CR LF; a name with a CR in it is refused anyhow
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let line = line.get(..end).unwrap_or(line);
        let Format::List { now, halves: Halves::Unknown } = self.format else {
            return self.use_line(line, entries);
        };
        let read = self.read_line(self.format, line);
        let in_times = Format::List { now, halves: Halves::InTimes };
        let may_be_half = (has_half(line) || read.as_ref().is_some_and(begins_with_time))
            && read != self.read_line(in_times, line);
        let has_time =
            matches!(read, Some(Line::Entry { facts, .. }) if facts.modified.is_some_and(Modified::has_time));
        if !may_be_half && has_time {
            self.decide(Halves::InNames, entries);
        } else if may_be_half || !self.undecided.is_empty() {
            self.undecided.push(line.to_vec());
            if self.undecided.len() == MAX_UNDECIDED {
                self.decide(Halves::InTimes, entries);
            }
            return;
        }
        self.use_line(line, entries);
    }

    /// From now on it is clear how times are read, also those of the lines that wait for it.
    fn decide(&mut self, decided: Halves, entries: &mut Vec<Entry>) {
        if let Format::List { halves, .. } = &mut self.format
            && *halves == Halves::Unknown
        {
            *halves = decided;
            mem::take(&mut self.undecided).iter().for_each(|line| self.use_line(line, entries));
        }
    }

    fn use_line(&mut self, line: &[u8], entries: &mut Vec<Entry>) {
        match self.read_line(self.format, line) {
            Some(Line::Ignored) => {
                if matches!(self.format, Format::Mlsd) {
                    self.collector.own(|| mlsd::own_unique(line));
                }
            }
            Some(Line::Special) => self.collector.special(line),
            Some(Line::Entry { name, kind, facts }) => {
                let name = bare(name, self.path.as_ref());
                if matches!(name, b"." | b"..") {
                    return;
                }
                self.doubt_year(name, kind, facts);
                let unique = match (self.format, kind) {
                    (Format::Mlsd, Kind::Directory) => mlsd::unique(line),
                    _ => None,
                };
                self.collector.entry(name, (kind, unique), facts, entries);
            }
            None => self.collector.not_understood(line),
        }
    }
}

impl ListingParser {
    fn doubt_year(&mut self, name: &[u8], kind: Kind, facts: FileFacts) {
        let (Format::List { now, .. }, Kind::File) = (self.format, kind) else { return };
        let Some(Modified { unix_seconds, source: TimeSource::LocalMinute }) = facts.modified else { return };
        let is_latest = self.doubtful_year.as_ref().is_none_or(|(latest, _)| unix_seconds > *latest);
        if !is_latest || unix_seconds >= (now - HALF_A_YEAR).timestamp() {
            return;
        }
        if self.collector.is_wanted(name)
            && let Ok(name) = RemoteName::from_wire(name, self.encoding)
        {
            self.doubtful_year = Some((unix_seconds, name));
        }
    }

    fn read_line<'l>(&self, format: Format, line: &'l [u8]) -> Option<Line<'l>> {
        read_line(format, line, &|name| self.collector.is_wanted(name))
    }
}

/// Reads a line; `is_wanted` says so of the name of a file.
pub(super) fn read_line<'l>(
    format: Format,
    line: &'l [u8],
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Option<Line<'l>> {
    let read = match format {
        Format::Mlsd => mlsd::read(line),
        // no line is both, so the dialect needs no memory and a listing may mix them
        Format::List { now, halves } => unix::read(line, now, halves == Halves::InTimes, is_wanted)
            .or_else(|| dos::read(line))
            .or_else(|| other::read(line)),
    };
    match read? {
        Line::Entry { name: b"." | b".." | b"./" | b"../", .. } => Some(Line::Ignored),
        // `ls -F` marks directories so, and no name ends in a slash
        Line::Entry { name, kind: Kind::Directory, facts } => {
            let name = name.strip_suffix(b"/").unwrap_or(name);
            Some(Line::Entry { name, kind: Kind::Directory, facts })
        }
        Line::Entry { name, kind: Kind::Link, facts } => {
            let facts = FileFacts { size: None, ..facts };
            Some(Line::Entry { name, kind: Kind::Link, facts })
        }
        line => Some(line),
    }
}

/// The name alone, of an entry that is called by its path: `./a.zip`, or `/MR/a.zip` in the listing of `/MR`. Any other
/// path leads elsewhere and stays what it is, so that it is refused.
fn bare<'n>(name: &'n [u8], directory: Option<&RemotePath>) -> &'n [u8] {
    let Some(slash) = name.iter().rposition(|byte| *byte == b'/') else { return name };
    let (before, rest) = name.split_at_checked(slash).unwrap_or_default();
    let own = |path: &RemotePath| path.wire().strip_suffix(b"/").unwrap_or(path.wire()) == before;
    let is_here = before == b"." || directory.is_some_and(own);
    rest.strip_prefix(b"/").filter(|rest| is_here && !rest.is_empty()).unwrap_or(name)
}

/// Returns whether the name may be a time that belongs to the date.
fn begins_with_time(line: &Line<'_>) -> bool {
    let Line::Entry { name, .. } = line else { return false };
    matches!(name, [b'0'..=b'9', b':', ..] | [b'0'..=b'9', b'0'..=b'9', b':', ..])
}

/// Returns whether a word of the line may say the half of the day.
fn has_half(line: &[u8]) -> bool {
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b" am ") || word.eq_ignore_ascii_case(b" pm "))
}
