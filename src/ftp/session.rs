//! One logged-in connection to a server: commands, replies, and the data connections that we open ourselves.
//!
//! suppaftp speaks on the control connection; data connections are ours, because they go to the address of the
//! control connection whatever the server says, and every step of them has a deadline.
//!
//! A session is reusable only after a complete final reply to everything that was sent. Dropping any future of it
//! in between leaves it marked, and [`Session::is_reusable`] says no: it is thrown away then, never repaired.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use encoding_rs::Encoding;
use suppaftp::FtpError as SuppaError;
use suppaftp::tokio::ImplAsyncFtpStream;
use suppaftp::types::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ahead::EarlyPort;
use super::connect::Learned;
use super::error::FtpError;
use super::pace::Speed;
use super::reply::Reply;
use super::transport::{ControlStream, Outbox, Socket, Tls};
use crate::config::ListingMode;
use crate::names::RemotePath;

/// A logged-in control connection. One operation at a time.
pub struct Session {
    pub(super) client: ImplAsyncFtpStream<ControlStream>,
    /// What is sent beside suppaftp.
    pub(super) outbox: Outbox,
    /// Opened by the server at the end of the transfer before.
    pub(super) early_port: Option<EarlyPort>,
    /// Where the control connection leads, and so where every data connection goes.
    pub(super) peer: IpAddr,
    pub(super) tls: Option<Tls>,
    pub(super) timeout: Duration,
    pub(super) speed: Speed,
    pub(super) encoding: &'static Encoding,
    pub(super) listing: ListingMode,
    pub(super) learned: Rc<Learned>,
    /// Something was sent whose final reply is not in yet.
    pub(super) pending: bool,
    /// For received data, kept across files.
    pub(super) buffer: Vec<u8>,
}

/// An open data connection and what the server said when it opened.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) socket: Socket,
    /// The final reply, where it came without a preliminary one.
    early: Option<Reply>,
}

