//! Whether a server's files arrive on time: how old the newest one is, how long files take from first seen to local
//! and from local to announced, and which periods did not come.
//!
//! One [`Lateness`] for each server, filled by its scanner and by the notifier: a lock and a few numbers for each
//! new file. What is shown is put together when somebody asks. All of it is bounded, and lost with the process but for
//! what [`remember`] reads from the records.

mod minutes;
mod period;
mod rhythm;
mod waits;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use chrono::{Local, NaiveDate, TimeZone};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::base::blocking;
use crate::base::facts::{FileFacts, TimeSource};
use crate::base::names::RemotePath;
use crate::config::RecordsSettings;
use crate::records::{self, RecordRow};

pub use minutes::{MAX_MINUTES, Minute};
pub use waits::WaitsStatus;

use minutes::Minutes;
use rhythm::Rhythm;
use waits::Waits;

/// Files seen and not local yet of which the beginning is remembered; beyond it all are forgotten.
const MAX_WAITING: usize = 100_000;
/// Kinds of files of one server whose rhythm is learnt.
const MAX_SERIES: usize = 16;
/// A series with fewer periods gives way to a new one.
const SETTLED_SERIES: usize = 4;
/// Gaps that `status` shows of one server; their periods are all counted.
const MAX_GAPS_SHOWN: usize = 10;
/// A time of a server that lies further ahead than this is a mistake.
const MAX_AHEAD_MS: i64 = 24 * 3600 * 1000;
/// Records read at the start: hours of a large fleet, and a moment's work.
const MAX_REMEMBERED: u32 = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Lateness {
    keys: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when files wait, in unix milliseconds, as are all times here.
    waiting: HashMap<u64, i64>,
    newest_seen: Option<i64>,
    /// The latest time that the server itself gave a file, where it is known to be UTC.
    newest_modified: Option<i64>,
    series: HashMap<String, Rhythm>,
    to_local: Waits,
    to_announced: Waits,
    minutes: Minutes,
    today: Today,
}

/// What became local on one day of the host's zone.
#[derive(Debug, Default)]
struct Today {
    day: Option<NaiveDate>,
    files: u64,
    bytes: u64,
}

/// Lateness as `status` shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatenessStatus {
    /// Since the server's own time of its newest file; null where that is not known to be UTC.
    pub newest_file_age_seconds: Option<f64>,
    /// Since a new file was seen last.
    pub newest_seen_age_seconds: Option<f64>,
    /// From first seen in a listing to recorded on the disk.
    pub seen_to_local: WaitsStatus,
    /// From there to the delivered call.
    pub local_to_announced: WaitsStatus,
    /// The shortest rhythm that was learnt; null while there is none.
    pub period_seconds: Option<u64>,
    /// Periods that did not come, of all series, as far as they are remembered.
    pub missing_periods: u64,
    /// The latest gaps, the newest first.
    pub gaps: Vec<GapStatus>,
}

/// Periods in a row that did not come. Shown as `the periods 202611230315 to 202611230330 of MRO_#_#.zip`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapStatus {
    /// The names of the files, each run of digits as `#`.
    pub series: String,
    /// The first period, `yyyymmddHHMM` as in the names.
    pub from: String,
    /// The last one.
    pub to: String,
}

impl fmt::Display for GapStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, from, to } = self;
        if from == to {
            write!(f, "the period {from} of {series}")
        } else {
            write!(f, "the periods {from} to {to} of {series}")
        }
    }
}

impl GapStatus {
    fn new(series: &str, gap: rhythm::Gap) -> Self {
        Self { series: series.to_owned(), from: period::spelt(gap.from), to: period::spelt(gap.to) }
    }
}

