//! Listing a directory, in the way that shows it.

mod compare;
mod compared;
pub(crate) mod lister;
mod refusals;
pub(crate) mod stream;
mod ways;
