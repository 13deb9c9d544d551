//! What systemd is told: that the service is ready, alive, and ending (sd_notify(3)). Without systemd, nothing.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// Ready for commands.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// On the way to the end.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Tells for ever that the service is alive, as often as the unit's `WatchdogSec` asks for, as long as `is_alive`
/// says so in time. A service that hangs falls silent, and systemd starts it again.
pub async fn watch<F: Future<Output = bool>>(is_alive: impl Fn() -> F) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // half of it for the next look, a quarter for the answer: systemd hears of it before its limit
    let (pause, patience) = (limit / 2, limit / 4);
    loop {
        match tokio::time::timeout(patience, is_alive()).await {
            Ok(true) => tell(NotifyState::Watchdog),
            Ok(false) | Err(_) => {
                let patience = humantime::format_duration(Duration::from_millis(
                    u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                ));
                log::error!(
                    "the record keeper does not answer within {patience}; systemd is not told that all is well"
                );
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn tell(state: NotifyState<'_>) {
    // no systemd is no fault; a systemd that does not listen cannot be helped from here
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("cannot tell systemd: {error}");
    }
}
