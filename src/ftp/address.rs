//! Files by their paths, or by their bare names in the current directory, where a server takes nothing else (appliances
//! and NAS whose root is virtual). Paths are tried first; what was found is remembered for the server.

use std::cell::Cell;
use std::rc::Rc;

use super::control::reply::Reply;
use super::data::open::{Data, DataOpener};
use super::error::FtpError;
use crate::base::names::RemotePath;

/// So many files are tried in vain by their bare names, and after that one of so many: those that are gone or forbidden
/// must not cost two requests each.
const TRIALS: u32 = 8;
const RARELY: u32 = 32;

/// How a server takes the names of files, for one command. Lives on the thread of the server's scanner.
#[derive(Debug, Default)]
pub(super) struct Addressing {
    bare: Cell<bool>,
    /// A path was taken: with the server where its login put it, and after a CWD. There are servers that see paths from
    /// the current directory.
    paths: Cell<[bool; 2]>,
    in_vain: Cell<u32>,
}

impl Addressing {
    fn path_was_taken(&self, has_moved: bool) {
        let [at_first, moved] = self.paths.get();
        self.paths.set([at_first || !has_moved, moved || has_moved]);
    }

    fn wants_trial(&self, has_moved: bool) -> bool {
        let [at_first, moved] = self.paths.get();
        let proved = if has_moved { moved } else { at_first };
        let in_vain = self.in_vain.get();
        !proved && (in_vain < TRIALS || in_vain.is_multiple_of(RARELY))
    }

    fn bare_was_taken(&self, command: &str) {
        if !self.bare.replace(true) {
            log::info!("a server takes no paths after {command}; it is asked for bare names from now on");
        }
    }

    fn was_in_vain(&self) {
        self.in_vain.set(self.in_vain.get().saturating_add(1));
    }
}

/// What was learnt of a server's names, for all sessions with it.
#[derive(Debug, Default)]
pub(super) struct LearnedNames {
    /// How the server takes the names of files that are fetched.
    pub(super) fetched: Addressing,
    /// The same of those whose size is asked for.
    pub(super) sized: Addressing,
}

/// See [`LearnedNames`].
pub(super) type FileNames = Rc<LearnedNames>;

/// Asks for files by their names.
pub(super) struct FileFinder<'s> {
    pub(super) opener: &'s mut DataOpener,
    pub(super) names: &'s LearnedNames,
}

