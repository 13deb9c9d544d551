//! Holds the entries of one listing to the same limits and counts, whatever protocol they come by.

use std::hash::{DefaultHasher, Hash, Hasher};

use encoding_rs::Encoding;

use super::entry::{Entry, Kind, Summary};
use super::error::ListingCut;
use crate::base::facts::FileFacts;
use crate::base::file_names::FileNames;
use crate::base::names;
use crate::base::names::{NameRefused, RemoteName, RemotePath};

/// Longest name, or line of a listing, that is looked at, in bytes. A name has 255 bytes, a link may add a path of 4096.
pub const MAX_NAME_BYTES: usize = 8 * 1024;

/// Most entries of one listing. A directory that large is refused rather than mirrored in part.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// Most bytes of one listing: a million entries with long names.
pub const MAX_LISTING_BYTES: u64 = 256 * 1024 * 1024;

/// Most names of one listing that are collected to compare them with another.
pub const MAX_NAMES: usize = 20_000;

/// Longest sample of a line or name in a [`Summary`], in characters.
const MAX_SAMPLE_CHARS: usize = 120;

/// Counts what a listing shows, checks names, and lets through what can be mirrored.
#[derive(Debug)]
pub struct EntryCollector {
    encoding: &'static Encoding,
    files: FileNames,
    /// The directory that is listed, where its own name is watched for.
    own: Option<RemotePath>,
    bytes: u64,
    summary: Summary,
    fingerprint: DefaultHasher,
}

impl EntryCollector {
    /// Nothing was listed yet; `encoding` is that of the names. Of files, the usual ones are wanted.
    #[must_use]
    pub fn new(encoding: &'static Encoding) -> Self {
        let (files, summary, fingerprint) = Default::default();
        Self { encoding, files, own: None, bytes: 0, summary, fingerprint }
    }

    /// Says which files are wanted.
    #[must_use]
    pub fn of_files(self, files: &FileNames) -> Self {
        Self { files: files.clone(), ..self }
    }

    /// Has the names collected, for [`Summary::names`].
    pub fn collect_names(&mut self) {
        self.summary.names = Some(Vec::new());
    }

    /// Has [`Summary::shows_itself`] set where a directory is named like a component of this path.
    pub fn watch_for(&mut self, path: &RemotePath) {
        self.own = Some(path.clone());
    }

    /// Takes one entry; `kind` is `None` for devices, sockets and the like. Directories, and files and links of
    /// wanted names, are appended to `entries`, which the caller may drain at any time.
    pub fn take(&mut self, name: &[u8], kind: Option<Kind>, facts: FileFacts, entries: &mut Vec<Entry>) {
        if self.summary.over_limit {
            return;
        }
        self.bytes += name.len() as u64;
        self.summary.over_limit = self.bytes > MAX_LISTING_BYTES;
        self.summary.lines += 1;
        match kind {
            _ if name.len() > MAX_NAME_BYTES => self.summary.too_long += 1,
            _ if matches!(name, b"." | b"..") => {}
            None => self.special(name),
            Some(kind) => self.entry(name, (kind, None), facts, entries),
        }
    }

    /// Counts an entry of which nobody says what it is, and shows the first of them with the reason.
    pub fn take_unknown(&mut self, name: &[u8], reason: &str) {
        self.bytes += name.len() as u64;
        self.summary.over_limit |= self.bytes > MAX_LISTING_BYTES;
        self.summary.lines += 1;
        self.summary.not_understood += 1;
        if self.summary.sample.is_none() {
            self.summary.sample = Some(format!("{}: {reason}", self.sample(name)));
        }
    }

