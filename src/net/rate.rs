//! The bandwidth limit of a server, shared by its connections, and that of all servers together.
//!
//! Each piece that was read is paid for with a pause, during which nothing more is read; TCP holds the server back
//! then. Pieces are small and paid for in the order in which they came, so that every connection gets its share. The
//! pauses are ours: they count neither against `timeout` nor as slowness of the server.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::config::NetworkSettings;

/// So many pieces come in a second at full rate: small enough to be smooth.
const PIECES: u64 = 20;
/// Smaller pieces would cost more than they smooth.
const SMALLEST_PIECE: usize = 512;
/// What is asked for before it is paid for: a fraction of a second, and so of the rate. Servers further away than that
/// bring less for each connection.
const AHEAD: u64 = 4;
/// Never fewer pieces than these are asked for: one that comes, and one that is on its way meanwhile.
const LEAST_AHEAD: usize = 2;
/// What was not used for so long is made up for; more would be a burst.
const CREDIT: Duration = Duration::from_millis(200);

/// When the next piece may come.
#[derive(Debug, Default)]
struct Bucket {
    free_at: Option<Instant>,
}

impl Bucket {
    /// Takes `bytes` out, and answers when they are paid for.
    fn take(&mut self, bytes: usize, rate: u64, now: Instant) -> Instant {
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let from = self.free_at.map_or(now, |free_at| free_at.max(earliest));
        let paid = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.free_at = Some(paid);
        paid
    }
}

/// When the next piece of any server may come, whatever the rate is. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct FleetRate(Arc<Mutex<Bucket>>);

/// The limits that hold for one server. Cloned into each of its transfers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limit {
    own: Option<u64>,
    fleet: Option<u64>,
    bucket: Rc<RefCell<Bucket>>,
    fleet_rate: FleetRate,
}

impl Limit {
    pub(crate) fn new(settings: &NetworkSettings, fleet_rate: FleetRate) -> Self {
        Self { own: settings.max_rate, fleet: settings.fleet_max_rate, bucket: Rc::default(), fleet_rate }
    }

    /// Returns how much is read at a time, where it would be `usual` without a limit.
    pub(crate) fn piece(&self, usual: usize) -> usize {
        let Some(rate) = self.narrower() else { return usual };
        let piece = usize::try_from(rate / PIECES).unwrap_or(usual);
        piece.clamp(SMALLEST_PIECE.min(usual), usual)
    }

    /// Returns how many pieces of `bytes` are asked for at a time, where they would be `usual` without a
    /// limit.
    pub(crate) fn ahead(&self, bytes: usize, usual: usize) -> usize {
        let Some(rate) = self.narrower() else { return usual };
        let pieces = usize::try_from(rate / AHEAD).unwrap_or(usize::MAX) / bytes.max(1);
        pieces.clamp(LEAST_AHEAD.min(usual), usual)
    }

    fn narrower(&self) -> Option<u64> {
        self.own.into_iter().chain(self.fleet).min()
    }

    /// The same as [`Self::pay`] for what came in one go, however much: piece by piece, so that others get their share
    /// in between.
    pub(crate) async fn pay_in_pieces(&self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let piece = self.piece(left);
            self.pay(piece).await;
            left -= piece;
        }
    }

    /// Pauses until `bytes`, which were read, are paid for. Nothing is owed any more when cancelled.
    pub(crate) async fn pay(&self, bytes: usize) {
        let now = Instant::now();
        let own = self.own.map(|rate| self.bucket.borrow_mut().take(bytes, rate, now));
        let fleet = self.fleet.map(|rate| self.fleet_rate.0.lock().take(bytes, rate, now));
        if let Some(paid) = own.max(fleet) {
            sleep_until(paid).await;
            crate::base::watchdog::beat();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(own: Option<u64>, fleet: Option<u64>) -> Limit {
        Limit::new(
            &NetworkSettings { max_rate: own, fleet_max_rate: fleet, ..NetworkSettings::default() },
            FleetRate::default(),
        )
    }

    /// The time in which each of `connections` gets `bytes` through, in pieces, and when each was done.
    async fn times(limit: &Limit, connections: usize, bytes: usize) -> Vec<f64> {
        let began = Instant::now();
        let all = (0..connections).map(|_| async move {
            let mut left = bytes;
            while left > 0 {
                let piece = limit.piece(256 * 1024).min(left);
                left -= piece;
                limit.pay(piece).await;
            }
            began.elapsed().as_secs_f64()
        });
        futures_util::future::join_all(all).await
    }

    /// interface 6.10
    #[tokio::test(start_paused = true)]
    async fn connections_share_the_rate_and_get_the_same_of_it() {
        let times = times(&limit(Some(100_000), None), 4, 250_000).await;
        for time in &times {
            assert!((9.7..10.1).contains(time), "{times:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_made_up_for_only_for_a_moment() {
        let limit = limit(Some(100_000), None);
        limit.pay(100_000).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let times = times(&limit, 1, 100_000).await;
        assert!((0.75..0.85).contains(&times[0]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_narrower_of_two_limits_holds() {
        let times = times(&limit(Some(1_000_000), Some(50_000)), 1, 100_000).await;
        assert!((1.9..2.1).contains(&times[0]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_smaller_or_waits() {
        let none = limit(None, None);
        assert_eq!(none.piece(256 * 1024), 256 * 1024);
        assert_eq!(times(&none, 4, 1 << 30).await, [0.0; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_in_one_go_is_paid_for_so_that_others_come_in_between() {
        let (limit, began) = (limit(Some(100_000), None), Instant::now());
        let large = async {
            limit.pay_in_pieces(100_000).await;
            began.elapsed().as_secs_f64()
        };
        let small = async {
            limit.pay_in_pieces(10_000).await;
            began.elapsed().as_secs_f64()
        };
        let (large, small) = tokio::join!(large, small);
        assert!((1.09..1.12).contains(&large) && small < 0.25, "{large} {small}");
    }

    #[test]
    fn no_more_is_asked_for_than_a_quarter_of_a_second_brings() {
        let ahead = |rate: u64| {
            let limit = limit(Some(rate), None);
            limit.ahead(limit.piece(32 * 1024), 64)
        };
        assert_eq!([ahead(1024), ahead(100_000), ahead(2 << 20), ahead(1 << 40)], [2, 5, 16, 64]);
        assert_eq!(limit(None, None).ahead(32 * 1024, 64), 64);
        assert_eq!(limit(Some(1024), None).ahead(512, 1), 1);
    }

    #[test]
    fn pieces_are_a_twentieth_of_a_second_within_reason() {
        let piece = |rate| limit(Some(rate), None).piece(32 * 1024);
        assert_eq!([piece(1024), piece(100_000), piece(1 << 40)], [512, 5_000, 32 * 1024]);
    }
}
