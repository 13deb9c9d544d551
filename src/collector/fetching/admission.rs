//! Room for downloads: before they begin, and while they outgrow what the server shows.
//!
//! What a server shows is promised before the first byte comes. What comes beyond that is asked for piece by piece, as
//! any other download's is, and gets free room alone: no finished zip goes for bytes that nobody knows the end of. A
//! file of which the server shows no size may displace others once, as far as a file of its length is likely.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::facts::FileFacts;
use crate::base::humanize;
use crate::base::names::RemotePath;
use crate::collector::ports::{Admission, Growth};
use crate::collector::server::Server;
use crate::collector::unsized_files::Displacing;
use crate::mirror::partial::Outgrown;
use crate::mirror::partial_name::PartialName;
use crate::quota::{Busy, Prepaid, Reservation};

/// How long to wait before asking again for room that downloads under way hold.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to ask again; then the file is left for a later scan.
const TRIES: u32 = 100;
/// What a growing file gets at once, where so much is free without asking.
const STEP: u64 = 1 << 20;

/// A partial file on its way to be whole, and the room that it has.
pub struct Filling<'s> {
    server: &'s Server,
    reservation: Reservation,
    busy: Busy,
    /// Of the partial file, as far as it is counted.
    length: u64,
    /// As the server shows it; nothing where that is no promise.
    listed: Option<u64>,
    may_displace: bool,
    displaces: Option<Displacing>,
}

impl<'s> Filling<'s> {
    pub(super) fn new(
        server: &'s Server,
        reservation: Reservation,
        busy: Busy,
        facts: FileFacts,
        again: bool,
    ) -> Self {
        // 0 is what some servers show of every file that is open
        let listed = facts.size.filter(|size| *size > 0);
        Self {
            server,
            reservation,
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
        let missing = bytes.saturating_sub(self.reservation.left());
        if missing == 0 {
            return Ok(());
        }
        let end = length.saturating_add(bytes);
        if self.listed.is_some_and(|listed| end > listed) {
            self.busy.outgrows();
        }
        let free = |bytes: u64| self.server.prepaid.borrow_mut().take(bytes);
        match missing {
            _ if free(missing.max(STEP)) => self.reservation.grow(missing.max(STEP)),
            _ if free(missing) => self.reservation.grow(missing),
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
                Admission::Granted { reservation, prepaid } => {
                    self.reservation.absorb(reservation);
                    self.server.prepaid.replace(Prepaid::of(prepaid));
                    return Ok(());
                }
                Admission::Busy => tokio::time::sleep(PAUSE).await,
                // free room first; then it displaces, or waits for the one that does
                Admission::Held | Admission::TooLarge if self.may_begin_to_displace() => {
                    self.displaces = files.begin()
                }
                Admission::Held | Admission::TooLarge => break,
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
        self.reservation.written(now.saturating_sub(before));
        self.has(now);
    }

    /// The partial file has this length, as is counted already.
    pub(super) fn has(&mut self, length: u64) {
        self.length = length;
        self.busy.is(length);
    }

    /// What of the partial file lay beyond `length` is gone.
    pub(super) fn settle(&mut self, length: u64) {
        self.server.counters().partial_gone(self.length.saturating_sub(length));
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
    pub(super) fn into_parts(self) -> (Reservation, Busy) {
        if self.displaces.is_some() {
            self.server.unsized_files.one_is_whole();
        }
        (self.reservation, self.busy)
    }
}

/// Why there is no room for a file.
#[derive(Debug)]
pub(super) enum NoRoom {
    /// For this one; the next scan tries again.
    ForIt(String),
    /// For any file.
    ForAny,
}

/// Waits for room for the file at `path`, of which `facts` are shown.
pub(super) async fn room(
    server: &Server,
    path: &RemotePath,
    facts: FileFacts,
) -> Result<Reservation, NoRoom> {
    let size = facts.size.unwrap_or(0);
    if server.prepaid.borrow_mut().take(size) {
        return Ok(server.counters().reserve(size));
    }
    let there = server.mirror().partial(PartialName::new(path, facts)).size();
    for _ in 0..TRIES {
        match server.guard.make_room(size.saturating_sub(there)).await {
            Ok(Admission::Granted { reservation, prepaid }) => {
                server.prepaid.replace(Prepaid::of(prepaid));
                return Ok(reservation);
            }
            Ok(Admission::Busy) => tokio::time::sleep(PAUSE).await,
            Ok(Admission::Held) => break,
            Ok(Admission::TooLarge) => {
                return Err(NoRoom::ForIt("larger than all the room that the quota could free".to_owned()));
            }
            Err(error) => return Err(NoRoom::ForIt(format!("cannot make room: {}", humanize::why(&error)))),
        }
    }
    Err(NoRoom::ForAny)
}
