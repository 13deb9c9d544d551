//! What a reader shows.

use super::super::change::Amendment;
use super::super::filter::Filter;
use super::super::fixtures::{Place, Shortcuts, download, record_some, server};
use super::super::reader::RecordReader;
use super::super::types::RecordRow;

/// More than any store has in a page.
const MANY: i64 = 2500;

fn ids(reader: &mut dyn RecordReader, server: Option<&str>) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut keep = |row: &RecordRow| -> std::io::Result<()> {
        ids.push(row.id);
        Ok(())
    };
    let servers = server.into_iter().map(str::to_owned).collect();
    reader.for_each(&Filter { servers, ..Filter::default() }, &mut keep).unwrap();
    ids
}

pub(in crate::records) fn every_record_is_shown_once_and_the_oldest_first(place: &dyn Place) {
    let mut records = place.open();
    let all = record_some(&mut *records, MANY);
    records.evict(&[all[7]], 9);
    let mut reader = place.read();
    assert_eq!(ids(&mut *reader, None), all);
    // gaps in the ids
    let (kept, forgotten): (Vec<_>, Vec<_>) = all.into_iter().partition(|id| id % 5 == 0);
    records.amend(Amendment::Forget, &forgotten, 10);
    assert_eq!(ids(&mut *reader, None), kept);
    let newest: Vec<_> = reader.newest(2).unwrap().iter().map(|row| row.id).collect();
    assert_eq!(newest, [kept[kept.len() - 1], kept[kept.len() - 2]]);
}

pub(in crate::records) fn one_server_can_be_asked_for_and_an_unknown_one_has_no_records(place: &dyn Place) {
    let mut records = place.open();
    record_some(&mut *records, MANY + 10);
    let mut file = download("x.zip", 1);
    file.server = server("omc02");
    records.record(&[file]).unwrap();
    let mut reader = place.read();
    assert_eq!(ids(&mut *reader, Some("omc02")), [MANY + 11]);
    assert_eq!(ids(&mut *reader, Some("omc01")).len() as i64, MANY + 10);
    assert!(ids(&mut *reader, Some("omc03")).is_empty());
    let mut servers = reader.servers().unwrap();
    servers.sort();
    assert_eq!(servers, ["omc01", "omc02"]);
}

pub(in crate::records) fn an_empty_record_has_nothing_to_show(place: &dyn Place) {
    drop(place.open());
    assert!(ids(&mut *place.read(), None).is_empty());
}
