//! Downloading one file: its bytes from an offset on, handed to the caller as they come.

use tokio::time::Instant;

use super::address::{FileFinder, LearnedNames};
use super::data::open::DataOpener;
use super::error::FtpError;
use crate::net::pace::Pace;
use crate::protocol::{FileReceiver, FileRequest, Received};

/// One buffer for each session, kept across files. Measured: 256 KiB reads cost half the CPU of 64 KiB ones.
const BUFFER: usize = 256 * 1024;

/// Downloads on one session.
pub(super) struct Downloader<'s> {
    pub(super) opener: &'s mut DataOpener,
    pub(super) names: &'s LearnedNames,
}

impl Downloader<'_> {
    /// See [`crate::protocol::Session::size`].
    pub(super) async fn size(self, path: &[u8]) -> Result<Option<u64>, FtpError> {
        FileFinder { opener: self.opener, names: self.names }.size(path).await
    }

    /// See [`crate::protocol::Session::fetch`]. The port of the file that comes next is asked for early.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] with step `REST` where the server does not resume; the session stays usable then, as
    /// it does when the file is gone.
    pub(super) async fn download(
        self,
        FileRequest { path, offset, .. }: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, FtpError> {
        let Self { opener, names } = self;
        if receiver.is_another_next() {
            opener.learn_name().await?;
        }
        let mut data = FileFinder { opener: &mut *opener, names }.open_file(path, offset).await?;
        let mut received = Received { clean_end: true, size_after: None };
        let mut pace = Pace::new(&opener.speed);
        let limit = opener.speed.limit.clone();
        opener.buffer.resize(limit.piece(BUFFER), 0);
        loop {
            let DataOpener { buffer, control, .. } = &mut *opener;
            let began = Instant::now();
            let read = data.read("RETR", control.timeout, buffer, &mut received.clean_end).await?;
            let waited = began.elapsed();
            if read == 0 {
                break;
            }
            receiver.receive(buffer.get(..read).unwrap_or_default()).await?;
            pace.took("RETR", waited, read)?;
            limit.pay(read).await;
        }
        opener.end_transfer("RETR", data, receiver.is_another_next()).await?;
        Ok(received)
    }
}
