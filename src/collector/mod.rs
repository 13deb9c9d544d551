//! One server, from `start` to `stop`: what is listed, fetched, and handed to the mirror and the records.
//!
//! - [`collect`]: scan after scan; `windows`: the times outside of which nothing is done
//! - [`scan`]: one scan; [`scan_state`] is what it found so far, [`queue`] holds its jobs, `workers` do them, each with
//!   one session, as many as `login_limiter` grants
//! - `list_directory` lists one directory, `directory` queues what is found in it, `loops` ends a tree in time,
//!   [`list_all`] lists without fetching any
//! - `fetch_file` returns what became of one file: `admission` asks for room, `fetch` receives its bytes, `proof` says
//!   whether they are taken, `publish` has it stored and recorded, `partial_files` keeps what is left of it
//! - [`server`], [`retry_memory`], [`listing_cache`], `unsized_files` and `complaints`: what outlives a scan
//! - [`ports`]: what a scan asks of the rest; [`open_files`]: how many sessions the process can bear
//!
//! `tests` run all of it against a server in memory, without a socket and with the clock in hand.

mod admission;
pub mod collect;
mod complaints;
mod directory;
mod fetch;
mod fetch_file;
pub mod list_all;
mod list_directory;
pub mod listing_cache;
mod login_limiter;
mod loops;
pub mod open_files;
mod partial_files;
pub mod ports;
mod proof;
mod publish;
pub mod queue;
pub mod retry_memory;
pub mod scan;
pub mod scan_state;
pub mod server;
mod shifts;
#[cfg(test)]
mod tests;
mod unsized_files;
mod wanted;
mod windows;
mod workers;
