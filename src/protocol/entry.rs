//! What a directory holds, in words that every protocol shares.

use crate::base::facts::FileFacts;
use crate::base::names::RemoteName;

/// Something in a directory that can be mirrored: a directory, or a file of a name that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, checked.
    pub name: RemoteName,
    /// What it is.
    pub kind: Kind,
    /// Size and time as far as the line tells.
    pub facts: FileFacts,
    /// Of a directory, a number made of its `unique` fact (RFC 3659 section 7.5.2), where MLSD shows one: the same
    /// directory under another name has the same. Some servers show links to directories as directories.
    pub unique: Option<u64>,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A plain file.
    File,
    /// A link that says so, whatever it leads to. Its size is left out: what is listed is the link's own.
    Link,
}

/// What a whole listing amounted to. Every line is counted once:
/// `lines` = `entries` + `special` + `not_understood` + `names_refused` + `too_long` + those that are no entries by
/// design (`total 12`, `.`, `..`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Lines that were not blank.
    pub lines: u64,
    /// Files, directories and links, whether anybody wants them or not.
    pub entries: u64,
    /// What is none of these: devices, sockets, pipes, and types that are not known.
    pub special: u64,
    /// The first of them, as `sample` is: the whole line, or the name where there is no line.
    pub special_sample: Option<String>,
    /// Lines that say nothing in any format known here.
    pub not_understood: u64,
    /// The first of them, decoded, at most 120 characters. Foreign text: show it with [`crate::base::names::Printable`].
    pub sample: Option<String>,
    /// Directories and wanted files whose name cannot be used.
    pub names_refused: u64,
    /// The first of them and why. Foreign text as well.
    pub refused_sample: Option<String>,
    /// Lines over [`super::MAX_NAME_BYTES`], each of which costs only its own entry.
    pub too_long: u64,
    /// Whether the listing passed [`super::MAX_ENTRIES`] or [`super::MAX_LISTING_BYTES`]; what came later was not read.
    pub over_limit: bool,
    /// A number made of all entries in their order: names, kinds, sizes and times. The same listing has the same.
    pub fingerprint: u64,
    /// Of each entry that can be mirrored, a number made of its name and whether it is a directory; where they were
    /// asked for ([`super::EntryCollector::collect_names`]) and are at most [`super::MAX_NAMES`].
    pub names: Option<Vec<u64>>,
    /// One of the directories has the name of a component of the path, where that is watched for
    /// ([`super::EntryCollector::watch_for`]): the listing may be of a directory above.
    pub shows_itself: bool,
    /// Of the directory itself, what [`Entry::unique`] is of those in it; where MLSD shows it (`type=cdir`).
    pub own_unique: Option<u64>,
    /// At least one file came with size and time, without which equal fingerprints say little.
    pub is_telling: bool,
    /// Of the wanted files that a listing dates without a year and that seem older than half a year, the one whose time is the
    /// latest: its year may have been guessed wrong.
    pub doubtful_year: Option<(i64, RemoteName)>,
}

impl Summary {
    /// Lines and names that are not used, and are no entries by design either.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.not_understood + self.special + self.names_refused + self.too_long
    }

    /// The first of them, where there is one to show.
    #[must_use]
    pub fn unused_sample(&self) -> Option<&str> {
        let samples = [&self.sample, &self.special_sample, &self.refused_sample];
        samples.into_iter().find_map(|sample| sample.as_deref())
    }

    /// Returns whether the listing shows nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries + self.unused() == 0
    }
}
