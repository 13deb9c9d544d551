//! MROSync collects measurement-report zips from FTP servers.

pub mod actors;
pub mod app;
pub mod backoff;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod exit_flag;
pub mod ftp;
pub mod logging;
pub mod mirror;
pub mod names;
pub mod notify;
pub mod overview;
pub mod quota;
pub mod records;
pub mod status;
