//! The mirror on a file system of this machine.
//!
//! - [`tree`]: directories below `{root}`, opened without following links
//! - [`batch`] and [`publisher`]: durable under the final name, many at a time; [`intent`]: the proof that a file is ours,
//!   where there are no hard links
//! - [`delete`]: one file less, for the quota
//! - [`walk`]: what there is

pub mod batch;
pub mod delete;
pub mod intent;
pub mod publisher;
mod syncfs;
pub mod tree;
pub mod walk;
