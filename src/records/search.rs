//! Records for somebody who looks for some: the newest first, a few at a time, however many there are.

use super::filter::Filter;
use super::reader::{ReadError, RecordReader};
use super::types::RecordRow;

/// Records read at a time.
const STEP: i64 = 1000;
/// Records looked at for one answer: a rare one among millions is found by asking again.
const MOST_LOOKED_AT: i64 = 50_000;

/// Some of the records that are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Newest first.
    pub rows: Vec<RecordRow>,
    /// Where to go on: [`search`] from there finds those before. None where there is nothing left to look at.
    pub next: Option<i64>,
}

/// Finds up to `limit` records that `filter` means, of those with an id below `before` where that is given. Fewer may
/// come although there are more: an answer looks at so many records only.
///
/// # Errors
///
/// [`ReadError`].
pub fn search(
    reader: &mut dyn RecordReader,
    filter: &Filter,
    before: Option<i64>,
    limit: usize,
) -> Result<Found, ReadError> {
    let last = reader.last_id()?.unwrap_or(0);
    let mut upper = before.map_or(last, |before| last.min(before.saturating_sub(1)));
    let end = upper.saturating_sub(MOST_LOOKED_AT).max(0);
    let mut rows: Vec<RecordRow> = Vec::new();
    while upper > end && rows.len() <= limit {
        let lower = upper.saturating_sub(STEP).max(end);
        let mut window = window(reader, filter, lower, upper)?;
        window.reverse();
        rows.append(&mut window);
        upper = lower;
    }
    let cut = rows.len() > limit;
    rows.truncate(limit);
    let next = match rows.last() {
        Some(row) if cut => Some(row.id),
        _ => (upper > 0).then_some(upper.saturating_add(1)),
    };
    Ok(Found { rows, next })
}

/// Those after `lower`, up to and with `upper`, oldest first.
fn window(
    reader: &mut dyn RecordReader,
    filter: &Filter,
    lower: i64,
    upper: i64,
) -> Result<Vec<RecordRow>, ReadError> {
    let (mut after, mut rows) = (lower, Vec::new());
    while after < upper {
        let mut page = reader.page(after, upper, filter)?;
        rows.append(&mut page.rows);
        after = page.last.unwrap_or(upper);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, Shortcuts, record_some};
    use super::super::memory::MemoryRecords;
    use super::*;

    fn all(place: &MemoryRecords, filter: &Filter, limit: usize) -> Vec<Vec<i64>> {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let found = search(place.read().as_mut(), filter, before, limit).unwrap();
            pages.push(found.rows.iter().map(|row| row.id).collect());
            before = found.next;
            if before.is_none() {
                return pages;
            }
        }
    }

    /// interface 20.22
    #[test]
    fn pages_come_newest_first_and_each_record_is_on_one_of_them() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        let ids = record_some(&mut *records, 7);
        records.deliver(&ids[..2], 10);
        let newest: Vec<_> = ids.iter().rev().copied().collect();
        assert_eq!(all(&place, &Filter::default(), 3), [&newest[..3], &newest[3..6], &newest[6..]]);
        assert_eq!(all(&place, &Filter::default(), 7), [&newest[..]]);
        let announced = Filter { announced: Some(true), ..Filter::default() };
        assert_eq!(all(&place, &announced, 1), [&newest[5..6], &newest[6..]]);
        let none = Filter { servers: vec!["x".to_owned()], ..Filter::default() };
        assert_eq!(all(&place, &none, 3), [[0_i64; 0]]);
    }
}
