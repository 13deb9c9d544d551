//! The ways of listing a directory, and what was learnt of them: which one shows the tree of a server.
//!
//! Servers ignore the path of MLSD, want it, show it from some directories only, refuse LIST where they showed MLSD, or
//! the other way round. So no way is sure, and what tells is what a way has shown. One of these for each server, shared
//! by its sessions for the life of the process; pure, and on the thread of the server's scanner.

use std::cell::Cell;

use super::compared::Compared;
use super::refusals::says_forbidden;
use crate::config::ListingMode;
use crate::ftp::error::FtpError;

/// A command, and how it learns the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `MLSD /path`
    MlsdPath,
    /// `CWD /path`, and a bare `MLSD`.
    CwdMlsd,
    /// `CWD /path`, and a bare `LIST`.
    CwdList,
    /// `LIST /path`, which servers take for a pattern or for options: the last one, for harmless paths alone.
    ListPath,
}

impl Way {
    /// As the server is told.
    pub(crate) fn command(self) -> &'static str {
        if self.is_mlsd() { "MLSD" } else { "LIST" }
    }

    /// Returns whether it shows facts (RFC 3659), and not what people read.
    pub(crate) fn is_mlsd(self) -> bool {
        matches!(self, Self::MlsdPath | Self::CwdMlsd)
    }

    /// Returns whether the directory is entered first.
    pub(crate) fn enters(self) -> bool {
        matches!(self, Self::CwdMlsd | Self::CwdList)
    }

    /// As `status` and `check` show it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::MlsdPath => "MLSD path",
            Self::CwdMlsd => "CWD+MLSD",
            Self::CwdList => "CWD+LIST",
            Self::ListPath => "LIST path",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The best first. MLSD without being shown by FEAT is tried where LIST is of no use.
const WITH_MLST: [Way; 4] = [Way::MlsdPath, Way::CwdMlsd, Way::CwdList, Way::ListPath];
const WITHOUT_MLST: [Way; 4] = [Way::CwdList, Way::MlsdPath, Way::CwdMlsd, Way::ListPath];
const BY_MLSD: [Way; 2] = [Way::MlsdPath, Way::CwdMlsd];
const BY_LIST: [Way; 2] = [Way::CwdList, Way::ListPath];

/// A way that worked is left for another after so many directories in a row that it refuses and the other shows.
const MISSES: u8 = 3;
/// After so many directories in a row that no way lists, everything learnt is forgotten: the server may be another.
const FAILURES: u8 = 10;
/// Directories in a row that are looked at by a second way because they seem empty, until one of them has shown that
/// this way shows what is in a directory.
const EMPTY_LOOKS: u8 = 3;
/// So many directories that cannot be entered are tried by their paths in vain, and after that one of so many: those that
/// are gone or forbidden must not cost further requests each.
const PATH_TRIALS: u32 = 8;
const RARELY: u32 = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// The one in use, where it is not simply the first.
    chosen: Cell<Option<Way>>,
    /// Those that showed anything, as bits.
    worked: Cell<u8>,
    /// Those whose command the server does not know.
    absent: Cell<u8>,
    misses: Cell<u8>,
    failures: Cell<u8>,
    /// Of the last listing that came to its end.
    shown: Cell<Option<Way>>,
    /// Listings are refused unless the type is ASCII.
    pub(crate) wants_text: Cell<bool>,
    /// A directory of which LIST showed nothing was looked at under TYPE A.
    pub(crate) looked_at_as_text: Cell<bool>,
    /// A listing was seen that was surely of the directory asked for.
    pub(crate) honours_path: Cell<bool>,
    /// Directories looked at a second time because they seemed empty.
    empty_looks: Cell<u8>,
    /// The same of one that held something before.
    pub(crate) emptied_looked_at: Cell<bool>,
    /// The root cannot be entered.
    pub(crate) homeless: Cell<bool>,
    /// How far MLSD was compared with LIST.
    pub(crate) compared: Cell<Compared>,
    /// Those that were seen to list the path that they are asked of where it cannot be entered, as bits.
    by_path: Cell<u8>,
    /// Directories that could be listed neither from within nor by their paths.
    in_vain: Cell<u32>,
}

