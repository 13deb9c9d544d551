//! stub
pub mod collect;
pub mod delete;
mod explore;
pub mod fetch;
pub mod jobs;
pub mod memory;
mod obtain;
pub mod partial;
pub mod ports;
pub mod scan;
pub mod server;
pub mod store;
pub mod tree;
pub mod verify;
