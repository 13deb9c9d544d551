//! The mirror: files as they lie below the names of their servers, from the first byte to the deletion.
//!
//! [`at`] is the only way in; [`store`] and [`server`] say what comes out, whichever store keeps the files:
//!
//! - [`store`], [`server`] and [`error`]: the promises of a store, which `conformance` holds each of them to; `local`: the
//!   one on a file system of this machine; `memory`: the one of tests
//! - [`partial_name`], [`partial`] and [`partial_files`]: files under way
//! - [`identity`] and [`mounted`]: which mirror it is, and whether it is there
//! - [`idle`]: partial files that nobody works on, for the quota

#[cfg(test)]
pub(crate) mod conformance;
pub mod error;
pub mod identity;
pub mod idle;
mod local;
#[cfg(test)]
pub(crate) mod memory;
pub mod mounted;
pub mod partial;
pub mod partial_files;
pub mod partial_name;
pub mod server;
pub mod store;

use std::path::Path;
use std::sync::Arc;

use store::MirrorLocation;

/// The mirror at `root`: a line for each store there is.
#[must_use]
pub fn at(root: &Path) -> Arc<dyn MirrorLocation> {
    Arc::new(local::location::LocalLocation::new(root))
}

/// A mirror on a disk for tests whose clock is paused, which would run on while a thread works.
#[cfg(test)]
pub(crate) fn on_disk() -> std::rc::Rc<dyn conformance::bench::Bench> {
    std::rc::Rc::new(local::bench::LocalBench::new(local::location::LocalLocation::on_this_thread))
}
