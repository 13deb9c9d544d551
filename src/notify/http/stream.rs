//! The connection beneath awc: brings up TLS, lets only the final head of each answer pass ([`super::head`]), and says
//! whether a connection that was used before died before anything of the answer came.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::head::{self, Head, MAX_HEAD};
use crate::base::blocking::{Threads, run_blocking};
use crate::net::socket::Socket;

/// Read at a time while a head is awaited.
const BLOCK: usize = 4096;
/// Addresses of the host that are tried.
const MAX_ADDRESSES: usize = 8;
/// Look-ups of the host's name. The resolver of the system cannot be cancelled, and may hang for minutes.
static LOOK_UPS: Threads = Threads::new("resolver", 64);

/// Why no answer came, once there was a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The host had closed a connection that was idle. Nothing of an answer came, so the call may be made once more.
    #[error("the host closed the connection, which was used before, without an answer")]
    Idle,
    /// The host closed a new connection.
    #[error("the host closed the connection without an answer")]
    Closed,
    /// It closed it after the first bytes.
    #[error("the host closed the connection amid the head of its answer")]
    Amid,
    /// What came is something else.
    #[error("the host does not speak HTTP: its answer begins {0:?}")]
    Foreign(String),
    /// A head without end.
    #[error("the head of the answer is longer than {} kB", MAX_HEAD / 1024)]
    TooLong,
    /// The system's words.
    #[error("the connection broke before an answer: {0}")]
    Io(io::Error),
}

/// Where a conversation stands.
enum Stage {
    /// Nothing was asked, or the head is through: bytes pass as they are.
    Open,
    /// So much of the answer's head is there.
    Awaiting(Vec<u8>),
    /// The head to pass on, and what came behind it.
    Passing(Vec<u8>, usize),
}

/// See the module.
pub(super) struct HttpStream {
    socket: Socket,
    stage: Stage,
    requests: u64,
    /// Something of the answer came, be it only the announcement of one.
    got: bool,
}

impl HttpStream {
    fn new(socket: Socket) -> Self {
        Self { socket, stage: Stage::Open, requests: 0, got: false }
    }

    fn broken(&self, error: Option<io::Error>) -> io::Error {
        let broken = match error {
            _ if self.requests > 1 && !self.got => Broken::Idle,
            Some(error) => Broken::Io(error),
            None if self.got => Broken::Amid,
            None => Broken::Closed,
        };
        io::Error::other(broken)
    }

    /// Goes on with the head. `None` where more of it must come.
    fn advance(&mut self) -> Option<Result<(), Broken>> {
        let Stage::Awaiting(bytes) = &mut self.stage else { return Some(Ok(())) };
        loop {
            match head::read(bytes) {
                Head::Interim(length) => drop(bytes.drain(..length)),
                Head::Partial if bytes.len() < MAX_HEAD => return None,
                Head::Partial => return Some(Err(Broken::TooLong)),
                Head::Foreign => {
                    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    let shown = String::from_utf8_lossy(first).trim().chars().take(80).collect();
                    return Some(Err(Broken::Foreign(shown)));
                }
                Head::Final(length, mut head) => {
                    head.extend(bytes.drain(length..));
                    self.stage = Stage::Passing(head, 0);
                    return Some(Ok(()));
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(done) = self.advance() {
                return Poll::Ready(done.map_err(io::Error::other));
            }
            let mut block = [0; BLOCK];
            let mut block = ReadBuf::new(&mut block);
            let read = Pin::new(&mut self.socket).poll_read(cx, &mut block);
            match std::task::ready!(read) {
                Err(error) => return Poll::Ready(Err(self.broken(Some(error)))),
                Ok(()) if block.filled().is_empty() => return Poll::Ready(Err(self.broken(None))),
                Ok(()) => {}
            }
            self.got = true;
            if let Stage::Awaiting(bytes) = &mut self.stage {
                bytes.extend_from_slice(block.filled());
            }
        }
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.stage, Stage::Awaiting(_)) {
            std::task::ready!(this.poll_head(cx))?;
        }
        let Stage::Passing(bytes, at) = &mut this.stage else {
            return Pin::new(&mut this.socket).poll_read(cx, buffer);
        };
        let rest = bytes.get(*at..).unwrap_or_default();
        let now = rest.get(..buffer.remaining().min(rest.len())).unwrap_or_default();
        buffer.put_slice(now);
        *at += now.len();
        if *at >= bytes.len() {
            this.stage = Stage::Open;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.stage, Stage::Awaiting(_)) {
            this.stage = Stage::Awaiting(Vec::new());
            this.requests += 1;
            this.got = false;
        }
        let written = std::task::ready!(Pin::new(&mut this.socket).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| this.broken(Some(error))))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = std::task::ready!(Pin::new(&mut this.socket).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| this.broken(Some(error))))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl ActixStream for HttpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.socket.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.socket.tcp(), cx)
    }
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStream").field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// Connects to one host, and speaks TLS there where the URL says so.
#[derive(Clone)]
pub(super) struct HttpConnector {
    host: Host<String>,
    port: u16,
    tls: Option<TlsConnector>,
    limit: Duration,
}

impl HttpConnector {
    /// To the host of `url`, within `limit`. The configuration lets none pass that has no host.
    pub(super) fn to(url: &Url, tls: Option<ClientConfig>, limit: Duration) -> Self {
        let host = url.host().map_or_else(|| Host::Domain(String::new()), |host| host.to_owned());
        let port = url.port_or_known_default().unwrap_or_default();
        Self { host, port, tls: tls.map(|tls| TlsConnector::from(Arc::new(tls))), limit }
    }

    async fn open(self) -> io::Result<HttpStream> {
        let stream = self.connect().await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls else { return Ok(HttpStream::new(Socket::Plain(stream))) };
        let name = match self.host {
            Host::Domain(name) => {
                ServerName::try_from(name).map_err(|error| io::Error::other(error.to_string()))?
            }
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
        };
        let secured = tls.connect(name, stream).await;
        let secured = secured.map_err(|error| io::Error::new(error.kind(), format!("TLS fails: {error}")))?;
        Ok(HttpStream::new(Socket::Tls(Box::new(secured))))
    }

    /// Each address has its part of the time, so that one that hangs leaves some to the others.
    async fn connect(&self) -> io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = match &self.host {
            Host::Domain(name) => look_up(name.clone(), self.port).await?,
            Host::Ipv4(address) => vec![(*address, self.port).into()],
            Host::Ipv6(address) => vec![(*address, self.port).into()],
        };
        let mut last = io::Error::other("its name has no address");
        let parts = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        for address in addresses {
            match tokio::time::timeout(self.limit / parts, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

/// The first addresses of a host; the caller has the deadline.
async fn look_up(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let look = move || Ok((name.as_str(), port).to_socket_addrs()?.take(MAX_ADDRESSES).collect());
    run_blocking(&LOOK_UPS, look).await.map_err(io::Error::other)?
}

impl Service<ConnectInfo<Uri>> for HttpConnector {
    type Response = Connection<Uri, HttpStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let (connector, uri) = (self.clone(), info.request().clone());
        Box::pin(async move {
            let stream = connector.open().await.map_err(ConnectError::Io)?;
            Ok(Connection::new(uri, stream))
        })
    }
}
