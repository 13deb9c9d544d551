//! Data connections: one for each listing and each file, opened by whoever the mode says, encrypted as the control
//! connection is, and closed before the server's verdict is read.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::active::{Active, OpenPort};
use super::passive::{Passive, out_of_step, passive_command};
use crate::ftp::control::connection::Control;
use crate::ftp::control::reply::Reply;
use crate::ftp::control::transport::Tls;
use crate::ftp::error::FtpError;
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::pace::Speed;
use crate::net::socket::Socket;

/// An open data connection and what the server said when it opened.
#[derive(Debug)]
pub(crate) struct Data {
    /// `None` where the server closed it before TLS began, and called that complete.
    socket: Option<Socket>,
    /// The final reply, where it came without a preliminary one.
    early: Option<Reply>,
}

/// A data connection on its way.
enum Channel {
    /// It leads to the server already.
    Open(TcpStream),
    /// The server is to connect once the command is sent.
    Awaited(OpenPort),
}

impl Channel {
    async fn open(self, step: &'static str, timeout: Duration, tls: Option<Tls>) -> Result<Socket, FtpError> {
        let stream = match self {
            Self::Open(stream) => stream,
            Self::Awaited(port) => port.accept(step, timeout).await?,
        };
        let Some(tls) = tls else { return Ok(Socket::Plain(stream)) };
        let secured = within(step, timeout, tls.connect(stream)).await?;
        let secured = secured.map_err(|cause| FtpError::Data { step, cause })?;
        Ok(Socket::Tls(Box::new(secured)))
    }
}

/// Opens data connections, and ends transfers on them.
pub(crate) struct DataOpener {
    pub(crate) control: Control,
    /// Our end of the control connection.
    pub(crate) local: IpAddr,
    /// Where the server opens the data connections.
    pub(crate) active: Option<Active>,
    pub(crate) passive: Passive,
    pub(crate) speed: Speed,
    /// For received data, kept across files.
    pub(crate) buffer: Vec<u8>,
}

impl DataOpener {
    /// Makes `path` the current directory of a transfer that follows.
    pub(crate) async fn enter(&mut self, path: &[u8]) -> Result<(), FtpError> {
        self.passive.enter(&mut self.control, path).await
    }

    /// Asks a server that did not say in its greeting what it is; see [`Passive::learn_name`].
    pub(crate) async fn learn_name(&mut self) -> Result<(), FtpError> {
        // no port is ever asked for in active mode
        match self.active {
            None => self.passive.learn_name(&mut self.control).await,
            Some(_) => Ok(()),
        }
    }

