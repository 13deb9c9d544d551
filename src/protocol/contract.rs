//! The three traits that a protocol implements, and what they promise.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::entry::{Entry, Summary};
use super::error::ProtocolError;
use super::fingerprint::Fingerprint;
use crate::base::names::RemotePath;

/// Makes sessions with one server, and keeps what was learnt of it. Lives on the server's own thread, as everything
/// here does: nothing needs to be `Send`.
#[async_trait(?Send)]
pub trait Connector: Debug {
    /// Connects and logs in, by each address of the host in turn.
    ///
    /// Cancelled (its future dropped), nothing is left but a closed connection: no login that still counts at the
    /// server, as far as that can be said without waiting.
    ///
    /// # Errors
    ///
    /// Each step has the configured timeout. The scope tells a wrong account ([`super::ErrorScope::Login`], which is not
    /// tried again soon), and a server that takes no more logins ([`super::ErrorScope::TooManyLogins`]), from a
    /// connection that did not come about ([`super::ErrorScope::Connection`]).
    async fn connect(&self) -> Result<Box<dyn Session>, ProtocolError>;

    /// Returns how directories are listed, as `status` shows it, where there is more than one way; `None` before one was.
    fn describe_listing(&self) -> Option<String> {
        None
    }
}

/// One logged-in connection. One operation at a time, as the borrows say.
///
/// Dropping the future of any operation before it is ready, or a [`Listing`] before [`Listing::finish`], leaves the
/// session as it is in the middle of a conversation: [`Session::is_reusable`] says no from then on, no operation is to be
/// called, and the session is to be dropped, which closes its connection. Other sessions of the same [`Connector`] are not
/// touched by that.
///
/// An error leaves the session usable only as far as [`Session::is_reusable`] still says yes afterwards. Errors of scope
/// [`super::ErrorScope::Entry`] mostly do, all others mostly do not.
#[async_trait(?Send)]
pub trait Session {
    /// Returns whether the connection can carry another operation, as far as is known here: nothing is sent to find out.
    fn is_reusable(&self) -> bool;

    /// Returns the version of TLS in use, in words, where there is TLS.
    fn tls_version(&self) -> Option<&'static str> {
        None
    }

    /// Returns the size of a file in bytes, of a link's target where it is a link; `None` where the server does not tell.
    ///
    /// # Errors
    ///
    /// When the connection breaks. A file that is gone is `None`, or an error of scope [`super::ErrorScope::Entry`].
    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError>;

    /// Begins to list the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`super::ErrorScope::Entry`] where the directory is not there or cannot be entered; the session stays usable then.
    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError>;

    /// Returns whether the listing of `path` that has just come as `summary` is to be believed, or the directory to be
    /// listed again, by another way that is used from now on. `expected` says that it holds something, or did. Protocols
    /// with one way of listing believe everything.
    ///
    /// # Errors
    ///
    /// [`super::ErrorScope::Entry`] where a directory that seems to have become empty cannot be entered; the session
    /// stays usable then.
    async fn confirm_listing(
        &mut self,
        path: &RemotePath,
        summary: &Summary,
        expected: bool,
    ) -> Result<Confirmation, ProtocolError> {
        let _ = (path, summary, expected);
        Ok(Confirmation::Confirmed)
    }

    /// Fetches the file that `request` names and passes every piece of it to `receiver`, in order and without a gap from
    /// the offset on. Returns after the last piece, once the server has said that the transfer is over.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::refuses_to_resume`] where an offset is refused; the session stays usable then, as it does when the
    /// file is gone. Whatever `receiver` says ends the transfer, and comes back as [`ProtocolError::Local`]. Cancelled or
    /// failed half-way, all that was passed to `receiver` is true.
    async fn fetch(
        &mut self,
        request: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError>;

    /// Logs out, as far as the server answers within `limit`, so that no stale login is left there. Whatever comes of it,
    /// the connection is closed afterwards. May be called on a session that is not reusable.
    async fn quit(self: Box<Self>, limit: Duration);
}

/// A directory being listed; entries come in batches as the server sends them, each with at most some hundreds. At most
/// [`super::MAX_ENTRIES`] and [`super::MAX_LISTING_BYTES`] are taken of one listing: one that is longer is an error.
#[async_trait(?Send)]
pub trait Listing {
    /// Reads on to the end, as long as this can be the listing of the fingerprint `before`; returns whether it is. If not,
    /// what was read comes from [`Listing::next`], as if nothing had been read; if so, the listing may be finished without
    /// a look at its entries. To be called first or not at all.
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool;

    /// Returns whether nothing speaks for the way in which it comes: its entries had better not be used before
    /// [`Session::confirm_listing`] has confirmed it.
    fn is_tentative(&self) -> bool {
        false
    }

    /// Returns what the server calls the directory that it lists, as far as that was read; see [`Summary::own_unique`].
    fn own_unique(&self) -> Option<u64> {
        None
    }

    /// Returns the fingerprint of what was read so far; at its end, of the whole listing.
    fn fingerprint(&self) -> Fingerprint;

    /// Appends the next entries to `entries`, or none, and returns whether there may be more: false at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the listing goes over its bounds. What came before is true.
    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError>;

    /// Ends the listing, after [`Listing::next`] has returned false or [`Listing::is_unchanged`] true, and reads the
    /// server's verdict. `entries` gets what was left. The session is usable again.
    ///
    /// # Errors
    ///
    /// Whenever the listing cannot be relied on to be complete; what came is still true.
    async fn finish(self: Box<Self>, entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError>;
}

/// Takes the bytes of one file.
#[async_trait(?Send)]
pub trait FileReceiver {
    /// Takes the next bytes, never empty. The transfer goes on when it is done, so that waiting holds the server back.
    ///
    /// # Errors
    ///
    /// Whatever must end the transfer.
    async fn receive(&mut self, bytes: &[u8]) -> anyhow::Result<()>;

    /// Returns whether another file is fetched on the same session next, as it looks now. Asked before and at the end of
    /// the data, by protocols that can prepare for it.
    fn is_another_next(&self) -> bool {
        false
    }
}

/// Which file to fetch, and from where on.
#[derive(Debug, Clone, Copy)]
pub struct FileRequest<'r> {
    /// On the server.
    pub path: &'r RemotePath,
    /// The first byte to fetch; 0 is the whole file.
    pub offset: u64,
    /// The size that the listing shows, where it shows one. A file may have grown since.
    pub expected_size: Option<u64>,
}

/// How a file came to its end, after all of it was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// False where the end could have been cut, so that size or content must prove the file whole.
    pub clean_end: bool,
    /// The size of the file after its last byte was read, where the server tells that in the same go.
    pub size_after: Option<u64>,
}

/// What becomes of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It is what the directory holds, as far as can be told.
    Confirmed,
    /// Another way is used from now on, and the directory is to be listed again. In words, where this listing told.
    ListAgain(Option<String>),
}
