//! Listing one directory, in the way that shows it (`ways`), read as a stream with bounds.
//!
//! LIST gets a path only where nothing else shows anything: servers glob it, or take one that begins with a dash for
//! options.

use async_trait::async_trait;
use tokio::time::Instant;

use super::ways::{Choice, Way, says_empty, says_forbidden, says_nothing_found};
use crate::base::names::RemotePath;
use crate::ftp::control::reply::Reply;
use crate::ftp::data::open::Data;
use crate::ftp::error::FtpError;
use crate::ftp::listing::ListingParser;
use crate::ftp::session::Session;
use crate::net::pace::Pace;
use crate::protocol::{Entry, Fingerprint, Fingerprinter, ListingCut, ProtocolError, ReadAhead, Summary};

/// Bytes of NLST that are looked at: whether there is any name is all that is asked.
const MOST_NAMES: usize = 64 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;

/// A directory being listed. Dropped before [`Listing::finish`], its session is not reusable.
pub struct Listing<'s> {
    session: &'s mut Session,
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
    /// Read and not taken apart yet, see [`Listing::is_unchanged`].
    ahead: ReadAhead<u8, FtpError>,
}

/// A listing that has begun: its way, its data connection and its parser.
pub(crate) struct Opened {
    way: Way,
    data: Option<Data>,
    parser: ListingParser,
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

impl Session {
    /// Begins to list the directory at `path`, by the way that is known to show it; where that is refused, by another.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where no way lists it; the session stays usable then.
    pub(crate) async fn list(&mut self, path: &RemotePath) -> Result<Listing<'_>, FtpError> {
        let (role, mut opened) = self.open_by_any(path).await?;
        let is_usual = matches!(role, Role::Usual);
        self.listed_by = is_usual.then_some(opened.way);
        let is_tentative = is_usual && self.is_tentative(opened.way);
        if is_tentative {
            opened.parser.collect_names();
            opened.parser.watch_for(path);
        }
        Ok(Listing { is_tentative, ..Listing::of(self, opened, role) })
    }

    async fn open_by_any(&mut self, path: &RemotePath) -> Result<(Role, Opened), FtpError> {
        let preferred = self.preferred_way();
        let refusal = match self.open_by(preferred, path).await {
            Ok(opened) => return Ok((Role::Usual, opened)),
            Err(error) => error,
        };
        let mut goes_on = self.is_reusable() && self.learned.ways.refused(preferred, &refusal);
        let others = self.learned.ways.others(self.choice(), preferred);
        for way in others {
            // a command that the server does not know leaves out others as well
            if !goes_on || !self.learned.ways.others(self.choice(), preferred).any(|other| other == way) {
                continue;
            }
            match self.open_by(way, path).await {
                Ok(opened) if self.preferred_way() == way => return Ok((Role::Usual, opened)),
                Ok(opened) => return Ok((Role::Instead(preferred, refusal), opened)),
                Err(error) => goes_on = self.is_reusable() && self.learned.ways.refused(way, &error),
            }
        }
        if let Some(opened) = self.open_unentered(preferred, path, &refusal).await? {
            return Ok((Role::Instead(preferred, refusal), opened));
        }
        self.learned.ways.failed();
        Err(refusal)
    }

