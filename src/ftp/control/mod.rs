//! The control connection: all that suppaftp does for us, and what lies beneath it.

pub(crate) mod answers;
pub(crate) mod connection;
pub mod reply;
pub mod transport;
