//! What the other parts tell the dispatcher of its outbox without waiting for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Shared by keeper, warden and dispatcher. Rows that the dispatcher has read beforehand are called for only while none of
/// this says that they may have changed, which costs a call neither a query nor a commit.
#[derive(Debug, Default)]
pub struct OutboxState {
    outbox_changed: Notify,
    edition: AtomicU64,
    /// Records whose files are being deleted.
    deleted: Mutex<HashSet<i64>>,
    /// A row was passed over because its file is being deleted.
    passed_over: AtomicBool,
    cancelled: AtomicU64,
    concurrency: AtomicU64,
}

impl OutboxState {
    /// There is more to announce.
    pub fn notices_added(&self) {
        self.outbox_changed.notify_one();
    }

    /// Ends when there is more to announce, or when rows that were read before are to be read again.
    pub async fn outbox_changed(&self) {
        self.outbox_changed.notified().await;
    }

    /// Records of notices that were read before have changed: files were evicted or forgotten.
    pub fn records_changed(&self) {
        self.edition.fetch_add(1, Ordering::Release);
        self.notices_added();
    }

    /// Returns a number that grows with each change.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// The file of this record is about to be deleted: from now on no call is begun for it.
    pub fn deletion_begins(&self, id: i64) {
        self.deleted().insert(id);
    }

    /// The deletions of these files came to their end: they are on record, or the files stay. Rows are read again only
    /// where one was passed over meanwhile: most files that are deleted were announced long ago.
    pub fn deletions_ended(&self, ids: impl IntoIterator<Item = i64>) {
        let mut deleted = self.deleted();
        for id in ids {
            deleted.remove(&id);
        }
        let passed_over = self.passed_over.swap(false, Ordering::Relaxed);
        drop(deleted);
        if passed_over {
            self.records_changed();
        }
    }

    /// Returns whether the file of this record is being deleted, so that no call is begun for it.
    #[must_use]
    pub fn is_being_deleted(&self, id: i64) -> bool {
        let deleted = self.deleted();
        let found = deleted.contains(&id);
        if found {
            self.passed_over.store(true, Ordering::Relaxed);
        }
        found
    }

    /// Returns the records whose files are being deleted, which are not asked for meanwhile.
    #[must_use]
    pub fn being_deleted(&self) -> Vec<i64> {
        let deleted = self.deleted();
        if !deleted.is_empty() {
            self.passed_over.store(true, Ordering::Relaxed);
        }
        deleted.iter().copied().collect()
    }

    /// Counts notices that will never be called.
    pub fn add_cancelled(&self, notices: u64) {
        self.cancelled.fetch_add(notices, Ordering::Relaxed);
    }

    /// Returns how many notices were given up since the process began.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Notes how many calls may be under way at a time.
    pub fn set_concurrency(&self, calls: usize) {
        self.concurrency.store(calls as u64, Ordering::Relaxed);
    }

    /// Returns how many calls may be under way at a time, as of now.
    #[must_use]
    pub fn concurrency(&self) -> u64 {
        self.concurrency.load(Ordering::Relaxed)
    }

    fn deleted(&self) -> parking_lot::MutexGuard<'_, HashSet<i64>> {
        self.deleted.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_has_rows_read_again_only_where_one_was_passed_over_meanwhile() {
        let outbox_state = OutboxState::default();
        outbox_state.deletion_begins(1);
        assert!(!outbox_state.is_being_deleted(2));
        outbox_state.deletions_ended([1]);
        assert_eq!(outbox_state.edition(), 0);
        for passed_over in [
            |outbox_state: &OutboxState| outbox_state.is_being_deleted(1),
            |outbox_state: &OutboxState| outbox_state.being_deleted() == [1],
        ] {
            let before = outbox_state.edition();
            outbox_state.deletion_begins(1);
            assert!(passed_over(&outbox_state));
            outbox_state.deletions_ended([1]);
            assert_eq!(outbox_state.edition(), before + 1);
            assert!(!outbox_state.is_being_deleted(1) && outbox_state.being_deleted().is_empty());
        }
    }
}
