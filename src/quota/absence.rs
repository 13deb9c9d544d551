//! Whether files that are gone were deleted, or whether something else is wrong with the mirror: a file or a few are
//! believed to be deleted by hand, most of them at once are not.

use std::collections::BTreeMap;

use crate::base::names::ServerName;

/// So many files are missed before anything is suspected.
pub const AT_LEAST: u64 = 20;

/// Files that were looked at, and how many of them are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Absence {
    /// Looked at.
    pub of: u64,
    /// Not at their places.
    pub gone: u64,
}

impl Absence {
    /// Returns whether it is more than anybody deletes by hand: over half of the files, and [`AT_LEAST`].
    #[must_use]
    pub fn is_sudden(self) -> bool {
        self.gone >= AT_LEAST && self.gone.saturating_mul(2) > self.of
    }

    /// Counts a file.
    pub fn note(&mut self, gone: bool) {
        self.of += 1;
        self.gone += u64::from(gone);
    }
}

/// What one look at all present files found.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<ServerName, Absence>);

/// Whose files are not believed to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Those of these servers; of no server where it is empty. The others go on.
    Servers(BTreeMap<ServerName, Absence>),
    /// Those of all.
    All(Absence),
}

impl Tally {
    /// Counts a file of `server`.
    pub fn note(&mut self, server: &ServerName, gone: bool) {
        match self.0.get_mut(server) {
            Some(absence) => absence.note(gone),
            None => self.0.entry(server.clone()).or_default().note(gone),
        }
    }

    /// Servers whose files are gone are named where others have theirs: the disk of one server's directory is not the
    /// mirror's. Where no server is left that is well, or many have lost a few files each, it is the mirror.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let sudden: BTreeMap<_, _> = self
            .0
            .iter()
            .filter(|(_, absence)| absence.is_sudden())
            .map(|(name, it)| (name.clone(), *it))
            .collect();
        let others = self.0.iter().filter(|(name, _)| !sudden.contains_key(*name)).map(|(_, it)| *it);
        let others = others.fold(Absence::default(), add);
        let all = self.0.values().copied().fold(Absence::default(), add);
        if others.is_sudden() || (all.is_sudden() && others.of == others.gone) {
            return Verdict::All(all);
        }
        Verdict::Servers(sudden)
    }
}

fn add(one: Absence, other: Absence) -> Absence {
    Absence { of: one.of.saturating_add(other.of), gone: one.gone.saturating_add(other.gone) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(servers: &[(&str, u64, u64)]) -> Verdict {
        let mut tally = Tally::default();
        for (name, of, gone) in servers {
            let name = ServerName::new(name).unwrap();
            (0..*of).for_each(|n| tally.note(&name, n < *gone));
        }
        tally.verdict()
    }

    fn held(servers: &[(&str, u64, u64)]) -> Vec<String> {
        match verdict(servers) {
            Verdict::Servers(held) => held.into_keys().map(|name| name.to_string()).collect(),
            Verdict::All(_) => vec!["all".to_owned()],
        }
    }

    /// interface 11.6
    #[test]
    fn more_than_half_and_twenty_at_least_are_not_deleted_by_hand() {
        for (of, gone, sudden) in [
            (30, 19, false),
            (19, 19, false),
            (20, 20, true),
            (30, 25, true),
            (40, 20, false),
            (41, 21, true),
            (0, 0, false),
        ] {
            assert_eq!(Absence { of, gone }.is_sudden(), sudden, "{gone} of {of}");
        }
    }

    #[test]
    fn a_server_whose_files_are_gone_is_named_and_the_others_go_on() {
        assert!(held(&[("a", 30, 19), ("b", 500, 3)]).is_empty());
        assert_eq!(held(&[("a", 900, 900), ("b", 10, 2)]), ["a"]);
        assert_eq!(held(&[("a", 900, 900), ("b", 30, 30), ("c", 10, 0)]), ["a", "b"]);
    }

    #[test]
    fn where_nobody_is_well_it_is_the_mirror() {
        assert_eq!(held(&[("a", 30, 25)]), ["all"]);
        assert_eq!(held(&[("a", 30, 30), ("b", 3, 3)]), ["all"]);
        assert_eq!(held(&[("a", 5, 5), ("b", 5, 5), ("c", 5, 5), ("d", 6, 5)]), ["all"], "a few each");
        assert_eq!(verdict(&[("a", 30, 25)]), Verdict::All(Absence { of: 30, gone: 25 }));
        assert!(held(&[("a", 5, 5), ("b", 5, 5), ("c", 5, 5)]).is_empty(), "fifteen in all");
    }
}
