//! The status for people. At a terminal ([`fitted`]) what needs an operator is on top, and the table fits the width; in
//! a file or a pipe ([`plain`]) everything is there, in a form that does not depend on where it is looked at.

mod attention;
mod columns;
mod plain;

use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use crate::base::humanize;
use crate::status::ServiceStatus;
use crate::terminal::text::{Style, cut, width};

pub use plain::plain;

/// Share of the limit from which the disk is worth a look.
const NEARLY: f64 = 0.9;

/// Where the status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Columns of the terminal.
    pub columns: usize,
    /// Whether with colour.
    pub colour: bool,
}

/// The status at `now`, in lines none of which is wider than the page.
#[must_use]
pub fn fitted(status: &ServiceStatus, page: Page, now: DateTime<Utc>) -> Vec<String> {
    let mut lines = attention::fitted(&status.attention, page, now);
    if !lines.is_empty() {
        lines.push(String::new());
    }
    for (head, text, style) in summary(status) {
        let text = cut(&text, page.columns.saturating_sub(width(&head)));
        let head = cut(&head, page.columns);
        lines.push(format!("{}{}", Style::Dim.paint(&head, page.colour), style.paint(&text, page.colour)));
    }
    lines.push(String::new());
    lines.extend(columns::fitted(&status.servers, page, now));
    lines
}

