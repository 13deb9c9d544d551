//! Learns how often the files of one series come, and says which did not. Only differences of periods count, so the
//! server's clock and zone do not matter.

use std::collections::{BTreeSet, VecDeque};

/// Periods remembered: a day of quarters of an hour.
const MAX_PERIODS: usize = 96;
/// Fewer periods are no rhythm.
const FEWEST_PERIODS: usize = 4;
/// So many of ten steps must be alike.
const ALIKE_OF_TEN: i64 = 6;
/// The latest arrivals that tell when the next one is due.
const ARRIVALS: usize = 5;

/// The periods of one series. Periods and steps are in minutes.
#[derive(Debug, Default)]
pub struct Rhythm {
    periods: BTreeSet<i64>,
    /// How long after their periods the latest ones were first seen, in seconds; holds the difference of the clocks.
    delays: VecDeque<i64>,
    /// The newest period when the first scan had ended: what was missing before is history.
    since: Option<i64>,
    /// Missing at the last look, perhaps only because its directory was not listed yet.
    suspected: BTreeSet<i64>,
    missing: BTreeSet<i64>,
}

/// Periods in a row that did not come, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first one.
    pub from: i64,
    /// The last one so far.
    pub to: i64,
}

impl Rhythm {
    /// A file of the period `minute` was seen at `at`, in unix seconds. Further files of the period change nothing.
    pub fn seen(&mut self, minute: i64, at: i64) {
        if !self.periods.insert(minute) {
            return;
        }
        if self.periods.last() == Some(&minute) {
            self.delays.push_back(at - minute * 60);
            if self.delays.len() > ARRIVALS {
                self.delays.pop_front();
            }
        }
        if self.periods.len() > MAX_PERIODS {
            self.periods.pop_first();
        }
        self.missing.remove(&minute);
    }

    /// Returns how many periods are remembered.
    #[must_use]
    pub fn known(&self) -> usize {
        self.periods.len()
    }

    /// From one period to the next, where most of them are equally far apart.
    #[must_use]
    pub fn step(&self) -> Option<i64> {
        if self.periods.len() < FEWEST_PERIODS {
            return None;
        }
        let mut steps: Vec<i64> = self.pairs().map(|(earlier, later)| later - earlier).collect();
        steps.sort_unstable();
        let middle = *steps.get(steps.len() / 2)?;
        // stamps that jitter are apart by more or less; twice as far is a gap
        let alike = || steps.iter().filter(|step| (**step - middle).abs() * 3 <= middle);
        let (count, sum) = (alike().count() as i64, alike().sum::<i64>());
        if count * 10 < steps.len() as i64 * ALIKE_OF_TEN {
            return None;
        }
        Some((sum + count / 2) / count).filter(|mean| *mean > 0)
    }

    /// Looks for periods that did not come until `now`, in unix seconds: those between others, and those that are
    /// overdue. Returns the gaps that begin to be missed with this look; each is answered once.
    pub fn check(&mut self, now: i64) -> Vec<Gap> {
        let (Some(step), Some(&newest)) = (self.step(), self.periods.last()) else { return Vec::new() };
        let since = *self.since.get_or_insert(newest);
        let mut absent: BTreeSet<i64> = self
            .pairs()
            .filter(|(earlier, _)| *earlier >= since)
            .flat_map(|(earlier, later)| between(earlier, later, step))
            .collect();
        absent.extend(self.overdue(newest, step, now));
        let before = std::mem::take(&mut self.missing);
        self.missing = absent
            .iter()
            .filter(|period| before.contains(period) || self.suspected.contains(period))
            .copied()
            .collect();
        self.suspected = absent;
        let mut gaps = runs(&self.missing, step);
        gaps.retain(|gap| before.range(gap.from..=gap.to).next().is_none());
        gaps
    }

    /// The periods that did not come, oldest first.
    pub fn missing(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.missing.iter().copied()
    }

