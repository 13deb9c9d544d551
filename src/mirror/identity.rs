//! Which mirror this is. A marker below `.partial` holds a number that the records know: an empty directory where a disk
//! is not mounted, or the mirror of somebody else, has another or none.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use crate::base::humanize;
use crate::base::names::{RemotePath, ServerName};
use crate::quota::Absence;
use crate::quota::absence::AT_LEAST;

/// The number of a mirror, which no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorId(u128);

impl MirrorId {
    /// One of its own.
    ///
    /// # Errors
    ///
    /// Where the system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for MirrorId {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let usable = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = usable.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number
            .map(Self)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no marker of a mirror"))
    }
}

/// What is known before the mirror is used.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The mirror that the records belong to, where they know one.
    pub known: Option<MirrorId>,
    /// Files that the records call present.
    pub present: u64,
    /// Files that were ever on record.
    pub records: u64,
    /// Some of the present ones.
    pub sample: Vec<(ServerName, RemotePath)>,
}

/// Why nothing is concluded from what lies in the mirror, or is missing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has no marker, as an empty directory where no disk is mounted.
    Unmarked {
        /// Files that the records call present.
        present: u64,
    },
    /// It has the marker of another mirror.
    Another {
        /// Files that the records call present.
        present: u64,
    },
    /// Most files are gone at once.
    Gone(Absence),
    /// The records know nothing of the zips in it.
    NewRecords {
        /// So many, or more.
        zips: u64,
    },
    /// It cannot be looked at or opened.
    Unusable(String),
}

impl Reason {
    /// One word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unmarked { .. } => "unmarked",
            Self::Another { .. } => "another",
            Self::Gone(_) => "gone",
            Self::NewRecords { .. } => "new_records",
            Self::Unusable(_) => "unusable",
        }
    }

    /// What is wrong with the mirror at `root`, and what to do.
    #[must_use]
    pub fn describe(&self, root: &Path) -> String {
        let root = root.display();
        let held = "nothing is fetched, deleted or announced";
        let adopt = "'mrosync mirror adopt --dry-run' says what taking it as it is would mean";
        match self {
            Self::Unmarked { present } => format!(
                "{root} is not the mirror of the records, which say that {} there: it has no marker \
                 (.partial/.mirror); {held} until it is back: mount its disk; if the mirror was moved or restored, {adopt}",
                lie(*present)
            ),
            Self::Another { present } => format!(
                "{root} is another mirror than that of the records, which say that {} there: its marker \
                 (.partial/.mirror) is another; {held} until the right one is back: mount its disk; if this one is \
                 meant, {adopt}",
                lie(*present)
            ),
            Self::Gone(absence) => format!(
                "{} of {} are gone from {root} at once; {held} until they are back: mount their disk; if they were \
                 deleted on purpose, {adopt}",
                absence.gone,
                humanize::count(absence.of, "file")
            ),
            Self::NewRecords { zips } => format!(
                "the records are new and know nothing of the zips in {root} ({zips} or more); {held} until that is \
                 decided: put the right database back (records.path); or 'mrosync records mark --local' takes the \
                 files over; or 'mrosync records confirm --dry-run' says what leaving them alone would mean"
            ),
            Self::Unusable(error) => format!("{error}; {held} until {root} can be used"),
        }
    }

    /// The same for the files of one server.
    #[must_use]
    pub fn sentence_of(&self, root: &Path, server: &ServerName) -> String {
        self.describe(&root.join(server.as_str()))
    }
}

fn lie(count: u64) -> String {
    if count == 1 { "1 file lies".to_owned() } else { format!("{count} files lie") }
}

/// What is to be done with the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one of the records.
    Ours,
    /// It is to be theirs from now on: nothing of theirs lies elsewhere, or their files are here.
    Take,
    /// It is not touched until an operator has decided.
    Held(Reason),
}

