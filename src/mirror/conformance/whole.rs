//! The mirror as a whole: looked at, opened, known again.

use super::bench::{Bench, omc01, open, partial, path, publish, target, write};
use crate::base::file_names::FileNames;
use crate::base::start_error::StartError;
use crate::mirror::identity::MirrorId;
use crate::mirror::server::PartialState;

pub(in crate::mirror) fn looking_makes_nothing(bench: &dyn Bench) {
    let location = bench.location();
    assert!(!location.is_mirror());
    assert_eq!(location.marker().unwrap(), None);
    assert_eq!(location.size(&omc01(), &path("/a/1.zip")).unwrap(), None);
    assert!(!location.is_taken(&omc01(), &path("/a/1.zip")).unwrap());
    assert_eq!(location.count_files(&[(omc01(), FileNames::default())], 9), 0);
    assert_eq!(
        location.files(&omc01(), (&FileNames::default(), encoding_rs::UTF_8), &[path("/")]).unwrap(),
        []
    );
    assert!(location.apart(&omc01()).is_none());
    location.delete(&[(omc01(), path("/a/1.zip"))]).unwrap();
    location.refuse_in_use().unwrap();
    assert!(!location.is_mirror());
    drop(location.open().unwrap());
    assert!(location.is_mirror() && location.is_reachable());
}

pub(in crate::mirror) fn one_service_works_in_a_mirror_until_it_lets_go_and_parts_of_servers_go_on(
    bench: &dyn Bench,
) {
    let (mirror, server) = open(bench);
    assert!(matches!(bench.location().open(), Err(StartError::Refused(_))));
    assert!(matches!(bench.location().refuse_in_use(), Err(StartError::Refused(_))));
    drop(mirror);
    bench.location().refuse_in_use().unwrap();
    let again = bench.location().open().unwrap();
    publish(&*server, target("/a", "1.zip"), b"one").1.unwrap();
    assert_eq!(again.size(&omc01(), &path("/a/1.zip")).unwrap(), Some(3));
}

pub(in crate::mirror) fn a_marker_is_read_as_it_was_given_and_gives_way_to_the_next(bench: &dyn Bench) {
    let mirror = bench.location().open().unwrap();
    assert_eq!(bench.location().marker().unwrap(), None);
    for _ in 0..2 {
        let id = MirrorId::random().unwrap();
        mirror.mark(id).unwrap();
        assert_eq!(bench.location().marker().unwrap(), Some(id));
    }
    let marker = bench.location().marker().unwrap();
    drop(mirror);
    drop(bench.location().open().unwrap());
    assert_eq!(bench.location().marker().unwrap(), marker);
}

pub(in crate::mirror) fn a_mirror_that_lies_no_more_at_its_place_is_noticed(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    let file = path("/a/1.zip");
    write(&*server, &file, b"half");
    assert!(mirror.is_in_place());
    bench.replace();
    assert!(!mirror.is_in_place());
    drop(mirror);
    let (mirror, server) = open(bench);
    assert!(mirror.is_in_place());
    assert_eq!(server.partial(partial(&file, 4)), PartialState::Missing);
}