    /// The gaps as they stand, oldest first.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.step().map(|step| runs(&self.missing, step)).unwrap_or_default()
    }

    fn pairs(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.periods.iter().copied().zip(self.periods.iter().copied().skip(1))
    }

    /// Periods after the newest that should have come by `now`. Nobody knows where arrivals follow no clock, as when
    /// old files are fetched.
    fn overdue(&self, newest: i64, step: i64, now: i64) -> impl Iterator<Item = i64> + use<> {
        let (least, most) = (self.delays.iter().min().copied(), self.delays.iter().max().copied());
        let steady = self.delays.len() >= ARRIVALS;
        let longest = least.zip(most).filter(|(least, most)| steady && most - least <= step * 60);
        let count = longest.map_or(0, |(_, most)| {
            // half a step of grace beyond the longest delay of late
            let late = now - newest * 60 - most - step * 30;
            (late.div_euclid(step * 60)).clamp(0, MAX_PERIODS as i64)
        });
        (1..=count).map(move |nth| newest + nth * step)
    }
}

/// The periods between two others. A leap over more than is remembered is a new beginning.
fn between(earlier: i64, later: i64, step: i64) -> impl Iterator<Item = i64> {
    let steps = (later - earlier + step / 2) / step;
    let steps = if steps > MAX_PERIODS as i64 { 0 } else { steps };
    (1..steps).map(move |nth| earlier + nth * step)
}

