//! The mirror on a file system of this machine.
//!
//! - [`location`], [`mirror`], [`server`], [`file`]: what [`store`](super::store) asks for, made of the rest
//! - [`root`] and [`tree`]: directories below `{root}`, opened without following links
//! - [`partial`], [`link`], [`durable`] and [`publishing`]: durable under the final name, many at a time;
//!   [`intent`]: the proof that a file is ours, where there are no hard links
//! - [`delete`] and [`idle`]: one file less, for the quota; [`meter`]: how full it is
//! - [`walk`], [`presence`] and [`marker`]: what there is

#[cfg(test)]
pub(super) mod bench;
mod delete;
mod durable;
mod file;
mod idle;
mod intent;
mod link;
pub(super) mod location;
mod marker;
mod meter;
mod mirror;
mod partial;
mod presence;
mod publishing;
mod root;
mod server;
mod tree;
mod walk;
