//! The stream of one listing, with bounds.

use std::cell::Cell;
use std::rc::Rc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::compared::Clock;
use super::refusals::{says_empty, says_nothing_found};
use super::ways::{Way, Ways};
use crate::base::names::RemotePath;
use crate::ftp::control::reply::{Features, Reply};
use crate::ftp::data::open::{Data, DataOpener};
use crate::ftp::error::FtpError;
use crate::ftp::listing::ListingParser;
use crate::net::pace::Pace;
use crate::protocol::{
    Entry, Fingerprint, FingerprintKey, Fingerprinter, ListingCut, ProtocolError, ReadAhead, ReadsAhead,
    Summary, is_unchanged,
};

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;

/// What was learnt of listing a server, for all sessions with it.
#[derive(Debug, Default)]
pub(crate) struct LearnedLists {
    /// What FEAT said, asked once.
    pub(crate) features: Cell<Option<Features>>,
    /// How directories are listed.
    pub(crate) ways: Ways,
    /// Whether the clock is ahead.
    pub(crate) clock: Cell<Clock>,
    /// Held by the session that tries a way of listing out.
    pub(crate) trial: tokio::sync::Mutex<()>,
    /// For telling whether a listing is what it was.
    pub(crate) fingerprint_key: FingerprintKey,
}

/// A directory being listed. Dropped before [`Listing::finish`], its session is not reusable.
pub struct Listing<'s> {
    opener: &'s mut DataOpener,
    learned: Rc<LearnedLists>,
    /// `None` where the server said that there is nothing, without opening a data connection.
    data: Option<Data>,
    parser: ListingParser,
    way: Way,
    role: Role,
    is_tentative: bool,
    clean: bool,
    /// What was read last is the end of a line.
    at_line_end: bool,
    pace: Pace,
    fingerprinter: Fingerprinter,
    /// Read and not taken apart yet, see [`is_unchanged`].
    ahead: ReadAhead<u8, FtpError>,
}

/// A listing that has begun: its way, its data connection and its parser.
pub(crate) struct Opened {
    pub(super) way: Way,
    pub(super) data: Option<Data>,
    pub(super) parser: ListingParser,
}

/// What a listing is for.
#[derive(Debug)]
pub(crate) enum Role {
    /// The directory is listed as all are.
    Usual,
    /// This way was refused the directory, and another is tried for it.
    Instead(Way, FtpError),
    /// It is compared with another, or a loop is looked for.
    Probe,
}

impl<'s> Listing<'s> {
    pub(super) fn of(
        opener: &'s mut DataOpener,
        learned: Rc<LearnedLists>,
        opened: Opened,
        role: Role,
    ) -> Self {
        let Opened { way, data, parser } = opened;
        let pace = Pace::new(&opener.speed);
        let fingerprinter = Fingerprinter::new(learned.fingerprint_key);
        Self {
            opener,
            learned,
            data,
            parser,
            way,
            role,
            is_tentative: false,
            clean: true,
            at_line_end: true,
            pace,
            fingerprinter,
            ahead: ReadAhead::default(),
        }
    }

    /// Marked so, see [`crate::protocol::Listing::is_tentative`].
    pub(super) fn tentative(self, is_tentative: bool) -> Self {
        Self { is_tentative, ..self }
    }

    /// Has the names collected, and those of the path looked for.
    pub(crate) fn collect_names(mut self, path: &RemotePath) -> Self {
        self.parser.collect_names();
        self.parser.watch_for(path);
        self
    }
}