    /// Begins to list by its path a directory that the server does not let anybody enter (appliances whose directories
    /// are virtual), where listings by paths are known, or seen now, to be of the path that they are asked of.
    async fn open_unentered(
        &mut self,
        refused: Way,
        path: &RemotePath,
        refusal: &FtpError,
    ) -> Result<Option<Opened>, FtpError> {
        if !self.is_reusable() || !self.learned.ways.tries_path(refused, refusal) {
            return Ok(None);
        }
        let ways = self.learned.ways.others(self.choice(), refused).filter(|way| !way.enters());
        for way in ways {
            if !self.shows_by_path(way, path).await? {
                continue;
            }
            match self.open_by(way, path).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) if !self.is_reusable() => return Err(error),
                Err(_) => {}
            }
        }
        self.learned.ways.path_in_vain();
        Ok(None)
    }

    pub(crate) fn choice(&self) -> Choice {
        Choice { mode: self.listing, mlst: self.learned.features.get().unwrap_or_default().mlsd }
    }

    pub(crate) fn preferred_way(&self) -> Way {
        self.learned.ways.preferred(self.choice())
    }

    /// Begins to list a directory in one way.
    pub(crate) async fn open_by(&mut self, way: Way, path: &RemotePath) -> Result<Opened, FtpError> {
        // before the port is asked for, which may come together with the directory
        self.set_type(self.learned.ways.wants_text.get()).await?;
        let data = if way.enters() {
            self.enter(path).await?;
            match self.ask_for_listing(way, way.command().as_bytes()).await {
                Ok(data) => Some(data),
                Err(FtpError::Refused { step, reply }) if step == way.command() => {
                    if !self.is_empty_though_refused(way, &reply).await? {
                        return Err(FtpError::Refused { step, reply });
                    }
                    None
                }
                Err(error) => return Err(error),
            }
        } else {
            if way == Way::ListPath && !is_harmless(path) {
                let cause = std::io::ErrorKind::InvalidInput.into();
                return Err(FtpError::Data { step: "LIST", cause });
            }
            self.go_home().await?;
            let line = [way.command().as_bytes(), b" ", path.wire()].concat();
            Some(self.ask_for_listing(way, &line).await?)
        };
        let parser = match way.is_mlsd() {
            true => ListingParser::mlsd(self.encoding),
            false => ListingParser::list(self.encoding, chrono::Utc::now() + self.learned.clock.get().ahead),
        };
        let parser = parser.of_directory(path);
        Ok(Opened { way, data, parser })
    }

    /// Goes back to the root, where another directory was entered: some servers look up the path of MLSD from where
    /// they are (uftpd shows nothing then).
    async fn go_home(&mut self) -> Result<(), FtpError> {
        let is_away = self.cwd.as_deref().is_some_and(|cwd| cwd != b"/");
        if is_away && !self.learned.ways.homeless.get() {
            let reply = self.command("CWD", b"CWD /").await?;
            self.learned.ways.homeless.set(!reply.is_done());
        }
        Ok(())
    }

    /// Opens the data connection of a listing. Some servers hold RFC 959 to the letter, where lists are text: what they
    /// refuse is asked for again under TYPE A, as long as no listing came under TYPE I.
    async fn ask_for_listing(&mut self, way: Way, line: &[u8]) -> Result<Data, FtpError> {
        let step = way.command();
        let refusal = match self.open_transfer(step, line, 0).await {
            Err(FtpError::Refused { step: at, reply }) if at == step && self.may_want_text(way, &reply) => {
                reply
            }
            outcome => return outcome,
        };
        if self.set_type(true).await.is_ok() {
            match self.open_transfer(step, line, 0).await {
                Ok(data) => {
                    self.learned.ways.wants_text.set(true);
                    return Ok(data);
                }
                Err(FtpError::Refused { .. }) if self.is_reusable() => self.set_type(false).await?,
                Err(error) => return Err(error),
            }
        }
        Err(FtpError::Refused { step, reply: refusal })
    }

    fn may_want_text(&self, way: Way, reply: &Reply) -> bool {
        let ways = &self.learned.ways;
        let is_of_type = match reply.code {
            504 => !way.is_mlsd(),
            450 | 501 | 503 | 505..=529 | 531..=559 => true,
            _ => false,
        };
        is_of_type && !self.is_text && !ways.has_worked(way) && !says_empty(reply)
    }

    /// Whether a directory that was entered and not listed is empty: by the words of the refusal, or by what NLST shows.
    async fn is_empty_though_refused(&mut self, way: Way, reply: &Reply) -> Result<bool, FtpError> {
        if says_empty(reply) {
            return Ok(true);
        }
        if way != Way::CwdList || !matches!(reply.code, 450 | 550) || says_forbidden(reply) {
            return Ok(false);
        }
        match self.names_by_nlst().await {
            Ok(names) => Ok(names == 0),
            Err(FtpError::Refused { reply, .. }) if self.is_reusable() => Ok(says_empty(&reply)),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of names NLST shows of the directory that was entered, those of itself and its parent left out.
    async fn names_by_nlst(&mut self) -> Result<usize, FtpError> {
        let mut data = self.open_transfer("NLST", b"NLST", 0).await?;
        let (mut text, mut clean, mut piece) = (Vec::new(), true, [0; 1024]);
        while text.len() < MOST_NAMES {
            match data.read("NLST", self.timeout, &mut piece, &mut clean).await? {
                0 => break,
                read => text.extend_from_slice(piece.get(..read).unwrap_or_default()),
            }
        }
        let reply = self.end_transfer("NLST", data, false).await?;
        complain(&reply, "NLST")?;
        let names = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Ok(names.filter(|name| !matches!(*name, b"" | b"." | b"..")).map(<[u8]>::len).sum())
    }
}

/// Whether LIST takes the path for a path, and not for options or a pattern.
fn is_harmless(path: &RemotePath) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte) || !byte.is_ascii();
    path.wire().iter().all(is_plain) && !path.wire().windows(2).any(|pair| pair == b"/-")
}

