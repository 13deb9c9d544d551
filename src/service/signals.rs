//! The signals that the service listens to.

use std::io::IsTerminal;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT end the service. SIGHUP has it read its configuration again, unless `nohup` had it ignored.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
    at_terminal: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end; the signal's name.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let at_terminal = std::io::stdin().is_terminal();
        Ok(Self { terminate, interrupt, hangup, at_terminal })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Asked {
        let hung_up = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            // sent by the kernel when a terminal is closed, which is then no terminal any more
            _ = hung_up => match self.at_terminal && !std::io::stdin().is_terminal() {
                true => Asked::End("SIGHUP, the terminal is gone"),
                false => Asked::Reload,
            },
        }
    }

    /// The next signal that ends the service. A SIGHUP is kept for [`Self::next`].
    pub(super) async fn next_end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// As the kernel tells in proc(5): a mask of the ignored signals, of which SIGHUP is the first.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
