//! The versions of the schema, and the way from one to the next.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::link::Link;
use crate::records::error::OpenError;

/// What leads from each version to the next; the first from an empty database.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// A migration works on what is there, which may be much.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// `MROS`, as in the SQLite file: two processes that begin at once migrate one after the other.
const LOCK: &str = "BEGIN; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(1297239891)";
/// From the tables themselves: what to_regclass() says may be out of date where another has just made them.
const EXISTS: &str =
    "SELECT n.oid IS NOT NULL, bool_or(c.relname = 'meta') IS TRUE, bool_or(c.relname = 'records') IS TRUE,
        has_database_privilege(current_database(), 'CREATE')
    FROM (SELECT 'mrosync'::name AS name) own LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = own.name
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p') GROUP BY n.oid";
const VERSION: &str = "SELECT version, min_writer FROM mrosync.meta WHERE id = 1";
const SET_VERSION: &str = "UPDATE mrosync.meta SET version = $1 WHERE id = 1";

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No records yet; whether they may be made, in a schema that is there or is not.
    Nothing { may_be_made: bool, has_schema: bool },
    /// Tables that are not ours.
    Foreign,
    /// Records of this version, and the oldest that may write to them.
    Version { version: i64, min_writer: i64 },
}

/// The version that this release knows.
pub(super) fn known() -> i64 {
    MIGRATIONS.len().try_into().unwrap_or(i64::MAX)
}

/// Looks at what is there.
pub(super) async fn look(client: &Client) -> Result<Found, Failure> {
    let row = client.query_typed_one(EXISTS, &[]).await?;
    let [has_schema, has_meta, has_records, may_be_made]: [bool; 4] =
        [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
    match (has_meta, has_records) {
        (false, false) => Ok(Found::Nothing { may_be_made, has_schema }),
        (true, true) => {
            let row = client.query_typed_one(VERSION, &[]).await?;
            let (version, min_writer): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Found::Version { version: version.into(), min_writer: min_writer.into() })
        }
        _ => Ok(Found::Foreign),
    }
}

impl Found {
    /// Returns the version that is there, for whoever writes.
    fn for_writer(self, place: &Path) -> Result<i64, OpenError> {
        let file = place.to_owned();
        match self {
            Self::Nothing { may_be_made: false, has_schema: false } => {
                let detail = "the role may not make its schema: GRANT CREATE ON DATABASE … TO …, or CREATE SCHEMA \
                              mrosync AUTHORIZATION …";
                Err(OpenError::ReadOnly { file, detail: detail.to_owned() })
            }
            Self::Nothing { .. } => Ok(0),
            Self::Foreign => Err(OpenError::NotOurs { file }),
            // a later release says itself whether this one may still write
            Self::Version { version, min_writer } if min_writer > known() => {
                Err(OpenError::NewerVersion { file, found: version, known: known() })
            }
            Self::Version { version, .. } => Ok(version),
        }
    }

    /// Makes sure that a reader knows what is there.
    pub(super) fn for_reader(self, place: &Path) -> Result<(), OpenError> {
        let (file, known) = (place.to_owned(), known());
        match self {
            Self::Nothing { .. } => Err(OpenError::Missing { file }),
            Self::Foreign => Err(OpenError::NotOurs { file }),
            Self::Version { version: found, min_writer } if min_writer > known => {
                Err(OpenError::NewerVersion { file, found, known })
            }
            Self::Version { version: found, .. } if found < known => {
                Err(OpenError::OlderVersion { file, found, known })
            }
            Self::Version { .. } => Ok(()),
        }
    }
}

/// Looks, for a reader.
pub(super) fn examine(link: &Link) -> Result<Found, OpenError> {
    link.opening(LOOK_LIMIT, look)
}

/// Makes the tables, or brings them up to date.
pub(super) fn migrate(link: &Link) -> Result<(), OpenError> {
    let version = examine(link)?.for_writer(link.place())?;
    if version < known() {
        link.opening(MIGRATION_LIMIT, step)?;
    }
    Ok(())
}

/// All steps that are missing, in one transaction. Whoever had to wait finds them made.
async fn step(client: &Client) -> Result<(), Failure> {
    let made = async {
        client.batch_execute(LOCK).await?;
        let version = match look(client).await? {
            Found::Version { version, .. } => version,
            Found::Nothing { has_schema, .. } => {
                if !has_schema {
                    client.batch_execute("CREATE SCHEMA mrosync").await?;
                }
                0
            }
            Found::Foreign => return Err(Failure::other("its tables are those of another program")),
        };
        for sql in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
            client.batch_execute(sql).await?;
        }
        let known = i32::try_from(known()).unwrap_or(i32::MAX);
        if version < known.into() {
            client.query_typed(SET_VERSION, &[(&known, Type::INT4)]).await?;
        }
        Ok(client.batch_execute("COMMIT").await?)
    };
    let made: Result<(), Failure> = made.await;
    if made.is_err() {
        // where the connection is gone the database does so by itself
        drop(client.batch_execute("ROLLBACK").await);
    }
    made
}

/// Looks whether a service could open the records, and returns what was found in words.
pub(super) fn examine_for_check(link: &Link) -> Result<String, OpenError> {
    let found = examine(link)?;
    let version = found.for_writer(link.place())?;
    let (place, program) = link.reached().unwrap_or_default();
    let records = match found {
        Found::Nothing { .. } => "it holds no records yet; the service makes them".to_owned(),
        _ if version < known() => {
            format!("records of version {version}, which the service brings up to date")
        }
        _ => format!("records of version {version}"),
    };
    Ok(format!("opens: {place}, PostgreSQL {program}; {records}"))
}
