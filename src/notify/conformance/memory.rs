//! A receiver and its sink in one, without sockets: it keeps what it was told, and takes as long as it is told to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{Receiver, Treatment};
use crate::notify::sink::{CallFailure, CallResult, Fault, Notice, Sink};

/// Which call is treated how.
type Rule = dyn Fn(&Notice) -> Treatment;

/// See the module. Clones are of the same receiver.
#[derive(Clone)]
pub(in crate::notify) struct MemorySink {
    receiver: Rc<State>,
    limit: Duration,
}

struct State {
    rule: RefCell<Box<Rule>>,
    changed: Notify,
    /// From call to answer.
    takes: Cell<Duration>,
    is_gone: Cell<bool>,
    calls: RefCell<Vec<(Instant, Notice)>>,
    taken: RefCell<Vec<Notice>>,
    under_way: Cell<usize>,
    most_at_once: Cell<usize>,
}

impl Default for MemorySink {
    fn default() -> Self {
        let receiver = State {
            rule: RefCell::new(Box::new(|_| Treatment::Takes)),
            changed: Notify::new(),
            takes: Cell::default(),
            is_gone: Cell::default(),
            calls: RefCell::default(),
            taken: RefCell::default(),
            under_way: Cell::default(),
            most_at_once: Cell::default(),
        };
        Self { receiver: Rc::new(receiver), limit: Duration::from_secs(10) }
    }
}

impl MemorySink {
    /// Treats each call by this rule from now on, those that hang included.
    pub(in crate::notify) fn treat_each(&self, rule: impl Fn(&Notice) -> Treatment + 'static) {
        *self.receiver.rule.borrow_mut() = Box::new(rule);
        self.receiver.changed.notify_waiters();
    }

    /// Takes so long for an answer from now on.
    pub(in crate::notify) fn takes(&self, time: Duration) {
        self.receiver.takes.set(time);
    }

    /// Returns the calls so far, as they began.
    pub(in crate::notify) fn calls(&self) -> Vec<(Instant, Notice)> {
        self.receiver.calls.borrow().clone()
    }

    /// Returns the records of the notices that were taken, in this order.
    pub(in crate::notify) fn taken_ids(&self) -> Vec<i64> {
        self.receiver.taken.borrow().iter().map(|notice| notice.id).collect()
    }

    /// Returns how many calls are under way, and how many were at most.
    pub(in crate::notify) fn at_once(&self) -> (usize, usize) {
        (self.receiver.under_way.get(), self.receiver.most_at_once.get())
    }

    /// Answers once it does not hang.
    async fn answer(&self, notice: &Notice) -> CallResult {
        let State { rule, changed, takes, taken, .. } = &*self.receiver;
        let failure = |fault, reason: &str| Err(CallFailure { fault, reason: reason.to_owned() });
        sleep(takes.get()).await;
        loop {
            let next = changed.notified();
            let treatment = rule.borrow()(notice);
            match treatment {
                Treatment::Takes => {
                    taken.borrow_mut().push(notice.clone());
                    return Ok(());
                }
                Treatment::Refuses => return failure(Fault::Refused, "unwanted"),
                Treatment::IsOverloaded => return failure(Fault::Overloaded, "too much"),
                Treatment::Dies => return failure(Fault::Unanswered, "no answer"),
                Treatment::Hangs => next.await,
            }
        }
    }
}

/// Counts a call while it lives.
struct UnderWay<'a>(&'a Cell<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for MemorySink {
    fn describe(&self) -> &str {
        "memory"
    }

    async fn deliver(&self, notice: &Notice) -> CallResult {
        let State { is_gone, calls, under_way, most_at_once, .. } = &*self.receiver;
        if is_gone.get() {
            return Err(CallFailure { fault: Fault::Unanswered, reason: "gone".to_owned() });
        }
        calls.borrow_mut().push((Instant::now(), notice.clone()));
        under_way.set(under_way.get() + 1);
        let _counted = UnderWay(under_way);
        most_at_once.set(most_at_once.get().max(under_way.get()));
        match timeout(self.limit, self.answer(notice)).await {
            Ok(result) => result,
            Err(_) => Err(CallFailure { fault: Fault::Unanswered, reason: "no answer in time".to_owned() }),
        }
    }

    async fn probe(&self) -> anyhow::Result<String> {
        anyhow::ensure!(!self.receiver.is_gone.get(), "gone");
        Ok("memory is there".to_owned())
    }
}

impl Receiver for MemorySink {
    fn sink(&self, limit: Duration) -> Rc<dyn Sink> {
        Rc::new(Self { limit, ..self.clone() })
    }

    fn treat(&self, treatment: Treatment) {
        self.treat_each(move |_| treatment);
    }

    fn taken(&self) -> Vec<String> {
        self.receiver.taken.borrow().iter().map(Notice::file).collect()
    }

    fn under_way(&self) -> usize {
        self.at_once().0
    }

    fn vanish(&self) {
        self.receiver.is_gone.set(true);
    }
}

suite!(in_memory, crate::notify::conformance::memory::MemorySink::default());
