//! The call for each downloaded file: which URL ([`url`]), one call ([`deliver`]), whose fault failures are
//! ([`health`]), how many calls the host bears (`concurrency`), and the outbox that is worked off until every file is announced or evicted ([`announce`]).

pub mod announce;
mod concurrency;
pub mod deliver;
mod desk;
mod head;
pub mod health;
mod line;
pub mod news;
pub mod url;
