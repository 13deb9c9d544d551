//! What becomes of records after the download: their files go, are missed and found again, or an operator changes them.

use super::fault_log::Work;
use crate::base::facts::Download;

/// A change of records, [`BATCH`](super::types::BATCH) of them at most. Records that are gone, or need no change, are
/// passed over, so that each may be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These files were deleted from the mirror to make room. Their notices are cancelled.
    Evicted(Vec<i64>),
    /// As `Evicted`, but nobody here deleted them: they may be found again.
    Missing(Vec<i64>),
    /// Files that count as evicted lie in the mirror again. What was not announced is due at once.
    Found(Vec<i64>),
    /// An operator amends them.
    Amend(Amendment, Vec<i64>),
    /// An operator counts files as fetched that never were. Those on record are left as they are.
    Mark(Mark, Vec<Download>),
}

/// How an operator amends records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amendment {
    /// They are taken out, so that their files are new.
    Forget,
    /// Files that are in the mirror are to be announced once more.
    Requeue,
}

/// What is known of files that are counted as fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A server lists them, and the mirror does not hold them: evicted from the beginning.
    Listed,
    /// They lie in the mirror, and whoever works with them has seen them.
    Local,
    /// They lie in the mirror, and are to be announced.
    LocalToAnnounce,
}

/// What a [`Change`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Records that changed.
    pub records: u64,
    /// Notices that waited for their call, which is never made now.
    pub cancelled_notices: u64,
}

/// What a change means to those who have read notices before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxEffect {
    /// Nothing.
    Unchanged,
    /// There are more notices.
    Grew,
    /// What was read may be wrong now.
    Changed,
}

impl Change {
    /// Has files that are marked count as fetched at `now`, in unix milliseconds.
    #[must_use]
    pub fn dated(mut self, now: i64) -> Self {
        if let Self::Mark(_, files) = &mut self {
            files.iter_mut().for_each(|file| file.downloaded_at = now);
        }
        self
    }

    /// Describes it, for the error where it fails.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Evicted(_) => "mark files as evicted",
            Self::Missing(_) => "mark files as missing",
            Self::Found(_) => "mark files as found again",
            Self::Amend(..) => "change records",
            Self::Mark(..) => "mark files as fetched",
        }
    }

    /// Returns which kind of work it is.
    #[must_use]
    pub fn work(&self) -> Work {
        match self {
            Self::Evicted(_) | Self::Missing(_) | Self::Found(_) => Work::Evict,
            Self::Amend(..) | Self::Mark(..) => Work::Amend,
        }
    }

    /// Returns what it means to the outbox once it came to `changed`.
    #[must_use]
    pub fn outbox_effect(&self, changed: Changed) -> OutboxEffect {
        match self {
            // most files that are evicted were announced long ago: their notices are not read again
            Self::Evicted(_) if changed.cancelled_notices == 0 => OutboxEffect::Unchanged,
            Self::Mark(..) => OutboxEffect::Grew,
            Self::Evicted(_) | Self::Missing(_) | Self::Found(_) | Self::Amend(..) => OutboxEffect::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_read_again_where_they_may_have_changed_and_not_for_evictions_of_announced_files() {
        let quiet = Changed { records: 3, cancelled_notices: 0 };
        let cancelling = Changed { records: 3, cancelled_notices: 1 };
        for (change, changed, effect) in [
            (Change::Evicted(vec![1]), quiet, OutboxEffect::Unchanged),
            (Change::Evicted(vec![1]), cancelling, OutboxEffect::Changed),
            (Change::Missing(vec![1]), quiet, OutboxEffect::Changed),
            (Change::Found(vec![1]), quiet, OutboxEffect::Changed),
            (Change::Amend(Amendment::Requeue, vec![1]), quiet, OutboxEffect::Changed),
            (Change::Mark(Mark::LocalToAnnounce, vec![]), quiet, OutboxEffect::Grew),
        ] {
            assert_eq!(change.outbox_effect(changed), effect, "{change:?}");
        }
    }
}
