//! What the other parts tell the notifier of its outbox without waiting for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Shared by keeper, warden and notifier. Rows that the notifier has read beforehand are called for only while none of
/// this says that they may have changed, which costs a call neither a query nor a commit.
#[derive(Debug, Default)]
pub struct OutboxState {
    grew: Notify,
    edition: AtomicU64,
    leaving: Mutex<HashSet<i64>>,
    /// A row was passed over because its file is being deleted.
    passed_over: AtomicBool,
    cancelled: AtomicU64,
    concurrency: AtomicU64,
}

impl OutboxState {
    /// There is more to announce.
    pub fn grew(&self) {
        self.grew.notify_one();
    }

    /// Ends when there is more to announce, or when rows that were read before are to be read again.
    pub async fn noticed(&self) {
        self.grew.notified().await;
    }

    /// Records of notices that were read before have changed: files were evicted or forgotten.
    pub fn changed(&self) {
        self.edition.fetch_add(1, Ordering::Release);
        self.grew();
    }

    /// Grows with each change.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// The file of this record is about to be deleted: from now on no call is begun for it.
    pub fn leaves(&self, id: i64) {
        self.leaving().insert(id);
    }

    /// The deletions of these files came to their end: they are on record, or the files stay. Rows are read again only
    /// where one was passed over meanwhile: most files that are deleted were announced long ago.
    pub fn settled(&self, ids: impl IntoIterator<Item = i64>) {
        let mut leaving = self.leaving();
        for id in ids {
            leaving.remove(&id);
        }
        let passed_over = self.passed_over.swap(false, Ordering::Relaxed);
        drop(leaving);
        if passed_over {
            self.changed();
        }
    }

    /// Whether the file of this record is being deleted, so that no call is begun for it.
    #[must_use]
    pub fn is_leaving(&self, id: i64) -> bool {
        let leaving = self.leaving();
        let is_leaving = leaving.contains(&id);
        if is_leaving {
            self.passed_over.store(true, Ordering::Relaxed);
        }
        is_leaving
    }

    /// The records whose files are being deleted, which are not asked for meanwhile.
    #[must_use]
    pub fn all_leaving(&self) -> Vec<i64> {
        let leaving = self.leaving();
        if !leaving.is_empty() {
            self.passed_over.store(true, Ordering::Relaxed);
        }
        leaving.iter().copied().collect()
    }

    /// So many notices will never be called.
    pub fn cancel(&self, notices: u64) {
        self.cancelled.fetch_add(notices, Ordering::Relaxed);
    }

    /// How many notices were given up since the process began.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// So many calls may be under way at a time.
    pub fn allow(&self, calls: usize) {
        self.concurrency.store(calls as u64, Ordering::Relaxed);
    }

    /// How many calls may be under way at a time, as of now.
    #[must_use]
    pub fn concurrency(&self) -> u64 {
        self.concurrency.load(Ordering::Relaxed)
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_has_rows_read_again_only_where_one_was_passed_over_meanwhile() {
        let outbox_state = OutboxState::default();
        outbox_state.leaves(1);
        assert!(!outbox_state.is_leaving(2));
        outbox_state.settled([1]);
        assert_eq!(outbox_state.edition(), 0);
        for passed_over in [
            |outbox_state: &OutboxState| outbox_state.is_leaving(1),
            |outbox_state: &OutboxState| outbox_state.all_leaving() == [1],
        ] {
            let before = outbox_state.edition();
            outbox_state.leaves(1);
            assert!(passed_over(&outbox_state));
            outbox_state.settled([1]);
            assert_eq!(outbox_state.edition(), before + 1);
            assert!(!outbox_state.is_leaving(1) && outbox_state.all_leaving().is_empty());
        }
    }
}
