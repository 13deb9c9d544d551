//! What the dispatcher needs of the records and the mirror.

use super::outbox_state::OutboxState;
use crate::base::facts::{Due, Notice, Postponed};

/// The rows that are neither announced nor evicted. Times are milliseconds since 1970-01-01T00:00:00Z.
///
/// What is written is durable once it returns, unless it fails. Cancelled, it may be written or not.
#[async_trait::async_trait(?Send)]
pub trait Outbox {
    /// Returns up to `limit` notices never tried, up to `limit` others that are due now, and when the next is; without
    /// those in `except`.
    async fn due(&self, limit: usize, except: Vec<i64>) -> anyhow::Result<Due>;
    /// Records that these files are announced.
    async fn delivered(&self, ids: Vec<i64>) -> anyhow::Result<()>;
    /// Records when these are called again.
    async fn postpone(&self, notices: Vec<Postponed>) -> anyhow::Result<()>;
    /// Returns whether the file is surely not in the mirror.
    fn is_missing(&self, notice: &Notice) -> bool;
    /// Returns what happens to rows that were read.
    fn state(&self) -> &OutboxState;
    /// Returns whether there is one server alone.
    fn is_alone(&self) -> bool;
    /// Returns the time by which notices are due.
    fn now(&self) -> i64;
}
