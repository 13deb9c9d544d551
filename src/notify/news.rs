//! What the other parts tell the notifier of its outbox without waiting for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Shared by keeper, warden and notifier. Rows that the notifier has read beforehand are called for only while none of
/// this says that they may have changed, which costs a call neither a query nor a commit.
#[derive(Debug, Default)]
pub struct News {
    grew: Notify,
    edition: AtomicU64,
    leaving: Mutex<HashSet<i64>>,
    cancelled: AtomicU64,
    concurrency: AtomicU64,
}

impl News {
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

    /// The deletions of these files came to their end: they are on record, or the files stay.
    pub fn settled(&self, ids: impl IntoIterator<Item = i64>) {
        let mut leaving = self.leaving();
        for id in ids {
            leaving.remove(&id);
        }
        drop(leaving);
        self.changed();
    }

    /// Whether the file of this record is being deleted.
    #[must_use]
    pub fn is_leaving(&self, id: i64) -> bool {
        self.leaving().contains(&id)
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
