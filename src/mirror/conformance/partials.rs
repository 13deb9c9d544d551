//! Files under way.

use std::time::{Duration, SystemTime};

use super::bench::{Bench, omc01, open, partial, path, publish, target, write};
use crate::base::names::ServerName;
use crate::mirror::server::PartialState;

pub(in crate::mirror) fn what_was_written_is_there_for_the_next_run(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    let (file, name) = (path("/a/1.zip"), partial(&path("/a/1.zip"), 9));
    assert_eq!((server.partial(name), server.partials().unwrap()), (PartialState::Missing, vec![]));
    let writing = server.open_partial(name).unwrap();
    assert_eq!(writing.size().unwrap(), 0);
    writing.write_at(b"abcdef", 0).unwrap();
    writing.write_at(b"XY", 4).unwrap();
    writing.write_at(b"Z", 6).unwrap();
    drop((writing, server, mirror));
    let (_mirror, server) = open(bench);
    assert_eq!(server.partials().unwrap(), [name]);
    assert_eq!(server.partial(name), PartialState::Unfinished { size: 7 });
    let again = server.open_partial(name).unwrap();
    let mut content = [0; 5];
    again.read_exact_at(&mut content, 2).unwrap();
    assert_eq!((&content, again.size().unwrap()), (b"cdXYZ", 7));
    assert!(again.read_exact_at(&mut content, 3).is_err());
    again.cut(2).unwrap();
    assert_eq!(server.partial(name), PartialState::Unfinished { size: 2 });
    assert_eq!(bench.content(&omc01(), &file), None, "it has no final name");
}

pub(in crate::mirror) fn a_partial_file_is_removed_once_and_one_that_is_gone_is_no_failure(
    bench: &dyn Bench,
) {
    let (_mirror, server) = open(bench);
    let file = path("/1.zip");
    write(&*server, &file, b"half");
    for _ in 0..2 {
        server.remove_partial(partial(&file, 4)).unwrap();
        assert_eq!(server.partial(partial(&file, 4)), PartialState::Missing);
        assert_eq!(server.partials().unwrap(), []);
    }
}

pub(in crate::mirror) fn only_those_that_nobody_wrote_to_are_old(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let (old, young) = (path("/old.zip"), path("/young.zip"));
    write(&*server, &old, b"half");
    write(&*server, &young, b"half");
    let (stored, outcome) = publish(&*server, target("/", "stored.zip"), b"whole");
    outcome.unwrap();
    bench.age(&omc01(), partial(&old, 4), Duration::from_secs(7200));
    if server.partial(stored) != PartialState::Missing {
        bench.age(&omc01(), stored, Duration::from_secs(7200));
    }
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    assert_eq!(server.partials_before(ago(3600)).unwrap(), [partial(&old, 4)]);
    assert_eq!(server.partials_before(ago(9000)).unwrap(), []);
}

pub(in crate::mirror) fn unfinished_bytes_are_counted_and_can_be_removed_one_by_one(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    let gone = mirror.server(&ServerName::new("gone").unwrap()).unwrap();
    let (old, young) = (path("/old.zip"), path("/young.zip"));
    write(&*server, &young, b"half");
    write(&*gone, &old, b"half of it");
    server.open_partial(partial(&path("/empty.zip"), 9)).unwrap();
    publish(&*server, target("/", "stored.zip"), b"whole").1.unwrap();
    bench.age(&ServerName::new("gone").unwrap(), partial(&old, 10), Duration::from_secs(7200));
    assert_eq!(mirror.partial_bytes().unwrap(), 14);
    let mut files = mirror.unfinished().unwrap();
    files.sort_by_key(|file| file.written);
    let shown: Vec<_> = files.iter().map(|file| (file.server.as_str(), file.name, file.size)).collect();
    assert_eq!(shown, [("gone", partial(&old, 10), 10), ("omc01", partial(&young, 4), 4)]);
    assert!(files.iter().all(|file| file.on_disk > 0) && files[1].written - files[0].written >= 7000);
    (files.remove(0).remove)().unwrap();
    assert_eq!((mirror.partial_bytes().unwrap(), gone.partials().unwrap()), (4, vec![]));
    assert_eq!(bench.content(&omc01(), &path("/stored.zip")).unwrap(), b"whole");
}
