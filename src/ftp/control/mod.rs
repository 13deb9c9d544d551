//! The control connection: all that suppaftp does for us, and what lies beneath it.

pub(crate) mod answers;
pub mod reply;
pub mod transport;
