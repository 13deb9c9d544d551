//! Whether a listing is what it was, without taking it apart: the fingerprint of what was read, and what was read ahead
//! to compare it.

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

/// What was read of a listing to compare it with an earlier one, and is not handed on yet: pieces as the protocol likes
/// them, bytes or entries.
#[derive(Debug)]
pub struct ReadAhead<T, E> {
    pieces: Vec<T>,
    /// How the reading ended.
    broken: Option<E>,
}

impl<T, E> Default for ReadAhead<T, E> {
    fn default() -> Self {
        Self { pieces: Vec::new(), broken: None }
    }
}

impl<T, E> ReadAhead<T, E> {
    /// Reads on to the end, as long as it can be the listing of `before`; returns whether it is. `read` appends the next
    /// pieces and returns what was read so far, `None` in its second place at the end. What was read, and how reading
    /// ended, comes from [`Self::take`].
    pub async fn is_unchanged(
        &mut self,
        before: Fingerprint,
        so_far: Fingerprint,
        mut read: impl AsyncFnMut(&mut Vec<T>) -> Result<(Fingerprint, bool), E>,
    ) -> bool {
        let mut so_far = so_far;
        while so_far.bytes <= before.bytes {
            match read(&mut self.pieces).await {
                Ok((all, false)) => return all == before,
                Ok((more, true)) => so_far = more,
                Err(error) => {
                    self.broken = Some(error);
                    return false;
                }
            }
        }
        false
    }

    /// Returns what was read ahead, where that is anything; empty, reading goes on.
    ///
    /// # Errors
    ///
    /// How reading ahead broke off, after all that came before was taken.
    pub fn take(&mut self) -> Result<Vec<T>, E> {
        if self.pieces.is_empty()
            && let Some(error) = self.broken.take()
        {
            return Err(error);
        }
        Ok(std::mem::take(&mut self.pieces))
    }

    /// Returns whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
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

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_then_how_it_broke_off() {
        let key = FingerprintKey::default();
        let before = of(key, b"abcdef");
        let pieces = |pieces: &'static [Result<&'static [u8], &'static str>]| {
            let (mut pieces, mut so_far) = (pieces.iter(), Fingerprinter::new(key));
            async move |into: &mut Vec<u8>| match pieces.next() {
                Some(Ok(piece)) => {
                    so_far.write(piece);
                    into.extend_from_slice(piece);
                    Ok((so_far.fingerprint(), true))
                }
                Some(Err(error)) => Err(*error),
                None => Ok((so_far.fingerprint(), false)),
            }
        };
        let nothing = of(key, b"");
        let mut same = ReadAhead::default();
        assert!(same.is_unchanged(before, nothing, pieces(&[Ok(b"abc"), Ok(b"def")])).await);
        let mut longer = ReadAhead::default();
        let more = pieces(&[Ok(b"abcdefg"), Ok(b"never read")]);
        assert!(!longer.is_unchanged(before, nothing, more).await);
        assert_eq!(longer.take().unwrap(), b"abcdefg");
        let mut broken = ReadAhead::default();
        assert!(!broken.is_unchanged(before, nothing, pieces(&[Ok(b"abc"), Err("lost")])).await);
        assert_eq!(broken.take(), Ok(b"abc".to_vec()));
        assert_eq!((broken.take(), broken.take()), (Err("lost"), Ok(Vec::new())));
    }
}
