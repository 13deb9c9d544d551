//! Asking for the next data port early: PASV goes out at the end of a file's data, without waiting for the final
//! reply, so that both replies come in the same round trip.
//!
//! RFC 959 lets a server read no command before it has answered the one before, and nearly all do so. Some handle
//! commands side by side, and their replies come in any order. So this is done only where a server seems to bear it, and
//! never again on a server whose replies did not fit once: the session is thrown away then, and the file is fetched
//! again. Runs on the thread of the server's scanner.
//!
//! A port that was told is connected to at once, whatever comes next: there are servers that read no further command
//! until that is done (Twisted), and such that take the time until then for a fault (pyftpdlib: 421 after 30 s).

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ftp::error::FtpError;
use crate::net::deadline::within;
use crate::net::route::Route;

/// A port that is not used for so long is not used any more: the server may have closed it.
const KEPT: Duration = Duration::from_secs(5);
/// So often it must have gone well on a server whose name says nothing, one session at a time.
const TRIALS: u32 = 4;
/// A trial that was never finished, because its session was dropped, ends then.
const TRIAL_LASTS: Duration = Duration::from_secs(60);
/// Servers that answer in order whenever the command comes. Tried.
const IN_ORDER: [&str; 4] = ["vsftpd", "proftpd", "pure-ftpd", "pyftpdlib"];
/// Servers that handle commands side by side.
const SIDE_BY_SIDE: [&str; 1] = ["libunftp"];

/// What is known of a server: whether it bears the early PASV.
#[derive(Debug, Default)]
pub(crate) struct PipeliningSupport(Cell<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Its greeting was not seen yet, or said nothing.
    #[default]
    Unnamed,
    /// One session asks for it.
    BeingAsked,
    /// It told nothing of itself that helps; each trial counts.
    Trying {
        left: u32,
        since: Option<Instant>,
    },
    Supported,
    Never,
}

impl PipeliningSupport {
    /// Reads what the server calls itself in its greeting or in its help.
    pub(crate) fn named(&self, words: &str) {
        if !matches!(self.0.get(), State::Unnamed | State::BeingAsked) {
            return;
        }
        let words = words.to_ascii_lowercase();
        let says = |names: &[&str]| names.iter().any(|name| words.contains(name));
        if says(&SIDE_BY_SIDE) {
            self.0.set(State::Never);
        } else if says(&IN_ORDER) {
            self.0.set(State::Supported);
        }
    }

    /// Returns whether the caller should ask the server what it is. Only the first one is told so.
    pub(crate) fn wants_a_name(&self) -> bool {
        let wants = self.0.get() == State::Unnamed;
        if wants {
            self.0.set(State::BeingAsked);
        }
        wants
    }

    /// The server was asked and gave no name that is known here.
    pub(crate) fn stays_unnamed(&self) {
        if self.0.get() == State::BeingAsked {
            self.0.set(State::Trying { left: TRIALS, since: None });
        }
    }

    /// Returns whether it is sure that the server handles one command after the other.
    pub(crate) fn is_in_order(&self) -> bool {
        self.0.get() == State::Supported
    }

    /// Returns whether the next port may be asked for early now.
    pub(crate) fn may_ask(&self) -> bool {
        match self.0.get() {
            State::Supported => true,
            State::Trying { left, since } if since.is_none_or(|since| since.elapsed() > TRIAL_LASTS) => {
                self.0.set(State::Trying { left, since: Some(Instant::now()) });
                true
            }
            _ => false,
        }
    }

    /// The replies came as they should, and the port led to a transfer.
    pub(crate) fn record_success(&self) {
        match self.0.get() {
            State::Trying { left: 0 | 1, .. } => self.0.set(State::Supported),
            State::Trying { left, .. } => self.0.set(State::Trying { left: left - 1, since: None }),
            _ => {}
        }
    }

    /// Something did not fit: never again.
    pub(crate) fn record_failure(&self, what: &dyn std::fmt::Display) {
        if self.0.replace(State::Never) != State::Never {
            log::info!(
                "a server does not bear an early PASV ({what}); it is asked for ports in turn from now on"
            );
        }
    }
}

/// A data port that the server opened before it was needed, and the connection to it.
#[derive(Debug)]
pub(crate) struct EarlyPort {
    connecting: JoinHandle<io::Result<TcpStream>>,
    told: Instant,
}

impl EarlyPort {
    pub(crate) fn new(route: Route, port: u16) -> Self {
        // among the scanner's own tasks, so that its end wakes the session without another look at the sockets
        let connecting = tokio::task::spawn_local(async move { route.connect(port).await });
        Self { connecting, told: Instant::now() }
    }

    /// Returns whether it is not too old to be relied on.
    pub(crate) fn is_fresh(&self) -> bool {
        self.told.elapsed() < KEPT
    }

    /// Its connection.
    pub(crate) async fn connected(
        &mut self,
        step: &'static str,
        after: Duration,
    ) -> Result<TcpStream, FtpError> {
        let connected = within(step, after, &mut self.connecting).await?;
        connected
            .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            .map_err(|cause| FtpError::Data { step, cause })
    }
}

impl Drop for EarlyPort {
    fn drop(&mut self) {
        self.connecting.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_known_by_name_is_believed() {
        for greeting in [
            "(vsFTPd 3.0.3)",
            "ProFTPD Server (Debian)",
            "Welcome to Pure-FTPd [TLS]",
            "pyftpdlib 2.2.0 ready.",
        ] {
            let support = PipeliningSupport::default();
            support.named(greeting);
            assert!(support.may_ask() && support.may_ask(), "{greeting}");
        }
        let support = PipeliningSupport::default();
        support.named("220 welcome");
        assert!(support.wants_a_name());
        support.named("214-Help:\n Powered by libunftp: 0.24.0");
        support.stays_unnamed();
        assert!(!support.may_ask());
    }

    #[test]
    fn an_unknown_server_is_tried_by_one_session_at_a_time_until_it_has_proved_itself() {
        let support = PipeliningSupport::default();
        support.named("220 ready");
        assert!(support.wants_a_name() && !support.wants_a_name() && !support.may_ask());
        support.stays_unnamed();
        for _ in 0..TRIALS {
            assert!(support.may_ask() && !support.may_ask());
            support.record_success();
        }
        assert!(support.may_ask() && support.may_ask());
    }

    #[test]
    fn what_record_failure_once_is_never_tried_again() {
        let support = PipeliningSupport::default();
        support.named("vsFTPd");
        support.record_failure(&"500");
        support.named("vsFTPd");
        support.record_success();
        assert!(!support.may_ask());
    }
}
