//! Conversations with SFTP servers (SSH file transfer, version 3): logging in, listing, fetching. Nothing here knows
//! of the mirror or the records, nor of any other protocol.
//!
//! - [`connect`]: address, host key, user and key or password in, a logged-in [`Session`] out
//! - [`host_key`]: whom to trust
//! - [`session`]: requests, replies, deadlines
//! - [`list`] and [`fetch`]: one directory as entries, one file as bytes
//! - `unsure`: entries whose type is not told
//! - `login`: keys, passwords, and questions for them; `open`: paths to handles; `server_messages`: what a server
//!   says beside all this
//! - `habits`: what was learnt of a server
//! - `request`, `packet` and `status`: requests to bytes and bytes to replies; names are bytes, as the server has them
//! - `socket`: a connection that can be cut, because russh speaks on it in a task of its own
//! - `algorithms`: what may be agreed on with a server

mod algorithms;
pub mod connect;
pub mod error;
pub mod fetch;
mod habits;
pub mod host_key;
pub mod list;
mod login;
mod open;
pub mod packet;
mod request;
mod server_messages;
pub mod session;
mod socket;
mod status;
mod unsure;

pub use connect::Connector;
pub use error::SftpError;
pub use session::Session;
