//! Reads the records beside a running service, a page with each statement.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::error::Failure;
use super::link::Link;
use super::rows::{get, modified, remote_path, server_name, unsigned};
use super::{begin, present, schema};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::config::PostgresSettings;
use crate::records::error::OpenError;
use crate::records::filter::Filter;
use crate::records::reader::{Page, ReadError, RecordReader};
use crate::records::types::{RecordRow, RecordedMirror};

/// Rows in one statement, and in memory.
const PAGE: i64 = 1000;

macro_rules! rows_of {
    ($chosen:literal, $order:literal) => {
        concat!(
            "WITH chosen AS MATERIALIZED (SELECT * FROM mrosync.records ",
            $chosen,
            ") SELECT r.id, s.name, d.wire, d.text, r.name, r.text, r.size, r.modified, r.source, r.downloaded_at,
                CASE WHEN r.evicted_at IS NULL THEN f.notified_at ELSE r.notified_at END, r.evicted_at
            FROM chosen r
            CROSS JOIN LATERAL (SELECT * FROM mrosync.directories d WHERE d.id = r.directory LIMIT 1) d
            JOIN mrosync.servers s ON s.id = d.server
            LEFT JOIN LATERAL (SELECT notified_at FROM mrosync.files f WHERE f.id = r.id LIMIT 1) f ON true
            ORDER BY r.id ",
            $order
        )
    };
}

const PAGE_OF_ROWS: &str = rows_of!("WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3", "");
const NEWEST_ROWS: &str = rows_of!("ORDER BY id DESC LIMIT $1", "DESC");
const LAST: &str = "SELECT max(id) FROM mrosync.records";
const KNOWS: &str = "SELECT true FROM mrosync.records WHERE name = $3 AND directory = (
        SELECT d.id FROM mrosync.directories d JOIN mrosync.servers s ON s.id = d.server
        WHERE s.name = $1 AND d.hash = sha256($2))";
const SERVERS: &str = "SELECT name FROM mrosync.servers";

/// The records, opened for reading. Changes nothing in them.
pub(super) struct PostgresReader(Link);

impl PostgresReader {
    /// Connects, and makes sure that the records are of a version that is known.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(super) fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let link = Link::new(settings)?;
        schema::examine(&link)?.for_reader(link.place())?;
        Ok(Self(link))
    }

    fn ask<T>(&self, question: impl AsyncFn(&Client) -> Result<T, Failure>) -> Result<T, ReadError> {
        Ok(self.0.attempt("read the records", question)?)
    }
}

impl RecordReader for PostgresReader {
    fn newest(&mut self, limit: u32) -> Result<Vec<RecordRow>, ReadError> {
        let limit = i64::from(limit);
        self.ask(async |client| {
            let rows = client.query_typed(NEWEST_ROWS, &[(&limit, Type::INT8)]).await?;
            rows.iter().map(record_row).collect()
        })
    }

    fn last_id(&mut self) -> Result<Option<i64>, ReadError> {
        self.ask(async |client| get(&client.query_typed_one(LAST, &[]).await?, 0))
    }

    fn page(&mut self, after: i64, until: i64, filter: &Filter) -> Result<Page, ReadError> {
        self.ask(async |client| {
            let parameters = [(&after as _, Type::INT8), (&until as _, Type::INT8), (&PAGE as _, Type::INT8)];
            let rows = client.query_typed(PAGE_OF_ROWS, &parameters).await?;
            let mut page = Page::default();
            for row in &rows {
                page.last = Some(get(row, 0)?);
                // the others are not even put together
                if filter.wants_server(get(row, 1)?) {
                    let row = record_row(row)?;
                    page.rows.extend(filter.wants(&row).then_some(row));
                }
            }
            Ok(page)
        })
    }

    fn knows(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        name: &RemoteName,
    ) -> Result<bool, ReadError> {
        let (server, directory, name) = (server.as_str(), directory.wire(), name.wire());
        self.ask(async |client| {
            let parameters =
                [(&server as _, Type::TEXT), (&directory as _, Type::BYTEA), (&name as _, Type::BYTEA)];
            Ok(client.query_typed_opt(KNOWS, &parameters).await?.is_some())
        })
    }

    fn servers(&mut self) -> Result<Vec<String>, ReadError> {
        self.ask(async |client| {
            let rows = client.query_typed(SERVERS, &[]).await?;
            rows.iter().map(|row| get(row, 0)).collect()
        })
    }

    fn beginning(&mut self, server: &ServerName) -> Result<Option<i64>, ReadError> {
        self.ask(async |client| begin::of(client, server).await)
    }

    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, ReadError> {
        self.ask(async |client| present::recorded(client, some).await)
    }
}

fn record_row(row: &Row) -> Result<RecordRow, Failure> {
    Ok(RecordRow {
        id: get(row, 0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        size: unsigned(row, 6)?,
        modified: modified(row, 7)?,
        downloaded_at: get(row, 9)?,
        notified_at: get(row, 10)?,
        evicted_at: get(row, 11)?,
    })
}
