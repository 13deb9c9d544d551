//! What can go wrong with a server, in the terms that the mirror decides by.

use crate::ftp::{Blame, FtpError};
use crate::sftp::SftpError;

/// A failed step of a conversation. The caller adds server and path.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// On the way to any server, or in FTP's own words.
    #[error(transparent)]
    Ftp(FtpError),
    /// In SFTP's.
    #[error(transparent)]
    Sftp(SftpError),
    /// Our own side: the disk, the records.
    #[error("{}", crate::base::humanize::why(.0))]
    Local(anyhow::Error),
}

impl From<anyhow::Error> for RemoteError {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

impl From<FtpError> for RemoteError {
    fn from(error: FtpError) -> Self {
        match error {
            FtpError::Local(error) => Self::Local(error),
            error => Self::Ftp(error),
        }
    }
}

impl From<SftpError> for RemoteError {
    fn from(error: SftpError) -> Self {
        match error {
            SftpError::Way(error) => error.into(),
            error => Self::Sftp(error),
        }
    }
}

impl RemoteError {
    /// Whom the failure concerns.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Ftp(error) => error.blame(),
            Self::Sftp(error) => error.blame(),
            Self::Local(_) => Blame::Local,
        }
    }

    /// A listing that cannot be relied on, for this reason.
    #[must_use]
    pub fn listing_cut(reason: &str) -> Self {
        Self::Ftp(FtpError::ListingCut(reason.to_owned()))
    }

    /// A listing that is of another directory.
    #[must_use]
    pub fn listing_of_another() -> Self {
        Self::Ftp(FtpError::ListingOfAnother)
    }

    /// Whether the server, or a limit of ours, cut a listing.
    #[must_use]
    pub fn is_cut_listing(&self) -> bool {
        matches!(self, Self::Ftp(FtpError::ListingCut(_)))
    }

    /// Whether a transfer that was to begin in the middle of a file is refused for good: it may work from its start.
    #[must_use]
    pub fn refuses_to_resume(&self) -> bool {
        match self {
            // the answer to REST, or to a RETR that came to nothing because of REST
            Self::Ftp(FtpError::Refused { step, reply }) => {
                *step == "REST" || (*step == "RETR" && reply.code / 100 == 5)
            }
            Self::Sftp(error) => error.refuses_to_resume(),
            _ => false,
        }
    }

    /// Whether a transfer broke off in the middle that may work from its start, in another way which is known by now.
    #[must_use]
    pub fn asks_to_start_over(&self) -> bool {
        matches!(self, Self::Sftp(error) if error.asks_to_start_over())
    }
}
