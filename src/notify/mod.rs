//! The call for each downloaded file: which URL ([`url`]), one call ([`deliver`]), whose fault failures are
//! ([`health`]), how many calls the host bears (`concurrency`), which is next (`call_queue`), and the outbox that is worked
//! off until every file is announced or evicted ([`announce`]).

pub mod announce;
mod call_queue;
mod concurrency;
pub mod deliver;
mod head;
pub mod health;
mod line;
pub mod outbox_state;
pub mod url;
