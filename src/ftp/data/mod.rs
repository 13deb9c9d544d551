//! Data connections: one for each listing and each file, opened by whoever the mode says.

pub(crate) mod active;
pub(crate) mod early;
pub(crate) mod open;
pub(crate) mod passive;
