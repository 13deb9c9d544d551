//! A stop at each moment: no record without a whole file, no whole file lost, and the next scan brings the rest.

use super::world::{LONG, World, for_polls, put, run, scan_until_done, scanned, three, zip_of};
use crate::base::exit_flag::ExitFlag;
use crate::collector::collect::{collect, one_scan, wind_up};
use crate::protocol::memory::{Action, Step};

/// How a scanner ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Its scan is dropped, and it goes on: its window closed.
    Window,
    /// Its scan is dropped, and what was received is recorded: it was stopped.
    Stop,
    /// Nothing of it goes on: it was killed, or panicked.
    Kill,
}

/// Ends a scan at each of its moments in turn.
fn at_each_moment(connections: usize, end: End, new: fn(&str) -> World) {
    let mut is_done = false;
    let mut polls = 0;
    while !is_done {
        run(async || {
            let world = new(&format!("connections = {connections}"));
            put(&world, &three());
            let mut server = world.start();
            is_done = for_polls(polls, one_scan(&server)).await.is_some();
            match end {
                End::Window => wind_up(&server).await,
                End::Stop => {
                    wind_up(&server).await;
                    server = world.start();
                }
                End::Kill => {
                    drop(server);
                    world.assert_sound(&three());
                    server = world.start();
                }
            }
            world.assert_sound(&three());
            scan_until_done(&server).await;
            world.assert_complete(&three());
            // those that were under way begin again, and those that were killed on their way to the records
            let again = if end == End::Kill { 3 } else { connections };
            assert!(world.remote.count(Step::Fetch, "") <= 3 + again, "{end:?} after {polls} polls");
            assert_eq!(world.remote.sessions(), 0, "{end:?} after {polls} polls");
        });
        polls += 1;
    }
    assert!(polls > 30, "{polls}");
}

#[test]
fn a_scan_that_is_dropped_at_any_moment_loses_nothing_and_the_same_scanner_goes_on() {
    at_each_moment(1, End::Window, World::new);
    at_each_moment(3, End::Window, World::new);
    at_each_moment(2, End::Window, World::on_disk);
}

#[test]
fn a_scanner_that_is_stopped_at_any_moment_loses_nothing_and_the_next_one_goes_on() {
    at_each_moment(1, End::Stop, World::new);
    at_each_moment(3, End::Stop, World::new);
    at_each_moment(2, End::Stop, World::on_disk);
}

#[test]
fn a_scanner_that_is_killed_at_any_moment_loses_nothing_and_the_next_one_goes_on() {
    at_each_moment(1, End::Kill, World::new);
    at_each_moment(3, End::Kill, World::new);
    at_each_moment(2, End::Kill, World::on_disk);
}

#[test]
fn a_file_that_was_whole_when_its_scan_was_stopped_is_not_fetched_again() {
    run(async || {
        let world = World::new("connections = 1");
        put(&world, &three());
        world.remote.on(Step::Fetch, "/a/2.zip", Action::Hang);
        let server = world.start();
        let scan = tokio::time::timeout(LONG, one_scan(&server));
        assert!(scan.await.is_err());
        wind_up(&server).await;
        scan_until_done(&world.start()).await;
        world.assert_complete(&three());
        assert_eq!(world.remote.count(Step::Fetch, "/a/1.zip"), 1);
    });
}

#[test]
fn a_partial_file_is_resumed_by_the_next_run() {
    run(async || {
        let (world, whole) = (World::new("connections = 1"), zip_of(20_000, 1));
        world.remote.file("/a.zip", whole.clone(), 7);
        world.remote.on_nth(Step::Piece, "/a.zip", 15, 1, Action::Hang);
        let server = world.start();
        assert!(tokio::time::timeout(LONG, one_scan(&server)).await.is_err());
        drop(server);
        assert_eq!(world.partial()[0].1, 15 * 1024);
        let tally = scanned(&world.start()).await;
        assert_eq!(tally.fetched, 1);
        world.assert_complete(&[("/a.zip", whole)]);
        let pieces = world.remote.count(Step::Piece, "");
        assert!(pieces < 16 + 15, "{pieces} pieces were asked for");
    });
}

#[test]
fn the_exit_flag_ends_a_scan_that_hangs_at_any_step_and_logs_out() {
    let of_directory = [Step::List, Step::Next, Step::Finish].map(|step| (step, "/a", 0));
    let of_file = [Step::Fetch, Step::Piece, Step::End].map(|step| (step, "/a/1.zip", 0));
    for (step, path, skips) in [&[(Step::Connect, "", 1)], &of_directory[..], &of_file].concat() {
        run(async || {
            let world = World::new("connections = 2");
            put(&world, &three());
            // one session hangs, and the other one has nothing to do in the end
            world.remote.on_nth(step, path, skips, 1, Action::Hang);
            let (server, (flag, exit)) = (world.start(), ExitFlag::new());
            let began = tokio::time::Instant::now();
            let raise = async {
                tokio::time::sleep(LONG).await;
                flag.raise();
            };
            tokio::join!(collect(&server, &exit), raise);
            assert!(began.elapsed() < LONG + std::time::Duration::from_secs(2), "{step:?}");
            let quits = world.remote.count(Step::Quit, "");
            assert_eq!((world.remote.sessions(), quits), (0, 1), "{step:?}");
            world.remote.heal();
            scan_until_done(&world.start()).await;
            world.assert_complete(&three());
        });
    }
}
