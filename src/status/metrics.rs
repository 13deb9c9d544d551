//! The status as Prometheus reads it (text format 0.0.4). Names follow its conventions: base units, `_total` for what
//! only grows, a label for what there are several of.
//!
//! Written here and not by the crate prometheus-client (0.26), which writes OpenMetrics: there the type of a counter
//! stands at its name without `_total`, which 0.0.4 takes for a metric without a type, summaries with quantiles are
//! "not (yet) supported", and each family would be registered at the start, while these are read from a snapshot.

use std::fmt::{Display, Write};

use super::attention::Cause;
use super::json::{optional_millis, tenths};
use super::{ServerState, ServerStatus, ServiceStatus};
use crate::lateness::WaitsStatus;

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the service.
#[must_use]
pub fn render(status: &ServiceStatus) -> String {
    let mut page = Page::default();
    service(&mut page, status);
    attention(&mut page, status);
    scans(&mut page, &status.servers);
    lateness(&mut page, &status.servers);
    page.0
}

fn service(page: &mut Page, status: &ServiceStatus) {
    let ServiceStatus { disk, notify, process, .. } = status;
    page.family("mrosync_build_info", "gauge", "Always 1; the version is the label.");
    page.sample("mrosync_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("mrosync_running", "gauge", "1 between start and stop.", u8::from(status.running));
    page.one("mrosync_uptime_seconds", "gauge", "Since the process began.", tenths::number(status.uptime));
    if let Some(percent) = disk.used_percent {
        page.one(
            "mrosync_disk_used_ratio",
            "gauge",
            "Of the mirror's file system, as df counts it.",
            percent / 100.0,
        );
    }
    let limit = disk.max_used_percent / 100.0;
    page.one("mrosync_disk_limit_ratio", "gauge", "Above it the oldest zips are deleted.", limit);
    if let Some(limit) = disk.max_bytes {
        page.one("mrosync_mirror_limit_bytes", "gauge", "The mirror may grow to this.", limit);
    }
    page.one(
        "mrosync_mirror_bytes",
        "gauge",
        "Zips in the mirror, partial files included.",
        disk.mirror_bytes,
    );
    page.one("mrosync_downloads_held", "gauge", "1 while other data fills the disk.", u8::from(disk.held));
    let help = "1 while the mirror's file system takes no file: read-only, no inodes.";
    page.one("mrosync_disk_failing", "gauge", help, u8::from(disk.fault.is_some()));
    let help = "1 while a lowered limit waits to be confirmed.";
    page.one("mrosync_limit_waiting", "gauge", help, u8::from(disk.waiting_limit.is_some()));
    let help = "1 while nothing is done, because the mirror is another, or its files are gone.";
    page.one("mrosync_mirror_held", "gauge", help, u8::from(status.mirror.held));
    page.family("mrosync_server_held", "gauge", "1 for a server that waits, because its files are gone.");
    for server in status.mirror.holds.iter().filter_map(|hold| hold.server.as_deref()) {
        page.sample("mrosync_server_held", &[("server", server)], 1);
    }
    page.one("mrosync_evicted_files_total", "counter", "Zips deleted by the quota.", disk.evicted_files_ever);
    page.one(
        "mrosync_evicted_bytes_total",
        "counter",
        "Bytes deleted by the quota.",
        disk.evicted_bytes_ever,
    );
    page.one("mrosync_notify_pending_files", "gauge", "Zips on record and not announced.", notify.pending);
    page.one("mrosync_notify_delivered_total", "counter", "Calls answered with 2xx.", notify.delivered_ever);
    page.one("mrosync_notify_failures_total", "counter", "Calls that failed.", notify.failed_attempts);
    page.one(
        "mrosync_notify_cancelled_total",
        "counter",
        "Calls given up, because their zips were evicted, deleted or forgotten.",
        notify.cancelled,
    );
    let help = "Calls that may be under way at a time, as of now.";
    page.one("mrosync_notify_concurrency", "gauge", help, notify.concurrency);
    page.one("mrosync_memory_bytes", "gauge", "Resident memory of the process.", process.memory_bytes);
}

/// The list of what needs an operator: how much of each cause there is, and which servers it is about.
fn attention(page: &mut Page, status: &ServiceStatus) {
    let help = "What needs an operator, by cause: the service counts as 1, or how many servers.";
    page.family("mrosync_attention", "gauge", help);
    for cause in Cause::ALL {
        let needs = status.attention.iter().filter(|need| need.cause == cause);
        page.sample(
            "mrosync_attention",
            &[("cause", cause.word())],
            needs.map(|need| need.items.len()).sum::<usize>(),
        );
    }
    let help = "1 for each server that needs an operator, by cause.";
    page.family("mrosync_server_attention", "gauge", help);
    for need in &status.attention {
        for server in need.items.iter().filter_map(|item| item.server.as_deref()) {
            page.sample("mrosync_server_attention", &[("server", server), ("cause", need.cause.word())], 1);
        }
    }
    let help = "Since when, in unix time, for what of this cause has held longest.";
    page.family("mrosync_attention_since_timestamp_seconds", "gauge", help);
    for cause in Cause::ALL {
        let since = status.attention.iter().filter(|need| need.cause == cause).map(|need| need.since).min();
        if let Some(since) = since {
            let labels = [("cause", cause.word())];
            page.sample("mrosync_attention_since_timestamp_seconds", &labels, since.timestamp());
        }
    }
}

fn scans(page: &mut Page, servers: &[ServerStatus]) {
    page.family("mrosync_server_state", "gauge", "1 for the state that the server is in.");
    for server in servers {
        for state in ServerState::ALL {
            let labels = [("server", server.name.as_str()), ("state", state.word())];
            page.sample("mrosync_server_state", &labels, u8::from(server.state == state));
        }
    }
    let help = "1 for a server that an operator has paused.";
    page.each("mrosync_server_paused", "gauge", help, servers, |s| Some(u8::from(s.paused)));
    page.each("mrosync_scans_total", "counter", "Scans ended, failed ones included.", servers, |s| {
        Some(s.scans)
    });
    page.each("mrosync_last_scan_seconds", "gauge", "How long the last scan took.", servers, |s| {
        s.last_scan_took.map(optional_millis::number)
    });
    let help = "When the last scan began, in unix time.";
    page.each("mrosync_last_scan_start_timestamp_seconds", "gauge", help, servers, |s| {
        s.last_scan_started.map(|time| time.timestamp_millis() as f64 / 1000.0)
    });
    let help = "1 while nothing is done, because it lies outside of the server's windows.";
    page.each("mrosync_outside_windows", "gauge", help, servers, |s| Some(u8::from(s.outside_windows)));
    page.each("mrosync_directories", "gauge", "Directories in the last scan.", servers, |s| {
        Some(s.directories_seen)
    });
    page.each("mrosync_listed_files", "gauge", "Zips in the last scan.", servers, |s| Some(s.files_seen));
    page.each("mrosync_pending_files", "gauge", "Zips seen and not downloaded.", servers, |s| {
        Some(s.pending_files)
    });
    page.each("mrosync_downloaded_files_total", "counter", "Zips downloaded.", servers, |s| {
        Some(s.files_downloaded)
    });
    page.each("mrosync_downloaded_bytes_total", "counter", "Bytes downloaded.", servers, |s| {
        Some(s.bytes_downloaded)
    });
    let help = "Downloaded zips that changed on the server later.";
    page.each("mrosync_changed_files_total", "counter", help, servers, |s| Some(s.changed_files));
    let help = "Lines of the last scan's listings that could not be used.";
    page.each("mrosync_unusable_lines", "gauge", help, servers, |s| Some(s.lines_not_understood));
    let help = "1 while something of the last scan failed; the log and the status have the words.";
    page.each("mrosync_server_failing", "gauge", help, servers, |s| Some(u8::from(s.last_error.is_some())));
}

fn lateness(page: &mut Page, servers: &[ServerStatus]) {
    let help = "Since the server's own time of its newest file, where that is known to be UTC.";
    page.each("mrosync_newest_file_age_seconds", "gauge", help, servers, |s| {
        s.lateness.newest_file_age_seconds
    });
    let help = "Since a new file was seen last.";
    page.each("mrosync_newest_seen_age_seconds", "gauge", help, servers, |s| {
        s.lateness.newest_seen_age_seconds
    });
    let help = "From first seen to recorded on the disk; quantiles over the last hour.";
    page.waits("mrosync_file_local_seconds", help, servers, |s| s.lateness.seen_to_local);
    let help = "From recorded on the disk to announced; quantiles over the last hour.";
    page.waits("mrosync_file_announced_seconds", help, servers, |s| s.lateness.local_to_announced);
    let help = "From one period in the names of files to the next, as learnt.";
    page.each("mrosync_period_seconds", "gauge", help, servers, |s| s.lateness.period_seconds);
    let help = "Periods that did not come, as far as they are remembered.";
    page.each("mrosync_missing_periods", "gauge", help, servers, |s| Some(s.lateness.missing_periods));
}

/// The text so far. Writing to a String cannot fail, so nobody asks whether it did.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").ok();
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A value of each server that has one.
    fn each<T: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        servers: &[ServerStatus],
        value: impl Fn(&ServerStatus) -> Option<T>,
    ) {
        self.family(name, kind, help);
        for server in servers {
            if let Some(value) = value(server) {
                self.sample(name, &[("server", &server.name)], value);
            }
        }
    }

    fn waits(
        &mut self,
        name: &str,
        help: &str,
        servers: &[ServerStatus],
        waits: impl Fn(&ServerStatus) -> WaitsStatus,
    ) {
        self.family(name, "summary", help);
        for server in servers {
            let (waits, own) = (waits(server), ("server", server.name.as_str()));
            for (quantile, value) in [("0.5", waits.p50_seconds), ("0.99", waits.p99_seconds)] {
                if let Some(value) = value {
                    self.sample(name, &[own, ("quantile", quantile)], value);
                }
            }
            self.sample(&format!("{name}_sum"), &[own], waits.total_seconds);
            self.sample(&format!("{name}_count"), &[own], waits.files);
        }
    }
}

