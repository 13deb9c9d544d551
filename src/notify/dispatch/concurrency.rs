//! How many calls are under way at a time where `notify.concurrency` is `"auto"`: more while files wait and the host
//! gets more done for it, fewer when it becomes slower or fails.

use std::time::Duration;

use crate::config::NotifyConcurrency;

/// With so many it begins.
const FIRST: usize = NotifyConcurrency::FIRST_BY_ITSELF;
/// Never more, whatever the host bears.
const MOST: usize = NotifyConcurrency::MOST_BY_ITSELF;
/// Answers to a judgement, for each call under way. As many before them are not looked at: they may be to calls of before
/// the last change.
const ROUNDS: usize = 2;
/// Judgements until more calls are tried again where they were of no use.
const REST: u32 = 64;
/// A mean answer so much slower than it was, in percent, is one to too many calls; less than the slack is no difference.
const SLOWER: u128 = 160;
const SLACK: Duration = Duration::from_millis(2);

/// See the module. Told of every call; pure.
#[derive(Debug)]
pub(super) struct Concurrency {
    now: usize,
    /// Answers that are not looked at any more.
    skipped: usize,
    /// Of those since: how many, their sum, and whether files waited for their turn all along.
    answers: usize,
    sum: Duration,
    waited: bool,
    /// The number of before and its mean answer, while a higher one is tried.
    before: Option<(usize, Duration)>,
    /// The mean answer when the number was settled.
    usual: Option<Duration>,
    /// Judgements until the next try.
    rest: u32,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            now: FIRST,
            skipped: 0,
            answers: 0,
            sum: Duration::ZERO,
            waited: true,
            before: None,
            usual: None,
            rest: 0,
        }
    }
}

impl Concurrency {
    /// Returns how many calls may be under way.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// A call was answered after `time`; `waits` tells whether further files wait for their turn.
    pub(super) fn answered(&mut self, time: Duration, waits: bool) {
        if self.skipped < self.now {
            self.skipped += 1;
            return;
        }
        self.answers += 1;
        self.sum += time;
        self.waited &= waits;
        if self.answers >= self.now * ROUNDS {
            self.judge(self.sum / u32::try_from(self.answers).unwrap_or(u32::MAX));
            self.begin_anew();
        }
    }

    fn judge(&mut self, mean: Duration) {
        if let Some((calls, faster)) = self.before.take() {
            if is_worth_it((calls, faster), (self.now, mean)) {
                self.usual = Some(mean);
            } else {
                (self.now, self.usual, self.rest) = (calls, Some(faster), REST);
                return;
            }
        }
        let usual = *self.usual.get_or_insert(mean);
        if mean.as_micros() > usual.as_micros() * SLOWER / 100 + SLACK.as_micros() {
            (self.now, self.usual, self.rest) = ((self.now * 3 / 4).max(FIRST), None, REST);
        } else if self.rest > 0 {
            self.rest -= 1;
        } else if self.waited && self.now < MOST {
            self.before = Some((self.now, mean));
            self.now = (self.now + (self.now / 4).max(2)).min(MOST);
        }
    }

    /// A call got no answer, or one that asks for fewer.
    pub(super) fn failed(&mut self) {
        (self.now, self.before, self.usual, self.rest) = ((self.now / 2).max(FIRST), None, None, REST);
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        (self.skipped, self.answers, self.sum, self.waited) = (0, 0, Duration::ZERO, true);
    }
}

/// Returns whether the second of two numbers of calls gets at least half of what it promises done in the same
/// time.
fn is_worth_it(few: (usize, Duration), many: (usize, Duration)) -> bool {
    let done = |(calls, mean): (usize, Duration)| calls as f64 / (mean + SLACK / 4).as_secs_f64();
    let promised = many.0 as f64 / few.0 as f64 - 1.0;
    done(many) >= done(few) * (1.0 + promised / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Answers of a host with so many workers, each of which takes `time` for a call; the numbers of calls on the way.
    fn run(concurrency: &mut Concurrency, workers: usize, time: Duration, answers: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        for _ in 0..answers {
            let calls = u32::try_from(concurrency.now()).unwrap();
            let workers = u32::try_from(workers).unwrap();
            concurrency.answered(time * calls.max(workers) / workers, true);
            seen.push(concurrency.now());
        }
        seen
    }

    #[test]
    fn a_host_that_answers_no_slower_gets_more_calls_up_to_32() {
        let mut concurrency = Concurrency::default();
        let seen = run(&mut concurrency, 1000, 20 * MS, 1000);
        assert_eq!((seen[0], *seen.last().unwrap()), (4, 32));
        assert!(seen.is_sorted());
    }

    #[test]
    fn a_host_with_five_workers_is_not_overrun() {
        let mut concurrency = Concurrency::default();
        let seen = run(&mut concurrency, 5, 20 * MS, 20_000);
        assert!(seen.iter().all(|calls| *calls <= 8), "{:?}", seen.iter().max());
    }

    #[test]
    fn without_files_that_wait_there_is_no_reason_for_more() {
        let mut concurrency = Concurrency::default();
        for n in 0..1000 {
            concurrency.answered(20 * MS, n % 3 != 0);
        }
        assert_eq!(concurrency.now(), 4);
    }

    /// interface 13.8
    #[test]
    fn a_host_that_becomes_slower_or_fails_gets_fewer_and_never_less_than_four() {
        let mut concurrency = Concurrency::default();
        run(&mut concurrency, 1000, 20 * MS, 1000);
        let seen = run(&mut concurrency, 1000, 200 * MS, 300);
        assert_eq!(seen.last(), Some(&24), "once slower, and that is how it is then");
        run(&mut concurrency, 1000, 20 * MS, 50_000);
        concurrency.failed();
        assert_eq!(concurrency.now(), 16);
        (0..10).for_each(|_| concurrency.failed());
        assert_eq!(concurrency.now(), 4);
    }
}
