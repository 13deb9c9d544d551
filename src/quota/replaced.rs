//! Finished files whose content gives way to another: the earlier record of such a file must not have the new content
//! deleted.
//!
//! The files to delete are asked of the records, and deleted a moment later. A new content that gets the name of an
//! earlier one in between would be deleted for the record of the earlier one, and its own record would call it present.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::base::names::{RemotePath, ServerName};

/// Most files that are remembered after they were replaced. No batch of deletions takes so long that more are.
const MAX_DONE: usize = 1000;

/// A file of the mirror, by its place there.
type Name = (ServerName, String);

fn name(server: &ServerName, path: &RemotePath) -> Name {
    (server.clone(), path.text().trim_start_matches('/').to_owned())
}

/// Those that are being replaced, and those that were since the records were asked last for what to delete.
#[derive(Debug, Clone, Default)]
pub struct Replacements(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    under_way: HashSet<Name>,
    done: HashSet<Name>,
}

/// The content of a file is being replaced, until this is dropped.
#[derive(Debug)]
pub struct Replacing {
    replacements: Replacements,
    name: Name,
}

impl Drop for Replacing {
    fn drop(&mut self) {
        let mut names = self.replacements.lock();
        names.under_way.remove(&self.name);
        if names.done.len() >= MAX_DONE {
            names.done.clear();
        }
        names.done.insert(self.name.clone());
    }
}

impl Replacements {
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock()
    }

    /// Begins to replace the content of a finished file, up to its new record.
    #[must_use]
    pub fn begin(&self, server: &ServerName, path: &RemotePath) -> Replacing {
        let name = name(server, path);
        self.lock().under_way.insert(name.clone());
        Replacing { replacements: self.clone(), name }
    }

    /// The records are asked what to delete: their answer knows of all that was replaced by now.
    pub fn asks_what_to_delete(&self) {
        self.lock().done.clear();
    }

    /// Does `act` unless the file is being replaced, or was since the records were asked; nobody begins to replace it
    /// meanwhile.
    pub fn unless_replaced<T>(
        &self,
        server: &ServerName,
        path: &RemotePath,
        act: impl FnOnce() -> T,
    ) -> Option<T> {
        let name = name(server, path);
        let names = self.lock();
        (!names.under_way.contains(&name) && !names.done.contains(&name)).then(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::path;

    #[test]
    fn a_file_is_not_deleted_for_an_answer_of_before_its_content_was_replaced() {
        let replacements = Replacements::default();
        let server = ServerName::new("omc01").unwrap();
        let (file, other) = (path("/a.zip"), path("/b.zip"));
        let deletes = |file: &RemotePath| replacements.unless_replaced(&server, file, || ()).is_some();
        assert!(deletes(&file));
        let replacing = replacements.begin(&server, &file);
        replacements.asks_what_to_delete();
        assert!(!deletes(&file) && deletes(&other), "its new record is still to come");
        drop(replacing);
        assert!(!deletes(&file), "the answer was of before");
        replacements.asks_what_to_delete();
        assert!(deletes(&file));
    }
}
