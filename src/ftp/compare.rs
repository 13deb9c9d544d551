//! Whether a server's MLSD can be believed, and whether an empty listing can.
//!
//! FEAT shows MLSD, and yet it loses entries on some servers. So the first listings by MLSD are compared with what
//! LIST shows of the same directory, once or twice in the life of the process: where LIST shows names that MLSD
//! does not, however often it is asked, LIST it is from then on.

use std::collections::HashSet;

use super::error::FtpError;
use super::list::{Listing, Opened};
use super::listing::Summary;
use super::session::Session;
use crate::config::ListingMode;
use crate::names::RemotePath;

/// A listing of this many names settles the matter: faults are known that show up at the 17th.
const TELLING: usize = 20;

/// What has been compared so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Compared {
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
    /// Whether a directory of which MLSD shows `names` is worth a comparison. `configured` ones are expected to
    /// hold something.
    fn calls_for(self, names: usize, configured: bool) -> bool {
        match self {
            Self::Nothing => names > 0 || configured,
            Self::Emptiness => names > 0,
            Self::Little => names >= TELLING,
            Self::Enough => false,
        }
    }

    fn after(names: usize) -> Self {
        match names {
            0 => Self::Emptiness,
            1..TELLING => Self::Little,
            _ => Self::Enough,
        }
    }
}

impl Session {
    /// Whether a listing by MLSD has its names collected.
    pub(super) fn wants_comparison(&self) -> bool {
        self.learned.compared.get() != Compared::Enough
    }

    /// Lists by LIST what MLSD has just shown as `summary`, if that is still to be compared. True where LIST shows
    /// more: it is used from now on, and the directory is better listed again. Fails never: what cannot be compared
    /// leaves MLSD as it is. Cancelled, the session is not reusable.
    pub async fn loses_by_mlsd(&mut self, path: &RemotePath, summary: &Summary, configured: bool) -> bool {
        let Some(mlsd) = &summary.names else { return false };
        let before = self.learned.compared.get();
        if self.listing != ListingMode::Auto
            || !self.shows_mlsd()
            || !before.calls_for(mlsd.len(), configured)
        {
            return false;
        }
        // for other sessions too, which list beside this one
        self.learned.compared.set(Compared::Enough);
        let (outcome, names) = match self.compare(path, mlsd).await {
            Ok(outcome) => outcome,
            Err(error) => {
                log::debug!("{path}: LIST cannot be compared with MLSD: {error}");
                return false;
            }
        };
        self.learned.compared.set(Compared::after(names));
        self.learned.mlsd_refused.set(outcome);
        outcome
    }

    /// Whether LIST shows more, and how many names there are.
    async fn compare(&mut self, path: &RemotePath, mlsd: &[u64]) -> Result<(bool, usize), FtpError> {
        let opened = self.bare_list(path).await?;
        let Some(list) = self.names_of(opened).await? else { return Ok((false, mlsd.len())) };
        let count = list.len().max(mlsd.len());
        if lost(&list, &[mlsd]).is_empty() {
            return Ok((false, count));
        }
        // files come and go: only what a second MLSD does not show either was lost by it
        let opened = self.mlsd(path).await?;
        let Some(again) = self.names_of(opened).await? else { return Ok((false, count)) };
        let by_mlsd = lost(&list, &[mlsd, &again]).len();
        let by_list = lost(&again, &[&list]).len();
        Ok((by_mlsd > by_list, count))
    }

    async fn names_of(&mut self, opened: Opened) -> Result<Option<Vec<u64>>, FtpError> {
        let (data, mut parser, step) = opened;
        parser.collect_names();
        let mut listing = Listing::of(self, (data, parser, step));
        let mut entries = Vec::new();
        while listing.next(&mut entries).await? {
            entries.clear();
        }
        Ok(listing.finish(&mut entries).await?.names)
    }

    /// Checks that a directory which MLSD shows empty can be entered: some servers answer a missing or forbidden
    /// one with an empty success. LIST comes after a CWD in any case.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where the directory cannot be entered; the session stays usable then.
    pub async fn confirm_empty(&mut self, path: &RemotePath) -> Result<(), FtpError> {
        let by_mlsd = match self.listing {
            ListingMode::Mlsd => true,
            ListingMode::Auto => self.shows_mlsd(),
            ListingMode::List => false,
        };
        if !by_mlsd {
            return Ok(());
        }
        match self.require("CWD", &[b"CWD ", path.wire()].concat()).await {
            // a server without CWD
            Err(FtpError::Refused { reply, .. }) if matches!(reply.code, 500 | 502) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// The names of `these` that none of the others shows.
fn lost(these: &[u64], others: &[&[u64]]) -> Vec<u64> {
    let others: HashSet<u64> = others.iter().flat_map(|names| names.iter().copied()).collect();
    these.iter().filter(|name| !others.contains(name)).copied().collect()
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
