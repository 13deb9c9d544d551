//! What needs an operator: one list, made here and nowhere else. Terminal, page, metrics and alert rules show it.
//!
//! `find` judges a status; [`Watch`] remembers since when each thing holds, and what one look cannot see.

mod causes;
mod find;
mod reason;
mod watch;

pub use causes::{Cause, Item, Level, Need};
pub use reason::Reason;
pub use watch::Watch;
