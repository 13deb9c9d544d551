//! What a scan asks of the rest of the program. The actors answer in the service, plain values in tests.

use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Local};

use crate::base::facts::{Download, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath};
use crate::quota::Reservation;

/// Returns what time it is by the clock on the wall, which decides about windows alone.
pub type WallClock = Rc<dyn Fn() -> DateTime<Local>>;

/// The records, as a scan needs them.
#[async_trait::async_trait(?Send)]
pub trait Records {
    /// What is known of the files of one directory; one answer for each, in order.
    async fn look_up(
        &self,
        directory: &Arc<RemotePath>,
        files: Arc<[(RemoteName, FileFacts)]>,
    ) -> anyhow::Result<Vec<Knowledge>>;

    /// Says of files answered as [`Knowledge::Shifted`] whether the server's zone changed or they did.
    async fn settle_shifts(&self, files: Vec<Shifted>) -> anyhow::Result<()>;

    /// Records a file that is safe on disk. Once this answers, the record survives a power loss.
    async fn record(&self, download: Download) -> anyhow::Result<()>;
}

/// Whether a download fits.
#[derive(Debug)]
pub enum Admission {
    /// It does, and its room is held.
    Granted {
        /// What was asked for.
        reservation: Reservation,
        /// So many bytes more may be used next without asking.
        prepaid: u64,
    },
    /// Not yet: downloads under way take the room, and may be evicted once they are finished.
    Busy,
    /// Other data fills the disk: nothing is fetched for now.
    Held,
    /// This file is larger than all that could be freed.
    TooLarge,
}

/// A download that needs more room than was promised to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// So much more.
    pub bytes: u64,
    /// What it has so far.
    pub length: u64,
    /// Finished zips may go for it, as long as its length is likely for a zip of this mirror.
    pub may_displace: bool,
}

/// The disk guard, as a scan needs it.
#[async_trait::async_trait(?Send)]
pub trait DiskGuard {
    /// Brings the disk below its limit, as far as files of ours can.
    async fn sweep(&self) -> anyhow::Result<()>;

    /// Makes room for a download of `bytes`.
    async fn make_room(&self, bytes: u64) -> anyhow::Result<Admission>;

    /// Makes room for a download under way that holds some already; [`Admission::Held`] where there is none.
    async fn grow(&self, growth: Growth) -> anyhow::Result<Admission>;
}
