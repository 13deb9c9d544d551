//! The way to the database: connects, asks, and after a lost connection connects and asks again.
//!
//! An answer may be lost after the work was done. So whatever is asked may be asked twice: the second time tells.

mod connect;
mod driver;
mod tls;
pub(super) mod wait;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_postgres::Client;

use super::error::Failure;
use crate::config::PostgresSettings;
use crate::records::error::{FailureKind, OpenError, RecordsError};
use connect::{Connected, Connector};
use driver::Driver;
use wait::wait_until;

/// For all of one call, whatever it takes: others wait behind it.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// For a connection; an attempt goes on beyond that, and whoever asks meanwhile is told at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// From a failed attempt to connect to the next, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Another transaction may be in the way so often.
const COLLISIONS: usize = 3;

/// See the module.
pub(super) struct Link {
    shared: Arc<Shared>,
    driver: Driver,
    place: PathBuf,
}

/// What the asker and the tasks on the driver share.
pub(super) struct Shared {
    connector: Connector,
    slot: Mutex<Slot>,
    /// Held while one connects.
    connecting: tokio::sync::Mutex<()>,
    /// Held by whoever has something under way on the connection, so that transactions do not mix.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Slot {
    session: Option<Arc<Connected>>,
    /// When the attempt began that is under way.
    begun: Option<Instant>,
    failed: Option<Failed>,
}

struct Failed {
    failure: Failure,
    at: Instant,
    pause: Duration,
}

impl Slot {
    fn live(&self) -> Option<Arc<Connected>> {
        self.session.as_ref().filter(|session| !session.client.is_closed()).map(Arc::clone)
    }

    /// What the last attempt came to, while it is too early for the next.
    fn recent_failure(&self) -> Option<Failure> {
        let failed = self.failed.as_ref().filter(|failed| failed.at.elapsed() < failed.pause);
        failed.map(|failed| failed.failure.clone())
    }
}

impl Shared {
    /// The session there is, or a new one. On the driver's runtime.
    pub(super) async fn session(&self) -> Result<Arc<Connected>, Failure> {
        let _connecting = self.connecting.lock().await;
        {
            let mut slot = self.slot.lock();
            if let Some(session) = slot.live() {
                return Ok(session);
            }
            if let Some(failure) = slot.recent_failure() {
                return Err(failure);
            }
            slot.begun = Some(Instant::now());
        }
        let connected = self.connector.connect().await;
        let mut slot = self.slot.lock();
        slot.begun = None;
        match connected {
            Ok(connected) => {
                log::debug!("the records are at {}, PostgreSQL {}", connected.place, connected.version);
                let session = Arc::new(connected);
                (slot.session, slot.failed) = (Some(Arc::clone(&session)), None);
                Ok(session)
            }
            Err(failure) => {
                let (first, most) = PAUSES;
                let pause = slot.failed.as_ref().map_or(first, |failed| (failed.pause * 2).min(most));
                let failed = failure.clone();
                slot.failed = Some(Failed { failure: failed, at: Instant::now(), pause });
                Err(failure)
            }
        }
    }

    /// Waits until nothing else is under way on the connection.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Gives a session up, so that the next asker connects.
    pub(super) fn leave(&self, session: &Arc<Connected>) {
        let mut slot = self.slot.lock();
        if slot.session.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            slot.session = None;
        }
    }
}

impl Link {
    /// A way to the database, which nobody has gone yet.
    ///
    /// # Errors
    ///
    /// Where certificates or a thread cannot be had.
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let place = PathBuf::from(settings.to_string());
        let failed = |detail: String| OpenError::Other { file: place.clone(), detail };
        let connector = Connector::new(settings.clone()).map_err(|error| failed(format!("{error:#}")))?;
        let driver = Driver::start().map_err(|error| failed(error.to_string()))?;
        let (slot, connecting, turn) =
            (Mutex::default(), tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { shared: Arc::new(Shared { connector, slot, connecting, turn }), driver, place })
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs something on the driver for as long as this lives.
    pub(super) fn spawn<F>(&self, task: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        drop(self.driver.spawn(task));
    }

    /// Waits.
    pub(super) fn pause(&self, time: Duration) {
        // never comes
        wait_until(Instant::now() + time, std::future::pending::<()>());
    }

    /// Asks, as `attempt`.
    pub(super) fn attempt<T>(
        &self,
        attempt: &'static str,
        work: impl AsyncFn(&Client) -> Result<T, Failure>,
    ) -> Result<T, RecordsError> {
        self.ask(CALL_LIMIT, work)
            .map_err(|Failure { kind, detail }| RecordsError::new(kind, attempt, &self.place, detail))
    }

    /// Asks while the records are opened.
    pub(super) fn opening<T>(
        &self,
        limit: Duration,
        work: impl AsyncFn(&Client) -> Result<T, Failure>,
    ) -> Result<T, OpenError> {
        self.ask(limit, work)
            .map_err(|Failure { kind, detail }| OpenError::of_kind(kind, &self.place, detail))
    }

    /// Returns where the database is that was reached last, and its version.
    pub(super) fn reached(&self) -> Option<(String, String)> {
        let session = self.shared.slot.lock().live()?;
        Some((session.place.clone(), session.version.clone()))
    }

    /// Connects where that is needed, and asks; once more after a lost connection.
    pub(super) fn ask<T>(
        &self,
        limit: Duration,
        work: impl AsyncFn(&Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        let (mut was_lost, mut collisions) = (false, 0);
        loop {
            let session = self.session(deadline)?;
            let asked = async {
                let _turn = self.shared.turn().await;
                work(&session.client).await
            };
            let Some(outcome) = wait_until(deadline, asked) else {
                self.shared.leave(&session);
                let detail = format!("no answer within {} s", limit.as_secs());
                return Err(Failure::unreachable(detail).at(&session.place));
            };
            match outcome {
                Err(failure) if failure.kind == FailureKind::Unreachable => {
                    self.shared.leave(&session);
                    if was_lost {
                        return Err(failure.at(&session.place));
                    }
                    was_lost = true;
                }
                Err(failure) if failure.kind == FailureKind::Busy && collisions < COLLISIONS => {
                    collisions += 1
                }
                outcome => return outcome.map_err(|failure| failure.at(&session.place)),
            }
        }
    }

    fn session(&self, deadline: Instant) -> Result<Arc<Connected>, Failure> {
        let begun = {
            let slot = self.shared.slot.lock();
            if let Some(session) = slot.live() {
                return Ok(session);
            }
            if let Some(failure) = slot.recent_failure() {
                return Err(failure);
            }
            slot.begun
        };
        let patience = begun.unwrap_or_else(Instant::now) + PATIENCE;
        let shared = Arc::clone(&self.shared);
        let attempt = self.driver.spawn(move || async move { shared.session().await });
        match wait_until(patience.min(deadline), attempt) {
            Some(Ok(session)) => session,
            Some(Err(error)) => Err(Failure::other(error.to_string())),
            None => Err(Failure::unreachable("connecting takes longer than it should")),
        }
    }
}
