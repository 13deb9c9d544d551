//! MROSync collects measurement-report zips from FTP servers.

pub mod config;
pub mod ftp;
pub mod mirror;
pub mod names;
