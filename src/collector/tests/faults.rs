//! Sessions that are lost, transfers that break off, and records that fail: nothing is lost, nothing comes twice.

use std::rc::Rc;
use std::time::Duration;

use super::world::{World, path, put, run, scan_until_done, scanned, three, zip_of};
use crate::collector::collect::{one_scan, wind_up};
use crate::protocol::memory::{Action, Step};
use crate::protocol::{Detail, ErrorScope};

/// The steps of a scan in which nothing goes wrong.
fn steps(keys: &str) -> u64 {
    let mut steps = 0;
    run(async || {
        let world = World::new(keys);
        put(&world, &three());
        scanned(&world.start()).await;
        steps = world.remote.steps();
    });
    assert!(steps > 30);
    steps
}

/// `fault` at each step of a scan in turn: whatever the scan makes of it, the next ones bring all.
fn at_each_step(keys: &str, fault: &Action) {
    for step in 0..steps(keys) {
        run(async || {
            let world = World::new(keys);
            put(&world, &three());
            world.remote.at(step, fault.clone());
            let server = world.start();
            drop(one_scan(&server).await);
            world.assert_sound(&three());
            scan_until_done(&server).await;
            world.assert_complete(&three());
            assert_eq!(world.remote.sessions(), 0, "step {step}");
        });
    }
}

#[test]
fn a_session_that_is_lost_at_any_step_costs_no_file_and_none_comes_twice() {
    at_each_step("connections = 1", &Action::Lose);
    at_each_step("connections = 3", &Action::Lose);
}

#[test]
fn a_refusal_at_any_step_costs_no_file_and_none_comes_twice() {
    at_each_step("connections = 2", &Action::Refuse("550 not now"));
}

#[test]
fn too_many_logins_at_any_step_cost_no_file_and_none_comes_twice() {
    let refused = Action::Fail(ErrorScope::TooManyLogins, Detail::Plain, "421 too many");
    at_each_step("connections = 2", &refused);
}

#[test]
fn a_transfer_that_broke_off_goes_on_where_it_ended() {
    run(async || {
        let (world, whole) = (World::new("connections = 1"), zip_of(20_000, 1));
        world.remote.file("/a.zip", whole.clone(), 7);
        // lost, and lost again on the session that took over
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 2, Action::Lose);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting, world.partial().len()), (0, 1, 1));
        scan_until_done(&server).await;
        world.assert_complete(&[("/a.zip", whole)]);
        let pieces = world.remote.count(Step::Piece, "/a.zip");
        assert!(pieces < 2 * 20, "{pieces} pieces of 20 were asked for");
    });
}

#[test]
fn a_server_that_refuses_to_resume_is_asked_for_the_whole_file() {
    run(async || {
        let (world, whole) = (World::new("connections = 1"), zip_of(20_000, 1));
        world.remote.file("/a.zip", whole.clone(), 7);
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 1, Action::Lose);
        let refusal = Action::Fail(ErrorScope::Entry, Detail::NotResumable, "501 REST");
        world.remote.on_nth(Step::Fetch, "/a.zip", 1, 1, refusal);
        let server = world.start();
        assert_eq!(scanned(&server).await.fetched, 1, "within the same scan");
        scan_until_done(&server).await;
        world.assert_complete(&[("/a.zip", whole)]);
    });
}

#[test]
fn what_changes_while_its_transfer_is_broken_off_comes_anew() {
    run(async || {
        let world = World::new("connections = 1");
        world.remote.file("/a.zip", zip_of(20_000, 1), 7);
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 2, Action::Lose);
        let server = world.start();
        scanned(&server).await;
        world.remote.file("/a.zip", zip_of(20_000, 2), 9);
        scan_until_done(&server).await;
        world.assert_complete(&[("/a.zip", zip_of(20_000, 2))]);
        assert_eq!(world.remote.count(Step::Fetch, ""), 3, "it was not put together from two contents");
    });
}

#[test]
fn a_half_fetched_file_that_is_gone_from_the_server_goes_after_a_day() {
    run(async || {
        let world = World::new("connections = 1");
        world.remote.file("/a.zip", zip_of(20_000, 1), 7).forbid("/locked");
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 2, Action::Lose);
        let server = world.start();
        scanned(&server).await;
        world.remote.remove("/a.zip");
        scanned(&server).await;
        let [(partial, _)] = world.partial().try_into().unwrap();
        world.hand.age(world.own(), partial, Duration::from_hours(25));
        scanned(&server).await;
        assert!(world.partial().is_empty());
    });
}

#[test]
fn a_record_that_cannot_be_written_keeps_the_file_which_the_next_scan_records_without_fetching_it() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.records.fail_records.set(2);
        let server = world.start();
        let tally = scanned(&server).await;
        assert_eq!((tally.fetched, tally.waiting, world.records.recorded().len()), (3, 2, 1));
        assert_eq!((world.files().len(), world.partial().len()), (3, 2));
        assert!(world.status().last_error.unwrap().contains("the records do not answer"));
        scan_until_done(&server).await;
        world.assert_complete(&three());
        assert_eq!(world.remote.count(Step::Fetch, ""), 3);
    });
}

