//! Since when each thing holds, and what only more than one look shows: calls that fail, or stand still.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::causes::{Cause, Item, Need};
use super::find::{Calls, Found, find};
use super::reason::Reason;
use crate::status::snapshot::{NotifyStatus, ServiceStatus};

/// Calls are tried again after 5 minutes at most: one that failed in this time has not been delivered since.
const FAILED_OF_LATE: TimeDelta = TimeDelta::minutes(6);
/// Files that wait so long, while none is delivered, are not on their way.
const STANDING: TimeDelta = TimeDelta::minutes(10);
/// Calls that were given up are shown so long.
const LOST_OF_LATE: TimeDelta = TimeDelta::hours(24);

/// See the module. Bounded by the number of servers.
#[derive(Debug, Default)]
pub struct Watch {
    since: HashMap<(Cause, Option<String>), DateTime<Utc>>,
    notify: NotifyMemory,
}

#[derive(Debug, Default)]
struct NotifyMemory {
    pending: u64,
    delivered: u64,
    failed: u64,
    cancelled: u64,
    failed_at: Option<DateTime<Utc>>,
    /// Nothing waited until then, or a call was delivered.
    moved_at: Option<DateTime<Utc>>,
    /// Calls given up since there were none of late.
    lost: u64,
    lost_at: Option<DateTime<Utc>>,
}

impl Watch {
    /// Returns what needs an operator at `now`, the worst first.
    pub fn look(&mut self, status: &ServiceStatus, now: DateTime<Utc>) -> Vec<Need> {
        let calls = self.notify.look(&status.notify, now);
        let found = find(status, calls);
        let mut since = HashMap::with_capacity(found.len());
        let mut groups: BTreeMap<(Cause, Option<Reason>), Vec<Item>> = BTreeMap::new();
        for Found { cause, reason, server, count, detail } in found {
            let key = (cause, server.clone());
            let began = self.since.get(&key).copied().unwrap_or(now);
            since.insert(key, began);
            groups.entry((cause, reason)).or_default().push(Item { server, since: began, count, detail });
        }
        self.since = since;
        let mut needs: Vec<_> = groups.into_iter().map(|(kind, items)| need(kind, items, now)).collect();
        // of one cause, what concerns most servers comes first
        needs.sort_by_key(|need| (need.level, need.cause, std::cmp::Reverse(need.items.len())));
        needs
    }
}

fn need((cause, reason): (Cause, Option<Reason>), items: Vec<Item>, now: DateTime<Utc>) -> Need {
    let title = match reason {
        Some(reason) => format!("{}: {}", cause.title(), reason.title()),
        None => cause.title().to_owned(),
    };
    let next_step = reason.and_then(Reason::next_step).unwrap_or_else(|| cause.next_step()).to_owned();
    let since = items.iter().map(|item| item.since).min().unwrap_or(now);
    Need { cause, level: cause.level(), reason, title, next_step, since, items }
}

impl NotifyMemory {
    fn look(&mut self, notify: &NotifyStatus, now: DateTime<Utc>) -> Calls {
        if notify.failed_attempts > self.failed {
            self.failed_at = Some(now);
        }
        if self.pending == 0 || notify.delivered != self.delivered || self.moved_at.is_none() {
            self.moved_at = Some(now);
        }
        let of_late = |at: Option<DateTime<Utc>>, reach| at.is_some_and(|at| now - at < reach);
        if !of_late(self.lost_at, LOST_OF_LATE) {
            self.lost = 0;
        }
        if notify.cancelled > self.cancelled {
            self.lost += notify.cancelled - self.cancelled;
            self.lost_at = Some(now);
        }
        (self.failed, self.delivered, self.cancelled) =
            (notify.failed_attempts, notify.delivered, notify.cancelled);
        self.pending = notify.pending;
        Calls {
            fail: of_late(self.failed_at, FAILED_OF_LATE),
            stand: !of_late(self.moved_at, STANDING),
            lost: self.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lateness::GapStatus;
    use crate::status::attention::Level;
    use crate::status::{IncompleteFile, ServerState, ServerStatus};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_402_800 + minutes * 60, 0).unwrap()
    }

    fn server(name: &str, change: impl FnOnce(&mut ServerStatus)) -> ServerStatus {
        let mut server = ServerStatus {
            name: name.to_owned(),
            state: ServerState::Waiting,
            scans: 1,
            files_seen: 7,
            ..ServerStatus::default()
        };
        change(&mut server);
        server
    }

    fn unreachable(name: &str, fault: &str) -> ServerStatus {
        server(name, |server| {
            server.state = ServerState::Unreachable;
            server.last_error = Some(fault.to_owned());
        })
    }

    fn service(servers: Vec<ServerStatus>) -> ServiceStatus {
        ServiceStatus { running: true, servers, ..ServiceStatus::default() }
    }

    fn causes(needs: &[Need]) -> Vec<Cause> {
        needs.iter().map(|need| need.cause).collect()
    }

    /// interface 22.2
    #[test]
    fn servers_with_one_fault_are_one_need_whatever_their_addresses() {
        let mut fleet: Vec<_> = (1..=31)
            .map(|n| {
                unreachable(
                    &format!("omc{n:02}"),
                    &format!("cannot connect to 10.0.0.{n}:21: connection refused"),
                )
            })
            .collect();
        fleet.push(unreachable("omc40", "login refused: 530 no"));
        fleet.push(server("omc41", |_| {}));
        let needs = Watch::default().look(&service(fleet), at(0));
        assert_eq!(needs.len(), 2, "{needs:#?}");
        assert_eq!((needs[0].title.as_str(), needs[0].items.len()), ("unreachable: connection refused", 31));
        assert!(needs[0].next_step.contains("host and port"));
        assert_eq!(needs[1].items[0].server.as_deref(), Some("omc40"));
    }