/// Judges a mirror with this `marker`, in which `found` tells of the sample. `zips` counts the zips in it, up to a limit.
pub fn judge(
    standing: &Standing,
    marker: Option<MirrorId>,
    found: Absence,
    zips: impl FnOnce(u64) -> u64,
) -> Verdict {
    let Standing { known, present, records, .. } = *standing;
    if marker.is_some() && marker == known {
        return Verdict::Ours;
    }
    if present == 0 {
        // nothing of the records can be lost; what lies here may be of other records
        let limit = match (marker, records) {
            (Some(_), _) => 1,
            (None, 0) => AT_LEAST,
            (None, _) => return Verdict::Take,
        };
        let zips = zips(limit);
        return if zips >= limit { Verdict::Held(Reason::NewRecords { zips }) } else { Verdict::Take };
    }
    match (known, marker) {
        // records of before there were markers
        (None, _) if found.gone.saturating_mul(2) < found.of => Verdict::Take,
        (Some(_), Some(_)) => Verdict::Held(Reason::Another { present }),
        _ => Verdict::Held(Reason::Unmarked { present }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MirrorId = MirrorId(0xa);
    const B: MirrorId = MirrorId(0xb);

    fn verdict(
        known: Option<MirrorId>,
        present: u64,
        records: u64,
        marker: Option<MirrorId>,
        gone: u64,
        zips: u64,
    ) -> Verdict {
        let standing = Standing { known, present, records, sample: Vec::new() };
        judge(&standing, marker, Absence { of: present, gone }, |limit| zips.min(limit))
    }

    #[test]
    fn the_mirror_of_the_records_is_used_whatever_it_holds() {
        assert_eq!(verdict(Some(A), 100, 100, Some(A), 100, 0), Verdict::Ours);
        assert_eq!(verdict(Some(A), 0, 0, Some(A), 0, 99), Verdict::Ours);
    }

    #[test]
    fn a_first_start_and_one_with_nothing_to_lose_ask_nothing() {
        for (known, records, marker, zips) in [
            (None, 0, None, 0),
            (None, 0, None, 19),
            (None, 0, Some(A), 0),
            (None, 500, None, 900),
            (Some(A), 500, None, 900),
            (Some(A), 500, Some(B), 0),
        ] {
            assert_eq!(verdict(known, 0, records, marker, 0, zips), Verdict::Take);
        }
    }

    #[test]
    fn records_that_say_files_are_here_hold_where_the_marker_is_another_or_missing() {
        assert_eq!(verdict(Some(A), 1, 1, None, 0, 0), Verdict::Held(Reason::Unmarked { present: 1 }));
        assert_eq!(verdict(Some(A), 9, 9, Some(B), 0, 9), Verdict::Held(Reason::Another { present: 9 }));
    }

    /// interface 11.4
    #[test]
    fn the_first_start_after_an_upgrade_goes_by_what_is_there() {
        assert_eq!(verdict(None, 100, 100, None, 49, 0), Verdict::Take);
        assert_eq!(verdict(None, 100, 100, Some(B), 0, 0), Verdict::Take);
        assert_eq!(verdict(None, 100, 100, None, 50, 0), Verdict::Held(Reason::Unmarked { present: 100 }));
        assert_eq!(verdict(None, 1, 1, Some(B), 1, 0), Verdict::Held(Reason::Unmarked { present: 1 }));
    }

    #[test]
    fn new_records_beside_many_zips_or_beside_the_mirror_of_others_hold() {
        assert_eq!(verdict(None, 0, 0, None, 0, 20), Verdict::Held(Reason::NewRecords { zips: 20 }));
        assert_eq!(verdict(None, 0, 0, Some(A), 0, 1), Verdict::Held(Reason::NewRecords { zips: 1 }));
        assert_eq!(verdict(Some(B), 0, 7, Some(A), 0, 1), Verdict::Held(Reason::NewRecords { zips: 1 }));
    }
}
