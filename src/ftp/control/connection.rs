//! Commands and replies.
//!
//! suppaftp speaks on the control connection; data connections are ours (`ftp/data/`), because they go to where the
//! control connection leads whatever the server says, and every step of them has a deadline.
//!
//! A connection is reusable only after a complete final reply to everything that was sent. Dropping any future of it
//! in between leaves it marked, and [`Control::is_reusable`] says no: it is thrown away then, never repaired.

use std::io;
use std::time::Duration;

use suppaftp::FtpError as SuppaError;
use suppaftp::tokio::ImplAsyncFtpStream;
use suppaftp::types::Response;

use super::answers::{belongs, denies_data};
use super::reply::Reply;
use super::transport::{ControlStream, Outbox, Tls};
use crate::ftp::error::FtpError;
use crate::net::deadline::within;
use crate::net::error::NetError;

/// Replies that announce another one, in a row: more is no answer.
const MAX_ANNOUNCED: usize = 10;

/// A control connection. One command at a time.
pub(crate) struct Control {
    client: ImplAsyncFtpStream<ControlStream>,
    /// What is sent beside suppaftp.
    outbox: Outbox,
    tls: Option<Tls>,
    pub(crate) timeout: Duration,
    /// Something was sent whose final reply is not in yet, or the answers are of no use any more.
    pub(crate) pending: bool,
    /// Where the last `CWD` led to, as it was sent; `None` where there was none, and the server stands where its
    /// login put it.
    pub(crate) cwd: Option<Vec<u8>>,
    /// The type is ASCII, which listings may want and files must not have.
    is_text: bool,
}

impl Control {
    /// A connection whose greeting was read.
    pub(crate) async fn new(
        mut client: ImplAsyncFtpStream<ControlStream>,
        outbox: Outbox,
        tls: Option<Tls>,
        timeout: Duration,
    ) -> Self {
        client.set_encoding(WireEncoding).await;
        Self { client, outbox, tls, timeout, pending: false, cwd: None, is_text: false }
    }

    /// What the server said when it was reached.
    pub(crate) fn greeting(&self) -> &str {
        self.client.get_welcome_msg().unwrap_or_default()
    }

    /// What encrypts this connection, and its data connections.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Returns whether the type is ASCII now.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Returns whether the connection can carry another command.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.pending
    }

    /// Sends `line` (without its line end) and reads its final reply, whatever the code.
    ///
    /// # Errors
    ///
    /// When the connection breaks, nothing comes in time, or what comes belongs to another command. Cancelled or
    /// failed, the session is not reusable.
    pub(crate) async fn command(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.exchange(step, line).await?;
        self.final_after(step, reply).await
    }

    /// The same with the first reply, which may say that the transfer begins.
    pub(crate) async fn exchange(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
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
    pub(crate) async fn final_after(
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
    pub(crate) fn fitting(&mut self, step: &'static str, reply: Reply) -> Result<Reply, FtpError> {
        if !belongs(step, reply.code) {
            self.pending = true;
            return Err(FtpError::OutOfStep { step, reply });
        }
        self.pending = reply.is_preliminary() || reply.code == 421 || denies_data(step, &reply);
        Ok(reply)
    }

    /// Like [`Self::command`], and refuses every answer but 2xx.
    pub(crate) async fn require(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.command(step, line).await?;
        if reply.is_done() { Ok(reply) } else { Err(FtpError::Refused { step, reply }) }
    }

    /// Sets the type of what is transferred, where it is another (RFC 959 section 3.1.1).
    pub(crate) async fn set_type(&mut self, text: bool) -> Result<(), FtpError> {
        if self.is_text != text {
            self.require("TYPE", if text { b"TYPE A" } else { b"TYPE I" }).await?;
            self.is_text = text;
        }
        Ok(())
    }

    /// Sends a line beside suppaftp, before the next reply is waited for; its own reply is asked for with
    /// [`Self::next_reply`].
    pub(crate) fn push(&mut self, line: &[u8]) {
        self.pending = true;
        self.outbox.push(line);
    }

    /// Logs out, as far as the server answers within `limit`, so that no stale login is left at the server.
    pub(crate) async fn quit(mut self, limit: Duration) {
        if self.is_reusable() {
            // whatever comes back, the connection is closed next
            drop(tokio::time::timeout(limit, self.command("QUIT", b"QUIT")).await);
        }
    }

    /// The next reply to what was sent beside suppaftp.
    pub(crate) async fn next_reply(&mut self, step: &'static str) -> Result<Reply, FtpError> {
        reply_of(step, within(step, self.timeout, self.client.read_response_in(&[])).await?)
    }
}

/// suppaftp looks at its own commands so.
pub(crate) fn is_one_line(line: &[u8]) -> bool {
    !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// suppaftp checks nothing for us: each reply comes as an answer, whatever its code.
pub(crate) fn reply_of(step: &'static str, answer: Result<Response, SuppaError>) -> Result<Reply, FtpError> {
    match answer {
        Ok(response) | Err(SuppaError::UnexpectedResponse(response)) => Ok(Reply::from_body(response.body)),
        Err(SuppaError::ConnectionError(cause)) => Err(FtpError::Net(NetError::Lost { step, cause })),
        Err(SuppaError::SecureError(text)) => Err(FtpError::Tls(text)),
        Err(other) => Err(FtpError::Net(NetError::Lost { step, cause: io::Error::other(other.to_string()) })),
    }
}

/// Wire bytes as suppaftp takes them: one character for each byte, see [`WireEncoding`].
fn wire_text(wire: &[u8]) -> String {
    wire.iter().copied().map(char::from).collect()
}

/// Gives suppaftp's text back to the wire byte for byte. Names are decoded by us alone, so that one which is
/// invalid in the server's encoding can still be fetched.
#[derive(Debug)]
struct WireEncoding;

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
