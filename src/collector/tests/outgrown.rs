//! Files that are larger than the server shows, or of which it shows no size.

use std::rc::Rc;
use std::sync::Arc;

use super::world::{Says, World, put, run, scan_until_done, scanned, three, zip_of};
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::protocol::memory::{Action, Step};

/// A server that tells no size, neither in a listing nor when it is asked.
fn without_sizes(world: &World) {
    world.remote.tells_sizes(false).file_shown_as("/odd.zip", zip_of(9000, 9), FileFacts::default());
}

#[test]
fn a_file_of_no_known_size_takes_the_room_of_others_where_none_is_free() {
    run(async || {
        let world = World::new("");
        without_sizes(&world);
        world.disk.says_of_growth.borrow_mut().extend([Says::Held, Says::Granted, Says::Held]);
        let server = world.start();
        assert_eq!(scanned(&server).await.waiting, 1, "what it may displace has an end too");
        assert!(world.disk.says_of_growth.borrow().is_empty(), "no free room, that of others, and no more");
        assert!(world.partial().is_empty());
        world.disk.says_of_growth.borrow_mut().push_back(Says::Held);
        scan_until_done(&server).await;
        world.assert_complete(&[("/odd.zip", zip_of(9000, 9))]);
    });
}

#[test]
fn a_file_that_had_no_end_displaces_nothing_more_for_a_while() {
    run(async || {
        let world = World::new("");
        without_sizes(&world);
        world.disk.says_of_growth.borrow_mut().extend([Says::Held, Says::Granted, Says::Held]);
        let server = world.start();
        scanned(&server).await;
        world.remote.file_shown_as("/next.zip", zip_of(9000, 8), FileFacts::default());
        world.disk.says_of_growth.borrow_mut().push_back(Says::Held);
        let asked = world.disk.asked.borrow().len();
        assert_eq!(scanned(&server).await.waiting, 2);
        assert_eq!(world.disk.asked.borrow().len(), asked + 1, "for free room alone");
        scan_until_done(&server).await;
        world.assert_complete(&[("/odd.zip", zip_of(9000, 9)), ("/next.zip", zip_of(9000, 8))]);
    });
}

#[test]
fn what_outgrew_its_listing_is_cut_where_others_need_the_room_and_costs_none_of_them() {
    run(async || {
        let world = World::new("connections = 2");
        let modified = Some(Modified { unix_seconds: 7, source: TimeSource::Utc });
        let facts = FileFacts { size: Some(2000), modified };
        world.remote.file_shown_as("/odd.zip", zip_of(9000, 9), facts);
        put(&world, &three());
        let counters = Arc::clone(&world.disk.counters);
        let cut = Action::Do(Rc::new(move |_| assert!(counters.cut_outgrown())));
        world.remote.on_nth(Step::Piece, "/odd.zip", 4, 1, cut);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting), (3, 1));
        world.assert_complete(&three());
        scan_until_done(&server).await;
        assert_eq!(world.content("/odd.zip"), Some(zip_of(9000, 9)));
    });
}
