//! The call for each downloaded file: the outbox ([`outbox`]) is worked off ([`dispatch`]) until a receiver ([`sink`])
//! has taken every file or it is evicted. `http` is the receiver that there is.

#[cfg(test)]
mod conformance;
pub mod dispatch;
mod http;
pub mod outbox;
pub mod outbox_state;
pub mod sink;

use std::rc::Rc;

use crate::config::NotifySettings;
use sink::Sink;

/// Opens the sink that the settings ask for. A new kind of receiver is a folder beside `http` and a line here.
#[must_use]
pub fn open(settings: &NotifySettings) -> Rc<dyn Sink> {
    Rc::new(http::HttpSink::new(settings))
}
