//! Listing one directory: MLSD with its path, or CWD and a bare LIST, read as a stream with bounds.
//!
//! LIST never gets a path: servers glob it, or take one that begins with a dash for options.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip::SipHasher13;
use tokio::time::Instant;

use super::data::Data;
use super::error::FtpError;
use super::listing::{Entry, ListingParser, Summary};
use super::pace::Pace;
use super::reply::Reply;
use super::session::Session;
use crate::config::ListingMode;
use crate::names::RemotePath;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;

/// What a listing was, byte for byte. Its hash has a key of its own for each run of the program, so that no server can
/// make two listings look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of all its bytes.
    pub hash: u64,
    /// How many there are.
    pub bytes: u64,
}

/// The key of the fingerprints of one server.
#[derive(Debug)]
pub(super) struct FingerprintKey(u64, u64);

impl Default for FingerprintKey {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }
}

/// A directory being listed. Dropped before [`Listing::finish`], its session is not reusable.
pub struct Listing<'s> {
    session: &'s mut Session,
    /// `None` where the server said that there is nothing, without opening a data connection.
    data: Option<Data>,
    parser: ListingParser,
    step: &'static str,
    clean: bool,
    /// What was read last is the end of a line.
    at_line_end: bool,
    pace: Pace,
    hash: SipHasher13,
    bytes: u64,
    /// Read and not taken apart yet, see [`Listing::is_still`].
    held: Vec<u8>,
    /// How the reading of `held` ended.
    broken: Option<FtpError>,
}

impl Session {
    /// Begins to list the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where the directory cannot be entered; the session stays usable then.
    pub async fn list(&mut self, path: &RemotePath) -> Result<Listing<'_>, FtpError> {
        let opened = match self.listing {
            ListingMode::Mlsd => self.mlsd(path).await?,
            ListingMode::List => self.bare_list(path).await?,
            ListingMode::Auto if !self.shows_mlsd() => self.bare_list(path).await?,
            ListingMode::Auto => match self.mlsd(path).await {
                // not implemented after all: never asked again
                Err(FtpError::Refused { step: "MLSD", reply }) if matches!(reply.code, 500 | 502 | 504) => {
                    self.learned.mlsd_refused.set(true);
                    self.bare_list(path).await?
                }
                outcome => {
                    let (data, mut parser, step) = outcome?;
                    if self.wants_comparison() {
                        parser.collect_names();
                    }
                    (data, parser, step)
                }
            },
        };
        Ok(Listing::of(self, opened))
    }

    /// Whether the server shows MLSD and nothing was found against it.
    pub(super) fn shows_mlsd(&self) -> bool {
        self.learned.features.get().unwrap_or_default().mlsd && !self.learned.mlsd_refused.get()
    }

    /// Begins to list a directory by MLSD, whose argument is the path.
    pub(super) async fn mlsd(&mut self, path: &RemotePath) -> Result<Opened, FtpError> {
        let data = self.open_transfer("MLSD", &[b"MLSD ", path.wire()].concat(), 0).await?;
        Ok((Some(data), ListingParser::mlsd(self.encoding), "MLSD"))
    }

    /// Begins to list a directory by CWD and a LIST without argument.
    pub(super) async fn bare_list(&mut self, path: &RemotePath) -> Result<Opened, FtpError> {
        self.enter(path).await?;
        let data = match self.open_transfer("LIST", b"LIST", 0).await {
            Ok(data) => Some(data),
            // the directory was entered a moment ago: "no files found" of FileZilla Server, DrFTPD and others
            Err(FtpError::Refused { step: "LIST", reply }) if matches!(reply.code, 450 | 550) => None,
            Err(error) => return Err(error),
        };
        Ok((data, ListingParser::list(self.encoding, chrono::Utc::now()), "LIST"))
    }
}

