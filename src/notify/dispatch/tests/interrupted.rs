//! The dispatcher stopped, or killed, at each of the steps at which it waits for anything.

use super::fixture::Fixture;
use crate::base::exit_flag::ExitFlag;

/// New notices, and the one of them that is refused.
const FILES: i64 = 12;
const REFUSED: i64 = 5;

fn fixture() -> Fixture {
    let fixture = Fixture::new(FILES);
    fixture.refuses(|id| id == REFUSED);
    fixture
}

/// The taken notices, each once.
fn delivered(fixture: &Fixture) -> Vec<i64> {
    let mut taken = fixture.sink.taken_ids();
    taken.sort_unstable();
    taken
}

fn all() -> Vec<i64> {
    (1..=FILES).collect()
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_step_loses_no_file_and_repeats_at_most_what_was_in_flight() {
    let mut kills = 0;
    for step in 1.. {
        let fixture = fixture();
        fixture.rows.steps.stop_at.set(step);
        fixture.rows.steps.halts.set(true);
        let (_flag, exit) = ExitFlag::new();
        let was_killed = tokio::select! {
            () = fixture.work(&exit) => false,
            () = fixture.rows.steps.reached() => true,
            () = fixture.left(&[REFUSED]) => false,
        };
        if !was_killed {
            break;
        }
        kills += 1;
        let left = fixture.rows.left();
        let in_flight: Vec<i64> = delivered(&fixture).into_iter().filter(|id| left.contains(id)).collect();
        assert!(in_flight.len() <= 8, "step {step}: {in_flight:?} were told and are not on record");
        fixture.refuses(|_| false);
        fixture.to_the_end().await;
        let mut wanted = all();
        wanted.extend(in_flight);
        wanted.sort_unstable();
        assert_eq!(delivered(&fixture), wanted, "step {step}");
    }
    assert!(kills > 4 * FILES as usize, "{kills} steps");
}

#[tokio::test(start_paused = true)]
async fn an_end_at_any_step_loses_and_repeats_no_file_and_begins_no_other() {
    let mut ends = 0;
    for step in 1.. {
        let fixture = fixture();
        fixture.rows.steps.stop_at.set(step);
        let (flag, exit) = ExitFlag::new();
        let at_once = tokio::select! {
            ((), at_once) = async { tokio::join!(fixture.work(&exit), async {
                fixture.rows.steps.reached().await;
                flag.raise();
                fixture.called().len()
            }) } => at_once,
            () = fixture.left(&[REFUSED]) => break,
        };
        ends += 1;
        assert!(fixture.called().len() <= at_once + 4, "step {step}: calls were begun after the end");
        let left = fixture.rows.left();
        let taken = delivered(&fixture);
        assert!(taken.iter().all(|id| !left.contains(id)), "step {step}: told and not on record");
        fixture.refuses(|_| false);
        fixture.to_the_end().await;
        assert_eq!(delivered(&fixture), all(), "step {step}");
    }
    assert!(ends > 4 * FILES as usize, "{ends} steps");
}
