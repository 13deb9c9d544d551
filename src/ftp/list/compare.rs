//! Whether what a way of listing shows is what the directory holds.
//!
//! Servers lose entries in MLSD, ignore its path and list the directory that they are in, or show nothing of what there
//! is. So the first listings are compared with what another way shows of the same directory, once or twice in the life
//! of the process; and a listing is doubted as long as nothing speaks for its way: where it holds a directory of its own
//! name, as the working directory does where the path is ignored, and where it shows nothing. What tells is the names,
//! never their number, and files come and go meanwhile: only what is missing twice is missing.

use std::collections::HashSet;
use std::rc::Rc;

use chrono::Utc;

use super::compared::{BELIEVED_AHEAD, CLOCK_LOOKS, Clock, Compared, MOST_AHEAD};
use super::lister::{Lister, Role};
use super::ways::Way;
use crate::base::names::RemotePath;
use crate::config::ListingMode;
use crate::ftp::error::FtpError;
use crate::protocol::{Confirmation, Summary};

impl Lister<'_> {
    /// Returns whether the listing of `path` that came as `summary` is to be believed. `expected` says that
    /// the directory holds something, or did. A well-behaved server pays for one or two listings more in the
    /// life of the process.
    ///
    /// # Errors
    ///
    /// [`FtpError::Refused`] where a directory that seems to have become empty cannot be entered. What cannot be
    /// compared is believed. Cancelled, the session is not reusable.
    pub(crate) async fn confirm(
        &mut self,
        path: &RemotePath,
        summary: &Summary,
        expected: bool,
    ) -> Result<Confirmation, FtpError> {
        let way = self.lists.listed_by.take();
        if let Some((_, name)) = &summary.doubtful_year
            && let Some(told) = self.look_at_clock(&path.join(name)).await?
        {
            return Ok(Confirmation::ListAgain(Some(told)));
        }
        let Some(way) = way else { return Ok(Confirmation::Confirmed) };
        if expected && summary.is_empty() && self.shows_more_as_text(path, way).await? {
            return Ok(Confirmation::ListAgain(Some(AS_TEXT.to_owned())));
        }
        let seems_empty = summary.is_empty() && way.is_mlsd();
        let doubtful = seems_empty && (expected || self.doubts_emptiness(expected));
        if !self.is_tentative(way) && !doubtful {
            return Ok(Confirmation::Confirmed);
        }
        // one at a time: what the first learns, the others need not ask for
        let learned = Rc::clone(&self.lists.learned);
        let _one_at_a_time = learned.trial.lock().await;
        if self.preferred_way() != way {
            return Ok(Confirmation::ListAgain(None));
        }
        let found = self.better_way(path, way, summary, expected).await;
        let (better, was_entered) = found.unwrap_or_else(|error| {
            log::debug!("{path}: {} cannot be compared: {error}", way.command());
            (None, false)
        });
        if let Some(better) = better {
            self.lists.learned.ways.choose(better);
            return Ok(Confirmation::ListAgain(Some(reason(way, better))));
        }
        if !summary.is_empty() && !summary.shows_itself && !path.is_root() {
            self.lists.learned.ways.honours_path.set(true);
        }
        let asks =
            !was_entered && self.opener.control.is_reusable() && !self.lists.learned.ways.takes_paths(way);
        if seems_empty && expected && asks {
            self.confirm_empty(path).await?;
        }
        Ok(Confirmation::Confirmed)
    }

    /// Returns whether a directory of which LIST shows nothing is listed under TYPE A, as RFC 959 has it
    /// (section 4.1.3). Looked at once, as long as LIST has shown nothing at all; from then on that type is
    /// used.
    async fn shows_more_as_text(&mut self, path: &RemotePath, way: Way) -> Result<bool, FtpError> {
        let learned = Rc::clone(&self.lists.learned);
        let ways = &learned.ways;
        if way.is_mlsd()
            || ways.has_worked(way)
            || ways.wants_text.get()
            || ways.looked_at_as_text.replace(true)
        {
            return Ok(false);
        }
        ways.wants_text.set(true);
        let seen = self.seen_by(way, path).await;
        let shows_more = matches!(&seen, Ok(Some((names, _))) if !names.is_empty());
        ways.wants_text.set(shows_more);
        match seen {
            Err(error) if !self.opener.control.is_reusable() => Err(error),
            _ => Ok(shows_more),
        }
    }

    fn doubts_emptiness(&self, expected: bool) -> bool {
        self.lists.mode == ListingMode::Auto && self.lists.learned.ways.doubts_emptiness(expected)
    }

    /// The way that shows more of the directory than `way` did; and whether the directory was entered.
    async fn better_way(
        &mut self,
        path: &RemotePath,
        way: Way,
        summary: &Summary,
        expected: bool,
    ) -> Result<(Option<Way>, bool), FtpError> {
        let mut was_entered = way.enters();
        let seems_empty = summary.is_empty() && way.is_mlsd() && self.doubts_emptiness(expected);
        let names = summary.names.as_deref().or(seems_empty.then_some(&[]));
        let learned = Rc::clone(&self.lists.learned);
        let compared = learned.ways.compared.get();
        let calls = |names: &&[u64]| self.may_compare(way) && compared.calls_for(names.len(), expected);
        if let Some(names) = names.filter(|names| seems_empty || calls(names)) {
            if seems_empty {
                learned.ways.looked_at_emptiness(expected);
            }
            // where the comparison breaks off, it is not tried again
            learned.ways.compared.set(Compared::Enough);
            let outcome = self.compare(path, way, names).await;
            if matches!(outcome, Err(FtpError::Refused { .. })) {
                // it is gone, or forbidden: another directory will do
                learned.ways.compared.set(compared);
            }
            let (better, count) = outcome?;
            if let Some(count) = count {
                learned.ways.compared.set(compared.max(Compared::after(count)));
                was_entered = true;
            }
            if better.is_some() {
                return Ok((better, was_entered));
            }
        }
        if !summary.shows_itself || learned.ways.honours_path.get() {
            return Ok((None, was_entered));
        }
        let (better, is_settled) = self.leads_elsewhere(path, way, summary).await?;
        learned.ways.honours_path.set(better.is_none() && is_settled);
        Ok((better, was_entered))
    }

    /// Compares what MLSD has shown with LIST in the directory itself, and where they differ with MLSD there. Answers
    /// the better way, and how many names there are; `None` where there is nothing to compare with.
    async fn compare(
        &mut self,
        path: &RemotePath,
        way: Way,
        mlsd: &[u64],
    ) -> Result<(Option<Way>, Option<usize>), FtpError> {
        let Some(list) = self.names_by(Way::CwdList, path).await? else { return Ok((None, None)) };
        let count = list.len().max(mlsd.len());
        if are_same(&list, mlsd) {
            return Ok((None, Some(count)));
        }
        let inside = self.names_by(Way::CwdMlsd, path).await?;
        let again = match &inside {
            Some(inside) => inside.clone(),
            None => self.names_by(Way::MlsdPath, path).await?.unwrap_or_default(),
        };
        if lost(&list, &[mlsd, &again]).len() > lost(&again, &[&list]).len() {
            return Ok((Some(Way::CwdList), Some(count)));
        }
        let Some(inside) = inside.filter(|inside| way == Way::MlsdPath && !are_same(inside, mlsd)) else {
            return Ok((None, Some(count)));
        };
        let Some(again) = self.names_by(Way::MlsdPath, path).await? else { return Ok((None, Some(count))) };
        let missing = lost(&common(&list, &inside), &[mlsd, &again]);
        let strange = lost(&common(mlsd, &again), &[&list, &inside]);
        let differs = missing.len() + strange.len() > 0;
        Ok((differs.then_some(Way::CwdMlsd), Some(count)))
    }

    /// A directory holds one of its own name, or the path was ignored. Returns the way that shows it otherwise, and
    /// whether the matter is settled.
    async fn leads_elsewhere(
        &mut self,
        path: &RemotePath,
        way: Way,
        summary: &Summary,
    ) -> Result<(Option<Way>, bool), FtpError> {
        let (mut seen_within, mut is_settled) = (way.enters(), true);
        for other in self.lists.learned.ways.others(self.choice(), way) {
            let Some((names, shows_itself)) = self.seen_by(other, path).await? else { continue };
            let is_same = summary.names.as_ref().is_none_or(|before| are_same(before, &names));
            if other.enters() && !seen_within {
                seen_within = true;
                // whatever the directory holds, it is what is seen from within; unless MLSD shows the root everywhere
                if !is_same || !shows_itself {
                    return Ok(((!is_same).then_some(other), true));
                }
            } else if !is_same && !shows_itself {
                // what LIST shows as a link, MLSD may show as a directory
                let before = summary.names.as_deref().unwrap_or_default();
                let merely_less = way.is_mlsd() && !other.is_mlsd() && lost(&names, &[before]).is_empty();
                if !names.is_empty() && !merely_less {
                    return Ok((Some(other), true));
                }
                // it may be empty, and another directory will tell
                is_settled &= !names.is_empty();
            }
        }
        Ok((None, is_settled))
    }

    async fn names_by(&mut self, way: Way, path: &RemotePath) -> Result<Option<Vec<u64>>, FtpError> {
        Ok(self.seen_by(way, path).await?.map(|(names, _)| names))
    }

    /// The names that a way shows, and whether one of them is the path's own; `None` where it is refused. A directory that
    /// cannot be entered is an error.
    async fn seen_by(&mut self, way: Way, path: &RemotePath) -> Result<Option<(Vec<u64>, bool)>, FtpError> {
        let opened = match self.open_by(way, path).await {
            Ok(opened) => opened,
            Err(error @ FtpError::Refused { step: "CWD", .. }) => return Err(error),
            Err(error) if self.opener.control.is_reusable() => {
                log::debug!("{path}: {}: {error}", way.describe());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut listing = self.listing(opened, Role::Probe).collect_names(path);
        let mut entries = Vec::new();
        while listing.next(&mut entries).await? {
            entries.clear();
        }
        let summary = listing.finish(&mut entries).await?;
        Ok(summary.names.map(|names| (names, summary.shows_itself)))
    }

    /// Returns whether listings by this way are of the path that they are asked of: another one than that of
    /// the root. Where the directory shows nothing, nothing is proved.
    pub(crate) async fn shows_by_path(&mut self, way: Way, path: &RemotePath) -> Result<bool, FtpError> {
        if self.lists.learned.ways.takes_paths(way) || path.is_root() {
            return Ok(true);
        }
        let Some((names, shows_itself)) =
            self.seen_by(way, path).await?.filter(|(names, _)| !names.is_empty())
        else {
            return Ok(false);
        };
        let is_of_path = match self.seen_by(way, &RemotePath::root()).await? {
            Some((top, _)) => !are_same(&top, &names),
            None => !shows_itself,
        };
        if is_of_path {
            self.lists.learned.ways.path_was_taken(way);
        }
        Ok(is_of_path)
    }

    /// Asks for the time of a file whose year LIST leaves out, and by which it seems to be of last year: the server's clock may
    /// be ahead of ours by more than a week. In words, where it is; what it is ahead by is remembered for the server.
    /// Asked once, and again only where it was found to be so.
    async fn look_at_clock(&mut self, path: &RemotePath) -> Result<Option<String>, FtpError> {
        let clock = self.lists.learned.clock.get();
        let is_known = clock.asked > 0 && clock.ahead.is_zero() || clock.asked >= CLOCK_LOOKS;
        if is_known || !self.opener.control.is_reusable() {
            return Ok(None);
        }
        self.lists.learned.clock.set(Clock { asked: clock.asked + 1, ..clock });
        let reply = self.opener.control.command("MDTM", &[b"MDTM ", path.wire()].concat()).await?;
        let ahead =
            reply.modified().map(|modified| modified - Utc::now()).filter(|ahead| *ahead > clock.ahead);
        let Some(ahead) = ahead.filter(|ahead| *ahead > BELIEVED_AHEAD && *ahead < MOST_AHEAD) else {
            return Ok(None);
        };
        self.lists.learned.clock.set(Clock { asked: clock.asked + 1, ahead });
        let days = crate::base::humanize::count(ahead.num_days(), "day");
        Ok(Some(format!(
            "the server's clock is ahead of this host's by {days} at least; LIST is read by the server's clock from now on"
        )))
    }

    /// Checks that a directory which MLSD shows empty can be entered: some servers answer a missing or forbidden
    /// one with an empty success.
    async fn confirm_empty(&mut self, path: &RemotePath) -> Result<(), FtpError> {
        match self.opener.control.require("CWD", &[b"CWD ", path.wire()].concat()).await {
            // a server without CWD
            Err(FtpError::Refused { reply, .. }) if matches!(reply.code, 500 | 502) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// Why the type is another one from now on.
const AS_TEXT: &str = "LIST shows nothing under TYPE I; TYPE A is used from now on";

/// Returns why another way is used, in words.
fn reason(way: Way, better: Way) -> String {
    if way.is_mlsd() && better == Way::CwdList {
        return "MLSD leaves out what LIST shows; LIST is used from now on".to_owned();
    }
    let (way, better) = (way.describe(), better.describe());
    format!("{way} does not show what the directory holds; {better} is used from now on")
}

/// The names of `these` that none of the others shows.
fn lost(these: &[u64], others: &[&[u64]]) -> Vec<u64> {
    let others: HashSet<u64> = others.iter().flat_map(|names| names.iter().copied()).collect();
    these.iter().filter(|name| !others.contains(name)).copied().collect()
}

/// The names that both show.
fn common(these: &[u64], others: &[u64]) -> Vec<u64> {
    let others: HashSet<u64> = others.iter().copied().collect();
    these.iter().filter(|name| others.contains(name)).copied().collect()
}

fn are_same(these: &[u64], others: &[u64]) -> bool {
    lost(these, &[others]).is_empty() && lost(others, &[these]).is_empty()
}
