//! What the program needs of whoever is told of each file, and all that it knows of it.

use std::fmt;

pub use crate::base::facts::Notice;

/// How a call ended: the receiver took the notice, or why it did not.
pub type CallResult = Result<(), CallFailure>;

/// Why a call was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// What it is evidence of.
    pub fault: Fault,
    /// What came back, in words and without secrets. [`Sink::describe`] says what was called.
    pub reason: String,
}

/// What a failed call is evidence of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The receiver was not reached or gave no answer: it tells of the receiver, whatever file was called for.
    Unanswered,
    /// An answer, and not that the notice was taken: it may be for this file alone.
    Refused,
    /// The same, and the receiver asks for fewer calls.
    Overloaded,
}

impl Fault {
    /// Returns whether the receiver answered.
    #[must_use]
    pub fn is_answer(self) -> bool {
        self != Self::Unanswered
    }

    /// Returns whether fewer calls at a time may help.
    #[must_use]
    pub fn is_too_much(self) -> bool {
        self != Self::Refused
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// A receiver of notices. The suite in `conformance` holds each implementation to what is written here; which of them
/// the settings ask for, [`super::open`] says.
///
/// A sink lives on one thread, of a runtime of actix-rt, and never blocks it. It keeps nothing between two calls but what
/// makes calls cheaper, such as connections: when to call again, and how many calls are made at a time, is for the
/// dispatcher. Dropping a sink ends all that it still does.
#[async_trait::async_trait(?Send)]
pub trait Sink {
    /// Returns what a call calls, for log lines: one line, without secrets.
    fn describe(&self) -> &str;

    /// Tells the receiver of one file.
    ///
    /// - **Before:** the file lies in the mirror under its final name, and its record is durable.
    /// - **`Ok`:** the receiver has said that it took the notice. That is put on record next, and nothing else: whoever
    ///   implements a sink has nothing to write down.
    /// - **Errors:** [`CallFailure`]. The receiver may have got the notice all the same. It is called again later, also
    ///   by another process.
    /// - **Repetition:** the same notice may come again after a failure, after the call was cancelled, and after a crash
    ///   between `Ok` and its record; each time it is passed on, with the same [`Notice::file`]. Within one call a
    ///   sink repeats nothing, unless it knows that the receiver got nothing of it as far as can be told.
    /// - **Cancellation:** a call that is dropped may or may not have reached the receiver. Nothing of it is left: it has
    ///   no connection, process or task any more, and later calls do not suffer by it.
    /// - **Limits:** a call ends by itself within the timeout of the settings, and a little more where it waits for what
    ///   tells more of an answer.
    /// - **At the same time:** any number of calls may be under way, and none waits for another.
    async fn deliver(&self, notice: &Notice) -> CallResult;

    /// Looks whether the receiver is there, without telling it of anything, and returns that in words.
    ///
    /// # Errors
    ///
    /// Why it cannot be reached, in words and without secrets.
    async fn probe(&self) -> anyhow::Result<String>;
}
