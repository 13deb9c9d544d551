//! Downloading one file: many requests under way at a time, so that far servers are fast, and their answers put into
//! order.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::SftpError;
use super::packet::{Reply, Request, status};
use super::session::{Session, file_only, unexpected};
use crate::ftp::FtpError;
use crate::ftp::pace::Pace;
use crate::ftp::rate::Limit;
use crate::names::RemotePath;

/// Bytes that one request asks for: every server takes this many, and answers more with fewer.
const PIECE: usize = 32 * 1024;
/// Requests under way at the beginning of a transfer.
const FIRST: usize = 16;
/// The same after a while; with [`PIECE`] it is what a connection has under way, and what waits in memory at most.
/// 2 MiB are 20 MB/s over a way of 100 ms, for each connection.
const MOST: usize = 64;

const STEP: &str = "READ";

/// What came, to the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of this transfer, from the offset on.
    pub bytes: u64,
    /// The size that the open file has after its last byte was read, where the server tells.
    pub size_after: Option<u64>,
}

/// One request for bytes.
#[derive(Debug)]
struct Piece {
    id: u32,
    offset: u64,
    length: u32,
    /// What came; nothing at all where the file ends here.
    data: Option<Bytes>,
}

/// The requests of one transfer, in the order of their offsets.
#[derive(Debug)]
struct Pieces {
    handle: Bytes,
    under_way: VecDeque<Piece>,
    /// How many requests may be under way, and how many at most in the end.
    window: usize,
    most: usize,
    /// Bytes that one of them asks for.
    piece: u32,
    /// Where the next request begins.
    next: u64,
    /// Where the file ends, as far as it is known. No request goes across it: what begins there finds the end.
    expected: Option<u64>,
    /// Nothing more is asked for.
    ended: bool,
    /// The end was reached in order: what comes from behind it is not part of what was read.
    past_end: bool,
}

impl Session {
    /// Fetches the file at `path` from byte `offset` on and passes every piece to `sink`, in order. `expected` is its
    /// size as far as that is known: no more is asked for than that and a little.
    ///
    /// # Errors
    ///
    /// [`SftpError::Refused`] where it cannot be opened or read, and [`SftpError::Shrunk`] where it is shorter than
    /// `offset`; the session stays usable then. Whatever `sink` says ends the transfer. Cancelled or failed half-way,
    /// all that was passed to `sink` is true, and the session is not reusable.
    pub async fn fetch(
        &mut self,
        path: &RemotePath,
        offset: u64,
        expected: Option<u64>,
        mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> Result<Received, SftpError> {
        let request = Request::Open(path.wire());
        let handle = match self.ask(request).await? {
            Reply::Handle(handle) => handle,
            other => return Err(unexpected(request.step(), other)),
        };
        self.pending = true;
        let looking = self.push(Request::Fstat(&handle));
        let mut pieces = Pieces::new(handle.clone(), offset, expected, &self.speed.limit);
        let mut pace = Pace::new(&self.speed);
        let (mut bytes, mut is_looked_at, mut refusal) = (0, false, None);
        loop {
            pieces.ask(self);
            if is_looked_at && pieces.under_way.is_empty() {
                break;
            }
            self.flush_in_time(STEP).await?;
            let (id, reply) = self.paced_reply(STEP, &mut pace).await?;
            let refused = if id == looking {
                is_looked_at = true;
                pieces.look_at(reply, offset)
            } else {
                pieces.arrived(id, reply)?
            };
            if let Some(refused) = refused {
                refusal.get_or_insert(refused);
                pieces.ended = true;
            }
            // nothing of what may not be a file is passed on
            while is_looked_at && let Some(data) = pieces.next(self) {
                if refusal.is_none() {
                    sink(&data).map_err(FtpError::Local)?;
                    bytes += data.len() as u64;
                }
            }
        }
        let size_after = match &refusal {
            Some(_) => None,
            None => self.size_of_open(&handle).await?,
        };
        self.close(&handle).await?;
        self.pending = false;
        refusal.map_or(Ok(Received { bytes, size_after }), Err)
    }

    /// The size of an open file now.
    async fn size_of_open(&mut self, handle: &[u8]) -> Result<Option<u64>, SftpError> {
        Ok(match self.ask(Request::Fstat(handle)).await? {
            Reply::Attributes(found) => found.size,
            _ => None,
        })
    }
}

impl Pieces {
    fn new(handle: Bytes, next: u64, expected: Option<u64>, limit: &Limit) -> Self {
        let expected = expected.filter(|expected| *expected >= next);
        // what is asked for comes at once, whatever may come: less is asked for instead
        let piece = limit.piece(PIECE);
        let most = limit.ahead(piece, MOST);
        Self {
            handle,
            under_way: VecDeque::new(),
            window: FIRST.min(most),
            most,
            piece: u32::try_from(piece).unwrap_or(u32::MAX),
            next,
            expected,
            ended: false,
            past_end: false,
        }
    }

