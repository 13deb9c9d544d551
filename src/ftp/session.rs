//! One logged-in connection to a server: commands and replies.
//!
//! suppaftp speaks on the control connection; data connections are ours (`ftp/data.rs`), because they go to where the
//! control connection leads whatever the server says, and every step of them has a deadline.
//!
//! A session is reusable only after a complete final reply to everything that was sent. Dropping any future of it
//! in between leaves it marked, and [`Session::is_reusable`] says no: it is thrown away then, never repaired.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use encoding_rs::Encoding;
use suppaftp::FtpError as SuppaError;
use suppaftp::tokio::ImplAsyncFtpStream;
use suppaftp::types::Response;

use super::connect::Learned;
use super::control::answers::{belongs, denies_data};
use super::control::reply::Reply;
use super::control::transport::{ControlStream, Outbox, Tls};
use super::data::active::Active;
use super::data::early::EarlyPort;
use super::error::FtpError;
use super::list::ways::Way;
use crate::base::names::RemotePath;
use crate::config::{ListingMode, PassiveCommand};
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::pace::Speed;
use crate::net::route::Route;
use crate::protocol::{Confirmation, FileReceiver, FileRequest, Listing, ProtocolError, Received, Summary};

/// Replies that announce another one, in a row: more is no answer.
const MAX_ANNOUNCED: usize = 10;

/// A logged-in control connection. One operation at a time.
pub struct Session {
    pub(super) client: ImplAsyncFtpStream<ControlStream>,
    /// What is sent beside suppaftp.
    pub(super) outbox: Outbox,
    /// Opened by the server at the end of the transfer before.
    pub(super) early_port: Option<EarlyPort>,
    /// The way of the control connection, and so of every data connection.
    pub(super) route: Route,
    /// Our end of the control connection.
    pub(super) local: IpAddr,
    /// Whether the server opens the data connections.
    pub(super) active: Option<Active>,
    pub(super) passive: PassiveCommand,
    pub(super) tls: Option<Tls>,
    pub(super) timeout: Duration,
    pub(super) speed: Speed,
    pub(super) encoding: &'static Encoding,
    pub(super) listing: ListingMode,
    pub(super) learned: Rc<Learned>,
    /// Something was sent whose final reply is not in yet, or the answers are of no use any more.
    pub(super) pending: bool,
    /// Where the last `CWD` led to, as it was sent; `None` where there was none, and the server stands where its
    /// login put it.
    pub(super) cwd: Option<Vec<u8>>,
    /// The type is ASCII, which listings may want and files must not have.
    pub(super) is_text: bool,
    /// How the last listing was asked for, until it is settled; `None` where that way holds for its directory alone.
    pub(super) listed_by: Option<Way>,
    /// For received data, kept across files.
    pub(super) buffer: Vec<u8>,
}

impl Session {
    /// Whether the connection can carry another command.
    pub(super) fn is_reusable(&self) -> bool {
        !self.pending
    }

    /// Sends `line` (without its line end) and reads its final reply, whatever the code.
    ///
    /// # Errors
    ///
    /// When the connection breaks, nothing comes in time, or what comes belongs to another command. Cancelled or
    /// failed, the session is not reusable.
    pub(super) async fn command(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.exchange(step, line).await?;
        self.final_after(step, reply).await
    }

    /// The same with the first reply, which may say that the transfer begins.
    pub(super) async fn exchange(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        self.pending = true;
        let command = wire_text(line);
        let answer = within(step, self.timeout, self.client.custom_command(command, &[])).await?;
        let reply = self.fitting(step, reply_of(step, answer)?)?;
        if let Some(path) = line.strip_prefix(b"CWD ").filter(|_| reply.is_done()) {
            self.cwd = Some(path.to_vec());
        }
        Ok(reply)
    }

    /// `reply`, or the one that it announces: a server that needs its time may say so (RFC 959 section 4.2).
    pub(super) async fn final_after(
        &mut self,
        step: &'static str,
        mut reply: Reply,
    ) -> Result<Reply, FtpError> {
        for _ in 0..MAX_ANNOUNCED {
            if !reply.is_preliminary() {
                break;
            }
            reply = self.next_reply(step).await?;
            reply = self.fitting(step, reply)?;
        }
        Ok(reply)
    }

