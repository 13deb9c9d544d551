//! Listing one directory: OPENDIR and READDIR, read as a stream with bounds.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::SftpError;
use super::habits::Opened;
use super::packet::{Name, Names, Reply, Seen};
use super::request::Request;
use super::session::{Session, unexpected};
use super::status;
use super::unsure::{Found, Unsure, bare};
use crate::base::names::RemotePath;
use crate::net::pace::Pace;
use crate::protocol::{
    Entry, EntryCollector, Fingerprint, Fingerprinter, Kind, ProtocolError, ReadAhead, ReadsAhead, Summary,
    is_unchanged, next_entries,
};

/// Requests for names that are under way at first. The second one mostly learns that there is nothing more, and saves
/// a round trip so.
const FIRST: usize = 2;
/// The same of a large directory: servers send a hundred names at a time.
const MOST: usize = 8;
/// What servers mostly answer with, in bytes, for as many requests as a limit of bandwidth allows.
const USUAL_ANSWER: usize = 16 * 1024;
/// Names that are taken apart at a time.
const TOGETHER: usize = 256;

/// Answers without a name in a row that end a directory. One may be a piece of which the server shows nothing.
const NOTHING: u32 = 3;

const STEP: &str = "READDIR";

/// A directory being listed. Dropped before `finish`, its session is not reusable.
pub struct Listing<'s> {
    session: &'s mut Session,
    path: RemotePath,
    handle: Bytes,
    /// Requests under way.
    asked: VecDeque<u32>,
    /// How many may be.
    window: usize,
    /// The server has no more names.
    ended: bool,
    /// At least one came, `.` and `..` included.
    some_came: bool,
    /// Answers without a name since.
    nothing_came: u32,
    /// Entries whose type is asked for, and those behind them.
    unsure: Unsure,
    /// Received and not taken apart yet.
    names: Option<Names>,
    collector: EntryCollector,
    pace: Pace,
    fingerprinter: Fingerprinter,
    /// The answer that ended the directory too early; what came before it is used first.
    refusal: Option<Reply>,
    /// Read and not handed on yet.
    ahead: ReadAhead<Entry, SftpError>,
}

impl Session {
    /// Begins to list the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`SftpError::Refused`] where it is none or cannot be entered; the session stays usable then.
    pub(super) async fn list(&mut self, path: &RemotePath) -> Result<Listing<'_>, SftpError> {
        let handle = self.open(path, Opened::Directory).await?;
        self.pending = true;
        let fingerprinter = Fingerprinter::new(self.shared.fingerprint_key);
        Ok(Listing {
            pace: Pace::new(&self.shared.speed),
            collector: EntryCollector::new(self.shared.encoding).of_files(&self.shared.files),
            session: self,
            path: path.clone(),
            handle,
            asked: VecDeque::new(),
            window: FIRST,
            ended: false,
            some_came: false,
            nothing_came: 0,
            unsure: Unsure::default(),
            names: None,
            fingerprinter,
            refusal: None,
            ahead: ReadAhead::default(),
        })
    }
}

