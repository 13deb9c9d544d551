//! Listing one directory, in the way that shows it (`ways`), read as a stream with bounds.
//!
//! LIST gets a path only where nothing else shows anything: servers glob it, or take one that begins with a dash for
//! options.

use std::rc::Rc;

use encoding_rs::Encoding;

use super::compared::Compared;
use super::refusals::{says_empty, says_forbidden};
use super::stream::{LearnedLists, Opened, check_reply};
pub(crate) use super::stream::{Listing, Role};
use super::ways::{Choice, Way};
use crate::base::file_names::FileNames;
use crate::base::names::RemotePath;
use crate::config::ListingMode;
use crate::ftp::control::reply::Reply;
use crate::ftp::data::open::{Data, DataOpener};
use crate::ftp::error::FtpError;
use crate::ftp::listing::ListingParser;

/// Bytes of NLST that are looked at: whether there is any name is all that is asked.
const MOST_NAMES: usize = 64 * 1024;

/// How one session lists.
pub(crate) struct Lists {
    pub(crate) mode: ListingMode,
    pub(crate) encoding: &'static Encoding,
    /// Those that are wanted.
    pub(crate) files: FileNames,
    pub(crate) learned: Rc<LearnedLists>,
    /// How the last listing was asked for, until it is confirmed; `None` where that way holds for its directory alone.
    pub(crate) listed_by: Option<Way>,
}

/// Lists on one session.
pub(crate) struct Lister<'s> {
    pub(crate) opener: &'s mut DataOpener,
    pub(crate) lists: &'s mut Lists,
}

