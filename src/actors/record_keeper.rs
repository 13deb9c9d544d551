//! `RecordKeeper` owns the one writable connection to the record database.
//!
//! Asked by: scanners, warden, notifier. Waits for: nobody. Thread: its own, which SQLite may block. After a panic
//! or a failed start the process ends with status 1: without the records nothing can be promised.
//!
//! Writes are gathered: whatever has arrived when the mailbox is empty is committed together, so that one sync of
//! the disk serves many files. A file that comes alone does not wait; what follows a commit closely is gathered for
//! some milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use chrono::Utc;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::record_messages::{
    Amend, BeginServers, Delivered, DownloadedFile, DueNotices, Flush, GetStanding, LookUp, MarkEvicted,
    MarkFetched, MarkFound, MarkMissing, MissingAfter, OldestPresent, Ping, Postpone, PresentAfter,
    RememberMirror, SettleShifts,
};
use crate::base::facts::{Download, Due, Knowledge, Postponed};
use crate::base::failpoints;
use crate::notify::outbox_state::OutboxState;
use crate::records::{PresentFile, Records, RecordsError, Standing, Totals, Trouble, Writes};

/// From one commit to the next, unless so many writes wait.
const GATHER: Duration = Duration::from_millis(10);
/// Writes that do not wait for more.
const FULL: usize = 64;
/// From one line about files that were evicted unannounced to the next.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The sums of the records, for the warden and `status`.
#[derive(Debug, Clone, Default)]
pub struct SharedTotals(Arc<Mutex<Totals>>);

impl SharedTotals {
    /// As of the last commit.
    #[must_use]
    pub fn get(&self) -> Totals {
        *self.0.lock()
    }

    fn set(&self, totals: Totals) {
        *self.0.lock() = totals;
    }
}

/// See the module.
pub struct RecordKeeper {
    /// None once it was flushed.
    records: Option<Records>,
    /// When the last commit ended.
    committed: Option<Instant>,
    gathered: Vec<(Write, oneshot::Sender<anyhow::Result<()>>)>,
    totals: SharedTotals,
    outbox_state: Arc<OutboxState>,
    /// Files that were evicted unannounced, and that the log was not told of yet.
    untold: u64,
    /// When the log was told of such files last.
    told: Option<Instant>,
    /// What the log was told last of why the records fail, and which work it was.
    fault: Option<(Trouble, Work)>,
    /// Closed when this actor is dropped, which ends the process unless it was flushed first.
    _alive: mpsc::Sender<()>,
}

#[derive(Debug)]
enum Write {
    Download(Download),
    Delivered(Vec<i64>),
    Postponed(Vec<Postponed>),
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Commit;

/// The log hears of the files that were evicted unannounced.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct TellEvicted;

/// What the keeper does with the records: one kind may go on while another fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    LookUp,
    Record,
    Deliver,
    Evict,
    Amend,
    Find,
    Begin,
    Sum,
}

impl RecordKeeper {
    /// A keeper of `records`, which tells `outbox_state` of each commit that brought something to announce, or took it away.
    /// `alive` closes when the keeper is gone.
    ///
    /// # Errors
    ///
    /// When the sums cannot be read.
    pub fn new(
        mut records: Records,
        totals: SharedTotals,
        outbox_state: Arc<OutboxState>,
        alive: mpsc::Sender<()>,
    ) -> anyhow::Result<Self> {
        totals.set(records.totals()?);
        Ok(Self {
            records: Some(records),
            committed: None,
            gathered: Vec::new(),
            totals,
            outbox_state,
            untold: 0,
            told: None,
            fault: None,
            _alive: alive,
        })
    }

    fn with<T>(
        &mut self,
        kind: Work,
        work: impl FnOnce(&mut Records) -> Result<T, RecordsError>,
    ) -> anyhow::Result<T> {
        let records = self.records.as_mut().ok_or_else(|| anyhow::anyhow!("the records are closed"))?;
        let outcome = work(records);
        self.note(kind, outcome.as_ref().err());
        Ok(outcome?)
    }

    /// Says once that the records fail, and once that what failed works again. Damage does not go away by itself,
    /// though other rows can be read.
    fn note(&mut self, kind: Work, error: Option<&RecordsError>) {
        match (error, self.fault) {
            (None, Some((trouble, failed))) if failed == kind && trouble != Trouble::Damaged => {
                log::info!("the records work again");
                self.fault = None;
            }
            (None, _) => {}
            (Some(error), fault) if fault.is_some_and(|(trouble, _)| trouble == error.trouble()) => {
                log::debug!("{error}");
            }
            (Some(error), _) => {
                log::error!("{error}; {}", error.trouble().outlook());
                self.fault = Some((error.trouble(), kind));
            }
        }
    }

    fn refresh_totals(&mut self) {
        // a failure was told, and the sums stay as they were
        if let Ok(totals) = self.with(Work::Sum, Records::totals) {
            self.totals.set(totals);
        }
    }

