//! One server, from `start` to `stop`: what is listed, fetched, and handed to the mirror and the records.
//!
//! - [`collect`]: scan after scan; `windows`: the times outside of which nothing is done
//! - [`scan`]: one scan; [`scan_state`] is what it found so far, [`queue`] holds its [jobs](job), `workers` do them, each with
//!   one session, as many as `login_limiter` grants
//! - [`listing`]: the directories; `fetching`: the files
//! - [`server`], [`retry_memory`], `unsized_files` and `warn_once`: what outlives a scan
//! - [`ports`]: what a scan asks of the rest; [`open_files`]: how many sessions the process can bear
//!
//! `tests` run all of it against a server in memory, without a socket and with the clock in hand.

pub mod collect;
mod fetching;
pub mod job;
pub mod listing;
mod login_limiter;
pub mod open_files;
pub mod ports;
pub mod queue;
pub mod retry_memory;
pub mod scan;
pub mod scan_state;
pub mod server;
#[cfg(test)]
mod tests;
mod unsized_files;
mod warn_once;
mod windows;
mod workers;
