//! The disk guard: how full the disk is, what fits, and which files go. Knows the records and the mirror only
//! through the questions it asks ([`sweep::Evictions`]).

pub mod absence;
pub mod busy;
pub mod disk_counters;
pub mod plan;
pub mod prepaid;
pub mod replaced;
pub mod sweep;
pub mod usage;
pub mod weigh;

pub use absence::{Absence, Tally, Verdict};
pub use busy::Busy;
pub use disk_counters::{DiskCounters, Reservation};
pub use prepaid::Prepaid;
pub use sweep::{Need, Swept};
pub use usage::{DiskFault, Measured, Usage};
