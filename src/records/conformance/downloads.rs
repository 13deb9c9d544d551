//! What is put on record.

use std::sync::Arc;

use encoding_rs::{GBK, UTF_8, WINDOWS_1252};

use super::super::fixtures::{Place, Shortcuts, directory, download, mlsd, name, new_id, server};
use super::super::store::RecordStore;
use super::super::types::{PresentFile, Recorded};
use crate::base::facts::{Download, Earlier, Knowledge};
use crate::base::names::{RemoteName, RemotePath};

fn all_present(records: &mut dyn RecordStore) -> Vec<PresentFile> {
    records.present_after(None, 1000).unwrap()
}

pub(in crate::records) fn a_download_is_recorded_once_and_answers_its_first_record_ever_after(
    place: &dyn Place,
) {
    let mut records = place.open();
    let id = new_id(records.record(&[download("a.zip", 5)]).unwrap()[0]);
    let mut again = download("a.zip", 9);
    again.size = 99;
    let answers = records.record(&[again, download("b.zip", 9), download("b.zip", 9)]).unwrap();
    let b = new_id(answers[1]);
    assert_eq!(answers, [Recorded::Already { id }, Recorded::New { id: b }, Recorded::Already { id: b }]);
    let sizes: Vec<_> = all_present(&mut *records).into_iter().map(|file| file.size).collect();
    assert_eq!(sizes, [10, 10]);
    records.evict(&[id], 10);
    assert_eq!(records.record(&[download("a.zip", 11)]).unwrap(), [Recorded::Already { id }]);
    assert_eq!(all_present(&mut *records).len(), 1);
}

pub(in crate::records) fn what_was_no_archive_gives_way_once_to_what_the_server_has_later(place: &dyn Place) {
    let mut records = place.open();
    let look_up = |records: &mut dyn RecordStore, size| {
        let listing = [(name("a.zip"), mlsd(size, 60))];
        records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap()[0]
    };
    let empty = Download { facts: mlsd(0, 60), size: 0, no_archive: true, ..download("a.zip", 5) };
    let old = new_id(records.record(std::slice::from_ref(&empty)).unwrap()[0]);
    assert_eq!(look_up(&mut *records, 0), Knowledge::Known);
    records.deliver(&[old], 6);
    let outdated = |is_present| Knowledge::Outdated { was: mlsd(0, 60), is_present };
    // asked again and again, until it is done
    assert_eq!([(); 2].map(|()| look_up(&mut *records, 10)), [outdated(true); 2]);
    records.evict(&[old], 7);
    assert_eq!(look_up(&mut *records, 10), outdated(false));
    assert_eq!(records.totals().unwrap().changes, 0);
    let now = Download { earlier: Earlier::GivesWay, facts: mlsd(10, 60), ..download("a.zip", 9) };
    let new = new_id(records.record(std::slice::from_ref(&now)).unwrap()[0]);
    assert!(new > old, "the latest in the order of eviction");
    // a call for the earlier content that ends now says nothing of this one
    records.deliver(&[old], 10);
    let due = records.due(99, 9, &[]).fresh;
    let due: Vec<_> = due.iter().map(|notice| notice.id).collect();
    assert_eq!(due, [new]);
    let totals = records.totals().unwrap();
    assert_eq!((totals.present_files, totals.present_bytes, totals.evicted_files), (1, 10, 0));
    // an archive stays what it is
    assert!(matches!(look_up(&mut *records, 11), Knowledge::Changed { .. }));
    assert_eq!(records.record(&[now]).unwrap(), [Recorded::Already { id: new }]);
}

pub(in crate::records) fn the_same_content_with_another_time_is_not_announced_again(place: &dyn Place) {
    let mut records = place.open();
    let empty = Download { facts: mlsd(0, 60), size: 0, no_archive: true, ..download("a.zip", 5) };
    let id = new_id(records.record(std::slice::from_ref(&empty)).unwrap()[0]);
    records.deliver(&[id], 6);
    let touched = Download { facts: mlsd(0, 90), earlier: Earlier::IsTheSame, ..empty };
    assert_eq!(records.record(&[touched]).unwrap(), [Recorded::Already { id }]);
    let listing = [(name("a.zip"), mlsd(0, 90))];
    let known = records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
    assert_eq!(known, [Knowledge::Known]);
    let due = records.due(99, 9, &[]);
    assert!(due.fresh.is_empty() && due.tried.is_empty());
}

