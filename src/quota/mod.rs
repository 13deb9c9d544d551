//! The disk guard: how full the disk is, what fits, and which files go. Knows the records and the mirror only
//! through the questions it asks ([`sweep::Evictions`]).

pub mod absence;
pub mod allowance;
pub mod busy;
pub mod gauge;
pub mod plan;
pub mod replaced;
pub mod sweep;
pub mod usage;

pub use absence::{Absence, Tally, Verdict};
pub use allowance::Allowance;
pub use busy::Busy;
pub use gauge::{Gauge, Hold};
pub use sweep::{Need, Swept};
pub use usage::{DiskFault, Measured, Meter, Usage};
