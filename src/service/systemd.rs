//! What systemd is told: that the service is ready or reads its configuration again, what it does, that it is alive, and that it is ending
//! (sd_notify(3)). Without systemd, nothing.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// How often `systemctl status` gets a new sentence, where there is one.
const SENTENCE_EVERY: Duration = Duration::from_secs(5);

/// Ready for commands.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The configuration is read again; [`ready`] follows.
pub fn reloading() {
    // the time says to which request this belongs (sd_notify(3))
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_all(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("cannot tell systemd: {error}"),
    }
}

/// On the way to the end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Tells for ever, in one sentence, what the service does.
pub async fn describe(sentence: impl Fn() -> String) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let mut told = String::new();
    loop {
        let sentence = sentence();
        if sentence != told {
            notify(NotifyState::Status(&sentence));
            told = sentence;
        }
        tokio::time::sleep(SENTENCE_EVERY).await;
    }
}

/// Tells for ever that the service is alive, as often as the unit's `WatchdogSec` asks for, as long as `is_alive`
/// answers yes. A service that hangs falls silent, and systemd starts it again.
pub async fn watch<F: Future<Output = bool>>(is_alive: impl Fn() -> F) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // a third of it for the next look and an eighth for the answer: well below the half that sd_watchdog_enabled(3)
    // recommends
    let (pause, patience) = (limit / 3, limit / 8);
    loop {
        let answer = is_alive();
        tokio::pin!(answer);
        let alive = match tokio::time::timeout(patience, &mut answer).await {
            Ok(alive) => alive,
            Err(_) => {
                let patience = crate::base::humanize::duration(patience);
                log::error!(
                    "the heart of the service does not answer within {patience}; systemd is told of no life until it does"
                );
                let alive = answer.await;
                log::warn!("the heart of the service answers again");
                alive
            }
        };
        if alive {
            notify(NotifyState::Watchdog);
        }
        tokio::time::sleep(pause).await;
    }
}

fn notify(state: NotifyState<'_>) {
    tell_all(&[state]);
}

fn tell_all(states: &[NotifyState<'_>]) {
    // no systemd is no fault; a systemd that does not listen cannot be helped from here
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("cannot tell systemd: {error}");
    }
}
