//! A mirror that fails: each fault costs what it was for, and nothing else.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

use super::world::{LONG, World, path, put, run, scan_until_done, scanned, three, zip_of};
use crate::protocol::memory::{Action, Step};

#[test]
fn a_mirror_that_fails_at_any_write_costs_that_file_or_directory_for_one_scan() {
    let mut writes = 0;
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        let before = world.memory.writes();
        scan_until_done(&server).await;
        writes = world.memory.writes() - before;
    });
    assert!(writes > 15, "directories, files, pieces of them, and names: {writes}");
    for write in 0..writes {
        run(async || {
            let world = World::new("connections = 2");
            put(&world, &three());
            let server = world.start();
            world.memory.fail(Some(write), ErrorKind::Other);
            let tally = scanned(&server).await;
            let lost = tally.failed_directories + tally.failed_files + tally.waiting;
            assert!(lost <= 1 && tally.fetched + 3 * lost >= 3, "write {write}: {tally:?}");
            world.assert_sound(&three());
            scan_until_done(&server).await;
            scan_until_done(&world.start()).await;
            world.assert_complete(&three());
            assert!(world.remote.count(Step::Fetch, "") <= 4, "write {write}");
        });
    }
}

#[test]
fn a_mirror_that_takes_nothing_is_not_asked_for_each_file_and_gets_them_all_once_it_does_again() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem] {
        run(async || {
            let (world, files) = (World::new("connections = 1"), ["/a/1.zip", "/a/2.zip", "/a/3.zip"]);
            let files = files.map(|file| (file, zip_of(2500, 1)));
            put(&world, &files);
            let (server, memory) = (world.start(), world.memory.clone());
            let before = Rc::new(Cell::new(0));
            let writes = Rc::clone(&before);
            let fill = Action::Do(Rc::new(move |_| {
                writes.set(memory.writes());
                memory.fail(None, kind);
            }));
            world.remote.on(Step::Fetch, "", fill);
            let tally = scanned(&server).await;
            assert_eq!((tally.fetched, tally.waiting), (0, 3), "{kind:?}: {tally:?}");
            assert_eq!(world.remote.count(Step::Fetch, ""), 1, "{kind:?}");
            // its bytes, and the removal of what there is
            assert!(world.memory.writes() - before.get() <= 2, "{kind:?}: the others would fare the same");
            world.memory.heal();
            assert_eq!(scanned(&server).await.fetched, 3, "{kind:?}");
            world.assert_complete(&files);
        });
    }
}

#[test]
fn files_of_a_directory_that_they_cannot_be_moved_into_are_kept_and_stored_once_they_can() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.memory.set_apart(world.own(), &path("/a"), true);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, world.files().len(), world.partial().len()), (3, 1, 2));
        assert!(world.status().last_error.unwrap().contains("is another file system than .partial"));
        tokio::time::sleep(LONG).await;
        scanned(&server).await;
        assert_eq!(world.remote.count(Step::Fetch, ""), 3, "nothing is fetched that cannot be stored");
        world.memory.set_apart(world.own(), &path("/a"), false);
        scan_until_done(&server).await;
        world.assert_complete(&three());
        assert_eq!(world.remote.count(Step::Fetch, "/b/c/3.zip"), 1);
    });
}
