//! The way to the final name, and the proof that a file is ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, poll_immediate};

use super::bench::{Bench, block_on, name, omc01, open, partial, path, publish, target, write};
use crate::base::file_names::FileNames;
use crate::mirror::error::PublishError;
use crate::mirror::server::{PartialState, Target};

/// For what another thread does.
const SOON: Duration = Duration::from_secs(20);

pub(in crate::mirror) fn a_file_gets_its_name_whole_and_its_partial_name_is_the_proof_until_it_is_removed(
    bench: &dyn Bench,
) {
    let (_mirror, server) = open(bench);
    let file = path("/a/b/1.zip");
    let (partial, outcome) = publish(&*server, target("/a/b", "1.zip"), b"whole");
    outcome.unwrap();
    assert_eq!(bench.content(&omc01(), &file).unwrap(), b"whole");
    assert_eq!(server.partials().unwrap(), [partial]);
    assert!(!matches!(server.partial(partial), PartialState::Unfinished { .. }));
    let look = || server.look(&path("/a/b"), &name("1.zip"), &[partial]).unwrap();
    assert!(look().is_taken && look().finished.is_some());
    server.remove_partial(partial).unwrap();
    assert!(look().is_taken && look().finished.is_none() && look().others.is_empty());
    assert_eq!(server.partials().unwrap(), []);
    assert_eq!(bench.content(&omc01(), &file).unwrap(), b"whole");
}

pub(in crate::mirror) fn what_was_published_may_be_published_again(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let file = write(&*server, &path("/1.zip"), b"whole");
    for _ in 0..2 {
        block_on(Arc::clone(&file).publish(target("/", "1.zip"))).unwrap();
    }
    assert_eq!(bench.content(&omc01(), &path("/1.zip")).unwrap(), b"whole");
}

pub(in crate::mirror) fn a_foreign_file_of_that_name_is_left_alone_and_ours_stays_partial(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    bench.put(&omc01(), &path("/a/1.zip"), b"theirs");
    for _ in 0..2 {
        let (partial, outcome) = publish(&*server, target("/a", "1.zip"), b"ours");
        assert!(matches!(outcome, Err(PublishError::NameTaken)), "{outcome:?}");
        assert_eq!(server.partial(partial), PartialState::Unfinished { size: 4 });
        assert_eq!(bench.content(&omc01(), &path("/a/1.zip")).unwrap(), b"theirs");
    }
}

pub(in crate::mirror) fn an_earlier_content_gives_way_where_that_is_wanted_and_nothing_but_a_file_does(
    bench: &dyn Bench,
) {
    let (_mirror, server) = open(bench);
    bench.put(&omc01(), &path("/file.zip"), b"before");
    server.directory(&path("/directory.zip")).unwrap();
    bench.link(&omc01(), &path("/link.zip"));
    let replace = |file: &str| {
        let goal = Target { replaces: true, ..target("/", file) };
        publish(&*server, goal, b"now").1
    };
    replace("file.zip").unwrap();
    replace("new.zip").unwrap();
    for taken in ["directory.zip", "link.zip"] {
        let outcome = replace(taken);
        assert!(matches!(outcome, Err(PublishError::NameTaken)), "{taken}: {outcome:?}");
    }
    for file in ["/file.zip", "/new.zip"] {
        assert_eq!(bench.content(&omc01(), &path(file)).unwrap(), b"now");
    }
    let now = partial(&path("/file.zip"), 3);
    let found = server.look(&path("/"), &name("file.zip"), &[now]).unwrap();
    assert!(found.finished.is_some(), "it is not on record yet");
    assert!(bench.is_outside_untouched());
}

pub(in crate::mirror) fn what_a_run_before_stored_is_found_with_its_content_and_other_contents_with_it(
    bench: &dyn Bench,
) {
    let (mirror, server) = open(bench);
    let (stored, outcome) = publish(&*server, target("/a", "1.zip"), b"whole");
    outcome.unwrap();
    write(&*server, &path("/a/1.zip"), b"half of another");
    drop((server, mirror));
    let (_mirror, server) = open(bench);
    let other = partial(&path("/a/1.zip"), 15);
    let mut partials = server.partials().unwrap();
    partials.sort_by_key(|name| name.facts.size);
    assert_eq!(partials, [stored, other]);
    let found = server.look(&path("/a"), &name("1.zip"), &partials).unwrap();
    assert_eq!(found.others, [(other, PartialState::Unfinished { size: 15 })]);
    let finished = found.finished.unwrap();
    assert_eq!((finished.partial, finished.size), (stored, 5));
    let mut content = [0; 5];
    finished.file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"whole");
    // it is made durable, and named, once more before it is recorded
    block_on(finished.file.publish(target("/a", "1.zip"))).unwrap();
    assert_eq!(bench.content(&omc01(), &path("/a/1.zip")).unwrap(), b"whole");
}

