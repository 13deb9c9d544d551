//! MROSync collects measurement-report zips from FTP servers.

pub mod cli;
pub mod config;
pub mod ftp;
pub mod logging;
pub mod names;
pub mod records;