    fn gather(&mut self, write: Write, context: &mut Context<Self>) -> ResponseFuture<anyhow::Result<()>> {
        let (done, answer) = oneshot::channel();
        let since = self.committed.map_or(GATHER, |at| at.elapsed());
        match self.gathered.len() {
            // comes after whatever is in the mailbox now
            0 if since >= GATHER => context.notify(Commit),
            0 => drop(context.notify_later(Commit, GATHER - since)),
            FULL => context.notify(Commit),
            _ => {}
        }
        self.gathered.push((write, done));
        Box::pin(
            async move { answer.await.unwrap_or_else(|_| Err(anyhow::anyhow!("the records are closed"))) },
        )
    }

    fn commit(&mut self) {
        failpoints::here("keeper", "keeper");
        let mut writes = Writes { delivered_at: Utc::now().timestamp_millis(), ..Writes::default() };
        let (mut downloading, mut delivering) = (Vec::new(), Vec::new());
        for (write, asker) in std::mem::take(&mut self.gathered) {
            match write {
                Write::Download(download) => {
                    writes.downloads.push(download);
                    downloading.push(asker);
                }
                Write::Delivered(ids) => {
                    writes.delivered.extend(ids);
                    delivering.push(asker);
                }
                Write::Postponed(notices) => {
                    writes.postponed.extend(notices);
                    delivering.push(asker);
                }
            }
        }
        let both = !downloading.is_empty() && !delivering.is_empty();
        if both && self.with(Work::Record, |records| records.commit(&writes)).is_ok() {
            self.outbox_state.notices_added();
            answer(downloading, &Ok(()));
            answer(delivering, &Ok(()));
        } else {
            // alone, or because one kind may go on while the other fails
            if !downloading.is_empty() {
                let outcome = self.with(Work::Record, |records| records.record(&writes.downloads).map(drop));
                if outcome.is_ok() {
                    self.outbox_state.notices_added();
                }
                answer(downloading, &outcome);
            }
            if !delivering.is_empty() {
                let Writes { delivered, delivered_at, postponed, .. } = &writes;
                let outcome =
                    self.with(Work::Deliver, |records| records.settle(delivered, *delivered_at, postponed));
                answer(delivering, &outcome);
            }
        }
        self.committed = Some(Instant::now());
        self.refresh_totals();
    }
}

impl RecordKeeper {
    /// Counts notices of evicted files, and says so: each minute at most, and none of them twice.
    fn evicted(&mut self, notices: u64, context: &mut Context<Self>) {
        if notices == 0 {
            return;
        }
        self.outbox_state.records_changed();
        self.outbox_state.add_cancelled(notices);
        let waits = self.untold > 0;
        self.untold += notices;
        match self.told.map(|at| at.elapsed()).filter(|since| *since < TELL_AGAIN) {
            None => self.tell_evicted(),
            Some(_) if waits => {}
            Some(since) => drop(context.notify_later(TellEvicted, TELL_AGAIN - since)),
        }
    }

    fn tell_evicted(&mut self) {
        let notices = std::mem::take(&mut self.untold);
        if notices > 0 {
            log::warn!("{notices} files were evicted before they could be announced");
            self.told = Some(Instant::now());
        }
    }
}

fn answer(askers: Vec<oneshot::Sender<anyhow::Result<()>>>, outcome: &anyhow::Result<()>) {
    for asker in askers {
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        // an asker that was stopped meanwhile finds the record at its next start
        drop(asker.send(outcome));
    }
}

impl Actor for RecordKeeper {
    type Context = Context<Self>;
}

impl Handler<LookUp> for RecordKeeper {
    type Result = anyhow::Result<Vec<Knowledge>>;

    fn handle(&mut self, message: LookUp, _: &mut Context<Self>) -> Self::Result {
        let LookUp { server, directory, files } = message;
        self.with(Work::LookUp, |records| records.look_up(&server, &directory, &files))
    }
}

impl Handler<SettleShifts> for RecordKeeper {
    type Result = anyhow::Result<()>;

    fn handle(&mut self, message: SettleShifts, _: &mut Context<Self>) -> Self::Result {
        let SettleShifts { server, files } = message;
        self.with(Work::LookUp, |records| records.settle_shifts(&server, &files))
    }
}

impl Handler<DownloadedFile> for RecordKeeper {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, message: DownloadedFile, context: &mut Context<Self>) -> Self::Result {
        self.gather(Write::Download(message.0), context)
    }
}

impl Handler<Delivered> for RecordKeeper {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, message: Delivered, context: &mut Context<Self>) -> Self::Result {
        self.gather(Write::Delivered(message.0), context)
    }
}

impl Handler<Commit> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Commit, _: &mut Context<Self>) {
        // a full hand was committed before its time
        if !self.gathered.is_empty() {
            self.commit();
        }
    }
}

impl Handler<OldestPresent> for RecordKeeper {
    type Result = anyhow::Result<Vec<PresentFile>>;

