//! The exit flag: how `stop` reaches every scanner at once, past any queue of messages.
//!
//! Each start makes a flag of its own, so that a late stop of an earlier run cannot end the next one.

use std::future::Future;

use tokio::sync::watch;

/// The side that stops: held by the supervisor.
#[derive(Debug)]
pub struct ExitFlag(watch::Sender<bool>);

/// The side that is stopped: cloned into everything that waits.
#[derive(Debug, Clone)]
pub struct ExitWatch(watch::Receiver<bool>);

/// The exit flag was raised while something was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl ExitFlag {
    /// A lowered flag and the watch of it.
    #[must_use]
    pub fn new() -> (Self, ExitWatch) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), ExitWatch(receiver))
    }

    /// Raises the flag, for good.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }
}

impl ExitWatch {
    /// Returns whether the flag was raised, or its owner is gone.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Ends when the flag is raised, or when its owner is gone. Nothing is left behind when cancelled.
    pub async fn raised(&self) {
        let mut receiver = self.0.clone();
        // an error means that the owner is gone, which asks to stop as well
        drop(receiver.wait_for(|raised| *raised).await);
    }

    /// Runs `work` until it is done or the flag is raised; then `work` is dropped where it stands.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the flag came first.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.raised() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn work_under_a_raised_flag_ends_at_once() {
        let (flag, watch) = ExitFlag::new();
        assert!(!watch.is_raised());
        assert_eq!(watch.guard(async { 7 }).await, Ok(7));
        let waiting = watch.guard(std::future::pending::<()>());
        flag.raise();
        assert_eq!(waiting.await, Err(Stopped));
        assert!(watch.is_raised());
    }

    #[tokio::test]
    async fn a_flag_whose_owner_is_gone_counts_as_raised() {
        let (flag, watch) = ExitFlag::new();
        drop(flag);
        assert!(watch.is_raised());
        tokio::time::timeout(Duration::from_secs(5), watch.raised()).await.unwrap();
    }
}
