//! What earlier transfers of one server left in `.partial`, by path.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::partial_name::{PartialName, path_hash};
use super::server::ServerMirror;
use crate::base::names::RemotePath;

/// A partial file that nobody wrote to for so long, and for whose path the server shows no file any more, is removed.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Files of one server whose broken transfers are remembered; of further ones nothing is kept, and they begin anew.
const MAX_REMEMBERED: usize = 100_000;

/// What an earlier run left in `.partial`, by path. Read once when a scanner starts.
#[derive(Debug, Default)]
pub struct PartialFiles(HashMap<u128, Vec<PartialName>>);

impl PartialFiles {
    /// Reads what there is.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(mirror: &dyn ServerMirror) -> io::Result<Self> {
        Ok(Self::of(mirror.partials()?))
    }

    /// Reads those that nobody wrote to for a day. One that has its final name already proves that the file is ours,
    /// and is not among them.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn read_aged(mirror: &dyn ServerMirror, now: SystemTime) -> io::Result<Self> {
        Ok(Self::of(mirror.partials_before(now.checked_sub(KEPT).unwrap_or(UNIX_EPOCH))?))
    }

    fn of(names: Vec<PartialName>) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.add(name));
        all
    }

    /// Returns whether nothing is left over, which spares the look-ups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether no more broken transfers are to be remembered.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_REMEMBERED
    }

    /// Takes out what was left over for `path`.
    pub fn take(&mut self, path: &RemotePath) -> Vec<PartialName> {
        if self.0.is_empty() { Vec::new() } else { self.0.remove(&path_hash(path)).unwrap_or_default() }
    }

    /// Notes a partial file that a broken transfer left.
    pub fn add(&mut self, name: PartialName) {
        let names = self.0.entry(name.path_hash).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// Forgets a partial file that is removed.
    pub fn forget(&mut self, name: PartialName) {
        if let Some(names) = self.0.get_mut(&name.path_hash) {
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.0.remove(&name.path_hash);
            }
        }
    }

    /// All of them.
    pub fn into_names(self) -> impl Iterator<Item = PartialName> {
        self.0.into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::facts::FileFacts;
    use crate::base::fixtures::path;

    #[test]
    fn they_are_found_by_the_path_they_belong_to() {
        let of = |size| PartialName::new(&path("/a.zip"), FileFacts { size: Some(size), modified: None });
        let mut all = PartialFiles::of(vec![of(10), of(20), of(10)]);
        assert_eq!(all.take(&path("/b.zip")), []);
        assert_eq!(all.take(&path("/a.zip")), [of(10), of(20)]);
        assert!(all.is_empty());
    }
}