    fn handle(&mut self, message: OldestPresent, _: &mut Context<Self>) -> Self::Result {
        let OldestPresent { announced, after, limit } = message;
        self.with(Work::Find, |records| records.oldest_present(limit, Some(after), announced))
    }
}

impl Handler<PresentAfter> for RecordKeeper {
    type Result = anyhow::Result<Vec<PresentFile>>;

    fn handle(&mut self, message: PresentAfter, _: &mut Context<Self>) -> Self::Result {
        self.with(Work::Find, |records| records.present_after(Some(message.after), message.limit))
    }
}

impl Handler<MarkEvicted> for RecordKeeper {
    type Result = anyhow::Result<()>;

    fn handle(&mut self, message: MarkEvicted, context: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let evicted = self.with(Work::Evict, |records| records.mark_evicted(&message.0, now))?;
        self.evicted(evicted.cancelled_notices, context);
        self.refresh_totals();
        Ok(())
    }
}

impl Handler<MarkMissing> for RecordKeeper {
    type Result = anyhow::Result<()>;

    fn handle(&mut self, message: MarkMissing, _: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let missed = self.with(Work::Evict, |records| records.mark_missing(&message.0, now))?;
        if missed.cancelled_notices > 0 {
            self.outbox_state.add_cancelled(missed.cancelled_notices);
            log::warn!(
                "{} files were deleted from the mirror before they could be announced; their calls are cancelled",
                missed.cancelled_notices
            );
        }
        self.outbox_state.records_changed();
        self.refresh_totals();
        Ok(())
    }
}

impl Handler<MarkFound> for RecordKeeper {
    type Result = anyhow::Result<usize>;

    fn handle(&mut self, message: MarkFound, _: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let found = self.with(Work::Evict, |records| records.mark_found(&message.0, now))?;
        self.refresh_totals();
        self.outbox_state.records_changed();
        Ok(found)
    }
}

impl Handler<MissingAfter> for RecordKeeper {
    type Result = anyhow::Result<Vec<PresentFile>>;

    fn handle(&mut self, message: MissingAfter, _: &mut Context<Self>) -> Self::Result {
        self.with(Work::Find, |records| records.missing_after(message.after, message.limit))
    }
}

impl Handler<GetStanding> for RecordKeeper {
    type Result = anyhow::Result<Standing>;

    fn handle(&mut self, message: GetStanding, _: &mut Context<Self>) -> Self::Result {
        self.with(Work::Find, |records| records.standing(message.0))
    }
}

impl Handler<RememberMirror> for RecordKeeper {
    type Result = anyhow::Result<()>;

    fn handle(&mut self, message: RememberMirror, _: &mut Context<Self>) -> Self::Result {
        self.with(Work::Begin, |records| records.remember_mirror(&message.0))
    }
}

impl Handler<TellEvicted> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: TellEvicted, _: &mut Context<Self>) {
        self.tell_evicted();
    }
}

impl Handler<DueNotices> for RecordKeeper {
    type Result = anyhow::Result<Due>;

    fn handle(&mut self, message: DueNotices, _: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let DueNotices { limit, except, held } = message;
        self.with(Work::Find, |records| records.due_notices_of(now, limit, &except, &held))
    }
}

impl Handler<Postpone> for RecordKeeper {
    type Result = ResponseFuture<anyhow::Result<()>>;

    fn handle(&mut self, message: Postpone, context: &mut Context<Self>) -> Self::Result {
        self.gather(Write::Postponed(message.0), context)
    }
}

impl Handler<Amend> for RecordKeeper {
    type Result = anyhow::Result<usize>;

    fn handle(&mut self, Amend(amendment, ids): Amend, _: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        let amended = self.with(Work::Amend, |records| records.amend(amendment, &ids, now))?;
        self.refresh_totals();
        self.outbox_state.records_changed();
        if amended.cancelled_notices > 0 {
            self.outbox_state.add_cancelled(amended.cancelled_notices);
            log::warn!("{} files were forgotten before they could be announced", amended.cancelled_notices);
        }
        Ok(amended.records)
    }
}

impl Handler<MarkFetched> for RecordKeeper {
    type Result = anyhow::Result<usize>;

    fn handle(&mut self, MarkFetched(mark, mut files): MarkFetched, _: &mut Context<Self>) -> Self::Result {
        let now = Utc::now().timestamp_millis();
        files.iter_mut().for_each(|file| file.downloaded_at = now);
        let marked = self.with(Work::Amend, |records| records.mark(mark, &files))?;
        self.refresh_totals();
        self.outbox_state.notices_added();
        Ok(marked)
    }
}

impl Handler<BeginServers> for RecordKeeper {
    type Result = anyhow::Result<Vec<i64>>;

    fn handle(&mut self, message: BeginServers, _: &mut Context<Self>) -> Self::Result {
        self.with(Work::Begin, |records| records.begin(&message.0, Utc::now().timestamp()))
    }
}

impl Handler<Ping> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl Handler<Flush> for RecordKeeper {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {
        self.commit();
        self.tell_evicted();
        if let Some(records) = self.records.take() {
            records.close();
        }
    }
}
