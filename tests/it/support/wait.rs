//! Waiting for something to become true, with a limit, for whatever has no condition variable to wait on.

use std::time::{Duration, Instant};

/// Between two looks: short against the limits of tests, long against the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `probe` is true; panics with `what` at the limit.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    obtain(limit, what, || probe().then_some(()));
}

/// Waits until `probe` has a value and returns it; panics with `what` at the limit.
#[track_caller]
pub fn obtain<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match try_obtain(limit, probe) {
        Some(value) => value,
        None => panic!("still not so after {limit:?}: {what}"),
    }
}

/// Waits until `probe` has a value; `None` at the limit. It is asked once at least.
pub fn try_obtain<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        rest();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one sleep of the tests: files and processes cannot be waited on"
)]
fn rest() {
    std::thread::sleep(LOOK_EVERY);
}
