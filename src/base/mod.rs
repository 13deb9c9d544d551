//! Words and tools that all parts share. Knows no other part.

pub mod backoff;
pub mod blocking;
pub mod durable;
pub mod exit_flag;
pub mod facts;
pub mod failpoints;
pub mod file_names;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod globs;
pub mod humanize;
pub mod io_error;
pub mod json;
pub mod names;
pub mod owner;
pub mod panics;
pub mod read_at;
pub mod start_error;
pub mod time;
pub mod watchdog;