pub(in crate::mirror) fn a_foreign_file_is_never_taken_for_ours(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let file = path("/a/1.zip");
    let look = || server.look(&path("/a"), &name("1.zip"), &[partial(&file, 4)]).unwrap();
    assert!(!look().is_taken && look().finished.is_none());
    write(&*server, &file, b"ours");
    // the very same bytes
    bench.put(&omc01(), &file, b"ours");
    assert!(look().is_taken && look().finished.is_none());
    assert_eq!(look().others, [(partial(&file, 4), PartialState::Unfinished { size: 4 })]);
}

pub(in crate::mirror) fn a_proof_of_a_file_that_is_gone_proves_nothing(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let (partial, outcome) = publish(&*server, target("/a", "1.zip"), b"whole");
    outcome.unwrap();
    bench.remove(&omc01(), &path("/a/1.zip"));
    let found = server.look(&path("/a"), &name("1.zip"), &[partial]).unwrap();
    assert!(!found.is_taken && found.finished.is_none());
    bench.put(&omc01(), &path("/a/1.zip"), b"other");
    let found = server.look(&path("/a"), &name("1.zip"), &[partial]).unwrap();
    assert!(found.is_taken && found.finished.is_none());
}

pub(in crate::mirror) fn a_publishing_that_is_cancelled_goes_on(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let file = path("/a/1.zip");
    let publishing = write(&*server, &file, b"whole").publish(target("/a", "1.zip"));
    block_on(poll_immediate(publishing));
    let began = Instant::now();
    while bench.content(&omc01(), &file).is_none() {
        assert!(began.elapsed() < SOON, "it was not stored");
        std::thread::yield_now();
    }
    assert_eq!(bench.content(&omc01(), &file).unwrap(), b"whole");
    let found = server.look(&path("/a"), &name("1.zip"), &[partial(&file, 5)]).unwrap();
    assert!(found.finished.is_some(), "and the next run finds it");
}

pub(in crate::mirror) fn many_files_are_published_at_a_time_and_each_hears_its_own_outcome(
    bench: &dyn Bench,
) {
    let (_mirror, server) = open(bench);
    bench.put(&omc01(), &path("/d/13.zip"), b"theirs");
    let files = (0..50).map(|n| format!("{n}.zip")).collect::<Vec<_>>();
    let publishing = files.iter().map(|file| {
        let at = path("/d").join(&name(file));
        write(&*server, &at, file.as_bytes()).publish(target("/d", file))
    });
    let outcomes = block_on(join_all(publishing));
    for (file, outcome) in files.iter().zip(outcomes) {
        let content = bench.content(&omc01(), &path("/d").join(&name(file))).unwrap();
        match outcome {
            Ok(()) => assert_eq!(content, file.as_bytes()),
            Err(PublishError::NameTaken) => {
                assert_eq!((file.as_str(), content.as_slice()), ("13.zip", &b"theirs"[..]))
            }
            Err(error) => panic!("{file}: {error}"),
        }
    }
}

pub(in crate::mirror) fn the_same_content_under_the_name_is_told_from_another_and_from_itself(
    bench: &dyn Bench,
) {
    let (_mirror, server) = open(bench);
    for (file, content) in [("/same.zip", &b"whole"[..]), ("/other.zip", b"wholE"), ("/long.zip", b"whole.")]
    {
        bench.put(&omc01(), &path(file), content);
    }
    let file = write(&*server, &path("/1.zip"), b"whole");
    let equals = |other: &str| file.equals(&path("/"), &name(other), 5);
    assert_eq!(["same.zip", "other.zip", "long.zip", "none.zip"].map(equals), [true, false, false, false]);
    assert!(!file.equals(&path("/nowhere"), &name("same.zip"), 5));
    block_on(Arc::clone(&file).publish(target("/", "1.zip"))).unwrap();
    assert!(!equals("1.zip"), "it is that very file");
}

pub(in crate::mirror) fn a_finished_file_is_no_zip_of_the_mirror_until_it_is_on_record(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    let (partial, outcome) = publish(&*server, target("/a", "1.zip"), b"whole");
    outcome.unwrap();
    let names = (&FileNames::default(), encoding_rs::UTF_8);
    let zips = || bench.location().files(&omc01(), names, &[path("/a")]).unwrap().len();
    assert_eq!(zips(), 0, "the service records it itself");
    server.remove_partial(partial).unwrap();
    assert_eq!(zips(), 1);
}
