//! The columns of the table of servers, and their layout: in a width that is given, or each as wide as it needs.

use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use super::Page;
use crate::base::names::Printable;
use crate::status::json::time;
use crate::status::{ServerState, ServerStatus};
use crate::terminal::text::{Style, cut, width};

/// Between two columns.
const GAP: usize = 2;
/// A name takes no more of the width than this part, so that there is room for what it does.
const NAME_PART: usize = 3;
/// Below this a column of errors says nothing; above it they are cut less than elsewhere.
const ERROR_AT_LEAST: usize = 24;

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Server,
    State,
    /// How long ago the last scan began.
    Scanned,
    /// When it began.
    LastScan,
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

/// From left to right, with one that says when the last scan was.
const fn columns(last_scan: Column) -> [Column; 12] {
    [
        Column::Server,
        Column::State,
        last_scan,
        Column::Took,
        Column::Directories,
        Column::Zips,
        Column::Fetched,
        Column::Bytes,
        Column::Pending,
        Column::Newest,
        Column::Missing,
        Column::Error,
    ]
}

/// At a terminal.
const FITTED: [Column; 12] = columns(Column::Scanned);

/// In a file or a pipe.
const PLAIN: [Column; 12] = columns(Column::LastScan);

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

/// All columns, each as wide as it needs.
pub(super) fn plain(servers: &[ServerStatus], now: DateTime<Utc>) -> Vec<String> {
    let columns = PLAIN.map(|column| (column, column.longest(servers, now)));
    rows(&columns, servers, Page { columns: usize::MAX, colour: false }, now)
}

/// As many columns as fit.
pub(super) fn fitted(servers: &[ServerStatus], page: Page, now: DateTime<Utc>) -> Vec<String> {
    let longest = |column: Column| column.longest(servers, now);
    let mut columns: Vec<(Column, usize)> = FITTED
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
    rows(&columns, servers, page, now)
}

/// The heading and a row of each server.
fn rows(
    columns: &[(Column, usize)],
    servers: &[ServerStatus],
    page: Page,
    now: DateTime<Utc>,
) -> Vec<String> {
    let heading = row(columns, page, |column| (column.heading().to_owned(), Style::Bold));
    let rows = servers.iter().map(|server| row(columns, page, |column| column.cell(server, now)));
    std::iter::once(heading).chain(rows).collect()
}

fn row(columns: &[(Column, usize)], page: Page, cell: impl Fn(Column) -> (String, Style)) -> String {
    let mut line = String::new();
    // painted blanks would hide that a line ends, so what pads stays outside of the paint
    let mut pending = 0;
    for (column, room) in columns {
        let (text, style) = cell(*column);
        let text = cut(&text, (*room).min(page.columns));
        let padding = room.saturating_sub(width(&text));
        let (before, after) = if column.is_number() { (padding, 0) } else { (0, padding) };
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(' ', pending + before));
            line.push_str(&style.paint(&text, page.colour));
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
            Self::LastScan => "LAST SCAN",
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

    /// The width that it needs.
    fn longest(self, servers: &[ServerStatus], now: DateTime<Utc>) -> usize {
        let cells = servers.iter().map(|server| width(&self.cell(server, now).0));
        cells.chain([width(self.heading())]).max().unwrap_or(0)
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Server | Self::State | Self::LastScan | Self::Error)
    }

    /// Returns whether it says anything of any server.
    fn is_wanted(self, servers: &[ServerStatus]) -> bool {
        match self {
            Self::Missing => servers.iter().any(|server| server.lateness.period_seconds.is_some()),
            Self::Error => servers.iter().any(|server| server.last_error.is_some()),
            _ => true,
        }
    }

    fn cell(self, server: &ServerStatus, now: DateTime<Utc>) -> (String, Style) {
        let some = |count: u64, style| (count.to_string(), if count > 0 { style } else { Style::Dim });
        let never = || ("-".to_owned(), Style::Dim);
        match self {
            Self::Server => (Printable(&server.name).to_string(), Style::Plain),
            Self::State if server.paused => ("paused".to_owned(), Style::Yellow),
            Self::State => state(server.state),
            Self::Scanned => {
                let age = |started: DateTime<Utc>| (short((now - started).as_seconds_f64()), Style::Plain);
                server.last_scan_started.map_or_else(never, age)
            }
            Self::LastScan => {
                server.last_scan_started.map_or_else(never, |started| (time::text(started), Style::Plain))
            }
            Self::Took => {
                let took = |took: Duration| (format!("{:.1}s", took.as_secs_f64()), Style::Plain);
                server.last_scan_took.map_or_else(never, took)
            }
            Self::Directories => some(server.directories_seen, Style::Plain),
            Self::Zips => some(server.files_seen, Style::Plain),
            Self::Fetched => some(server.files_downloaded, Style::Plain),
            Self::Bytes => (ByteSize(server.bytes_downloaded).display().iec().to_string(), Style::Plain),
            Self::Pending => some(server.pending_files, Style::Yellow),
            Self::Newest => {
                server.lateness.newest_seen_age_seconds.map_or_else(never, |age| (short(age), Style::Plain))
            }
            Self::Missing => match server.lateness.period_seconds {
                Some(_) => some(server.lateness.missing_periods, Style::Red),
                None => never(),
            },
            Self::Error => {
                let error = server.last_error.as_deref().map(|error| Printable(error).to_string());
                error.map_or_else(never, |error| (error, Style::Red))
            }
        }
    }
}

fn state(state: ServerState) -> (String, Style) {
    let style = match state {
        ServerState::Stopped => Style::Dim,
        ServerState::Waiting => Style::Green,
        ServerState::Scanning | ServerState::Downloading => Style::Cyan,
        ServerState::Unreachable => Style::Red,
    };
    (state.word().to_owned(), style)
}

/// A length of time in its two largest units, without blanks: `3m12s`.
fn short(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0).floor()).unwrap_or_default();
    let shown = humantime::format_duration(whole).to_string();
    shown.split(' ').take(2).collect()
}
