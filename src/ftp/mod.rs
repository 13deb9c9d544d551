//! Conversations with FTP servers: logging in, listing, fetching. Nothing here knows of the mirror or the records.
//!
//! - [`connect`]: address, TLS, user and password in, a logged-in [`Session`] out
//! - [`session`]: commands, replies, deadlines
//! - `answers`: which answers can belong to which command
//! - `address`: files by their paths, or by their bare names in the current directory
//! - `data`, `passive` and `active`: data connections, and who opens them
//! - [`route`]: straight to the server, or through a proxy
//! - [`list`] and [`listing`]: one directory as entries, whatever dialect the server speaks
//! - [`compare`]: whether a listing can be believed
//! - [`download`]: one file as bytes, resumed where that is safe
//! - `resolve`, `pace` and `rate`: host names, the lowest useful speed, and the highest one that is allowed
//! - [`reply`] and [`transport`]: what lies beneath suppaftp, which carries the control connection
//! - [`tls`]: whom to trust

mod active;
mod address;
mod ahead;
mod answers;
pub mod compare;
pub mod connect;
mod data;
pub mod download;
pub mod error;
pub mod list;
pub mod listing;
pub(crate) mod pace;
mod passive;
pub(crate) mod rate;
pub mod reply;
pub(crate) mod resolve;
pub mod route;
pub mod session;
pub mod tls;
pub mod transport;
mod ways;

pub use connect::Connector;
pub use error::{Blame, FtpError};
pub use session::Session;
