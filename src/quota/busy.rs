//! The partial files that are worked on: nobody else removes them, and those that outgrow what their server shows may be
//! cut.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::gauge::Gauge;

/// All of them.
#[derive(Debug, Default)]
pub struct Transfers(Mutex<Vec<Arc<Transfer>>>);

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
    gauge: Arc<Gauge>,
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
        self.gauge.transfers().lock().retain(|other| !Arc::ptr_eq(other, &self.transfer));
    }
}

impl Transfers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Transfer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge {
    /// Begins work on the partial file of this name.
    #[must_use]
    pub fn busy(self: &Arc<Self>, key: String) -> Busy {
        let transfer = Transfer {
            key,
            bytes: AtomicU64::default(),
            outgrown: AtomicBool::default(),
            cut: Notify::new(),
        };
        let transfer = Arc::new(transfer);
        self.transfers().lock().push(Arc::clone(&transfer));
        Busy { gauge: Arc::clone(self), transfer }
    }

    /// Bytes in partial files that nobody works on, as far as is known without a look.
    #[must_use]
    pub fn idle(&self) -> u64 {
        let bytes = |transfer: &Arc<Transfer>| transfer.bytes.load(Ordering::Relaxed);
        self.partial().saturating_sub(self.transfers().lock().iter().map(bytes).sum())
    }

    /// Does `act` unless the partial file of this name is worked on; nobody begins with it meanwhile.
    pub fn if_idle<T>(&self, key: &str, act: impl FnOnce() -> T) -> Option<T> {
        let transfers = self.transfers().lock();
        (!transfers.iter().any(|transfer| transfer.key == key)).then(act)
    }

    /// Ends the transfers that are larger than their servers show; true where there are any, or were a moment ago.
    pub fn cut_outgrown(&self) -> bool {
        let transfers = self.transfers().lock();
        let outgrown = transfers.iter().filter(|transfer| transfer.outgrown.load(Ordering::Relaxed));
        outgrown.map(|transfer| transfer.cut.notify_one()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_outgrew_their_listing_are_cut_and_no_others() {
        let gauge = Arc::new(Gauge::default());
        let (honest, liar) = (gauge.busy("a".to_owned()), gauge.busy("b".to_owned()));
        assert!(!gauge.cut_outgrown());
        liar.outgrows();
        assert!(gauge.cut_outgrown());
        liar.transfer().cut().await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), honest.transfer().cut());
        assert!(waiting.await.is_err());
        drop(liar);
        assert!(!gauge.cut_outgrown());
        assert_eq!((gauge.if_idle("a", || ()), gauge.if_idle("b", || ())), (None, Some(())));
    }
}
