//! `status` at a terminal: what needs an operator on top, then a table that fits the width.

use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use crate::base::humanize;
use crate::base::names::Printable;
use crate::status::{ServerState, ServerStatus, ServiceStatus};
use crate::terminal::text::{Look, cut, width, wrap};

/// Between two columns.
const GAP: usize = 2;
/// A name takes no more of the width than this part, so that there is room for what it does.
const NAME_PART: usize = 3;
/// Below this a column of errors says nothing; above it they are cut less than elsewhere.
const ERROR_AT_LEAST: usize = 24;
/// Lines for one thing that needs an operator.
const NEED_LINES: usize = 3;
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

/// One column of the table. The order of the variants is that on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Server,
    State,
    Scanned,
    Took,
    Directories,
    Zips,
    Fetched,
    Bytes,
    Pending,
    Newest,
    Missing,
    Error,
}

/// On the page from left to right.
const COLUMNS: [Column; 12] = [
    Column::Server,
    Column::State,
    Column::Scanned,
    Column::Took,
    Column::Directories,
    Column::Zips,
    Column::Fetched,
    Column::Bytes,
    Column::Pending,
    Column::Newest,
    Column::Missing,
    Column::Error,
];

/// What a narrow terminal does without, the first one first. The name stays.
const DISPENSABLE: [Column; 10] = [
    Column::Directories,
    Column::Took,
    Column::Zips,
    Column::Bytes,
    Column::Missing,
    Column::Scanned,
    Column::Newest,
    Column::Fetched,
    Column::Pending,
    Column::State,
];

