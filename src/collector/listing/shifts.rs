//! Times that a server shows shifted: by daylight saving time, or because its zone was set anew. All its files are then
//! listed with other times at once, and none of them has changed.
//!
//! One file alone may have been written again an hour later to the second; several that are shifted by the same whole
//! quarters of an hour, each of the size that it had, have not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::facts::{FileFacts, Shifted};
use crate::collector::server::Server;

/// So many files with the same shift tell that it is the server's.
const TELLING: usize = 2;
/// Most files that a scan keeps; more of them are looked at by the next run of the service.
const MAX_FILES: usize = 200_000;
/// By which times to the day are shifted.
const DAY_SECONDS: i64 = 86_400;

/// What one scan saw of it.
#[derive(Debug, Default)]
pub(in crate::collector) struct Shifts(RefCell<Vec<(Shifted, FileFacts, i64)>>);

impl Shifts {
    /// A known file is listed `by` seconds later than it was.
    pub(in crate::collector) fn add(&self, file: Shifted, was: FileFacts, by: i64) {
        let mut seen = self.0.borrow_mut();
        if seen.len() < MAX_FILES {
            seen.push((file, was, by));
        }
    }

    /// Says what it was, to people and to the records.
    pub(in crate::collector) async fn settle(self, server: &Server) {
        let mut seen = self.0.into_inner();
        if seen.is_empty() {
            return;
        }
        let shifts: Vec<i64> = seen.iter().map(|(_, _, by)| *by).collect();
        server.zones.borrow_mut().extend(zone_changes(&shifts));
        let zones = server.zones.borrow().clone();
        for (file, was, by) in &mut seen {
            file.is_zone = zones.contains(by)
                || (by.abs() == DAY_SECONDS && zones.iter().any(|zone| zone.signum() == by.signum()));
            if !file.is_zone {
                server.tell_changed(&file.directory.join(&file.name), *was, file.facts);
            }
        }
        let of_zone = seen.iter().filter(|(file, ..)| file.is_zone);
        if let Some((_, _, by)) = of_zone.clone().max_by_key(|(_, _, by)| by.abs()) {
            let (count, name) = (of_zone.count(), &server.settings.name);
            let time = humantime::format_duration(Duration::from_secs(by.unsigned_abs()));
            let direction = if *by > 0 { "later" } else { "earlier" };
            log::info!(
                "server={name} shows the times of {count} known files {time} {direction} than before: its zone or daylight saving time changed; they count as unchanged"
            );
        }
        let files = seen.into_iter().map(|(file, ..)| file).collect();
        if let Err(error) = server.records().settle_shifts(files).await {
            // a directory with a file whose time is not settled is neither cached nor taken for known
            log::debug!("server={} its times are settled by a later scan: {error:#}", server.settings.name);
        }
    }
}

/// The shifts that are the server's own.
fn zone_changes(shifts: &[i64]) -> BTreeSet<i64> {
    let mut counts = BTreeMap::new();
    for by in shifts {
        *counts.entry(*by).or_insert(0) += 1;
    }
    counts.into_iter().filter(|(_, count)| *count >= TELLING).map(|(by, _)| by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_the_servers_where_several_files_show_it() {
        let zones = |shifts: &[i64]| zone_changes(shifts).into_iter().collect::<Vec<_>>();
        assert_eq!(zones(&[3600]), [0; 0]);
        assert_eq!(zones(&[3600, 1800, 3600, -3600]), [3600]);
    }
}
