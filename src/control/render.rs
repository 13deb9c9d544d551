//! `status` for people.

use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};

use crate::base::humanize;
use crate::base::names::Printable;
use crate::status::{IncompleteFile, ServerState, ServerStatus, ServiceStatus};

/// The status as a few lines and a table, without a line end after the last.
#[must_use]
pub fn status(status: &ServiceStatus) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    write_summary(&mut text, status).ok();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "SERVER",
        "STATE",
        "LAST SCAN",
        "TOOK",
        "DIRS",
        "ZIPS",
        "FETCHED",
        "BYTES",
        "PENDING",
        "NEWEST",
        "MISSING",
        "LAST ERROR",
    ]);
    for server in &status.servers {
        table.add_row(row(server));
    }
    for column in table.column_iter_mut().skip(3).take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    write_incomplete(&mut text, &status.servers).ok();
    text.trim_end().to_owned()
}

/// The files that could not be taken so far, a line each; of each server the first few.
fn write_incomplete(text: &mut String, servers: &[ServerStatus]) -> std::fmt::Result {
    if servers.iter().all(|server| server.incomplete_files == 0) {
        return Ok(());
    }
    writeln!(text, "\nNOT TAKEN YET")?;
    for server in servers {
        let name = Printable(&server.name);
        for file in &server.incomplete {
            let (path, reason) = (Printable(&file.path), Printable(&file.reason));
            let IncompleteFile { tries, since, next_try, .. } = file;
            writeln!(
                text,
                "{name} {path}: {reason}; tried {}, since {since}, next {next_try}",
                humanize::count(*tries, "time")
            )?;
        }
        let more = server.incomplete_files.saturating_sub(server.incomplete.len() as u64);
        if more > 0 {
            writeln!(text, "{name} … and {more} more")?;
        }
    }
    Ok(())
}

/// What all scanners do, in one short sentence such as `14 servers: 12 waiting, 1 downloading, 1 unreachable`.
#[must_use]
pub fn sentence(servers: &[ServerStatus]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for state in servers.iter().map(|server| word(server.state)) {
        match counted.iter_mut().find(|(word, _)| *word == state) {
            Some((_, count)) => *count += 1,
            None => counted.push((state, 1)),
        }
    }
    let parts: Vec<String> = counted.iter().map(|(word, count)| format!("{count} {word}")).collect();
    format!("{}: {}", humanize::count(servers.len(), "server"), parts.join(", "))
}

fn word(state: ServerState) -> &'static str {
    match state {
        ServerState::Stopped => "stopped",
        ServerState::Waiting => "waiting",
        ServerState::Scanning => "scanning",
        ServerState::Downloading => "downloading",
        ServerState::Unreachable => "unreachable",
    }
}

fn write_summary(text: &mut String, status: &ServiceStatus) -> std::fmt::Result {
    let ServiceStatus { running, uptime_seconds, disk, notify, process, .. } = status;
    let state = if *running { "running" } else { "stopped" };
    let uptime = Duration::from_secs_f64(uptime_seconds.max(0.0).floor());
    let memory = ByteSize(process.memory_bytes).display().iec();
    writeln!(text, "service   {state}, up {}, {memory} of memory", humantime::format_duration(uptime))?;
    let used = disk.used_percent.map_or("?".to_owned(), |percent| format!("{percent:.1}"));
    let mirror = ByteSize(disk.mirror_bytes).display().iec();
    let evicted = ByteSize(disk.evicted_bytes).display().iec();
    let held = if disk.held { "; downloads are held: other data fills the disk" } else { "" };
    let fault = disk.fault.as_ref().map_or(String::new(), |fault| format!("; {}", Printable(fault)));
    let max =
        disk.max_bytes.map_or(String::new(), |max| format!(" of at most {}", ByteSize(max).display().iec()));
    writeln!(
        text,
        "disk      {used} % used, at most {} %; mirror {mirror}{max}; evicted {}, {evicted}{held}{fault}",
        disk.max_used_percent,
        humanize::count(disk.evicted_files, "file")
    )?;
    for hold in &status.mirror.holds {
        let whose = hold.server.as_deref().map_or_else(String::new, |name| format!("{} ", Printable(name)));
        writeln!(text, "HELD      {whose}{}", Printable(&hold.reason))?;
    }
    writeln!(
        text,
        "announce  {} pending, {} delivered, {} failed calls, {} cancelled; {} at a time",
        notify.pending, notify.delivered, notify.failed_attempts, notify.cancelled, notify.concurrency
    )?;
    writeln!(text)
}

fn row(server: &ServerStatus) -> [String; 12] {
    let never = || "-".to_owned();
    [
        Printable(&server.name).to_string(),
        word(server.state).to_owned(),
        server.last_scan_started.clone().unwrap_or_else(never),
        server.last_scan_seconds.map_or_else(never, |seconds| format!("{seconds:.1}s")),
        server.directories_seen.to_string(),
        server.files_seen.to_string(),
        server.files_downloaded.to_string(),
        ByteSize(server.bytes_downloaded).display().iec().to_string(),
        server.pending_files.to_string(),
        server.lateness.newest_seen_age_seconds.map_or_else(never, age),
        // without a rhythm nobody knows what is missing
        server.lateness.period_seconds.map_or_else(never, |_| server.lateness.missing_periods.to_string()),
        server.last_error.as_deref().map_or_else(never, |error| Printable(error).to_string()),
    ]
}

/// A length of time in its two largest units, without blanks: `3m12s`.
fn age(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e12).floor());
    let shown = humantime::format_duration(whole).to_string();
    shown.split(' ').take(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_shows_how_old_its_newest_file_is_and_what_is_missing_once_there_is_a_rhythm() {
        let mut server = ServerStatus { name: "omc01".to_owned(), ..ServerStatus::default() };
        assert_eq!([&row(&server)[9], &row(&server)[10]], ["-", "-"]);
        server.lateness.newest_seen_age_seconds = Some(192.7);
        server.lateness.period_seconds = Some(900);
        server.lateness.missing_periods = 2;
        assert_eq!([&row(&server)[9], &row(&server)[10]], ["3m12s", "2"]);
    }
}
