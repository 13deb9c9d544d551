//! One logged-in connection, and a listing under way on it.

use std::time::Duration;

use super::error::RemoteError;
use crate::base::names::RemotePath;
use crate::ftp;
use crate::ftp::compare::Verdict;
use crate::ftp::list::Fingerprint;
use crate::ftp::listing::{Entry, Summary};
use crate::sftp;

/// A logged-in connection. One operation at a time; dropping the future of one leaves the session marked, and
/// [`Session::is_reusable`] says no.
pub enum Session {
    /// See [`ftp::Session`].
    Ftp(Box<ftp::Session>),
    /// See [`sftp::Session`].
    Sftp(Box<sftp::Session>),
}

/// A directory being listed. Dropped before [`Listing::finish`], its session is not reusable.
pub enum Listing<'s> {
    /// See [`ftp::list::Listing`].
    Ftp(ftp::list::Listing<'s>),
    /// See [`sftp::list::Listing`].
    Sftp(sftp::list::Listing<'s>),
}

/// How a file came to its end, after all of it was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// False where the end could have been cut, so that size or content must prove the file whole.
    pub clean_end: bool,
    /// The size of the file after its last byte was read, where the server tells that in the same go.
    pub size_after: Option<u64>,
}

impl Session {
    /// Whether the connection can carry another operation, as far as is known here.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        match self {
            Self::Ftp(session) => session.is_reusable(),
            Self::Sftp(session) => session.is_reusable(),
        }
    }

    /// The version of TLS in use, in words, where there is TLS.
    #[must_use]
    pub fn tls_version(&self) -> Option<&'static str> {
        match self {
            Self::Ftp(session) => session.tls_version(),
            Self::Sftp(_) => None,
        }
    }

    /// The size of a file, of a link's target where it is a link; `None` where the server does not tell.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, RemoteError> {
        match self {
            Self::Ftp(session) => Ok(session.size(path.wire()).await?),
            Self::Sftp(session) => Ok(session.size(path).await?),
        }
    }

    /// Logs out, as far as the server answers within `limit`, so that no stale login is left at the server.
    pub async fn quit(self, limit: Duration) {
        match self {
            Self::Ftp(session) => session.quit(limit).await,
            Self::Sftp(session) => session.quit(limit).await,
        }
    }

    /// Begins to list the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`super::Blame::Entry`] where the directory cannot be entered; the session stays usable then.
    pub async fn list(&mut self, path: &RemotePath) -> Result<Listing<'_>, RemoteError> {
        match self {
            Self::Ftp(session) => Ok(Listing::Ftp(session.list(path).await?)),
            Self::Sftp(session) => Ok(Listing::Sftp(session.list(path).await?)),
        }
    }

    /// Fetches the file at `path` from byte `offset` on and passes every piece to `sink`. `expected` is the size that the
    /// listing shows; `another` is asked at the end of the data whether another file is fetched next.
    ///
    /// # Errors
    ///
    /// [`RemoteError::refuses_to_resume`] where it does; the session stays usable then, as it does when the file is
    /// gone. Whatever `sink` says ends the transfer. Cancelled or failed half-way, all that was passed to `sink` is
    /// true.
    pub async fn fetch(
        &mut self,
        path: &RemotePath,
        offset: u64,
        expected: Option<u64>,
        sink: impl AsyncFnMut(&[u8]) -> anyhow::Result<()>,
        another: impl Fn() -> bool,
    ) -> Result<Received, RemoteError> {
        Ok(match self {
            Self::Ftp(session) => {
                let received = session.fetch(path, offset, sink, another).await?;
                Received { clean_end: received.clean_end, size_after: None }
            }
            Self::Sftp(session) => {
                let received = session.fetch(path, offset, expected, sink).await?;
                Received { clean_end: received.clean_end, size_after: received.size_after }
            }
        })
    }

    /// Whether the listing of `path` that has just come as `summary` is to be believed, or the directory to be listed
    /// again, by another way that is used from now on. `expected` says that it holds something, or did.
    ///
    /// # Errors
    ///
    /// [`super::Blame::Entry`] where a directory that seems to have become empty cannot be entered; the session stays
    /// usable then. Cancelled, it is not reusable.
    pub async fn settle(
        &mut self,
        path: &RemotePath,
        summary: &Summary,
        expected: bool,
    ) -> Result<Verdict, RemoteError> {
        match self {
            Self::Ftp(session) => Ok(session.settle(path, summary, expected).await?),
            // it was opened, and there is one way
            Self::Sftp(_) => Ok(Verdict::Stands),
        }
    }
}

impl Listing<'_> {
    /// Reads on to the end, as long as it can be the listing of that fingerprint; whether it is. If not, what was read
    /// comes from [`Listing::next`], as if nothing had been read.
    pub async fn is_still(&mut self, before: Fingerprint) -> bool {
        match self {
            Self::Ftp(listing) => listing.is_still(before).await,
            Self::Sftp(listing) => listing.is_still(before).await,
        }
    }

    /// Whether nothing speaks for the way in which it comes: it is not to be used before [`Session::settle`] has said that
    /// it stands.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        match self {
            Self::Ftp(listing) => listing.is_on_trial(),
            Self::Sftp(_) => false,
        }
    }

    /// What the server calls the directory that it lists, as far as that was read; see [`Summary::own_unique`].
    #[must_use]
    pub fn own_unique(&self) -> Option<u64> {
        match self {
            Self::Ftp(listing) => listing.own_unique(),
            Self::Sftp(_) => None,
        }
    }

    /// What was read so far; at its end, the whole listing.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Ftp(listing) => listing.fingerprint(),
            Self::Sftp(listing) => listing.fingerprint(),
        }
    }

    /// Appends the next entries to `entries`; false at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the listing goes over its bounds. Cancelled, the session is not reusable.
    pub async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, RemoteError> {
        match self {
            Self::Ftp(listing) => Ok(listing.next(entries).await?),
            Self::Sftp(listing) => Ok(listing.next(entries).await?),
        }
    }

    /// Reads the server's verdict. `entries` gets what was left.
    ///
    /// # Errors
    ///
    /// Whenever the listing cannot be relied on to be complete; what came is still true.
    pub async fn finish(self, entries: &mut Vec<Entry>) -> Result<Summary, RemoteError> {
        match self {
            Self::Ftp(listing) => Ok(listing.finish(entries).await?),
            Self::Sftp(listing) => Ok(listing.finish(entries).await?),
        }
    }
}
