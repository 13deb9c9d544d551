//! `RecordKeeper` owns the one writable store of records.
//!
//! Asked by: scanners, warden, notifier. Waits for: nobody. Thread: its own, which the store may block. After a panic
//! or a failed start the process ends with status 1: without the records nothing can be promised.
//!
//! Downloads and the outcomes of calls are gathered (see [`GroupCommit`]): whatever has arrived when the mailbox is empty
//! is committed together. Everything else is asked for with one [`Request`], or made as one [`Change`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use chrono::Utc;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::base::facts::Download;
use crate::base::failpoints;
use crate::base::humanize::count_was;
use crate::base::json;
use crate::notify::outbox_state::OutboxState;
use crate::records::{
    Amendment, CancelledNotices, Change, Changed, Ever, GroupCommit, LEFT, Left, LoggedStore, OutboxEffect,
    Outcome, RecordStore, RecordsError, SharedFault, Sums, Tell, Totals, When, Work, Write,
};

/// Under which the latest record is remembered whose notice was to be delivered once more.
const REQUEUED: &str = "requeued_until";

/// The sums of the records, for the warden and `status`.
#[derive(Debug, Clone, Default)]
pub struct SharedTotals {
    sums: Arc<Mutex<Sums>>,
    fault: SharedFault,
}

impl SharedTotals {
    /// Returns them as of the last commit.
    #[must_use]
    pub fn get(&self) -> Totals {
        self.sums.lock().now()
    }

    /// Returns what only rises, as of the last commit.
    #[must_use]
    pub fn ever(&self) -> Ever {
        self.sums.lock().ever()
    }

    /// Returns why the records fail; none while they work.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.get()
    }

    fn begin(&self, sums: Sums) {
        *self.sums.lock() = sums;
    }

    /// Returns what is to be remembered where something has left the sums.
    fn renew(&self, totals: Totals) -> Option<Left> {
        let mut sums = self.sums.lock();
        sums.renew(totals).then(|| sums.left())
    }
}

/// A zip is safe on disk: record it. Answered once the record is, too.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct DownloadedFile(pub Download);

/// The outcome of calls, to be kept with the next commit. Answered once it is.
impl Message for Write {
    type Result = anyhow::Result<()>;
}

/// A change of records. Answered with what it came to.
impl Message for Change {
    type Result = anyhow::Result<Changed>;
}

/// Anything else that is asked of the store, on the keeper's thread.
pub struct Request<T> {
    work: Work,
    ask: Ask<T>,
}

type Ask<T> = Box<dyn FnOnce(&mut dyn RecordStore) -> Result<T, RecordsError> + Send>;

impl<T> Request<T> {
    /// Asks the store for something, which is `work` of this kind.
    pub fn new(
        work: Work,
        ask: impl FnOnce(&mut dyn RecordStore) -> Result<T, RecordsError> + Send + 'static,
    ) -> Self {
        Self { work, ask: Box::new(ask) }
    }
}

impl<T: 'static> Message for Request<T> {
    type Result = anyhow::Result<T>;
}

/// Is anybody there? Answered in its turn, so that a keeper that hangs is noticed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Everything that came before is on disk when this is answered; the records are closed then.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Commit;

/// The log hears of the files that were evicted unannounced.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct TellCancelled;

/// Something failed of which it is not known whether it was done: an answer may have been lost on the way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Reconcile;

/// From one look at what was done to the next, while the records do not answer.
const RECONCILE_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub struct RecordKeeper {
    records: LoggedStore,
    /// Whether [`Reconcile`] is to come.
    is_in_doubt: bool,
    commits: GroupCommit<oneshot::Sender<anyhow::Result<()>>>,
    cancelled: CancelledNotices,
    totals: SharedTotals,
    outbox_state: Arc<OutboxState>,
    /// Closed when this actor is dropped, which ends the process unless it was flushed first.
    _alive: mpsc::Sender<()>,
}

impl RecordKeeper {
    /// Returns a keeper of `records`, which tells `outbox_state` of each commit that brought something to announce, or
    /// took it away. `alive` closes when the keeper is gone.
    ///
    /// # Errors
    ///
    /// When the sums cannot be read.
    pub fn new(
        mut records: Box<dyn RecordStore>,
        totals: SharedTotals,
        outbox_state: Arc<OutboxState>,
        alive: mpsc::Sender<()>,
    ) -> anyhow::Result<Self> {
        let read = |text: String| serde_json::from_str(&text).ok();
        let left = records.remembered(LEFT)?.and_then(read).unwrap_or_default();
        totals.begin(Sums::new(records.totals()?, left));
        let requeued = records.remembered(REQUEUED)?.and_then(|id| id.parse().ok());
        outbox_state.announced_until(requeued.unwrap_or(0));
        let (records, commits) =
            (LoggedStore::new(records).showing(totals.fault.clone()), GroupCommit::default());
        let cancelled = CancelledNotices::default();
        Ok(Self { records, is_in_doubt: false, commits, cancelled, totals, outbox_state, _alive: alive })
    }

    /// Returns whether they could be read.
    fn refresh_totals(&mut self) -> bool {
        // a failure was told, and the sums stay as they were
        let Ok(totals) = self.records.attempt(Work::Sum, |records| records.totals()) else { return false };
        if let Some(left) = self.totals.renew(totals) {
            self.remember(LEFT, &json::to_string(&left).unwrap_or_default());
        }
        true
    }

