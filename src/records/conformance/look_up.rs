//! What is known of listed files.

use std::sync::Arc;

use super::super::fixtures::{Place, Shortcuts, directory, download, mlsd, name, record_some, server};
use super::super::store::RecordStore;
use crate::base::facts::{FileFacts, Knowledge, Modified, Shifted, TimeSource};
use crate::base::names::ServerName;

/// What the records say of `/in/a.zip` of omc01, listed with `facts`.
fn look_up(records: &mut dyn RecordStore, facts: FileFacts) -> Knowledge {
    records.look_up(&server("omc01"), &directory("/in"), &[(name("a.zip"), facts)]).unwrap()[0]
}

fn unknown() -> FileFacts {
    FileFacts::default()
}

pub(in crate::records) fn what_was_downloaded_is_known_and_the_rest_is_new_in_the_order_asked(
    place: &dyn Place,
) {
    let mut records = place.open();
    record_some(&mut *records, 2);
    let listing: Vec<_> =
        ["2.zip", "3.zip", "1.zip"].into_iter().map(|wire| (name(wire), mlsd(10, 60))).collect();
    let mut ask = |server: &ServerName, path| records.look_up(server, &directory(path), &listing).unwrap();
    use Knowledge::{Known, New};
    assert_eq!(ask(&server("omc01"), "/in"), [Known, New, Known]);
    assert_eq!(ask(&server("omc01"), "/"), [New, New, New]);
    assert_eq!(ask(&server("omc02"), "/in"), [New, New, New]);
}

pub(in crate::records) fn an_evicted_file_is_known(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 1);
    records.evict(&ids, 5);
    let found =
        records.look_up(&server("omc01"), &directory("/in"), &[(name("1.zip"), mlsd(10, 60))]).unwrap();
    assert_eq!(found, [Knowledge::Known]);
}

pub(in crate::records) fn each_change_on_the_server_is_told_once_even_over_restarts(place: &dyn Place) {
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Known);
    assert_eq!(look_up(&mut *records, mlsd(11, 60)), Knowledge::Changed { was: mlsd(10, 60) });
    drop(records);
    let mut records = place.open();
    assert_eq!(look_up(&mut *records, mlsd(11, 60)), Knowledge::Known);
    assert_eq!(look_up(&mut *records, mlsd(11, 61)), Knowledge::Changed { was: mlsd(11, 60) });
    assert_eq!(look_up(&mut *records, mlsd(11, 61)), Knowledge::Known);
    // and back again
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Changed { was: mlsd(11, 61) });
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Known);
    assert_eq!(records.totals().unwrap().changes, 3);
}

pub(in crate::records) fn what_the_listing_leaves_out_is_no_change(place: &dyn Place) {
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    let day = Modified { unix_seconds: 999_999, source: TimeSource::LocalDay };
    for facts in [
        unknown(),
        FileFacts { size: Some(10), modified: None },
        FileFacts { size: Some(10), modified: Some(day) },
    ] {
        assert_eq!(look_up(&mut *records, facts), Knowledge::Known, "{facts:?}");
    }
    let size_alone = FileFacts { size: Some(11), modified: None };
    assert_eq!(look_up(&mut *records, size_alone), Knowledge::Changed { was: mlsd(10, 60) });
    // the time of the changed file is not known, so no time contradicts it
    assert_eq!(look_up(&mut *records, mlsd(11, 70)), Knowledge::Known);
}

pub(in crate::records) fn a_file_listed_without_facts_is_known_by_the_bytes_stored(place: &dyn Place) {
    let mut records = place.open();
    let mut file = download("a.zip", 1);
    file.facts = unknown();
    records.record(&[file]).unwrap();
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Known);
    let was = FileFacts { size: Some(10), modified: None };
    assert_eq!(look_up(&mut *records, mlsd(11, 60)), Knowledge::Changed { was });
}

pub(in crate::records) fn a_file_that_had_grown_since_its_listing_has_not_changed_when_the_listing_catches_up(
    place: &dyn Place,
) {
    let mut records = place.open();
    let mut file = download("a.zip", 1);
    (file.facts, file.size) = (mlsd(4, 50), 10);
    records.record(&[file]).unwrap();
    assert_eq!(look_up(&mut *records, mlsd(4, 50)), Knowledge::Known);
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Known);
    assert_eq!(look_up(&mut *records, mlsd(10, 60)), Knowledge::Known);
    assert_eq!(records.totals().unwrap().changes, 0);
    let changed = Knowledge::Changed { was: mlsd(10, 60) };
    assert_eq!(look_up(&mut *records, mlsd(4, 50)), changed);
    assert_eq!(look_up(&mut *records, mlsd(10, 70)), Knowledge::Changed { was: mlsd(4, 50) });
}

pub(in crate::records) fn a_size_that_no_file_can_have_is_one_change_and_not_one_a_scan(place: &dyn Place) {
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    for size in [u64::MAX, i64::MAX.cast_unsigned() + 1] {
        assert!(matches!(look_up(&mut *records, mlsd(size, 60)), Knowledge::Changed { .. }));
        assert_eq!(look_up(&mut *records, mlsd(size, 60)), Knowledge::Known);
    }
}

fn settle(records: &mut dyn RecordStore, facts: FileFacts, is_zone: bool) {
    let file = Shifted { directory: Arc::new(directory("/in")), name: name("a.zip"), facts, is_zone };
    records.settle_shifts(&server("omc01"), &[file]).unwrap();
}

pub(in crate::records) fn a_shift_is_answered_until_it_is_settled_and_counts_as_a_change_only_where_it_is_one(
    place: &dyn Place,
) {
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    let shifted = Knowledge::Shifted { was: mlsd(10, 60), by: 3600 };
    assert_eq!([(); 2].map(|()| look_up(&mut *records, mlsd(10, 3660))), [shifted; 2]);
    settle(&mut *records, mlsd(10, 3660), true);
    assert_eq!(look_up(&mut *records, mlsd(10, 3660)), Knowledge::Known);
    assert_eq!(records.totals().unwrap().changes, 0);
    // back again, where the file was changed in between
    assert_eq!(look_up(&mut *records, mlsd(11, 3661)), Knowledge::Changed { was: mlsd(10, 3660) });
    settle(&mut *records, mlsd(11, 61), true);
    assert_eq!(look_up(&mut *records, mlsd(11, 61)), Knowledge::Known);
    assert_eq!(records.totals().unwrap().changes, 1);
    settle(&mut *records, mlsd(11, 3661), false);
    assert_eq!(look_up(&mut *records, mlsd(11, 3661)), Knowledge::Known);
    assert_eq!(records.totals().unwrap().changes, 2);
}

pub(in crate::records) fn another_size_is_a_change_whatever_the_time(place: &dyn Place) {
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    assert_eq!(look_up(&mut *records, mlsd(11, 3660)), Knowledge::Changed { was: mlsd(10, 60) });
}
