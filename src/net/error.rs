//! What can go wrong on the way to any server, whatever protocol it speaks.

use std::io;
use std::time::Duration;

use crate::protocol::ErrorScope;

/// A failed step on the way to a server. The caller adds the server.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The host name has no address.
    #[error("cannot resolve {host}: {cause}")]
    Resolve {
        /// As configured.
        host: String,
        /// The resolver's words.
        cause: io::Error,
    },
    /// No address of the host took the connection.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The last address tried.
        address: String,
        /// The system's words.
        cause: io::Error,
    },
    /// Nothing came for the configured time.
    #[error("{step}: no answer for {}", crate::base::humanize::duration(*.after))]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection ended or broke.
    #[error("{step}: connection lost: {}", broke(cause))]
    Lost {
        /// What was under way.
        step: &'static str,
        /// How it broke.
        cause: io::Error,
    },
    /// A transfer or listing comes in, but below the lowest useful speed.
    #[error(
        "{step}: too slow: {bytes} bytes in {}, below min_speed of {least} bytes a second",
        crate::base::humanize::duration(Duration::from_secs(.over.as_secs()))
    )]
    TooSlow {
        /// The command.
        step: &'static str,
        /// What came.
        bytes: u64,
        /// In this time.
        over: Duration,
        /// What should have come each second.
        least: u64,
    },
}

impl NetError {
    /// Returns what the failure says about the connection and the server.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        match self {
            // another connection would be as slow, and the next try resumes
            Self::TooSlow { .. } => ErrorScope::Entry,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Timeout { .. } | Self::Lost { .. } => {
                ErrorScope::Connection
            }
        }
    }
}

/// Returns how a connection broke; rustls points its users to a page of its manual instead of saying who did what.
pub(crate) fn broke(cause: &io::Error) -> String {
    let text = cause.to_string();
    if text.contains("close_notify") {
        "the server closed it without TLS close_notify".to_owned()
    } else {
        text
    }
}
