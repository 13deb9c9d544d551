//! Room for downloads: before they begin, and while they outgrow what the server shows.
//!
//! What a server shows is promised before the first byte comes. What comes beyond that is asked for piece by piece, as
//! any other download's is, and gets free room alone: no finished zip goes for bytes that nobody knows the end of. A
//! file of which the server shows no size may displace others once, as far as a file of its length is likely.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fetch::Wanted;
use super::ports::{Growth, Room};
use super::queue::{FileJob, Job};
use super::scan::Scan;
use super::server::Server;
use crate::base::backoff::Backoff;
use crate::base::facts::FileFacts;
use crate::base::humanize;
use crate::mirror::partial::{Outgrown, stat};
use crate::mirror::partial_name::PartialName;
use crate::mirror::tree::size_of_stat;
use crate::quota::{Allowance, Busy, Hold};

/// How long to wait before asking again for room that downloads under way hold.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to ask again; then the file is left for a later scan.
const TRIES: u32 = 100;
/// What a growing file gets at once, where so much is free without asking.
const STEP: u64 = 1 << 20;

/// After a file without a size outgrew what it may displace, until another one of the server may displace anything.
const TRUSTED_AGAIN: Backoff = Backoff { first: Duration::from_mins(15), most: Duration::from_hours(24) };

/// Which of a server's files without a size may displace finished zips: one at a time, and none for a while after one
/// that had no end.
#[derive(Debug, Default)]
pub struct UnsizedFiles {
    one_does: Cell<bool>,
    outgrown: Cell<u32>,
    not_before: Cell<Option<Instant>>,
}

impl UnsizedFiles {
    fn are_trusted(&self, now: Instant) -> bool {
        self.not_before.get().is_none_or(|at| at <= now)
    }

    /// The right to displace, unless another file has it.
    fn begin(self: &Rc<Self>) -> Option<Displacing> {
        (!self.one_does.replace(true)).then(|| Displacing(Rc::clone(self)))
    }

    /// Whether a file has it.
    fn one_displaces(&self) -> bool {
        self.one_does.get()
    }

    fn one_outgrew(&self, now: Instant) {
        self.outgrown.set(self.outgrown.get().saturating_add(1));
        self.not_before.set(Some(now + TRUSTED_AGAIN.after(self.outgrown.get())));
    }

    fn one_is_whole(&self) {
        self.outgrown.set(0);
        self.not_before.set(None);
    }
}

/// The right of one file to displace others, until it is dropped.
struct Displacing(Rc<UnsizedFiles>);

impl Drop for Displacing {
    fn drop(&mut self) {
        self.0.one_does.set(false);
    }
}

/// A partial file on its way to be whole, and the room that it has.
pub struct Filling<'s> {
    server: &'s Server,
    hold: Hold,
    busy: Busy,
    /// Of the partial file, as far as it is counted.
    length: u64,
    /// As the server shows it; nothing where that is no promise.
    listed: Option<u64>,
    may_displace: bool,
    displaces: Option<Displacing>,
}

impl<'s> Filling<'s> {
    pub(super) fn new(server: &'s Server, hold: Hold, busy: Busy, facts: FileFacts, again: bool) -> Self {
        // 0 is what some servers show of every file that is open
        let listed = facts.size.filter(|size| *size > 0);
        Self {
            server,
            hold,
            busy,
            length: 0,
            listed,
            may_displace: listed.is_none() && !again,
            displaces: None,
        }
    }

    /// Makes sure that there is room for `bytes` more beyond `length`.
    ///
    /// # Errors
    ///
    /// [`Outgrown`] where there is none.
    pub(super) async fn make(&mut self, bytes: u64, length: u64) -> anyhow::Result<()> {
        let missing = bytes.saturating_sub(self.hold.left());
        if missing == 0 {
            return Ok(());
        }
        let end = length.saturating_add(bytes);
        if self.listed.is_some_and(|listed| end > listed) {
            self.busy.outgrows();
        }
        let free = |bytes: u64| self.server.allowance.borrow_mut().take(bytes);
        match missing {
            _ if free(missing.max(STEP)) => self.hold.grow(missing.max(STEP)),
            _ if free(missing) => self.hold.grow(missing),
            _ => self.ask(missing, length).await?,
        }
        Ok(())
    }