    /// Has the sums and the outbox read again as soon as that goes: what failed may have been done.
    fn reconcile_later(&mut self, context: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_in_doubt, true) {
            context.notify_later(Reconcile, RECONCILE_PAUSE);
        }
    }

    /// What could not be remembered was told, and counts until this process ends.
    fn remember(&mut self, key: &'static str, value: &str) {
        self.records.attempt(Work::Sum, |records| records.remember(key, value)).unwrap_or_default();
    }

    /// Notices that were delivered are to be delivered once more, which says nothing of how late they were.
    fn note_requeued(&mut self, change: &Change) {
        if let Change::Amend(Amendment::Requeue, ids) = change
            && let Some(latest) = self.outbox_state.announce_again(ids)
        {
            self.remember(REQUEUED, &latest.to_string());
        }
    }

    fn gather(&mut self, write: Write, context: &mut Context<Self>) -> ResponseFuture<anyhow::Result<()>> {
        let (done, answer) = oneshot::channel();
        match self.commits.add(write, done, Instant::now()) {
            // comes after whatever is in the mailbox now
            When::Now => context.notify(Commit),
            When::After(wait) => drop(context.notify_later(Commit, wait)),
            When::Arranged => {}
        }
        Box::pin(
            async move { answer.await.unwrap_or_else(|_| Err(anyhow::anyhow!("the records are closed"))) },
        )
    }

    fn commit(&mut self, context: &mut Context<Self>) {
        failpoints::here("keeper", "keeper");
        let committed = self.commits.commit(&mut self.records, Utc::now().timestamp_millis());
        if committed.downloads.is_written() {
            self.outbox_state.notices_added();
        }
        if committed.downloads.result.is_err() || committed.calls.result.is_err() {
            self.reconcile_later(context);
        }
        answer(committed.downloads);
        answer(committed.calls);
        self.refresh_totals();
    }

    fn tell_cancelled(&mut self) {
        if let Some(notices) = self.cancelled.take(Instant::now()) {
            log::warn!("{} evicted before they could be announced", count_was(notices, "file"));
        }
    }

    /// Says which notices a change has cancelled: those of evicted files each minute at most.
    fn cancel(&mut self, change: &Change, notices: u64, context: &mut Context<Self>) {
        if notices == 0 {
            return;
        }
        self.outbox_state.add_cancelled(notices);
        match change {
            Change::Evicted(_) => match self.cancelled.add(notices, Instant::now()) {
                Tell::Now => self.tell_cancelled(),
                Tell::After(wait) => drop(context.notify_later(TellCancelled, wait)),
                Tell::Arranged => {}
            },
            Change::Missing(_) => log::warn!(
                "{} deleted from the mirror before they could be announced; their calls are cancelled",
                count_was(notices, "file")
            ),
            Change::Amend(..) | Change::Found(_) | Change::Mark(..) => {
                log::warn!("{} forgotten before they could be announced", count_was(notices, "file"));
            }
        }
    }
}

/// Tells those who wait how it ended. One that was stopped meanwhile finds the record at its next start.
fn answer(Outcome { askers, result }: Outcome<oneshot::Sender<anyhow::Result<()>>>) {
    for asker in askers {
        let result = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        drop(asker.send(result));
    }
}

impl Actor for RecordKeeper {
    type Context = Context<Self>;
}

impl Handler<DownloadedFile> for RecordKeeper {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, message: DownloadedFile, context: &mut Context<Self>) -> Self::Result {
        self.gather(Write::Download(message.0), context)
    }
}

impl Handler<Write> for RecordKeeper {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, write: Write, context: &mut Context<Self>) -> Self::Result {
        self.gather(write, context)
    }
}

impl<T: 'static> Handler<Request<T>> for RecordKeeper {
    type Result = anyhow::Result<T>;

    fn handle(&mut self, Request { work, ask }: Request<T>, _: &mut Context<Self>) -> Self::Result {
        self.records.attempt(work, ask)
    }
}

impl Handler<Change> for RecordKeeper {
    type Result = anyhow::Result<Changed>;

    fn handle(&mut self, change: Change, context: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let change = change.dated(now);
        let changed = self.records.attempt(change.work(), |records| records.change(&change, now));
        let changed = changed.inspect_err(|_| self.reconcile_later(context))?;
        self.note_requeued(&change);
        self.refresh_totals();
        match change.outbox_effect(changed) {
            OutboxEffect::Unchanged => {}
            OutboxEffect::Grew => self.outbox_state.notices_added(),
            OutboxEffect::Changed => self.outbox_state.records_changed(),
        }
        self.cancel(&change, changed.cancelled_notices, context);
        Ok(changed)
    }
}

impl Handler<Commit> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Commit, context: &mut Context<Self>) {
        // a full hand was committed before its time
        if !self.commits.is_empty() {
            self.commit(context);
        }
    }
}

impl Handler<Reconcile> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Reconcile, context: &mut Context<Self>) {
        self.is_in_doubt = false;
        if self.refresh_totals() {
            self.outbox_state.records_changed();
        } else {
            self.reconcile_later(context);
        }
    }
}

impl Handler<TellCancelled> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: TellCancelled, _: &mut Context<Self>) {
        self.tell_cancelled();
    }
}

impl Handler<Ping> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl Handler<Flush> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Flush, context: &mut Context<Self>) {
        self.commit(context);
        self.tell_cancelled();
        self.records.close();
    }
}
