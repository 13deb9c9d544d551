//! Talking to FTP servers.

pub mod listing;
