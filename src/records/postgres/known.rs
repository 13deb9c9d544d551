//! What is known of the files of a listing: whether each was ever downloaded, and whether it changed since.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::directories::Directories;
use super::error::Failure;
use super::rows::{Times, get, modified, unsigned};
use super::statement::{Parameter, Statement, ask_all};
use crate::base::facts::{FileFacts, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::compare::{Finding, KnownFile, ListingUpdate};

/// Names in one statement, so that neither its text nor its answer gets large.
const NAMES_TOGETHER: usize = 20_000;

/// A look at the index for each name: with a join the planner may read a whole table for a part of a listing.
const LOOK_UP: &str =
    "SELECT u.number, r.id, r.size, r.modified, r.source, l.changes, l.size, l.modified, l.source,
        r.no_archive, r.evicted_at IS NULL
    FROM unnest($3) WITH ORDINALITY AS u (name, number)
    CROSS JOIN LATERAL (SELECT * FROM mrosync.records r WHERE r.directory = (
        SELECT d.id FROM mrosync.directories d JOIN mrosync.servers s ON s.id = d.server
        WHERE s.name = $1 AND d.hash = sha256($2)) AND r.name = u.name LIMIT 1) r
    LEFT JOIN mrosync.last_listed l ON l.id = r.id";
/// A file that is listed twice counts twice, and is shown as the last line has it.
const CHANGED: &str = "WITH batch AS (
        SELECT * FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u (id, size, modified, source, number)),
    listed AS (
        INSERT INTO mrosync.last_listed AS l (id, size, modified, source, changes)
        SELECT DISTINCT ON (b.id) b.id, b.size, b.modified, b.source, count(*) OVER (PARTITION BY b.id)
        FROM batch b JOIN mrosync.records r ON r.id = b.id ORDER BY b.id, b.number DESC
        ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified, source = excluded.source,
            changes = l.changes + excluded.changes)
    UPDATE mrosync.sums s SET changes = s.changes + c.changes
    FROM (SELECT d.server, count(*) AS changes FROM batch b JOIN mrosync.records r ON r.id = b.id
        JOIN mrosync.directories d ON d.id = r.directory GROUP BY d.server) AS c WHERE s.server = c.server";
const CAUGHT_UP: &str = "WITH shown AS (DELETE FROM mrosync.last_listed WHERE id = ANY($1))
    UPDATE mrosync.records r SET modified = u.modified, source = u.source
    FROM unnest($1, $2, $3) AS u (id, modified, source) WHERE r.id = u.id";
/// Whether it is the zone ($7) decides what becomes of each.
const SETTLE: &str = "WITH batch AS (
        SELECT DISTINCT ON (r.id) r.id, d.server, u.size, u.modified, u.source, u.is_zone, l.id IS NOT NULL AS is_shown
        FROM unnest($3, $4, $5, $6, $7, $8) WITH ORDINALITY AS u (dir, name, size, modified, source, is_zone, number)
        JOIN unnest($2) WITH ORDINALITY AS p (wire, number) ON p.number = u.dir
        JOIN mrosync.servers s ON s.name = $1
        JOIN mrosync.directories d ON d.server = s.id AND d.hash = sha256(p.wire)
        JOIN mrosync.records r ON r.directory = d.id AND r.name = u.name
        LEFT JOIN mrosync.last_listed l ON l.id = r.id
        ORDER BY r.id, u.number DESC),
    listed AS (
        INSERT INTO mrosync.last_listed AS l (id, size, modified, source, changes)
        SELECT id, size, modified, source, CASE WHEN is_zone THEN 0 ELSE 1 END FROM batch WHERE is_shown OR NOT is_zone
        ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified, source = excluded.source,
            changes = l.changes + excluded.changes),
    times AS (
        UPDATE mrosync.records r SET modified = batch.modified, source = batch.source
        FROM batch WHERE r.id = batch.id AND is_zone AND NOT is_shown)
    UPDATE mrosync.sums s SET changes = s.changes + c.changes
    FROM (SELECT server, count(*) AS changes FROM batch WHERE NOT is_zone GROUP BY server) AS c
    WHERE s.server = c.server";

/// Compares each of `files` with its record.
pub(super) async fn find_all(
    client: &Client,
    server: &ServerName,
    directory: &RemotePath,
    files: &[(RemoteName, FileFacts)],
) -> Result<Vec<Finding>, Failure> {
    let (server, wire) = (server.as_str(), directory.wire());
    let parts: Vec<Vec<&[u8]>> =
        files.chunks(NAMES_TOGETHER).map(|part| part.iter().map(|(name, _)| name.wire()).collect()).collect();
    let statements: Vec<_> = parts
        .iter()
        .map(|names| {
            let parameters =
                [(&server as _, Type::TEXT), (&wire as _, Type::BYTEA), (names as _, Type::BYTEA_ARRAY)];
            Statement::new(LOOK_UP, &parameters)
        })
        .collect();
    let answers = ask_all(client, &statements).await?;
    let mut found = vec![Finding::NEW; files.len()];
    for ((files, found), rows) in
        files.chunks(NAMES_TOGETHER).zip(found.chunks_mut(NAMES_TOGETHER)).zip(answers)
    {
        for row in &rows {
            let number: i64 = get(row, 0)?;
            let place = usize::try_from(number - 1).unwrap_or(usize::MAX);
            if let (Some((_, facts)), Some(finding)) = (files.get(place), found.get_mut(place)) {
                *finding = known_file(row)?.compare(facts);
            }
        }
    }
    Ok(found)
}