/// The status at `now`, in lines none of which is wider than the page.
#[must_use]
pub fn status(status: &ServiceStatus, page: Page, now: DateTime<Utc>) -> Vec<String> {
    let mut lines = Vec::new();
    for need in needs(status) {
        for (number, line) in wrap(&need, page.columns.saturating_sub(2)).iter().take(NEED_LINES).enumerate()
        {
            let mark = if number == 0 { "! " } else { "  " };
            lines.push(Look::Red.paint(&cut(&format!("{mark}{line}"), page.columns), page.colour));
        }
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    for (head, text, look) in summary(status) {
        let text = cut(&text, page.columns.saturating_sub(width(&head)));
        let head = cut(&head, page.columns);
        lines.push(format!("{}{}", Look::Dim.paint(&head, page.colour), look.paint(&text, page.colour)));
    }
    lines.push(String::new());
    lines.extend(table(&status.servers, page, now));
    lines
}

/// What needs an operator, a sentence each.
fn needs(status: &ServiceStatus) -> Vec<String> {
    let mut needs = Vec::new();
    for hold in &status.mirror.holds {
        let whose = hold.server.as_deref().map_or_else(String::new, |name| format!("{} ", Printable(name)));
        needs.push(format!("held: {whose}{}", Printable(&hold.reason)));
    }
    if status.disk.held {
        needs.push("downloads are held: other data fills the disk".to_owned());
    }
    needs.extend(status.disk.fault.as_ref().map(|fault| Printable(fault).to_string()));
    let notify = &status.notify;
    if notify.pending > 0 && notify.failed_attempts > 0 {
        needs.push(format!(
            "{} not announced, {} failed",
            humanize::count_is(notify.pending, "file"),
            humanize::count(notify.failed_attempts, "call")
        ));
    }
    for server in &status.servers {
        let name = Printable(&server.name);
        let unreachable = if server.state == ServerState::Unreachable { "unreachable: " } else { "" };
        match &server.last_error {
            Some(error) => needs.push(format!("{name} {unreachable}{}", Printable(error))),
            None if !unreachable.is_empty() => needs.push(format!("{name} unreachable")),
            None => {}
        }
        if let Some(gap) = server.lateness.gaps.first().filter(|_| server.lateness.missing_periods > 0) {
            let (count, gap) = (server.lateness.missing_periods, gap.to_string());
            needs.push(format!(
                "{name} {} missing, the latest: {}",
                humanize::count(count, "period"),
                Printable(&gap)
            ));
        }
        if let Some(file) = server.incomplete.first().filter(|_| server.incomplete_files > 0) {
            let (count, path, reason) =
                (server.incomplete_files, Printable(&file.path), Printable(&file.reason));
            needs.push(format!(
                "{name} {} not taken yet, such as {path}: {reason}",
                humanize::count(count, "file")
            ));
        }
    }
    needs
}

fn summary(status: &ServiceStatus) -> Vec<(String, String, Look)> {
    let ServiceStatus { running, uptime_seconds, disk, notify, .. } = status;
    let size = |bytes| ByteSize(bytes).display().iec().to_string();
    let (state, look) = if *running { ("running", Look::Green) } else { ("stopped", Look::Yellow) };
    let uptime = humantime::format_duration(Duration::from_secs_f64(uptime_seconds.max(0.0).floor()));
    let used = disk.used_percent.map_or("?".to_owned(), |percent| format!("{percent:.1}"));
    let max = disk.max_bytes.map_or(String::new(), |max| format!(" of {}", size(max)));
    let disk_look = match disk.used_percent {
        _ if disk.held || disk.fault.is_some() => Look::Red,
        Some(percent) if percent >= disk.max_used_percent * NEARLY => Look::Yellow,
        _ => Look::Plain,
    };
    let notify_look = if notify.pending > 0 { Look::Yellow } else { Look::Plain };
    vec![
        ("service   ".to_owned(), format!("{state}, up {uptime}"), look),
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

fn table(servers: &[ServerStatus], page: Page, now: DateTime<Utc>) -> Vec<String> {
    let longest = |column: Column| {
        let cells = servers.iter().map(|server| width(&column.cell(server, now).0));
        cells.chain([width(column.heading())]).max().unwrap_or(0)
    };
    let mut columns: Vec<(Column, usize)> = COLUMNS
        .into_iter()
        .filter(|column| column.is_wanted(servers))
        .map(|column| match column {
            Column::Server => (column, longest(column).min((page.columns / NAME_PART).max(1))),
            Column::Error => (column, ERROR_AT_LEAST.min(longest(column))),
            _ => (column, longest(column)),
        })
        .collect();
    let total = |columns: &[(Column, usize)]| {
        columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    // the error stands on top in full: it goes before anything that stands nowhere else
    for column in std::iter::once(Column::Error).chain(DISPENSABLE) {
        if total(&columns) <= page.columns {
            break;
        }
        columns.retain(|(kept, _)| *kept != column);
    }
    let left = page.columns.saturating_sub(total(&columns));
    if let Some((_, room)) = columns.iter_mut().find(|(column, _)| *column == Column::Error) {
        *room += left.min(longest(Column::Error).saturating_sub(*room));
    }
    let heading = row(&columns, page, |column| (column.heading().to_owned(), Look::Bold));
    let rows = servers.iter().map(|server| row(&columns, page, |column| column.cell(server, now)));
    std::iter::once(heading).chain(rows).collect()
}

fn row(columns: &[(Column, usize)], page: Page, cell: impl Fn(Column) -> (String, Look)) -> String {
    let mut line = String::new();
    // painted blanks would hide that a line ends, so what pads stays outside of the paint
    let mut pending = 0;
    for (column, room) in columns {
        let (text, look) = cell(*column);
        let text = cut(&text, (*room).min(page.columns));
        let padding = room.saturating_sub(width(&text));
        let (before, after) = if column.is_number() { (padding, 0) } else { (0, padding) };
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(' ', pending + before));
            line.push_str(&look.paint(&text, page.colour));
            pending = 0;
        } else {
            pending += before;
        }
        pending += after + GAP;
    }
    line
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Server => "SERVER",
            Self::State => "STATE",
            Self::Scanned => "SCANNED",
            Self::Took => "TOOK",
            Self::Directories => "DIRS",
            Self::Zips => "ZIPS",
            Self::Fetched => "FETCHED",
            Self::Bytes => "BYTES",
            Self::Pending => "PENDING",
            Self::Newest => "NEWEST",
            Self::Missing => "MISSING",
            Self::Error => "LAST ERROR",
        }
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Server | Self::State | Self::Error)
    }

    /// Whether it says anything of any server.
    fn is_wanted(self, servers: &[ServerStatus]) -> bool {
        match self {
            Self::Missing => servers.iter().any(|server| server.lateness.period_seconds.is_some()),
            Self::Error => servers.iter().any(|server| server.last_error.is_some()),
            _ => true,
        }
    }

    fn cell(self, server: &ServerStatus, now: DateTime<Utc>) -> (String, Look) {
        let some = |count: u64, look| (count.to_string(), if count > 0 { look } else { Look::Dim });
        let never = || ("-".to_owned(), Look::Dim);
        match self {
            Self::Server => (Printable(&server.name).to_string(), Look::Plain),
            Self::State => state(server.state),
            Self::Scanned => {
                let started = server.last_scan_started.as_deref().and_then(|time| age_of(time, now));
                started.map_or_else(never, |age| (age, Look::Plain))
            }
            Self::Took => {
                server.last_scan_seconds.map_or_else(never, |took| (format!("{took:.1}s"), Look::Plain))
            }
            Self::Directories => some(server.directories_seen, Look::Plain),
            Self::Zips => some(server.files_seen, Look::Plain),
            Self::Fetched => some(server.files_downloaded, Look::Plain),
            Self::Bytes => (ByteSize(server.bytes_downloaded).display().iec().to_string(), Look::Plain),
            Self::Pending => some(server.pending_files, Look::Yellow),
            Self::Newest => {
                server.lateness.newest_seen_age_seconds.map_or_else(never, |age| (short(age), Look::Plain))
            }
            Self::Missing => match server.lateness.period_seconds {
                Some(_) => some(server.lateness.missing_periods, Look::Red),
                None => never(),
            },
            Self::Error => {
                let error = server.last_error.as_deref().map(|error| Printable(error).to_string());
                error.map_or_else(never, |error| (error, Look::Red))
            }
        }
    }
}

