//! How far the ways of listing a server were compared with each other.

use chrono::TimeDelta;

/// A listing of this many names settles the matter: faults are known that show up at the 17th.
const TELLING: usize = 20;

/// A clock that is ahead by no more than this is believed without a question (`listing/date.rs`).
pub(super) const BELIEVED_AHEAD: TimeDelta = TimeDelta::days(7);
/// What is further ahead is no clock that is merely wrong: years are left out by nobody for such a file.
pub(super) const MOST_AHEAD: TimeDelta = TimeDelta::days(366);
/// So often a server whose clock is ahead is asked by how much.
pub(super) const CLOCK_LOOKS: u8 = 8;

/// What was found out of a server's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// By how much it is ahead of ours, at least.
    pub(crate) ahead: TimeDelta,
    pub(super) asked: u8,
}

/// What has been compared so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Compared {
    /// Nothing.
    #[default]
    Nothing,
    /// A directory in which there was nothing, by either command.
    Emptiness,
    /// A directory of a few names; the first larger one is compared as well.
    Little,
    /// Enough; nothing more is compared.
    Enough,
}

impl Compared {
    /// Returns whether a directory of which MLSD shows `names` is worth a comparison. `configured` ones are
    /// expected to hold something.
    pub(super) fn calls_for(self, names: usize, configured: bool) -> bool {
        match self {
            Self::Nothing => names > 0 || configured,
            Self::Emptiness => names > 0,
            Self::Little => names >= TELLING,
            Self::Enough => false,
        }
    }

    pub(super) fn after(names: usize) -> Self {
        match names {
            0 => Self::Emptiness,
            1..TELLING => Self::Little,
            _ => Self::Enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_directories_are_compared_and_then_no_more() {
        assert!(Compared::Nothing.calls_for(0, true) && !Compared::Nothing.calls_for(0, false));
        assert!(!Compared::Emptiness.calls_for(0, true) && Compared::Emptiness.calls_for(1, false));
        assert!(!Compared::Little.calls_for(19, true) && Compared::Little.calls_for(20, false));
        assert!(!Compared::Enough.calls_for(1000, true));
        assert_eq!([0, 1, 19, 20].map(Compared::after), {
            use Compared::{Emptiness, Enough, Little};
            [Emptiness, Little, Little, Enough]
        });
    }
}
