//! What can go wrong on the way to an SFTP server, and what it means for the caller.

use super::status;
use crate::base::names::Printable;
use crate::net::error::NetError;
use crate::protocol::{Detail, ErrorScope, ListingCut, ProtocolError};

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// A failed step of a conversation with a server. The caller adds server and path.
#[derive(Debug, thiserror::Error)]
pub enum SftpError {
    /// What goes wrong with any server: no address, no connection, no answer, too slow.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A listing went over a limit, or was not read to its end.
    #[error(transparent)]
    ListingCut(#[from] ListingCut),
    /// The receiver of the bytes failed: a local matter.
    #[error("{}", crate::base::humanize::why(.0))]
    Local(anyhow::Error),
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
    /// The connection opens nothing any more, such as when the server believes too many handles to be open.
    #[error("{step}: {text}; the connection opens nothing more and is left")]
    Stuck {
        /// The request.
        step: &'static str,
        /// The server's words.
        text: String,
    },
    /// A transfer is refused in the middle of a file, and may work from its start.
    #[error("{step} at byte {at}: {text}")]
    NotFromHere {
        /// The request.
        step: &'static str,
        /// Where.
        at: u64,
        /// The server's words.
        text: String,
        /// It broke off in the middle of this very transfer, and not where it was to be resumed.
        broke_off: bool,
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
    /// Returns whom the failure concerns.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        match self {
            Self::Net(error) => error.scope(),
            Self::Local(_) => ErrorScope::Local,
            Self::HostKey(_) | Self::Ssh { .. } | Self::Protocol { .. } | Self::Stuck { .. } => {
                ErrorScope::Connection
            }
            Self::TooManyLogins(_) => ErrorScope::TooManyLogins,
            Self::LoginRefused(_) => ErrorScope::Login,
            // "no connection" and "connection lost" are said of a server behind the server
            Self::Refused { code: status::NO_CONNECTION | status::CONNECTION_LOST, .. } => {
                ErrorScope::Connection
            }
            Self::ListingCut(_) | Self::Refused { .. } | Self::Shrunk { .. } | Self::NotFromHere { .. } => {
                ErrorScope::Entry
            }
        }
    }

    /// Returns whether a transfer broke off that the server may send in another way, from its start.
    pub(super) fn asks_to_start_over(&self) -> bool {
        matches!(self, Self::NotFromHere { broke_off: true, .. })
    }
}

impl From<SftpError> for ProtocolError {
    fn from(error: SftpError) -> Self {
        let detail = match &error {
            SftpError::ListingCut(_) => Detail::ListingCut,
            error if error.asks_to_start_over() => Detail::StartOver,
            SftpError::Shrunk { .. } | SftpError::NotFromHere { .. } => Detail::NotResumable,
            _ => Detail::Plain,
        };
        match error {
            SftpError::Local(error) => Self::Local(error),
            error => Self::remote(error.scope(), error).with(detail),
        }
    }
}

/// A connection that ended.
pub(super) fn lost(step: &'static str, said: Option<String>) -> SftpError {
    let said = said.unwrap_or_else(|| "the server closed it".to_owned());
    NetError::Lost { step, cause: std::io::Error::other(said) }.into()
}

/// Words of a server, as far as they are worth showing.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    Printable(text.trim()).to_string().chars().take(MAX_SHOWN_CHARS).collect()
}
