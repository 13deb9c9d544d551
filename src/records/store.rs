//! What a store of records promises.

use crate::base::facts::{Download, Due, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};

use super::change::{Change, Changed};
use super::error::RecordsError;
use super::types::{PresentFile, Recorded, RecordedMirror, Totals, Writes, Written};

/// The records, opened for the one who writes.
///
/// Its methods block, and are called from one thread, which they may keep waiting for seconds, but not without end: a
/// store that talks to another machine gives each call a deadline of its own.
///
/// **Durability.** What a method has returned from survives a power loss; [`close`](Self::close) adds nothing to that.
///
/// **Failure.** Each call is one transaction: where it fails, nothing of it is kept, and the store can be asked again, as
/// soon as what [`RecordsError::kind`] names is mended. Where its outcome is unknown, as after a lost connection, the
/// caller repeats it. [`settle_shifts`](Self::settle_shifts) alone may be kept in part.
///
/// **Repetition.** Every call may be repeated, also after a success that nobody heard of: a path is recorded once, a
/// notice is delivered once, a change that was made changes nothing.
///
/// **Order.** Ids ascend in the order of download and are never used again, whatever is forgotten. Pages come in the
/// order of ids; whoever passes the last id of one as `after` of the next meets every record once that was there all
/// the time, and no other twice.
///
/// **Other processes.** While this is open, no other process, nor another caller in this one, opens the same records for
/// writing ([`OpenError::InUse`](super::OpenError::InUse)). [`RecordReader`](super::RecordReader) reads beside it from
/// any process.
///
/// **Cost.** Nothing is kept in memory that grows with the number of records, and no call but those for each listed file
/// gets slower with it than an index does.
pub trait RecordStore: Send {
    /// Reads the sums over all records.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn totals(&mut self) -> Result<Totals, RecordsError>;

    /// Says for each of `files`, all of one `directory`, whether it was ever downloaded. A change is stored
    /// with the answer, so that it is answered once only; without one nothing is written. `compare` says what
    /// follows from a record and a listing.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; no change counts as answered then.
    fn look_up(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        files: &[(RemoteName, FileFacts)],
    ) -> Result<Vec<Knowledge>, RecordsError>;

    /// Brings records up to date whose files are listed with another time. Those that did change count as changed.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; those that were not settled are answered as before.
    fn settle_shifts(&mut self, server: &ServerName, files: &[Shifted]) -> Result<(), RecordsError>;

    /// Records downloads, whose notices are due at once, marks notices as delivered, and keeps when others are due again:
    /// all of it or, where it fails, nothing. A notice of an evicted file stays cancelled, a delivered one delivered.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn commit(&mut self, writes: &Writes<'_>) -> Result<Written, RecordsError>;

    /// Records downloads alone.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    fn record(&mut self, files: &[Download]) -> Result<Vec<Recorded>, RecordsError> {
        Ok(self.commit(&Writes { downloads: files, ..Writes::default() })?.recorded)
    }

    /// Reads up to `limit` notices that were never tried, oldest first; up to `limit` that are due again at `now` (unix
    /// milliseconds), due longest first; and when the next of those is due. Leaves out those `in_flight`, and those of
    /// the servers `held`. A notice that is due more than 10 minutes ahead is due: the clock was set back.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn due_notices(
        &mut self,
        now: i64,
        limit: usize,
        in_flight: &[i64],
        held: &[ServerName],
    ) -> Result<Due, RecordsError>;

    /// Reads the files downloaded longest ago that are still present, announced or not as asked, oldest first; only
    /// those after the record `after`.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn oldest_present(
        &mut self,
        announced: bool,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError>;

    /// Reads files still present after the record `after`, whether announced or not, oldest first.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn present_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<PresentFile>, RecordsError>;

    /// Reads files that were found missing, after the record `after`, oldest first.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn missing_after(&mut self, after: i64, limit: usize) -> Result<Vec<PresentFile>, RecordsError>;

    /// Makes `change` at `now`, in unix milliseconds. Of files that are marked, [`Download::downloaded_at`] counts.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; nothing is changed then.
    fn change(&mut self, change: &Change, now: i64) -> Result<Changed, RecordsError>;

    /// Remembers that `servers` begin at `now`, in unix seconds, unless they have begun before, and returns when each
    /// did, in their order. All others are forgotten: one that comes back begins anew. Without a change nothing is
    /// written: the disk may be full.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; nothing is changed then.
    fn begin_servers(&mut self, servers: &[ServerName], now: i64) -> Result<Vec<i64>, RecordsError>;

    /// Reads what is known of the mirror, with up to twice `some` of the files in it.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, RecordsError>;

    /// Remembers the marker of the mirror that the records belong to.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn remember_mirror(&mut self, marker: &str) -> Result<(), RecordsError>;

    /// Reads what is remembered under `key`, if anything is.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    fn remembered(&mut self, key: &str) -> Result<Option<String>, RecordsError>;

    /// Remembers `value` under `key`, in the place of what was remembered there. Both are short, and keys are few.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; what was remembered before stays then.
    fn remember(&mut self, key: &str, value: &str) -> Result<(), RecordsError>;

    /// Ends the use of the records, and tidies up where that takes no time. Nothing is lost without it.
    fn close(self: Box<Self>);
}