/// A label's value, as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(servers: Vec<ServerStatus>) -> ServiceStatus {
        ServiceStatus { running: true, servers, ..ServiceStatus::default() }
    }

    fn server(name: &str) -> ServerStatus {
        ServerStatus { name: name.to_owned(), ..ServerStatus::default() }
    }

    /// interface 20.7
    #[test]
    fn each_family_is_explained_once_and_before_its_samples() {
        let text = render(&status(vec![server("a"), server("b")]));
        let mut families = std::collections::HashMap::new();
        for line in text.lines() {
            let mut words = line.split(['{', ' ']);
            match (words.next().unwrap(), words.next().unwrap()) {
                ("#", "TYPE") => {
                    let (family, kind) = (words.next().unwrap(), words.next().unwrap());
                    assert!(["counter", "gauge", "summary"].contains(&kind), "{line}");
                    assert!(families.insert(family, kind).is_none(), "{line}");
                }
                ("#", _) => {}
                (name, _) => {
                    let base = name.trim_end_matches("_sum").trim_end_matches("_count");
                    let kind = families.get(base).unwrap_or_else(|| panic!("{line}"));
                    assert_eq!(*kind == "counter", name.ends_with("_total"), "{line}");
                    let value = line.rsplit_once(' ').unwrap().1;
                    assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                }
            }
        }
        assert!(families.len() > 30);
    }

    #[test]
    fn a_server_has_its_numbers_under_its_name_and_none_that_are_not_known() {
        let mut slow = server("a\"\\b");
        slow.last_scan_started = chrono::DateTime::from_timestamp_millis(1_795_402_800_500);
        slow.lateness.missing_periods = 2;
        slow.outside_windows = true;
        slow.lateness.seen_to_local.p99_seconds = Some(1.5);
        let text = render(&status(vec![slow, server("c")]));
        for line in [
            r#"mrosync_missing_periods{server="a\"\\b"} 2"#,
            r#"mrosync_missing_periods{server="c"} 0"#,
            r#"mrosync_file_local_seconds{server="a\"\\b",quantile="0.99"} 1.5"#,
            r#"mrosync_last_scan_start_timestamp_seconds{server="a\"\\b"} 1795402800.5"#,
            r#"mrosync_server_state{server="c",state="stopped"} 1"#,
            r#"mrosync_outside_windows{server="c"} 0"#,
            r#"mrosync_outside_windows{server="a\"\\b"} 1"#,
            r#"mrosync_server_state{server="c",state="unreachable"} 0"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
        }
        assert!(!text.contains("quantile=\"0.5\"") && !text.contains("mrosync_disk_used_ratio "));
    }
}