    /// The session is of no use after an answer that belongs to another command, nor without data connections; and
    /// after 421 the server closes it (RFC 959 section 4.2).
    pub(super) fn fitting(&mut self, step: &'static str, reply: Reply) -> Result<Reply, FtpError> {
        if !belongs(step, reply.code) {
            self.pending = true;
            return Err(FtpError::OutOfStep { step, reply });
        }
        self.pending = reply.is_preliminary() || reply.code == 421 || denies_data(step, &reply);
        Ok(reply)
    }

    /// Like [`Self::command`], and refuses every answer but 2xx.
    pub(super) async fn require(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.command(step, line).await?;
        if reply.is_done() { Ok(reply) } else { Err(FtpError::Refused { step, reply }) }
    }

    /// Sets the type of what is transferred, where it is another (RFC 959 section 3.1.1).
    pub(super) async fn set_type(&mut self, text: bool) -> Result<(), FtpError> {
        if self.is_text != text {
            self.require("TYPE", if text { b"TYPE A" } else { b"TYPE I" }).await?;
            self.is_text = text;
        }
        Ok(())
    }

    /// Logs out, as far as the server answers within `limit`, so that no stale login is left at the server.
    pub(super) async fn quit(mut self, limit: Duration) {
        if self.is_reusable() {
            // whatever comes back, the connection is closed next
            drop(tokio::time::timeout(limit, self.command("QUIT", b"QUIT")).await);
        }
    }

    /// The next reply to what was sent beside suppaftp.
    pub(super) async fn next_reply(&mut self, step: &'static str) -> Result<Reply, FtpError> {
        reply_of(step, within(step, self.timeout, self.client.read_response_in(&[])).await?)
    }
}

#[async_trait(?Send)]
impl crate::protocol::Session for Session {
    fn is_reusable(&self) -> bool {
        Session::is_reusable(self)
    }

    /// That of the control connection.
    fn tls_version(&self) -> Option<&'static str> {
        self.tls.as_ref().and_then(Tls::version)
    }

    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError> {
        Ok(Session::size(self, path.wire()).await?)
    }

    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError> {
        Ok(Box::new(Session::list(self, path).await?))
    }

    async fn confirm_listing(
        &mut self,
        path: &RemotePath,
        summary: &Summary,
        expected: bool,
    ) -> Result<Confirmation, ProtocolError> {
        Ok(self.confirm(path, summary, expected).await?)
    }

    async fn fetch(
        &mut self,
        request: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError> {
        Ok(self.download(request, receiver).await?)
    }

    async fn quit(self: Box<Self>, limit: Duration) {
        Session::quit(*self, limit).await;
    }
}

/// suppaftp looks at its own commands so.
pub(super) fn is_one_line(line: &[u8]) -> bool {
    !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// suppaftp checks nothing for us: each reply comes as an answer, whatever its code.
pub(super) fn reply_of(step: &'static str, answer: Result<Response, SuppaError>) -> Result<Reply, FtpError> {
    match answer {
        Ok(response) | Err(SuppaError::UnexpectedResponse(response)) => Ok(Reply::from_body(response.body)),
        Err(SuppaError::ConnectionError(cause)) => Err(FtpError::Net(NetError::Lost { step, cause })),
        Err(SuppaError::SecureError(text)) => Err(FtpError::Tls(text)),
        Err(other) => Err(FtpError::Net(NetError::Lost { step, cause: io::Error::other(other.to_string()) })),
    }
}

/// Wire bytes as suppaftp takes them: one character for each byte, see [`WireEncoding`].
pub(super) fn wire_text(wire: &[u8]) -> String {
    wire.iter().copied().map(char::from).collect()
}

/// Gives suppaftp's text back to the wire byte for byte. Names are decoded by us alone, so that one which is
/// invalid in the server's encoding can still be fetched.
#[derive(Debug)]
pub(super) struct WireEncoding;

impl suppaftp::Encoding for WireEncoding {
    fn decode(&self, bytes: &[u8]) -> String {
        wire_text(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        text.chars()
            .map(|c| u8::try_from(c).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput)))
            .collect()
    }
}
