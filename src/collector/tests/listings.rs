//! Directories: cut, forbidden, hostile, unchanged.

use std::rc::Rc;
use std::time::Duration;

use super::world::{INTERVAL, World, put, run, scan_until_done, scanned, three, zip_of};
use crate::base::facts::FileFacts;
use crate::collector::listing::list_all::list_all;
use crate::config::fixtures;
use crate::protocol::memory::{Action, Step};
use crate::protocol::{Detail, ErrorScope};

/// A directory of six zips, in three batches, beside [`three`].
fn six_more(world: &World) {
    put(world, &three());
    for n in 0..6 {
        world.remote.file(format!("/m/{n}.zip"), zip_of(100, n), 7);
    }
}

#[test]
fn a_listing_that_breaks_off_costs_the_rest_of_its_directory_until_the_next_scan_and_no_other() {
    let cut = || Action::Fail(ErrorScope::Entry, Detail::ListingCut, "426 cut");
    for (step, skips, comes) in
        [(Step::Next, 1, 2), (Step::Next, 3, 6), (Step::Finish, 0, 6), (Step::List, 0, 0)]
    {
        run(async || {
            let world = World::new("");
            six_more(&world);
            world.remote.on_nth(step, "/m", skips, 1, cut());
            let server = world.start();
            let tally = scanned(&server).await;
            assert_eq!((tally.failed_directories, tally.cut_listings), (1, 1), "{step:?}");
            assert_eq!(tally.fetched, 3 + comes, "what came of it is true");
            assert!(world.status().last_error.unwrap().contains("/m: 426 cut"));
            let tally = scanned(&server).await;
            assert_eq!((tally.failed_directories, tally.fetched), (0, 6 - comes));
            assert_eq!(world.status().last_error, None);
        });
    }
}

#[test]
fn a_directory_that_cannot_be_entered_costs_itself_alone_in_each_scan() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.remote.forbid("/locked");
        let server = world.start();
        for fetched in [3, 0] {
            let tally = scanned(&server).await;
            assert_eq!((tally.failed_directories, tally.fetched, tally.cut_listings), (1, fetched, 0));
        }
    });
}

#[test]
fn hostile_names_cost_themselves_alone() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let long = format!("/a/{}.zip", "x".repeat(300));
        for path in
            [b"/a/x\ny.zip", b"/a/\0/y.zip".as_slice(), b"/a/\xff\xfe.zip", b"/a/a b%.zip", long.as_bytes()]
        {
            world.remote.file(path, zip_of(10, 9), 7);
        }
        world.remote.directory("/a/..").directory("/a/.");
        let tally = scanned(&world.start()).await;
        assert_eq!((tally.failed_directories, tally.waiting), (0, 0));
        assert!(tally.not_understood >= 3, "{tally:?}");
        let mut expected = three().to_vec();
        // bytes that are no text are spelled out
        expected.extend([("/a/%FF%FE.zip", zip_of(10, 9)), ("/a/a b%.zip", zip_of(10, 9))]);
        world.assert_complete(&expected);
    });
}

#[test]
fn a_tree_without_an_end_is_cut_and_all_above_is_taken() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.remote.file(format!("{}/deep.zip", "/d".repeat(300)), zip_of(10, 9), 7);
        let tally = scanned(&world.start()).await;
        assert_eq!((tally.fetched, tally.failed_directories), (3, 0));
        assert!(world.status().last_error.unwrap().contains("deeper than 256 directories"));
    });
}

/// Directories below each other, each with the same file, so that each shows the same but the deepest.
fn below_each_other(world: &World, depth: usize) -> Vec<String> {
    let paths: Vec<String> = (1..=depth).map(|depth| format!("{}/x.zip", "/d".repeat(depth))).collect();
    for path in &paths {
        world.remote.file(path, zip_of(100, 1), 7);
    }
    paths
}

#[test]
fn a_directory_that_leads_to_itself_again_and_again_is_followed_once() {
    run(async || {
        let world = World::new("");
        // as deep as a link that leads to itself is gone for a proof
        below_each_other(&world, 12);
        let server = world.start();
        assert_eq!(scanned(&server).await.fetched, 1);
        assert_eq!(world.files().into_iter().collect::<Vec<_>>(), ["/d/x.zip"]);
        assert_eq!(scanned(&server).await.fetched, 0);
    });
}

#[test]
fn directories_with_the_same_content_beside_and_below_each_other_are_all_taken() {
    run(async || {
        let world = World::new("");
        let mut paths = below_each_other(&world, 3);
        for beside in ["/copy/x.zip", "/copy/d/x.zip", "/copy/d/d/x.zip"] {
            world.remote.file(beside, zip_of(100, 1), 7);
            paths.push(beside.to_owned());
        }
        scan_until_done(&world.start()).await;
        let expected: Vec<_> = paths.iter().map(|path| (path.as_str(), zip_of(100, 1))).collect();
        world.assert_complete(&expected);
    });
}

