//! Downloading one file: many requests under way at a time, so that far servers are fast, and their answers put into
//! order.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::SftpError;
use super::habits::{Habits, Opened};
use super::packet::Reply;
use super::request::Request;
use super::session::{Session, file_only, unexpected};
use super::status;
use crate::net::pace::Pace;
use crate::net::rate::Limit;
use crate::protocol::{FileReceiver, FileRequest, Received};

/// Bytes that one request asks for: every server takes this many, and answers more with fewer.
const PIECE: usize = 32 * 1024;
/// Requests under way at the beginning of a transfer.
const FIRST: usize = 16;
/// The same after a while; with [`PIECE`] it is what a connection has under way, and what waits in memory at most.
/// 2 MiB are 20 MB/s over a way of 100 ms, for each connection.
const MOST: usize = 64;

/// Fewer are not tried with a server that refuses a READ, which may be too large for it.
const SMALLEST: u32 = 4 * 1024;

const STEP: &str = "READ";

/// One request for bytes.
#[derive(Debug)]
struct Piece {
    id: u32,
    offset: u64,
    length: u32,
    answer: Option<Answer>,
}

#[derive(Debug)]
enum Answer {
    /// At least one byte.
    Data(Bytes),
    /// The file ends here.
    End,
    Refused {
        code: u32,
        text: String,
    },
}

/// The requests of one transfer, in the order of their offsets.
#[derive(Debug)]
struct Pieces {
    handle: Bytes,
    under_way: VecDeque<Piece>,
    /// Requests whose answers are of no use any more; they are waited for, because some servers take one at a time.
    stale: Vec<u32>,
    /// How many requests may be under way, and how many at most in the end.
    window: usize,
    most: usize,
    /// Bytes that one of them asks for.
    piece: u32,
    /// Where the transfer began, and where the next request begins.
    began: u64,
    next: u64,
    /// Where the file ends, as far as it is known. No request goes across it: what begins there finds the end.
    expected: Option<u64>,
    /// The size of the file, whatever was read of it.
    size: Option<u64>,
    /// Where a refusal or an early end was doubted, and the file read on from there, one request after the other.
    doubted: Option<u64>,
    /// The newest request when an answer was shorter than asked for: what was asked before it began too far on, for a
    /// server that reads in order.
    short_since: Option<u32>,
    /// How many bytes the last short answer had.
    short: Option<u32>,
    /// Nothing more is asked for: the end was reached in order, or the transfer is refused. What still comes is not
    /// part of what was read.
    ended: bool,
    clean_end: bool,
    refusal: Option<SftpError>,
}

