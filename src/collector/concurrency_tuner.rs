//! The number of connections that is fastest for one server, found by trying while there is more work than
//! connections.
//!
//! It begins with all of them, because a cold start is where speed counts, and is slow to believe otherwise: the rate
//! of work is taken in epochs, the present number and a rival take turns for some of them, and the rival wins only
//! where each pair of neighbours says so. Fewer connections win where more do not help (a server that serialises,
//! thrashes its disk or throttles an address); more win only where they clearly do. Each trial that changes nothing
//! doubles the time until the next, so that trials cost next to nothing in the long run, and what was found is
//! forgotten after an hour.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for hundreds of small files; a burst of another program's work does not fill several of them.
const EPOCH: Duration = Duration::from_secs(5);
/// Full epochs on end, with more work than connections, before the first trial: short scans are never disturbed.
const FIRST_WAIT: u32 = 6;
/// The same at most, after trials that changed nothing: an hour of work.
const LONGEST_WAIT: u32 = 720;
/// Epochs of a trial: present, rival, present, rival, present, rival, present.
const TRIAL: usize = 7;
/// So long a finding is believed: servers change, and whoever shares them.
const BELIEVED: Duration = Duration::from_hours(1);
/// The present number has to be measured this evenly, the slowest epoch against the fastest; else nothing is told.
const EVEN: f64 = 0.8;
/// Fewer connections take over where no pair is slower than the first and all together not slower than the second.
const FEWER: (f64, f64) = (0.95, 0.99);
/// More connections take over where no pair is slower than the first and all together not slower than the second.
/// Higher than the reciprocal of [`FEWER`], or the number would swing.
const MORE: (f64, f64) = (1.02, 1.05);

/// What was done until now, and by how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Now.
    pub(super) at: Instant,
    /// Work done so far, in any unit that stays the same.
    pub(super) work: u64,
    /// Connections at work.
    pub(super) lanes: usize,
    /// More work waits than they can do at a time.
    pub(super) busy: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fastest {
    /// What was found, and when; `None` is as many as possible.
    found: Option<(usize, Instant)>,
    epoch: Option<(Instant, u64)>,
    /// Full epochs on end since the last trial.
    calm: u32,
    /// Full epochs before the next trial.
    wait: u32,
    trial: Option<Trial>,
    /// Whether the next rival is smaller.
    downwards: bool,
}

#[derive(Debug)]
struct Trial {
    rival: usize,
    /// Work per second, epoch by epoch.
    rates: Vec<f64>,
}

impl Default for Fastest {
    fn default() -> Self {
        Self { found: None, epoch: None, calm: 0, wait: FIRST_WAIT, trial: None, downwards: true }
    }
}

impl Fastest {
    /// How many connections to use at `now`, of at most `most`.
    pub(super) fn number(&self, now: Instant, most: usize) -> usize {
        match &self.trial {
            Some(trial) if trial.rivals_turn() => trial.rival.clamp(1, most),
            _ => self.present(now, most),
        }
    }

    fn present(&self, now: Instant, most: usize) -> usize {
        let found = self.found.filter(|(_, at)| now.saturating_duration_since(*at) < BELIEVED);
        found.map_or(most, |(number, _)| number.clamp(1, most))
    }

    /// Takes a sample; at the end of an epoch, [`Self::number`] may change.
    pub(super) fn observe(&mut self, sample: Sample, most: usize) {
        let Sample { at, work, lanes, busy } = sample;
        if !busy {
            // what is measured without enough work tells nothing
            (self.epoch, self.trial, self.calm) = (None, None, 0);
            return;
        }
        if lanes != self.number(at, most) {
            // still changing over
            self.epoch = None;
            return;
        }
        let Some((began, before)) = self.epoch else {
            self.epoch = Some((at, work));
            return;
        };
        let took = at.saturating_duration_since(began);
        if took >= EPOCH {
            self.epoch = Some((at, work));
            self.epoch_ended(work.saturating_sub(before) as f64 / took.as_secs_f64(), at, most);
        }
    }

    fn epoch_ended(&mut self, rate: f64, now: Instant, most: usize) {
        let present = self.present(now, most);
        let Some(trial) = &mut self.trial else {
            self.calm += 1;
            if self.calm >= self.wait {
                self.trial = self.rival(present, most).map(|rival| Trial { rival, rates: vec![rate] });
            }
            return;
        };
        trial.rates.push(rate);
        let fewer = trial.rival < present;
        if trial.wins(if fewer { FEWER } else { MORE }) {
            if trial.rates.len() < TRIAL {
                return;
            }
            self.found = Some((trial.rival, now));
            self.wait = FIRST_WAIT;
        } else {
            self.found = self.found.map(|_| (present, now));
            self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT);
            self.downwards = !fewer;
        }
        (self.trial, self.calm) = (None, 0);
    }

    /// Whom to try next: a quarter fewer or more, one at least, the other way where there is no room this way.
    fn rival(&self, present: usize, most: usize) -> Option<usize> {
        let step = (present / 4).max(1);
        let fewer = present.checked_sub(step).filter(|rival| *rival >= 1);
        let more = Some((present + step).min(most)).filter(|rival| *rival > present);
        if self.downwards { fewer.or(more) } else { more.or(fewer) }
    }
}

impl Trial {
    fn rivals_turn(&self) -> bool {
        self.rates.len() % 2 == 1
    }

