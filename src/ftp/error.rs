//! What can go wrong on the way to a server, and what it means for the caller.

use std::io;
use std::time::Duration;

use super::reply::Reply;

/// A failed step of a conversation with a server. The caller adds server and path.
#[derive(Debug, thiserror::Error)]
pub enum FtpError {
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
    #[error("{step}: no answer for {}", humantime::format_duration(*.after))]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// How long.
        after: Duration,
    },
    /// The control connection ended or broke.
    #[error("{step}: connection lost: {cause}")]
    Lost {
        /// What was under way.
        step: &'static str,
        /// How it broke.
        cause: io::Error,
    },
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server refuses another login for now: 421, or 530 with words such as "too many".
    #[error("the server takes no more logins now: {0}")]
    TooManyLogins(Reply),
    /// The server refuses user or password.
    #[error("login refused: {0}")]
    LoginRefused(Reply),
    /// The server says no to a command.
    #[error("{step}: {reply}")]
    Refused {
        /// The command without its argument.
        step: &'static str,
        /// The server's words.
        reply: Reply,
    },
    /// The data connection could not be opened or broke.
    #[error("{step}: data connection: {cause}")]
    Data {
        /// The command it was opened for.
        step: &'static str,
        /// How it broke.
        cause: io::Error,
    },
    /// A listing went over a limit, or the server cut it.
    #[error("listing incomplete: {0}")]
    ListingCut(String),
    /// Nothing of a listing could be read.
    #[error("listing not understood, first line: {0}")]
    ListingUnreadable(String),
    /// The receiver of the bytes failed: a local matter.
    #[error(transparent)]
    Local(#[from] anyhow::Error),
}

/// What a failure says about the connection and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// This directory or file alone.
    Entry,
    /// The connection; another login may help.
    Connection,
    /// The number of logins.
    TooManyLogins,
    /// The account: trying again soon could lock it.
    Login,
    /// Our own side.
    Local,
}

impl FtpError {
    /// Whom the failure concerns.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            // 421 means that the server closes the connection (RFC 959 section 4.2)
            Self::Refused { reply, .. } if reply.code == 421 => Blame::Connection,
            Self::Refused { reply, .. } if reply.code == 530 => Blame::Connection,
            Self::Refused { .. } | Self::ListingCut(_) | Self::ListingUnreadable(_) => Blame::Entry,
            Self::TooManyLogins(_) => Blame::TooManyLogins,
            Self::LoginRefused(_) => Blame::Login,
            Self::Local(_) => Blame::Local,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Tls(_)
            | Self::Data { .. } => Blame::Connection,
        }
    }
}
