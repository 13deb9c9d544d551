//! What operators and settings change.

use super::super::change::{Amendment, Changed, Mark};
use super::super::fixtures::{Place, Shortcuts, directory, download, mlsd, name, record_some, server};
use super::super::store::RecordStore;
use super::super::types::{Recorded, Totals};
use crate::base::facts::Knowledge;

/// interface 15.6
pub(in crate::records) fn what_was_forgotten_is_new_again_and_counts_nowhere(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    let listed = [(name("1.zip"), mlsd(99, 99))];
    let known = |records: &mut dyn RecordStore| {
        records.look_up(&server("omc01"), &directory("/in"), &listed).unwrap()[0]
    };
    // a change that was noticed goes with the record
    assert!(matches!(known(&mut *records), Knowledge::Changed { .. }));
    records.evict(&ids[1..2], 5);
    let amended = records.amend(Amendment::Forget, &[ids[0], ids[1], ids[0], 999], 9);
    assert_eq!(amended, Changed { records: 2, cancelled_notices: 1 });
    assert_eq!(known(&mut *records), Knowledge::New);
    let totals = records.totals().unwrap();
    assert_eq!((totals.present_files, totals.evicted_files, totals.pending_notices), (1, 0, 1));
    assert_eq!(records.deliver(&ids[..1], 9), 0);
}

/// interface 1.6
pub(in crate::records) fn only_announced_files_of_the_mirror_are_announced_once_more(place: &dyn Place) {
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    records.deliver(&ids[..2], 5);
    records.evict(&ids[1..2], 6);
    records.postpone(ids[2], 7, 5000);
    assert_eq!(records.amend(Amendment::Requeue, &ids, 100).records, 1);
    assert_eq!(records.due(100, 9, &[]).fresh[0].id, ids[0]);
    assert_eq!(records.due(5000, 9, &[]).tried[0].attempts, 7);
    let Totals { pending_notices, delivered_notices, .. } = records.totals().unwrap();
    assert_eq!((pending_notices, delivered_notices), (2, 1));
}

/// interface 16.5
pub(in crate::records) fn a_marked_file_is_known_and_waits_for_no_notice_and_a_listed_one_is_not_present(
    place: &dyn Place,
) {
    let mut records = place.open();
    assert_eq!(records.mark(Mark::Listed, &[download("a.zip", 7), download("b.zip", 7)]).unwrap(), 2);
    assert_eq!(records.mark(Mark::Local, &[download("b.zip", 8), download("c.zip", 8)]).unwrap(), 1);
    assert_eq!(records.mark(Mark::LocalToAnnounce, &[download("d.zip", 9)]).unwrap(), 1);
    let totals = records.totals().unwrap();
    assert_eq!((totals.present_files, totals.present_bytes, totals.evicted_files), (2, 20, 2));
    assert_eq!((totals.pending_notices, totals.delivered_notices, totals.cancelled_notices), (1, 3, 0));
    let announced = records.oldest_present(true, None, 9).unwrap();
    assert_eq!(announced.iter().map(|file| file.path.text()).collect::<Vec<_>>(), ["/in/c.zip"]);
    let listed = ["a.zip", "b.zip", "c.zip", "d.zip"].map(|file| (name(file), mlsd(10, 60)));
    let known = records.look_up(&server("omc01"), &directory("/in"), &listed).unwrap();
    assert_eq!(known, [Knowledge::Known; 4]);
    let mut reader = place.read();
    let mut knows = |file: &str| reader.knows(&server("omc01"), &directory("/in"), &name(file)).unwrap();
    assert!(knows("a.zip") && !knows("e.zip"));
}

/// interface 16.6
pub(in crate::records) fn a_download_that_was_under_way_when_its_file_was_marked_counts(place: &dyn Place) {
    let mut records = place.open();
    records.mark(Mark::Listed, &[download("a.zip", 7), download("b.zip", 7)]).unwrap();
    let recorded = records.record(&[download("a.zip", 9)]).unwrap();
    assert!(matches!(recorded[..], [Recorded::New { .. }]), "{recorded:?}");
    let totals = records.totals().unwrap();
    assert_eq!((totals.present_files, totals.evicted_files, totals.pending_notices), (1, 1, 1));
    assert_eq!(records.due(9, 9, &[]).fresh[0].downloaded_at, 9);
    // an eviction of later on is one
    records.evict(&[recorded[0].id()], 12);
    assert!(matches!(records.record(&[download("a.zip", 13)]).unwrap()[..], [Recorded::Already { .. }]));
}

pub(in crate::records) fn a_server_begins_once_and_anew_after_it_was_not_asked_for(place: &dyn Place) {
    let [a, b] = [server("a"), server("b")];
    assert_eq!(place.open().begin_servers(std::slice::from_ref(&a), 100).unwrap(), [100]);
    let mut records = place.open();
    assert_eq!(records.begin_servers(&[b.clone(), a.clone()], 200).unwrap(), [200, 100]);
    assert_eq!(records.begin_servers(&[b.clone(), a.clone()], 300).unwrap(), [200, 100]);
    assert_eq!(records.begin_servers(std::slice::from_ref(&b), 400).unwrap(), [200]);
    assert_eq!(place.read().beginning(&a).unwrap(), None);
    assert_eq!(records.begin_servers(&[a.clone(), b], 500).unwrap(), [500, 200]);
    assert_eq!(place.read().beginning(&a).unwrap(), Some(500));
}
