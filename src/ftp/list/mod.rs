//! Listing a directory, in the way that shows it.

pub(crate) mod compare;
pub(crate) mod lister;
pub(crate) mod ways;
