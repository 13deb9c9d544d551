//! What can go wrong with a server, in the terms that the collector decides by.

use std::error::Error;
use std::fmt;

/// What a failure says about the connection and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorScope {
    /// This directory or file alone. The session stays usable unless [`super::Session::is_reusable`] says no.
    Entry,
    /// The connection; another login may help.
    Connection,
    /// The number of logins, which is shared with others: fewer connections may help.
    TooManyLogins,
    /// The account: trying again soon could lock it.
    Login,
    /// Our own side: the disk, the records.
    Local,
}

/// What a failure says beside its scope to whoever tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    Plain,
    /// A listing was cut, by the server or by a limit of ours. What came of it is true.
    ListingCut,
    /// A transfer that was to begin in the middle of a file is refused for good: it may work from its start.
    NotResumable,
    /// The same, and a transfer from the start broke off so as well: the session now knows another way, and the file is
    /// to be fetched from its start once more.
    StartOver,
}

/// A failed step of a conversation. The caller adds server and path.
#[derive(Debug)]
pub enum ProtocolError {
    /// The server, or the way to it.
    Remote {
        /// Whom the failure concerns.
        scope: ErrorScope,
        /// What else it says.
        detail: Detail,
        /// In words.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// Our own side: whatever a [`super::FileReceiver`] says, among others.
    Local(anyhow::Error),
}

/// A listing that cannot be relied on to be complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listing incomplete: {0}")]
pub struct ListingCut(pub String);

/// A listing of a directory above the one that was asked for (Globus GridFTP ends a path at its first byte beyond ASCII).
#[derive(Debug, thiserror::Error)]
#[error("the server lists a directory above it in its place")]
struct ListingOfAnother;

impl ProtocolError {
    /// A failure of the server, or on the way to it, without any detail.
    pub fn remote(scope: ErrorScope, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Remote { scope, detail: Detail::Plain, cause: cause.into() }
    }

    /// The same with `detail`.
    #[must_use]
    pub fn with(mut self, what: Detail) -> Self {
        if let Self::Remote { detail, .. } = &mut self {
            *detail = what;
        }
        self
    }

    /// A listing that cannot be relied on, for this reason.
    #[must_use]
    pub fn listing_cut(reason: &str) -> Self {
        ListingCut(reason.to_owned()).into()
    }

    /// A listing that is of another directory.
    #[must_use]
    pub fn listing_of_another() -> Self {
        Self::remote(ErrorScope::Entry, ListingOfAnother)
    }

    /// Returns whom the failure concerns.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        match self {
            Self::Remote { scope, .. } => *scope,
            Self::Local(_) => ErrorScope::Local,
        }
    }

    fn detail(&self) -> Detail {
        match self {
            Self::Remote { detail, .. } => *detail,
            Self::Local(_) => Detail::Plain,
        }
    }

    /// Returns whether the server, or a limit of ours, cut a listing.
    #[must_use]
    pub fn is_cut_listing(&self) -> bool {
        self.detail() == Detail::ListingCut
    }

    /// Returns whether a transfer that was to begin in the middle of a file is refused for good: it may work from its
    /// start.
    #[must_use]
    pub fn refuses_to_resume(&self) -> bool {
        matches!(self.detail(), Detail::NotResumable | Detail::StartOver)
    }

    /// Returns whether a transfer broke off in the middle that may work from its start, in another way which is known by
    /// now.
    #[must_use]
    pub fn asks_to_start_over(&self) -> bool {
        self.detail() == Detail::StartOver
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { cause, .. } => cause.fmt(f),
            Self::Local(error) => f.write_str(&crate::base::humanize::why(error)),
        }
    }
}

impl Error for ProtocolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Remote { cause, .. } => cause.source(),
            Self::Local(_) => None,
        }
    }
}

impl From<anyhow::Error> for ProtocolError {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

impl From<ListingCut> for ProtocolError {
    fn from(cut: ListingCut) -> Self {
        Self::remote(ErrorScope::Entry, cut).with(Detail::ListingCut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whom_it_concerns_and_what_may_help() {
        let cut = ProtocolError::listing_cut("it was not read to its end");
        assert_eq!(cut.to_string(), "listing incomplete: it was not read to its end");
        assert!(cut.scope() == ErrorScope::Entry && cut.is_cut_listing() && !cut.refuses_to_resume());
        let gone = ProtocolError::remote(ErrorScope::Connection, "gone");
        assert!(!gone.refuses_to_resume() && !gone.is_cut_listing());
        let again = gone.with(Detail::StartOver);
        assert!(again.scope() == ErrorScope::Connection && again.refuses_to_resume());
        assert!(again.asks_to_start_over());
        let ours = ProtocolError::from(anyhow::anyhow!("no space").context("cannot write"));
        assert_eq!((ours.scope(), ours.to_string().as_str()), (ErrorScope::Local, "cannot write: no space"));
    }
}
