//! When the servers began that are mirrored from the first start on (`since = "now"`), and what else the service remembers
//! from one start to the next.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::rows::get;
use super::statement::Statement;
use crate::base::names::ServerName;

const ALL: &str = "SELECT server, at FROM mrosync.beginnings";
const ONE: &str = "SELECT at FROM mrosync.beginnings WHERE server = $1";
const FORGET: &str = "DELETE FROM mrosync.beginnings WHERE server <> ALL($1)";
const BEGIN: &str =
    "INSERT INTO mrosync.beginnings (server, at) SELECT unnest($1), $2 ON CONFLICT DO NOTHING";

/// Reads when all servers began, in unix seconds.
pub(super) async fn all(client: &Client) -> Result<BTreeMap<String, i64>, Failure> {
    let rows = client.query_typed(ALL, &[]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Reads when the server began.
pub(super) async fn of(client: &Client, server: &ServerName) -> Result<Option<i64>, Failure> {
    let row = client.query_typed_opt(ONE, &[(&server.as_str(), Type::TEXT)]).await?;
    row.map(|row| get(&row, 0)).transpose()
}

/// What remembers that those of `servers` that are new begin at `now`, and forgets all others.
pub(super) fn keep<'a>(servers: &'a &'a [&'a str], now: &'a i64) -> [Statement<'a>; 2] {
    let names = (servers as _, Type::TEXT_ARRAY);
    let parameters = [names, (now as _, Type::INT8)];
    [Statement::new(FORGET, &parameters[..1]), Statement::new(BEGIN, &parameters)]
}

const REMEMBERED: &str = "SELECT value FROM mrosync.remembered WHERE key = $1";
pub(super) const REMEMBER: &str = "INSERT INTO mrosync.remembered (key, value) VALUES ($1, $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Reads what is remembered under `key`.
pub(super) async fn remembered(client: &Client, key: &str) -> Result<Option<String>, Failure> {
    let row = client.query_typed_opt(REMEMBERED, &[(&key, Type::TEXT)]).await?;
    row.map(|row| get(&row, 0)).transpose()
}
