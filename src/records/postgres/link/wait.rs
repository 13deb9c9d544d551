//! Waits for futures on a thread that may block, and which may belong to a runtime already.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use futures_util::future::{MaybeDone, maybe_done};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns what `future` comes to, or none where that takes until after the deadline. What it waits for must go on
/// elsewhere: nothing else runs on this thread.
pub(super) fn wait_until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Begins all of `futures` in their order, before it waits for the first. So requests leave in one go, and in this order.
pub(in crate::records::postgres) async fn all_in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.into_iter().map(|future| Box::pin(maybe_done(future))).collect();
    std::future::poll_fn(|context| {
        let is_ready = all.iter_mut().fold(true, |ready, future| {
            let future: &mut std::pin::Pin<Box<MaybeDone<F>>> = future;
            future.as_mut().poll(context).is_ready() && ready
        });
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.iter_mut().filter_map(|future| future.as_mut().take_output()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_never_comes_is_waited_for_until_the_deadline_alone() {
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(wait_until(deadline, std::future::pending::<()>()), None);
        assert!(Instant::now() >= deadline);
        assert_eq!(wait_until(deadline, std::future::ready(7)), Some(7), "what is there is taken");
    }

    #[test]
    fn all_begin_before_the_first_ends() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waits: std::pin::Pin<Box<dyn Future<Output = i32>>> = Box::pin(async { receiver.await.unwrap() });
        let tells: std::pin::Pin<Box<dyn Future<Output = i32>>> =
            Box::pin(async { sender.send(1).map_or(0, |()| 2) });
        let soon = Instant::now() + Duration::from_secs(20);
        assert_eq!(wait_until(soon, all_in_order(vec![waits, tells])), Some(vec![1, 2]));
    }
}