    /// interface 22.3
    #[test]
    fn it_is_since_the_first_look_that_showed_it_until_one_that_does_not() {
        let mut watch = Watch::default();
        let (lost, well) =
            (|fault: &str| service(vec![unreachable("a", fault)]), service(vec![server("a", |_| {})]));
        assert_eq!(watch.look(&lost("connection refused"), at(0))[0].since, at(0));
        let other = watch.look(&lost("no answer for 30s"), at(5));
        assert_eq!(other[0].since, at(0), "another reason is no new beginning");
        assert!(watch.look(&well, at(6)).is_empty());
        assert_eq!(watch.look(&lost("connection refused"), at(7))[0].since, at(7));
        assert_eq!(watch.since.len(), 1);
    }

    /// interface 22.1
    #[test]
    fn everything_that_can_be_wrong_with_a_server_is_on_the_list() {
        type Change = fn(&mut ServerStatus);
        let wrong: [(Cause, Change); 6] = [
            (Cause::BringsNothing, |server| server.files_seen = 0),
            (Cause::BringsNothing, |server| {
                server.files_seen = 0;
                server.lateness.newest_seen_age_seconds = Some(9.0);
                server.last_error = Some("/nix: 501 what".to_owned());
            }),
            (Cause::Failing, |server| server.last_error = Some("/a: 550 no".to_owned())),
            (Cause::CutListings, |server| server.cut_listings = 1),
            (Cause::NotTaken, |server| {
                let (path, reason) = ("/a.zip".to_owned(), "cut".to_owned());
                let (since, next_try) = (at(0), at(1));
                server.incomplete = vec![IncompleteFile { path, reason, tries: 1, since, next_try }];
                server.incomplete_files = 1;
            }),
            (Cause::MissingPeriods, |server| {
                let (series, from, to) =
                    ("#.zip".to_owned(), "202611240115".to_owned(), "202611240115".to_owned());
                server.lateness.gaps = vec![GapStatus { series, from, to }];
                server.lateness.missing_periods = 1;
            }),
        ];
        for (cause, change) in wrong {
            let needs = Watch::default().look(&service(vec![server("a", change)]), at(0));
            assert_eq!(causes(&needs), [cause], "{needs:#?}");
        }
        let well = server("a", |server| {
            server.files_seen = 0;
            server.lateness.newest_seen_age_seconds = Some(9.0);
        });
        assert!(Watch::default().look(&service(vec![well]), at(0)).is_empty(), "it brought files before");
    }

    /// interface 22.1
    #[test]
    fn a_server_that_should_bring_files_and_does_not_is_on_the_list_in_its_windows_alone() {
        let silent = |outside: bool| {
            service(vec![server("a", |server| {
                server.lateness.period_seconds = Some(900);
                server.lateness.newest_seen_age_seconds = Some(3601.0);
                server.outside_windows = outside;
            })])
        };
        assert_eq!(causes(&Watch::default().look(&silent(false), at(0))), [Cause::NoNewFiles]);
        assert!(Watch::default().look(&silent(true), at(0)).is_empty());
    }

    /// interface 22.1
    #[test]
    fn calls_that_fail_or_stand_still_are_needs_until_they_are_delivered() {
        let mut watch = Watch::default();
        let look = |watch: &mut Watch, minute, pending, delivered, failed_attempts| {
            let notify = NotifyStatus { pending, delivered, failed_attempts, ..NotifyStatus::default() };
            causes(&watch.look(&ServiceStatus { notify, ..service(vec![]) }, at(minute)))
        };
        assert_eq!(look(&mut watch, 0, 3, 0, 0), []);
        assert_eq!(look(&mut watch, 1, 3, 0, 2), [Cause::CallsFail]);
        assert_eq!(look(&mut watch, 5, 3, 0, 2), [Cause::CallsFail], "the next try may be minutes away");
        assert_eq!(look(&mut watch, 6, 0, 3, 2), []);
        assert_eq!(look(&mut watch, 20, 1, 3, 2), []);
        assert_eq!(look(&mut watch, 40, 1, 3, 2), [Cause::NotAnnounced]);
        assert_eq!(look(&mut watch, 41, 1, 4, 2), [], "one was delivered meanwhile");
    }

    /// interface 22.1
    #[test]
    fn files_that_were_lost_to_the_receiver_are_said_for_a_day() {
        let mut watch = Watch::default();
        let mut look = |minute, cancelled| {
            let notify = NotifyStatus { cancelled, ..NotifyStatus::default() };
            watch.look(&ServiceStatus { notify, ..service(vec![]) }, at(minute))
        };
        assert!(look(0, 0).is_empty());
        let needs = look(1, 12);
        assert_eq!((needs[0].cause, needs[0].level), (Cause::EvictedUnannounced, Level::Critical));
        assert_eq!(look(60, 13)[0].items[0].count, Some(13));
        assert!(look(60 + 24 * 60, 13).is_empty());
    }

    #[test]
    fn the_service_as_a_whole_is_on_the_list_before_its_servers() {
        let mut status = service(vec![unreachable("a", "connection refused")]);
        status.running = false;
        status.disk.held = true;
        status.disk.fault = Some("read-only".to_owned());
        status.records.fault = Some("no space".to_owned());
        let needs = Watch::default().look(&status, at(0));
        let expected =
            [Cause::DiskFault, Cause::DiskHeld, Cause::RecordsFail, Cause::Unreachable, Cause::Stopped];
        assert_eq!(causes(&needs), expected);
    }
}