/// What the configuration and FEAT allow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) mode: ListingMode,
    /// FEAT shows MLST.
    pub(crate) mlst: bool,
}

impl Choice {
    fn ways(self) -> &'static [Way] {
        match self.mode {
            ListingMode::Mlsd => &BY_MLSD,
            ListingMode::List => &BY_LIST,
            ListingMode::Auto if self.mlst => &WITH_MLST,
            ListingMode::Auto => &WITHOUT_MLST,
        }
    }
}

impl Ways {
    /// The way that a directory is listed by.
    pub(crate) fn preferred(&self, choice: Choice) -> Way {
        let ways = choice.ways();
        let is_known = |way: &&Way| self.absent.get() & way.bit() == 0;
        let first = ways.iter().find(is_known).or(ways.first()).copied().unwrap_or(Way::CwdList);
        self.chosen.get().unwrap_or(first)
    }

    /// The others, in the order in which they are tried. What the server does not know is left out.
    pub(crate) fn others(&self, choice: Choice, way: Way) -> impl Iterator<Item = Way> + use<> {
        let absent = self.absent.get();
        let ways = choice.ways().iter().copied();
        ways.filter(move |other| *other != way && absent & other.bit() == 0)
    }

    /// From now on it is this one.
    pub(crate) fn choose(&self, way: Way) {
        self.chosen.set(Some(way));
        self.honours_path.set(false);
        self.misses.set(0);
    }

    /// Returns whether it ever showed anything.
    pub(crate) fn has_worked(&self, way: Way) -> bool {
        self.worked.get() & way.bit() != 0
    }

    /// A listing came to its end. `instead` is the way that refused the directory before, where there is one.
    pub(crate) fn listed(&self, way: Way, instead: Option<Way>, shows_anything: bool) {
        self.failures.set(0);
        let Some(refused) = instead else {
            self.shown.set(Some(way));
            self.misses.set(0);
            if shows_anything {
                self.worked.set(self.worked.get() | way.bit());
            }
            return;
        };
        if !shows_anything {
            return;
        }
        self.worked.set(self.worked.get() | way.bit());
        self.misses.set(self.misses.get().saturating_add(1));
        if !self.has_worked(refused) || self.misses.get() >= MISSES {
            self.choose(way);
        }
    }

    /// A way was refused a directory. Whether another is worth trying.
    pub(crate) fn refused(&self, way: Way, error: &FtpError) -> bool {
        let FtpError::Refused { step, reply } = error else { return false };
        let is_unknown = matches!(reply.code, 500 | 502) || (reply.code == 504 && way.is_mlsd());
        if *step == way.command() && is_unknown {
            self.lacks_command(way);
            return true;
        }
        match *step {
            // without CWD there is nothing to say of the directory
            "CWD" => matches!(reply.code, 500..=504),
            step if step == way.command() => {
                let is_of_entry = matches!(reply.code, 450 | 501..=559) && reply.code != 530;
                is_of_entry && !(self.has_worked(way) && says_forbidden(reply))
            }
            _ => false,
        }
    }

    /// Returns whether a directory that cannot be entered is to be listed by its path.
    pub(crate) fn tries_path(&self, way: Way, error: &FtpError) -> bool {
        let FtpError::Refused { step: "CWD", reply } = error else { return false };
        let is_of_entry = matches!(reply.code, 450 | 505..=559) && reply.code != 530;
        let is_forbidden = self.has_worked(way) && says_forbidden(reply);
        let in_vain = self.in_vain.get();
        let is_due = in_vain < PATH_TRIALS || in_vain.is_multiple_of(RARELY);
        is_of_entry && (self.by_path.get() != 0 || (!is_forbidden && is_due))
    }

    /// One was tried, and is not shown.
    pub(crate) fn path_in_vain(&self) {
        self.in_vain.set(self.in_vain.get().saturating_add(1));
    }

    /// Returns whether the way is known to list what cannot be entered.
    pub(crate) fn takes_paths(&self, way: Way) -> bool {
        self.by_path.get() & way.bit() != 0
    }

    /// From now on it is.
    pub(crate) fn path_was_taken(&self, way: Way) {
        self.by_path.set(self.by_path.get() | way.bit());
    }

