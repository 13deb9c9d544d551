//! Which downloaded files still lie in the mirror, the oldest first, which are missing, and whose mirror it is.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::error::Failure;
use super::rows::{as_limit, get, remote_path, server_name, unsigned};
use super::statement::{Statement, ask_all};
use super::totals;
use crate::records::types::{PresentFile, RecordedMirror};

macro_rules! files_of {
    ($chosen:literal) => {
        concat!(
            "WITH chosen AS MATERIALIZED (",
            $chosen,
            ") SELECT c.id, s.name, d.wire, d.text, r.name, r.text, r.size, c.is_announced
            FROM chosen c
            CROSS JOIN LATERAL (SELECT * FROM mrosync.records r WHERE r.id = c.id LIMIT 1) r
            CROSS JOIN LATERAL (SELECT * FROM mrosync.directories d WHERE d.id = r.directory LIMIT 1) d
            JOIN mrosync.servers s ON s.id = d.server ORDER BY c.id"
        )
    };
}

pub(super) const ANNOUNCED: &str = files_of!(
    "SELECT id, true AS is_announced FROM mrosync.files WHERE notified_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"
);
pub(super) const UNANNOUNCED: &str = files_of!(
    "SELECT id, false AS is_announced FROM mrosync.files WHERE notified_at IS NULL AND id > $1 ORDER BY id LIMIT $2"
);
pub(super) const ALL: &str = files_of!(
    "SELECT id, notified_at IS NOT NULL AS is_announced FROM mrosync.files WHERE id > $1 ORDER BY id LIMIT $2"
);
const NEWEST: &str = files_of!(
    "SELECT id, notified_at IS NOT NULL AS is_announced FROM mrosync.files WHERE id > $1 ORDER BY id DESC LIMIT $2"
);
/// What was announced before it was missed is told by the record.
pub(super) const MISSING: &str = files_of!(
    "SELECT m.id, r.notified_at IS NOT NULL AS is_announced FROM mrosync.missing m
        CROSS JOIN LATERAL (SELECT * FROM mrosync.records r WHERE r.id = m.id LIMIT 1) r
    WHERE m.id > $1 ORDER BY m.id LIMIT $2"
);
const MARKER: &str = "SELECT mirror FROM mrosync.meta WHERE id = 1";
pub(super) const REMEMBER: &str = "UPDATE mrosync.meta SET mirror = $1 WHERE id = 1";

/// Reads files with one of the statements above.
pub(super) async fn read(
    client: &Client,
    sql: &str,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<PresentFile>, Failure> {
    let (after, limit) = (after.unwrap_or(i64::MIN), as_limit(limit));
    let rows = client.query_typed(sql, &[(&after, Type::INT8), (&limit, Type::INT8)]).await?;
    rows.iter().map(present_file).collect()
}

/// Reads which mirror it is.
pub(super) async fn recorded(client: &Client, some: usize) -> Result<RecordedMirror, Failure> {
    let (after, limit) = (i64::MIN, as_limit(some));
    let parameters = [(&after as _, Type::INT8), (&limit as _, Type::INT8)];
    let statements = [
        Statement::new(MARKER, &[]),
        Statement::new(totals::TOTALS, &[]),
        Statement::new(ALL, &parameters),
        Statement::new(NEWEST, &parameters),
    ];
    let answers = ask_all(client, &statements).await?;
    let [marker, sums, first, last] = answers.as_slice() else {
        return Err(Failure::other("an answer is missing"));
    };
    let marker = marker.first().map(|row| get(row, 0)).transpose()?.flatten();
    let mut sample = first.iter().chain(last).map(present_file).collect::<Result<Vec<_>, _>>()?;
    sample.sort_unstable_by_key(|file| file.id);
    sample.dedup_by_key(|file| file.id);
    Ok(RecordedMirror { marker, totals: totals::of_rows(sums)?, sample })
}

fn present_file(row: &Row) -> Result<PresentFile, Failure> {
    Ok(PresentFile {
        id: get(row, 0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        size: unsigned(row, 6)?,
        announced: get(row, 7)?,
    })
}