fn runs(periods: &BTreeSet<i64>, step: i64) -> Vec<Gap> {
    let mut runs: Vec<Gap> = Vec::new();
    for &period in periods {
        match runs.last_mut() {
            Some(run) if period - run.to <= step + step / 4 => run.to = period,
            _ => runs.push(Gap { from: period, to: period }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T03:00 in minutes.
    const BEGIN: i64 = 29_923_380;
    /// How late each file comes after its period, in seconds; nobody says that the clocks agree.
    const DELAY: i64 = 8 * 3600 + 20 * 60;

    /// The nth period of 15 minutes.
    fn nth(n: i64) -> i64 {
        BEGIN + n * 15
    }

    /// When the files of the nth period come.
    fn comes(n: i64) -> i64 {
        nth(n) * 60 + DELAY
    }

    /// Lets these periods come in time, with a look after each.
    fn lived(periods: impl IntoIterator<Item = i64>) -> (Rhythm, Vec<Gap>) {
        let mut rhythm = Rhythm::default();
        let mut gaps = Vec::new();
        for n in periods {
            for _file in 0..3 {
                rhythm.seen(nth(n), comes(n));
            }
            gaps.extend(rhythm.check(comes(n) + 60));
        }
        (rhythm, gaps)
    }

    /// interface 19.3
    #[test]
    fn a_quarter_of_an_hour_is_learnt_from_four_periods_with_several_files_each() {
        assert_eq!(lived(0..3).0.step(), None);
        let (rhythm, gaps) = lived(0..4);
        assert_eq!((rhythm.step(), rhythm.known()), (Some(15), 4));
        assert_eq!(gaps, []);
    }

    #[test]
    fn a_period_between_others_that_does_not_come_is_missed_once() {
        let (rhythm, gaps) = lived((0..10).chain(12..30));
        assert_eq!(gaps, [Gap { from: nth(10), to: nth(11) }]);
        assert_eq!(rhythm.missing().collect::<Vec<_>>(), [nth(10), nth(11)]);
        assert_eq!(rhythm.gaps(), gaps);
    }

    #[test]
    fn what_comes_late_is_missed_no_longer() {
        let (mut rhythm, _) = lived((0..10).chain(12..14));
        rhythm.seen(nth(10), comes(14));
        assert_eq!(rhythm.missing().collect::<Vec<_>>(), [nth(11)]);
        rhythm.seen(nth(11), comes(14));
        assert_eq!((rhythm.missing().count(), rhythm.check(comes(14))), (0, vec![]));
    }

    #[test]
    fn a_server_that_falls_silent_is_late_half_a_step_after_its_longest_delay() {
        let (mut rhythm, _) = lived(0..10);
        // another station's file of the same period, which makes no longer delay of it
        rhythm.seen(nth(9), comes(9) + 600);
        let mut look = |at: i64| (rhythm.check(at), rhythm.check(at + 1), rhythm.missing().count());
        let grace = 15 * 30;
        assert_eq!(look(comes(10) + grace - 2), (vec![], vec![], 0));
        let gap = Gap { from: nth(10), to: nth(10) };
        assert_eq!(look(comes(10) + grace), (vec![], vec![gap], 1));
        // the gap grows, and is not told of again
        assert_eq!(look(comes(13) + grace), (vec![], vec![], 4));
        assert_eq!(look(comes(1000)).2, MAX_PERIODS, "and has an end");
    }

    #[test]
    fn jitter_of_arrivals_and_of_stamps_is_borne() {
        let mut rhythm = Rhythm::default();
        for n in 0..40 {
            let jitter = [0, 2, -1, 3][usize::try_from(n % 4).unwrap()];
            rhythm.seen(nth(n) + jitter, comes(n) + jitter * 100);
            assert_eq!(rhythm.check(comes(n) + 400), []);
            assert_eq!(rhythm.missing().count(), 0, "after {n}");
        }
        assert!(rhythm.step().is_some_and(|step| (13..=17).contains(&step)));
        for n in [41, 42] {
            rhythm.seen(nth(n), comes(n));
            rhythm.check(comes(n) + 1);
        }
        assert_eq!(rhythm.missing().count(), 1);
    }

    #[test]
    fn what_was_missing_before_the_first_look_is_history() {
        let mut rhythm = Rhythm::default();
        // fetched all at once, in no order
        for n in [9, 0, 4, 1, 2, 8, 5, 6, 10] {
            rhythm.seen(nth(n), comes(11));
        }
        assert_eq!([rhythm.check(comes(11)), rhythm.check(comes(11) + 60)], [vec![], vec![]]);
        assert_eq!(rhythm.missing().count(), 0);
    }

    #[test]
    fn one_look_in_the_middle_of_things_misses_nothing() {
        let (mut rhythm, _) = lived(0..10);
        rhythm.seen(nth(12), comes(12));
        assert_eq!(rhythm.check(comes(12)), []);
        rhythm.seen(nth(11), comes(12));
        rhythm.seen(nth(10), comes(12));
        assert_eq!((rhythm.check(comes(12) + 1), rhythm.missing().count()), (vec![], 0));
    }

    #[test]
    fn files_without_a_rhythm_are_never_missed() {
        let mut rhythm = Rhythm::default();
        for minute in [0, 7, 50, 51, 90, 200, 230, 300, 310, 370] {
            rhythm.seen(BEGIN + minute, (BEGIN + minute) * 60);
            assert_eq!(rhythm.check((BEGIN + minute) * 60 + 10), []);
        }
        assert_eq!(
            (rhythm.step(), rhythm.check((BEGIN + 9000) * 60), rhythm.missing().count()),
            (None, vec![], 0)
        );
    }

    #[test]
    fn arrivals_that_follow_no_clock_are_never_overdue() {
        let mut rhythm = Rhythm::default();
        for n in 0..20 {
            rhythm.seen(nth(n), comes(30) + n);
            rhythm.check(comes(30) + n);
        }
        assert_eq!((rhythm.step(), rhythm.check(comes(90))), (Some(15), vec![]));
        assert_eq!((rhythm.check(comes(91)), rhythm.missing().count()), (vec![], 0));
    }

    #[test]
    fn a_stamp_from_another_century_misses_nothing_and_memory_stays_bounded() {
        let (mut rhythm, _) = lived(0..200);
        assert_eq!(rhythm.known(), MAX_PERIODS);
        rhythm.seen(nth(2_000_000), comes(200));
        rhythm.check(comes(200));
        assert_eq!((rhythm.check(comes(201)), rhythm.missing().count()), (vec![], 0));
    }
}
