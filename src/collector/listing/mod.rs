//! The directories of a server: what is listed, and what of it is new.
//!
//! `list_directory` lists one directory, `directory` queues what is found in it, `loops` ends a tree in time,
//! [`list_all`] lists without fetching any. [`listing_cache`] holds the listings that have not changed, `shifts` the
//! files whose times have moved by whole hours.

pub(in crate::collector) mod directory;
pub mod list_all;
pub(in crate::collector) mod list_directory;
pub mod listing_cache;
mod loops;
pub(in crate::collector) mod shifts;
