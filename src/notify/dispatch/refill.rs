//! When the outbox is asked for more notices, and what its answer means.

use std::time::Duration;

use tokio::time::Instant;

use super::RETRY;
use super::call_queue::CallQueue;
use crate::base::facts::Due;
use crate::notify::outbox::Outbox;

/// Rows asked for at a time.
pub(super) const REFILL: usize = 256;
/// Longest sleep without looking: a wake-up could be lost with a restarted keeper.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the rows of the outbox that are not at hand.
pub(super) struct Refill {
    /// The state of the records in which the rows at hand were read.
    edition: u64,
    /// The outbox may hold more than it said last.
    ask: bool,
    /// It may hold more new files behind those that it gave, and more of the others.
    more: (bool, bool),
    /// When one that was tried is due, as far as is known.
    tried_at: Instant,
    /// The outbox is not asked before this, where it could not be read.
    read_at: Instant,
}

/// What the outbox said, and of which state of the records.
pub(super) struct Found {
    due: anyhow::Result<Due>,
    edition: u64,
}

impl Refill {
    /// Knows nothing yet, as of this state of the records.
    pub(super) fn new(edition: u64) -> Self {
        let now = Instant::now();
        Self { edition, ask: true, more: (false, false), tried_at: now, read_at: now }
    }

    /// Notes that the outbox may hold more than it said last.
    pub(super) fn ask(&mut self) {
        self.ask = true;
    }

    /// Returns whether the rows at hand are of another state of the records than `edition`, which counts from now on.
    pub(super) fn is_outdated(&mut self, edition: u64) -> bool {
        std::mem::replace(&mut self.edition, edition) != edition
    }

    /// Returns whether the outbox should be asked for more than is in the queue.
    pub(super) fn wants_more(&self, queue: &CallQueue) -> bool {
        let now = Instant::now();
        if now < self.read_at {
            return false;
        }
        let (more_fresh, more_tried) = self.more;
        let (few_fresh, few_tried) = (queue.fresh() < REFILL / 2, queue.tried() < REFILL / 2);
        let due = self.tried_at <= now || more_tried;
        (few_fresh && (self.ask || more_fresh)) || (few_tried && due)
    }

    /// Asks for more notices, without those in `except` and those whose files are being deleted.
    pub(super) fn ask_for<'a>(
        &mut self,
        outbox: &'a dyn Outbox,
        mut except: Vec<i64>,
    ) -> impl Future<Output = Found> + use<'a> {
        self.ask = false;
        let edition = outbox.state().edition();
        except.extend(outbox.state().being_deleted());
        async move { Found { due: outbox.due(REFILL, except).await, edition } }
    }

    /// Returns what the outbox gave, and whether it may hold more new files behind those. `None` where it could not be
    /// read, or says what is not true any more.
    pub(super) fn take_in(&mut self, found: Found, outbox: &dyn Outbox) -> Option<(Due, bool)> {
        let due = match found.due {
            Ok(due) => due,
            Err(error) => {
                // the keeper has said so, once
                log::debug!("cannot read what is to be announced: {error:#}; trying again");
                self.read_at = Instant::now() + RETRY.first;
                self.ask = true;
                return None;
            }
        };
        if found.edition != outbox.state().edition() {
            self.ask = true;
            return None;
        }
        self.more = (due.fresh.len() >= REFILL, due.tried.len() >= REFILL);
        self.tried_at = when_due(due.next_at, outbox.now());
        Some((due, self.more.0))
    }

    /// Notes that a notice that was tried is due `at`, as of the time `now`.
    pub(super) fn tried_are_due(&mut self, at: Option<i64>, now: i64) {
        self.tried_at = self.tried_at.min(when_due(at, now));
    }

    /// Returns when to look again, where nothing else happens before.
    pub(super) fn look_again(&self) -> Instant {
        let now = Instant::now();
        let ahead = [self.tried_at, self.read_at].into_iter().filter(|at| *at > now);
        ahead.fold(now + LOOK_AGAIN, Instant::min)
    }
}

/// Returns the moment of a time of the records, as of their time `now`.
fn when_due(at: Option<i64>, now: i64) -> Instant {
    let latest = Instant::now() + LOOK_AGAIN;
    let Some(at) = at else { return latest };
    let wait = u64::try_from(at - now).unwrap_or(0);
    // never at once: a row that is due and cannot be read must not turn the loop into a spin
    latest.min(Instant::now() + Duration::from_millis(wait.max(10)))
}
