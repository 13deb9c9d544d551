//! Conversations with FTP servers: logging in, listing, fetching. Nothing here knows of the mirror or the records.
//!
//! - [`connect`]: address, TLS, user and password in, a logged-in [`Session`] out
//! - [`session`]: commands, replies, deadlines
//! - `answers`: which answers can belong to which command
//! - `address`: files by their paths, or by their bare names in the current directory
//! - `data`, `passive` and `active`: data connections, and who opens them
//! - [`list`] and [`listing`]: one directory as entries, whatever dialect the server speaks
//! - [`compare`]: whether a listing can be believed
//! - [`download`]: one file as bytes, resumed where that is safe
//! - [`reply`] and [`transport`]: what lies beneath suppaftp, which carries the control connection

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
mod passive;
pub mod reply;
pub mod session;
pub mod transport;
mod ways;

pub use connect::Connector;
pub use error::FtpError;
pub use session::Session;