impl FileFinder<'_> {
    /// The size of a file as SIZE says it (RFC 3659 section 4), or `None` where the server does not tell.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub(super) async fn size(&mut self, path: &[u8]) -> Result<Option<u64>, FtpError> {
        self.opener.control.set_type(false).await?;
        let learned = self.names;
        if learned.sized.bare.get() || learned.fetched.bare.get() {
            return Ok(self.size_of_bare(path).await?.and_then(|reply| reply.size()));
        }
        let reply = self.opener.control.command("SIZE", &[b"SIZE ", path].concat()).await?;
        if reply.is_done() {
            self.note_path(&learned.sized, path);
            return Ok(reply.size());
        }
        if !refuses_name(&reply)
            || !learned.sized.wants_trial(self.opener.control.cwd.is_some())
            || !self.opener.control.is_reusable()
        {
            return Ok(None);
        }
        let before = self.opener.control.cwd.clone();
        match self.size_of_bare(path).await? {
            Some(reply) => {
                learned.sized.bare_was_taken("SIZE");
                Ok(reply.size())
            }
            None => {
                learned.sized.was_in_vain();
                self.go_back(before).await?;
                Ok(None)
            }
        }
    }

    async fn size_of_bare(&mut self, path: &[u8]) -> Result<Option<Reply>, FtpError> {
        let (directory, name) = split(path);
        match self.stand_in(directory, false).await {
            Err(FtpError::Refused { .. }) => return Ok(None),
            outcome => outcome?,
        }
        let reply = self.opener.control.command("SIZE", &[b"SIZE ", name].concat()).await?;
        Ok(reply.is_done().then_some(reply))
    }

    /// Opens the transfer of the file at `path` from byte `offset` on, by its path or its bare name.
    pub(super) async fn open_file(&mut self, path: &RemotePath, offset: u64) -> Result<Data, FtpError> {
        self.opener.control.set_type(false).await?;
        let learned = self.names;
        let path = path.wire();
        if learned.fetched.bare.get() {
            return match self.open_bare(path, offset).await {
                // a directory that may not be entered: its files may be had all the same
                Err(FtpError::Refused { step: "CWD", .. }) if self.opener.control.is_reusable() => {
                    self.open_path(path, offset).await
                }
                outcome => outcome,
            };
        }
        let error = match self.open_path(path, offset).await {
            Ok(data) => {
                self.note_path(&learned.fetched, path);
                return Ok(data);
            }
            Err(error) => error,
        };
        let is_of_name = matches!(&error, FtpError::Refused { step: "RETR", reply } if refuses_name(reply));
        // a refusal to begin in the middle says nothing of the name; the caller tries again from the start
        if offset > 0
            || !is_of_name
            || !learned.fetched.wants_trial(self.opener.control.cwd.is_some())
            || !self.opener.control.is_reusable()
        {
            return Err(error);
        }
        let before = self.opener.control.cwd.clone();
        match self.open_bare(path, offset).await {
            Ok(data) => {
                learned.fetched.bare_was_taken("RETR");
                Ok(data)
            }
            Err(FtpError::Refused { .. }) if self.opener.control.is_reusable() => {
                learned.fetched.was_in_vain();
                self.go_back(before).await?;
                Err(error)
            }
            Err(broken) => Err(broken),
        }
    }

    async fn open_path(&mut self, path: &[u8], offset: u64) -> Result<Data, FtpError> {
        self.opener.open_transfer("RETR", &[b"RETR ", path].concat(), offset).await
    }

    async fn open_bare(&mut self, path: &[u8], offset: u64) -> Result<Data, FtpError> {
        let (directory, name) = split(path);
        self.stand_in(directory, true).await?;
        self.opener.open_transfer("RETR", &[b"RETR ", name].concat(), offset).await
    }

    /// Makes `directory` the current one, if it is not; with its port, where a transfer follows.
    async fn stand_in(&mut self, directory: &[u8], transfer: bool) -> Result<(), FtpError> {
        if self.opener.control.cwd.as_deref() == Some(directory) {
            return Ok(());
        }
        if transfer {
            return self.opener.enter(directory).await;
        }
        self.opener.control.require("CWD", &[b"CWD ", directory].concat()).await.map(drop)
    }

    /// After a trial in vain. Where the login put the server is not known, and mostly the root; that matters only to
    /// servers that see paths from the current directory.
    async fn go_back(&mut self, before: Option<Vec<u8>>) -> Result<(), FtpError> {
        if self.opener.control.cwd == before {
            return Ok(());
        }
        let directory = before.unwrap_or_else(|| b"/".to_vec());
        self.opener.control.command("CWD", &[b"CWD ", directory.as_slice()].concat()).await.map(drop)
    }

    /// A path of one name proves nothing where the root is the current directory.
    fn note_path(&self, addressing: &Addressing, path: &[u8]) {
        let (directory, _) = split(path);
        let elsewhere = self.opener.control.cwd.as_deref().is_some_and(|cwd| cwd != b"/" && cwd != directory);
        if directory != b"/" || elsewhere {
            addressing.path_was_taken(self.opener.control.cwd.is_some());
        }
    }
}

/// The directory of a path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (directory, name) = path.split_at(slash);
    (if directory.is_empty() { b"/" } else { directory }, name.strip_prefix(b"/").unwrap_or(name))
}

/// Returns whether a refusal may be about how the file is called: any for good, except of those that do not
/// know the command or want a login; and the 450 of servers that say so of files which are not there.
fn refuses_name(reply: &Reply) -> bool {
    matches!(reply.code, 450 | 500..=599) && !matches!(reply.code, 502 | 530)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_directory_and_its_name() {
        assert_eq!(split(b"/a/b/c.zip"), (&b"/a/b"[..], &b"c.zip"[..]));
        assert_eq!(split(b"/c.zip"), (&b"/"[..], &b"c.zip"[..]));
        assert_eq!(split(b"/a/ -c "), (&b"/a"[..], &b" -c "[..]));
    }

    #[test]
    fn files_that_are_gone_are_tried_by_their_bare_names_now_and_then_and_no_more() {
        let addressing = Addressing::default();
        let trials = (0..1000)
            .filter(|_| {
                let wanted = addressing.wants_trial(false);
                addressing.was_in_vain();
                wanted
            })
            .count();
        assert_eq!(trials, 8 + 31);
        let addressing = Addressing::default();
        addressing.path_was_taken(false);
        assert!(!addressing.wants_trial(false) && addressing.wants_trial(true));
    }
}
