//! Which of a server's zips are wanted, and which of them first.

use crate::facts::FileFacts;
use crate::globs::Globs;
use crate::names::RemotePath;

/// Which of the new zips that are known is fetched next.
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

/// Which zips are wanted. All, when nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Not those that the server surely changed before, in unix seconds.
    pub since: Option<i64>,
    /// Only those with a path that fits, where there is any pattern.
    pub include: Globs,
    /// None of those with a path that fits, and no directory that does.
    pub exclude: Globs,
}

impl Selection {
    /// Whether the zip at the path that `path` puts together is wanted. One whose time is not known is not too old.
    #[must_use]
    pub fn wants(&self, facts: &FileFacts, path: impl FnOnce() -> RemotePath) -> bool {
        let old = |since| facts.modified.is_some_and(|modified| modified.is_surely_before(since));
        if self.since.is_some_and(old) {
            return false;
        }
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        let path = path();
        (self.include.is_empty() || self.include.fit(path.text())) && !self.exclude.fit(path.text())
    }

    /// Whether the directory is looked into.
    #[must_use]
    pub fn wants_directory(&self, path: impl FnOnce() -> RemotePath) -> bool {
        self.exclude.is_empty() || !self.exclude.fit_directory(path().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Modified, TimeSource};

    fn at(unix_seconds: i64, source: TimeSource) -> FileFacts {
        FileFacts { size: None, modified: Some(Modified { unix_seconds, source }) }
    }

    fn path() -> RemotePath {
        RemotePath::from_text("/in/a.zip", encoding_rs::UTF_8).unwrap()
    }

    #[test]
    fn only_what_is_surely_older_is_left_out() {
        let selection = Selection { since: Some(90_000), ..Selection::default() };
        for (facts, wanted) in [
            (at(89_999, TimeSource::Mlsd), false),
            (at(90_000, TimeSource::Mlsd), true),
            (at(86_400, TimeSource::ListDay), true),
            (at(86_400, TimeSource::ListMinute), false),
            (at(89_999 - 59, TimeSource::ListMinute), false),
            (at(89_999 - 58, TimeSource::ListMinute), true),
            (FileFacts::default(), true),
        ] {
            assert_eq!(selection.wants(&facts, path), wanted, "{facts:?}");
        }
    }

    #[test]
    fn a_zip_must_be_included_and_not_excluded() {
        let globs = |pattern: &str| Globs::new(&[pattern]).unwrap();
        let wants = |include: Globs, exclude: Globs| {
            Selection { since: None, include, exclude }.wants(&FileFacts::default(), path)
        };
        assert!(wants(Globs::default(), Globs::default()) && wants(globs("/in/*"), globs("b*")));
        assert!(!wants(globs("/out/*"), Globs::default()) && !wants(globs("/in/*"), globs("a*")));
        let selection = Selection { exclude: globs("/in/**"), ..Selection::default() };
        let directory = || RemotePath::from_text("/in", encoding_rs::UTF_8).unwrap();
        assert!(!selection.wants_directory(directory) && selection.wants_directory(RemotePath::root));
    }
}
