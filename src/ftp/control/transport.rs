//! The control connection beneath suppaftp: TCP or TLS, with every reply repaired on its way in.
//!
//! suppaftp takes a foreign stream through its connector trait. [`ControlConnector`] is handed the fresh TCP
//! connection, brings TLS up where it is asked for, and gives back a [`ControlStream`].

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName as TlsName;
use suppaftp::tokio::{AsyncTlsConnector, TokioTlsStream};
use suppaftp::{FtpError as SuppaError, FtpResult};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reply::{Reply, ReplyRepair};
use crate::config::TlsMode;
use crate::ftp::error::{FtpError, refused_login};
use crate::net::route::Route;
use crate::net::socket::Socket;

/// Bytes read from the control connection at a time.
const READ_SIZE: usize = 2048;

/// TLS for one control connection and its data connections: session tickets are never shared with another login,
/// because ProFTPD refuses a data connection that resumes the session of another control connection.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: TlsName<'static>,
    /// What the control connection speaks.
    version: Arc<OnceLock<&'static str>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS towards `name` with a session store of its own.
    #[must_use]
    pub fn new(config: ClientConfig, name: TlsName<'static>) -> Self {
        Self { connector: TlsConnector::from(Arc::new(config)), name, version: Arc::default() }
    }

    /// Shakes hands over `stream`.
    ///
    /// # Errors
    ///
    /// The system's or rustls' own, as an `io::Error`.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        self.version.get_or_init(|| match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        });
        Ok(stream)
    }

    /// The version that the first connection agreed on, which is the control connection.
    pub fn version(&self) -> Option<&'static str> {
        self.version.get().copied()
    }
}

/// Commands that are sent without suppaftp, which waits for a reply after each of its own. They leave when the
/// next reply is read.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<u8>>>);

impl Outbox {
    /// Sends `line` and its line end before the next reply is waited for.
    pub fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        queue.extend_from_slice(line);
        queue.extend_from_slice(b"\r\n");
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// What suppaftp reads from and writes to.
#[derive(Debug)]
pub struct ControlStream {
    socket: Socket,
    outbox: Outbox,
    repair: ReplyRepair,
    /// Repaired bytes that suppaftp has not read yet, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    /// The command on its way out, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
}

impl ControlStream {
    fn new(socket: Socket, outbox: Outbox) -> Self {
        Self {
            socket,
            outbox,
            repair: ReplyRepair::before_greeting(),
            ready: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
        }
    }

    /// Writes what is left of the command on its way out.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        // suppaftp never flushes; a TLS record must not wait for the next command
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let part = rest.get(..rest.len().min(buf.remaining())).unwrap_or_default();
        let given = part.len();
        buf.put_slice(part);
        self.taken += given;
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        given > 0
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.outgoing.is_empty() {
            this.outgoing = this.outbox.take();
        }
        if !this.outgoing.is_empty() {
            ready!(this.poll_send(cx))?;
        }
        while !this.give(buf) && buf.remaining() > 0 {
            let mut space = [0_u8; READ_SIZE];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
            this.repair.feed(read.filled(), &mut this.ready).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // whoever was told to wait comes again with the same command
        if this.outgoing.is_empty() {
            this.outgoing = undouble(buf);
        }
        ready!(this.poll_send(cx))?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl TokioTlsStream for ControlStream {
    type InnerStream = Self;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        match self.socket {
            Socket::Plain(stream) => Ok(stream),
            Socket::Tls(stream) => Ok(stream.into_inner().0),
        }
    }

    fn get_ref(&self) -> &TcpStream {
        self.socket.tcp()
    }

    fn mut_ref(&mut self) -> &mut Self {
        self
    }
}

/// What is learnt of the way while connecting, which suppaftp would swallow.
#[derive(Debug, Clone, Default)]
pub struct ConnectState(Arc<Mutex<Reached>>);

#[derive(Debug, Default)]
pub(crate) enum Reached {
    /// Not at the server yet.
    #[default]
    Ahead,
    /// The proxy has led no further.
    Blocked(io::Error),
    /// At the server, from this address of ours.
    Through(IpAddr),
}

impl ConnectState {
    /// Notes how far it has come.
    pub(crate) fn set(&self, state: Reached) {
        *self.0.lock() = state;
    }

    /// Our end of a connection that has reached the server; or why it has not, as far as that is known.
    pub(crate) fn end(&self) -> Result<IpAddr, Option<io::Error>> {
        match std::mem::take(&mut *self.0.lock()) {
            Reached::Through(local) => Ok(local),
            Reached::Blocked(error) => Err(Some(error)),
            Reached::Ahead => Err(None),
        }
    }
}

/// Makes the control stream out of a fresh TCP connection. Explicit TLS is negotiated here, so that the greeting
/// and the answer to AUTH are repaired like every other reply.
#[derive(Debug)]
pub struct ControlConnector {
    /// `None` exactly where the mode is off.
    pub tls: Option<(TlsMode, Tls)>,
    /// What is sent beside suppaftp.
    pub outbox: Outbox,
    /// By which way the server is reached, and its port.
    pub route: (Route, u16),
    /// Filled by the connection.
    pub way: ConnectState,
}

#[async_trait::async_trait]
impl AsyncTlsConnector for ControlConnector {
    type Stream = ControlStream;

