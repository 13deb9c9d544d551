//! What can go wrong on the way to an SFTP server, and what it means for the caller.

use crate::ftp::{Blame, FtpError};
use crate::names::Printable;

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// A failed step of a conversation with a server. The caller adds server and path.
#[derive(Debug, thiserror::Error)]
pub enum SftpError {
    /// What goes wrong with any server: no address, no connection, no answer, too slow, cut.
    #[error(transparent)]
    Way(#[from] FtpError),
    /// The server shows a key that nobody vouches for.
    #[error("{0}")]
    HostKey(String),
    /// SSH could not be agreed on.
    #[error("{step}: {text}")]
    Ssh {
        /// What was under way.
        step: &'static str,
        /// How it failed.
        text: String,
    },
    /// The server takes no further login or no further channel now.
    #[error("the server takes no more logins now: {0}")]
    TooManyLogins(String),
    /// The server refuses key and password.
    #[error("login refused: {0}")]
    LoginRefused(String),
    /// The server says no to a request.
    #[error("{step}: {text}")]
    Refused {
        /// The request.
        step: &'static str,
        /// Its code (draft-ietf-secsh-filexfer-02 section 7).
        code: u32,
        /// The server's words.
        text: String,
    },
    /// A transfer was to begin beyond the end of the file.
    #[error("the file has {size} bytes, fewer than what was fetched of it before")]
    Shrunk {
        /// As the server shows it now.
        size: u64,
    },
    /// What came is not the protocol.
    #[error("{step}: not understood: {what}")]
    Protocol {
        /// What was under way.
        step: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl SftpError {
    /// Whom the failure concerns.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Way(error) => error.blame(),
            Self::HostKey(_) | Self::Ssh { .. } | Self::Protocol { .. } => Blame::Connection,
            Self::TooManyLogins(_) => Blame::TooManyLogins,
            Self::LoginRefused(_) => Blame::Login,
            // "no connection" and "connection lost" are said of a server behind the server
            Self::Refused { code: 6 | 7, .. } => Blame::Connection,
            Self::Refused { .. } | Self::Shrunk { .. } => Blame::Entry,
        }
    }

    /// Whether a transfer that was to begin in the middle of a file is refused for good.
    #[must_use]
    pub fn refuses_to_resume(&self) -> bool {
        matches!(self, Self::Shrunk { .. })
    }
}

/// Words of a server, as far as they are worth showing.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    Printable(text.trim()).to_string().chars().take(MAX_SHOWN_CHARS).collect()
}
