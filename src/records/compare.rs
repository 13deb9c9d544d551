//! What follows from the record of a file and a listing of it. The same for every store.

use crate::base::facts::{FileFacts, Knowledge};

/// The record of a listed file.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownFile {
    pub(super) id: i64,
    /// Bytes stored.
    pub(super) size: u64,
    /// What a listing of it is expected to say.
    pub(super) expected: FileFacts,
    /// Whether the listing was out of date when the file came, and no change has been seen since.
    pub(super) listing_lags: bool,
    /// It was taken though it was no archive.
    pub(super) no_archive: bool,
    pub(super) is_present: bool,
}

/// What the records say of a listed file, and what of the listing they are to keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding {
    pub(super) knowledge: Knowledge,
    pub(super) update: Option<ListingUpdate>,
}

/// What the records keep of a listing.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListingUpdate {
    /// The listing contradicts the last one: a change, which is kept and counted with what is listed now.
    Changed { id: i64 },
    /// The listing has caught up with the file that was stored: its time is the one of the record from now on.
    CaughtUp { id: i64 },
}

impl Finding {
    /// There is no record.
    pub(super) const NEW: Self = Self { knowledge: Knowledge::New, update: None };

    fn known_as(knowledge: Knowledge) -> Self {
        Self { knowledge, update: None }
    }
}

impl KnownFile {
    /// Compares it with a listing. Changed means that this contradicts the one before, see [`FileFacts::agrees_with`].
    /// A file that had grown between its listing and its download is known as soon as the listing has caught up.
    pub(super) fn compare(&self, listed: &FileFacts) -> Finding {
        if listed.agrees_with(&self.expected) {
            return Finding::known_as(Knowledge::Known);
        }
        if self.listing_lags && listed.size == Some(self.size) {
            let update = Some(ListingUpdate::CaughtUp { id: self.id });
            return Finding { knowledge: Knowledge::Known, update };
        }
        if self.no_archive {
            return Finding::known_as(Knowledge::Outdated {
                was: self.expected,
                is_present: self.is_present,
            });
        }
        if let Some(by) = self.shift_to(listed) {
            return Finding::known_as(Knowledge::Shifted { was: self.expected, by });
        }
        let update = Some(ListingUpdate::Changed { id: self.id });
        Finding { knowledge: Knowledge::Changed { was: self.expected }, update }
    }

    /// By how much a file of the same size is shown later, where it may be the zone that changed.
    fn shift_to(&self, listed: &FileFacts) -> Option<i64> {
        let is_same_size = listed.size.is_some() && listed.size == self.expected.size;
        let times = self.expected.modified.zip(listed.modified).filter(|_| is_same_size);
        times.and_then(|(was, is)| was.shift_to(is))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::mlsd;
    use super::*;

    const fn file(expected: FileFacts) -> KnownFile {
        KnownFile { id: 7, size: 10, expected, listing_lags: false, no_archive: false, is_present: true }
    }

    #[test]
    fn a_change_alone_is_kept_and_what_is_no_archive_is_outdated_instead() {
        let was = mlsd(10, 60);
        let changed = file(was).compare(&mlsd(11, 60));
        assert_eq!(changed.knowledge, Knowledge::Changed { was });
        assert!(matches!(changed.update, Some(ListingUpdate::Changed { id: 7 })));
        let outdated = KnownFile { no_archive: true, ..file(was) }.compare(&mlsd(11, 60));
        assert_eq!(outdated.knowledge, Knowledge::Outdated { was, is_present: true });
        let shifted = file(was).compare(&mlsd(10, 3660));
        assert_eq!(shifted.knowledge, Knowledge::Shifted { was, by: 3600 });
        assert!(outdated.update.is_none() && shifted.update.is_none());
    }

    #[test]
    fn a_listing_that_lagged_may_catch_up_with_what_was_stored_and_with_nothing_else() {
        let lagging = KnownFile { listing_lags: true, ..file(mlsd(4, 50)) };
        let caught_up = lagging.compare(&mlsd(10, 60));
        assert_eq!(caught_up.knowledge, Knowledge::Known);
        assert!(matches!(caught_up.update, Some(ListingUpdate::CaughtUp { id: 7 })));
        assert!(matches!(lagging.compare(&mlsd(9, 60)).knowledge, Knowledge::Changed { .. }));
    }
}
