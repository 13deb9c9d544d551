//! How many files and sockets the process may have open at a time (`RLIMIT_NOFILE`, getrlimit(2)), and how they are
//! shared out, so that the control socket, the records and the page never go without.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::humanize;
use crate::config::Settings;

/// The process itself: log, records and their lock, mirror, standard streams, four for each of its own threads that
/// wait for sockets, and those that commands and look-ups of names open for a moment.
const PROCESS: u64 = 44;
/// The status page: its threads, and clients when descriptors are few.
const PAGE: u64 = 24;
/// A server: four for its thread, two directories, and what a step opens for a moment.
const SERVER: u64 = 7;
/// A login: control and data connection, the directory and the partial file that it works on.
const CONNECTION: u64 = 4;
/// Files of a server that are received and not recorded: so many where there is room, which bounds the work that a
/// stop waits for too; and enough not to wait.
const PUBLISHING: u64 = 64;
const PUBLISHING_ENOUGH: u64 = 8;
/// The least that a server can work with: one login, two files on their way to the records.
const LEAST: u64 = SERVER + CONNECTION + 2;

/// What each server may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Servers that can be scanned.
    pub servers: usize,
    /// Logins of each at most, whatever is configured.
    pub connections: usize,
    /// Files of each that are received and not recorded yet.
    pub publishing: usize,
}

/// The limit, beside what the configured servers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    limit: u64,
    needed: u64,
    configured: usize,
    share: Share,
}

impl Need {
    /// Of the servers of `settings` where `limit` files may be open.
    #[must_use]
    pub fn of(settings: &Settings, limit: u64) -> Self {
        let logins: Vec<u64> = settings.servers.iter().map(|server| server.connections as u64).collect();
        let page = settings.web.as_ref().map_or(0, |_| PAGE);
        let calls = settings.notify.concurrency;
        let more = (calls.ceiling() - calls.first()) as u64;
        Self::new(limit, PROCESS + page + calls.first() as u64, more, &logins)
    }

    /// `fixed` for the process, and `more` that it can do without; `logins` of each server.
    fn new(limit: u64, fixed: u64, more: u64, logins: &[u64]) -> Self {
        let (count, most) = (logins.len() as u64, logins.iter().copied().max().unwrap_or(1));
        let of_servers: u64 =
            logins.iter().map(|logins| SERVER + logins * CONNECTION + PUBLISHING_ENOUGH).sum();
        let each = limit.saturating_sub(fixed) / count.max(1);
        let share = if limit >= fixed + of_servers {
            let spare = (limit - fixed - of_servers).saturating_sub(more) / count.max(1);
            Share {
                servers: logins.len(),
                connections: usize(most),
                publishing: usize((PUBLISHING_ENOUGH + spare).min(PUBLISHING)),
            }
        } else if each >= LEAST {
            let connections = ((each - SERVER - 2) / (CONNECTION + 1)).clamp(1, most);
            let publishing = (each - SERVER - connections * CONNECTION).min(PUBLISHING_ENOUGH);
            Share { servers: logins.len(), connections: usize(connections), publishing: usize(publishing) }
        } else {
            let servers = usize(limit.saturating_sub(fixed) / LEAST).max(1);
            Share { servers: servers.min(logins.len()), connections: 1, publishing: 2 }
        };
        Self { limit, needed: fixed + of_servers, configured: logins.len(), share }
    }

    /// What each server may use.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// Returns whether all servers can work as they are configured.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.limit >= self.needed
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, needed, configured, share } = self;
        if self.is_met() {
            return write!(f, "{limit} may be open, {needed} are needed");
        }
        write!(
            f,
            "{limit} may be open (RLIMIT_NOFILE), {needed} are needed for {}: ",
            humanize::count(*configured, "server")
        )?;
        if share.servers < *configured {
            write!(f, "only {} of them are scanned, by one connection each", share.servers)?;
        } else {
            let more = if share.connections == 1 { "" } else { "s" };
            write!(f, "each is scanned by at most {} connection{more}", share.connections)?;
        }
        f.write_str("; raise the limit (LimitNOFILE= of the systemd unit, or ulimit -n)")
    }
}

fn usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Raises the limit as far as the system allows, and returns it.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            log::debug!("cannot raise the limit of open files: {error}");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// The limit, shared by those who open files. It follows the configuration.
#[derive(Debug, Clone)]
pub struct OpenFiles(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: u64,
    need: Need,
    /// Servers that have a seat.
    seated: usize,
}

/// The right of one server to be scanned, for as long as it is held.
#[derive(Debug)]
pub struct Seat(OpenFiles);

impl OpenFiles {
    /// Shares `limit` among the servers of `settings`; says once where it is too low.
    #[must_use]
    pub fn new(limit: u64, settings: &Settings) -> Self {
        let shared = Self(Arc::new(Mutex::new(State { limit, need: Need::of(settings, limit), seated: 0 })));
        shared.warn();
        shared
    }

    /// Shares anew, among other servers.
    pub fn follow(&self, settings: &Settings) {
        let before = self.with(|state| {
            let need = Need::of(settings, state.limit);
            std::mem::replace(&mut state.need, need)
        });
        if before != self.need() {
            self.warn();
        }
    }

    fn warn(&self) {
        let need = self.need();
        if !need.is_met() {
            log::error!("too few open files are allowed: {need}");
        }
    }

    /// The limit beside what is needed.
    #[must_use]
    pub fn need(&self) -> Need {
        self.with(|state| state.need)
    }

    /// What each server may use now.
    #[must_use]
    pub fn share(&self) -> Share {
        self.need().share
    }

    /// A seat, where one more server can be scanned.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let seated = self.with(|state| {
            let is_free = state.seated < state.need.share.servers;
            state.seated += usize::from(is_free);
            is_free
        });
        seated.then(|| Seat(self.clone()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.with(|state| state.seated = state.seated.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: [u64; 14] = [4; 14];

    #[test]
    fn fourteen_servers_have_all_they_want_at_the_usual_limits() {
        for limit in [1024, 65_536, u64::MAX] {
            let need = Need::new(limit, 52, 28, &FLEET);
            assert!(need.is_met(), "{need}");
            assert_eq!((need.share.servers, need.share.connections), (14, 4));
        }
        assert_eq!(Need::new(65_536, 52, 28, &FLEET).share.publishing, 64);
    }

    #[test]
    fn a_low_limit_costs_connections_first_and_then_servers() {
        let need = Need::new(300, 52, 28, &FLEET);
        assert_eq!(need.share, Share { servers: 14, connections: 1, publishing: 6 });
        assert!(need.to_string().contains("at most 1 connection;") && !need.is_met(), "{need}");
        let need = Need::new(100, 52, 28, &FLEET);
        assert_eq!(need.share, Share { servers: 3, connections: 1, publishing: 2 });
        assert!(need.to_string().contains("only 3 of them are scanned"), "{need}");
    }

    #[test]
    fn what_is_shared_out_is_never_more_than_there_is() {
        for logins in [vec![1], vec![4; 14], vec![64; 3], vec![2; 1000], vec![1, 64, 4]] {
            for limit in 60..3000 {
                let Share { servers, connections, publishing } = Need::new(limit, 44, 0, &logins).share;
                let of =
                    |most: &u64| SERVER + (*most).min(connections as u64) * CONNECTION + publishing as u64;
                let used: u64 = 44 + logins.iter().take(servers).map(of).sum::<u64>();
                assert!(used <= limit, "{logins:?} {limit} {used}");
            }
        }
    }
}
