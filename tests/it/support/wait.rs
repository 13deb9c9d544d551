//! Waiting for something to become true, with a limit, for whatever has no condition variable to wait on.

use std::process::{Command, Output, Stdio};
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

/// The output of a program that is expected to end at once; panics with what it said where it still runs at the
/// limit.
#[track_caller]
pub fn output_within(limit: Duration, command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let ended = try_obtain(limit, || child.try_wait().expect("the state of the program"));
    child.kill().ok();
    let output = child.wait_with_output().expect("its output");
    assert!(ended.is_some(), "it still runs after {limit:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one sleep of the tests: files and processes cannot be waited on"
)]
fn rest() {
    std::thread::sleep(LOOK_EVERY);
}