impl Session {
    /// Whether the connection can carry another command.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        !self.pending
    }

    /// The address that the session is connected to.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Sends `line` (without its line end) and reads one reply, whatever its code.
    ///
    /// # Errors
    ///
    /// When the connection breaks or nothing comes in time. Cancelled or failed, the session is not reusable.
    pub(super) async fn command(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        self.pending = true;
        let command = wire_text(line);
        let answer = within(step, self.timeout, self.client.custom_command(command, &[])).await?;
        let reply = reply_of(step, answer)?;
        // after 421 the server closes the connection (RFC 959 section 4.2)
        self.pending = reply.is_preliminary() || reply.code == 421;
        Ok(reply)
    }

    /// Like [`Self::command`], and refuses every answer but 2xx.
    pub(super) async fn require(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.command(step, line).await?;
        if reply.is_done() { Ok(reply) } else { Err(FtpError::Refused { step, reply }) }
    }

    /// The size of a file as SIZE says it (RFC 3659 section 4), or `None` where the server does not tell.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn size(&mut self, path: &[u8]) -> Result<Option<u64>, FtpError> {
        let reply = self.command("SIZE", &[b"SIZE ", path].concat()).await?;
        Ok(if reply.is_done() { reply.size() } else { None })
    }

    /// Asks for a sign of life; keeps the login from timing out on the server.
    ///
    /// # Errors
    ///
    /// When the connection broke since it was last used.
    pub async fn noop(&mut self) -> Result<(), FtpError> {
        self.command("NOOP", b"NOOP").await.map(drop)
    }

    /// Logs out, as far as the server answers within `limit`, so that no stale login is left at the server.
    pub async fn quit(mut self, limit: Duration) {
        if self.is_reusable() {
            // whatever comes back, the connection is closed next
            drop(tokio::time::timeout(limit, self.command("QUIT", b"QUIT")).await);
        }
    }

    /// Opens a data connection and sends `line`, preceded by REST where `offset` is not zero.
    pub(super) async fn open_transfer(
        &mut self,
        step: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<Data, FtpError> {
        let (stream, was_early) = self.connect_data(step).await?;
        let opened = self.open_on(stream, step, line, offset).await;
        match &opened {
            Ok(_) if was_early => self.learned.early_passive.went_well(),
            // a refusal is about the file, or about the login, unless it says that there is no data connection
            Err(FtpError::Refused { reply, .. }) if !matches!(reply.code, 425 | 503) => {}
            Err(error) if was_early => {
                self.learned.early_passive.went_wrong(error);
                self.pending = true;
                return Err(out_of_step(step, error));
            }
            _ => {}
        }
        opened
    }

    async fn open_on(
        &mut self,
        stream: TcpStream,
        step: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<Data, FtpError> {
        if offset > 0 {
            let reply = self.command("REST", format!("REST {offset}").as_bytes()).await?;
            if reply.code != 350 {
                return Err(FtpError::Refused { step: "REST", reply });
            }
        }
        let Some(tls) = self.tls.clone() else {
            let early = self.begin(step, line).await?;
            return Ok(Data { socket: Socket::Plain(stream), early });
        };
        // the handshake travels together with the command, which saves a round trip
        let timeout = self.timeout;
        let handshake = within(step, timeout, tls.connect(stream));
        let (begun, secured) = {
            let begin = self.begin(step, line);
            tokio::pin!(begin, handshake);
            tokio::select! {
                begun = &mut begin => {
                    let early = begun?;
                    (early, handshake.await)
                }
                secured = &mut handshake => (begin.await?, secured),
            }
        };
        let socket = secured?.map_err(|cause| FtpError::Data { step, cause })?;
        Ok(Data { socket: Socket::Tls(Box::new(socket)), early: begun })
    }

    /// Sends the transfer command. The answer is the final reply where it came at once.
    async fn begin(&mut self, step: &'static str, line: &[u8]) -> Result<Option<Reply>, FtpError> {
        let reply = self.command(step, line).await?;
        if reply.is_preliminary() {
            Ok(None)
        } else if reply.is_done() {
            Ok(Some(reply))
        } else {
            Err(FtpError::Refused { step, reply })
        }
    }

    /// Closes the data connection and reads the final reply: vsftpd and ProFTPD send it only then. With `ask_early`
    /// the port for the next transfer is asked for in the same round trip, where the server bears it.
    pub(super) async fn end_transfer(
        &mut self,
        step: &'static str,
        data: Data,
        ask_early: bool,
    ) -> Result<Reply, FtpError> {
        let Data { mut socket, early } = data;
        if let Socket::Tls(_) = socket {
            // close_notify, which vsftpd with TLS 1.3 insists on; a server that is gone already does not mind
            drop(within(step, self.timeout, socket.shutdown()).await);
        }
        drop(socket);
        if let Some(reply) = early {
            return Ok(reply);
        }
        let extended = self.learned.extended_passive.get().filter(|_| ask_early);
        let asked = extended.filter(|_| self.learned.early_passive.may_ask());
        if let Some(extended) = asked {
            self.outbox.push(passive_command(extended).0.as_bytes());
        }
        let outcome = match self.next_reply(step).await {
            Ok(reply) if reply.is_done() && !matches!(reply.code, 227 | 229) => Ok(reply),
            // some servers send 426 and then 226: what follows cannot be told, so the session stays marked
            Ok(reply) => Err(FtpError::Refused { step, reply }),
            Err(error) => Err(error),
        };
        match (outcome, asked) {
            (Ok(reply), None) => {
                self.pending = false;
                Ok(reply)
            }
            (Ok(reply), Some(extended)) => {
                self.take_early_port(extended).await;
                Ok(reply)
            }
            (Err(error), None) => Err(error),
            (Err(error), Some(_)) => {
                self.learned.early_passive.went_wrong(&error);
                Err(out_of_step(step, &error))
            }
        }
    }

    /// Makes `path` the current directory, and asks for the port of the listing that follows in the same round trip
    /// where the server handles one command after the other.
    pub(super) async fn enter(&mut self, path: &RemotePath) -> Result<(), FtpError> {
        let line = [b"CWD ", path.wire()].concat();
        let extended = self.learned.extended_passive.get();
        let together =
            extended.filter(|_| self.early_port.is_none() && self.learned.early_passive.is_in_order());
        let Some(extended) = together.filter(|_| is_one_line(&line)) else {
            return self.require("CWD", &line).await.map(drop);
        };
        self.pending = true;
        self.outbox.push(&line);
        self.outbox.push(passive_command(extended).0.as_bytes());
        let reply = self.next_reply("CWD").await?;
        if reply.code == 421 {
            return Err(FtpError::Refused { step: "CWD", reply });
        }
        self.take_early_port(extended).await;
        match (self.pending, reply.is_done()) {
            (true, _) => Err(out_of_step("CWD", &FtpError::Refused { step: "CWD", reply })),
            (false, true) => Ok(()),
            (false, false) => Err(FtpError::Refused { step: "CWD", reply }),
        }
    }

    /// Reads the answer to the port that was asked for early. Whatever it is, the transfer before it has ended well;
    /// a session that does not answer as it should stays marked.
    async fn take_early_port(&mut self, extended: bool) {
        let (step, code) = passive_command(extended);
        let answer = self.next_reply(step).await;
        let port = match &answer {
            Ok(reply) if reply.code == code => passive_port(reply, extended),
            _ => None,
        };
        match (port, answer) {
            (Some(port), _) => {
                self.early_port = Some(EarlyPort::new(port));
                self.pending = false;
            }
            (None, Ok(reply)) => self.learned.early_passive.went_wrong(&reply),
            (None, Err(error)) => self.learned.early_passive.went_wrong(&error),
        }
    }

    async fn next_reply(&mut self, step: &'static str) -> Result<Reply, FtpError> {
        reply_of(step, within(step, self.timeout, self.client.read_response_in(&[])).await?)
    }

    /// Asks a server that did not say in its greeting what it is, so that those which are known to answer out of
    /// order are never asked early.
    pub(super) async fn learn_name(&mut self) -> Result<(), FtpError> {
        if self.learned.early_passive.wants_a_name() {
            let reply = self.command("HELP", b"HELP").await?;
            self.learned.early_passive.named(&String::from_utf8_lossy(&reply.body));
            self.learned.early_passive.stays_unnamed();
        }
        Ok(())
    }

    /// PASV (RFC 959) or EPSV (RFC 2428), then TCP to the control connection's peer; whether the port was opened
    /// early.
    async fn connect_data(&mut self, step: &'static str) -> Result<(TcpStream, bool), FtpError> {
        if let Some(port) = self.early_port.take().and_then(EarlyPort::usable) {
            match self.connect_to(step, port).await {
                Ok(stream) => return Ok((stream, true)),
                Err(error) => self.learned.early_passive.went_wrong(&error),
            }
        }
        let port = self.passive_port(step).await?;
        Ok((self.connect_to(step, port).await?, false))
    }

    async fn connect_to(&self, step: &'static str, port: u16) -> Result<TcpStream, FtpError> {
        let stream = within(step, self.timeout, TcpStream::connect(SocketAddr::new(self.peer, port))).await?;
        stream.map_err(|cause| FtpError::Data { step, cause })
    }

    /// PASV first on IPv4 and EPSV first on IPv6; what the server refuses for good is not asked again.
    async fn passive_port(&mut self, step: &'static str) -> Result<u16, FtpError> {
        let extended_first = self.learned.extended_passive.get().unwrap_or(self.peer.is_ipv6());
        let mut refusal = None;
        for extended in [extended_first, !extended_first] {
            let (command, code) = passive_command(extended);
            let reply = self.command(command, command.as_bytes()).await?;
            let port = match reply.code == code {
                true => passive_port(&reply, extended),
                false if reply.code / 100 != 5 => return Err(FtpError::Refused { step: command, reply }),
                false => None,
            };
            if let Some(port) = port {
                self.learned.extended_passive.set(Some(extended));
                return Ok(port);
            }
            refusal = refusal.or(Some((command, reply)));
        }
        Err(match refusal {
            Some((command, reply)) => FtpError::Refused { step: command, reply },
            None => FtpError::Data { step, cause: io::ErrorKind::Unsupported.into() },
        })
    }
}

impl Data {
    /// Reads into `buffer`; 0 is the end. `clean` turns false when TLS ended without saying so.
    pub(super) async fn read(
        &mut self,
        step: &'static str,
        timeout: Duration,
        buffer: &mut [u8],
        clean: &mut bool,
    ) -> Result<usize, FtpError> {
        match within(step, timeout, self.socket.read(buffer)).await? {
            Ok(read) => Ok(read),
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                *clean = false;
                Ok(0)
            }
            Err(cause) => Err(FtpError::Data { step, cause }),
        }
    }
}

