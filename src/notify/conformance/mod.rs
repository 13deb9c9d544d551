//! Holds each [`Sink`] to its contract: the same tests on every implementation, on one in memory, and on one that runs a
//! command, which is an exercise and no part of the program. A further sink brings a [`Receiver`] and a line with `suite!`.

/// The tests of this module, on the receiver that this makes.
macro_rules! suite {
    ($name:ident, $make:expr) => {
        suite!($name, $make; what_is_taken_was_told_by_its_file
            a_failure_says_what_it_is_evidence_of_and_the_next_call_is_a_new_one
            a_notice_that_comes_again_is_told_again
            a_call_ends_by_itself
            nothing_is_left_of_a_call_that_is_cancelled
            no_call_waits_for_another
            what_is_called_is_said_in_a_line_without_secrets
            a_probe_tells_whether_the_receiver_is_there_and_calls_nothing);
    };
    ($name:ident, $make:expr; $($test:ident)*) => {
        mod $name {
            $(#[test]
            fn $test() {
                actix_rt::System::new().block_on(async { $crate::notify::conformance::$test(&$make).await });
            })*
        }
    };
}

mod exec;
mod http;
pub(super) mod memory;

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::sink::{CallFailure, Fault, Notice, Sink};
use crate::base::names::{RemotePath, ServerName};

/// Stands in whatever must be shown nowhere.
const SECRET: &str = "geheim";
/// For what must come about.
const SOON: Duration = Duration::from_secs(20);

/// How a receiver treats the calls that reach it from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It takes the notice.
    Takes,
    /// It answers that it does not, for a reason that has the word `unwanted`.
    Refuses,
    /// It answers that there are too many calls.
    IsOverloaded,
    /// It ends without an answer.
    Dies,
    /// It does not answer, until it is told to treat calls otherwise.
    Hangs,
}

/// What a sink calls in the tests.
trait Receiver {
    /// A sink that calls it, and gives each call so much time.
    fn sink(&self, limit: Duration) -> Rc<dyn Sink>;
    fn treat(&self, treatment: Treatment);
    /// The files that it took, in this order.
    fn taken(&self) -> Vec<String>;
    /// Calls that it is busy with.
    fn under_way(&self) -> usize;
    /// Makes it unreachable.
    fn vanish(&self);
}

fn notice(path: &str) -> Notice {
    Notice {
        id: 7,
        server: ServerName::new("omc01").unwrap(),
        path: RemotePath::from_text(path, encoding_rs::UTF_8).unwrap(),
        attempts: 0,
        downloaded_at: 1_795_402_800_000,
        size: 1000,
    }
}

/// Waits until so many calls are under way.
async fn under_way(receiver: &dyn Receiver, calls: usize) {
    let reached = async {
        while receiver.under_way() != calls {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = timeout(SOON, reached).await;
    assert!(reached.is_ok(), "{} calls under way instead of {calls}", receiver.under_way());
}

fn failed(result: Result<(), CallFailure>) -> CallFailure {
    let failure = result.unwrap_err();
    assert!(!failure.reason.is_empty() && !failure.reason.contains(SECRET), "{failure:?}");
    failure
}

async fn what_is_taken_was_told_by_its_file(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    let paths = ["/xxx/omc_456456_mro.zip", "/上海/a b+c&d=1%#'$(x).zip", "/-n.zip"];
    for path in paths {
        sink.deliver(&notice(path)).await.unwrap();
    }
    assert_eq!(receiver.taken(), paths.map(|path| format!("/omc01{path}")));
}

async fn a_failure_says_what_it_is_evidence_of_and_the_next_call_is_a_new_one(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    for (treatment, fault) in [
        (Treatment::Refuses, Fault::Refused),
        (Treatment::IsOverloaded, Fault::Overloaded),
        (Treatment::Dies, Fault::Unanswered),
    ] {
        receiver.treat(treatment);
        let failure = failed(sink.deliver(&notice("/a.zip")).await);
        assert_eq!(failure.fault, fault, "{}", failure.reason);
        assert_eq!(failure.reason.contains("unwanted"), treatment == Treatment::Refuses, "{failure:?}");
        receiver.treat(Treatment::Takes);
        sink.deliver(&notice("/b.zip")).await.unwrap();
    }
    assert_eq!(receiver.taken(), ["/omc01/b.zip"; 3]);
}

async fn a_notice_that_comes_again_is_told_again(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    for _ in 0..2 {
        sink.deliver(&notice("/a.zip")).await.unwrap();
    }
    receiver.sink(SOON).deliver(&notice("/a.zip")).await.unwrap();
    assert_eq!(receiver.taken(), ["/omc01/a.zip"; 3]);
}

async fn a_call_ends_by_itself(receiver: &dyn Receiver) {
    receiver.treat(Treatment::Hangs);
    let began = Instant::now();
    let sink = receiver.sink(Duration::from_millis(200));
    let failure = failed(timeout(SOON, sink.deliver(&notice("/a.zip"))).await.unwrap());
    assert_eq!(failure.fault, Fault::Unanswered);
    assert!(began.elapsed() >= Duration::from_millis(200));
    under_way(receiver, 0).await;
}

async fn nothing_is_left_of_a_call_that_is_cancelled(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    for _ in 0..3 {
        receiver.treat(Treatment::Hangs);
        let again = notice("/a.zip");
        tokio::select! {
            result = sink.deliver(&again) => panic!("{result:?}"),
            () = under_way(receiver, 1) => {}
        }
        under_way(receiver, 0).await;
        receiver.treat(Treatment::Takes);
        sink.deliver(&notice("/b.zip")).await.unwrap();
    }
    assert_eq!(receiver.taken(), ["/omc01/b.zip"; 3]);
}

async fn no_call_waits_for_another(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    receiver.treat(Treatment::Hangs);
    let notices: Vec<Notice> = (0..20).map(|number| notice(&format!("/{number}.zip"))).collect();
    let hanging = async { join_all(notices.iter().map(|notice| sink.deliver(notice))).await };
    let others = async {
        under_way(receiver, 20).await;
        receiver.treat(Treatment::Takes);
        timeout(SOON, sink.deliver(&notice("/first.zip"))).await.unwrap().unwrap();
    };
    let (results, ()) = tokio::join!(hanging, others);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(receiver.taken().len(), 21);
}

async fn what_is_called_is_said_in_a_line_without_secrets(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    let words = sink.describe();
    assert!(!words.is_empty() && !words.contains(SECRET) && !words.contains('\n'), "{words:?}");
}

async fn a_probe_tells_whether_the_receiver_is_there_and_calls_nothing(receiver: &dyn Receiver) {
    let sink = receiver.sink(SOON);
    let words = sink.probe().await.unwrap();
    assert!(!words.is_empty() && !words.contains(SECRET), "{words:?}");
    assert!(receiver.taken().is_empty());
    receiver.vanish();
    let words = loop {
        match sink.probe().await {
            Ok(_) => sleep(Duration::from_millis(5)).await,
            Err(error) => break format!("{error:#}"),
        }
    };
    assert!(!words.is_empty() && !words.contains(SECRET), "{words:?}");
    assert_eq!(failed(sink.deliver(&notice("/a.zip")).await).fault, Fault::Unanswered);
}
