//! A connection that its owner can cut. russh speaks on it in a task of its own, which would otherwise go on for as
//! long as the server lets it hang.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::shown;

/// A stream that ends when its [`AbortOnDrop`] are dropped.
pub(super) struct Socket<S> {
    stream: S,
    cut: Arc<Cut>,
}

/// Cut the stream when dropped: whoever reads or writes on it fails at once, and so the task ends.
pub(super) struct AbortOnDrop(Arc<Cut>);

/// Bytes of the beginning that are kept.
const MAX_GREETING: usize = 256;

#[derive(Default)]
struct Cut {
    is_cut: AtomicBool,
    received: AtomicU64,
    greeting: Mutex<Vec<u8>>,
    // one is enough: reading and writing are polled by the same task
    waker: AtomicWaker,
}

impl AbortOnDrop {
    /// Bytes that came so far.
    pub(super) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// What the server said instead of SSH, such as why it takes nobody now.
    pub(super) fn greeting(&self) -> Option<String> {
        let greeting = self.0.greeting.lock();
        let is_ssh = greeting.windows(4).any(|window| window == b"SSH-");
        let hint = if greets_as_ftp(&greeting) {
            ": an FTP server answers; set protocol = \"ftp\", or port to that of SSH (22 on most hosts)"
        } else {
            ""
        };
        Some(format!("{}{hint}", shown(&greeting))).filter(|text| !is_ssh && !text.is_empty())
    }
}

/// An FTP server speaks first, as an SSH server does, and the client of neither would say anything to the other's words:
/// SSH allows lines in front of its own (RFC 4253 section 4.2).
fn greets_as_ftp(greeting: &[u8]) -> bool {
    matches!(greeting, [b'2', b'2', b'0', b' ' | b'-', ..])
}

impl Cut {
    /// Whether it is an FTP server that speaks, as far as can be told by its first words.
    fn is_ftp(&self) -> bool {
        let received = self.received.load(Ordering::Relaxed);
        received <= MAX_GREETING as u64 && greets_as_ftp(&self.greeting.lock())
    }

    fn came(&self, bytes: &[u8]) {
        let before = self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before < MAX_GREETING as u64 {
            let mut greeting = self.greeting.lock();
            let room = MAX_GREETING.saturating_sub(greeting.len());
            greeting.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S) -> (Self, AbortOnDrop) {
        let cut = Arc::<Cut>::default();
        (Self { stream, cut: Arc::clone(&cut) }, AbortOnDrop(cut))
    }

    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.cut.waker.register(context.waker());
        if self.cut.is_cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.cut.came(buffer.filled().get(before..).unwrap_or_default());
        if buffer.filled().len() > before && self.cut.is_ftp() {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "an FTP server answers")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_ftp_server_is_told_by_its_first_words_and_not_waited_for() {
        let (stream, mut peer) = tokio::io::duplex(64);
        let (mut socket, abort_on_drop) = Socket::new(stream);
        peer.write_all(b"220 (vsFTPd 3.0.5)\r\n").await.unwrap();
        assert!(socket.read(&mut [0; 64]).await.is_err());
        assert!(abort_on_drop.greeting().unwrap().contains("protocol = \"ftp\""));
        // what stands in front of the words of SSH is any other text
        let (stream, mut peer) = tokio::io::duplex(64);
        let (mut socket, abort_on_drop) = Socket::new(stream);
        peer.write_all(b"2200 users\r\n").await.unwrap();
        assert_eq!(socket.read(&mut [0; 64]).await.unwrap(), 12);
        assert_eq!(abort_on_drop.greeting().as_deref(), Some("2200 users"));
    }

    #[tokio::test]
    async fn a_reader_that_waits_ends_when_the_stream_is_cut() {
        let (stream, _peer) = tokio::io::duplex(16);
        let (mut socket, abort_on_drop) = Socket::new(stream);
        let reading = tokio::spawn(async move {
            let error = socket.read_u8().await.unwrap_err();
            (error.kind(), socket.write_all(b"x").await.is_err())
        });
        tokio::task::yield_now().await;
        drop(abort_on_drop);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), reading).await;
        assert_eq!(ended.unwrap().unwrap(), (io::ErrorKind::ConnectionAborted, true));
    }
}