impl Session {
    /// See [`crate::protocol::Session::fetch`]. No more is asked for than the expected size and a little.
    ///
    /// # Errors
    ///
    /// [`SftpError::Refused`] where it cannot be opened or read, [`SftpError::Shrunk`] where it is shorter than the
    /// offset, and [`SftpError::NotFromHere`] where it may work from the start; the session stays usable then.
    pub(super) async fn download(
        &mut self,
        FileRequest { path, offset, expected_size }: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, SftpError> {
        let in_order = std::mem::take(&mut self.in_order_next) || self.shared.habits.reads_in_order();
        let handle = self.open(path, Opened::File).await?;
        self.pending = true;
        let looking = self.push(Request::Fstat(&handle));
        let mut pieces =
            Pieces::new(handle.clone(), offset, expected_size, &self.shared.speed.limit, &self.shared.habits);
        if in_order {
            (pieces.window, pieces.most) = (1, 1);
        }
        let mut pace = Pace::new(&self.shared.speed);
        let mut is_looked_at = false;
        let mut bytes = 0;
        loop {
            pieces.ask(self);
            if is_looked_at && pieces.is_over() {
                break;
            }
            self.flush_in_time(STEP).await?;
            let (id, reply) = self.paced_reply(STEP, &mut pace).await?;
            if id == looking {
                is_looked_at = true;
                pieces.look_at(reply, offset);
            } else {
                pieces.arrived(id, reply)?;
            }
            // nothing of what may not be a file is passed on
            while is_looked_at && let Some(data) = pieces.next(self) {
                receiver.receive(&data).await.map_err(SftpError::Local)?;
                bytes += data.len() as u64;
            }
        }
        let refusal = pieces.refusal.take();
        let size_after = match &refusal {
            Some(_) => None,
            None => self.size_of_open(&handle).await?,
        };
        self.close(&handle).await?;
        self.pending = false;
        if let Some(refusal) = refusal {
            self.in_order_next = refusal.asks_to_start_over();
            return Err(refusal);
        }
        // a size of nothing, of which bytes were read, is none
        let size_after = size_after.filter(|size| *size > 0 || offset + bytes == 0);
        Ok(Received { clean_end: pieces.clean_end, size_after })
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
    fn new(handle: Bytes, next: u64, listed: Option<u64>, limit: &Limit, habits: &Habits) -> Self {
        // what is asked for comes at once, whatever may come: less is asked for instead
        let piece = habits.piece(u32::try_from(limit.piece(PIECE)).unwrap_or(u32::MAX));
        let most = limit.ahead(piece as usize, MOST);
        Self {
            handle,
            under_way: VecDeque::new(),
            stale: Vec::new(),
            window: FIRST.min(most),
            most,
            piece,
            began: next,
            next,
            expected: listed.filter(|expected| *expected >= next),
            size: listed.filter(|size| *size > 0),
            doubted: None,
            short_since: None,
            short: None,
            ended: false,
            clean_end: true,
            refusal: None,
        }
    }

    /// Returns whether everything is answered, and nothing more is asked for.
    fn is_over(&self) -> bool {
        self.under_way.is_empty() && self.stale.is_empty()
    }

    /// Writes as many requests as may be under way.
    fn ask(&mut self, session: &mut Session) {
        while !self.ended && self.stale.is_empty() && self.under_way.len() < self.window {
            let (offset, left) = (self.next, self.expected.map(|end| end.saturating_sub(self.next)));
            let length = match left {
                Some(0) if self.under_way.back().is_some_and(|last| last.offset == offset) => return,
                Some(0) | None => self.piece,
                Some(left) => u32::try_from(left).unwrap_or(self.piece).min(self.piece),
            };
            let id = session.push(Request::Read { handle: &self.handle, offset, length });
            self.under_way.push_back(Piece { id, offset, length, answer: None });
            if left != Some(0) {
                self.next += u64::from(length);
            }
        }
    }

    /// Takes the file as it is before anything of it is used.
    fn look_at(&mut self, reply: Reply, offset: u64) {
        // a server that does not tell is believed by what it sends
        let Reply::Attributes(found) = reply else { return };
        if let Err(refusal) = file_only("OPEN", found) {
            return self.refuse(refusal);
        }
        // some show 0 for whatever is open
        let Some(size) = found.size.filter(|size| *size > 0 || self.size.is_none()) else { return };
        let is_probed = self.under_way.back().is_some_and(|last| last.offset == self.next);
        if is_probed && self.expected != Some(size) {
            // it has grown since it was listed, and what looked for its end finds more of it
            self.next += u64::from(self.piece);
        }
        self.expected = Some(size).filter(|size| *size >= self.next);
        self.size = Some(size).filter(|size| *size > 0);
        if size < offset {
            self.refuse(SftpError::Shrunk { size });
        }
    }

    fn refuse(&mut self, refusal: SftpError) {
        self.refusal.get_or_insert(refusal);
        self.ended = true;
    }

    /// Notes an answer.
    fn arrived(&mut self, id: u32, reply: Reply) -> Result<(), SftpError> {
        if let Some(place) = self.stale.iter().position(|stale| *stale == id) {
            self.stale.swap_remove(place);
            return Ok(());
        }
        let what = "an answer that nothing asked for";
        let piece = self.under_way.iter_mut().find(|piece| piece.id == id && piece.answer.is_none());
        let piece = piece.ok_or(SftpError::Protocol { step: STEP, what })?;
        piece.answer = Some(match reply {
            Reply::Data(data) if data.len() > piece.length as usize => {
                return Err(SftpError::Protocol { step: STEP, what: "more bytes than were asked for" });
            }
            Reply::Data(data) if data.is_empty() => Answer::End,
            Reply::Data(data) => Answer::Data(data),
            Reply::Status { code: status::EOF, .. } => Answer::End,
            Reply::Status { code, text } => Answer::Refused { code, text },
            other => return Err(unexpected(STEP, other)),
        });
        Ok(())
    }

    /// The next bytes in order, where they are there.
    fn next(&mut self, session: &mut Session) -> Option<Bytes> {
        loop {
            let first = self.under_way.front_mut()?;
            let answer = first.answer.take()?;
            match answer {
                _ if self.ended => {
                    self.under_way.pop_front();
                }
                Answer::Data(data) => {
                    self.advance(&data, session);
                    return Some(data);
                }
                Answer::End => self.end_came(),
                Answer::Refused { code, text } => self.refusal_came(code, text, &session.shared.habits),
            }
        }
    }

    /// The first piece is there, or a part of it.
    fn advance(&mut self, data: &Bytes, session: &mut Session) {
        let Some(first) = self.under_way.front_mut() else { return };
        let came = u32::try_from(data.len()).unwrap_or(first.length);
        let is_at_expected_end = self.expected == Some(first.offset);
        if self.doubted.take_if(|doubted| *doubted == first.offset).is_some() {
            session.shared.habits.learn_order();
        }
        first.offset += u64::from(came);
        first.length -= came.min(first.length);
        if is_at_expected_end {
            // it grows while it is read
            self.next += u64::from(came);
            self.expected = None;
        }
        if first.length == 0 || is_at_expected_end {
            self.under_way.pop_front();
            self.window = self.most.min(self.window + 1);
            return;
        }
        // fewer than asked for: the rest of it again, before all others
        let (offset, length) = (first.offset, first.length);
        first.id = session.push(Request::Read { handle: &self.handle, offset, length });
        self.short_since = Some(first.id);
        if self.short.replace(came) == Some(came) && came < self.piece {
            self.piece = came;
            session.shared.habits.learn_piece(came);
        }
    }

    /// The first piece is answered with the end of the file. One that comes too early for the size, or was asked for
    /// when the bytes before it were not there yet, is looked for again.
    fn end_came(&mut self) {
        let Some(first) = self.under_way.pop_front() else { return };
        let is_early = self.size.is_some_and(|size| first.offset < size);
        let is_ahead = self.short_since.is_some_and(|short| first.id < short);
        if self.most > 1 && (is_early || is_ahead) {
            self.doubted = is_early.then_some(first.offset);
            return self.read_on(first.offset);
        }
        if is_early && first.offset == self.began && self.began > 0 {
            let text = "the file ends here, before its size".to_owned();
            return self.refuse(not_from(first.offset, text, false));
        }
        self.ended = true;
    }

    /// The first piece is refused: an end by another word, a request that is too large or out of order for the
    /// server, or a fault.
    fn refusal_came(&mut self, code: u32, text: String, habits: &Habits) {
        let Some(first) = self.under_way.pop_front() else { return };
        let (at, is_first) = (first.offset, first.offset == self.began);
        let is_vague = matches!(code, status::FAILURE | status::BAD_MESSAGE | status::UNSUPPORTED);
        let is_end = match self.size {
            Some(size) => at >= size,
            None => !is_first && code == status::FAILURE && self.most == 1,
        };
        if is_end {
            self.ended = true;
            self.clean_end = self.size.is_some();
        } else if matches!(code, status::NO_CONNECTION | status::CONNECTION_LOST) {
            self.refuse(SftpError::Refused { step: STEP, code, text });
        } else if !is_first && self.most > 1 {
            self.doubted = Some(at);
            self.read_on(at);
        } else if is_first && at == 0 && is_vague && first.length > SMALLEST {
            self.piece = (first.length / 2).max(SMALLEST);
            habits.learn_piece(self.piece);
            let (window, most, doubted) = (self.window, self.most, self.doubted);
            self.read_on(at);
            (self.window, self.most, self.doubted) = (window, most, doubted);
        } else if is_first && at > 0 {
            self.refuse(not_from(at, text, false));
        } else if self.doubted == Some(at) {
            self.refuse(not_from(at, text, true));
        } else {
            self.refuse(SftpError::Refused { step: STEP, code, text });
        }
    }

    /// Reads on from there, one request after the other; what is under way is forgotten.
    fn read_on(&mut self, from: u64) {
        let unanswered = self.under_way.drain(..).filter(|piece| piece.answer.is_none());
        self.stale.extend(unanswered.map(|piece| piece.id));
        (self.next, self.window, self.most, self.short_since) = (from, 1, 1, None);
    }
}

fn not_from(at: u64, text: String, broke_off: bool) -> SftpError {
    SftpError::NotFromHere { step: STEP, at, text, broke_off }
}
