//! stub
#![allow(missing_docs)]
use crate::names::*;
#[derive(Debug)]
pub struct ListingParser {}
#[derive(Debug, Clone)]
pub struct Entry { pub name: RemoteName, pub kind: Kind, pub facts: FileFacts }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind { Directory, File, Link, Other }
#[derive(Debug, Default)]
pub struct Summary { pub lines: u64, pub entries: u64, pub not_understood: u64, pub sample: Option<String>, pub names_refused: u64, pub refused_sample: Option<String>, pub too_long: u64, pub over_limit: bool }
impl ListingParser {
    pub fn mlsd(_: &'static encoding_rs::Encoding) -> Self { Self {} }
    pub fn list(_: &'static encoding_rs::Encoding, _: chrono::DateTime<chrono::Utc>) -> Self { Self {} }
    pub fn feed(&mut self, _: &[u8], _: &mut Vec<Entry>) {}
    pub fn over_limit(&self) -> bool { false }
    pub fn finish(self, _: &mut Vec<Entry>) -> Summary { Summary::default() }
}