    async fn ask(&mut self, bytes: u64, length: u64) -> anyhow::Result<()> {
        let files = &self.server.unsized_files;
        let mut is_after_another = false;
        for _ in 0..TRIES {
            // what the other one displaces is for it alone
            is_after_another = self.listed.is_none() && self.displaces.is_none() && files.one_displaces();
            if is_after_another {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let growth = Growth { bytes, length, may_displace: self.displaces.is_some() };
            match self.server.guard.grow(growth).await? {
                Room::Granted { hold, allowance } => {
                    self.hold.absorb(hold);
                    self.server.allowance.replace(Allowance::of(allowance));
                    return Ok(());
                }
                Room::Busy => tokio::time::sleep(PAUSE).await,
                // free room first; then it displaces, or waits for the one that does
                Room::Held | Room::TooLarge if self.may_begin_to_displace() => self.displaces = files.begin(),
                Room::Held | Room::TooLarge => break,
            }
        }
        if self.displaces.is_some() {
            files.one_outgrew(Instant::now());
        }
        Err(match self.listed {
            Some(listed) => Outgrown::NoRoom { listed },
            None if is_after_another => Outgrown::AfterAnother,
            None => Outgrown::NoRoomUnsized { length },
        }
        .into())
    }

    fn may_begin_to_displace(&self) -> bool {
        self.may_displace && self.displaces.is_none() && self.server.unsized_files.are_trusted(Instant::now())
    }

    /// The partial file grew from `before` to `now`.
    pub(super) fn written(&mut self, before: u64, now: u64) {
        self.hold.written(now.saturating_sub(before));
        self.has(now);
    }

    /// The partial file has this length, as is counted already.
    pub(super) fn has(&mut self, length: u64) {
        self.length = length;
        self.busy.is(length);
    }

    /// What of the partial file lay beyond `length` is gone.
    pub(super) fn settle(&mut self, length: u64) {
        self.server.gauge.partial_gone(self.length.saturating_sub(length));
        self.has(length);
    }

    /// Ends when others need the room of this file, which is larger than the server shows.
    pub(super) fn cut(&self) -> impl Future<Output = Outgrown> + use<> {
        let (transfer, listed) = (Arc::clone(self.busy.transfer()), self.listed.unwrap_or(0));
        async move {
            transfer.cut().await;
            Outgrown::Cut { listed }
        }
    }

    /// The room and the guard of the file, once it is whole.
    pub(super) fn into_parts(self) -> (Hold, Busy) {
        if self.displaces.is_some() {
            self.server.unsized_files.one_is_whole();
        }
        (self.hold, self.busy)
    }
}

/// Waits for room; `None` when the file is left for a later scan.
pub(super) async fn room(scan: &Scan<'_>, job: &FileJob, wanted: Wanted<'_>) -> Option<Hold> {
    let path = wanted.path;
    let size = wanted.facts.size.unwrap_or(0);
    if scan.server.allowance.borrow_mut().take(size) {
        return Some(scan.server.gauge.hold(size));
    }
    let there = stat(&scan.server.mirror, PartialName::new(path, wanted.facts));
    let there = there.map_or(0, |stat| size_of_stat(&stat));
    for _ in 0..TRIES {
        match scan.server.guard.make_room(size.saturating_sub(there)).await {
            Ok(Room::Granted { hold, allowance }) => {
                scan.server.allowance.replace(Allowance::of(allowance));
                return Some(hold);
            }
            Ok(Room::Busy) => tokio::time::sleep(PAUSE).await,
            Ok(Room::Held) => break,
            Ok(Room::TooLarge) => {
                scan.file_waits(path, &"larger than all the room that the quota could free");
                return None;
            }
            Err(error) => {
                scan.file_waits(path, &format!("cannot make room: {}", humanize::why(&error)));
                return None;
            }
        }
    }
    scan.jobs.hold();
    scan.jobs.give_back(Job::Fetch(job.clone()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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
