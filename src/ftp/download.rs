//! Downloading one file: its bytes from an offset on, handed to the caller as they come.

use tokio::time::Instant;

use super::error::FtpError;
use super::session::Session;
use crate::net::pace::Pace;
use crate::protocol::{FileReceiver, FileRequest, Received};

/// One buffer for each session, kept across files. Measured: 256 KiB reads cost half the CPU of 64 KiB ones.
const BUFFER: usize = 256 * 1024;

impl Session {
    /// See [`crate::protocol::Session::fetch`]. The port of the file that comes next is asked for early.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] with step `REST` where the server does not resume; the session stays usable then, as
    /// it does when the file is gone.
    pub(super) async fn download(
        &mut self,
        FileRequest { path, offset, .. }: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, FtpError> {
        if receiver.is_another_next() {
            self.learn_name().await?;
        }
        let mut data = self.open_file(path, offset).await?;
        let mut received = Received { clean_end: true, size_after: None };
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
            receiver.receive(buffer.get(..read).unwrap_or_default()).await?;
            pace.took("RETR", waited, read)?;
            limit.pay(read).await;
        }
        self.end_transfer("RETR", data, receiver.is_another_next()).await?;
        Ok(received)
    }
}