    /// Returns what the whole listing amounted to.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        self.summary.fingerprint = self.fingerprint.finish();
        self.summary
    }

    /// Returns whether a limit was passed, so that reading on is of no use.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.summary.over_limit
    }

    /// # Errors
    ///
    /// Where a limit was passed.
    pub fn check_limit(&self) -> Result<(), ListingCut> {
        if self.is_over_limit() {
            return Err(ListingCut("it is larger than a listing may be".to_owned()));
        }
        Ok(())
    }

    /// Returns the part of a piece of text that the limit of bytes leaves. Where that is less than all of it,
    /// [`Self::pass_limit`] is due once it has been read.
    pub(crate) fn admit<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let room = usize::try_from(MAX_LISTING_BYTES.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.bytes += taken.len() as u64;
        taken
    }

    /// Nothing more is taken.
    pub(crate) fn pass_limit(&mut self) {
        self.summary.over_limit = true;
    }

    /// Counts a line of text that is not blank; one of the next functions says what it is.
    pub(crate) fn line(&mut self) {
        self.summary.lines += 1;
    }

    /// It is longer than [`MAX_NAME_BYTES`].
    pub(crate) fn too_long(&mut self) {
        self.summary.too_long += 1;
    }

    /// It says nothing in any format.
    pub(crate) fn not_understood(&mut self, line: &[u8]) {
        self.summary.not_understood += 1;
        if self.summary.sample.is_none() {
            self.summary.sample = Some(self.sample(line));
        }
    }

    /// It is a device, a socket or the like.
    pub(crate) fn special(&mut self, what: &[u8]) {
        self.summary.special += 1;
        if self.summary.special_sample.is_none() {
            self.summary.special_sample = Some(self.sample(what));
        }
    }

    /// It may be the directory itself, with this number; see [`Summary::own_unique`].
    pub(crate) fn own(&mut self, unique: impl FnOnce() -> Option<u64>) {
        self.summary.own_unique = self.summary.own_unique.or_else(unique);
    }

    /// Returns what [`Summary::own_unique`] will be, as far as the listing was read.
    #[must_use]
    pub(crate) fn own_unique(&self) -> Option<u64> {
        self.summary.own_unique
    }

    /// Returns how many entries there were so far, the unwanted ones included.
    #[must_use]
    pub(crate) fn entry_count(&self) -> u64 {
        self.summary.entries
    }

    /// It is an entry; a directory may have a number, see [`Entry::unique`].
    pub(crate) fn entry(
        &mut self,
        name: &[u8],
        (kind, unique): (Kind, Option<u64>),
        facts: FileFacts,
        entries: &mut Vec<Entry>,
    ) {
        (name, kind, facts).hash(&mut self.fingerprint);
        if kind == Kind::Directory && self.own.as_ref().is_some_and(|own| own.has_component(name)) {
            self.summary.shows_itself = true;
        }
        self.summary.is_telling |= kind == Kind::File && facts.size.is_some() && facts.modified.is_some();
        // the name is allocated and checked only where somebody wants it
        if kind != Kind::Directory && !self.is_wanted(name) {
            self.count_entry();
            return;
        }
        match RemoteName::from_wire(name, self.encoding) {
            Ok(name) => {
                self.count_entry();
                if !self.summary.over_limit {
                    self.collect(&name, kind);
                    entries.push(Entry { name, kind, facts, unique });
                }
            }
            Err(refusal) => self.refuse(name, refusal),
        }
    }

    /// Returns whether a file of this name is wanted.
    pub(crate) fn is_wanted(&self, name: &[u8]) -> bool {
        self.files.fit(name, self.encoding)
    }

    fn collect(&mut self, name: &RemoteName, kind: Kind) {
        let Some(names) = &mut self.summary.names else { return };
        if names.len() == MAX_NAMES {
            self.summary.names = None;
            return;
        }
        let mut hasher = DefaultHasher::new();
        (name.wire(), kind == Kind::Directory).hash(&mut hasher);
        names.push(hasher.finish());
    }

    fn count_entry(&mut self) {
        if self.summary.entries == MAX_ENTRIES {
            self.summary.over_limit = true;
        } else {
            self.summary.entries += 1;
        }
    }

    fn refuse(&mut self, name: &[u8], refusal: NameRefused) {
        self.summary.names_refused += 1;
        if self.summary.refused_sample.is_none() {
            self.summary.refused_sample = Some(format!("{}: {refusal}", self.sample(name)));
        }
    }

    fn sample(&self, bytes: &[u8]) -> String {
        names::decode(bytes, self.encoding).chars().take(MAX_SAMPLE_CHARS).collect()
    }
}

#[cfg(test)]
impl EntryCollector {
    /// One that has taken so much already.
    pub(crate) fn with_counts(encoding: &'static Encoding, entries: u64, bytes: u64) -> Self {
        let summary = Summary { entries, ..Summary::default() };
        Self { bytes, summary, ..Self::new(encoding) }
    }
}