impl<'s> Lister<'s> {
    /// Begins to list the directory at `path`, by the way that is known to show it; where that is refused, by another.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where no way lists it; the session stays usable then.
    pub(crate) async fn list(mut self, path: &RemotePath) -> Result<Listing<'s>, FtpError> {
        let (role, mut opened) = self.open_by_any(path).await?;
        let is_usual = matches!(role, Role::Usual);
        self.lists.listed_by = is_usual.then_some(opened.way);
        let is_tentative = is_usual && self.is_tentative(opened.way);
        if is_tentative {
            opened.parser.collect_names();
            opened.parser.watch_for(path);
        }
        let Self { opener, lists } = self;
        let learned = Rc::clone(&lists.learned);
        Ok(Listing::of(opener, learned, opened, role).tentative(is_tentative))
    }

    async fn open_by_any(&mut self, path: &RemotePath) -> Result<(Role, Opened), FtpError> {
        let preferred = self.preferred_way();
        let refusal = match self.open_by(preferred, path).await {
            Ok(opened) => return Ok((Role::Usual, opened)),
            Err(error) => error,
        };
        let mut goes_on =
            self.opener.control.is_reusable() && self.lists.learned.ways.refused(preferred, &refusal);
        let others = self.lists.learned.ways.others(self.choice(), preferred);
        for way in others {
            // a command that the server does not know leaves out others as well
            if !goes_on || !self.lists.learned.ways.others(self.choice(), preferred).any(|other| other == way)
            {
                continue;
            }
            match self.open_by(way, path).await {
                Ok(opened) if self.preferred_way() == way => return Ok((Role::Usual, opened)),
                Ok(opened) => return Ok((Role::Instead(preferred, refusal), opened)),
                Err(error) => {
                    goes_on =
                        self.opener.control.is_reusable() && self.lists.learned.ways.refused(way, &error)
                }
            }
        }
        if let Some(opened) = self.open_unentered(preferred, path, &refusal).await? {
            return Ok((Role::Instead(preferred, refusal), opened));
        }
        self.lists.learned.ways.failed();
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
        if !self.opener.control.is_reusable() || !self.lists.learned.ways.tries_path(refused, refusal) {
            return Ok(None);
        }
        let ways = self.lists.learned.ways.others(self.choice(), refused).filter(|way| !way.enters());
        for way in ways {
            if !self.shows_by_path(way, path).await? {
                continue;
            }
            match self.open_by(way, path).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) if !self.opener.control.is_reusable() => return Err(error),
                Err(_) => {}
            }
        }
        self.lists.learned.ways.path_in_vain();
        Ok(None)
    }

    pub(crate) fn choice(&self) -> Choice {
        Choice { mode: self.lists.mode, mlst: self.lists.learned.features.get().unwrap_or_default().mlsd }
    }

    pub(crate) fn preferred_way(&self) -> Way {
        self.lists.learned.ways.preferred(self.choice())
    }

    /// Begins to list a directory in one way.
    pub(crate) async fn open_by(&mut self, way: Way, path: &RemotePath) -> Result<Opened, FtpError> {
        // before the port is asked for, which may come together with the directory
        self.opener.control.set_type(self.lists.learned.ways.wants_text.get()).await?;
        let data = if way.enters() {
            self.opener.enter(path.wire()).await?;
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
            true => ListingParser::mlsd(self.lists.encoding),
            false => ListingParser::list(
                self.lists.encoding,
                chrono::Utc::now() + self.lists.learned.clock.get().ahead,
            ),
        };
        let parser = parser.of_directory(path).of_files(&self.lists.files);
        Ok(Opened { way, data, parser })
    }

    /// Goes back to the root, where another directory was entered: some servers look up the path of MLSD from where
    /// they are (uftpd shows nothing then).
    async fn go_home(&mut self) -> Result<(), FtpError> {
        let is_away = self.opener.control.cwd.as_deref().is_some_and(|cwd| cwd != b"/");
        if is_away && !self.lists.learned.ways.homeless.get() {
            let reply = self.opener.control.command("CWD", b"CWD /").await?;
            self.lists.learned.ways.homeless.set(!reply.is_done());
        }
        Ok(())
    }

    /// Opens the data connection of a listing. Some servers hold RFC 959 to the letter, where lists are text: what they
    /// refuse is asked for again under TYPE A, as long as no listing came under TYPE I.
    async fn ask_for_listing(&mut self, way: Way, line: &[u8]) -> Result<Data, FtpError> {
        let step = way.command();
        let refusal = match self.opener.open_transfer(step, line, 0).await {
            Err(FtpError::Refused { step: at, reply }) if at == step && self.may_want_text(way, &reply) => {
                reply
            }
            outcome => return outcome,
        };
        if self.opener.control.set_type(true).await.is_ok() {
            match self.opener.open_transfer(step, line, 0).await {
                Ok(data) => {
                    self.lists.learned.ways.wants_text.set(true);
                    return Ok(data);
                }
                Err(FtpError::Refused { .. }) if self.opener.control.is_reusable() => {
                    self.opener.control.set_type(false).await?
                }
                Err(error) => return Err(error),
            }
        }
        Err(FtpError::Refused { step, reply: refusal })
    }

    fn may_want_text(&self, way: Way, reply: &Reply) -> bool {
        let ways = &self.lists.learned.ways;
        let is_of_type = match reply.code {
            504 => !way.is_mlsd(),
            450 | 501 | 503 | 505..=529 | 531..=559 => true,
            _ => false,
        };
        is_of_type && !self.opener.control.is_text() && !ways.has_worked(way) && !says_empty(reply)
    }

    /// Returns whether a directory that was entered and not listed is empty: by the words of the refusal, or
    /// by what NLST shows.
    async fn is_empty_though_refused(&mut self, way: Way, reply: &Reply) -> Result<bool, FtpError> {
        if says_empty(reply) {
            return Ok(true);
        }
        if way != Way::CwdList || !matches!(reply.code, 450 | 550) || says_forbidden(reply) {
            return Ok(false);
        }
        match self.names_by_nlst().await {
            Ok(names) => Ok(names == 0),
            Err(FtpError::Refused { reply, .. }) if self.opener.control.is_reusable() => {
                Ok(says_empty(&reply))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns how many bytes of names NLST shows of the directory that was entered, those of itself and its
    /// parent left out.
    async fn names_by_nlst(&mut self) -> Result<usize, FtpError> {
        let mut data = self.opener.open_transfer("NLST", b"NLST", 0).await?;
        let (mut text, mut clean, mut piece) = (Vec::new(), true, [0; 1024]);
        while text.len() < MOST_NAMES {
            match data.read("NLST", self.opener.control.timeout, &mut piece, &mut clean).await? {
                0 => break,
                read => text.extend_from_slice(piece.get(..read).unwrap_or_default()),
            }
        }
        let reply = self.opener.end_transfer("NLST", data, false).await?;
        check_reply(&reply, "NLST")?;
        let names = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Ok(names.filter(|name| !matches!(*name, b"" | b"." | b"..")).map(<[u8]>::len).sum())
    }

    /// The stream of a listing that has begun.
    pub(super) fn listing(&mut self, opened: Opened, role: Role) -> Listing<'_> {
        Listing::of(self.opener, Rc::clone(&self.lists.learned), opened, role)
    }

    /// Returns whether a listing by this way is not to be used before it is confirmed.
    pub(super) fn is_tentative(&self, way: Way) -> bool {
        !self.lists.learned.ways.honours_path.get() || self.may_compare(way)
    }

    pub(super) fn may_compare(&self, way: Way) -> bool {
        let compared = self.lists.learned.ways.compared.get();
        self.lists.mode == ListingMode::Auto && way.is_mlsd() && compared != Compared::Enough
    }
}

/// Returns whether LIST takes the path for a path, and not for options or a pattern.
fn is_harmless(path: &RemotePath) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte) || !byte.is_ascii();
    path.wire().iter().all(is_plain) && !path.wire().windows(2).any(|pair| pair == b"/-")
}