impl<'s> Listing<'s> {
    pub(crate) fn of(session: &'s mut Session, opened: Opened, role: Role) -> Self {
        let Opened { way, data, parser } = opened;
        let pace = Pace::new(&session.speed);
        let fingerprinter = Fingerprinter::new(session.learned.fingerprint_key);
        Self {
            session,
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

    /// Has the names collected, and those of the path looked for.
    pub(crate) fn collect_names(mut self, path: &RemotePath) -> Self {
        self.parser.collect_names();
        self.parser.watch_for(path);
        self
    }
}

impl Listing<'_> {
    /// See [`crate::protocol::Listing::is_unchanged`]. If not, what was read is taken apart by [`Listing::next`].
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        let mut ahead = std::mem::take(&mut self.ahead);
        let so_far = self.fingerprint();
        let read = async |held: &mut Vec<u8>| {
            let read = self.read().await?;
            held.extend_from_slice(self.session.buffer.get(..read).unwrap_or_default());
            Ok((self.fingerprint(), read > 0))
        };
        let is_unchanged = ahead.is_unchanged(before, so_far, read).await;
        self.ahead = ahead;
        is_unchanged
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn read(&mut self) -> Result<usize, FtpError> {
        let Some(data) = &mut self.data else { return Ok(0) };
        let session = &mut *self.session;
        let piece = session.speed.limit.piece(CHUNK);
        session.buffer.resize(session.buffer.len().max(piece), 0);
        let space = session.buffer.get_mut(..piece).unwrap_or_default();
        let began = Instant::now();
        let read = data.read(self.way.command(), session.timeout, space, &mut self.clean).await?;
        if read > 0 {
            self.pace.took(self.way.command(), began.elapsed(), read)?;
            session.speed.limit.pay(read).await;
        }
        let bytes = session.buffer.get(..read).unwrap_or_default();
        self.at_line_end = bytes.last().map_or(self.at_line_end, |last| *last == b'\n');
        self.fingerprinter.write(bytes);
        Ok(read)
    }

    /// See [`crate::protocol::Listing::next`].
    pub(crate) async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, FtpError> {
        let held = self.ahead.take()?;
        let read = if held.is_empty() { self.read().await? } else { held.len() };
        let bytes = if held.is_empty() { self.session.buffer.get(..read) } else { Some(held.as_slice()) };
        self.parser.feed(bytes.unwrap_or_default(), entries);
        self.parser.check_limit()?;
        Ok(read > 0)
    }

    /// See [`crate::protocol::Listing::finish`]. `entries` gets what a last line without an end held.
    pub(crate) async fn finish(self, entries: &mut Vec<Entry>) -> Result<Summary, FtpError> {
        let Self { session, data, parser, way, role, ahead, clean, at_line_end, .. } = self;
        // a line that the end of the connection cut may look like a name of its own
        let is_torn = !clean && !at_line_end;
        let summary = if is_torn { parser.finish(&mut Vec::new()) } else { parser.finish(entries) };
        if let Some(data) = data {
            let reply = session.end_transfer(way.command(), data, false).await?;
            complain(&reply, way.command())?;
        }
        if is_torn {
            return Err(ListingCut("the data connection broke in the middle of a line".to_owned()).into());
        }
        if let Some(sample) = &summary.sample
            && summary.entries + summary.special + summary.names_refused == 0
        {
            return Err(FtpError::ListingUnreadable(sample.clone()));
        }
        let ways = &session.learned.ways;
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

#[async_trait(?Send)]
impl crate::protocol::Listing for Listing<'_> {
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        Listing::is_unchanged(self, before).await
    }

    fn is_tentative(&self) -> bool {
        self.is_tentative
    }

    fn own_unique(&self) -> Option<u64> {
        self.parser.own_unique()
    }

    fn fingerprint(&self) -> Fingerprint {
        Listing::fingerprint(self)
    }

    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        Ok(Listing::next(self, entries).await?)
    }

    async fn finish(self: Box<Self>, entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError> {
        Ok(Listing::finish(*self, entries).await?)
    }
}

/// Whether a refusal may be a way of saying that the directory is empty.
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
fn complain(reply: &Reply, step: &'static str) -> Result<(), FtpError> {
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
