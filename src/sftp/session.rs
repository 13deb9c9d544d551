//! One logged-in connection with its one SFTP channel: requests, which may overtake each other, and their replies.
//!
//! Each session is an SSH connection of its own: servers count logins, not channels, and one that breaks costs one
//! transfer. A session is reusable as long as everything that was asked for is answered or of no interest. Dropping any
//! future of it in between leaves it marked; dropping the session cuts its connection.

use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use encoding_rs::Encoding;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};
use tokio::time::Instant;

use super::error::{SftpError, lost, shown};
use super::habits::{Habits, Opened};
use super::host_key::HostKeyVerifier;
use super::packet::{Attributes, Packet, Reply, take_packet};
use super::request::{Request, VERSION, write_init};
use super::server_messages::ServerMessages;
use super::socket::AbortOnDrop;
use super::status;
use crate::base::file_names::FileNames;
use crate::base::names::RemotePath;
use crate::net::deadline::within;
use crate::net::pace::{Pace, Speed};
use crate::protocol::{FileReceiver, FileRequest, FingerprintKey, Listing, ProtocolError, Received};

/// Answers to requests that nobody waits for any more, such as CLOSE, before they are asked for.
const MAX_UNWANTED: usize = 64;
/// Text before the first packet that is shown, in bytes.
const MAX_CHATTER: usize = 120;
/// ServerMessages beside the protocol that tell of a password which has to be changed before anything else is done.
const EXPIRED_WORDS: [&str; 3] = ["password has expired", "password change", "change your password"];

/// A logged-in connection. One operation at a time.
pub struct Session {
    /// Keeps the connection, and says goodbye.
    handle: Handle<HostKeyVerifier>,
    incoming: ChannelReadHalf,
    outgoing: ChannelWriteHalf<Msg>,
    messages: ServerMessages,
    _abort_on_drop: AbortOnDrop,
    /// Received and not taken apart yet.
    inbox: BytesMut,
    /// Written and not sent yet.
    outbox: Vec<u8>,
    next_id: u32,
    /// Requests whose answers are thrown away.
    unwanted: Vec<u32>,
    pub(super) shared: Shared,
    /// OPEN and OPENDIR that failed in a row, since one of them was a success; `None` before there was one.
    pub(super) failed_in_row: Option<u32>,
    /// The next file is read in order, one request after the other, to see whether the server can do that.
    pub(super) in_order_next: bool,
    /// Something was asked whose answer is not in yet.
    pub(super) pending: bool,
}

/// What all sessions with one server have in common.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) timeout: Duration,
    pub(super) speed: Speed,
    pub(super) encoding: &'static Encoding,
    /// Those that are wanted.
    pub(super) files: FileNames,
    pub(super) fingerprint_key: FingerprintKey,
    pub(super) habits: Rc<Habits>,
}

impl Session {
    /// Asks for the SFTP subsystem on a fresh channel, and agrees on the version.
    pub(super) async fn begin(
        (handle, channel): (Handle<HostKeyVerifier>, Channel<Msg>),
        messages: ServerMessages,
        abort_on_drop: AbortOnDrop,
        shared: Shared,
    ) -> Result<Self, SftpError> {
        let timeout = shared.timeout;
        let (incoming, outgoing) = channel.split();
        let mut session = Self {
            handle,
            incoming,
            outgoing,
            messages,
            _abort_on_drop: abort_on_drop,
            inbox: BytesMut::new(),
            outbox: Vec::new(),
            next_id: 1,
            unwanted: Vec::new(),
            shared,
            failed_in_row: None,
            in_order_next: false,
            pending: true,
        };
        within("SFTP", timeout, session.subsystem()).await??;
        session.pending = false;
        Ok(session)
    }

