//! Bytes on their way to the disk, counted by those who write them: nobody else can tell them in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::busy::{Busy, Transfers};
use super::replaced::{Replacements, Replacing};
use crate::base::names::{RemotePath, ServerName};

/// Shared by all scanners and the quota warden.
#[derive(Debug, Default)]
pub struct DiskCounters {
    reserved: AtomicU64,
    partial: AtomicU64,
    recording: AtomicU64,
    reservations: AtomicUsize,
    transfers: Transfers,
    replacements: Replacements,
}

impl DiskCounters {
    /// Begins work on the partial file of this name.
    #[must_use]
    pub fn busy(&self, key: String) -> Busy {
        self.transfers.begin(key)
    }

    /// Bytes in partial files that nobody works on, as far as is known without a look.
    #[must_use]
    pub fn idle(&self) -> u64 {
        self.partial().saturating_sub(self.transfers.bytes())
    }

    /// Does `act` unless the partial file of this name is worked on; nobody begins with it meanwhile.
    pub fn if_idle<T>(&self, key: &str, act: impl FnOnce() -> T) -> Option<T> {
        self.transfers.if_idle(key, act)
    }

    /// Ends the transfers that are larger than their servers show; true where there are any, or were a moment ago.
    pub fn cut_outgrown(&self) -> bool {
        self.transfers.cut_outgrown()
    }

    /// Begins to replace the content of a finished file, up to its new record.
    #[must_use]
    pub fn replacing(&self, server: &ServerName, path: &RemotePath) -> Replacing {
        self.replacements.begin(server, path)
    }

    /// The records are asked what to delete: their answer knows of all that was replaced by now.
    pub fn asks_what_to_delete(&self) {
        self.replacements.asks_what_to_delete();
    }

    /// Does `act` unless the file is being replaced, or was since the records were asked; nobody begins to replace it
    /// meanwhile.
    pub fn unless_replaced<T>(
        &self,
        server: &ServerName,
        path: &RemotePath,
        act: impl FnOnce() -> T,
    ) -> Option<T> {
        self.replacements.unless_replaced(server, path, act)
    }

    /// Bytes promised to downloads and not written yet.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Bytes in partial files.
    #[must_use]
    pub fn partial(&self) -> u64 {
        self.partial.load(Ordering::Relaxed)
    }

    /// Downloads that hold room; each will be written or give it back.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.reservations.load(Ordering::Relaxed)
    }

    /// Sets what partial files take, as measured while nothing is written.
    pub fn set_partial(&self, bytes: u64) {
        self.partial.store(bytes, Ordering::Relaxed);
    }

    /// Partial files of `bytes` were removed, or finished and recorded.
    pub fn partial_gone(&self, bytes: u64) {
        sub(&self.partial, bytes);
    }

    /// A file of `bytes` goes on record. Until what this returns is dropped, which is to be after [`Self::partial_gone`],
    /// it may count both as a partial file and as a present one.
    #[must_use]
    pub fn begin_recording(self: &Arc<Self>, bytes: u64) -> Recording {
        self.recording.fetch_add(bytes, Ordering::Relaxed);
        Recording { counters: Arc::clone(self), bytes }
    }

    /// Bytes that may count twice, see [`Self::begin_recording`]. To be read between the bytes of the present files and
    /// those of [`Self::partial`], so that none is missed.
    #[must_use]
    pub fn recording(&self) -> u64 {
        self.recording.load(Ordering::Relaxed)
    }

    /// Promises `bytes` to a download. The caller has made sure that they fit.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.reservations.fetch_add(1, Ordering::Relaxed);
        Reservation { counters: Arc::clone(self), left: bytes }
    }
}

/// A file on its way to the records.
#[derive(Debug)]
pub struct Recording {
    counters: Arc<DiskCounters>,
    bytes: u64,
}

impl Drop for Recording {
    fn drop(&mut self) {
        sub(&self.counters.recording, self.bytes);
    }
}

/// Room for one download. What was not written is given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    counters: Arc<DiskCounters>,
    left: u64,
}

impl Reservation {
    /// Bytes that are promised and not written yet.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Promises `bytes` more. The caller has made sure that they fit.
    pub fn grow(&mut self, bytes: u64) {
        self.counters.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.left += bytes;
    }

    /// Takes what another promise has left.
    pub fn absorb(&mut self, mut other: Self) {
        self.left += std::mem::take(&mut other.left);
    }

    /// Bytes went from the promise into a partial file.
    pub fn written(&mut self, bytes: u64) {
        let part = bytes.min(self.left);
        self.left -= part;
        sub(&self.counters.reserved, part);
        self.counters.partial.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        sub(&self.counters.reserved, self.left);
        self.counters.reservations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Never below zero: a count that is a little off must not become an enormous one.
fn sub(counter: &AtomicU64, bytes: u64) {
    // the closure always answers, so the update cannot fail
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes))).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_moves_from_promised_to_partial_and_the_rest_comes_back() {
        let counters = Arc::new(DiskCounters::default());
        let mut reservation = counters.reserve(100);
        assert_eq!((counters.reserved(), counters.partial(), counters.reservations()), (100, 0, 1));
        reservation.written(30);
        assert_eq!((counters.reserved(), counters.partial()), (70, 30));
        reservation.written(100);
        assert_eq!((counters.reserved(), counters.partial()), (0, 130));
        drop(reservation);
        counters.partial_gone(500);
        assert_eq!((counters.reserved(), counters.partial(), counters.reservations()), (0, 0, 0));
        let mut reservation = counters.reserve(7);
        reservation.grow(3);
        reservation.absorb(counters.reserve(5));
        assert_eq!((reservation.left(), counters.reserved(), counters.reservations()), (15, 15, 1));
        drop(reservation);
        assert_eq!(counters.reserved(), 0);
    }
}
