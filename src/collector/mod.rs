//! One server, from `start` to `stop`: what is listed, fetched, and handed to the mirror and the records.
//!
//! - [`collect`]: scan after scan; `windows`: the times outside of which nothing is done
//! - [`scan`]: one scan; [`queue`] holds its jobs, [`workers`] do them, each with one session, as many as
//!   [`login_limiter`] grants
//! - [`list_directory`] lists one directory, `loops` ends a tree in time, [`list_all`] lists without fetching any
//! - [`fetch_file`] brings a file home: [`fetch`] receives its bytes, `proof` says whether they are taken, `admission`
//!   asks for room
//! - [`server`], [`retry_memory`], [`listing_cache`] and `complaints`: what outlives a scan
//! - [`ports`]: what a scan asks of the rest; [`open_files`]: how many sessions the process can bear

mod admission;
pub mod collect;
mod complaints;
pub mod fetch;
pub mod fetch_file;
pub mod list_all;
mod list_directory;
pub mod listing_cache;
mod login_limiter;
mod loops;
pub mod open_files;
pub mod ports;
mod proof;
pub mod queue;
pub mod retry_memory;
pub mod scan;
pub mod server;
mod shifts;
#[cfg(test)]
mod tests;
mod windows;
mod workers;
