//! The call for each downloaded file: which URL ([`url`]), one call ([`deliver`]), and the outbox that is worked
//! off until every file is announced or evicted ([`announce`]).

pub mod announce;
pub mod deliver;
pub mod url;
