//! The local tree of finished zips.

pub mod verify;
