//! The tests' own tools, where a mistake in them would go unnoticed or look like one of the program.

mod daemons;
mod notify;
mod scripted;
mod service;
mod unftp;
mod zips;
