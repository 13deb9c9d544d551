//! What a scan of a server in order brings.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::world::{INTERVAL, World, path, put, run, scan_until_done, scanned, three, zip_of};
use crate::collector::collect::wind_up;
use crate::collector::scan_state::Tally;
use crate::protocol::memory::{Action, Step};

#[test]
fn a_tree_is_stored_whole_and_recorded_once_and_another_scan_fetches_nothing() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.remote.file("/a/notes.txt", "no zip", 5).directory("/empty");
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.directories, tally.files, tally.fetched, tally.waiting), (5, 3, 3, 0));
        world.assert_complete(&three());
        assert!(world.has_directory("/empty"));
        let logins = world.remote.count(Step::Connect, "");
        let again = scanned(&server).await;
        assert_eq!(again, Tally { directories: 5, files: 3, ..Tally::default() });
        assert_eq!(world.remote.count(Step::Fetch, ""), 3);
        assert_eq!(world.remote.count(Step::Connect, ""), logins, "the sessions of before are used");
        wind_up(&server).await;
        assert_eq!((world.remote.sessions(), world.status().files_downloaded), (0, 3));
    });
}

#[test]
fn a_scanner_that_remembers_nothing_fetches_nothing_that_is_on_record() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        scan_until_done(&world.start()).await;
        world.hand.remove(world.own(), &path("/a/1.zip"));
        let tally = scanned(&world.start()).await;
        assert_eq!((tally.files, tally.fetched, world.remote.count(Step::Fetch, "")), (3, 0, 3));
        assert_eq!(world.content("/a/1.zip"), None);
    });
}

#[test]
fn as_many_sessions_as_configured_are_used_at_once_and_never_more() {
    run(async || {
        let world = World::new("connections = 2");
        for n in 0..8 {
            world.remote.file(format!("/d{}/{n}.zip", n % 4), zip_of(3000, n), 7);
        }
        let most = Rc::new(Cell::new(0));
        let seen = Rc::clone(&most);
        let look = Action::Do(Rc::new(move |remote| seen.set(seen.get().max(remote.sessions()))));
        world.remote.on_nth(Step::Piece, "", 0, u32::MAX, look);
        scan_until_done(&world.start()).await;
        assert_eq!((most.get(), world.records.recorded().len()), (2, 8));
    });
}

#[test]
fn a_file_that_grows_while_it_is_fetched_ends_up_whole_and_once() {
    run(async || {
        let (world, whole) = (World::new(""), zip_of(5000, 1));
        let (first, rest) = whole.split_at(3000);
        world.remote.file("/a.zip", first, 7);
        let rest = rest.to_vec();
        let grow = Action::Do(Rc::new(move |remote| {
            remote.append("/a.zip", &rest);
        }));
        world.remote.on_nth(Step::Piece, "/a.zip", 1, 1, grow);
        scan_until_done(&world.start()).await;
        world.assert_complete(&[("/a.zip", whole)]);
        assert_eq!(world.remote.count(Step::Fetch, ""), 1, "it came whole the first time");
    });
}

#[test]
fn half_an_upload_is_not_taken_and_comes_as_soon_as_it_is_whole() {
    run(async || {
        let (world, whole) = (World::new(""), zip_of(5000, 1));
        world.remote.file("/a.zip", &whole[..3000], 7).file("/b.zip", zip_of(10, 2), 7);
        let server = world.start();
        for failed in [1, 0] {
            let tally = scanned(&server).await;
            assert_eq!((tally.failed_files, tally.waiting, tally.incomplete), (failed, 1, 1));
            assert_eq!(world.records.recorded(), ["/b.zip"]);
        }
        let shown = &world.status().incomplete[0];
        assert!(shown.path == "/a.zip" && shown.reason.contains("no end"), "{shown:?}");
        world.remote.append("/a.zip", &whole[3000..]);
        assert_eq!(scanned(&server).await.fetched, 1);
        world.assert_complete(&[("/a.zip", whole), ("/b.zip", zip_of(10, 2))]);
    });
}