impl Listing<'_> {
    /// Takes names apart, not too many at a time.
    fn take_some(&mut self, mut names: Names, entries: &mut Vec<Entry>) -> Result<(), SftpError> {
        for _ in 0..TOGETHER {
            match names.take_next().map_err(|what| SftpError::Protocol { step: STEP, what })? {
                Some(name) => self.sort(name, entries),
                None => break,
            }
        }
        self.names = Some(names).filter(|names| !names.is_empty());
        Ok(self.collector.check_limit()?)
    }

    /// The answer to a READDIR.
    fn names_came(&mut self, reply: Reply) {
        match reply {
            Reply::Names(names) if names.is_empty() => {
                self.nothing_came += 1;
                self.ended |= self.nothing_came >= NOTHING;
            }
            Reply::Names(names) => {
                (self.some_came, self.nothing_came) = (true, 0);
                self.names = Some(names);
                let most = self.session.shared.speed.limit.ahead(USUAL_ANSWER, MOST);
                self.window = most.min(self.window + 1);
            }
            Reply::Status { code: status::EOF, .. } => {
                self.ended = true;
                self.session.shared.habits.ended_well();
            }
            // some close a directory at its end, and know it no more when they are asked again
            Reply::Status { .. } if self.ended => {}
            // and some call its end a failure
            Reply::Status { code, .. } if self.session.shared.habits.is_end(code, self.some_came) => {
                self.ended = true;
            }
            other => {
                self.ended = true;
                self.refusal = Some(other);
            }
        }
    }

    /// The server broke off. Everything is answered, so that the session can go on.
    async fn give_up(&mut self, refusal: Reply) -> SftpError {
        let error = unexpected(STEP, refusal);
        let is_refused = matches!(error, SftpError::Refused { .. });
        if is_refused && self.session.close(&self.handle).await.is_ok() {
            self.session.pending = false;
        }
        error
    }

    /// Takes an entry at once, or behind those whose type is asked for.
    fn sort(&mut self, mut name: Name, entries: &mut Vec<Entry>) {
        let bare = bare(&name.name, self.path.wire());
        if bare.len() < name.name.len() {
            name.name = name.name.slice_ref(bare);
        }
        match name.seen() {
            Seen::Is(kind) if self.unsure.is_empty() => self.take(&name, Found::Is(kind), entries),
            Seen::Special if self.unsure.is_empty() => self.take(&name, Found::Special, entries),
            _ => {
                self.unsure.push(self.session, name);
                self.take_answered(entries);
            }
        }
    }

    fn take_answered(&mut self, entries: &mut Vec<Entry>) {
        while let Some((name, found)) = self.unsure.next() {
            self.take(&name, found, entries);
        }
    }

    fn take(&mut self, name: &Name, found: Found, entries: &mut Vec<Entry>) {
        let kind = match found {
            Found::Is(kind) => Some(kind),
            Found::Special | Found::Unknown(_) => None,
        };
        let size = name.attributes.size.unwrap_or(u64::MAX);
        let time = name.attributes.modified.map_or(u64::MAX, u64::from);
        // a directory's own size and time change with what is in it, which is listed anyhow
        let numbers = if kind == Some(Kind::Directory) { [0; 2] } else { [size, time] };
        self.fingerprinter.write(&name.name);
        self.fingerprinter.write(&[b'/', kind.map_or(0, |kind| 1 + kind as u8)]);
        numbers.into_iter().for_each(|number| self.fingerprinter.write(&number.to_ne_bytes()));
        match found {
            Found::Unknown(reason) => self.collector.take_unknown(&name.name, reason),
            _ => self.collector.take(&name.name, kind, name.facts(kind), entries),
        }
    }
}

impl ReadsAhead for Listing<'_> {
    type Piece = Entry;
    type Error = SftpError;

    fn ahead(&mut self) -> &mut ReadAhead<Entry, SftpError> {
        &mut self.ahead
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    /// Takes some names apart, or waits for some; false at the end.
    async fn read_on(&mut self, entries: &mut Vec<Entry>) -> Result<bool, SftpError> {
        if let Some(names) = self.names.take() {
            self.take_some(names, entries)?;
            return Ok(true);
        }
        while !self.ended && self.asked.len() < self.window && !self.unsure.is_full() {
            self.asked.push_back(self.session.push(Request::ReadDirectory(&self.handle)));
        }
        self.unsure.ask(self.session, &self.path);
        if self.asked.is_empty() && self.unsure.is_empty() {
            return match self.refusal.take() {
                Some(refusal) => Err(self.give_up(refusal).await),
                None => Ok(false),
            };
        }
        self.session.flush_in_time(STEP).await?;
        let (id, reply) = self.session.paced_reply(STEP, &mut self.pace).await?;
        if let Some(place) = self.asked.iter().position(|asked| *asked == id) {
            self.asked.remove(place);
            self.names_came(reply);
        } else if self.unsure.answered(self.session, id, &reply).await? {
            self.take_answered(entries);
            self.collector.check_limit()?;
        } else {
            return Err(SftpError::Protocol { step: STEP, what: "an answer that nothing asked for" });
        }
        Ok(true)
    }
}

#[async_trait(?Send)]
impl crate::protocol::Listing for Listing<'_> {
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        is_unchanged(self, before).await
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        Ok(next_entries(self, entries).await?)
    }

    /// Gives the directory back.
    async fn finish(self: Box<Self>, _entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError> {
        let Self { session, handle, collector, ended, asked, names, unsure, .. } = *self;
        if !ended || !asked.is_empty() || names.is_some() || !unsure.is_empty() {
            return Err(ProtocolError::listing_cut("it was not read to its end"));
        }
        session.close(&handle).await?;
        session.pending = false;
        Ok(collector.finish())
    }
}
