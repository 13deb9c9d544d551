//! What holds for a store as a whole.

use super::super::change::{Amendment, Change, Mark};
use super::super::filter::Filter;
use super::super::fixtures::{Place, Shortcuts, directory, download, mlsd, name, record_some, server};
use super::super::reader::RecordReader;
use super::super::store::RecordStore;
use super::super::types::{RecordRow, Totals, Writes};
use crate::base::facts::Postponed;

pub(in crate::records) fn one_writer_at_a_time_and_any_number_of_readers(place: &dyn Place) {
    let mut records = place.open();
    let mut readers = [place.read(), place.read()];
    record_some(&mut *records, 3);
    for reader in &mut readers {
        assert_eq!(reader.last_id().unwrap(), Some(3), "readers see what is written after they were opened");
    }
    records.close();
    assert_eq!(place.open().totals().unwrap().downloads(), 3);
}

pub(in crate::records) fn what_was_written_is_there_after_the_writer_is_gone_however_it_went(
    place: &dyn Place,
) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    records.deliver(&ids[..1], 5);
    let before = records.totals().unwrap();
    drop(records);
    let mut records = place.open();
    assert_eq!(records.totals().unwrap(), before);
    records.evict(&ids[1..2], 7);
    let before = records.totals().unwrap();
    records.close();
    assert_eq!(place.open().totals().unwrap(), before);
}

pub(in crate::records) fn a_commit_may_be_repeated(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 2);
    let downloads = [download("3.zip", 3), download("4.zip", 3)];
    let postponed = [Postponed { id: ids[1], attempts: 2, at: 99 }];
    let writes =
        Writes { downloads: &downloads, delivered: &ids[..1], delivered_at: 5, postponed: &postponed };
    let first = records.commit(&writes).unwrap();
    let before = (records.totals().unwrap(), records.due(9, 9, &[]));
    let again = records.commit(&Writes { delivered_at: 6, ..writes }).unwrap();
    assert_eq!((first.delivered, again.delivered), (1, 0));
    let ids =
        |recorded: &[super::super::types::Recorded]| recorded.iter().map(|it| it.id()).collect::<Vec<_>>();
    assert_eq!(ids(&first.recorded), ids(&again.recorded));
    assert_eq!((records.totals().unwrap(), records.due(9, 9, &[])), before);
}

/// The totals, counted anew from all rows. How often files changed is not in them.
fn counted(reader: &mut dyn RecordReader) -> Totals {
    let mut totals = Totals::default();
    let mut count = |row: &RecordRow| {
        let (is_evicted, is_notified) = (row.evicted_at.is_some(), row.notified_at.is_some());
        let (files, bytes) = match is_evicted {
            true => (&mut totals.evicted_files, &mut totals.evicted_bytes),
            false => (&mut totals.present_files, &mut totals.present_bytes),
        };
        *files += 1;
        *bytes += row.size;
        totals.delivered_notices += u64::from(is_notified);
        totals.pending_notices += u64::from(!is_evicted && !is_notified);
        totals.cancelled_notices += u64::from(is_evicted && !is_notified);
        Ok(())
    };
    reader.for_each(&Filter::default(), &mut count).unwrap();
    totals
}

/// Marsaglia's xorshift64: the same numbers in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn ids(&mut self) -> Vec<i64> {
        (0..self.below(6)).map(|_| self.below(150).cast_signed()).collect()
    }
}

/// Does something, and returns what came of it in words.
pub(crate) fn anything(records: &mut dyn RecordStore, dice: &mut Dice, at: i64) -> String {
    let file = |dice: &mut Dice| {
        let mut file = download(format!("{}.zip", dice.below(100)), at);
        (file.size, file.facts.size) = (dice.below(1000), Some(dice.below(1000)));
        file
    };
    match dice.below(10) {
        0..3 => {
            let files: Vec<_> = (0..dice.below(8)).map(|_| file(dice)).collect();
            format!("{:?}", records.record(&files).unwrap())
        }
        3 => format!("{:?}", records.evict(&dice.ids(), at)),
        4 => format!("{:?}", records.deliver(&dice.ids(), at)),
        5 => {
            records.postpone(dice.below(150).cast_signed(), 1, at + 5);
            format!("{:?}", records.due(at, 5, &dice.ids()))
        }
        6 => {
            let missed = records.miss(&dice.ids(), at);
            format!("{missed:?} {:?}", records.missing_after(dice.below(50).cast_signed(), 5).unwrap())
        }
        7 => {
            let change = match dice.below(4) {
                0 => Change::Found(dice.ids()),
                1 => Change::Amend(Amendment::Requeue, dice.ids()),
                2 => Change::Amend(Amendment::Forget, dice.ids()),
                _ => Change::Mark(Mark::Listed, vec![file(dice)]),
            };
            format!("{:?}", records.change(&change, at).unwrap())
        }
        8 => format!("{:?}", records.oldest_present(dice.below(2) == 0, Some(9), 7).unwrap()),
        _ => {
            let listing: Vec<_> = (0..9)
                .map(|n| (name(format!("{n}.zip")), mlsd(dice.below(3), dice.below(3).cast_signed() * 1800)))
                .collect();
            format!("{:?}", records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap())
        }
    }
}

pub(in crate::records) fn the_totals_are_the_sums_over_all_records_whatever_happens(place: &dyn Place) {
    let mut records = place.open();
    let (mut reader, mut dice) = (place.read(), Dice(0x2545_F491_4F6C_DD1D));
    for at in 1..600 {
        anything(&mut *records, &mut dice, at);
        let totals = records.totals().unwrap();
        assert_eq!(
            totals,
            Totals { changes: totals.changes, ..counted(&mut *reader) },
            "after {at} operations"
        );
    }
    let totals = records.totals().unwrap();
    let each = [totals.present_bytes, totals.evicted_files, totals.pending_notices, totals.delivered_notices];
    assert!(
        each.into_iter().chain([totals.cancelled_notices, totals.changes]).all(|sum| sum > 3),
        "{totals:?}"
    );
    drop(records);
    assert_eq!(place.open().totals().unwrap(), totals);
}

pub(in crate::records) fn what_is_remembered_is_read_again_by_its_key_and_the_last_value_counts(
    place: &dyn Place,
) {
    let mut records = place.open();
    assert_eq!(records.remembered("limits").unwrap(), None);
    for (key, value) in
        [("limits", "a"), ("other", ""), ("limits", "{\"b\": '\u{4e2d}'}"), ("limits", "c \n d")]
    {
        records.remember(key, value).unwrap();
        assert_eq!(records.remembered(key).unwrap().as_deref(), Some(value));
    }
    records.close();
    let mut records = place.open();
    assert_eq!(records.remembered("limits").unwrap().as_deref(), Some("c \n d"));
    assert_eq!(records.remembered("other").unwrap().as_deref(), Some(""));
    assert_eq!(records.remembered("none").unwrap(), None);
}