pub(in crate::records) fn the_key_is_the_server_and_the_bytes_on_the_wire(place: &dyn Place) {
    let mut records = place.open();
    // both read bad%FF.zip
    let files = [download(b"bad\xff.zip", 1), download("bad%FF.zip", 2)];
    assert_eq!(files[0].name.text(), files[1].name.text());
    let mut elsewhere = download("bad%FF.zip", 3);
    elsewhere.server = server("omc02");
    let mut deeper = download("bad%FF.zip", 4);
    deeper.directory = Arc::new(directory("/in/deeper"));
    for file in files.into_iter().chain([elsewhere, deeper]) {
        let listing = [(file.name.clone(), file.facts)];
        let before = records.look_up(&file.server, &file.directory, &listing).unwrap();
        assert_eq!(before, [Knowledge::New], "{file:?}");
        new_id(records.record(std::slice::from_ref(&file)).unwrap()[0]);
        let after = records.look_up(&file.server, &file.directory, &listing).unwrap();
        assert_eq!(after, [Knowledge::Known], "{file:?}");
    }
}

pub(in crate::records) fn names_come_back_as_they_were_in_any_encoding(place: &dyn Place) {
    let mut records = place.open();
    let gbk = |wire: &[u8]| RemoteName::from_wire(wire, GBK).unwrap();
    let gbk_directory = RemotePath::from_text("/MR/上海", GBK).unwrap();
    let cases = [
        (gbk_directory.clone(), gbk(b"\xd6\xd0.zip")),
        (gbk_directory, gbk(b"odd\xff.zip")),
        (RemotePath::root(), gbk(b"\xd6\xd0.zip")),
        (RemotePath::root(), name("plain.zip")),
        (directory("/中"), name("文.zip")),
        (directory("/a"), RemoteName::from_wire(b"caf\xe9.zip", WINDOWS_1252).unwrap()),
    ];
    for (directory, name) in &cases {
        let mut file = download("a.zip", 1);
        (file.directory, file.name) = (Arc::new(directory.clone()), name.clone());
        records.record(&[file]).unwrap();
    }
    drop(records);
    let expected: Vec<_> = cases.iter().map(|(directory, name)| directory.join(name)).collect();
    let found: Vec<_> = all_present(&mut *place.open()).into_iter().map(|file| file.path).collect();
    assert_eq!(found, expected);
    assert_eq!((found[0].text(), found[2].text()), ("/MR/上海/中.zip", "/中.zip"));
}

pub(in crate::records) fn files_keep_their_local_paths_when_the_encoding_of_a_server_changes(
    place: &dyn Place,
) {
    let mut records = place.open();
    let gbk = RemotePath::from_text("/上海", GBK).unwrap();
    let undecoded = RemotePath::root().join(&RemoteName::from_wire(&gbk.wire()[1..], UTF_8).unwrap());
    assert_eq!((gbk.wire(), gbk.text() == undecoded.text()), (undecoded.wire(), false));
    for (wire, directory) in [("a.zip", &undecoded), ("b.zip", &gbk), ("c.zip", &undecoded)] {
        let mut file = download(wire, 1);
        file.directory = Arc::new(directory.clone());
        records.record(&[file]).unwrap();
    }
    let texts: Vec<_> =
        all_present(&mut *records).into_iter().map(|file| file.path.text().to_owned()).collect();
    let bytes = undecoded.text();
    assert_eq!(texts, [format!("{bytes}/a.zip"), "/上海/b.zip".to_owned(), format!("{bytes}/c.zip")]);
    let listing = [(name("b.zip"), download("b.zip", 1).facts)];
    let found = records.look_up(&server("omc01"), &undecoded, &listing).unwrap();
    assert_eq!(found, [Knowledge::Known]);
}
