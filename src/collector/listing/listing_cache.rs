//! Directories in which a scan found nothing to do: as long as their listing is the same byte for byte, it is not even
//! taken apart. Lives with the scanner; what is forgotten costs work, never a file.
//!
//! Only directories without directories in them are remembered, with every file of theirs on record and every line
//! understood. So an equal listing says that nothing is to be fetched, retried, told or descended into.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::Fingerprint;

/// Most directories that are remembered of a server, some fifty bytes each. Further ones are taken apart each time.
const MAX_DIRECTORIES: usize = 200_000;
/// Longest listing that is remembered. It has to be kept until its end shows whether it is the same.
const MAX_LISTING: u64 = 256 * 1024;
/// A directory must have been the same in so many scans before it is visited less often.
const SCANS: u32 = 10;

/// See the module.
#[derive(Debug, Default)]
pub struct ListingCache(HashMap<u64, CachedListing>);

#[derive(Debug)]
struct CachedListing {
    listing: Fingerprint,
    files: u64,
    /// Scans in a row that found it the same.
    scans: u32,
    listed: Instant,
}

impl ListingCache {
    /// The listing of directory `key` when there was nothing to do, where that is remembered.
    #[must_use]
    pub fn listing(&self, key: u64) -> Option<Fingerprint> {
        self.0.get(&key).map(|cached| cached.listing)
    }

    /// The listing was the same again. Returns how many files are in it.
    pub fn same_again(&mut self, key: u64, now: Instant) -> u64 {
        let Some(cached) = self.0.get_mut(&key) else { return 0 };
        cached.scans = cached.scans.saturating_add(1);
        cached.listed = now;
        cached.files
    }

    /// There is nothing to do in the directory while its listing stays so.
    pub fn remember(&mut self, key: u64, listing: Fingerprint, files: u64, now: Instant) {
        let room = self.0.len() < MAX_DIRECTORIES || self.0.contains_key(&key);
        if listing.bytes <= MAX_LISTING && room {
            self.0.insert(key, CachedListing { listing, files, scans: 0, listed: now });
        } else {
            self.forget(key);
        }
    }

    /// The listing is another one now.
    pub fn forget(&mut self, key: u64) {
        self.0.remove(&key);
    }

    /// Returns how many files are in a directory that need not be listed in this scan: it has been the same
    /// for long, and was listed within `every`.
    #[must_use]
    pub fn rests(&self, key: u64, every: Duration, now: Instant) -> Option<u64> {
        let cached = self.0.get(&key)?;
        (cached.scans >= SCANS && now.duration_since(cached.listed) < every).then_some(cached.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Fingerprint = Fingerprint { hash: 1, bytes: 100 };

    #[test]
    fn a_directory_rests_only_after_many_scans_without_anything_new_and_only_for_so_long() {
        let (mut cached, now, every) = (ListingCache::default(), Instant::now(), Duration::from_secs(600));
        cached.remember(1, LISTING, 7, now);
        for _ in 0..SCANS {
            assert_eq!(cached.rests(1, every, now), None);
            assert_eq!(cached.same_again(1, now), 7);
        }
        assert_eq!(cached.rests(1, every, now + Duration::from_secs(599)), Some(7));
        assert_eq!(cached.rests(1, every, now + every), None);
        cached.remember(1, Fingerprint { hash: 2, bytes: 100 }, 8, now);
        assert_eq!(cached.rests(1, every, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut cached, now) = (ListingCache::default(), Instant::now());
        cached.remember(1, Fingerprint { hash: 1, bytes: MAX_LISTING + 1 }, 7, now);
        assert_eq!(cached.listing(1), None);
        (0..=MAX_DIRECTORIES as u64).for_each(|key| cached.remember(key, LISTING, 1, now));
        assert_eq!(cached.0.len(), MAX_DIRECTORIES);
        // those that are remembered are kept, and may change
        cached.remember(0, Fingerprint { hash: 9, bytes: 1 }, 2, now);
        assert_eq!(cached.listing(0), Some(Fingerprint { hash: 9, bytes: 1 }));
    }
}
