//! MROSync collects measurement-report zips from FTP servers.

pub mod backoff;
pub mod config;
pub mod exit_flag;
pub mod ftp;
pub mod mirror;
pub mod names;
pub mod notify;
pub mod quota;
pub mod status;
