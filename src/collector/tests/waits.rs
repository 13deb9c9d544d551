//! When things are tried again: every wait by the paused clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::world::{INTERVAL, World, put, run, scanned, three, zip_of};
use crate::base::exit_flag::ExitFlag;
use crate::collector::collect::collect;
use crate::protocol::memory::{Action, Step};
use crate::protocol::{Detail, ErrorScope};
use crate::status::ServerState;

/// Collects for so long.
async fn collect_for(world: &World, time: Duration) {
    let (server, (flag, exit)) = (world.start(), ExitFlag::new());
    let raise = async {
        sleep(time).await;
        flag.raise();
    };
    tokio::join!(collect(&server, &exit), raise);
}

/// Notes the moments of a step; returns the whole seconds between them later.
fn moments(world: &World, step: Step, path: &str) -> impl Fn() -> Vec<u64> + use<> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let note = Action::Do(Rc::new(move |_| noted.borrow_mut().push(Instant::now())));
    world.remote.on_nth(step, path, 0, u32::MAX, note);
    move || seen.borrow().windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64().round() as u64).collect()
}

#[test]
fn scans_begin_an_interval_after_each_other_and_follow_a_new_interval_at_once() {
    run(async || {
        let world = World::new("directories = ['/a']");
        put(&world, &three());
        let waits = moments(&world, Step::List, "/a");
        let change = async {
            sleep(Duration::from_secs(130)).await;
            world.sync.send_modify(|sync| sync.interval = Duration::from_secs(20));
        };
        tokio::join!(collect_for(&world, Duration::from_secs(165)), change);
        assert_eq!(waits(), [60, 60, 20, 20]);
        assert_eq!((world.status().state, world.status().scans), (ServerState::Stopped, 5));
    });
}

#[test]
fn a_file_that_fails_is_tried_ever_less_often_and_at_once_when_it_changes() {
    const SCANS: u64 = 10;
    run(async || {
        let world = World::new("");
        put(&world, &three());
        let tries = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&tries);
        let note = Action::Do(Rc::new(move |_| noted.borrow_mut().push(Instant::now())));
        world.remote.on_nth(Step::Fetch, "/a/1.zip", 0, u32::MAX, note);
        world.remote.on_nth(Step::Piece, "/a/1.zip", 0, u32::MAX, Action::Refuse("550 in use"));
        let server = world.start();
        while tries.borrow().len() < 7 {
            assert_eq!((scanned(&server).await.waiting, world.status().pending_files), (1, 1));
            sleep(Duration::from_secs(SCANS)).await;
        }
        let waits: Vec<u64> = tries.borrow().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        let expected = [60, 120, 240, 480, 900, 900];
        let is_next_scan = |(wait, expected): (&u64, u64)| (expected..=expected + SCANS + 1).contains(wait);
        assert!(waits.iter().zip(expected).all(is_next_scan), "{waits:?}");
        world.remote.heal().file("/a/1.zip", zip_of(2600, 1), 2_000_000);
        assert_eq!(scanned(&server).await.fetched, 1);
        assert_eq!((world.content("/a/1.zip"), world.status().last_error), (Some(zip_of(2600, 1)), None));
    });
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_each_minute_at_least() {
    run(async || {
        let world = World::new("");
        put(&world, &three());
        world.sync.send_modify(|sync| sync.interval = Duration::from_secs(10));
        world.remote.on_nth(Step::Connect, "", 0, u32::MAX, Action::Lose);
        collect_for(&world, Duration::from_secs(10 + 20 + 40 + 4 * 60 - 5)).await;
        assert_eq!((world.remote.count(Step::Connect, ""), world.status().files_downloaded), (7, 0));
        assert!(world.status().last_error.unwrap().contains("connection lost"));
    });
}

#[test]
fn a_refused_account_is_tried_ever_less_often_so_that_it_is_not_locked() {
    run(async || {
        let world = World::new("connections = 4");
        let refused = Action::Fail(ErrorScope::Login, Detail::Plain, "530 no");
        world.remote.on_nth(Step::Connect, "", 0, u32::MAX, refused);
        collect_for(&world, Duration::from_secs(60 + 120 + 240 + 480 + 900 + 900 - 5)).await;
        assert_eq!(world.remote.count(Step::Connect, ""), 6);
    });
}

#[test]
fn outside_of_its_windows_nothing_is_asked_of_a_server() {
    run(async || {
        let world = World::new("windows = ['14:00-15:00']");
        put(&world, &three());
        collect_for(&world, Duration::from_hours(2) - INTERVAL).await;
        assert_eq!((world.remote.steps(), world.status().scans), (0, 0));
        let world = World::new("windows = ['14:00-15:00']");
        put(&world, &three());
        collect_for(&world, Duration::from_hours(24)).await;
        world.assert_complete(&three());
        assert_eq!(world.status().scans, 60, "one a minute, while it was open");
    });
}

#[test]
fn a_window_that_closes_on_a_transfer_keeps_what_came_which_the_next_window_goes_on_with() {
    run(async || {
        let (world, whole) = (World::new("windows = ['12:00-12:10']"), zip_of(20_000, 1));
        put(&world, &three());
        world.remote.file("/late.zip", whole.clone(), 7);
        world.remote.on_nth(Step::Piece, "/late.zip", 15, 1, Action::Hang);
        let looks = async {
            sleep(Duration::from_mins(11)).await;
            assert!(world.status().outside_windows && world.remote.sessions() == 0);
            assert_eq!(world.partial()[0].1, 15 * 1024);
            world.assert_sound(&three());
            let steps = world.remote.steps();
            sleep(Duration::from_hours(23)).await;
            assert_eq!(world.remote.steps(), steps, "nothing is asked while it is closed");
        };
        tokio::join!(collect_for(&world, Duration::from_hours(24) + INTERVAL), looks);
        world.assert_complete(&[&three()[..], &[("/late.zip", whole)]].concat());
        let pieces = world.remote.count(Step::Piece, "/late.zip");
        assert!(pieces < 16 + 15, "{pieces} pieces of 20 were asked for");
    });
}
