//! The record of every download: what was fetched, announced and evicted, for ever.

mod error;
mod export;
mod filter;
mod sqlite;

pub use crate::base::facts::{Download, Due, Knowledge, Notice, Postponed};
pub use error::{OpenError, RecordsError, Trouble};
pub use export::{ExportError, newest_json, write_csv, write_json, write_table};
pub use filter::Filter;
pub use sqlite::{
    Amended, Amendment, BATCH, Evicted, Mark, PresentFile, RecordRow, Recorded, Records, RecordsReader,
    Standing, Totals, Writes,
};
