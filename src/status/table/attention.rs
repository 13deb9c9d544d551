//! What needs an operator, for people: the worst causes on top of the status at a terminal, all of them elsewhere.

use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Page;
use crate::base::humanize;
use crate::base::names::Printable;
use crate::status::attention::{Cause, Item, Need};
use crate::status::json::time;
use crate::terminal::text::{Style, cut, wrap};

/// Needs that are shown at a terminal, so that the totals below them stay in sight.
const SHOWN: usize = 5;
/// Lines for each, before the one that says what to do.
const NEED_LINES: usize = 2;
/// Servers of one need that are named.
const NAMED: usize = 12;

/// The first needs, none of whose lines is wider than the page.
pub(super) fn fitted(needs: &[Need], page: Page, now: DateTime<Utc>) -> Vec<String> {
    let mut lines = Vec::new();
    for need in needs.iter().take(SHOWN) {
        let text = wrap(&sentence(need), page.columns.saturating_sub(2));
        for (number, line) in text.iter().take(NEED_LINES).enumerate() {
            let mark = if number == 0 { "! " } else { "  " };
            lines.push(Style::Red.paint(&cut(&format!("{mark}{line}"), page.columns), page.colour));
        }
        let held = (now - need.since).to_std().unwrap_or_default();
        let held = humanize::duration(Duration::from_secs(held.as_secs()));
        let next = format!("  for {held}; {}", need.next_step);
        lines.push(Style::Dim.paint(cut(&next, page.columns).trim_end(), page.colour));
    }
    let more = needs.len().saturating_sub(SHOWN);
    if more > 0 {
        let told = format!("! {} more, see status --json", humanize::count(more, "cause"));
        lines.push(Style::Red.paint(cut(&told, page.columns).trim_end(), page.colour));
    }
    lines
}

/// All needs, a line each, with all that they hold for.
pub(super) fn write_plain(text: &mut String, needs: &[Need]) -> std::fmt::Result {
    if needs.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nNEEDS ATTENTION")?;
    for need in needs {
        writeln!(text, "{}; since {}; {}", sentence(need), time::text(need.since), need.next_step)?;
    }
    Ok(())
}

/// What holds, for whom.
fn sentence(need: &Need) -> String {
    match need.items.as_slice() {
        [item] => one(need.cause, item),
        items => {
            let shown = items.iter().take(NAMED).filter_map(|item| item.server.as_deref());
            let names: Vec<String> = shown.map(|name| Printable(name).to_string()).collect();
            let more = if items.len() > NAMED { ", …" } else { "" };
            let servers = humanize::count(items.len(), "server");
            format!("{servers} {}: {}{more}", need.title, names.join(", "))
        }
    }
}

fn one(cause: Cause, item: &Item) -> String {
    let detail = Printable(&item.detail).to_string();
    let name = item.server.as_deref().map_or(String::new(), |name| format!("{} ", Printable(name)));
    match cause {
        Cause::Unreachable
        | Cause::BringsNothing
        | Cause::MirrorHeld
        | Cause::DiskFault
        | Cause::RecordsFail
        | Cause::EvictedUnannounced => format!("{name}{}: {detail}", cause.title()),
        _ => format!("{name}{detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::attention::Watch;
    use crate::status::{ServerState, ServerStatus, ServiceStatus};
    use crate::terminal::text::width;

    fn fleet(faults: &[(usize, &str)]) -> Vec<Need> {
        let mut servers = Vec::new();
        for (count, fault) in faults {
            for n in 0..*count {
                servers.push(ServerStatus {
                    name: format!("{}{n:02}", fault.split(' ').next().unwrap()),
                    state: ServerState::Unreachable,
                    last_error: Some((*fault).to_owned()),
                    ..ServerStatus::default()
                });
            }
        }
        let status = ServiceStatus { running: true, servers, ..ServiceStatus::default() };
        Watch::default().look(&status, DateTime::UNIX_EPOCH)
    }

    /// interface 3.4
    #[test]
    fn a_dead_fleet_leaves_room_for_the_rest_of_the_page() {
        let kinds =
            ["connection refused", "no answer", "no route", "login refused", "host key", "TLS: x", "other"];
        let faults: Vec<_> = kinds.iter().map(|fault| (40, *fault)).collect();
        let page = Page { columns: 100, colour: false };
        let lines = fitted(&fleet(&faults), page, DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(3));
        assert!(lines.len() <= 16, "{lines:#?}");
        assert!(lines.iter().all(|line| width(line) <= 100), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("! 40 servers unreachable: ")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("  for 3m; ")), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "! 2 causes more, see status --json");
    }

    #[test]
    fn in_a_file_every_cause_is_there_with_its_time() {
        let mut text = String::new();
        write_plain(&mut text, &fleet(&[(2, "connection refused"), (1, "no answer")])).unwrap();
        assert!(text.starts_with("\nNEEDS ATTENTION\n"), "{text}");
        assert_eq!(text.matches("since 1970-01-01T00:00:00.000Z; ").count(), 2, "{text}");
        assert!(
            text.contains("2 servers unreachable: connection refused: connection00, connection01"),
            "{text}"
        );
    }
}
