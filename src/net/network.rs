//! What the connections of one service share.

use std::sync::Arc;

use super::rate::FleetRate;
use super::resolve::Resolver;

/// A host name that several ask for is looked up once, and all connections together keep to one limit of their
/// bandwidth. Cloned for each server.
#[derive(Debug, Clone, Default)]
pub struct Network {
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) fleet_rate: FleetRate,
}