fn summary(status: &ServiceStatus) -> Vec<(String, String, Style)> {
    let ServiceStatus { running, uptime, disk, notify, .. } = status;
    let size = |bytes| ByteSize(bytes).display().iec().to_string();
    let (state, style) = if *running { ("running", Style::Green) } else { ("stopped", Style::Yellow) };
    let uptime = humantime::format_duration(Duration::from_secs(uptime.as_secs()));
    let used = disk.used_percent.map_or("?".to_owned(), |percent| format!("{percent:.1}"));
    let max = disk.max_bytes.map_or(String::new(), |max| format!(" of {}", size(max)));
    let disk_look = match disk.used_percent {
        _ if disk.held || disk.fault.is_some() => Style::Red,
        Some(percent) if percent >= disk.max_used_percent * NEARLY => Style::Yellow,
        _ => Style::Plain,
    };
    let notify_look = if notify.pending > 0 { Style::Yellow } else { Style::Plain };
    vec![
        ("service   ".to_owned(), format!("{state}, up {uptime}"), style),
        (
            "disk      ".to_owned(),
            format!(
                "{used} % of at most {} %; mirror {}{max}; {} evicted",
                disk.max_used_percent,
                size(disk.mirror_bytes),
                humanize::count(disk.evicted_files, "file")
            ),
            disk_look,
        ),
        (
            "announce  ".to_owned(),
            format!(
                "{} pending, {} delivered, {} failed calls",
                notify.pending, notify.delivered, notify.failed_attempts
            ),
            notify_look,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lateness::GapStatus;
    use crate::status::attention::Watch;
    use crate::status::{DiskStatus, ServerState, ServerStatus};

    fn at(time: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(time).unwrap().to_utc()
    }

    fn server(name: &str, state: ServerState) -> ServerStatus {
        ServerStatus {
            name: name.to_owned(),
            state,
            last_scan_started: Some(at("2026-11-24T03:00:00Z")),
            last_scan_took: Some(Duration::from_millis(1250)),
            scans: 3,
            directories_seen: 17,
            files_seen: 1234,
            files_downloaded: 567,
            bytes_downloaded: 123_456_789,
            pending_files: 4,
            ..ServerStatus::default()
        }
    }

    fn fleet() -> ServiceStatus {
        let mut lost = server("omc02", ServerState::Unreachable);
        let error = "logging in to 10.0.0.2:21 as mro: connecting: no answer in 30s, which was tried for all of its addresses";
        lost.last_error = Some(error.to_owned());
        let mut late = server("上海移动网管中心北区甲", ServerState::Waiting);
        late.lateness.period_seconds = Some(900);
        late.lateness.missing_periods = 2;
        let (series, from, to) =
            ("MRO_#.zip".to_owned(), "202611240115".to_owned(), "202611240130".to_owned());
        late.lateness.gaps = vec![GapStatus { series, from, to }];
        looked_at(ServiceStatus {
            running: true,
            uptime: Duration::from_millis(75_400),
            disk: DiskStatus { used_percent: Some(41.2), max_used_percent: 60.0, ..DiskStatus::default() },
            servers: vec![server("omc01", ServerState::Downloading), lost, late],
            ..ServiceStatus::default()
        })
    }

    fn looked_at(mut status: ServiceStatus) -> ServiceStatus {
        status.attention = Watch::default().look(&status, at("2026-11-24T03:00:00Z"));
        status
    }

    fn shown(columns: usize, colour: bool) -> Vec<String> {
        fitted(&fleet(), Page { columns, colour }, at("2026-11-24T03:01:05Z"))
    }

    fn heading(lines: &[String]) -> &String {
        lines.iter().find(|line| line.starts_with("SERVER")).unwrap()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [1, 10, 20, 40, 60, 80, 100, 132, 200, 500] {
            for line in shown(columns, false) {
                assert!(width(&line) <= columns, "{columns}: {line}");
                assert!(columns < 20 || line == line.trim_end(), "{columns}: {line}");
            }
        }
    }

    /// interface 3.4
    #[test]
    fn a_narrow_terminal_keeps_what_matters_and_a_wide_one_has_everything() {
        let (narrow, usual, wide) = (shown(40, false), shown(80, false), shown(200, false));
        assert_eq!(heading(&narrow).split_whitespace().collect::<Vec<_>>(), ["SERVER", "STATE", "PENDING"]);
        let words: Vec<_> = heading(&usual).split_whitespace().collect();
        assert!(words.starts_with(&["SERVER", "STATE"]) && words.contains(&"FETCHED"), "{words:?}");
        let all = "SERVER STATE SCANNED TOOK DIRS ZIPS FETCHED BYTES PENDING NEWEST MISSING LAST ERROR";
        assert_eq!(heading(&wide).split_whitespace().collect::<Vec<_>>().join(" "), all);
        assert!(wide.iter().any(|line| line.contains("1m5s") && line.contains("1.2s")), "{wide:#?}");
    }

    #[test]
    fn columns_stand_below_their_headings_beside_wide_characters() {
        let lines = shown(200, false);
        let place = heading(&lines).find("STATE").unwrap();
        for (name, state) in [("omc01", "downloading"), ("omc02", "unreachable"), ("上海", "waiting")] {
            let line = lines.iter().find(|line| line.starts_with(name) && line.contains(state)).unwrap();
            assert_eq!(width(line.split(state).next().unwrap()), place, "{line}");
        }
    }

    /// interface 3.4
    #[test]
    fn what_needs_an_operator_is_on_top() {
        let lines = shown(80, false);
        assert!(lines[0].starts_with("! omc02 unreachable: logging in to 10.0.0.2:21"), "{lines:#?}");
        let gap = "! 上海移动网管中心北区甲 2 periods missing, the latest: the periods 202611240115";
        assert!(lines.iter().take(5).any(|line| line.starts_with(gap)), "{lines:#?}");
        let mut well = fleet();
        well.servers.truncate(1);
        let lines = fitted(&looked_at(well), Page { columns: 80, colour: false }, Utc::now());
        assert!(lines[0].starts_with("service   running"), "{lines:#?}");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let plain: Vec<String> = shown(80, true).iter().map(|line| strip(line)).collect();
        assert_eq!(plain, shown(80, false));
        let coloured = shown(80, true).join("\n");
        for painted in
            ["\x1b[1;31munreachable\x1b[0m", "\x1b[36mdownloading\x1b[0m", "\x1b[32mwaiting\x1b[0m"]
        {
            assert!(coloured.contains(painted), "{painted:?}");
        }
    }

    fn strip(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }
}