fn known_file(row: &Row) -> Result<KnownFile, Failure> {
    let size = unsigned(row, 2)?;
    let changes: Option<i32> = get(row, 5)?;
    let expected = match changes {
        None => FileFacts { size: Some(size), modified: modified(row, 3)? },
        Some(_) => {
            let listed: Option<i64> = get(row, 6)?;
            FileFacts { size: listed.map(i64::cast_unsigned), modified: modified(row, 7)? }
        }
    };
    Ok(KnownFile {
        id: get(row, 1)?,
        size,
        expected,
        listing_lags: changes == Some(0),
        no_archive: get(row, 9)?,
        is_present: get(row, 10)?,
    })
}

/// What is to be kept of a listing, as columns.
#[derive(Default)]
pub(super) struct Updates {
    changed: Columns,
    caught_up: Columns,
}

#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    sizes: Vec<Option<i64>>,
    times: Times,
}

impl Columns {
    fn push(&mut self, id: i64, facts: &FileFacts) {
        self.ids.push(id);
        self.sizes.push(facts.size.map(u64::cast_signed));
        self.times.push(facts);
    }
}

impl Updates {
    /// The files of `listing` whose records are to keep something of it.
    pub(super) fn of(listing: &[(RemoteName, FileFacts)], found: &[Finding]) -> Self {
        let mut updates = Self::default();
        for ((_, facts), finding) in listing.iter().zip(found) {
            match finding.update {
                Some(ListingUpdate::Changed { id }) => updates.changed.push(id, facts),
                Some(ListingUpdate::CaughtUp { id }) => updates.caught_up.push(id, facts),
                None => {}
            }
        }
        updates
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.ids.is_empty() && self.caught_up.ids.is_empty()
    }

    pub(super) fn statements(&self) -> [Statement<'_>; 2] {
        let Self { changed, caught_up } = self;
        let changes: [Parameter<'_>; 4] = [
            (&changed.ids, Type::INT8_ARRAY),
            (&changed.sizes, Type::INT8_ARRAY),
            (&changed.times.seconds, Type::INT8_ARRAY),
            (&changed.times.sources, Type::INT2_ARRAY),
        ];
        let settled: [Parameter<'_>; 3] = [
            (&caught_up.ids, Type::INT8_ARRAY),
            (&caught_up.times.seconds, Type::INT8_ARRAY),
            (&caught_up.times.sources, Type::INT2_ARRAY),
        ];
        [Statement::new(CHANGED, &changes), Statement::new(CAUGHT_UP, &settled)]
    }
}

/// Files whose times are shown otherwise, as columns.
pub(super) struct Shifts<'a> {
    server: &'a str,
    directories: Directories<'a>,
    numbers: Vec<i32>,
    names: Vec<&'a [u8]>,
    sizes: Vec<Option<i64>>,
    times: Times,
    are_zones: Vec<bool>,
}

impl<'a> Shifts<'a> {
    pub(super) fn new(server: &'a ServerName, files: &'a [Shifted]) -> Self {
        let mut directories = Directories::default();
        let server = server.as_str();
        let mut times = Times::default();
        files.iter().for_each(|file| times.push(&file.facts));
        Self {
            server,
            numbers: files.iter().map(|file| directories.number(server, &file.directory)).collect(),
            directories,
            names: files.iter().map(|file| file.name.wire()).collect(),
            sizes: files.iter().map(|file| file.facts.size.map(u64::cast_signed)).collect(),
            times,
            are_zones: files.iter().map(|file| file.is_zone).collect(),
        }
    }

    pub(super) fn statement(&self) -> Statement<'_> {
        Statement::new(
            SETTLE,
            &[
                (&self.server, Type::TEXT),
                (&self.directories.wires, Type::BYTEA_ARRAY),
                (&self.numbers, Type::INT4_ARRAY),
                (&self.names, Type::BYTEA_ARRAY),
                (&self.sizes, Type::INT8_ARRAY),
                (&self.times.seconds, Type::INT8_ARRAY),
                (&self.times.sources, Type::INT2_ARRAY),
                (&self.are_zones, Type::BOOL_ARRAY),
            ],
        )
    }
}
