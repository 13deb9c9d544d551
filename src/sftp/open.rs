//! Opening files and directories: by the path, or by another path to the same where the server wants that.

use bytes::Bytes;

use super::error::SftpError;
use super::habits::{Opened, below, relative};
use super::packet::Reply;
use super::request::Request;
use super::session::Session;
use super::status;
use crate::base::names::RemotePath;

/// After so many failures in a row on a session that has opened something before, it is left.
const FAILURES: u32 = 3;
/// Words of servers that take no further handle.
const NO_HANDLES: [&str; 6] = [
    "too many open",
    "too many handles",
    "too many files",
    "handle limit",
    "no more handles",
    "out of handles",
];

impl Opened {
    fn request(self, path: &[u8]) -> Request<'_> {
        match self {
            Self::File => Request::Open(path),
            Self::Directory => Request::OpenDirectory(path),
        }
    }
}

impl Session {
    /// Opens what is at `path`. Where that is refused, the path is tried as one that begins in the directory of the
    /// login, or in the root, and what works is remembered for the server.
    ///
    /// # Errors
    ///
    /// [`SftpError::Refused`] where it cannot be opened; the session stays usable then. [`SftpError::Stuck`] where it
    /// opens nothing any more.
    pub(super) async fn open(&mut self, path: &RemotePath, what: Opened) -> Result<Bytes, SftpError> {
        let asked = self.shared.habits.asked(path.wire(), what).into_owned();
        let refused = match self.try_open(&asked, what).await? {
            Ok(handle) => {
                self.failed_in_row = Some(0);
                if !self.shared.habits.is_relative(what) {
                    self.shared.habits.learn_path(what, false);
                }
                return Ok(handle);
            }
            Err(refused) => refused,
        };
        let is_about_path = matches!(
            refused,
            SftpError::Refused {
                code: status::NO_SUCH_FILE
                    | status::PERMISSION_DENIED
                    | status::FAILURE
                    | status::BAD_MESSAGE,
                ..
            }
        );
        if is_about_path
            && let Some((other, is_relative)) = self.other_path(path, what).await?
            && let Ok(handle) = self.try_open(&other, what).await?
        {
            self.shared.habits.learn_path(what, is_relative);
            self.failed_in_row = Some(0);
            return Ok(handle);
        }
        Err(self.count_failure(refused))
    }

    /// The handle, or the refusal.
    async fn try_open(&mut self, path: &[u8], what: Opened) -> Result<Result<Bytes, SftpError>, SftpError> {
        let request = what.request(path);
        Ok(match self.ask(request).await? {
            Reply::Handle(handle) => Ok(handle),
            other => match self.unexpected(request.step(), other) {
                refused @ SftpError::Refused { .. } => Err(refused),
                error => return Err(error),
            },
        })
    }

    /// Another path to the same, and whether it is a relative one; `None` where there is none that could not lead
    /// somewhere else.
    async fn other_path(
        &mut self,
        path: &RemotePath,
        what: Opened,
    ) -> Result<Option<(Vec<u8>, bool)>, SftpError> {
        if self.shared.habits.is_relative(what) {
            return Ok(Some((path.wire().to_vec(), false)));
        }
        let home = self.home().await?;
        let is_same_place = matches!(&*home, b"" | b"/" | b".") || below(path.wire(), &home).is_some();
        if is_same_place || !self.opens_root(path).await? {
            return Ok(Some((relative(path.wire(), &home).to_vec(), true)));
        }
        Ok(None)
    }

    /// What the server calls the directory of the login; empty where it does not tell.
    async fn home(&mut self) -> Result<Vec<u8>, SftpError> {
        if let Some(home) = self.shared.habits.home() {
            return Ok(home);
        }
        let request = Request::RealPath(b".");
        let home = match self.ask(request).await? {
            Reply::Names(mut names) => names.take_next().ok().flatten().map(|name| name.name),
            Reply::Status { .. } => None,
            other => return Err(self.unexpected(request.step(), other)),
        };
        let home = home.unwrap_or_default();
        self.shared.habits.learn_home(&home);
        Ok(home.to_vec())
    }

    /// Returns whether the server has a root at all by which absolute paths could be meant; that of `refused`
    /// is none.
    async fn opens_root(&mut self, refused: &RemotePath) -> Result<bool, SftpError> {
        if self.shared.habits.opens_absolute() {
            return Ok(true);
        }
        if refused.is_root() {
            return Ok(false);
        }
        let opened = self.try_open(b"/", Opened::Directory).await?;
        if let Ok(handle) = &opened {
            self.close(handle).await?;
            self.shared.habits.learn_path(Opened::Directory, false);
        }
        Ok(opened.is_ok())
    }

    /// A session on which nothing is opened any more, though something was before, is left for a new one: some
    /// servers keep handles that were closed, and say no more than "Failure".
    fn count_failure(&mut self, refused: SftpError) -> SftpError {
        let SftpError::Refused { step, code, text } = refused else { return refused };
        let lower = text.to_lowercase();
        let failed_in_row = match self.failed_in_row {
            Some(before) if code == status::FAILURE => Some(before.saturating_add(1)),
            Some(_) => Some(0),
            None => None,
        };
        self.failed_in_row = failed_in_row;
        let is_stuck = failed_in_row.is_some_and(|failures| failures >= FAILURES)
            || NO_HANDLES.iter().any(|words| lower.contains(words));
        if !is_stuck {
            return SftpError::Refused { step, code, text };
        }
        self.pending = true;
        SftpError::Stuck { step, text }
    }
}