fn state(state: ServerState) -> (String, Look) {
    let (word, look) = match state {
        ServerState::Stopped => ("stopped", Look::Dim),
        ServerState::Waiting => ("waiting", Look::Green),
        ServerState::Scanning => ("scanning", Look::Cyan),
        ServerState::Downloading => ("downloading", Look::Cyan),
        ServerState::Unreachable => ("unreachable", Look::Red),
    };
    (word.to_owned(), look)
}

/// How long ago an RFC 3339 time was.
fn age_of(time: &str, now: DateTime<Utc>) -> Option<String> {
    let since = now - DateTime::parse_from_rfc3339(time).ok()?.to_utc();
    Some(short(since.as_seconds_f64()))
}

/// A length of time in its two largest units, without blanks: `3m12s`.
fn short(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0).floor()).unwrap_or_default();
    let shown = humantime::format_duration(whole).to_string();
    shown.split(' ').take(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lateness::GapStatus;
    use crate::status::{DiskStatus, NotifyStatus, ProcessStatus};

    fn server(name: &str, state: ServerState) -> ServerStatus {
        ServerStatus {
            name: name.to_owned(),
            state,
            last_scan_started: Some("2026-11-24T03:00:00.000Z".to_owned()),
            last_scan_seconds: Some(1.25),
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
        ServiceStatus {
            running: true,
            uptime_seconds: 75.4,
            disk: DiskStatus { used_percent: Some(41.2), max_used_percent: 60.0, ..DiskStatus::default() },
            notify: NotifyStatus::default(),
            mirror: Default::default(),
            servers: vec![server("omc01", ServerState::Downloading), lost, late],
            process: ProcessStatus::default(),
        }
    }

    fn shown(columns: usize, colour: bool) -> Vec<String> {
        let now = DateTime::parse_from_rfc3339("2026-11-24T03:01:05Z").unwrap().to_utc();
        status(&fleet(), Page { columns, colour }, now)
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

    #[test]
    fn what_needs_an_operator_is_on_top() {
        let lines = shown(80, false);
        assert!(lines[0].starts_with("! omc02 unreachable: logging in to 10.0.0.2:21"), "{lines:#?}");
        let gap = "! 上海移动网管中心北区甲 2 periods missing, the latest: the periods 202611240115";
        assert!(lines.iter().take(5).any(|line| line.starts_with(gap)), "{lines:#?}");
        let mut well = fleet();
        well.servers.truncate(1);
        let lines = status(&well, Page { columns: 80, colour: false }, Utc::now());
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