    fn lacks_command(&self, way: Way) {
        let both = if way.is_mlsd() { BY_MLSD } else { BY_LIST };
        let bits = both.iter().fold(0, |bits, way| bits | way.bit());
        self.absent.set(self.absent.get() | bits);
        if self.chosen.get().is_some_and(|chosen| chosen.bit() & bits != 0) {
            self.chosen.set(None);
        }
    }

    /// No way lists the directory.
    pub(crate) fn failed(&self) {
        self.failures.set(self.failures.get().saturating_add(1));
        if self.failures.get() >= FAILURES {
            self.failures.set(0);
            self.chosen.set(None);
            self.absent.set(0);
            self.worked.set(0);
            self.misses.set(0);
            self.wants_text.set(false);
            self.looked_at_as_text.set(false);
            self.honours_path.set(false);
            self.by_path.set(0);
        }
    }

    /// Returns whether a directory that `way` shows empty is looked at by a second one. `expected` ones hold
    /// something, or did.
    pub(crate) fn doubts_emptiness(&self, expected: bool) -> bool {
        let looks = self.empty_looks.get();
        let unproved = !self.honours_path.get() && looks < EMPTY_LOOKS;
        looks == 0 || unproved || (expected && !self.emptied_looked_at.get())
    }

    /// One was looked at.
    pub(crate) fn looked_at_emptiness(&self, expected: bool) {
        self.empty_looks.set(self.empty_looks.get().saturating_add(1));
        self.emptied_looked_at.set(self.emptied_looked_at.get() || expected);
    }

