//! Which of a server's files are wanted, and which of them first.

use super::reader::Section;
use super::values;
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::file_names::FileNames;
use crate::base::globs::Globs;
use crate::base::names::{RemoteName, RemotePath};

/// How far a server's local time may be behind UTC.
const WESTERNMOST_SECONDS: i64 = 12 * 3600;

/// Which of the new files that are known is fetched next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// In the order in which they are found.
    #[default]
    Listed,
    /// The one that the server changed longest ago.
    OldestFirst,
    /// The one that the server changed last.
    NewestFirst,
}

/// Which files are wanted. All zips, when nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of such names.
    pub files: FileNames,
    /// Not those that the server surely changed before, in unix seconds.
    pub since: Option<i64>,
    /// `since` is the first start with this setting, which the records remember; none before it.
    pub from_now: bool,
    /// Only those with a path that fits, where there is any pattern.
    pub include: Globs,
    /// None of those with a path that fits, and no directory that does.
    pub exclude: Globs,
}

impl Selection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let files = section.read("files", |value| FileNames::new(&values::texts(value)?));
        let since = section.read("since", values::since);
        let include = section.read("include", values::globs);
        let exclude = section.read("exclude", values::globs);
        Some(Self {
            files: files?,
            since: since.flatten(),
            from_now: since == Some(None),
            include: include?,
            exclude: exclude?,
        })
    }

    /// Returns whether the file of this name, at the path that `path` puts together, is wanted. One whose time is not
    /// known is not too old.
    #[must_use]
    pub fn wants(&self, name: &RemoteName, facts: &FileFacts, path: impl FnOnce() -> RemotePath) -> bool {
        self.files.fit_name(name) && self.allows(facts, path)
    }

    /// Returns whether a file whose name is a wanted one is wanted by its time and path, too.
    #[must_use]
    pub fn allows(&self, facts: &FileFacts, path: impl FnOnce() -> RemotePath) -> bool {
        if facts.modified.is_some_and(|modified| self.is_too_old(modified)) {
            return false;
        }
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        let path = path();
        (self.include.is_empty() || self.include.is_match(path.text())) && !self.exclude.is_match(path.text())
    }

    fn is_too_old(&self, modified: Modified) -> bool {
        // nobody wrote our clock down with the server's zone in mind
        let is_local = self.from_now && modified.source != TimeSource::Utc;
        let slack = if is_local { WESTERNMOST_SECONDS } else { 0 };
        self.since.is_some_and(|since| modified.is_surely_before(since.saturating_sub(slack)))
    }

    /// Returns whether the directory is looked into.
    #[must_use]
    pub fn wants_directory(&self, path: impl FnOnce() -> RemotePath) -> bool {
        self.exclude.is_empty() || !self.exclude.is_match_directory(path().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_seconds: i64, source: TimeSource) -> FileFacts {
        FileFacts { size: None, modified: Some(Modified { unix_seconds, source }) }
    }

    fn path() -> RemotePath {
        RemotePath::from_text("/in/a.zip", encoding_rs::UTF_8).unwrap()
    }

    /// interface 5.16
    #[test]
    fn only_what_is_surely_older_is_left_out() {
        let selection = Selection { since: Some(90_000), ..Selection::default() };
        for (facts, wanted) in [
            (at(89_999, TimeSource::Utc), false),
            (at(90_000, TimeSource::Utc), true),
            (at(86_400, TimeSource::LocalDay), true),
            (at(86_400, TimeSource::LocalMinute), false),
            (at(89_999 - 59, TimeSource::LocalMinute), false),
            (at(89_999 - 58, TimeSource::LocalMinute), true),
            (FileFacts::default(), true),
        ] {
            assert_eq!(selection.allows(&facts, path), wanted, "{facts:?}");
        }
    }

    /// interface 5.18
    #[test]
    fn nothing_is_too_old_for_now_in_whatever_zone_a_server_lists() {
        let noon = 20_000 * 86_400 + 43_200;
        let selection = Selection { since: Some(noon), from_now: true, ..Selection::default() };
        for (facts, wanted) in [
            (at(noon - 1, TimeSource::Utc), false),
            (at(noon - 12 * 3600, TimeSource::LocalSecond), true),
            (at(noon - 12 * 3600 - 1, TimeSource::LocalSecond), false),
        ] {
            assert_eq!(selection.allows(&facts, path), wanted, "{facts:?}");
        }
        let before_the_start = Selection { from_now: true, ..Selection::default() };
        assert!(before_the_start.allows(&at(0, TimeSource::Utc), path));
    }

    #[test]
    fn a_file_must_be_included_and_not_excluded() {
        let globs = |pattern: &str| Globs::new(&[pattern]).unwrap();
        let wants = |include: Globs, exclude: Globs| {
            Selection { include, exclude, ..Selection::default() }.allows(&FileFacts::default(), path)
        };
        assert!(wants(Globs::default(), Globs::default()) && wants(globs("/in/*"), globs("b*")));
        assert!(!wants(globs("/out/*"), Globs::default()) && !wants(globs("/in/*"), globs("a*")));
        let selection = Selection { exclude: globs("/in/**"), ..Selection::default() };
        let directory = || RemotePath::from_text("/in", encoding_rs::UTF_8).unwrap();
        assert!(!selection.wants_directory(directory) && selection.wants_directory(RemotePath::root));
    }
}
