//! Reads directory listings, as MLSD and LIST send them, for whoever walks a server's tree.
//!
//! Pure and streaming: bytes go in as they come from the data connection, entries come out. No input can make it
//! panic, take more than one line of memory, or take something else than a listing for entries without saying
//! so: what is not understood is counted and shown. Runs wherever the caller runs, and never waits.
//!
//! Formats: MLSD (RFC 3659 section 7), `ls -l` as Unix servers print it, DOS as IIS prints it, and those of a few other
//! systems. VMS and MVS are not read; their lines are counted as not understood.

mod date;
mod dos;
mod fields;
mod line;
mod mlsd;
mod other;
mod parser;
#[cfg(test)]
mod tests;
mod unix;
mod unix_date;

pub use parser::ListingParser;
