//! Which of a server's files without a size may displace finished files.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::backoff::Backoff;

/// After a file without a size outgrew what it may displace, until another one of the server may displace anything.
const TRUSTED_AGAIN: Backoff = Backoff { first: Duration::from_mins(15), most: Duration::from_hours(24) };

/// Which of a server's files without a size may displace finished files: one at a time, and none for a while after one
/// that had no end.
#[derive(Debug, Default)]
pub struct UnsizedFiles {
    one_does: Cell<bool>,
    outgrown: Cell<u32>,
    not_before: Cell<Option<Instant>>,
}

impl UnsizedFiles {
    pub(super) fn are_trusted(&self, now: Instant) -> bool {
        self.not_before.get().is_none_or(|at| at <= now)
    }

    /// The right to displace, unless another file has it.
    pub(super) fn begin(self: &Rc<Self>) -> Option<Displacing> {
        (!self.one_does.replace(true)).then(|| Displacing(Rc::clone(self)))
    }

    /// Returns whether a file has it.
    pub(super) fn one_displaces(&self) -> bool {
        self.one_does.get()
    }

    pub(super) fn one_outgrew(&self, now: Instant) {
        self.outgrown.set(self.outgrown.get().saturating_add(1));
        self.not_before.set(Some(now + TRUSTED_AGAIN.after(self.outgrown.get())));
    }

    pub(super) fn one_is_whole(&self) {
        self.outgrown.set(0);
        self.not_before.set(None);
    }
}

/// The right of one file to displace others, until it is dropped.
pub(super) struct Displacing(Rc<UnsizedFiles>);

impl Drop for Displacing {
    fn drop(&mut self) {
        self.0.one_does.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// interface 12.6
    #[test]
    fn one_file_without_a_size_displaces_at_a_time_and_none_after_one_that_had_no_end() {
        let files = Rc::new(UnsizedFiles::default());
        let one = files.begin();
        assert!(one.is_some() && files.begin().is_none());
        drop(one);
        assert!(files.begin().is_some());
        let now = Instant::now();
        files.one_outgrew(now);
        assert!(!files.are_trusted(now) && files.are_trusted(now + Duration::from_mins(15)));
        files.one_outgrew(now);
        assert!(!files.are_trusted(now + Duration::from_mins(29)));
        files.one_is_whole();
        assert!(files.are_trusted(now));
    }
}
