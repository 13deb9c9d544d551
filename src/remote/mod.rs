//! What the mirror needs of a server, whatever protocol it speaks: the one small interface between scans and
//! conversations.
//!
//! - [`Connector`]: settings in, logged-in sessions out
//! - [`Session`]: list a directory, fetch a file from an offset on, ask for a size, log out
//! - [`Listing`]: a directory as entries, as they come
//! - [`RemoteError`] and [`Blame`]: what went wrong, and whom it concerns
//!
//! Each is an enum over the protocols, so that a call costs one branch and nothing is allocated for it.

mod connector;
mod error;
mod session;

pub use connector::Connector;
pub use error::RemoteError;
pub use session::{Listing, Received, Session};

// the words of listings and failures, which all protocols share
pub use crate::ftp::Blame;
pub use crate::ftp::compare::Verdict;
pub use crate::ftp::list::Fingerprint;
pub use crate::ftp::listing::{Entry, Kind, Summary};
