//! The mirror: what lies below `{root}`, from the partial file to the deleted one.
//!
//! - [`identity`] and [`mounted`]: which mirror it is, and whether it is there
//! - [`partial`]: files under way
//! - [`local`]: on a file system of this machine
//! - [`idle`]: partial files that nobody works on, for the quota

pub mod identity;
pub mod idle;
pub mod local;
pub mod mounted;
pub mod partial;
pub mod partial_name;
