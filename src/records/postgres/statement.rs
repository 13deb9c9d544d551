//! Statements, sent so that one round trip is enough for all of them.
//!
//! Each is unnamed and comes with the types of its parameters, and no state of the session is used: a pooler may hand
//! every transaction to another session.

use std::pin::Pin;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::link::wait::all_in_order;

/// A parameter and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A statement and what it is asked with.
pub(super) struct Statement<'a> {
    pub(super) sql: &'a str,
    pub(super) parameters: Vec<Parameter<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: &'a str, parameters: &[Parameter<'a>]) -> Self {
        Self { sql, parameters: parameters.to_vec() }
    }

    /// Sends it, and returns its rows. A transaction of its own.
    pub(super) async fn ask(&self, client: &Client) -> Result<Vec<Row>, Error> {
        client.query_typed(self.sql, &self.parameters).await
    }
}

/// Time limits of the database itself, so that nothing of a lost client goes on there. Set for the transaction alone.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '8s'; SET LOCAL lock_timeout = '5s';
    SET LOCAL idle_in_transaction_session_timeout = '15s'";
const FENCE: &str = "SELECT mrosync.fence($1::uuid)";

/// One of the requests of a transaction.
type Step<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + 'a>>;

/// Sends all statements in one transaction that `life` may write, and returns the rows of each. One round trip.
pub(super) async fn transact(
    client: &Client,
    life: &str,
    statements: &[Statement<'_>],
) -> Result<Vec<Vec<Row>>, Error> {
    let fence_of: &(dyn ToSql + Sync) = &life;
    let fence = Statement::new(FENCE, &[(fence_of, Type::TEXT)]);
    let fence = &fence;
    let mut steps: Vec<Step<'_>> = Vec::new();
    steps.push(Box::pin(async { client.batch_execute(BEGIN).await.map(|()| Vec::new()) }));
    steps.push(Box::pin(fence.ask(client)));
    for statement in statements {
        steps.push(Box::pin(statement.ask(client)));
    }
    // after a failure it ends the transaction without it
    steps.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| Vec::new()) }));
    // the first failure is the reason; the others say that the transaction had failed
    let mut rows: Vec<_> = all_in_order(steps).await.into_iter().collect::<Result<_, _>>()?;
    rows.pop();
    Ok(rows.into_iter().skip(2).collect())
}

/// Sends all of them, each a transaction of its own, and returns the rows of each. One round trip.
pub(super) async fn ask_all(client: &Client, statements: &[Statement<'_>]) -> Result<Vec<Vec<Row>>, Error> {
    all_in_order(statements.iter().map(|statement| statement.ask(client)).collect())
        .await
        .into_iter()
        .collect()
}
