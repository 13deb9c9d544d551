//! The engine without sockets: scans of a server in memory into a mirror in memory, or on a disk, with time under control.

mod faults;
mod listings;
mod mirror;
mod on_record;
mod outgrown;
mod room;
mod scans;
mod stops;
mod waits;
mod world;