#[test]
fn records_that_fail_at_any_call_cost_no_file_and_none_comes_twice() {
    let mut calls = 0;
    run(async || {
        let world = World::new("");
        put(&world, &three());
        scan_until_done(&world.start()).await;
        calls = world.records.calls.get();
    });
    assert!(calls >= 5, "a look-up of two directories, and three records");
    for call in 0..calls {
        run(async || {
            let world = World::new("connections = 2");
            put(&world, &three());
            world.records.fail_at.set(Some(call));
            let server = world.start();
            let tally = scanned(&server).await;
            assert_eq!(tally.failed_directories + tally.waiting, 1, "call {call} costs what it was for");
            scan_until_done(&server).await;
            world.assert_complete(&three());
            assert_eq!(world.remote.count(Step::Fetch, ""), 3, "call {call}");
        });
    }
}

#[test]
fn a_file_that_is_evicted_while_others_are_fetched_does_not_come_again() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        let (records, hand, own) = (Rc::clone(&world.records), Rc::clone(&world.hand), world.own().clone());
        let evict = Action::Do(Rc::new(move |_| {
            let oldest = records.recorded().remove(0);
            hand.remove(&own, &path(&oldest));
        }));
        // the last of the three begins
        world.remote.on_nth(Step::Fetch, "", 2, 1, evict);
        let server = world.start();
        assert_eq!(scanned(&server).await.fetched, 3);
        for server in [server, world.start()] {
            for _ in 0..3 {
                assert_eq!(scanned(&server).await.fetched, 0);
            }
        }
        assert_eq!((world.files().len(), world.remote.count(Step::Fetch, "")), (2, 3));
    });
}

#[test]
fn a_directory_of_the_mirror_that_is_removed_while_its_files_are_fetched_is_made_again() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        let (hand, own) = (Rc::clone(&world.hand), world.own().clone());
        let remove = Action::Do(Rc::new(move |_| hand.remove(&own, &path("/b"))));
        world.remote.on(Step::Piece, "/b/c/3.zip", remove);
        assert_eq!(scanned(&world.start()).await.waiting, 0);
        world.assert_complete(&three());
    });
}

#[test]
fn a_scanner_that_remembers_nothing_records_what_was_stored_and_not_recorded() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.records.fail_records.set(3);
        scanned(&world.start()).await;
        scan_until_done(&world.start()).await;
        world.assert_complete(&three());
        assert_eq!(world.remote.count(Step::Fetch, ""), 3);
    });
}

#[test]
fn a_limit_of_logins_is_kept_to_and_tried_again_after_minutes() {
    run(async || {
        let world = World::new("connections = 4");
        // work enough for all four, as logins begin 20 ms after each other
        let more = |at: u32| {
            for n in 0..6 {
                world.remote.file(format!("/{at}/{n}.zip"), zip_of(60_000, n), 7);
            }
        };
        more(0);
        world.remote.limit_logins(2);
        let server = world.start();
        assert_eq!(scanned(&server).await.fetched, 6);
        assert_eq!((world.status().connections.granted, world.remote.sessions()), (2, 2));
        world.remote.limit_logins(4);
        more(1);
        assert_eq!(scanned(&server).await.fetched, 6);
        assert_eq!(world.remote.sessions(), 2, "no more are tried at once");
        tokio::time::sleep(Duration::from_mins(2)).await;
        more(2);
        assert_eq!(scanned(&server).await.fetched, 6);
        assert_eq!(world.remote.sessions(), 3, "and one more at a time then");
        wind_up(&server).await;
        assert_eq!(world.remote.sessions(), 0);
    });
}

#[test]
fn a_server_without_a_free_login_fails_the_scan_and_loses_nothing() {
    run(async || {
        let world = World::new("connections = 4");
        put(&world, &three());
        world.remote.limit_logins(0);
        let server = world.start();
        let error = one_scan(&server).await.unwrap_err();
        assert_eq!(error.scope(), ErrorScope::TooManyLogins);
        world.remote.limit_logins(4);
        scan_until_done(&server).await;
        world.assert_complete(&three());
    });
}

#[test]
fn a_refused_password_is_tried_once_a_scan_however_many_connections_are_configured() {
    run(async || {
        let world = World::new("connections = 4\ndirectories = ['/a', '/b', '/c', '/d']");
        let refused = Action::Fail(ErrorScope::Login, Detail::Plain, "530 no");
        // work for all four, and slow enough for them to begin meanwhile
        world.remote.latency(Duration::from_secs(1)).on_nth(Step::Connect, "", 0, u32::MAX, refused);
        let server = world.start();
        for scans in 1..=3 {
            assert_eq!(one_scan(&server).await.unwrap_err().scope(), ErrorScope::Login);
            assert_eq!(world.remote.count(Step::Connect, ""), scans);
        }
    });
}
