//! What was learnt of one server: it is kept for all sessions with it, until the service starts anew or its settings
//! change. Servers that keep to the draft teach nothing, and cost nothing.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use super::status;

/// So many entries in a row whose type STAT does not tell, and it is not asked any more.
const TYPELESS: u32 = 8;
/// So many transfers that had to be in order, and all of them are.
const ORDERLY: u32 = 2;
/// Fewer bytes are never asked for by one READ.
const SMALLEST_PIECE: u32 = 1024;

/// What a path is opened as; servers that refuse absolute paths may do so for one of them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    File,
    Directory,
}

#[derive(Debug, Default)]
pub(super) struct Habits {
    /// Transfers that went on only because reads were asked for one after the other and in order.
    in_order: Cell<u32>,
    /// The server answers a READ with so many bytes at most, or refuses one that asks for more.
    most_of_read: Cell<Option<u32>>,
    /// At least one directory ended with the draft's EOF.
    ends_with_eof: Cell<bool>,
    /// Another code with which directories end.
    end_code: Cell<Option<u32>>,
    /// Entries in a row whose type STAT did not tell.
    typeless: Cell<u32>,
    /// What REALPATH calls the directory that relative paths begin in; empty where it does not tell.
    home: RefCell<Option<Vec<u8>>>,
    /// Directories and files for which a relative path was opened and an absolute one was not.
    relative: [Cell<bool>; 2],
    /// An absolute path was opened.
    absolute: Cell<bool>,
}

impl Habits {
    /// Returns whether reads are asked for one after the other from the start. Once may have been a fault of
    /// the moment.
    pub(super) fn reads_in_order(&self) -> bool {
        self.in_order.get() >= ORDERLY
    }

    pub(super) fn learn_order(&self) {
        self.in_order.set(self.in_order.get().saturating_add(1));
    }

    /// Bytes to ask for by one READ where it would be `usual`.
    pub(super) fn piece(&self, usual: u32) -> u32 {
        self.most_of_read.get().map_or(usual, |most| most.min(usual))
    }

    pub(super) fn learn_piece(&self, most: u32) {
        self.most_of_read.set(Some(most.max(SMALLEST_PIECE)));
    }

    /// A directory ended as the draft says: another end is a fault from now on.
    pub(super) fn ended_well(&self) {
        self.ends_with_eof.set(true);
    }

    /// Returns whether a READDIR refused with `code` is the end of the directory, of which some names came,
    /// or none: servers end all directories in the same way. A refusal of the first READDIR of all is a
    /// fault.
    pub(super) fn is_end(&self, code: u32, some_came: bool) -> bool {
        let may_be = matches!(code, status::NO_SUCH_FILE | status::FAILURE) && !self.ends_with_eof.get();
        let is_end = may_be && (some_came || self.end_code.get() == Some(code));
        if is_end {
            self.end_code.set(Some(code));
        }
        is_end
    }

    /// Returns whether STAT is worth asking for types.
    pub(super) fn tells_types(&self) -> bool {
        self.typeless.get() < TYPELESS
    }

    pub(super) fn told_type(&self, told: bool) {
        self.typeless.set(if told { 0 } else { self.typeless.get().saturating_add(1) });
    }

    pub(super) fn home(&self) -> Option<Vec<u8>> {
        self.home.borrow().clone()
    }

    pub(super) fn learn_home(&self, home: &[u8]) {
        *self.home.borrow_mut() = Some(home.to_vec());
    }

    pub(super) fn is_relative(&self, opened: Opened) -> bool {
        let [files, directories] = &self.relative;
        match opened {
            Opened::File => files.get(),
            Opened::Directory => directories.get(),
        }
    }

    pub(super) fn opens_absolute(&self) -> bool {
        self.absolute.get()
    }

    pub(super) fn learn_path(&self, opened: Opened, relative: bool) {
        if !relative {
            self.absolute.set(true);
        }
        let [files, directories] = &self.relative;
        match opened {
            Opened::File => files.set(relative),
            Opened::Directory => directories.set(relative),
        }
    }

    /// The path as it is asked for.
    pub(super) fn asked<'p>(&self, path: &'p [u8], opened: Opened) -> Cow<'p, [u8]> {
        if !self.is_relative(opened) {
            return Cow::Borrowed(path);
        }
        Cow::Borrowed(relative(path, &self.home().unwrap_or_default()))
    }
}

/// The path seen from `home`; below the server's root where it does not lie in it.
pub(super) fn relative<'p>(path: &'p [u8], home: &[u8]) -> &'p [u8] {
    let below = below(path, home).unwrap_or(path);
    let below = below.strip_prefix(b"/").unwrap_or(below);
    if below.is_empty() { b"." } else { below }
}

/// What follows `directory` in `path`, where it lies in it.
pub(super) fn below<'p>(path: &'p [u8], directory: &[u8]) -> Option<&'p [u8]> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let rest = path.strip_prefix(directory)?;
    (!directory.is_empty() && (rest.is_empty() || rest.starts_with(b"/"))).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_end_than_eof_is_believed_of_servers_that_never_end_with_eof() {
        let habits = Habits::default();
        assert!(!habits.is_end(4, false), "the first answer of all");
        assert!(habits.is_end(4, true) && habits.is_end(4, false), "as the one before ended");
        assert!(!habits.is_end(2, false) && !habits.is_end(3, true), "another code");
        habits.ended_well();
        assert!(!habits.is_end(4, true));
    }

    #[test]
    fn relative_paths_begin_at_home_or_at_the_root() {
        let seen = |path: &str, home: &str| {
            String::from_utf8(relative(path.as_bytes(), home.as_bytes()).to_vec()).unwrap()
        };
        assert_eq!(seen("/home/mro/MR/1.zip", "/home/mro"), "MR/1.zip");
        assert_eq!(seen("/home/mro", "/home/mro/"), ".");
        assert_eq!(seen("/home/mrox", "/home/mro"), "home/mrox");
        assert_eq!([seen("/", "/"), seen("/MR", ""), seen("/MR", "/")], [".", "MR", "MR"]);
    }

    #[test]
    fn what_was_learnt_decides_how_a_path_is_asked_for() {
        let habits = Habits::default();
        assert_eq!(*habits.asked(b"/MR", Opened::Directory), *b"/MR");
        habits.learn_path(Opened::Directory, true);
        assert_eq!(*habits.asked(b"/MR", Opened::Directory), *b"MR");
        assert_eq!(*habits.asked(b"/MR", Opened::File), *b"/MR");
    }
}