    async fn subsystem(&mut self) -> Result<(), SftpError> {
        const STEP: &str = "SFTP";
        self.outgoing.request_subsystem(true, "sftp").await.map_err(|_| self.lost(STEP))?;
        loop {
            match self.incoming.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure) => {
                    let text = "the server has no SFTP, or not for this user".to_owned();
                    return Err(SftpError::Ssh { step: STEP, text });
                }
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return Err(self.lost(STEP)),
                Some(ChannelMsg::ExtendedData { data, .. }) => self.messages.aside(&data),
                Some(_) => {}
            }
        }
        write_init(&mut self.outbox);
        self.flush(STEP).await?;
        let version = self.first_packet(STEP).await?.version();
        let version = version.map_err(|what| SftpError::Protocol { step: STEP, what })?;
        // 1 and 2 have all that is asked for here, in the same shape; from 4 on attributes have another one
        if (1..=VERSION).contains(&version) {
            return Ok(());
        }
        let text = format!(
            "the server speaks version {version} of SFTP where 3 is asked for, which is not understood"
        );
        Err(SftpError::Ssh { step: STEP, text })
    }

    /// The first packet. Whatever the account's shell prints at each login comes before it, and leaves no way to tell
    /// where the protocol begins.
    async fn first_packet(&mut self, step: &'static str) -> Result<Packet, SftpError> {
        loop {
            // a length of three bytes and more would be longer than any packet
            if self.inbox.first().is_some_and(|first| *first != 0) {
                let text = shown(self.inbox.get(..MAX_CHATTER).unwrap_or(&self.inbox));
                let text = format!(
                    "the account's shell prints text before SFTP begins, which its start files must not do for logins without a terminal: {text}"
                );
                return Err(SftpError::Ssh { step, text });
            }
            if let Some(packet) = self.buffered(step)? {
                return Ok(packet);
            }
            self.receive(step).await?;
        }
    }

    /// The size of what `path` leads to, through links; `None` where the server does not tell.
    ///
    /// # Errors
    ///
    /// [`SftpError::Refused`] where it is no file or not there; the session stays usable then.
    async fn size_of(&mut self, path: &RemotePath) -> Result<Option<u64>, SftpError> {
        let asked = self.shared.habits.asked(path.wire(), Opened::File).into_owned();
        let request = Request::Stat(&asked);
        match self.ask(request).await? {
            Reply::Attributes(found) => file_only(request.step(), found).map(|found| found.size),
            // what is behind such a server is known once it is opened
            Reply::Status { code: status::FAILURE | status::UNSUPPORTED, .. } => Ok(None),
            other => Err(self.unexpected(request.step(), other)),
        }
    }

    /// Logs out, as far as the server takes it within `limit`.
    async fn log_out(self, limit: Duration) {
        let goodbye = async {
            drop(self.handle.disconnect(Disconnect::ByApplication, "", "").await);
            // until the connection is closed, so that the goodbye is not cut off
            let Self { mut incoming, .. } = self;
            while incoming.wait().await.is_some() {}
        };
        // whatever comes back, the connection is cut next
        drop(tokio::time::timeout(limit, goodbye).await);
    }

    /// Sends one request and waits for its answer. Cancelled or failed, the session is not reusable.
    pub(super) async fn ask(&mut self, request: Request<'_>) -> Result<Reply, SftpError> {
        self.pending = true;
        let id = self.push(request);
        let step = request.step();
        let reply = within(step, self.shared.timeout, async {
            self.flush(step).await?;
            match self.reply(step).await? {
                (answered, reply) if answered == id => Ok::<_, SftpError>(reply),
                _ => Err(SftpError::Protocol { step, what: "the answer belongs to another request" }),
            }
        });
        let reply = reply.await??;
        self.pending = false;
        Ok(reply)
    }

    /// The answer is not one to this request: a refusal; or nonsense, after which the session is not used again.
    pub(super) fn unexpected(&mut self, step: &'static str, reply: Reply) -> SftpError {
        let error = unexpected(step, reply);
        self.pending |= matches!(error, SftpError::Protocol { .. });
        error
    }

    /// Writes a request, to be sent with [`Self::flush`]. Returns its number.
    pub(super) fn push(&mut self, request: Request<'_>) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        request.write(id, &mut self.outbox);
        id
    }

    /// Gives a handle back; its answer is of no interest. It goes out with the next request, or at once where many wait.
    pub(super) async fn close(&mut self, handle: &[u8]) -> Result<(), SftpError> {
        let id = self.push(Request::Close(handle));
        self.unwanted.push(id);
        self.flush_in_time("CLOSE").await
    }

    /// Sends what was written, as fast as the server takes it.
    pub(super) async fn flush_in_time(&mut self, step: &'static str) -> Result<(), SftpError> {
        within(step, self.shared.timeout, self.flush(step)).await?
    }

    async fn flush(&mut self, step: &'static str) -> Result<(), SftpError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.outbox));
        self.outgoing.data_bytes(bytes).await.map_err(|_| self.lost(step))
    }

    /// The next answer, whatever request it belongs to; those that nobody wants are left out.
    async fn reply(&mut self, step: &'static str) -> Result<(u32, Reply), SftpError> {
        loop {
            let packet = self.packet(step).await?;
            if let Some(wanted) = self.wanted(packet, step)? {
                return Ok(wanted);
            }
        }
    }

    /// The same for transfers and listings: each piece has the timeout, all of them together the lowest speed, and
    /// the highest one that is allowed.
    pub(super) async fn paced_reply(
        &mut self,
        step: &'static str,
        pace: &mut Pace,
    ) -> Result<(u32, Reply), SftpError> {
        loop {
            while let Some(packet) = self.buffered(step)? {
                if let Some(wanted) = self.wanted(packet, step)? {
                    return Ok(wanted);
                }
            }
            let began = Instant::now();
            let read = within(step, self.shared.timeout, self.receive(step)).await??;
            pace.took(step, began.elapsed(), read)?;
            self.shared.speed.limit.pay_in_pieces(read).await;
        }
    }

    fn wanted(&mut self, packet: Packet, step: &'static str) -> Result<Option<(u32, Reply)>, SftpError> {
        let (id, reply) = packet.reply().map_err(|what| SftpError::Protocol { step, what })?;
        let before = self.unwanted.len();
        self.unwanted.retain(|unwanted| *unwanted != id);
        if self.unwanted.len() > MAX_UNWANTED {
            return Err(SftpError::Protocol { step, what: "requests are never answered" });
        }
        Ok((self.unwanted.len() == before).then_some((id, reply)))
    }

    async fn packet(&mut self, step: &'static str) -> Result<Packet, SftpError> {
        loop {
            if let Some(packet) = self.buffered(step)? {
                return Ok(packet);
            }
            self.receive(step).await?;
        }
    }

    fn buffered(&mut self, step: &'static str) -> Result<Option<Packet>, SftpError> {
        take_packet(&mut self.inbox).map_err(|what| SftpError::Protocol { step, what })
    }

    /// Waits for the next piece of data. Returns how long it is.
    async fn receive(&mut self, step: &'static str) -> Result<usize, SftpError> {
        loop {
            match self.incoming.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    self.inbox.extend_from_slice(&data);
                    return Ok(data.len());
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Err(self.lost(step)),
                Some(ChannelMsg::ExtendedData { data, .. }) => self.messages.aside(&data),
                // changes of the window and the like
                Some(_) => {}
            }
        }
    }

    /// The connection is gone; with the server's words where it had some.
    fn lost(&self, step: &'static str) -> SftpError {
        let said = self.messages.last();
        let lower = said.as_deref().unwrap_or_default().to_lowercase();
        match said {
            // OpenSSH lets the user in, and says so instead of SFTP
            Some(said) if EXPIRED_WORDS.iter().any(|messages| lower.contains(messages)) => {
                SftpError::LoginRefused(said)
            }
            said => lost(step, said),
        }
    }
}

#[async_trait(?Send)]
impl crate::protocol::Session for Session {
    fn is_reusable(&self) -> bool {
        !self.pending && !self.handle.is_closed()
    }

    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError> {
        Ok(self.size_of(path).await?)
    }

    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError> {
        Ok(Box::new(Session::list(self, path).await?))
    }

    async fn fetch(
        &mut self,
        request: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError> {
        Ok(self.download(request, receiver).await?)
    }

    async fn quit(self: Box<Self>, limit: Duration) {
        self.log_out(limit).await;
    }
}

/// The answer is not one to this request: a refusal, or nonsense.
pub(super) fn unexpected(step: &'static str, reply: Reply) -> SftpError {
    match reply {
        Reply::Status { code, text } => SftpError::Refused { step, code, text },
        _ => SftpError::Protocol { step, what: "the answer belongs to another request" },
    }
}

/// Lets only files through: a link named `.zip` may lead anywhere.
pub(super) fn file_only(step: &'static str, found: Attributes) -> Result<Attributes, SftpError> {
    if found.is_file() {
        return Ok(found);
    }
    Err(SftpError::Refused { step, code: 4, text: "it is no file".to_owned() })
}
