//! The engine without sockets: scans of a server in memory into a real mirror, with time under control.

mod faults;
mod listings;
mod room;
mod scans;
mod stops;
mod waits;
mod world;
