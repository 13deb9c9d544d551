//! Entries whose type a listing leaves out: each is asked for, many at a time, and comes out in its place.
//!
//! LSTAT tells links from files; where it tells nothing, STAT may. Where neither does, a name with the ending of a wanted
//! file is taken for one, whose content decides; any other is tried as a directory, and then as a file, by opening it.

use std::collections::VecDeque;

use super::error::SftpError;
use super::habits::Opened;
use super::packet::{Attributes, Name, Reply, Seen};
use super::request::Request;
use super::session::Session;
use super::status;
use crate::base::names::{RemoteName, RemotePath};
use crate::protocol::Kind;

/// Questions under way at a time.
const MOST_ASKED: usize = 16;
/// From so many entries that wait on, no more names are asked for.
const MANY: usize = 512;

/// What an entry is, after all questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Is(Kind),
    Special,
    /// Nobody knows, and why.
    Unknown(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Lstat,
    Stat,
    Directory,
    File,
}

#[derive(Debug)]
enum State {
    ToAsk(Question),
    Asked(u32, Question),
    Answered(Found),
}

/// The entries of one listing that wait for an answer, and those behind them.
#[derive(Debug, Default)]
pub(super) struct Unsure {
    waiting: VecDeque<(Name, State)>,
}

impl Unsure {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MANY
    }

    /// Takes an entry in; it is asked for where its type is not told.
    pub(super) fn push(&mut self, session: &Session, name: Name) {
        let usable = RemoteName::from_wire(&name.name, session.shared.encoding).is_ok();
        let state = match name.seen() {
            Seen::Is(kind) => State::Answered(Found::Is(kind)),
            Seen::Special => State::Answered(Found::Special),
            // it is left out for its name, and counted as a directory would be; `.` and `..` are neither
            Seen::Untold if !usable => State::Answered(Found::Is(Kind::Directory)),
            Seen::Untold if session.shared.habits.tells_types() => State::ToAsk(Question::Lstat),
            Seen::Untold => untold(session, &name),
        };
        self.waiting.push_back((name, state));
    }

    /// Writes as many questions as may be under way.
    pub(super) fn ask(&mut self, session: &mut Session, directory: &RemotePath) {
        let mut under_way =
            self.waiting.iter().filter(|(_, state)| matches!(state, State::Asked(..))).count();
        for (name, state) in &mut self.waiting {
            if under_way >= MOST_ASKED {
                return;
            }
            let &mut State::ToAsk(question) = state else { continue };
            let path = session.shared.habits.asked(directory.wire(), Opened::Directory);
            let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
            let path = [&*path, slash, &name.name].concat();
            let id = session.push(match question {
                Question::Lstat => Request::Lstat(&path),
                Question::Stat => Request::Stat(&path),
                Question::Directory => Request::OpenDirectory(&path),
                Question::File => Request::Open(&path),
            });
            *state = State::Asked(id, question);
            under_way += 1;
        }
    }

    /// Takes an answer; whether it was one to a question of ours.
    ///
    /// # Errors
    ///
    /// When what was opened cannot be closed.
    pub(super) async fn answered(
        &mut self,
        session: &mut Session,
        id: u32,
        reply: &Reply,
    ) -> Result<bool, SftpError> {
        let asked = |state: &State| matches!(state, State::Asked(asked, _) if *asked == id);
        let Some((name, state)) = self.waiting.iter_mut().find(|(_, state)| asked(state)) else {
            return Ok(false);
        };
        let &mut State::Asked(_, question) = state else { return Ok(false) };
        *state = match (question, reply) {
            (Question::Lstat | Question::Stat, Reply::Attributes(found)) => {
                settled(session, question, name, *found)
            }
            (Question::Lstat, _) => State::ToAsk(Question::Stat),
            (Question::Stat, reply) => {
                // a single file that is gone or forbidden says nothing of the others
                if matches!(reply, Reply::Status { code: status::UNSUPPORTED, .. }) {
                    session.shared.habits.told_type(false);
                }
                untold(session, name)
            }
            (Question::Directory, Reply::Handle(handle)) => {
                session.close(handle).await?;
                State::Answered(Found::Is(Kind::Directory))
            }
            (Question::Directory, Reply::Status { code: status::PERMISSION_DENIED, .. }) => {
                State::Answered(Found::Unknown("its type is not told, and it may not be opened"))
            }
            (Question::Directory, _) => State::ToAsk(Question::File),
            (Question::File, Reply::Handle(handle)) => {
                session.close(handle).await?;
                State::Answered(Found::Is(Kind::File))
            }
            (Question::File, _) => State::Answered(Found::Unknown(
                "its type is not told, and it opens neither as a directory nor as a file",
            )),
        };
        Ok(true)
    }

    /// The next entry of which everything is known, in the order of the listing.
    pub(super) fn next(&mut self) -> Option<(Name, Found)> {
        let (_, State::Answered(found)) = self.waiting.front()? else { return None };
        let found = *found;
        self.waiting.pop_front().map(|(name, _)| (name, found))
    }
}

