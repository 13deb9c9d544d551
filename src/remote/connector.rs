//! Which protocol a server speaks, decided once.

use super::error::RemoteError;
use super::session::Session;
use crate::config::{Protocol, ServerSettings};
use crate::ftp;
use crate::sftp;

/// Makes sessions with one server, and keeps what was learnt of it. Lives on the server's own thread.
#[derive(Debug)]
pub enum Connector {
    /// FTP, with or without TLS.
    Ftp(ftp::Connector),
    /// SFTP.
    Sftp(sftp::Connector),
}

impl Connector {
    /// Reads what the settings name, such as certificates; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// Where there is nobody to trust.
    pub fn new(settings: ServerSettings) -> anyhow::Result<Self> {
        Ok(match settings.protocol.clone() {
            Protocol::Ftp => Self::Ftp(ftp::Connector::new(settings)?),
            Protocol::Sftp(sftp) => Self::Sftp(sftp::Connector::new(settings, *sftp)),
        })
    }

    /// Bytes of listings and files that all sessions received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        match self {
            Self::Ftp(connector) => connector.received(),
            Self::Sftp(connector) => connector.received(),
        }
    }

    /// How directories are listed, in words, where there is more than one way; `None` before one was.
    #[must_use]
    pub fn listing_in_words(&self) -> Option<String> {
        match self {
            Self::Ftp(connector) => connector.listing_in_words(),
            Self::Sftp(_) => None,
        }
    }

    /// Connects and logs in.
    ///
    /// # Errors
    ///
    /// Each step has the configured timeout. Cancelled, nothing is left but a closed connection.
    pub async fn connect(&self) -> Result<Session, RemoteError> {
        Ok(match self {
            Self::Ftp(connector) => Session::Ftp(Box::new(connector.connect().await?)),
            Self::Sftp(connector) => Session::Sftp(Box::new(connector.connect().await?)),
        })
    }
}
