//! Puts on record what became of calls.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::base::backoff::Backoff;
use crate::base::facts::Postponed;
use crate::notify::outbox::Outbox;

/// Between two tries to record the outcome of a call that the records do not take.
const RECORD_AGAIN: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };

/// What is to be put on record of calls.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The file of this record is announced.
    Delivered(i64),
    /// These are called again.
    Postponed(Vec<Postponed>),
}

/// The outcomes on their way into the records.
pub(super) struct Results<'a> {
    outbox: &'a dyn Outbox,
    /// Those that the records do not take.
    refused: Rc<Cell<usize>>,
}

impl<'a> Results<'a> {
    pub(super) fn new(outbox: &'a dyn Outbox) -> Self {
        Self { outbox, refused: Rc::default() }
    }

    /// Returns whether the records do not take what they are given.
    pub(super) fn are_stuck(&self) -> bool {
        self.refused.get() > 0
    }

    /// Records the outcome beside other calls, so that the keeper records several at once. Where the records do not
    /// take it, that is tried until they do.
    pub(super) fn record(&self, outcome: Outcome) -> impl Future<Output = Outcome> + use<'a> {
        let (outbox, refused) = (self.outbox, Rc::clone(&self.refused));
        async move {
            let mut tries = 0;
            loop {
                let recorded = match &outcome {
                    Outcome::Delivered(id) => outbox.delivered(vec![*id]).await,
                    Outcome::Postponed(notices) => outbox.postpone(notices.clone()).await,
                };
                let Err(error) = recorded else { break };
                log::debug!("cannot record the outcome of a call: {error:#}; trying again");
                if tries == 0 {
                    refused.set(refused.get() + 1);
                }
                tries += 1;
                tokio::time::sleep(RECORD_AGAIN.after(tries)).await;
            }
            if tries > 0 {
                refused.set(refused.get() - 1);
            }
            outcome
        }
    }
}
