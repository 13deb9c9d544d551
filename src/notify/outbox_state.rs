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
    again: Mutex<Again>,
}

/// Records whose notices were delivered before and are to be once more.
#[derive(Debug, Default)]
struct Again {
    ids: HashSet<i64>,
    /// Of earlier processes, and of those beyond [`MAX_AGAIN`]: all up to this record may be among them.
    until: i64,
    latest: i64,
}

/// More of them are not remembered one by one.
const MAX_AGAIN: usize = 1_000_000;

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

    /// Notices of these records are to be delivered once more. Returns the latest record of them all, where it is a
    /// later one than before.
    pub fn announce_again(&self, ids: &[i64]) -> Option<i64> {
        let mut again = self.again.lock();
        for id in ids {
            if again.ids.len() < MAX_AGAIN {
                again.ids.insert(*id);
            } else {
                again.until = again.until.max(*id);
            }
        }
        let latest = ids.iter().copied().max()?;
        let is_later = latest > again.latest.max(again.until);
        again.latest = again.latest.max(latest);
        is_later.then_some(latest)
    }

    /// An earlier process had notices up to this record delivered once more, and may have left some.
    pub fn announced_until(&self, id: i64) {
        self.again.lock().until = id;
    }

    /// A notice is delivered. Returns whether it may have been before, so that its time says nothing of how late it is.
    #[must_use]
    pub fn is_delivered_again(&self, id: i64) -> bool {
        let mut again = self.again.lock();
        again.ids.remove(&id) || id <= again.until
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
    fn a_notice_that_is_delivered_again_is_known_once_and_those_of_earlier_processes_by_their_latest() {
        let outbox_state = OutboxState::default();
        outbox_state.announced_until(5);
        assert_eq!(outbox_state.announce_again(&[3, 9]), Some(9));
        assert_eq!(outbox_state.announce_again(&[8]), None, "nothing later is to be remembered");
        let again = [5, 6, 8, 9, 9].map(|id| outbox_state.is_delivered_again(id));
        assert_eq!(again, [true, false, true, true, false]);
    }

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