/// The command that opens a data port, and the code of its answer.
fn passive_command(extended: bool) -> (&'static str, u16) {
    if extended { ("EPSV", 229) } else { ("PASV", 227) }
}

/// suppaftp looks at its own commands so.
fn is_one_line(line: &[u8]) -> bool {
    !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn passive_port(reply: &Reply, extended: bool) -> Option<u16> {
    if extended { reply.epsv_port() } else { reply.pasv_port() }
}

/// What is wrong may be that replies and commands do not belong together: nothing is said against the file, and
/// another session is tried.
fn out_of_step(step: &'static str, error: &FtpError) -> FtpError {
    FtpError::Lost { step, cause: io::Error::other(format!("after an early PASV: {error}")) }
}

/// Gives `work` as long as the server may be silent.
pub(crate) async fn within<T>(
    step: &'static str,
    after: Duration,
    work: impl Future<Output = T>,
) -> Result<T, FtpError> {
    let done = tokio::time::timeout(after, work).await.map_err(|_| FtpError::Timeout { step, after })?;
    crate::pulse::beat();
    Ok(done)
}

/// suppaftp checks nothing for us: each reply comes as an answer, whatever its code.
pub(super) fn reply_of(step: &'static str, answer: Result<Response, SuppaError>) -> Result<Reply, FtpError> {
    match answer {
        Ok(response) | Err(SuppaError::UnexpectedResponse(response)) => Ok(Reply::from_body(response.body)),
        Err(SuppaError::ConnectionError(cause)) => Err(FtpError::Lost { step, cause }),
        Err(SuppaError::SecureError(text)) => Err(FtpError::Tls(text)),
        Err(other) => Err(FtpError::Lost { step, cause: io::Error::other(other.to_string()) }),
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
