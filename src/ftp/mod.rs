//! Conversations with FTP servers: logging in, listing, fetching. Nothing here knows of the mirror or the records.
//!
//! - [`connect`]: address, TLS, user and password in, a logged-in [`Session`] out
//! - [`session`]: commands, replies, data connections, deadlines
//! - [`list`] and [`listing`]: one directory as entries, whatever dialect the server speaks
//! - [`compare`]: whether a listing can be believed
//! - [`download`]: one file as bytes, resumed where that is safe
//! - `resolve` and `pace`: host names, and the lowest useful speed
//! - [`reply`] and [`transport`]: what lies beneath suppaftp, which carries the control connection
//! - [`tls`]: whom to trust

mod ahead;
pub mod compare;
pub mod connect;
pub mod download;
pub mod error;
pub mod list;
pub mod listing;
pub(crate) mod pace;
pub mod reply;
pub(crate) mod resolve;
pub mod session;
pub mod tls;
pub mod transport;

pub use connect::Connector;
pub use error::{Blame, FtpError};
pub use session::Session;
