//! Threads for work that blocks: reading files back, asking the disk, looking names up.
//!
//! A thread that the system does not give is an error here, in words that say what to raise. (`spawn_blocking` of tokio
//! panics where its pool has no thread yet and gets none; `std::thread::spawn` panics as well.)

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

use crate::base::panics;

/// What an operator raises where there is no thread to be had (clone(2): EAGAIN).
pub const RAISE_PROCESSES: &str =
    "raise the limits of processes (TasksMax= of the systemd unit, or ulimit -u)";

/// Threads for blocking work of one kind, and how many of them may run at once.
#[derive(Debug)]
pub struct Threads {
    name: &'static str,
    free: Semaphore,
}

impl Threads {
    /// At most `limit` threads at a time, each called `name`: at most 15 bytes, or the system cuts it.
    #[must_use]
    pub const fn new(name: &'static str, limit: usize) -> Self {
        Self { name, free: Semaphore::const_new(limit) }
    }
}

/// Why there is no result of blocking work.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// The system gives no thread; the work was not begun. Says what to raise.
    #[error("{0}")]
    NoThread(io::Error),
    /// The work panicked, in the words that the log has.
    #[error("{0}")]
    Panicked(String),
}

/// Runs `work` on a thread of its own and returns its result; waits first where all of `threads` are in use.
///
/// The thread has the name of `threads` and works for whoever the calling thread works for ([`panics::owner`]). A panic
/// of `work` is logged by the hook and ends nothing but the work. A thread for each call costs some 30 µs.
///
/// Cancelled, work that has begun goes on to its end, its result is dropped, and it counts among `threads` until then;
/// nobody waits for it, the end of the process included. The caller has the deadline, where there is to be one.
///
/// # Errors
///
/// There is no thread to be had, or `work` panicked.
pub async fn run_blocking<T: Send + 'static>(
    threads: &'static Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    // never closed
    let turn = threads.free.acquire().await.ok();
    let (done, outcome) = oneshot::channel();
    let owner = panics::owner();
    let run = move || {
        panics::own_thread(&owner);
        let result = catch_unwind(AssertUnwindSafe(work));
        let result = result.map_err(|_| panics::take_last().unwrap_or_else(|| "a panic".to_owned()));
        // before the result is out: whoever has it may begin the next
        drop(turn);
        drop(done.send(result));
    };
    spawn(threads.name, run).map_err(BlockingError::NoThread)?;
    let result = outcome.await.unwrap_or_else(|_| Err("its thread is gone".to_owned()));
    result.map_err(BlockingError::Panicked)
}

/// Starts a thread of this name, which is also what the error calls it.
///
/// # Errors
///
/// When the system gives no thread, with what to raise.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| no_thread(name, &error))
}

fn no_thread(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("no thread for the {name}; {RAISE_PROCESSES}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn blocking_work_runs_on_a_thread_of_its_own_for_the_same_owner() {
        static THREADS: Threads = Threads::new("of its own", 1);
        panics::own_thread("server=omc01");
        let (name, owner) =
            run_blocking(&THREADS, || (std::thread::current().name().map(str::to_owned), panics::owner()))
                .await
                .unwrap();
        assert_eq!((name.as_deref(), owner.as_str()), (Some("of its own"), "server=omc01"));
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_the_callers_error_and_gives_its_place_back() {
        static THREADS: Threads = Threads::new("panicking", 1);
        for _ in 0..3 {
            let outcome = run_blocking(&THREADS, || panic!("a fault on purpose")).await;
            let outcome: Result<(), _> = outcome;
            assert!(matches!(outcome, Err(BlockingError::Panicked(_))), "{outcome:?}");
        }
        assert_eq!(run_blocking(&THREADS, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_whose_caller_has_left_goes_on_and_keeps_its_place_until_its_end() {
        static THREADS: Threads = Threads::new("left alone", 1);
        let (go_on, waiting) = mpsc::channel::<()>();
        let (ended, end) = oneshot::channel();
        let left = run_blocking(&THREADS, move || {
            waiting.recv_timeout(SOON).unwrap();
            ended.send(()).unwrap();
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), left).await.is_err());
        let next = run_blocking(&THREADS, || 1);
        tokio::pin!(next);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut next).await.is_err(), "begun beside it");
        go_on.send(()).unwrap();
        end.await.unwrap();
        assert_eq!(next.await.unwrap(), 1);
    }

    #[test]
    fn a_thread_that_is_not_to_be_had_is_an_error_that_says_what_to_raise() {
        let refused = no_thread("resolver", &io::Error::from_raw_os_error(11));
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        let said = BlockingError::NoThread(refused).to_string();
        for words in ["no thread for the resolver", "TasksMax=", "ulimit -u", "temporarily unavailable"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
