//! Listing one directory: MLSD with its path, or CWD and a bare LIST, read as a stream with bounds.
//!
//! LIST never gets a path: servers glob it, or take one that begins with a dash for options.

use super::error::FtpError;
use super::listing::{Entry, ListingParser, Summary};
use super::reply::Reply;
use super::session::{Data, Session};
use crate::config::ListingMode;
use crate::names::RemotePath;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;

/// A directory being listed. Dropped before [`Listing::finish`], its session is not reusable.
pub struct Listing<'s> {
    session: &'s mut Session,
    /// `None` where the server said that there is nothing, without opening a data connection.
    data: Option<Data>,
    parser: ListingParser,
    step: &'static str,
    clean: bool,
}

impl Session {
    /// Begins to list the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where the directory cannot be entered; the session stays usable then.
    pub async fn list(&mut self, path: &RemotePath) -> Result<Listing<'_>, FtpError> {
        let (data, parser, step) = match self.listing {
            ListingMode::Mlsd => self.mlsd(path).await?,
            ListingMode::List => self.bare_list(path).await?,
            ListingMode::Auto if !self.shows_mlsd() => self.bare_list(path).await?,
            ListingMode::Auto => match self.mlsd(path).await {
                // not implemented after all: never asked again
                Err(FtpError::Refused { step: "MLSD", reply }) if matches!(reply.code, 500 | 502 | 504) => {
                    self.learned.mlsd_refused.set(true);
                    self.bare_list(path).await?
                }
                outcome => outcome?,
            },
        };
        Ok(Listing { session: self, data, parser, step, clean: true })
    }

    fn shows_mlsd(&self) -> bool {
        self.learned.features.get().unwrap_or_default().mlsd && !self.learned.mlsd_refused.get()
    }

    async fn mlsd(&mut self, path: &RemotePath) -> Result<Opened, FtpError> {
        let data = self.open_transfer("MLSD", &[b"MLSD ", path.wire()].concat(), 0).await?;
        Ok((Some(data), ListingParser::mlsd(self.encoding), "MLSD"))
    }

    async fn bare_list(&mut self, path: &RemotePath) -> Result<Opened, FtpError> {
        self.require("CWD", &[b"CWD ", path.wire()].concat()).await?;
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
type Opened = (Option<Data>, ListingParser, &'static str);

impl Listing<'_> {
    /// Appends the next entries to `entries`; false at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the listing goes over its bounds. Cancelled, the session is not reusable.
    pub async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, FtpError> {
        let Some(data) = &mut self.data else { return Ok(false) };
        let session = &mut *self.session;
        session.buffer.resize(session.buffer.len().max(CHUNK), 0);
        let read = data.read(self.step, session.timeout, &mut session.buffer, &mut self.clean).await?;
        self.parser.feed(session.buffer.get(..read).unwrap_or_default(), entries);
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
        let summary = self.parser.finish(entries);
        if let Some(data) = self.data {
            let reply = self.session.end_transfer(self.step, data, false).await?;
            complain(&reply, self.step)?;
        }
        match &summary.sample {
            Some(sample) if summary.entries == 0 && summary.names_refused == 0 => {
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
