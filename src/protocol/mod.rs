//! What the collector needs of a server, whatever protocol it speaks: the words, and the contract that every protocol
//! keeps.
//!
//! - [`Connector`], [`Session`], [`Listing`]: settings in, logged-in sessions out; list a directory, fetch a file; a
//!   directory as entries, as they come. What is left when a future of theirs is dropped is said there
//! - [`Entry`], [`Kind`], [`Summary`]: what a directory holds; [`EntryCollector`] holds all of them to the same limits
//! - [`Fingerprint`]: whether a listing is what it was; [`ReadsAhead`] is what a protocol brings to find out
//! - [`ProtocolError`] and [`ErrorScope`]: what went wrong, and whom it concerns
//! - [`memory`]: a server in memory that keeps the contract, for tests
//!
//! A new protocol is one folder that implements the three traits, and one line in `connectors.rs`. `tests/it/conformance`
//! tries all of them, the one in memory included, by the same sentences.

mod contract;
mod entry;
mod entry_collector;
mod error;
mod fingerprint;
#[doc(hidden)]
pub mod memory;
mod read_ahead;

pub use contract::{Confirmation, Connector, FileReceiver, FileRequest, Listing, Received, Session};
pub use entry::{Entry, Kind, Summary};
pub use entry_collector::{EntryCollector, MAX_ENTRIES, MAX_LISTING_BYTES, MAX_NAME_BYTES, MAX_NAMES};
pub use error::{Detail, ErrorScope, ListingCut, ProtocolError};
pub use fingerprint::{Fingerprint, FingerprintKey, Fingerprinter};
pub use read_ahead::{ReadAhead, ReadsAhead, is_unchanged, next_entries};
