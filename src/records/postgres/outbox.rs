//! The notices still to be delivered: the files that are not notified.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::error::Failure;
use super::rows::{as_limit, get, remote_path, server_name, unsigned};
use super::statement::{Statement, ask_all};
use crate::base::facts::{Due, Notice, Postponed};
use crate::base::names::ServerName;

/// Retries come within 5 minutes. A notice that waits for longer than this waits because the clock was set back, and is
/// due.
const LONGEST_WAIT_MS: i64 = 10 * 60 * 1000;

macro_rules! notices_of {
    ($chosen:literal) => {
        concat!(
            "WITH chosen AS MATERIALIZED (",
            $chosen,
            ") SELECT c.id, s.name, d.wire, d.text, r.name, r.text, c.attempts, r.downloaded_at, r.size
            FROM chosen c
            CROSS JOIN LATERAL (SELECT * FROM mrosync.records r WHERE r.id = c.id LIMIT 1) r
            CROSS JOIN LATERAL (SELECT * FROM mrosync.directories d WHERE d.id = r.directory LIMIT 1) d
            JOIN mrosync.servers s ON s.id = d.server ORDER BY c.lane, c.next_attempt_at, c.id"
        )
    };
}

const FRESH: &str = notices_of!(
    "SELECT 0 AS lane, * FROM mrosync.files f WHERE notified_at IS NULL AND attempts = 0 AND id <> ALL($2)
        AND server <> ALL(ARRAY(SELECT s.id FROM mrosync.servers s WHERE s.name = ANY($3)))
    ORDER BY next_attempt_at, id LIMIT $1"
);
const TRIED: &str = notices_of!(
    "(SELECT 0 AS lane, * FROM mrosync.files f WHERE notified_at IS NULL AND attempts > 0 AND id <> ALL($2)
        AND server <> ALL(ARRAY(SELECT s.id FROM mrosync.servers s WHERE s.name = ANY($3))) AND next_attempt_at <= $4
    ORDER BY next_attempt_at, id LIMIT $1)
    UNION ALL
    (SELECT 1 AS lane, * FROM mrosync.files f WHERE notified_at IS NULL AND attempts > 0 AND id <> ALL($2)
        AND server <> ALL(ARRAY(SELECT s.id FROM mrosync.servers s WHERE s.name = ANY($3))) AND next_attempt_at > $5
    ORDER BY next_attempt_at, id LIMIT $1)"
);
const NEXT: &str = "SELECT id, next_attempt_at FROM mrosync.files
    WHERE notified_at IS NULL AND attempts > 0 AND id <> ALL($2) ORDER BY next_attempt_at, id LIMIT $1";

const DELIVERED: &str = "WITH told AS (UPDATE mrosync.files SET notified_at = $2, next_attempt_at = 0
        WHERE id = ANY($1) AND notified_at IS NULL RETURNING id) SELECT count(*) FROM told";
const POSTPONE: &str = "UPDATE mrosync.files f SET attempts = u.attempts, next_attempt_at = u.at
    FROM (SELECT DISTINCT ON (id) * FROM unnest($1, $2, $3) WITH ORDINALITY AS u (id, attempts, at, number)
        ORDER BY id, number DESC) AS u
    WHERE f.id = u.id AND f.notified_at IS NULL";

/// Reads the notices that are due, see [`RecordStore::due_notices`](crate::records::RecordStore::due_notices).
pub(super) async fn due(
    client: &Client,
    now: i64,
    limit: usize,
    in_flight: &[i64],
    held: &[ServerName],
) -> Result<Due, Failure> {
    let held: Vec<&str> = held.iter().map(ServerName::as_str).collect();
    let (rows, beyond) = (as_limit(limit), now.saturating_add(LONGEST_WAIT_MS));
    let (limit_of, others, servers) =
        ((&rows as _, Type::INT8), (&in_flight as _, Type::INT8_ARRAY), (&held as _, Type::TEXT_ARRAY));
    let one_more = rows.saturating_add(1);
    let fresh = Statement::new(FRESH, &[limit_of, others, servers]);
    let mut tried = Statement::new(TRIED, &fresh.parameters);
    tried.parameters.extend([(&now as _, Type::INT8), (&beyond as _, Type::INT8)]);
    let next = Statement::new(NEXT, &[(&one_more, Type::INT8), (&in_flight, Type::INT8_ARRAY)]);
    let answers = ask_all(client, &[fresh, tried, next]).await?;
    let [fresh, tried, next] = answers.as_slice() else { return Err(Failure::other("an answer is missing")) };
    let notices = |rows: &[Row]| rows.iter().take(limit).map(notice).collect::<Result<Vec<_>, _>>();
    let (fresh, tried) = (notices(fresh)?, notices(tried)?);
    let mut next_at = None;
    if tried.len() < limit {
        for row in next {
            let (id, at): (i64, i64) = (get(row, 0)?, get(row, 1)?);
            if !tried.iter().any(|notice| notice.id == id) {
                next_at = Some(at);
                break;
            }
        }
    }
    Ok(Due { fresh, tried, next_at })
}

fn notice(row: &Row) -> Result<Notice, Failure> {
    Ok(Notice {
        id: get(row, 0)?,
        server: server_name(row, 1)?,
        path: remote_path(row, 2)?,
        attempts: u32::try_from(get::<i32>(row, 6)?).unwrap_or_default(),
        downloaded_at: get(row, 7)?,
        size: unsigned(row, 8)?,
    })
}

/// What keeps that notices were delivered; its row says how many that changed.
pub(super) fn deliver<'a>(ids: &'a &'a [i64], at: &'a i64) -> Statement<'a> {
    Statement::new(DELIVERED, &[(ids, Type::INT8_ARRAY), (at, Type::INT8)])
}

/// Notices that are called again, as columns.
#[derive(Default)]
pub(super) struct Later {
    ids: Vec<i64>,
    attempts: Vec<i32>,
    at: Vec<i64>,
}

impl Later {
    pub(super) fn new(postponed: &[Postponed]) -> Self {
        let mut later = Self::default();
        for Postponed { id, attempts, at } in postponed {
            later.ids.push(*id);
            later.attempts.push(i32::try_from((*attempts).max(1)).unwrap_or(i32::MAX));
            later.at.push(*at);
        }
        later
    }

    /// What keeps when they are due again.
    pub(super) fn statement(&self) -> Statement<'_> {
        let parameters = [
            (&self.ids as _, Type::INT8_ARRAY),
            (&self.attempts as _, Type::INT4_ARRAY),
            (&self.at as _, Type::INT8_ARRAY),
        ];
        Statement::new(POSTPONE, &parameters)
    }
}
