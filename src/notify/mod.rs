//! The call for each downloaded file: the outbox that is worked off until every file is announced or evicted
//! ([`dispatch`]), what others tell of it meanwhile ([`outbox_state`]), and the calls themselves ([`http`]).

pub mod dispatch;
pub mod http;
pub mod outbox_state;
