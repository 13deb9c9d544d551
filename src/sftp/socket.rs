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
        Some(shown(&greeting)).filter(|text| !is_ssh && !text.is_empty())
    }
}

impl Cut {
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
