//! How far long work has come, in one line each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytesize::ByteSize;

use crate::base::humanize;
use crate::base::names::Printable;
use crate::status::{ServerState, ServerStatus, ServiceStatus};

/// The rate is that of the last few seconds: the first of many looks is forgotten.
const RATE_OVER: Duration = Duration::from_secs(5);
/// Names of servers in a line, before it becomes unreadable.
const NAMED: usize = 5;

/// The first sync after a start: until every server came to the end of a scan.
#[derive(Debug)]
pub struct FirstSync {
    began: Instant,
    /// Bytes received at each look of late, the oldest first.
    looks: VecDeque<(Instant, u64)>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not started, or stopped meanwhile.
    Idle,
    /// Under way.
    Going(String),
    /// All servers came to the end of a scan.
    Done(String),
}

impl FirstSync {
    /// Begins to watch at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, looks: VecDeque::from([(now, 0)]) }
    }

    /// What there is to say at `now`.
    pub fn look(&mut self, status: &ServiceStatus, now: Instant) -> Standing {
        let servers = &status.servers;
        let done = servers.iter().filter(|server| server.scans > 0).count();
        if !status.running {
            *self = Self::new(now);
            return Standing::Idle;
        }
        let sum = |count: fn(&ServerStatus) -> u64| servers.iter().map(count).sum::<u64>();
        let (local, bytes) = (sum(local), sum(|server| server.bytes_downloaded));
        let seen = local + sum(|server| server.pending_files);
        let came = ByteSize(bytes).display().iec();
        if done == servers.len() {
            let files = sum(|server| server.files_downloaded);
            let took = humanize::duration(Duration::from_secs((now - self.began).as_secs()));
            let failed = servers.iter().filter(|server| server.state == ServerState::Unreachable).count();
            let failed = match failed {
                0 => String::new(),
                _ => format!("; {} unreachable", humanize::count_is(failed, "server")),
            };
            return Standing::Done(format!(
                "first sync: done, {} fetched, {came}, in {took}{failed}",
                humanize::count(files, "zip")
            ));
        }
        let rate = ByteSize(self.rate(bytes, now)).display().iec();
        Standing::Going(format!(
            "first sync: {local} of {} local, {came}, {rate}/s; {done} of {} done",
            humanize::count(seen, "zip"),
            humanize::count(servers.len(), "server")
        ))
    }

    /// Bytes per second of late.
    fn rate(&mut self, bytes: u64, now: Instant) -> u64 {
        self.looks.push_back((now, bytes));
        while self.looks.get(1).is_some_and(|(at, _)| now - *at >= RATE_OVER) {
            self.looks.pop_front();
        }
        let Some((since, before)) = self.looks.front() else { return 0 };
        let (came, took) = (bytes.saturating_sub(*before), (now - *since).as_secs_f64());
        // a rate need not be exact to the byte
        if took > 0.0 { (came as f64 / took) as u64 } else { 0 }
    }
}

/// Zips that are not waited for. How many a server shows is known at the end of a scan; before, those that came count.
fn local(server: &ServerStatus) -> u64 {
    match server.scans {
        0 => server.files_downloaded,
        _ => server.files_seen.saturating_sub(server.pending_files),
    }
}

/// What all scanners do, in one short sentence such as `14 servers: 12 waiting, 1 downloading, 1 unreachable`.
#[must_use]
pub fn describe(servers: &[ServerStatus]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for state in servers.iter().map(|server| server.state.word()) {
        match counted.iter_mut().find(|(word, _)| *word == state) {
            Some((_, count)) => *count += 1,
            None => counted.push((state, 1)),
        }
    }
    let parts: Vec<String> = counted.iter().map(|(word, count)| format!("{count} {word}")).collect();
    format!("{}: {}", humanize::count(servers.len(), "server"), parts.join(", "))
}

/// What a stop still waits for.
#[must_use]
pub fn stopping(servers: &[ServerStatus]) -> String {
    let left = servers.iter().filter(|server| server.state != ServerState::Stopped);
    let names: Vec<&str> = left.map(|server| server.name.as_str()).collect();
    format!(
        "stopping: {} of {} still to end{}",
        names.len(),
        humanize::count(servers.len(), "scanner"),
        listed(&names)
    )
}

/// Returns whom `check` still waits for.
#[must_use]
pub fn checking(left: &[&str], of: usize) -> String {
    format!("check: {} of {} still to answer{}", left.len(), humanize::count(of, "server"), listed(left))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| Printable(name).to_string()).collect();
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!(": {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(servers: Vec<ServerStatus>) -> ServiceStatus {
        ServiceStatus { running: true, servers, ..ServiceStatus::default() }
    }

    fn server(name: &str, scans: u64, files_seen: u64, pending_files: u64, bytes: u64) -> ServerStatus {
        let state = ServerState::Downloading;
        let (name, bytes_downloaded) = (name.to_owned(), bytes);
        ServerStatus { name, state, scans, files_seen, pending_files, bytes_downloaded, ..Default::default() }
    }

    #[test]
    fn the_first_sync_tells_the_fleet_together_and_the_rate_of_late() {
        let began = Instant::now();
        let mut sync = FirstSync::new(began);
        let at = |seconds| began + Duration::from_secs(seconds);
        let under_way = |bytes| ServerStatus { files_downloaded: 5, ..server("b", 0, 0, 15, bytes) };
        let fleet = |bytes| service(vec![server("a", 1, 10, 0, 1024), under_way(bytes)]);
        sync.look(&fleet(0), at(0));
        sync.look(&fleet(0), at(10));
        let Standing::Going(line) = sync.look(&fleet(10 * 1024), at(15)) else { panic!("it is under way") };
        assert_eq!(line, "first sync: 15 of 30 zips local, 11.0 KiB, 2.0 KiB/s; 1 of 2 servers done");
        let mut stopped = fleet(0);
        stopped.running = false;
        assert_eq!(sync.look(&stopped, at(16)), Standing::Idle);
    }

    #[test]
    fn the_first_sync_is_done_once_every_server_came_to_the_end_of_a_scan() {
        let began = Instant::now();
        let mut fleet = service(vec![server("a", 1, 10, 0, 1024), server("b", 1, 0, 0, 0)]);
        fleet.servers[0].files_downloaded = 10;
        fleet.servers[1].state = ServerState::Unreachable;
        let standing = FirstSync::new(began).look(&fleet, began + Duration::from_secs(62));
        let line = "first sync: done, 10 zips fetched, 1.0 KiB, in 1m 2s; 1 server is unreachable";
        assert_eq!(standing, Standing::Done(line.to_owned()));
    }

    #[test]
    fn a_stop_names_who_is_still_to_end() {
        let mut servers: Vec<_> = ('a'..='g').map(|name| server(&name.to_string(), 0, 0, 0, 0)).collect();
        assert_eq!(stopping(&servers), "stopping: 7 of 7 scanners still to end: a, b, c, d, e, …");
        servers.iter_mut().skip(1).for_each(|server| server.state = ServerState::Stopped);
        assert_eq!(stopping(&servers), "stopping: 1 of 7 scanners still to end: a");
    }
}
