//! What the program was asked to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::commands::adopt::Order as AdoptOrder;
use crate::commands::amend::Order;
use crate::commands::mark::Order as MarkOrder;
use crate::commands::records::Order as RecordsOrder;

/// One call of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration files in the order given; none means [`crate::config::DEFAULT_FILE`].
    pub config: Vec<PathBuf>,
    /// What to do.
    pub command: Command,
}

/// What the program was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The service, in the foreground.
    Run {
        /// Start the scanners at once instead of waiting for `start`.
        start: bool,
    },
    /// Probe the configuration, the servers, the records, the mirror, the disk, the notify host and what `run` opens.
    Check {
        /// These servers alone; everything where there is none.
        servers: Vec<String>,
    },
    /// A console command for the running service.
    Ctl(CtlCommand),
    /// The download records.
    Records(RecordsOrder),
    /// A change of the download records.
    Amend(Order),
    /// Files that are to count as fetched.
    Mark(MarkOrder),
    /// Mirror and records are to belong together.
    Adopt(AdoptOrder),
}

/// A command that goes over the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CtlCommand {
    /// Start all scanners.
    Start,
    /// Stop all scanners.
    Stop,
    /// Show the status.
    Status {
        /// As JSON instead of text.
        json: bool,
        /// Again and again, with this time between.
        watch: Option<Duration>,
    },
    /// Read the configuration again.
    Reload {
        /// So many files may be deleted at once by a limit that is lower than before.
        confirm: Option<u64>,
    },
    /// Scan one server now.
    Scan(String),
    /// Stop scanning one server until it is resumed.
    Pause(String),
    /// Scan a paused server again.
    Resume(String),
}
