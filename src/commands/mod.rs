//! What `mrosync` does beside `run`: one file a command.

pub mod adopt;
pub mod amend;
pub mod check;
pub mod confirmation;
pub mod mark;
mod record_writer;
pub mod records;
