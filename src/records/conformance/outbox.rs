//! The notices that are due.

use super::super::fixtures::{Place, Shortcuts, download, record_some, server};
use super::super::store::RecordStore;
use crate::base::facts::{Due, Notice};

fn due_ids(records: &mut dyn RecordStore, now: i64, limit: usize, in_flight: &[i64]) -> Vec<i64> {
    let Due { fresh, tried, .. } = records.due(now, limit, in_flight);
    fresh.into_iter().chain(tried).map(|notice| notice.id).collect()
}

fn next_at(records: &mut dyn RecordStore, in_flight: &[i64]) -> Option<i64> {
    records.due(0, 9, in_flight).next_at
}

pub(in crate::records) fn a_notice_is_due_from_its_download_until_it_is_delivered(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 2);
    let notices = records.due(100, 9, &[]).fresh;
    assert_eq!(notices.len(), 2);
    let Notice { id, server, path, attempts, downloaded_at, size } = &notices[1];
    assert_eq!((*id, server.as_str(), path.text()), (ids[1], "omc01", "/in/2.zip"));
    assert_eq!((*attempts, *downloaded_at, *size), (0, 2, 10));
    drop(records);
    let mut records = place.open();
    assert_eq!(due_ids(&mut *records, 100, 9, &[]), ids);
    assert_eq!(records.deliver(&[ids[0], ids[0], 999], 101), 1);
    assert_eq!(records.deliver(&[ids[0]], 102), 0);
    assert_eq!(due_ids(&mut *records, 200, 9, &[]), [ids[1]]);
    let rows = place.read().newest(9).unwrap();
    assert_eq!(rows.iter().map(|row| row.notified_at).collect::<Vec<_>>(), [None, Some(101)]);
}

pub(in crate::records) fn a_failed_notice_waits_for_its_time_and_those_due_longest_come_first(
    place: &dyn Place,
) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    records.postpone(ids[0], 1, 5000);
    records.postpone(ids[1], 2, 4000);
    assert_eq!(due_ids(&mut *records, 3999, 9, &[]), [ids[2]]);
    assert_eq!(due_ids(&mut *records, 4000, 9, &[]), [ids[2], ids[1]]);
    assert_eq!(due_ids(&mut *records, 5000, 9, &[]), [ids[2], ids[1], ids[0]]);
    assert_eq!(due_ids(&mut *records, 5000, 1, &[]), [ids[2], ids[1]]);
    assert_eq!(records.due(5000, 9, &[]).tried[0].attempts, 2);
}

pub(in crate::records) fn notices_in_flight_are_left_out_and_do_not_use_up_the_limit(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 4);
    assert_eq!(due_ids(&mut *records, 9, 2, &[ids[0], ids[2]]), [ids[1], ids[3]]);
    // in flight, and not even due
    records.postpone(ids[0], 1, 100);
    assert_eq!(due_ids(&mut *records, 9, 1, &[ids[0]]), [ids[1]]);
    assert_eq!((next_at(&mut *records, &[ids[1]]), next_at(&mut *records, &ids)), (Some(100), None));
}

pub(in crate::records) fn the_next_notice_is_the_earliest_of_those_that_wait(place: &dyn Place) {
    let mut records = place.open();
    assert_eq!(next_at(&mut *records, &[]), None);
    let ids = record_some(&mut *records, 3);
    records.postpone(ids[0], 1, 7000);
    records.postpone(ids[1], 1, 6000);
    records.deliver(&[ids[2]], 5);
    assert_eq!(next_at(&mut *records, &[]), Some(6000));
    records.evict(&[ids[1]], 6);
    assert_eq!(next_at(&mut *records, &[]), Some(7000));
}

pub(in crate::records) fn the_notice_of_an_evicted_file_stays_cancelled(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 1);
    records.evict(&ids, 5);
    assert!(due_ids(&mut *records, 9, 9, &[]).is_empty());
    assert_eq!(records.deliver(&ids, 6), 0);
    records.postpone(ids[0], 1, 7);
    assert!(due_ids(&mut *records, 9, 9, &[]).is_empty());
    let totals = records.totals().unwrap();
    assert_eq!((totals.delivered_notices, totals.cancelled_notices, totals.pending_notices), (0, 1, 0));
}

pub(in crate::records) fn a_delivered_notice_is_not_postponed(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 1);
    records.deliver(&ids, 5);
    records.postpone(ids[0], 1, 7);
    assert_eq!((due_ids(&mut *records, 9, 9, &[]), next_at(&mut *records, &[])), (vec![], None));
}

pub(in crate::records) fn notices_are_due_when_the_clock_was_set_back_by_a_year(place: &dyn Place) {
    let mut records = place.open();
    let year = 365 * 86_400_000;
    let ids = record_some(&mut *records, 3);
    records.postpone(ids[0], 1, year + 300_000);
    records.postpone(ids[1], 1, 300_000);
    assert_eq!(due_ids(&mut *records, 2, 1, &[]), [ids[2], ids[0]]);
    assert_eq!(due_ids(&mut *records, 3, 9, &[]), [ids[2], ids[0]]);
}

pub(in crate::records) fn notices_of_servers_that_are_held_are_left_out_and_those_behind_them_are_not(
    place: &dyn Place,
) {
    use {download, server};
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    let mut other = download("other.zip", 50);
    other.server = server("omc0");
    records.record(&[other]).unwrap();
    let mut due = |held: &[&str]| {
        let held: Vec<_> = held.iter().map(|name| server(name)).collect();
        let due = records.due_notices(100, 1, &[], &held).unwrap();
        due.fresh.iter().map(|notice| notice.id).collect::<Vec<_>>()
    };
    assert_eq!(due(&[]), ids[..1]);
    assert_eq!(due(&["omc0", "omc"]), ids[..1]);
    assert_eq!(due(&["x", "omc01"]), [ids[2] + 1]);
}
