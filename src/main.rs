//! The command `mrosync`.
fn main() {}
