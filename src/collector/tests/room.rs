//! The disk: what it refuses holds a file back, and nothing else.

use super::world::{Says, World, put, run, scan_until_done, scanned, three, zip_of};
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::protocol::memory::Step;

#[test]
fn without_room_nothing_is_fetched_and_all_of_it_comes_when_there_is_some() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.disk.says.borrow_mut().push_back(Says::Held);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.files, tally.fetched, tally.waiting, tally.failed_files), (3, 0, 3, 0));
        assert_eq!((world.remote.count(Step::Fetch, ""), world.disk.asked.borrow().len()), (0, 1));
        assert_eq!(world.status().pending_files, 3);
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (3, 0));
        world.assert_complete(&three());
    });
}

#[test]
fn room_that_is_refused_to_one_costs_none_that_is_under_way_already() {
    run(async || {
        let world = World::new("connections = 3");
        put(&world, &three());
        world.disk.says.borrow_mut().extend([Says::Granted, Says::Held, Says::Held]);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (1, 2));
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}

#[test]
fn a_file_larger_than_all_that_could_be_freed_costs_itself_alone() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.disk.says.borrow_mut().push_back(Says::TooLarge);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (2, 1));
        assert!(world.status().last_error.unwrap().contains("larger than all the room"));
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}

#[test]
fn room_that_downloads_under_way_hold_is_waited_for_within_the_scan() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.disk.says.borrow_mut().extend([Says::Busy; 50]);
        scanned(&world.start()).await;
        world.assert_complete(&three());
    });
}

#[test]
fn room_that_stays_taken_for_ten_seconds_is_left_to_the_next_scan() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.disk.says.borrow_mut().extend([Says::Busy; 100]);
        let server = world.start();
        let began = tokio::time::Instant::now();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (0, 3));
        assert!((10..12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}

#[test]
fn a_disk_that_does_not_answer_costs_the_file_that_asked_and_no_scan() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.disk.says.borrow_mut().push_back(Says::Nothing);
        world.disk.fail_sweeps.set(1);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (2, 1));
        assert!(world.status().last_error.unwrap().contains("the disk does not answer"));
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}

/// A file that is larger than the server shows.
fn larger_than_shown(world: &World, shown: u64) {
    let modified = Some(Modified { unix_seconds: 7, source: TimeSource::Utc });
    let facts = FileFacts { size: Some(shown), modified };
    world.remote.file_shown_as("/odd.zip", zip_of(9000, 9), facts);
}

#[test]
fn what_outgrows_its_listing_gets_room_piece_by_piece_and_comes_whole() {
    run(async || {
        let world = World::new("connections = 1");
        larger_than_shown(&world, 2000);
        scanned(&world.start()).await;
        world.assert_complete(&[("/odd.zip", zip_of(9000, 9))]);
        let asked = world.disk.asked.borrow();
        assert!(asked[0] == 2000 && asked.len() > 1, "{asked:?}");
    });
}

#[test]
fn what_outgrows_its_listing_and_gets_no_room_is_removed_and_costs_no_other() {
    run(async || {
        let world = World::new("connections = 1");
        larger_than_shown(&world, 2000);
        put(&world, &three());
        world.disk.says_of_growth.borrow_mut().push_back(Says::Held);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting, tally.failed_files), (3, 1, 1));
        world.assert_complete(&three());
        scan_until_done(&server).await;
        assert_eq!(world.content("/odd.zip"), Some(zip_of(9000, 9)));
    });
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_holds_all_other_files_back_until_the_next_scan() {
    run(async || {
        let world = World::new("connections = 1");
        larger_than_shown(&world, 2000);
        world.remote.file("/p.zip", zip_of(100, 1), 7).file("/q.zip", zip_of(100, 2), 7);
        world.disk.says_of_growth.borrow_mut().push_back(Says::Full);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting, tally.failed_files), (0, 3, 0));
        assert_eq!(world.remote.count(Step::Fetch, ""), 1, "each other one would fail in the same way");
        assert_eq!(scanned(&server).await.fetched, 3, "at once, when there is room");
    });
}

#[test]
fn a_resumed_file_asks_for_room_for_the_rest_alone() {
    use crate::protocol::memory::Action;
    run(async || {
        let world = World::new("connections = 1");
        let size = zip_of(20_000, 1).len() as u64;
        world.remote.file("/a.zip", zip_of(20_000, 1), 7);
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 1, Action::Lose);
        scanned(&world.start()).await;
        assert_eq!(*world.disk.asked.borrow(), [size, size - 15 * 1024]);
        world.assert_complete(&[("/a.zip", zip_of(20_000, 1))]);
    });
}