    /// Opens a data connection and sends `line`, preceded by REST where `offset` is not zero.
    pub(crate) async fn open_transfer(
        &mut self,
        step: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<Data, FtpError> {
        if let Some(active) = &self.active {
            let way = (&self.passive.route, self.local);
            let port = active.open_port(&mut self.control, step, way).await?;
            return self.open_on(Channel::Awaited(port), step, line, offset).await;
        }
        let (stream, was_early) = self.passive.connect(&mut self.control, step).await?;
        let opened = self.open_on(Channel::Open(stream), step, line, offset).await;
        match &opened {
            Ok(_) if was_early => self.passive.learned.early.record_success(),
            // a refusal is about the file, or about the login, unless it says that there is no data connection
            Err(FtpError::Refused { reply, .. }) if !matches!(reply.code, 425 | 503) => {}
            Err(error) if was_early => {
                self.passive.learned.early.record_failure(error);
                self.control.pending = true;
                return Err(out_of_step(step, error));
            }
            _ => {}
        }
        opened
    }

    async fn open_on(
        &mut self,
        channel: Channel,
        step: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<Data, FtpError> {
        if offset > 0 {
            let reply = self.control.command("REST", format!("REST {offset}").as_bytes()).await?;
            // 350; 200 from some. Where that means something else, what comes is not what is there
            if !matches!(reply.code / 100, 2 | 3) {
                return Err(FtpError::Refused { step: "REST", reply });
            }
        }
        // the handshake travels together with the command, which saves a round trip; and a server that connects to us
        // does so before its reply or after it
        let opening = channel.open(step, self.control.timeout, self.control.tls().cloned());
        let (begun, opened) = {
            let begin = begin(&mut self.control, step, line);
            tokio::pin!(begin, opening);
            tokio::select! {
                begun = &mut begin => match begun {
                    Err(error) if !matches!(error, FtpError::Net(NetError::Timeout { .. })) => return Err(error),
                    begun => (begun, opening.await),
                },
                opened = &mut opening => (begin.await, opened),
            }
        };
        match (begun, opened) {
            (Ok(early), Ok(socket)) => Ok(Data { socket: Some(socket), early }),
            (Ok(early), Err(error)) if self.control.tls().is_some() && ends_at_once(&error) => {
                self.nothing_to_encrypt(step, early, error).await
            }
            // a server that cannot reach us is silent meanwhile: what is amiss is the data connection
            (Ok(_) | Err(FtpError::Net(NetError::Timeout { .. })), Err(error)) => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// The data connection ended before TLS began. Servers that have nothing to send may close it so, and say that all
    /// is done; without that it is a failure. Nobody but the server can say it: the control connection is encrypted.
    async fn nothing_to_encrypt(
        &mut self,
        step: &'static str,
        early: Option<Reply>,
        error: FtpError,
    ) -> Result<Data, FtpError> {
        let verdict = match early {
            Some(reply) => reply,
            None => match self.verdict(step).await {
                Ok(reply) => reply,
                Err(_) => return Err(error),
            },
        };
        self.control.pending = !verdict.is_done();
        if self.control.pending { Err(error) } else { Ok(Data { socket: None, early: Some(verdict) }) }
    }

    /// The final reply of a transfer; a server may announce it once more, or say how far it is (RFC 959: 110).
    async fn verdict(&mut self, step: &'static str) -> Result<Reply, FtpError> {
        let reply = self.control.next_reply(step).await?;
        let reply = self.control.fitting(step, reply)?;
        let reply = self.control.final_after(step, reply).await;
        self.control.pending = true;
        reply
    }

    /// Closes the data connection and reads the final reply: vsftpd and ProFTPD send it only then. With `ask_early`
    /// the port for the next transfer is asked for in the same round trip, where the server bears it.
    pub(crate) async fn end_transfer(
        &mut self,
        step: &'static str,
        data: Data,
        ask_early: bool,
    ) -> Result<Reply, FtpError> {
        let Data { mut socket, early } = data;
        if let Some(socket @ Socket::Tls(_)) = &mut socket {
            // close_notify, which vsftpd with TLS 1.3 insists on; a server that is gone already does not mind
            drop(within(step, self.control.timeout, socket.shutdown()).await);
        }
        drop(socket);
        if let Some(reply) = early {
            return Ok(reply);
        }
        let extended = self.passive.learned.extended.get().filter(|_| ask_early);
        let asked = extended.filter(|_| self.passive.learned.early.may_ask());
        if let Some(extended) = asked {
            self.control.push(passive_command(extended).0.as_bytes());
        }
        let outcome = match self.verdict(step).await {
            Ok(reply) if reply.is_done() => Ok(reply),
            // some servers send 426 and then 226: what follows cannot be told, so the session stays marked
            Ok(reply) => Err(FtpError::Refused { step, reply }),
            Err(error) => Err(error),
        };
        match (outcome, asked) {
            (Ok(reply), None) => {
                self.control.pending = false;
                Ok(reply)
            }
            (Ok(reply), Some(extended)) => {
                self.passive.take_early_port(&mut self.control, extended).await;
                Ok(reply)
            }
            (Err(error), None) => Err(error),
            (Err(error), Some(_)) => {
                self.passive.learned.early.record_failure(&error);
                Err(out_of_step(step, &error))
            }
        }
    }
}

/// Sends the transfer command. The answer is the final reply where it came at once.
async fn begin(control: &mut Control, step: &'static str, line: &[u8]) -> Result<Option<Reply>, FtpError> {
    let reply = control.exchange(step, line).await?;
    if reply.is_preliminary() {
        Ok(None)
    } else if reply.is_done() {
        Ok(Some(reply))
    } else {
        Err(FtpError::Refused { step, reply })
    }
}

impl Data {
    /// Reads into `buffer`; 0 is the end. `clean` turns false when TLS ended without saying so, or the connection with
    /// a reset: a server may have sent all by then, which its verdict, the size or the content tells.
    pub(crate) async fn read(
        &mut self,
        step: &'static str,
        timeout: Duration,
        buffer: &mut [u8],
        clean: &mut bool,
    ) -> Result<usize, FtpError> {
        let Some(socket) = &mut self.socket else {
            *clean = false;
            return Ok(0);
        };
        match within(step, timeout, socket.read(buffer)).await? {
            Ok(read) => Ok(read),
            Err(cause)
                if matches!(cause.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                *clean = false;
                Ok(0)
            }
            Err(cause) => Err(FtpError::Data { step, cause }),
        }
    }
}

/// Returns whether a data connection was closed before anything came of it.
fn ends_at_once(error: &FtpError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let FtpError::Data { cause, .. } = error else { return false };
    matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
