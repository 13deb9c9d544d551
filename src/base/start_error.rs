//! Why a part of the service is not opened.

use super::humanize::why;
use super::io_error;

/// Sorted by what comes next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another service has it, or others could tamper with it: whoever starts this one must choose something else.
    #[error("{0}")]
    Refused(String),
    /// The disk has no room for it now.
    #[error("{}", why(.0))]
    NoSpace(anyhow::Error),
    /// The database does not answer now.
    #[error("{}", why(.0))]
    Unreachable(anyhow::Error),
    /// The system does not give what is needed.
    #[error("{}", why(.0))]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        if io_error::kinds(&error).any(io_error::is_no_space) {
            Self::NoSpace(error)
        } else {
            Self::Failed(error)
        }
    }
}
