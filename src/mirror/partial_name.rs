//! The names of partial files, `{hash}_{size}_{time}`: all that resuming one needs.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::names::RemotePath;

/// The name of a partial file, and all it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialName {
    pub(super) path_hash: u128,
    /// Size and time as listed when the download began.
    pub facts: FileFacts,
}

impl PartialName {
    /// The name for the file at `path` with `facts`.
    #[must_use]
    pub fn new(path: &RemotePath, facts: FileFacts) -> Self {
        Self { path_hash: path_hash(path), facts }
    }

    /// Another name for the same path, which no listing leads to: for what is to replace a file of the mirror.
    #[must_use]
    pub fn spare(self) -> Self {
        let sizes = [u64::MAX, u64::MAX - 1].map(Some);
        let size = sizes.into_iter().find(|size| *size != self.facts.size).flatten();
        Self { facts: FileFacts { size, modified: None }, ..self }
    }

    /// Returns whether a transfer may go on behind the first `there` bytes: not where the server shows no
    /// size or no time to know the same content by, nor fewer bytes.
    #[must_use]
    pub fn resumes(&self, there: u64) -> bool {
        self.facts.surely_equals(&self.facts) && self.facts.size.is_some_and(|size| there <= size)
    }

    /// What a name says; `None` where it is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let (hash, size, time) = (parts.next()?, parts.next()?, parts.next()?);
        let path_hash = u128::from_str_radix(hash, 16).ok().filter(|_| hash.len() == 32)?;
        let size = if size == "-" { None } else { Some(size.parse().ok()?) };
        let modified = match time.split_once('.') {
            Some((seconds, source)) => Some(Modified {
                unix_seconds: seconds.parse().ok()?,
                source: TimeSource::from_code(source.parse().ok()?)?,
            }),
            None => None,
        };
        let parsed = Self { path_hash, facts: FileFacts { size, modified } };
        // what would be written otherwise is another file
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for PartialName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}_", self.path_hash)?;
        match self.facts.size {
            Some(size) => write!(f, "{size}_")?,
            None => f.write_str("-_")?,
        }
        match self.facts.modified {
            Some(modified) => write!(f, "{}.{}", modified.unix_seconds, modified.source.code()),
            None => f.write_str("-"),
        }
    }
}

pub(super) fn path_hash(path: &RemotePath) -> u128 {
    // keys of zero: the hash must be the same after a restart. A server that makes two of its paths collide
    // spoils its own two downloads, which the verification then refuses.
    let mut hasher = SipHasher24::new();
    hasher.write(path.wire());
    hasher.finish128().as_u128()
}

/// Returns whether a file in `.partial` is ours.
#[must_use]
pub fn is_partial_name(name: &str) -> bool {
    PartialName::parse(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::path;

    fn facts(size: u64, unix_seconds: i64) -> FileFacts {
        FileFacts { size: Some(size), modified: Some(Modified { unix_seconds, source: TimeSource::Utc }) }
    }

    #[test]
    fn a_name_says_what_resuming_needs() {
        let unknown = FileFacts { size: None, modified: None };
        for facts in [facts(12, -5), unknown, FileFacts { size: Some(0), modified: None }] {
            let name = PartialName::new(&path("/a/b.zip"), facts);
            assert_eq!(PartialName::parse(&name.to_string()), Some(name));
        }
        let ours = PartialName::new(&path("/a.zip"), unknown).to_string();
        let longer = format!("{ours}_");
        let foreign =
            ["", "x_1_2", "00_1_-", "README", "_-_-", &longer, &ours.to_uppercase(), &format!("{ours}0")];
        for foreign in foreign {
            assert_eq!(PartialName::parse(foreign), None, "{foreign}");
        }
    }
}
