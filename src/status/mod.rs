//! What `status` shows: counters that each part keeps for itself ([`progress`]), the service at one moment
//! ([`snapshot`]), what of it needs an operator ([`attention`]), and that moment as programs ([`json`], [`metrics`]) and people ([`table`], [`progress_line`]) see it.

pub mod attention;
pub mod json;
pub mod metrics;
pub mod progress;
pub mod progress_line;
pub mod snapshot;
pub mod table;

pub use progress::{Progress, Roster};
pub use snapshot::{
    ConnectionStatus, DiskStatus, HoldStatus, IncompleteFile, MirrorStatus, NotifyStatus, ProcessStatus,
    RecordsStatus, ServerState, ServerStatus, ServiceStatus,
};
