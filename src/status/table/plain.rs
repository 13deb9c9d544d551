//! The status in a file or a pipe: all of it, whatever the width. Scripts read this, though they should not.

use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;
use chrono::Utc;

use super::{attention, columns};
use crate::base::humanize;
use crate::base::names::Printable;
use crate::status::json::time;
use crate::status::{ServerStatus, ServiceStatus};

/// The status as a few lines and a table, without a line end after the last.
#[must_use]
pub fn plain(status: &ServiceStatus) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    write_summary(&mut text, status).ok();
    // no column of it depends on what time it is
    for row in columns::plain(&status.servers, Utc::now()) {
        writeln!(text, " {}", row.trim_end()).ok();
    }
    write_incomplete(&mut text, &status.servers).ok();
    attention::write_plain(&mut text, &status.attention).ok();
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
            let (since, next_try) = (time::text(file.since), time::text(file.next_try));
            writeln!(
                text,
                "{name} {path}: {reason}; tried {}, since {since}, next {next_try}",
                humanize::count(file.tries, "time")
            )?;
        }
        let more = server.incomplete_files.saturating_sub(server.incomplete.len() as u64);
        if more > 0 {
            writeln!(text, "{name} … and {more} more")?;
        }
    }
    Ok(())
}

fn write_summary(text: &mut String, status: &ServiceStatus) -> std::fmt::Result {
    let ServiceStatus { running, uptime, disk, notify, process, .. } = status;
    let state = if *running { "running" } else { "stopped" };
    let uptime = Duration::from_secs(uptime.as_secs());
    let memory = ByteSize(process.memory_bytes).display().iec();
    writeln!(text, "service   {state}, up {}, {memory} of memory", humantime::format_duration(uptime))?;
    if let Some(limit) = &disk.waiting_limit {
        writeln!(text, "LIMIT     {}", Printable(limit))?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{
        DiskStatus, HoldStatus, IncompleteFile, MirrorStatus, NotifyStatus, ProcessStatus, RecordsStatus,
        ServerState,
    };
    use chrono::DateTime;

    fn fleet() -> ServiceStatus {
        let at = |millis: i64| DateTime::from_timestamp_millis(1_795_402_800_500 + millis).unwrap();
        let file = |path: &str| IncompleteFile {
            path: path.to_owned(),
            reason: "its end is missing".to_owned(),
            tries: 2,
            since: at(0),
            next_try: at(60_000),
        };
        let mut slow = ServerStatus {
            name: "上海 1".to_owned(),
            state: ServerState::Downloading,
            last_scan_started: Some(at(0)),
            last_scan_took: Some(Duration::from_millis(1_250)),
            directories_seen: 17,
            files_seen: 1234,
            files_downloaded: 567,
            bytes_downloaded: 123_456_789,
            pending_files: 4,
            incomplete_files: 3,
            incomplete: vec![file("/a.zip"), file("/b.zip")],
            ..ServerStatus::default()
        };
        slow.lateness.newest_seen_age_seconds = Some(192.7);
        slow.lateness.period_seconds = Some(900);
        slow.lateness.missing_periods = 2;
        let lost = ServerStatus {
            name: "omc02".to_owned(),
            state: ServerState::Unreachable,
            last_error: Some("no answer \u{1b}[2J".to_owned()),
            ..ServerStatus::default()
        };
        let hold =
            HoldStatus { server: None, kind: "gone".to_owned(), reason: "nothing is there".to_owned() };
        ServiceStatus {
            running: true,
            uptime: Duration::from_millis(75_900),
            disk: DiskStatus {
                used_percent: Some(41.2),
                max_used_percent: 60.0,
                max_bytes: Some(1 << 30),
                mirror_bytes: 1 << 20,
                evicted_files: 1,
                held: true,
                fault: Some("read-only".to_owned()),
                ..DiskStatus::default()
            },
            notify: NotifyStatus {
                pending: 1,
                delivered: 2,
                failed_attempts: 3,
                cancelled: 4,
                concurrency: 5,
                ..NotifyStatus::default()
            },
            mirror: MirrorStatus { held: true, holds: vec![hold] },
            attention: Vec::new(),
            records: RecordsStatus::default(),
            servers: vec![slow, lost],
            process: ProcessStatus { memory_bytes: 20 << 20, host_available_memory_bytes: 0 },
        }
    }

    #[test]
    fn everything_is_there_whatever_the_width() {
        let expected = r"
service   running, up 1m 15s, 20.0 MiB of memory
disk      41.2 % used, at most 60 %; mirror 1.0 MiB of at most 1.0 GiB; evicted 1 file, 0 B; downloads are held: other data fills the disk; read-only
HELD      nothing is there
announce  1 pending, 2 delivered, 3 failed calls, 4 cancelled; 5 at a time

 SERVER  STATE        LAST SCAN                 TOOK  DIRS  ZIPS  FETCHED      BYTES  PENDING  NEWEST  MISSING  LAST ERROR
 上海 1  downloading  2026-11-23T03:00:00.500Z  1.2s    17  1234      567  117.7 MiB        4   3m12s        2  -
 omc02   unreachable  -                            -     0     0        0        0 B        0       -        -  no answer \u{1b}[2J

NOT TAKEN YET
上海 1 /a.zip: its end is missing; tried 2 times, since 2026-11-23T03:00:00.500Z, next 2026-11-23T03:01:00.500Z
上海 1 /b.zip: its end is missing; tried 2 times, since 2026-11-23T03:00:00.500Z, next 2026-11-23T03:01:00.500Z
上海 1 … and 1 more";
        assert_eq!(plain(&fleet()), expected.trim_start());
    }
}
