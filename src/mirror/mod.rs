//! The mirror: what lies below `{root}`, from the partial file to the deleted one.
//!
//! - [`identity`] and [`place`]: which mirror it is, and whether it is there
//! - [`tree`]: directories below `{root}`, opened without following links
//! - [`partial`], [`store`] and [`publisher`]: under way, durable under the final name, many at a time; [`intent`]: the
//!   proof that a file is ours, where there are no hard links
//! - [`delete`] and [`idle`]: one file less, for the quota
//! - [`local`]: what there is

pub mod delete;
pub mod identity;
pub mod idle;
pub mod intent;
pub mod local;
pub mod partial;
pub mod partial_name;
pub mod place;
pub mod publisher;
pub mod store;
mod syncfs;
pub mod tree;
