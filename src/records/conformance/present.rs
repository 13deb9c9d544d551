//! Which files are there, which are missing, and whose mirror it is.

use super::super::change::{Amendment, Changed, Mark};
use super::super::filter::Filter;
use super::super::fixtures::{Place, Shortcuts, download, record_some};
use super::super::types::{PresentFile, RecordRow, RecordedMirror};

fn ids(files: &[PresentFile]) -> Vec<i64> {
    files.iter().map(|file| file.id).collect()
}

pub(in crate::records) fn the_oldest_present_files_come_first_announced_or_not_as_asked(place: &dyn Place) {
    let mut records = place.open();
    let all = record_some(&mut *records, 6);
    records.deliver(&[all[4], all[1], all[3]], 7);
    records.evict(&[all[1], all[2]], 8);
    let announced = records.oldest_present(true, None, 9).unwrap();
    assert_eq!(ids(&announced), [all[3], all[4]]);
    assert!(announced.iter().all(|file| file.announced && file.size == 10));
    assert_eq!(announced[0].path.text(), "/in/4.zip");
    let unannounced = records.oldest_present(false, None, 9).unwrap();
    assert_eq!(ids(&unannounced), [all[0], all[5]]);
    assert!(unannounced.iter().all(|file| !file.announced));
    assert_eq!(ids(&records.oldest_present(false, None, 1).unwrap()), [all[0]]);
    assert_eq!(ids(&records.oldest_present(true, Some(all[3]), 9).unwrap()), [all[4]]);
    assert_eq!(records.oldest_present(false, Some(all[5]), 9).unwrap(), []);
}

pub(in crate::records) fn an_audit_meets_every_present_file_once_whatever_the_step(place: &dyn Place) {
    let mut records = place.open();
    let all = record_some(&mut *records, 20);
    let every = |step: usize| all.iter().copied().step_by(step).collect::<Vec<_>>();
    records.deliver(&every(3), 7);
    records.evict(&every(5), 8);
    let evicted = every(5);
    let present: Vec<_> = all.iter().copied().filter(|id| !evicted.contains(id)).collect();
    for step in [1, 3, 16, 100] {
        let (mut met, mut after) = (Vec::new(), None);
        while met.len() <= present.len() {
            let files = records.present_after(after, step).unwrap();
            let Some(last) = files.last() else { break };
            after = Some(last.id);
            met.extend(ids(&files));
        }
        assert_eq!(met, present, "in steps of {step}");
    }
}

pub(in crate::records) fn evicting_again_or_what_was_never_there_changes_nothing(place: &dyn Place) {
    let mut records = place.open();
    let all = record_some(&mut *records, 3);
    records.deliver(&[all[0]], 7);
    let first = records.evict(&[all[0], all[1], all[1], 999], 8);
    assert_eq!(first, Changed { records: 2, cancelled_notices: 1 });
    let totals = records.totals().unwrap();
    assert_eq!(records.evict(&[all[1], all[0]], 9), Changed::default());
    assert_eq!(records.totals().unwrap(), totals);
    let rows = place.read().newest(9).unwrap();
    assert_eq!(rows.iter().map(|row| row.evicted_at).collect::<Vec<_>>(), [None, Some(8), Some(8)]);
}

pub(in crate::records) fn the_mirror_is_remembered_and_the_first_and_the_last_files_are_known(
    place: &dyn Place,
) {
    let mut records = place.open();
    assert_eq!(records.recorded_mirror(3).unwrap(), RecordedMirror::default());
    let all = record_some(&mut *records, 20);
    records.deliver(&all[5..18], 7);
    records.evict(&all[..2], 8);
    let first = "0123456789abcdef0123456789abcdef";
    for marker in ["ffffffffffffffffffffffffffffffff", first] {
        records.remember_mirror(marker).unwrap();
    }
    drop(records);
    let standing = place.open().recorded_mirror(2).unwrap();
    assert_eq!(standing.marker.as_deref(), Some(first));
    assert_eq!(ids(&standing.sample), [all[2], all[3], all[18], all[19]]);
    assert_eq!(place.read().recorded_mirror(2).unwrap(), standing);
    assert_eq!(ids(&place.open().recorded_mirror(50).unwrap().sample), all[2..], "each once");
}

/// interface 11.8
pub(in crate::records) fn a_missing_file_that_is_found_again_is_present_and_its_notice_is_due(
    place: &dyn Place,
) {
    let mut records = place.open();
    let all = record_some(&mut *records, 4);
    records.deliver(&all[1..2], 5);
    let before = records.totals().unwrap();
    let missed = records.miss(&all[..3], 9);
    assert_eq!(missed, Changed { records: 3, cancelled_notices: 2 });
    assert_eq!(records.miss(&all[..3], 9), Changed::default());
    assert_eq!(ids(&records.missing_after(0, 9).unwrap()), all[..3]);
    assert_eq!(ids(&records.missing_after(all[0], 1).unwrap()), all[1..2]);
    assert_eq!(records.find_again(&all[..2], 100), 2);
    assert_eq!(records.find_again(&all[..2], 100), 0);
    assert_eq!(ids(&records.missing_after(0, 9).unwrap()), all[2..3]);
    assert_eq!(records.find_again(&all[2..3], 100), 1);
    assert_eq!(records.totals().unwrap(), before);
    let due = records.due(100, 9, &[]);
    let due: Vec<_> = due.fresh.iter().map(|notice| notice.id).collect();
    assert_eq!(due, [all[3], all[0], all[2]]);
}

pub(in crate::records) fn what_is_forgotten_is_not_missing_and_what_was_never_here_is_not_found(
    place: &dyn Place,
) {
    let mut records = place.open();
    let all = record_some(&mut *records, 1);
    records.miss(&all, 9);
    records.amend(Amendment::Forget, &all, 10);
    assert_eq!(records.missing_after(0, 9).unwrap(), []);
    records.mark(Mark::Listed, &[download("listed.zip", 7)]).unwrap();
    let mut id = 0;
    let mut visit = |row: &RecordRow| {
        id = row.id;
        Ok(())
    };
    place.read().for_each(&Filter::default(), &mut visit).unwrap();
    assert_eq!(records.find_again(&[id], 100), 0);
}
