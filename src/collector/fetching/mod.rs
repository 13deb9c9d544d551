//! One file, from the listing that showed it to its record.
//!
//! `fetch_file` returns what became of it: `wanted` says whether it is to be fetched, `admission` asks for room, `fetch`
//! receives its bytes, `proof` says whether they are taken, `publish` has it stored and recorded, `partial_files` keeps
//! what is left of it.

mod admission;
mod fetch;
pub(in crate::collector) mod fetch_file;
pub(in crate::collector) mod partial_files;
pub(in crate::collector) mod proof;
pub(in crate::collector) mod publish;
pub(in crate::collector) mod wanted;