impl Lateness {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A listing shows a file that is not on record. The first time counts.
    pub fn seen(&self, path: &RemotePath, facts: &FileFacts, now: i64) {
        let key = self.keys.hash_one(path.wire());
        let mut state = self.state();
        if state.waiting.contains_key(&key) {
            return;
        }
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.clear();
        }
        state.waiting.insert(key, now);
        state.note(path, now);
        let utc = facts.modified.filter(|modified| modified.source == TimeSource::Utc);
        // a clock that runs a day ahead tells nothing
        let modified = utc
            .map(|modified| modified.unix_seconds.saturating_mul(1000))
            .filter(|at| *at < now + MAX_AHEAD_MS);
        state.newest_modified = state.newest_modified.max(modified);
    }

    /// A file came at `at`, before this process began.
    pub fn remembered(&self, path: &RemotePath, at: i64) {
        self.state().note(path, at);
    }

    /// A file of `size` bytes is on the disk and on record.
    pub fn arrived(&self, path: &RemotePath, size: u64, now: i64) {
        let key = self.keys.hash_one(path.wire());
        let mut state = self.state();
        let mut what = Minute { files: 1, bytes: size, ..Minute::default() };
        if let Some(began) = state.waiting.remove(&key) {
            let waited = (now - began).max(0).unsigned_abs();
            what = Minute { measured: 1, waited_ms: waited, worst_ms: waited, ..what };
            state.to_local.add(began, now);
        }
        state.minutes.add(now, what);
        state.today.add(size, now);
    }

    /// The file that became local at `since` was announced.
    pub fn announced(&self, since: i64, now: i64) {
        let mut state = self.state();
        state.to_announced.add(since, now);
        state.minutes.add(now, Minute { announced: 1, ..Minute::default() });
    }

    /// Looks for periods that did not come; answers the gaps that begin to be missed with this look.
    #[must_use]
    pub fn check(&self, now: i64) -> Vec<GapStatus> {
        let mut state = self.state();
        let series = state.series.iter_mut();
        series
            .flat_map(|(name, rhythm)| {
                rhythm.check(now.div_euclid(1000)).into_iter().map(|gap| GapStatus::new(name, gap))
            })
            .collect()
    }

    /// As it stands at `now`, with the files and bytes of today.
    #[must_use]
    pub fn status(&self, now: i64) -> (LatenessStatus, u64, u64) {
        let state = self.state();
        let age = |since: Option<i64>| since.map(|since| (now - since).max(0) as f64 / 1000.0);
        let steps = state.series.values().filter_map(Rhythm::step);
        let mut gaps: Vec<_> =
            state.series.iter().flat_map(|(name, rhythm)| of_series(name, rhythm)).collect();
        gaps.sort_by(|a, b| b.to.cmp(&a.to).then_with(|| a.series.cmp(&b.series)));
        gaps.truncate(MAX_GAPS_SHOWN);
        let lateness = LatenessStatus {
            newest_file_age_seconds: age(state.newest_modified),
            newest_seen_age_seconds: age(state.newest_seen),
            seen_to_local: state.to_local.status(now),
            local_to_announced: state.to_announced.status(now),
            period_seconds: steps.min().and_then(|minutes| u64::try_from(minutes * 60).ok()),
            missing_periods: state.series.values().map(|rhythm| rhythm.missing().count() as u64).sum(),
            gaps,
        };
        let (files, bytes) = state.today.at(now);
        (lateness, files, bytes)
    }

    /// Adds the minutes of the last hours to `sums`.
    pub fn add_minutes(&self, sums: &mut BTreeMap<i64, Minute>, now: i64) {
        self.state().minutes.add_to(sums, now);
    }
}

fn of_series<'a>(name: &'a str, rhythm: &Rhythm) -> impl Iterator<Item = GapStatus> + use<'a> {
    rhythm.gaps().into_iter().map(move |gap| GapStatus::new(name, gap))
}

impl State {
    /// A new file came, whatever becomes of it.
    fn note(&mut self, path: &RemotePath, at: i64) {
        self.newest_seen = self.newest_seen.max(Some(at));
        let name = path.text().rsplit('/').next().unwrap_or_default();
        let Some(period::Stamped { series, minute }) = period::read(name) else { return };
        if let Some(rhythm) = self.rhythm(series) {
            rhythm.seen(minute, at.div_euclid(1000));
        }
    }

    /// The rhythm of a series; a new one takes the place of another that has come to nothing, or has none.
    fn rhythm(&mut self, series: String) -> Option<&mut Rhythm> {
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&series) {
            let unsettled = self.series.iter().find(|(_, rhythm)| rhythm.known() < SETTLED_SERIES);
            let unsettled = unsettled.map(|(name, _)| name.clone())?;
            self.series.remove(&unsettled);
        }
        Some(self.series.entry(series).or_default())
    }
}

