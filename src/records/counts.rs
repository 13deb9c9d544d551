//! How many records there are of each server and day.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Serialize;

use super::filter::Filter;
use super::reader::{RecordReader, VisitError};

/// The records of one server and day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Where they come from.
    pub server: String,
    /// Of the download, in UTC: `2026-11-23`.
    pub day: String,
    /// All of them.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Those with a delivered notice.
    pub announced: u64,
    /// Those that were deleted from the mirror.
    pub evicted: u64,
}

/// Counts the records that `filter` means; by server, then by day. Memory grows with the number of servers and days.
///
/// # Errors
///
/// [`VisitError`].
pub fn count(records: &mut dyn RecordReader, filter: &Filter) -> Result<Vec<Counts>, VisitError> {
    let mut counts: BTreeMap<(String, String), Counts> = BTreeMap::new();
    records.for_each(filter, &mut |row| {
        let day = DateTime::from_timestamp_millis(row.downloaded_at).unwrap_or_default();
        let key = (row.server.to_string(), day.format("%F").to_string());
        let counts = counts.entry(key).or_insert_with_key(|(server, day)| Counts {
            server: server.clone(),
            day: day.clone(),
            ..Counts::default()
        });
        counts.files += 1;
        counts.bytes = counts.bytes.saturating_add(row.size);
        counts.announced += u64::from(row.notified_at.is_some());
        counts.evicted += u64::from(row.evicted_at.is_some());
        Ok(())
    })?;
    Ok(counts.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, Shortcuts, download, server};
    use super::super::memory::MemoryRecords;
    use super::super::reader::Query;
    use super::*;

    const DAY: i64 = 86_400_000;

    /// interface 1.19
    #[test]
    fn each_server_and_day_is_counted_once() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        let mut of_another = download("c.zip", DAY);
        of_another.server = server("omc02");
        let ids: Vec<i64> = records
            .record(&[download("a.zip", 1), download("b.zip", DAY - 1), of_another, download("d.zip", DAY)])
            .unwrap()
            .iter()
            .map(|recorded| recorded.id())
            .collect();
        records.deliver(&ids[..1], 5);
        records.evict(&ids[1..2], 6);
        let counted = count(&mut *place.read(), &Filter::default()).unwrap();
        let shown: Vec<_> = counted
            .iter()
            .map(|c| (c.server.as_str(), c.day.as_str(), c.files, c.announced, c.evicted))
            .collect();
        assert_eq!(
            shown,
            [
                ("omc01", "1970-01-01", 2, 1, 1),
                ("omc01", "1970-01-02", 1, 0, 0),
                ("omc02", "1970-01-02", 1, 0, 0)
            ]
        );
        assert_eq!(counted[0].bytes, 20);
    }

    /// interface 1.18
    #[test]
    fn the_newest_come_first_where_that_is_asked_for_and_a_limit_ends_it() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        // more than are looked at together
        for n in 0..2500 {
            records.record(&[download(format!("{n}.zip"), n)]).unwrap();
        }
        let shown = |newest_first, limit, since| {
            let mut times = Vec::new();
            let filter = Filter { since, ..Filter::default() };
            let query = Query { filter, newest_first, limit };
            place
                .read()
                .visit(&query, &mut |row| {
                    times.push(row.downloaded_at);
                    Ok(())
                })
                .unwrap();
            times
        };
        assert_eq!(shown(true, Some(3), None), [2499, 2498, 2497]);
        assert_eq!(shown(false, Some(2), None), [0, 1]);
        assert_eq!(shown(false, Some(2), Some(2498)), [2498, 2499]);
        assert!(shown(true, None, None).iter().rev().copied().eq(0..2500));
        assert!(shown(false, None, None).into_iter().eq(0..2500));
        assert_eq!(shown(true, Some(0), None), [0; 0]);
    }
}
