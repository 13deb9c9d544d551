//! What a line of the log looks like.
//!
//! As text it is `2026-11-23T03:00:05.123Z INFO  [collector::scan] message`: the time is UTC, the part in brackets is the
//! module, and control characters of the message come escaped, so that no name from a server can forge a line. As JSON
//! it is an object with the same, and with the server that the message begins with.

use chrono::{SecondsFormat, Utc};
use log::Level;
use serde::Serialize;

use super::OWN_TARGET;
use crate::base::json;
use crate::base::names::Printable;
use crate::base::panics;
use crate::config::LogFormat;

/// What a message about a server begins with. It stands in the message and is read from there, and is no key-value of
/// `log` (feature `kv`): the text promises it in its place, before a blank, `: ` or a path, so that each of the some
/// fifty lines would have to say by one more key which; and messages are put together far from where they are logged.
const SERVER: &str = "server=";

#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    level: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    message: &'a str,
}

/// A line as it is now, without its end.
pub(super) fn line(format: LogFormat, level: Level, target: &str, message: &str) -> String {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let target = short(target);
    match format {
        LogFormat::Text => text(&time, level, target, message),
        LogFormat::Json => {
            let server = server_of(message);
            let line =
                Line { time: &time, level: level.as_str(), target, server: server.as_deref(), message };
            // a message is text, which JSON can always say
            json::to_string(&line).unwrap_or_else(|_| text(&time, level, target, message))
        }
    }
}

fn text(time: &str, level: Level, target: &str, message: &str) -> String {
    format!("{time} {level:<5} [{}] {}", Printable(target), Printable(message))
}

/// A module of ours without the name of the program.
pub(super) fn short(target: &str) -> &str {
    target.strip_prefix(OWN_TARGET).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target)
}

/// The server that a message is about, on the thread that logs it.
pub(super) fn server_of(message: &str) -> Option<String> {
    server(message, &panics::owner())
}

/// The server that a message names first. A name may hold blanks: where the thread works for the server, it knows the
/// whole of it.
fn server(message: &str, owner: &str) -> Option<String> {
    let named = message.strip_prefix(SERVER)?;
    let own = owner.strip_prefix(SERVER).filter(|own| {
        named.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
    });
    own.or_else(|| named.split([' ', ':']).next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// interface 9.1
    #[test]
    fn a_json_line_is_an_object_that_gives_everything_back() {
        let message = "server=omc01 path=/a\nb \u{1b}[2J\u{202e}\"";
        let shown = line(LogFormat::Json, Level::Warn, "mrosync::collector::scan", message);
        assert!(!shown.contains(['\n', '\u{1b}', '\u{202e}']), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&read["level"], &read["target"]), (&"WARN".into(), &"collector::scan".into()));
        assert_eq!((&read["server"], &read["message"]), (&"omc01".into(), &message.into()));
        let time = read["time"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
    }

    /// interface 9.1
    #[test]
    fn a_line_of_no_server_has_none() {
        let shown = line(LogFormat::Json, Level::Info, "mrosync", "ended");
        assert!(shown.ends_with(r#""level":"INFO","target":"mrosync","message":"ended"}"#), "{shown}");
    }

    #[test]
    fn a_name_with_blanks_is_whole_on_the_servers_own_thread() {
        let name = |message, owner| server(message, owner);
        assert_eq!(name("server=omc 1 scan: …", "server=omc 1").as_deref(), Some("omc 1"));
        assert_eq!(name("server=omc01 scan", "server=omc").as_deref(), Some("omc01"));
        assert_eq!(name("server=omc01 path=/a", "notifier").as_deref(), Some("omc01"));
        assert_eq!(name("it is server=omc01", ""), None);
    }
}
