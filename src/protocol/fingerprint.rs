//! Whether a listing is what it was, without taking it apart: the fingerprint of what was read.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip::SipHasher13;

/// What a listing was, byte for byte. Its hash has a key of its own for each run of the program, so that no server can
/// make two listings look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of all its bytes.
    pub hash: u64,
    /// How many there are.
    pub bytes: u64,
}

/// The key of the fingerprints of one server, the same for all its sessions.
#[derive(Debug, Clone, Copy)]
pub struct FingerprintKey(u64, u64);

impl Default for FingerprintKey {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }
}

/// Makes the [`Fingerprint`] of a listing as it comes.
#[derive(Debug)]
pub struct Fingerprinter {
    hash: SipHasher13,
    bytes: u64,
}

impl Fingerprinter {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(FingerprintKey(first, second): FingerprintKey) -> Self {
        Self { hash: SipHasher13::new_with_keys(first, second), bytes: 0 }
    }

    /// Takes what was read, cut anywhere.
    pub fn write(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Returns the fingerprint of what was read so far; at its end, of the whole listing.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: self.hash.finish(), bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: FingerprintKey, bytes: &[u8]) -> Fingerprint {
        let mut fingerprinter = Fingerprinter::new(key);
        bytes.chunks(3).for_each(|piece| fingerprinter.write(piece));
        fingerprinter.fingerprint()
    }

    #[test]
    fn the_same_bytes_have_the_same_fingerprint_under_one_key_alone() {
        let (key, other) = (FingerprintKey::default(), FingerprintKey::default());
        assert_eq!(of(key, b"1.zip 2.zip"), of(key, b"1.zip 2.zip"));
        assert_ne!(of(key, b"1.zip 2.zip"), of(key, b"1.zip 3.zip"));
        assert_ne!(of(key, b"1.zip"), of(other, b"1.zip"));
    }
}
