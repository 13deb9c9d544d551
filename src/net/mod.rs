//! The network below every protocol: host names, the way to a server, trust in TLS, speed. Nothing here knows what is
//! spoken on a connection.
//!
//! - `resolve`: host names to addresses, with a deadline
//! - [`route`]: straight to the server, or through a SOCKS5 proxy
//! - [`socket`]: a connection with TLS or without; [`tls`]: whom to trust
//! - [`error`] and `deadline`: what goes wrong on the way, and how long a server may be silent
//! - `pace` and `rate`: the lowest useful speed, and the highest one that is allowed
//! - [`network`]: what all connections of a service share

pub(crate) mod deadline;
pub mod error;
pub mod network;
pub(crate) mod pace;
pub(crate) mod rate;
pub(crate) mod resolve;
pub mod route;
pub mod socket;
pub mod tls;
