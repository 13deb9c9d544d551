//! The actors, and the only folder that knows Actix. Each is thin: its messages, its state, one call of a plain
//! function.
//!
//! ```text
//!  console, socket, signals ── Start, Stop ──▶ Supervisor ── Begin(ExitWatch) ──▶ FtpScanner × servers
//!                                                                │ Request, DownloadedFile    │ MakeRoom, Sweep
//!                                                                ▼                            ▼
//!                            Notifier ── Request, Write ─▶ RecordKeeper ◀── Request, Change ── QuotaWarden
//! ```
//!
//! Waiting goes one way: Supervisor › FtpScanner › QuotaWarden › Notifier › RecordKeeper. The keeper waits for
//! nobody, so no circle of waits can exist. `stop` does not queue behind anything: the exit flag passes beside the
//! mailboxes.
//!
//! Threads: one for each scanner, one each for keeper, warden and notifier; the supervisor on the main thread.
//! After a panic: a scan or the notifier begins again, at growing intervals; a request to the warden fails alone; the
//! keeper's end ends the process, because it is the truth. A scan without any sign of life is ended and begins again
//! in the same way; one whose thread is blocked is named (see [`crate::base::watchdog`]).

pub mod mirror_watch;
pub mod notifier;
pub mod quota_warden;
pub mod record_keeper;
pub mod scanner;
mod scanner_handle;
pub mod supervisor;

use std::future::Future;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Arbiter, Context, Handler, Message};
use anyhow::Context as _;

use crate::base::blocking::RAISE_PROCESSES;
use crate::base::{panics, watchdog};

/// The way to an actor, for those outside of this folder.
pub type Address<A> = Addr<A>;

/// For an answer of another actor. A disk may be slow, but not for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Starts an actor on a thread of its own, whose panics are logged under the name `part`.
///
/// # Errors
///
/// When the system gives no thread for it.
pub fn start_apart<A>(
    part: &'static str,
    make: impl FnOnce() -> A + Send + 'static,
) -> anyhow::Result<Addr<A>>
where
    A: Actor<Context = Context<A>>,
{
    let arbiter = arbiter(part)?;
    Ok(A::start_in_arbiter(&arbiter.handle(), move |_| {
        panics::own_thread(part);
        make()
    }))
}

/// A thread that waits for messages.
fn arbiter(whose: &str) -> anyhow::Result<Arbiter> {
    Arbiter::try_new().with_context(|| {
        format!("no thread for the {whose}; {RAISE_PROCESSES} and of open files (LimitNOFILE=, or ulimit -n)")
    })
}

/// Starts an actor on the calling thread.
pub fn start<A: Actor<Context = Context<A>>>(actor: A) -> Addr<A> {
    actor.start()
}

/// Sends a request and waits for its answer, which is a `Result` itself.
///
/// # Errors
///
/// The answer's own; or that the actor is gone or does not answer, in which case the request may still be done.
async fn ask<A, M, T>(actor: &Addr<A>, message: M) -> anyhow::Result<T>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = anyhow::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    match actor.send(message).timeout(ANSWER_LIMIT).await {
        Ok(answer) => {
            watchdog::beat();
            answer
        }
        Err(error) => Err(anyhow::anyhow!("no answer from within the service: {error}")),
    }
}

/// Runs `work` as a task of its own, so that its panic ends neither the actor nor its thread.
///
/// # Errors
///
/// Where it panicked, in words; the panic itself was logged by the hook.
pub async fn shielded<T: 'static>(work: impl Future<Output = T> + 'static) -> Result<T, String> {
    let task = AbortOnDrop(actix_rt::spawn(work));
    let mut task = task;
    (&mut task.0).await.map_err(|error| {
        let words = if error.is_panic() { panics::take_last() } else { None };
        words.unwrap_or_else(|| error.to_string())
    })
}

/// A task that ends with its owner; a plain handle would let it run on.
struct AbortOnDrop<T>(actix_rt::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
