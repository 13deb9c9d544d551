//! The mirror of the servers: what is scanned, fetched, stored and deleted below `{root}`.
//!
//! - [`collect`]: scan after scan, from `start` to `stop`
//! - [`scan`]: one scan; [`jobs`] are its work, `explore` lists a directory, `loops` ends it in time,
//!   `obtain` brings a file home
//! - [`fetch`], `proof` and [`verify`]: bytes received and proved whole
//! - [`partial`], [`store`] and [`publisher`]: under way, durable under the final name, many at a time; [`intent`]: the
//!   proof that a file is ours, where there are no hard links
//! - [`delete`] and [`idle`]: one file less, for the quota; `room`: one file more
//! - [`identity`] and [`place`]: which mirror it is, and whether it is there
//! - [`tree`]: directories below `{root}`, opened without following links
//! - [`survey`] and [`local`]: what there is, without fetching any
//! - [`server`], [`memory`] and `complaints`: what outlives a scan; [`ports`]: what a scan asks of the rest
//! - `windows`: the times outside of which nothing is done

mod budget;
pub mod collect;
mod complaints;
pub mod delete;
mod explore;
mod fastest;
pub mod fetch;
pub mod identity;
pub mod idle;
pub mod intent;
pub mod jobs;
mod lanes;
pub mod local;
mod loops;
pub mod memory;
mod obtain;
pub mod partial;
pub mod place;
pub mod ports;
mod proof;
pub mod publisher;
pub mod quiet;
mod room;
pub mod scan;
pub mod server;
mod shifts;
pub mod store;
pub mod survey;
mod sync;
pub mod tree;
pub mod verify;
mod windows;