/// LSTAT or STAT answered.
fn settled(session: &Session, question: Question, name: &mut Name, told: Attributes) -> State {
    let found = match told.seen() {
        Seen::Is(kind) => Found::Is(kind),
        Seen::Special => Found::Special,
        Seen::Untold if question == Question::Lstat => return State::ToAsk(Question::Stat),
        Seen::Untold => {
            session.shared.habits.told_type(false);
            let Attributes { size, mode, modified } = &mut name.attributes;
            *size = size.or(told.size);
            *mode = mode.or(told.mode);
            *modified = modified.or(told.modified);
            return untold(session, name);
        }
    };
    session.shared.habits.told_type(true);
    let listed = name.attributes;
    name.attributes = Attributes {
        size: listed.size.or(told.size),
        mode: told.mode,
        modified: listed.modified.or(told.modified),
    };
    State::Answered(found)
}

/// Neither LSTAT nor STAT says what it is.
fn untold(session: &Session, name: &Name) -> State {
    if session.shared.files.fit_by_ending(&name.name) {
        State::Answered(Found::Is(Kind::File))
    } else {
        State::ToAsk(Question::Directory)
    }
}

/// The name alone, of an entry that a server calls by its path, or marks as a directory with a slash.
pub(super) fn bare<'n>(name: &'n [u8], directory: &[u8]) -> &'n [u8] {
    let unmarked = name.strip_suffix(b"/").unwrap_or(name);
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let absolute = unmarked.strip_prefix(directory).and_then(|rest| rest.strip_prefix(b"/"));
    let relative = || {
        let directory = directory.strip_prefix(b"/").filter(|directory| !directory.is_empty());
        unmarked.strip_prefix(directory?).and_then(|rest| rest.strip_prefix(b"/"))
    };
    let found = absolute.or_else(relative).or_else(|| unmarked.strip_prefix(b"./"));
    let found = found.or_else(|| backslashed(unmarked, directory));
    found.filter(|found| !found.is_empty() && !found.contains(&b'/')).unwrap_or(unmarked)
}

/// The same of a path as Windows writes it. A backslash alone says nothing: it may stand in a name.
fn backslashed<'n>(name: &'n [u8], directory: &[u8]) -> Option<&'n [u8]> {
    let last = name.iter().rposition(|byte| *byte == b'\\')?;
    let (path, rest) = name.split_at_checked(last)?;
    let is_drive =
        path.first_chunk::<2>().is_some_and(|[letter, colon]| letter.is_ascii_alphabetic() && *colon == b':');
    let path = path.get(if is_drive { 2 } else { 0 }..)?;
    let same = |(a, b): (&u8, &u8)| a == b || (*a == b'\\' && *b == b'/');
    let is_here = path.len() == directory.len() && path.iter().zip(directory).all(same);
    (is_here && (is_drive || !directory.is_empty())).then(|| rest.strip_prefix(b"\\")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_given_as_paths_or_with_marks_are_bare_names() {
        let bare = |name: &str, directory: &str| {
            String::from_utf8(bare(name.as_bytes(), directory.as_bytes()).to_vec()).unwrap()
        };
        for (name, directory) in [
            ("1.zip", "/a"),
            ("1.zip/", "/a"),
            ("/a/1.zip", "/a"),
            ("a/1.zip", "/a"),
            ("/1.zip", "/"),
            ("./1.zip", "/a"),
            ("\\a\\1.zip", "/a"),
            ("C:\\a\\1.zip", "/a"),
            ("C:\\1.zip", "/"),
        ] {
            assert_eq!(bare(name, directory), "1.zip", "{name} in {directory}");
        }
        for (name, directory) in [
            ("/etc/1.zip", "/a"),
            ("/etc/1.zip", "/"),
            ("b/1.zip", "/a"),
            ("../1.zip", "/a"),
            ("b\\1.zip", "/a"),
            ("\\1.zip", "/"),
            ("..", "/a"),
            (".", "/a"),
        ] {
            assert_eq!(bare(name, directory), name, "in {directory}");
        }
        assert_eq!([bare("../", "/a"), bare("./", "/a")], ["..", "."]);
    }
}
