//! The last lines of the log, in memory, for the status page. Bounded, whatever is logged.

use std::collections::VecDeque;

use chrono::{SecondsFormat, Utc};
use log::Level;
use parking_lot::Mutex;
use serde::Serialize;

use super::line;
use crate::base::json;
use crate::base::names::Printable;

/// Lines that are kept.
const LINES: usize = 2000;
/// Characters of a line that are kept.
const LONGEST: usize = 2000;
/// Lines of one answer.
const ANSWERED: usize = 200;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Lines so far, those that are not kept included.
    count: u64,
    lines: VecDeque<Line>,
}

#[derive(Debug, Clone, Serialize)]
struct Line {
    number: u64,
    time: String,
    level: &'static str,
    target: String,
    server: Option<String>,
    message: String,
    #[serde(skip)]
    severity: Level,
}

#[derive(Serialize)]
struct Tail {
    last: u64,
    lines: Vec<Line>,
}

impl Ring {
    /// Keeps a line, and forgets the oldest.
    pub(super) fn keep(&self, severity: Level, target: &str, message: &str) {
        let server = line::server_of(message);
        let message = Printable(message).to_string().chars().take(LONGEST).collect();
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let target = line::short(target).to_owned();
        let mut kept = self.0.lock();
        kept.count += 1;
        if kept.lines.len() >= LINES {
            kept.lines.pop_front();
        }
        let number = kept.count;
        kept.lines.push_back(Line {
            number,
            time,
            level: severity.as_str(),
            target,
            server,
            message,
            severity,
        });
    }

    /// The newest lines after the one of this number, oldest first, as JSON: of this server where one is named, and no
    /// more detailed than `level`.
    pub(super) fn tail(&self, after: u64, server: Option<&str>, level: Level) -> String {
        let kept = self.0.lock();
        let wanted = |line: &&Line| {
            line.severity <= level && server.is_none_or(|server| line.server.as_deref() == Some(server))
        };
        let newer = kept.lines.iter().rev().take_while(|line| line.number > after);
        let mut lines: Vec<Line> = newer.filter(wanted).take(ANSWERED).cloned().collect();
        lines.reverse();
        let tail = Tail { last: kept.count, lines };
        drop(kept);
        json::to_string(&tail).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(ring: &Ring, after: u64, server: Option<&str>, level: Level) -> Vec<String> {
        let tail: serde_json::Value = serde_json::from_str(&ring.tail(after, server, level)).unwrap();
        let lines = tail["lines"].as_array().unwrap();
        lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// interface 20.18
    #[test]
    fn lines_are_chosen_by_server_and_level_and_by_what_was_seen_before() {
        let ring = Ring::default();
        ring.keep(Level::Info, "mrosync", "begun");
        ring.keep(Level::Warn, "mrosync::collector::scan", "server=omc01 a\nb");
        ring.keep(Level::Info, "mrosync::collector::scan", "server=omc02 c");
        assert_eq!(messages(&ring, 0, None, Level::Info).len(), 3);
        assert_eq!(messages(&ring, 0, Some("omc01"), Level::Info), ["server=omc01 a\\nb"]);
        assert_eq!(messages(&ring, 0, None, Level::Warn), ["server=omc01 a\\nb"]);
        assert_eq!(messages(&ring, 2, None, Level::Info), ["server=omc02 c"]);
        assert!(messages(&ring, 3, None, Level::Trace).is_empty());
    }

    #[test]
    fn memory_is_bounded_by_number_and_length() {
        let ring = Ring::default();
        for n in 0..=LINES {
            ring.keep(Level::Info, "x", &format!("{n} {}", "y".repeat(2 * LONGEST)));
        }
        let kept = ring.0.lock();
        assert_eq!((kept.lines.len(), kept.count), (LINES, LINES as u64 + 1));
        assert!(kept.lines.iter().all(|line| line.message.len() <= LONGEST));
        assert_eq!(kept.lines.front().unwrap().number, 2);
    }
}