impl Today {
    fn add(&mut self, size: u64, now: i64) {
        let day = day(now);
        if self.day != day {
            *self = Self { day, files: 0, bytes: 0 };
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
    }

    fn at(&self, now: i64) -> (u64, u64) {
        if self.day == day(now) { (self.files, self.bytes) } else { (0, 0) }
    }
}

fn day(at: i64) -> Option<NaiveDate> {
    Local.timestamp_millis_opt(at).single().map(|time| time.date_naive())
}

/// Shows the latest records to `tell`, oldest first, so that [`Lateness::remembered`] knows after a restart when each
/// server's newest file came and in which rhythm. On a thread of its own, for which nobody waits.
///
/// # Errors
///
/// When there is no thread to be had.
pub fn remember(
    settings: &RecordsSettings,
    tell: impl Fn(&RecordRow) + Send + 'static,
) -> std::io::Result<()> {
    let settings = settings.clone();
    let read = move || {
        let rows = records::read(&settings)
            .map_err(anyhow::Error::from)
            .and_then(|mut reader| Ok(reader.newest(MAX_REMEMBERED)?));
        match rows {
            Ok(rows) => rows.iter().rev().for_each(tell),
            Err(error) => log::warn!("cannot read the rhythm of the servers from the records: {error:#}"),
        }
    };
    blocking::spawn("lateness", read).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::facts::Modified;

    fn path(name: &str) -> RemotePath {
        RemotePath::from_text(&format!("/MR/{name}"), encoding_rs::UTF_8).unwrap()
    }

    fn of(unix_seconds: i64, source: TimeSource) -> FileFacts {
        FileFacts { size: Some(1), modified: Some(Modified { unix_seconds, source }) }
    }

    const PLAIN: FileFacts = FileFacts { size: None, modified: None };

    /// interface 19.2
    #[test]
    fn a_file_waits_from_when_it_was_first_seen_until_it_is_local_and_announced() {
        let lateness = Lateness::default();
        let file = path("a.zip");
        lateness.seen(&file, &PLAIN, 1_000);
        lateness.seen(&file, &PLAIN, 61_000);
        lateness.arrived(&file, 10, 91_000);
        lateness.announced(91_000, 93_500);
        let (status, files, bytes) = lateness.status(101_000);
        assert_eq!(
            (status.seen_to_local.p99_seconds, status.local_to_announced.p50_seconds),
            (Some(90.0), Some(2.5))
        );
        assert_eq!((status.newest_seen_age_seconds, status.newest_file_age_seconds), (Some(100.0), None));
        assert_eq!((files, bytes), (1, 10));
        let mut sums = BTreeMap::new();
        lateness.add_minutes(&mut sums, 101_000);
        assert_eq!((sums[&1].files, sums[&1].worst_ms, sums[&1].announced), (1, 90_000, 1));
    }

    #[test]
    fn a_file_that_was_not_seen_waiting_counts_without_a_wait() {
        let lateness = Lateness::default();
        lateness.arrived(&path("a.zip"), 10, 1_000);
        let (status, files, _) = lateness.status(2_000);
        assert_eq!((status.seen_to_local.files, files), (0, 1));
    }

    /// interface 19.1
    #[test]
    fn only_a_time_in_utc_tells_how_old_a_file_is() {
        let lateness = Lateness::default();
        lateness.seen(&path("a.zip"), &of(90, TimeSource::LocalSecond), 100_000);
        assert_eq!(lateness.status(100_000).0.newest_file_age_seconds, None);
        lateness.seen(&path("b.zip"), &of(40, TimeSource::Utc), 100_000);
        lateness.seen(&path("c.zip"), &of(10, TimeSource::Utc), 100_000);
        assert_eq!(lateness.status(100_000).0.newest_file_age_seconds, Some(60.0));
        assert_eq!(
            lateness.status(1_000).0.newest_file_age_seconds,
            Some(0.0),
            "the server's clock is ahead"
        );
    }

    #[test]
    fn today_ends_at_midnight() {
        let lateness = Lateness::default();
        lateness.arrived(&path("a.zip"), 10, 0);
        assert_eq!(lateness.status(0).1, 1);
        assert_eq!(lateness.status(48 * 3_600_000).1, 0);
    }

    /// The nth quarter of an hour of 2026-11-23, with the files of two stations, in time.
    fn quarter(lateness: &Lateness, kind: &str, n: i64) -> Vec<GapStatus> {
        let begins = 1_795_392_000 + n * 900;
        for station in [4001, 4002] {
            let name = format!("{kind}_{station}_20261123{:02}{:02}00.zip", n / 4, n % 4 * 15);
            lateness.seen(&path(&name), &PLAIN, (begins + 20) * 1000);
        }
        lateness.check((begins + 80) * 1000)
    }

    #[test]
    fn each_kind_of_file_has_a_rhythm_of_its_own() {
        let lateness = Lateness::default();
        let mut gaps = Vec::new();
        for n in 0..20 {
            gaps.extend(quarter(&lateness, "MRO", n));
            if n != 11 && n != 12 {
                gaps.extend(quarter(&lateness, "MRE", n));
            }
        }
        let shown: Vec<String> = gaps.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["the period 202611230245 of MRE_#_#.zip"], "told when it began, and once");
        let status = lateness.status(0).0;
        assert_eq!((status.period_seconds, status.missing_periods), (Some(900), 2));
        assert_eq!(status.gaps[0].to_string(), "the periods 202611230245 to 202611230300 of MRE_#_#.zip");
    }

    #[test]
    fn endless_new_kinds_of_names_neither_grow_memory_nor_drive_out_what_was_learnt() {
        let lateness = Lateness::default();
        for n in 0..8 {
            quarter(&lateness, "MRO", n);
        }
        for n in 0..500_u32 {
            let kind: String = n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            lateness.seen(&path(&format!("{kind}_20261123031500.zip")), &PLAIN, 0);
        }
        let state = lateness.state();
        assert_eq!(state.series.len(), MAX_SERIES);
        assert!(state.series.contains_key("MRO_#_#.zip"));
    }

    #[test]
    fn files_that_wait_for_ever_are_forgotten_at_the_limit() {
        let lateness = Lateness::default();
        for n in 0..=MAX_WAITING {
            lateness.seen(&path(&format!("{n}.zip")), &PLAIN, 0);
        }
        assert_eq!(lateness.state().waiting.len(), 1);
    }
}