    async fn connect(&self, _domain: &str, stream: TcpStream) -> FtpResult<ControlStream> {
        let local = stream.local_addr().map_err(SuppaError::ConnectionError)?.ip();
        let (route, port) = &self.route;
        let stream = match route.go_on(stream, *port).await {
            Ok(stream) => stream,
            Err(error) => {
                let said = SuppaError::SecureError(error.to_string());
                self.way.set(Reached::Blocked(error));
                return Err(said);
            }
        };
        self.way.set(Reached::Through(local));
        prepare(&stream).map_err(SuppaError::ConnectionError)?;
        match &self.tls {
            Some((TlsMode::Implicit, tls)) => {
                let stream = tls.connect(stream).await.map_err(secure)?;
                Ok(ControlStream::new(Socket::Tls(Box::new(stream)), self.outbox.clone()))
            }
            Some((TlsMode::Explicit, tls)) => explicit(tls, stream, self.outbox.clone()).await,
            _ => Ok(ControlStream::new(Socket::Plain(stream), self.outbox.clone())),
        }
    }
}

/// No delay for the small commands; keepalive because a long transfer leaves the control connection silent, and
/// routers forget silent connections.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(std::time::Duration::from_secs(60))
        .with_interval(std::time::Duration::from_secs(15));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Greeting, AUTH TLS, handshake (RFC 4217 section 4). The greeting is handed on to suppaftp afterwards.
async fn explicit(tls: &Tls, stream: TcpStream, outbox: Outbox) -> FtpResult<ControlStream> {
    let mut plain = ControlStream::new(Socket::Plain(stream), Outbox::default());
    let greeting = read_reply(&mut plain).await?;
    if !greeting.is_done() {
        return Err(refused(greeting));
    }
    ask_for_tls(&mut plain).await?;
    // whatever was sent in the clear behind the 234 is dropped with `plain`, as RFC 4217 section 15 asks
    let Socket::Plain(stream) = plain.socket else {
        return Err(SuppaError::SecureError("the connection is encrypted already".to_owned()));
    };
    let stream = tls.connect(stream).await.map_err(secure)?;
    let mut secured = ControlStream::new(Socket::Tls(Box::new(stream)), outbox);
    secured.repair = ReplyRepair::default();
    secured.ready = greeting.body;
    Ok(secured)
}

/// AUTH TLS, or by its name of before the RFC where that is not known. 234 by RFC 2228; 334 from some old servers, 200
/// from VxWorks and others: whether the server means it, the handshake shows. A refusal never leads to a plain login.
async fn ask_for_tls(plain: &mut ControlStream) -> FtpResult<()> {
    let mut refusal = None;
    for line in ["AUTH TLS\r\n", "AUTH SSL\r\n"] {
        plain.write_all(line.as_bytes()).await.map_err(SuppaError::ConnectionError)?;
        let answer = read_reply(plain).await?;
        if answer.is_done() || answer.code == 334 {
            return Ok(());
        }
        let is_unknown = matches!(answer.code, 500..=504);
        let answer = refusal.get_or_insert(answer);
        if !is_unknown {
            return Err(auth_refused(answer));
        }
    }
    Err(refusal.as_ref().map_or(SuppaError::BadResponse, auth_refused))
}

fn auth_refused(reply: &Reply) -> SuppaError {
    match refused_login(reply.clone(), "AUTH TLS") {
        FtpError::TooManyLogins(reply) => refused(reply),
        _ => {
            let words = "AUTH TLS is refused, and nothing is sent in the clear";
            SuppaError::SecureError(format!("{words}: {reply}"))
        }
    }
}

async fn read_reply(stream: &mut ControlStream) -> FtpResult<Reply> {
    let mut body = Vec::new();
    loop {
        let byte = stream.read_u8().await.map_err(SuppaError::ConnectionError)?;
        body.push(byte);
        if byte == b'\n' && is_complete(&body) {
            return Ok(Reply::from_body(body));
        }
        if body.len() > suppaftp_reply_limit() {
            return Err(SuppaError::BadResponse);
        }
    }
}

/// suppaftp's own bound of a reply, held here as well for the replies read before it takes over.
const fn suppaftp_reply_limit() -> usize {
    256 * 1024
}

/// Repaired lines begin with a digit only where a reply begins or ends; `NNN-` begins.
fn is_complete(body: &[u8]) -> bool {
    let line = body.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    line.first().is_some_and(u8::is_ascii_digit) && line.get(3) != Some(&b'-')
}

fn refused(reply: Reply) -> SuppaError {
    SuppaError::UnexpectedResponse(suppaftp::types::Response::new(suppaftp::Status::Unknown, reply.body))
}

fn secure(error: io::Error) -> SuppaError {
    SuppaError::SecureError(error.to_string())
}

/// A command with each doubled 0xFF made single again. suppaftp doubles it, as Telnet asks (RFC 959 section 2.3.1);
/// ProFTPD takes it either way, vsftpd and Pure-FTPd would look for a name with two of them.
fn undouble(command: &[u8]) -> Vec<u8> {
    let mut single = Vec::with_capacity(command.len());
    let mut bytes = command.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        single.push(byte);
        if byte == 0xFF {
            bytes.next_if_eq(&0xFF);
        }
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_bytes_of_telnet_are_made_single_and_nothing_else_changes() {
        assert_eq!(undouble(b"RETR a\xff\xffb\xff\xff\xff\xff.zip\r\n"), b"RETR a\xffb\xff\xff.zip\r\n");
        assert_eq!(undouble(b"RETR \xd6\xd0.zip\r\n"), b"RETR \xd6\xd0.zip\r\n");
    }
}