#[test]
fn a_file_that_changes_after_it_was_recorded_is_counted_once_and_not_fetched_again() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        scanned(&server).await;
        world.remote.file("/a/1.zip", zip_of(9, 9), 9_000_000);
        for _ in 0..2 {
            assert_eq!(scanned(&server).await.fetched, 0);
            assert_eq!(world.status().changed_files, 1);
        }
        world.assert_complete(&three());
    });
}

#[test]
fn times_that_are_shifted_together_are_the_zone_of_the_server_and_no_change() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        scanned(&server).await;
        for (at, (path, content)) in three().into_iter().enumerate() {
            world.remote.file(path, content, 1_003_600 + 7 * at as i64);
        }
        assert_eq!((scanned(&server).await.fetched, world.status().changed_files), (0, 0));
        let settled = world.records.settled.borrow();
        assert!(settled.len() == 3 && settled.iter().all(|file| file.is_zone), "{settled:?}");
    });
}

#[test]
fn a_zone_that_the_records_could_not_keep_is_settled_by_the_next_scan() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        scanned(&server).await;
        scanned(&server).await;
        for (at, (path, content)) in three().into_iter().enumerate() {
            world.remote.file(path, content, 1_003_600 + 7 * at as i64);
        }
        // behind the look-ups of the two directories
        world.records.fail_at.set(Some(world.records.calls.get() + 2));
        scanned(&server).await;
        assert_eq!(world.records.settled.borrow().len(), 0);
        scanned(&server).await;
        assert_eq!((world.records.settled.borrow().len(), world.status().changed_files), (3, 0));
        assert_eq!(world.remote.count(Step::Fetch, ""), 3);
    });
}

#[test]
fn an_empty_file_is_taken_when_a_second_scan_sees_it_so() {
    run(async || {
        let world = World::new("");
        world.remote.file("/a.zip", "", 7);
        let server = world.start();
        assert_eq!((scanned(&server).await.waiting, world.files().len()), (1, 0));
        assert_eq!((scanned(&server).await.fetched, world.content("/a.zip")), (1, Some(Vec::new())));
    });
}

#[test]
fn what_is_no_archive_is_taken_after_a_quarter_of_an_hour_and_a_new_content_takes_its_place() {
    run(async || {
        let world = World::new("");
        world.remote.file("/a.zip", "no archive", 7);
        let server = world.start();
        let began = tokio::time::Instant::now();
        while scanned(&server).await.fetched == 0 {
            tokio::time::sleep(INTERVAL).await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(900) && took < Duration::from_secs(1000), "{took:?}");
        assert!(world.records.row("/a.zip").unwrap().no_archive);
        world.remote.file("/a.zip", zip_of(2000, 1), 700_000);
        assert_eq!(scanned(&server).await.fetched, 1);
        assert_eq!(world.content("/a.zip"), Some(zip_of(2000, 1)));
        assert!(!world.records.row("/a.zip").unwrap().no_archive && world.partial().is_empty());
    });
}

#[test]
fn a_record_that_an_operator_had_forgotten_is_fetched_again_though_nothing_changed_on_the_server() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        scanned(&server).await;
        scanned(&server).await;
        world.hand.remove(world.own(), &path("/a/1.zip"));
        world.records.forget("/a/1.zip");
        assert_eq!(scanned(&server).await.fetched, 0, "it is not looked for unless it is said");
        world.progress.records_changed();
        assert_eq!(scanned(&server).await.fetched, 1);
        assert_eq!(world.content("/a/1.zip"), Some(zip_of(2500, 1)));
    });
}

#[test]
fn a_foreign_file_in_the_mirror_is_left_alone_and_costs_the_file_of_its_name_alone() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.hand.put(world.own(), &path("/a/1.zip"), b"theirs");
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (2, 1));
        assert_eq!(world.content("/a/1.zip").unwrap(), b"theirs");
        assert!(world.status().last_error.unwrap().contains("another file of that name"));
        assert_eq!(world.remote.count(Step::Fetch, "/a/1.zip"), 0);
        world.hand.remove(world.own(), &path("/a/1.zip"));
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}
