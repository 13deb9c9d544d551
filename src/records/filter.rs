//! Which records are meant: what `mrosync records` shows.

use super::types::RecordRow;
use crate::base::globs::Globs;

/// See the module; the default means all records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of one of these servers; of any where there is none.
    pub servers: Vec<String>,
    /// With a path that one of these fits; any where there is none.
    pub paths: Globs,
    /// Downloaded then or later, in unix milliseconds.
    pub since: Option<i64>,
    /// Downloaded before that, in unix milliseconds.
    pub until: Option<i64>,
    /// Evicted, or still in the mirror.
    pub evicted: Option<bool>,
    /// With a delivered notice, or without.
    pub announced: Option<bool>,
}

impl Filter {
    /// Returns whether records of the server are meant at all.
    pub(super) fn wants_server(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|wanted| wanted == server)
    }

    /// Returns whether the record is meant.
    #[must_use]
    pub fn wants(&self, row: &RecordRow) -> bool {
        let is = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        self.wants_server(row.server.as_str())
            && self.since.is_none_or(|since| row.downloaded_at >= since)
            && self.until.is_none_or(|until| row.downloaded_at < until)
            && is(self.evicted, row.evicted_at.is_some())
            && is(self.announced, row.notified_at.is_some())
            && (self.paths.is_empty() || self.paths.is_match(row.path.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, Shortcuts, record_some};
    use super::super::memory::MemoryRecords;
    use super::*;

    fn shown(place: &MemoryRecords, filter: &Filter) -> Vec<i64> {
        let mut ids = Vec::new();
        let mut keep = |row: &RecordRow| -> std::io::Result<()> {
            ids.push(row.id);
            Ok(())
        };
        place.read().for_each(filter, &mut keep).unwrap();
        ids
    }

    /// interface 14.3
    #[test]
    fn every_filter_must_fit_and_a_time_until_is_not_part_of_it() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        // downloaded at 1, 2, 3 and 4 ms
        let ids = record_some(&mut *records, 4);
        records.deliver(&ids[..2], 10);
        records.evict(&ids[1..3], 11);
        let all = Filter::default;
        let paths = |pattern: &str| Globs::new(&[pattern]).unwrap();
        for (filter, expected) in [
            (all(), &ids[..]),
            (Filter { since: Some(2), until: Some(4), ..all() }, &ids[1..3]),
            (Filter { evicted: Some(true), ..all() }, &ids[1..3]),
            (Filter { evicted: Some(false), ..all() }, &[ids[0], ids[3]]),
            (Filter { announced: Some(false), ..all() }, &ids[2..]),
            (Filter { announced: Some(true), evicted: Some(true), ..all() }, &ids[1..2]),
            (Filter { paths: paths("/in/[34].zip"), ..all() }, &ids[2..]),
            (Filter { paths: paths("/out/*"), ..all() }, &[]),
            (Filter { servers: vec!["x".to_owned(), "omc01".to_owned()], ..all() }, &ids[..]),
            (Filter { servers: vec!["omc02".to_owned()], ..all() }, &[]),
        ] {
            assert_eq!(shown(&place, &filter), expected, "{filter:?}");
        }
    }
}