    /// Writes as many requests as may be under way.
    fn ask(&mut self, session: &mut Session) {
        while !self.ended && self.under_way.len() < self.window {
            let (offset, left) = (self.next, self.expected.map(|end| end.saturating_sub(self.next)));
            let length = match left {
                Some(0) if self.under_way.back().is_some_and(|last| last.offset == offset) => return,
                Some(0) | None => self.piece,
                Some(left) => u32::try_from(left).unwrap_or(self.piece).min(self.piece),
            };
            let id = session.push(Request::Read { handle: &self.handle, offset, length });
            self.under_way.push_back(Piece { id, offset, length, data: None });
            if left != Some(0) {
                self.next += u64::from(length);
            }
        }
    }

    /// The file as it is before anything of it is used. Answers why it is not to be fetched.
    fn look_at(&mut self, reply: Reply, offset: u64) -> Option<SftpError> {
        // a server that does not tell is believed by what it sends
        let Reply::Attributes(found) = reply else { return None };
        if let Err(refusal) = file_only("OPEN", found) {
            return Some(refusal);
        }
        let size = found.size?;
        let is_probed = self.under_way.back().is_some_and(|last| last.offset == self.next);
        if is_probed && self.expected != Some(size) {
            // it has grown since it was listed, and what looked for its end finds more of it
            self.next += u64::from(self.piece);
        }
        self.expected = Some(size).filter(|size| *size >= self.next);
        (size < offset).then_some(SftpError::Shrunk { size })
    }

    /// Notes an answer. Answers why the file is not to be fetched any further.
    fn arrived(&mut self, id: u32, reply: Reply) -> Result<Option<SftpError>, SftpError> {
        let what = "an answer that nothing asked for";
        let piece = self.under_way.iter_mut().find(|piece| piece.id == id && piece.data.is_none());
        let piece = piece.ok_or(SftpError::Protocol { step: STEP, what })?;
        let (data, refusal) = match reply {
            Reply::Data(data) if data.len() > piece.length as usize => {
                return Err(SftpError::Protocol { step: STEP, what: "more bytes than were asked for" });
            }
            Reply::Data(data) => (data, None),
            Reply::Status { code: status::EOF, .. } => (Bytes::new(), None),
            other => (Bytes::new(), Some(unexpected(STEP, other))),
        };
        piece.data = Some(data);
        Ok(refusal)
    }

    /// The next bytes in order, where they are there.
    fn next(&mut self, session: &mut Session) -> Option<Bytes> {
        let first = self.under_way.front_mut()?;
        let data = first.data.take()?;
        let came = u32::try_from(data.len()).unwrap_or(first.length);
        let is_at_expected_end = self.expected == Some(first.offset);
        first.offset += u64::from(came);
        first.length -= came.min(first.length);
        if data.is_empty() {
            (self.ended, self.past_end) = (true, true);
        } else if is_at_expected_end {
            // it grows while it is read
            self.next += u64::from(came);
            self.expected = None;
        }
        if data.is_empty() || first.length == 0 || is_at_expected_end {
            self.under_way.pop_front();
            self.window = self.most.min(self.window + 1);
        } else if !self.ended {
            // fewer than asked for: the rest of it again, before all others
            let (offset, length) = (first.offset, first.length);
            first.id = session.push(Request::Read { handle: &self.handle, offset, length });
        } else {
            self.under_way.pop_front();
        }
        Some(if self.past_end { Bytes::new() } else { data })
    }
}