#[test]
fn a_listing_that_is_as_before_is_neither_looked_up_nor_taken_apart() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let server = world.start();
        scanned(&server).await;
        let first = world.records.looked_up.get();
        scanned(&server).await;
        // the first time, not all of them were on record
        let second = world.records.looked_up.get();
        assert_eq!((first, second), (3, 6));
        // what is taken apart is confirmed
        let taken_apart = world.remote.count(Step::Confirm, "/a");
        let tally = scanned(&server).await;
        assert_eq!((tally.files, tally.directories, world.records.looked_up.get()), (3, 4, 6));
        assert_eq!(world.remote.count(Step::Confirm, "/a"), taken_apart);
        world.remote.file("/a/4.zip", zip_of(10, 4), 7);
        assert_eq!((scanned(&server).await.fetched, world.records.looked_up.get()), (1, 9));
    });
}

#[test]
fn a_quiet_directory_is_listed_as_seldom_as_the_operator_allows() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.sync.send_modify(|sync| sync.quiet_directories = Some(Duration::from_secs(600)));
        let server = world.start();
        for _ in 0..12 {
            scanned(&server).await;
            tokio::time::sleep(INTERVAL).await;
        }
        let listed = world.remote.count(Step::List, "/a");
        assert_eq!(listed, 12);
        let tally = scanned(&server).await;
        assert_eq!((tally.files, tally.directories), (3, 4), "it counts all the same");
        assert_eq!(world.remote.count(Step::List, "/a"), listed);
        assert_eq!(
            world.remote.count(Step::List, "/b"),
            13,
            "what has directories in it is listed each time"
        );
        tokio::time::sleep(Duration::from_secs(600)).await;
        scanned(&server).await;
        assert_eq!(world.remote.count(Step::List, "/a"), listed + 1);
    });
}

#[test]
fn a_listing_on_trial_is_used_once_it_is_confirmed_and_the_directory_listed_again_where_it_is_not() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.remote.tentative(true).on(Step::Confirm, "/a", Action::ListAgain);
        // the first way of listing shows more than is used at a time, which is not in this directory
        let others: Vec<String> = (0..1100).map(|n| format!("/a/other{n}")).collect();
        for other in &others {
            world.remote.directory(other);
        }
        let other_way = Action::Do(Rc::new(move |remote| {
            for other in &others {
                remote.remove(other);
            }
        }));
        world.remote.on_nth(Step::List, "/a", 1, 1, other_way);
        let tally = scanned(&world.start()).await;
        assert_eq!((tally.files, tally.fetched), (3, 3));
        assert_eq!(world.remote.count(Step::List, "/a"), 2);
        assert_eq!(tally.directories, 4);
        assert!(!world.has_directory("/a/other0"));
        world.assert_complete(&three());
        let world = World::new("");
        put(&world, &three());
        world.remote.on_nth(Step::Confirm, "/a", 0, u32::MAX, Action::ListAgain);
        let tally = scanned(&world.start()).await;
        assert_eq!((tally.failed_directories, tally.cut_listings), (1, 1), "its listings have no end");
    });
}

#[test]
fn a_file_without_size_or_time_comes_whole_too() {
    run(async || {
        let world = World::new("");
        world.remote.file_shown_as("/a.zip", zip_of(3000, 1), FileFacts::default());
        scan_until_done(&world.start()).await;
        world.assert_complete(&[("/a.zip", zip_of(3000, 1))]);
    });
}

#[test]
fn all_that_is_listed_is_found_in_one_look_which_fetches_and_makes_nothing() {
    run(async || {
        let world = World::new("");
        six_more(&world);
        world.remote.forbid("/locked").on(Step::Next, "/m", Action::Lose);
        let settings = fixtures::settings("exclude = ['/a/2.zip']").servers.remove(0);
        let connector = world.remote.connector();
        let all = list_all(&*connector, &settings, |path| path.text() != "/m/3.zip").await.unwrap();
        assert_eq!((all.files.len(), world.remote.count(Step::Fetch, "")), (2 + 5, 0));
        assert!(matches!(&all.refused[..], [one] if one.starts_with("/locked: ")), "{:?}", all.refused);
        assert_eq!((world.has_directory("/"), world.remote.sessions()), (false, 0));
        // a part of what there is would be taken for all
        world.remote.on_nth(Step::Next, "/m", 0, 3, Action::Lose);
        assert!(list_all(&*connector, &settings, |_| true).await.is_err());
    });
}

#[test]
fn records_that_do_not_answer_cost_a_directory_until_the_next_scan() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.records.fail_look_ups.set(1);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!(tally.failed_directories, 1);
        assert!(world.status().last_error.unwrap().contains("the records do not answer"));
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}
