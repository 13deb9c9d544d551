//! Downloading one file: its bytes from an offset on, handed to the caller as they come.

use tokio::time::Instant;

use super::error::FtpError;
use super::session::Session;
use crate::base::names::RemotePath;
use crate::net::pace::Pace;

/// One buffer for each session, kept across files. Measured: 256 KiB reads cost half the CPU of 64 KiB ones.
const BUFFER: usize = 256 * 1024;

/// What came, after the server closed the transfer with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of this transfer, from the offset on.
    pub bytes: u64,
    /// False where TLS ended without its closing message, or the connection with a reset: the end could have been cut,
    /// so that size or content must prove the file whole.
    pub clean_end: bool,
}

impl Session {
    /// Fetches the file at `path` from byte `offset` on and passes every piece to `sink`. `another` is asked at the
    /// end of the data whether another file is fetched next, so that its port can be asked for early.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] with step `REST` where the server does not resume; the session stays usable then, as
    /// it does when the file is gone. Whatever `sink` says ends the transfer. Cancelled or failed half-way, all
    /// that was passed to `sink` is true, and the session is not reusable.
    pub async fn fetch(
        &mut self,
        path: &RemotePath,
        offset: u64,
        mut sink: impl AsyncFnMut(&[u8]) -> anyhow::Result<()>,
        another: impl Fn() -> bool,
    ) -> Result<Received, FtpError> {
        if another() {
            self.learn_name().await?;
        }
        let mut data = self.open_file(path, offset).await?;
        let mut received = Received { bytes: 0, clean_end: true };
        let mut pace = Pace::new(&self.speed);
        let limit = self.speed.limit.clone();
        self.buffer.resize(limit.piece(BUFFER), 0);
        loop {
            let Self { buffer, timeout, .. } = self;
            let began = Instant::now();
            let read = data.read("RETR", *timeout, buffer, &mut received.clean_end).await?;
            let waited = began.elapsed();
            if read == 0 {
                break;
            }
            sink(buffer.get(..read).unwrap_or_default()).await?;
            received.bytes += read as u64;
            pace.took("RETR", waited, read)?;
            limit.pay(read).await;
        }
        self.end_transfer("RETR", data, another()).await?;
        Ok(received)
    }
}