    /// Returns how the server lists, in words; `None` before a listing came to its end.
    pub(crate) fn describe(&self) -> Option<String> {
        let type_a = if self.wants_text.get() { ", TYPE A" } else { "" };
        self.shown.get().map(|way| format!("{}{type_a}", way.describe()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::control::reply::Reply;

    const MLST: Choice = Choice { mode: ListingMode::Auto, mlst: true };
    const PLAIN: Choice = Choice { mode: ListingMode::Auto, mlst: false };

    fn refusal(step: &'static str, text: &str) -> FtpError {
        FtpError::Refused { step, reply: Reply::from_body(format!("{text}\r\n").into_bytes()) }
    }

    fn others(ways: &Ways, choice: Choice) -> Vec<Way> {
        ways.others(choice, ways.preferred(choice)).collect()
    }

    #[test]
    fn the_configuration_and_feat_say_what_is_tried_first_and_what_is_tried_at_all() {
        let ways = Ways::default();
        assert_eq!((ways.preferred(MLST), ways.preferred(PLAIN)), (Way::MlsdPath, Way::CwdList));
        assert_eq!(others(&ways, PLAIN), [Way::MlsdPath, Way::CwdMlsd, Way::ListPath]);
        let by_hand = |mode| Choice { mode, mlst: true };
        assert_eq!(others(&ways, by_hand(ListingMode::List)), [Way::ListPath]);
        assert_eq!(others(&ways, by_hand(ListingMode::Mlsd)), [Way::CwdMlsd]);
    }

    #[test]
    fn a_command_that_is_not_known_is_not_asked_again_until_nothing_can_be_listed() {
        let ways = Ways::default();
        for code in ["500", "502", "504"] {
            assert!(ways.refused(Way::MlsdPath, &refusal("MLSD", &format!("{code} no"))));
        }
        assert_eq!((ways.preferred(MLST), others(&ways, MLST)), (Way::CwdList, vec![Way::ListPath]));
        ways.listed(Way::CwdList, None, true);
        (0..FAILURES).for_each(|_| ways.failed());
        assert_eq!(ways.preferred(MLST), Way::MlsdPath);
    }

    #[test]
    fn a_way_that_never_worked_gives_way_at_once_and_one_that_did_after_some_directories() {
        let ways = Ways::default();
        assert!(ways.refused(Way::MlsdPath, &refusal("MLSD", "550 no")));
        assert!(ways.refused(Way::MlsdPath, &refusal("MLSD", "501 syntax")));
        ways.listed(Way::CwdMlsd, Some(Way::MlsdPath), false);
        assert_eq!(ways.preferred(MLST), Way::MlsdPath);
        ways.listed(Way::CwdMlsd, Some(Way::MlsdPath), true);
        assert_eq!(ways.preferred(MLST), Way::CwdMlsd);
        ways.listed(Way::CwdMlsd, None, true);
        for _ in 1..MISSES {
            ways.listed(Way::CwdList, Some(Way::CwdMlsd), true);
            assert_eq!(ways.preferred(MLST), Way::CwdMlsd);
        }
        ways.listed(Way::CwdList, Some(Way::CwdMlsd), true);
        assert_eq!(ways.preferred(MLST), Way::CwdList);
    }

    #[test]
    fn what_cannot_be_entered_is_tried_by_its_path_a_few_times_and_always_where_that_has_shown_it() {
        let ways = Ways::default();
        let gone = refusal("CWD", "550 Failed to change directory.");
        let forbidden = refusal("CWD", "550 Permission denied.");
        assert!(ways.tries_path(Way::CwdList, &gone) && ways.tries_path(Way::CwdList, &forbidden));
        for other in [refusal("CWD", "502 no"), refusal("CWD", "530 log in"), refusal("LIST", "550 no")] {
            assert!(!ways.tries_path(Way::CwdList, &other), "{other}");
        }
        ways.listed(Way::CwdList, None, true);
        assert!(!ways.tries_path(Way::CwdList, &forbidden), "who lets in elsewhere means it");
        let tries = (0..1000).filter(|_| {
            let tries = ways.tries_path(Way::CwdList, &gone);
            ways.path_in_vain();
            tries
        });
        assert_eq!(tries.count(), 8 + 31);
        ways.path_was_taken(Way::ListPath);
        assert!(ways.tries_path(Way::CwdList, &gone) && ways.tries_path(Way::CwdList, &forbidden));
        assert!(ways.takes_paths(Way::ListPath) && !ways.takes_paths(Way::MlsdPath));
    }

    #[test]
    fn what_is_about_the_directory_or_the_session_has_no_other_way_tried() {
        let ways = Ways::default();
        ways.listed(Way::CwdList, None, true);
        for (step, text) in [
            ("CWD", "550 no such directory"),
            ("LIST", "550 Permission denied"),
            ("LIST", "550 权限不足"),
            ("LIST", "425 no data connection"),
            ("LIST", "426 aborted"),
            ("LIST", "530 log in first"),
            ("LIST", "451 local error"),
            ("PASV", "502 no"),
        ] {
            assert!(!ways.refused(Way::CwdList, &refusal(step, text)), "{step} {text}");
        }
        for (step, text) in [("CWD", "502 no"), ("LIST", "550 failed"), ("LIST", "501 no argument")] {
            assert!(ways.refused(Way::CwdList, &refusal(step, text)), "{step} {text}");
        }
        // one that has shown nothing yet may be forbidden itself
        assert!(ways.refused(Way::MlsdPath, &refusal("MLSD", "550 Permission denied")));
    }

    #[test]
    fn what_seems_empty_is_looked_at_once_and_a_few_times_while_nothing_speaks_for_the_way() {
        let ways = Ways::default();
        for _ in 0..EMPTY_LOOKS {
            assert!(ways.doubts_emptiness(false));
            ways.looked_at_emptiness(false);
        }
        assert!(!ways.doubts_emptiness(false) && ways.doubts_emptiness(true));
        ways.looked_at_emptiness(true);
        assert!(!ways.doubts_emptiness(true));
        let ways = Ways::default();
        ways.honours_path.set(true);
        assert!(ways.doubts_emptiness(false));
        ways.looked_at_emptiness(false);
        assert!(!ways.doubts_emptiness(false));
    }

    #[test]
    fn what_lists_is_said_in_words_once_it_has_listed() {
        let ways = Ways::default();
        assert_eq!(ways.describe(), None);
        ways.listed(Way::CwdList, None, false);
        assert_eq!(ways.describe().as_deref(), Some("CWD+LIST"));
        ways.wants_text.set(true);
        assert_eq!(ways.describe().as_deref(), Some("CWD+LIST, TYPE A"));
    }
}