    /// Whether all that is measured so far speaks for the rival.
    fn wins(&self, (each, together): (f64, f64)) -> bool {
        let present = self.rates.iter().step_by(2);
        let (slowest, fastest) =
            present.fold((f64::INFINITY, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        let ratios: Vec<f64> = self.rates.windows(3).step_by(2).filter_map(ratio).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
        slowest >= EVEN * fastest
            && ratios.iter().all(|ratio| *ratio >= each)
            && (ratios.is_empty() || mean >= together)
    }
}

/// The rival's rate against that of its neighbours.
fn ratio(around: &[f64]) -> Option<f64> {
    let [before, rival, after] = around else { return None };
    Some(2.0 * rival / (before + after).max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives `fastest` against a server whose rate depends on the number of connections. Answers the numbers used,
    /// second by second, and the work done.
    fn drive(
        fastest: &mut Fastest,
        most: usize,
        seconds: u64,
        mut rate: impl FnMut(usize, u64) -> f64,
    ) -> (Vec<usize>, f64) {
        let start = Instant::now();
        let mut used = Vec::new();
        let mut work = 0.0;
        for second in 0..seconds {
            let at = start + Duration::from_secs(second);
            let lanes = fastest.number(at, most);
            fastest.observe(Sample { at, work: work as u64, lanes, busy: true }, most);
            // the change-over shows at the next look
            let lanes = fastest.number(at, most);
            used.push(lanes);
            work += rate(lanes, second);
        }
        (used, work)
    }

    #[test]
    fn short_work_is_done_with_all_connections() {
        let (used, _) = drive(&mut Fastest::default(), 4, 30, |_, _| 1000.0);
        assert!(used.iter().all(|lanes| *lanes == 4), "{used:?}");
    }

    #[test]
    fn where_more_connections_do_not_help_it_settles_on_few() {
        let (used, _) = drive(&mut Fastest::default(), 4, 900, |_, _| 1000.0);
        assert_eq!(used[600..].iter().filter(|lanes| **lanes > 2).count(), 0, "{used:?}");
        let (used, _) = drive(&mut Fastest::default(), 4, 900, |lanes, _| 4000.0 / (lanes + 1) as f64);
        assert_eq!(used[600..].iter().filter(|lanes| **lanes > 2).count(), 0, "{used:?}");
    }

    #[test]
    fn where_each_connection_helps_it_stays_with_all_and_trials_cost_little() {
        let rate = |lanes: usize, _| 250.0 * lanes as f64;
        let (used, work) = drive(&mut Fastest::default(), 4, 3600, rate);
        assert!(work > 0.99 * 3600.0 * 1000.0, "{work}");
        let changes = used.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 16, "{changes} changes in an hour");
    }

    #[test]
    fn noise_is_no_reason_to_change() {
        // the same every time: ±15 % from second to second, and now and then a second of nothing
        let mut seed = 1_u64;
        let mut noise = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / (1_u64 << 31) as f64
        };
        let rate = |lanes: usize, second: u64| {
            let full = 250.0 * lanes as f64 * (0.85 + 0.3 * noise());
            if second.is_multiple_of(37) { 0.0 } else { full }
        };
        let (used, _) = drive(&mut Fastest::default(), 4, 3600, rate);
        assert!(used.iter().filter(|lanes| **lanes < 4).count() < 120, "{used:?}");
    }

    /// Whether a rival wins in a trial of these rates, of the present number and of the rival in turn.
    fn fewer_win(rates: [f64; TRIAL]) -> bool {
        Trial { rival: 3, rates: rates.to_vec() }.wins(FEWER)
    }

    #[test]
    fn a_rival_wins_only_where_the_present_number_is_even_and_every_pair_says_so() {
        assert!(fewer_win([100.0; TRIAL]));
        assert!(!fewer_win([100.0, 98.0, 100.0, 98.0, 100.0, 98.0, 100.0]), "a little slower all the time");
        assert!(!fewer_win([100.0, 200.0, 100.0, 90.0, 100.0, 200.0, 100.0]), "slower once");
        assert!(!fewer_win([100.0, 200.0, 79.0, 200.0, 100.0, 200.0, 100.0]), "uneven");
    }

    #[test]
    fn one_good_epoch_of_the_rival_is_not_enough() {
        // fewer are as good in the first epoch of each trial, and worse in the others
        let rate = |lanes: usize, second: u64| {
            if lanes == 4 || (second / 5).is_multiple_of(6) { 1000.0 } else { 700.0 }
        };
        let (used, _) = drive(&mut Fastest::default(), 4, 90, rate);
        assert!(used[30..].contains(&3), "there was a trial: {used:?}");
        assert_eq!(used[60..].iter().filter(|lanes| **lanes < 4).count(), 0, "{used:?}");
    }

    #[test]
    fn a_number_found_is_left_when_the_server_changes_and_forgotten_after_an_hour() {
        let mut fastest = Fastest::default();
        drive(&mut fastest, 4, 300, |_, _| 1000.0);
        let start = Instant::now();
        assert!(fastest.present(start, 4) < 4);
        assert_eq!(fastest.present(start + BELIEVED + Duration::from_secs(300), 4), 4);
        let (used, _) = drive(&mut fastest, 4, 1200, |lanes, _| 250.0 * lanes as f64);
        assert_eq!(used.last(), Some(&4), "{used:?}");
    }

    #[test]
    fn without_enough_work_nothing_is_measured() {
        let mut fastest = Fastest::default();
        let start = Instant::now();
        for second in 0..3600 {
            let sample = Sample {
                at: start + Duration::from_secs(second),
                work: second,
                lanes: 4,
                busy: second % 20 != 0,
            };
            fastest.observe(sample, 4);
            assert_eq!(fastest.number(sample.at, 4), 4);
        }
    }

    #[test]
    fn what_is_found_never_exceeds_what_is_granted() {
        let mut fastest = Fastest::default();
        drive(&mut fastest, 8, 120, |_, _| 1000.0);
        assert!((1..=2).contains(&fastest.number(Instant::now(), 2)));
        assert_eq!(fastest.number(Instant::now(), 1), 1);
    }
}