/// A listing that has begun: its data connection, its parser and its command.
pub(super) type Opened = (Option<Data>, ListingParser, &'static str);

impl<'s> Listing<'s> {
    pub(super) fn of(session: &'s mut Session, (data, parser, step): Opened) -> Self {
        let pace = Pace::new(&session.speed);
        let FingerprintKey(first, second) = session.learned.fingerprint_key;
        let hash = SipHasher13::new_with_keys(first, second);
        Self {
            session,
            data,
            parser,
            step,
            clean: true,
            at_line_end: true,
            pace,
            hash,
            bytes: 0,
            held: Vec::new(),
            broken: None,
        }
    }
}

impl Listing<'_> {
    /// Reads on to the end, as long as it can be the listing of that fingerprint; whether it is. If not, what was read
    /// is taken apart by [`Listing::next`], as if nothing had been read.
    pub async fn is_still(&mut self, before: Fingerprint) -> bool {
        while self.bytes <= before.bytes {
            match self.read().await {
                Ok(0) => return self.fingerprint() == before,
                Ok(read) => {
                    self.held.extend_from_slice(self.session.buffer.get(..read).unwrap_or_default());
                }
                Err(error) => {
                    self.broken = Some(error);
                    return false;
                }
            }
        }
        false
    }

    /// What was read so far; at its end, the whole listing.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: self.hash.finish(), bytes: self.bytes }
    }

    async fn read(&mut self) -> Result<usize, FtpError> {
        let Some(data) = &mut self.data else { return Ok(0) };
        let session = &mut *self.session;
        let piece = session.speed.limit.piece(CHUNK);
        session.buffer.resize(session.buffer.len().max(piece), 0);
        let space = session.buffer.get_mut(..piece).unwrap_or_default();
        let began = Instant::now();
        let read = data.read(self.step, session.timeout, space, &mut self.clean).await?;
        if read > 0 {
            self.pace.took(self.step, began.elapsed(), read)?;
            session.speed.limit.pay(read).await;
        }
        let bytes = session.buffer.get(..read).unwrap_or_default();
        self.at_line_end = bytes.last().map_or(self.at_line_end, |last| *last == b'\n');
        self.hash.write(bytes);
        self.bytes += read as u64;
        Ok(read)
    }

    /// Appends the next entries to `entries`; false at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the listing goes over its bounds. Cancelled, the session is not reusable.
    pub async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, FtpError> {
        let held = std::mem::take(&mut self.held);
        let read = if held.is_empty() {
            match self.broken.take() {
                Some(error) => return Err(error),
                None => self.read().await?,
            }
        } else {
            held.len()
        };
        let bytes = if held.is_empty() { self.session.buffer.get(..read) } else { Some(held.as_slice()) };
        self.parser.feed(bytes.unwrap_or_default(), entries);
        if self.parser.is_over_limit() {
            return Err(FtpError::ListingCut("it is larger than a listing may be".to_owned()));
        }
        Ok(read > 0)
    }

    /// Reads the server's verdict. `entries` gets what a last line without an end held.
    ///
    /// # Errors
    ///
    /// Whenever the listing cannot be relied on to be complete; what came is still true.
    pub async fn finish(self, entries: &mut Vec<Entry>) -> Result<Summary, FtpError> {
        // a line that the end of the connection cut may look like a name of its own
        let is_torn = !self.clean && !self.at_line_end;
        let summary = if is_torn { self.parser.finish(&mut Vec::new()) } else { self.parser.finish(entries) };
        if let Some(data) = self.data {
            let reply = self.session.end_transfer(self.step, data, false).await?;
            complain(&reply, self.step)?;
        }
        if is_torn {
            return Err(FtpError::ListingCut("the data connection broke in the middle of a line".to_owned()));
        }
        match &summary.sample {
            Some(sample) if summary.entries + summary.special + summary.names_refused == 0 => {
                Err(FtpError::ListingUnreadable(sample.clone()))
            }
            _ => Ok(summary),
        }
    }
}

/// Finds the failures that servers put into the text of a success.
fn complain(reply: &Reply, step: &'static str) -> Result<(), FtpError> {
    // Pure-FTPd: "226-Output truncated to 10000 matches"
    if reply.mentions("truncated") {
        return Err(FtpError::ListingCut(reply_lines(reply)));
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
    crate::names::Printable(&lines.join(" / ")).to_string().chars().take(200).collect()
}
