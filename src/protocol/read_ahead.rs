//! Reading a listing to compare it with an earlier one: what was read comes again where it is another.

use super::entry::Entry;
use super::fingerprint::Fingerprint;

/// What was read of a listing and is not handed on yet: pieces as the protocol likes them, bytes or entries.
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

    /// Whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// A listing that can be read ahead of what it hands on: what each protocol brings for
/// [`Listing::is_unchanged`](super::Listing::is_unchanged) and, where its pieces are entries, for
/// [`Listing::next`](super::Listing::next).
pub trait ReadsAhead {
    /// Bytes or entries.
    type Piece;
    /// How reading fails.
    type Error;

    /// What was read ahead.
    fn ahead(&mut self) -> &mut ReadAhead<Self::Piece, Self::Error>;

    /// Of all that was read so far.
    fn fingerprint(&self) -> Fingerprint;

    /// Appends what comes next to `pieces`, and returns whether there may be more: false at the end.
    fn read_on(&mut self, pieces: &mut Vec<Self::Piece>) -> impl Future<Output = Result<bool, Self::Error>>;
}

/// Reads on to the end, as long as it can be the listing of `before`; returns whether it is. What was read, and how reading
/// ended, comes from [`ReadAhead::take`].
pub async fn is_unchanged<L: ReadsAhead>(listing: &mut L, before: Fingerprint) -> bool {
    let mut ahead = std::mem::take(listing.ahead());
    let is_unchanged = loop {
        if listing.fingerprint().bytes > before.bytes {
            break false;
        }
        match listing.read_on(&mut ahead.pieces).await {
            Ok(true) => {}
            Ok(false) => break listing.fingerprint() == before,
            Err(error) => {
                ahead.broken = Some(error);
                break false;
            }
        }
    };
    *listing.ahead() = ahead;
    is_unchanged
}

/// Appends the entries that were read ahead, or the next ones where there are none, and returns whether there may be more.
///
/// # Errors
///
/// Where reading fails, or failed ahead.
pub async fn next_entries<L: ReadsAhead<Piece = Entry>>(
    listing: &mut L,
    entries: &mut Vec<Entry>,
) -> Result<bool, L::Error> {
    let mut held = listing.ahead().take()?;
    if held.is_empty() {
        return listing.read_on(entries).await;
    }
    entries.append(&mut held);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FingerprintKey, Fingerprinter};

    struct Pieces {
        left: Vec<Result<&'static [u8], &'static str>>,
        so_far: Fingerprinter,
        ahead: ReadAhead<u8, &'static str>,
    }

    impl ReadsAhead for Pieces {
        type Piece = u8;
        type Error = &'static str;

        fn ahead(&mut self) -> &mut ReadAhead<u8, &'static str> {
            &mut self.ahead
        }

        fn fingerprint(&self) -> Fingerprint {
            self.so_far.fingerprint()
        }

        async fn read_on(&mut self, into: &mut Vec<u8>) -> Result<bool, &'static str> {
            if self.left.is_empty() {
                return Ok(false);
            }
            let piece = self.left.remove(0)?;
            self.so_far.write(piece);
            into.extend_from_slice(piece);
            Ok(true)
        }
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_then_how_it_broke_off() {
        let key = FingerprintKey::default();
        let mut before = Fingerprinter::new(key);
        before.write(b"abcdef");
        let before = before.fingerprint();
        let pieces = |left: &[Result<&'static [u8], &'static str>]| Pieces {
            left: left.to_vec(),
            so_far: Fingerprinter::new(key),
            ahead: ReadAhead::default(),
        };
        assert!(is_unchanged(&mut pieces(&[Ok(b"abc"), Ok(b"def")]), before).await);
        assert!(!is_unchanged(&mut pieces(&[Ok(b"abc"), Ok(b"xyz")]), before).await);
        assert!(!is_unchanged(&mut pieces(&[Ok(b"abc")]), before).await);
        let mut longer = pieces(&[Ok(b"abcdefg"), Ok(b"never read")]);
        assert!(!is_unchanged(&mut longer, before).await);
        assert_eq!((longer.ahead.take().unwrap(), longer.left.len()), (b"abcdefg".to_vec(), 1));
        let mut broken = pieces(&[Ok(b"abc"), Err("lost")]);
        assert!(!is_unchanged(&mut broken, before).await);
        assert_eq!(broken.ahead.take(), Ok(b"abc".to_vec()));
        assert_eq!((broken.ahead.take(), broken.ahead.take()), (Err("lost"), Ok(Vec::new())));
    }
}
