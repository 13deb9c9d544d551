//! Conversations with FTP servers: logging in, listing, fetching. Nothing here knows of the mirror or the records.
//!
//! - [`connect`]: address, TLS, user and password in, a logged-in [`Session`] out
//! - [`control`]: commands and replies, by suppaftp, and the stream beneath it
//! - `data`: data connections, and who opens them
//! - `list` and [`listing`]: one directory as entries, whatever dialect the server speaks, and whether it can be believed
//! - [`download`] and `address`: one file as bytes, by its path or its bare name

mod address;
pub mod connect;
pub mod control;
mod data;
pub mod download;
pub mod error;
mod list;
pub mod listing;
mod login;
pub mod session;

pub use connect::Connector;
pub use error::FtpError;
pub use session::Session;
