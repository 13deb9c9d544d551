//! The partial files that are worked on: nobody else removes them, and those that outgrow what their server shows may be
//! cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Transfers(Arc<Mutex<Vec<Arc<Transfer>>>>);

/// One of them.
#[derive(Debug)]
pub struct Transfer {
    key: String,
    bytes: AtomicU64,
    outgrown: AtomicBool,
    cut: Notify,
}

impl Transfer {
    /// Ends when others need the room.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }
}

/// Work on a partial file, until it is dropped.
#[derive(Debug)]
pub struct Busy {
    transfers: Transfers,
    transfer: Arc<Transfer>,
}

impl Busy {
    /// The partial file has so many bytes.
    pub fn is(&self, bytes: u64) {
        self.transfer.bytes.store(bytes, Ordering::Relaxed);
    }

    /// It is larger than its server shows.
    pub fn outgrows(&self) {
        self.transfer.outgrown.store(true, Ordering::Relaxed);
    }

    /// What others know of it.
    #[must_use]
    pub fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.transfers.lock().retain(|other| !Arc::ptr_eq(other, &self.transfer));
    }
}

impl Transfers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Transfer>>> {
        self.0.lock()
    }

    /// Begins work on the partial file of this name.
    #[must_use]
    pub fn begin(&self, key: String) -> Busy {
        let transfer = Transfer {
            key,
            bytes: AtomicU64::default(),
            outgrown: AtomicBool::default(),
            cut: Notify::new(),
        };
        let transfer = Arc::new(transfer);
        self.lock().push(Arc::clone(&transfer));
        Busy { transfers: self.clone(), transfer }
    }

    /// Bytes in the partial files that are worked on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().iter().map(|transfer| transfer.bytes.load(Ordering::Relaxed)).sum()
    }

    /// Does `act` unless the partial file of this name is worked on; nobody begins with it meanwhile.
    pub fn if_idle<T>(&self, key: &str, act: impl FnOnce() -> T) -> Option<T> {
        let transfers = self.lock();
        (!transfers.iter().any(|transfer| transfer.key == key)).then(act)
    }

    /// Ends the transfers that are larger than their servers show; true where there are any, or were a moment ago.
    pub fn cut_outgrown(&self) -> bool {
        let transfers = self.lock();
        let outgrown = transfers.iter().filter(|transfer| transfer.outgrown.load(Ordering::Relaxed));
        outgrown.map(|transfer| transfer.cut.notify_one()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_outgrew_their_listing_are_cut_and_no_others() {
        let transfers = Transfers::default();
        let (honest, liar) = (transfers.begin("a".to_owned()), transfers.begin("b".to_owned()));
        assert!(!transfers.cut_outgrown());
        liar.outgrows();
        assert!(transfers.cut_outgrown());
        liar.transfer().cut().await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), honest.transfer().cut());
        assert!(waiting.await.is_err());
        drop(liar);
        assert!(!transfers.cut_outgrown());
        assert_eq!((transfers.if_idle("a", || ()), transfers.if_idle("b", || ())), (None, Some(())));
    }
}
