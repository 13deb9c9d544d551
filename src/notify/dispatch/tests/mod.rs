//! The dispatcher with a receiver in memory, and with time under control.

mod fixture;
mod interrupted;

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::UNMARKED;
use super::refill::REFILL;
use crate::config::NotifyConcurrency;
use crate::notify::conformance::Treatment;
use crate::notify::outbox::Outbox;
use fixture::{Fixture, OTHER};

const ROWS: i64 = REFILL as i64;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// -- which call is next --------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn every_file_is_called_for_once_and_never_more_than_allowed_at_a_time() {
    let fixture = Fixture::new(200);
    fixture.to_the_end().await;
    assert_eq!((fixture.called().len(), fixture.sink.at_once().1), (200, 4));
}

#[tokio::test(start_paused = true)]
async fn new_files_come_first_in_the_order_of_their_records() {
    let fixture = Fixture::new(3);
    fixture.rows.add_tried(10..13, 1);
    fixture.allow(NotifyConcurrency::AtMost(1));
    fixture.to_the_end().await;
    assert_eq!(fixture.called(), [1, 2, 3, 10, 11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_waits_by_itself_and_hinders_no_other() {
    let fixture = Fixture::new(100);
    fixture.refuses(|id| id == 7);
    let began = Instant::now();
    fixture.until(|| fixture.rows.left() == [7]).await;
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
    fixture.for_a_while(seconds(1000)).await;
    let times: Vec<f64> = fixture.called_at(7).iter().map(|at| at.round()).collect();
    assert_eq!(times, [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0, 255.0, 511.0, 811.0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_holds_up_no_other() {
    let fixture = Fixture::new(100);
    fixture.sink.treat_each(|notice| if notice.id == 1 { Treatment::Hangs } else { Treatment::Takes });
    let release = async {
        fixture.left(&[1]).await;
        fixture.sink.treat_each(|_| Treatment::Takes);
    };
    tokio::join!(release, fixture.to_the_end());
    assert_eq!(fixture.called().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn files_of_one_server_that_are_all_refused_hold_up_no_other() {
    let fixture = Fixture::new(900);
    fixture.rows.add(OTHER..OTHER + 3);
    fixture.refuses(|id| id < OTHER);
    let began = Instant::now();
    fixture.until(|| fixture.rows.left().len() == 900).await;
    assert!(began.elapsed() < seconds(3), "{:?}", began.elapsed());
    let began = Cell::new(began);
    let further = async {
        sleep(seconds(2)).await;
        fixture.rows.add(OTHER + 3..OTHER + 5);
        began.set(Instant::now());
    };
    tokio::join!(further, fixture.until(|| fixture.sink.taken_ids().len() == 5));
    assert!(began.get().elapsed() < seconds(3), "{:?}", began.get().elapsed());
    assert!(fixture.called().len() < 60, "{} calls: refused files wait", fixture.called().len());
}

// -- how many calls ------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_files_of_different_servers_is_probed_singly_and_gets_all_once_it_is_back() {
    let fixture = Fixture::new(50);
    fixture.rows.add(OTHER..OTHER + 50);
    fixture.refuses(|_| true);
    fixture.sink.takes(Duration::from_millis(400));
    let began = Instant::now();
    let back = async {
        sleep(seconds(120)).await;
        let calls: Vec<Duration> = fixture.sink.calls().iter().map(|(at, _)| *at - began).collect();
        assert!((40..300).contains(&calls.len()), "{} calls in 2 minutes", calls.len());
        let later = calls.iter().filter(|at| **at > seconds(10)).collect::<Vec<_>>();
        assert!(later.windows(2).all(|pair| *pair[1] - *pair[0] >= Duration::from_millis(400)), "{later:?}");
        fixture.refuses(|_| false);
    };
    tokio::join!(back, fixture.to_the_end());
    assert!(began.elapsed() < seconds(120 + 300), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_files_of_one_server_is_not_down_whatever_it_refuses_of_another() {
    let fixture = Fixture::new(50);
    fixture.rows.add(OTHER..OTHER + 50);
    fixture.refuses(|id| id >= OTHER);
    let began = Instant::now();
    fixture.until(|| fixture.rows.left().iter().all(|id| *id >= OTHER)).await;
    let further = async {
        sleep(seconds(60)).await;
        fixture.rows.add(100..300);
    };
    tokio::join!(further, fixture.until(|| fixture.sink.taken_ids().len() == 250));
    assert!(began.elapsed() < seconds(62), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_answer_is_probed_singly_at_growing_pauses() {
    let fixture = Fixture::new(50);
    fixture.sink.treat_each(|_| Treatment::Dies);
    let began = Instant::now();
    fixture.for_a_while(seconds(300)).await;
    let calls: Vec<f64> = fixture.sink.calls().iter().map(|(at, _)| (*at - began).as_secs_f64()).collect();
    assert!((25..45).contains(&calls.len()), "{} calls: {calls:?}", calls.len());
    let pauses: Vec<f64> = calls[12..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted_by(|a, b| *a <= *b + 0.1), "{pauses:?}");
    assert!((14.9..16.0).contains(pauses.last().unwrap()), "{pauses:?}");
    fixture.sink.treat_each(|_| Treatment::Takes);
    let began = Instant::now();
    fixture.to_the_end().await;
    assert!(began.elapsed() < seconds(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn more_calls_are_made_while_files_wait_and_fewer_once_the_receiver_has_too_many() {
    let fixture = Fixture::new(3000);
    fixture.allow(NotifyConcurrency::Auto);
    fixture.sink.takes(Duration::from_millis(20));
    let overload = async {
        while fixture.rows.left().len() > 500 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((fixture.rows.state().concurrency(), fixture.sink.at_once().1), (32, 32));
        fixture.sink.treat_each(|_| Treatment::IsOverloaded);
        sleep(seconds(5)).await;
        assert_eq!(fixture.rows.state().concurrency(), 4);
        fixture.sink.treat_each(|_| Treatment::Takes);
    };
    tokio::join!(overload, fixture.to_the_end());
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_heeded_at_once_and_forget_what_was_known_of_the_receiver() {
    let fixture = Fixture::new(50);
    fixture.sink.treat_each(|_| Treatment::Dies);
    let reload = async {
        sleep(seconds(100)).await;
        fixture.sink.treat_each(|_| Treatment::Takes);
        fixture.settings.send_modify(|settings| settings.url.set_path("/other"));
        sleep(seconds(1)).await;
        let left = fixture.rows.left();
        // those that failed lately wait for their time
        assert!(left.len() < 15, "{left:?}");
    };
    tokio::join!(reload, fixture.to_the_end());
    let opened = fixture.opened.borrow();
    let paths: Vec<&str> = opened.iter().map(|settings| settings.url.path()).collect();
    assert_eq!(paths, ["/d", "/other"]);
}

// -- files that go -------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_file_that_goes_after_its_row_was_read_is_not_called_for() {
    let fixture = Fixture::new(50);
    fixture.allow(NotifyConcurrency::AtMost(1));
    fixture.sink.takes(seconds(1));
    let evict = async {
        sleep(Duration::from_millis(500)).await;
        fixture.rows.evict(|id| (2..=19).contains(&id));
        sleep(seconds(1)).await;
        (45..=50).for_each(|id| fixture.rows.state().deletion_begins(id));
        sleep(seconds(60)).await;
        assert_eq!(fixture.rows.left(), [45, 46, 47, 48, 49, 50]);
        fixture.rows.evict(|id| id < 50);
        // one deletion failed
        fixture.rows.state().deletions_ended(45..=50);
    };
    tokio::join!(evict, fixture.to_the_end());
    let mut wanted = vec![1];
    wanted.extend((20..=44).chain([50]));
    assert_eq!(fixture.called(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_deleted_or_is_not_there_waits() {
    let fixture = Fixture::new(5);
    fixture.rows.state().deletion_begins(2);
    fixture.rows.missing.borrow_mut().push(3);
    fixture.until(|| fixture.rows.left() == [2, 3]).await;
    assert_eq!(fixture.called().len(), 3);
    assert_eq!((fixture.rows.attempts(3), fixture.rows.attempts(2)), (1, 0), "put off, and held back");
    // the deletion failed
    fixture.rows.state().deletions_ended([2]);
    fixture.until(|| fixture.rows.left() == [3]).await;
    // and the other file came back
    fixture.rows.missing.borrow_mut().clear();
    let began = Instant::now();
    fixture.to_the_end().await;
    assert!(began.elapsed() <= seconds(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn files_that_are_being_deleted_are_not_asked_for_again_and_again() {
    let fixture = Fixture::new(ROWS + 50);
    (1..=ROWS).for_each(|id| fixture.rows.state().deletion_begins(id));
    fixture.for_a_while(Duration::from_millis(300)).await;
    assert_eq!(fixture.rows.left().len(), REFILL);
    assert!(fixture.rows.asked.get() < 10, "{} questions", fixture.rows.asked.get());
    fixture.rows.state().deletions_ended(1..=ROWS);
    fixture.to_the_end().await;
}

// -- the records ---------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_call_whose_delivery_cannot_be_recorded_is_not_repeated() {
    let fixture = Fixture::new(20);
    fixture.rows.full.set(true);
    let mend = async {
        sleep(seconds(60)).await;
        let called = fixture.called().len();
        assert!(
            (4..=8).contains(&called),
            "{called}: those under way, and the few begun before the first failure"
        );
        assert_eq!(fixture.rows.left().len(), 20);
        fixture.rows.full.set(false);
    };
    tokio::join!(mend, fixture.to_the_end());
    assert_eq!(fixture.called().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_while_outcomes_wait_to_be_recorded_up_to_a_bound() {
    let fixture = Fixture::new(400);
    fixture.rows.stuck.set(true);
    fixture.for_a_while(seconds(60)).await;
    assert_eq!(fixture.called().len(), 4 + UNMARKED);
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_read_are_asked_again_each_second() {
    let fixture = Fixture::new(20);
    fixture.rows.unreadable.set(true);
    fixture.for_a_while(Duration::from_millis(9_500)).await;
    assert_eq!((fixture.rows.asked.get(), fixture.called().len()), (10, 0));
    fixture.rows.unreadable.set(false);
    fixture.to_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_alone_costs_one_question_to_the_records() {
    let fixture = Fixture::new(0);
    let come = async {
        for id in 1..=20 {
            sleep(Duration::from_millis(30)).await;
            fixture.rows.add([id]);
        }
    };
    tokio::join!(come, fixture.until(|| fixture.sink.taken_ids().len() == 20));
    assert!(fixture.rows.asked.get() <= 22, "{}", fixture.rows.asked.get());
}