impl Listing<'_> {
    async fn read(&mut self) -> Result<usize, FtpError> {
        let Some(data) = &mut self.data else { return Ok(0) };
        let opener = &mut *self.opener;
        let piece = opener.speed.limit.piece(CHUNK);
        opener.buffer.resize(opener.buffer.len().max(piece), 0);
        let space = opener.buffer.get_mut(..piece).unwrap_or_default();
        let began = Instant::now();
        let read = data.read(self.way.command(), opener.control.timeout, space, &mut self.clean).await?;
        if read > 0 {
            self.pace.took(self.way.command(), began.elapsed(), read)?;
            opener.speed.limit.pay(read).await;
        }
        let bytes = opener.buffer.get(..read).unwrap_or_default();
        self.at_line_end = bytes.last().map_or(self.at_line_end, |last| *last == b'\n');
        self.fingerprinter.write(bytes);
        Ok(read)
    }

    /// See [`crate::protocol::Listing::next`].
    pub(crate) async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, FtpError> {
        let held = self.ahead.take()?;
        let read = if held.is_empty() { self.read().await? } else { held.len() };
        let bytes = if held.is_empty() { self.opener.buffer.get(..read) } else { Some(held.as_slice()) };
        self.parser.feed(bytes.unwrap_or_default(), entries);
        self.parser.check_limit()?;
        Ok(read > 0)
    }

    /// See [`crate::protocol::Listing::finish`]. `entries` gets what a last line without an end held.
    pub(crate) async fn finish(self, entries: &mut Vec<Entry>) -> Result<Summary, FtpError> {
        let Self { opener, learned, data, parser, way, role, ahead, clean, at_line_end, .. } = self;
        // a line that the end of the connection cut may look like a name of its own
        let is_torn = !clean && !at_line_end;
        let summary = if is_torn { parser.finish(&mut Vec::new()) } else { parser.finish(entries) };
        if let Some(data) = data {
            let reply = opener.end_transfer(way.command(), data, false).await?;
            check_reply(&reply, way.command())?;
        }
        if is_torn {
            return Err(ListingCut("the data connection broke in the middle of a line".to_owned()).into());
        }
        if let Some(sample) = &summary.sample
            && summary.entries + summary.special + summary.names_refused == 0
        {
            return Err(FtpError::ListingUnreadable(sample.clone()));
        }
        let ways = &learned.ways;
        // what is as it was has not been taken apart
        let shows_nothing = summary.is_empty() && ahead.is_empty();
        match role {
            Role::Usual => ways.listed(way, None, summary.entries > 0),
            // who says no and who shows nothing contradict each other
            Role::Instead(_, refusal) if shows_nothing && !means_emptiness(&refusal) => {
                return Err(refusal);
            }
            Role::Instead(refused, _) => ways.listed(way, Some(refused), summary.entries > 0),
            Role::Probe => {}
        }
        Ok(summary)
    }
}

impl ReadsAhead for Listing<'_> {
    type Piece = u8;
    type Error = FtpError;

    fn ahead(&mut self) -> &mut ReadAhead<u8, FtpError> {
        &mut self.ahead
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn read_on(&mut self, bytes: &mut Vec<u8>) -> Result<bool, FtpError> {
        let read = self.read().await?;
        bytes.extend_from_slice(self.opener.buffer.get(..read).unwrap_or_default());
        Ok(read > 0)
    }
}

#[async_trait(?Send)]
impl crate::protocol::Listing for Listing<'_> {
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        is_unchanged(self, before).await
    }

    fn is_tentative(&self) -> bool {
        self.is_tentative
    }

    fn own_unique(&self) -> Option<u64> {
        self.parser.own_unique()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        Ok(Listing::next(self, entries).await?)
    }

    async fn finish(self: Box<Self>, entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError> {
        Ok(Listing::finish(*self, entries).await?)
    }
}

/// Returns whether a refusal may be a way of saying that the directory is empty.
fn means_emptiness(refusal: &FtpError) -> bool {
    match refusal {
        // who does not let anybody in says nothing of what is in there
        FtpError::Refused { step: "CWD", reply } => matches!(reply.code, 500..=504),
        FtpError::Refused { reply, .. } => {
            says_empty(reply) || says_nothing_found(reply) || matches!(reply.code, 500..=504)
        }
        _ => false,
    }
}

/// Finds the failures that servers put into the text of a success.
pub(super) fn check_reply(reply: &Reply, step: &'static str) -> Result<(), FtpError> {
    // Pure-FTPd: "226-Output truncated to 10000 matches"
    if reply.mentions("truncated") {
        return Err(ListingCut(reply_lines(reply)).into());
    }
    // vsftpd: "226 Transfer done (but failed to open directory)."
    if reply.mentions("failed to open directory") {
        return Err(FtpError::Refused { step, reply: reply.clone() });
    }
    Ok(())
}

fn reply_lines(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    crate::base::names::Printable(&lines.join(" / ")).to_string().chars().take(200).collect()
}
