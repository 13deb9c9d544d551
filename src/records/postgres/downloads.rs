//! Puts downloads on record, a batch with each statement.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::directories::Directories;
use super::error::Failure;
use super::rows::{Times, get, storable};
use super::statement::Statement;
use crate::base::facts::{Download, Earlier};
use crate::records::change::Mark;
use crate::records::stored::text_beside;
use crate::records::types::Recorded;

/// The batch, with the directories that are on record.
macro_rules! batch {
    () => {
        "WITH dirs AS MATERIALIZED (
        SELECT u.number, d.id, d.server, d.text IS NOT DISTINCT FROM u.text AS is_same, rtrim(u.local, '/') AS local
        FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u (server, wire, text, local, number)
        JOIN mrosync.servers s ON s.name = u.server
        JOIN mrosync.directories d ON d.server = s.id AND d.hash = sha256(u.wire)),
    batch AS MATERIALIZED (
        SELECT u.number, dirs.id AS directory, dirs.server, u.name, u.size, u.modified, u.source, u.at, u.no_archive,
            u.listed, CASE WHEN dirs.is_same THEN u.text
                ELSE dirs.local || '/' || coalesce(u.text, convert_from(u.name, 'UTF8')) END AS text
        FROM unnest($5, $6, $7, $8, $9, $10, $11, $12, $13)
            WITH ORDINALITY AS u (dir, name, text, size, modified, source, at, no_archive, listed, number)
        JOIN dirs ON dirs.number = u.dir)"
    };
}

/// What follows the insertion `new`: the files that are present, and what the listing showed where that is not what came.
macro_rules! rest {
    () => {
        ", listing AS (
        INSERT INTO mrosync.last_listed AS l (id, size, modified, source, changes)
        SELECT new.id, batch.listed, batch.modified, batch.source, 0
        FROM new JOIN batch USING (directory, name) WHERE batch.listed IS NOT NULL
        ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified, source = excluded.source)
    SELECT batch.number, new.id, CASE WHEN new.id IS NULL THEN
        (SELECT r.id FROM mrosync.records r WHERE r.directory = batch.directory AND r.name = batch.name) END
    FROM batch LEFT JOIN new USING (directory, name)"
    };
}

/// A file that was marked as listed and never there (see [`crate::records::Mark`]) is downloaded after all where its
/// download was under way when it was marked.
const INSERT: &str = concat!(
    batch!(),
    ", new AS (
        INSERT INTO mrosync.records AS r
            (directory, name, text, size, modified, source, downloaded_at, no_archive)
        SELECT directory, name, text, size, modified, source, at, no_archive FROM batch ORDER BY number
        ON CONFLICT (directory, name) DO UPDATE SET size = excluded.size, modified = excluded.modified,
            source = excluded.source, downloaded_at = excluded.downloaded_at, notified_at = NULL, evicted_at = NULL,
            attempts = NULL, no_archive = excluded.no_archive
        WHERE r.evicted_at = r.downloaded_at AND r.notified_at = r.downloaded_at
        RETURNING id, directory, name),
    present AS (
        INSERT INTO mrosync.files (id, server, size, next_attempt_at)
        SELECT new.id, batch.server, batch.size, batch.at FROM new JOIN batch USING (directory, name))",
    rest!()
);
/// All times of such a record are the one of the marking, by which it is known again. It counts as announced and not as
/// cancelled, so that nobody looks for what went wrong. $14: whether it lies in the mirror; $15: whether it is announced.
const MARK: &str = concat!(
    batch!(),
    ", new AS (
        INSERT INTO mrosync.records
            (directory, name, text, size, modified, source, downloaded_at, no_archive, notified_at, evicted_at)
        SELECT directory, name, text, size, modified, source, at, no_archive,
            CASE WHEN NOT $14 THEN at END, CASE WHEN NOT $14 THEN at END FROM batch ORDER BY number
        ON CONFLICT (directory, name) DO NOTHING RETURNING id, directory, name),
    present AS (
        INSERT INTO mrosync.files (id, server, size, notified_at, next_attempt_at)
        SELECT new.id, batch.server, batch.size, CASE WHEN $15 THEN batch.at END,
            CASE WHEN $15 THEN 0 ELSE batch.at END
        FROM new JOIN batch USING (directory, name) WHERE $14)",
    rest!()
);
/// Its notice goes with it, so that one that is under way is not taken for that of the new content.
const GIVE_WAY: &str = concat!(
    batch!(),
    ", gone AS (DELETE FROM mrosync.records r USING batch
        WHERE r.directory = batch.directory AND r.name = batch.name AND r.no_archive RETURNING r.id),
    files AS (DELETE FROM mrosync.files WHERE id IN (SELECT id FROM gone)),
    missing AS (DELETE FROM mrosync.missing WHERE id IN (SELECT id FROM gone))
    DELETE FROM mrosync.last_listed WHERE id IN (SELECT id FROM gone)"
);
const SAME_AGAIN: &str = concat!(
    batch!(),
    ", same AS (UPDATE mrosync.records r SET modified = batch.modified, source = batch.source FROM batch
        WHERE r.directory = batch.directory AND r.name = batch.name AND r.no_archive
        RETURNING r.id, batch.listed, batch.modified, batch.source),
    shown AS (DELETE FROM mrosync.last_listed WHERE id IN (SELECT id FROM same WHERE listed IS NULL))
    INSERT INTO mrosync.last_listed AS l (id, size, modified, source, changes)
    SELECT id, listed, modified, source, 0 FROM same WHERE listed IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified, source = excluded.source,
        changes = 0"
);

/// Downloads as columns.
#[derive(Default)]
struct Columns<'a> {
    directories: Vec<i32>,
    names: Vec<&'a [u8]>,
    texts: Vec<Option<&'a str>>,
    sizes: Vec<i64>,
    times: Times,
    at: Vec<i64>,
    no_archives: Vec<bool>,
    /// The size that the listing showed, where it is not the one that came.
    listed: Vec<Option<i64>>,
    /// Where each stands among those that were asked for.
    places: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, place: usize, directory: i32, file: &'a Download) {
        self.places.push(place);
        self.directories.push(directory);
        self.names.push(file.name.wire());
        self.texts.push(text_beside(file.name.wire(), file.name.text()));
        self.sizes.push(storable(file.size));
        self.times.push(&file.facts);
        self.at.push(file.downloaded_at);
        self.no_archives.push(file.no_archive);
        self.listed.push(file.facts.size.filter(|size| *size != file.size).map(u64::cast_signed));
    }
}

/// Files of which no two have the same path.
#[derive(Default)]
struct Wave<'a> {
    all: Columns<'a>,
    giving_way: Columns<'a>,
    same: Columns<'a>,
}

/// A batch of downloads.
pub(super) struct Batch<'a> {
    pub(super) directories: Directories<'a>,
    /// The second of two with the same path comes after the first.
    waves: Vec<Wave<'a>>,
    count: usize,
    /// They are marked, and not downloaded: whether they are present, and whether they are announced.
    mark: Option<(bool, bool)>,
}

impl<'a> Batch<'a> {
    pub(super) fn of_downloads(files: &'a [Download]) -> Self {
        Self::new(files, None)
    }

    pub(super) fn of_marked(files: &'a [Download], mark: Mark) -> Self {
        Self::new(files, Some((mark != Mark::Listed, mark != Mark::LocalToAnnounce)))
    }

    fn new(files: &'a [Download], mark: Option<(bool, bool)>) -> Self {
        let mut batch =
            Self { directories: Directories::default(), waves: Vec::new(), count: files.len(), mark };
        let mut seen: HashMap<(i32, &[u8]), usize> = HashMap::new();
        for (place, file) in files.iter().enumerate() {
            let directory = batch.directories.number(file.server.as_str(), &file.directory);
            let times = seen.entry((directory, file.name.wire())).or_default();
            if *times == batch.waves.len() {
                batch.waves.push(Wave::default());
            }
            if let Some(wave) = batch.waves.get_mut(*times) {
                wave.all.push(place, directory, file);
                match file.earlier {
                    _ if mark.is_some() => {}
                    Earlier::Stays => {}
                    Earlier::GivesWay => wave.giving_way.push(place, directory, file),
                    Earlier::IsTheSame => wave.same.push(place, directory, file),
                }
            }
            *times += 1;
        }
        batch
    }

    /// What puts them on record, in this order.
    pub(super) fn statements(&self) -> Vec<Statement<'_>> {
        let mut statements = Vec::new();
        for wave in &self.waves {
            if !wave.giving_way.places.is_empty() {
                statements.push(self.statement(GIVE_WAY, &wave.giving_way));
            }
            if !wave.same.places.is_empty() {
                statements.push(self.statement(SAME_AGAIN, &wave.same));
            }
            let mut last = self.statement(if self.mark.is_some() { MARK } else { INSERT }, &wave.all);
            if let Some((is_present, is_announced)) = &self.mark {
                last.parameters.extend([(is_present as _, Type::BOOL), (is_announced as _, Type::BOOL)]);
            }
            statements.push(last);
        }
        statements
    }

    fn statement<'b>(&'b self, sql: &'b str, files: &'b Columns<'a>) -> Statement<'b> {
        let Directories { servers, wires, texts, locals, .. } = &self.directories;
        Statement::new(
            sql,
            &[
                (servers, Type::TEXT_ARRAY),
                (wires, Type::BYTEA_ARRAY),
                (texts, Type::TEXT_ARRAY),
                (locals, Type::TEXT_ARRAY),
                (&files.directories, Type::INT4_ARRAY),
                (&files.names, Type::BYTEA_ARRAY),
                (&files.texts, Type::TEXT_ARRAY),
                (&files.sizes, Type::INT8_ARRAY),
                (&files.times.seconds, Type::INT8_ARRAY),
                (&files.times.sources, Type::INT2_ARRAY),
                (&files.at, Type::INT8_ARRAY),
                (&files.no_archives, Type::BOOL_ARRAY),
                (&files.listed, Type::INT8_ARRAY),
            ],
        )
    }

    /// Reads what became of them from the rows of [`statements`](Self::statements); none where a directory was not on
    /// record after all.
    pub(super) fn recorded(&self, answers: &[Vec<Row>]) -> Result<Option<Vec<Recorded>>, Failure> {
        let mut recorded: Vec<Option<Recorded>> = vec![None; self.count];
        let mut answers = answers.iter();
        for wave in &self.waves {
            let others =
                usize::from(!wave.giving_way.places.is_empty()) + usize::from(!wave.same.places.is_empty());
            for row in answers.nth(others).into_iter().flatten() {
                let number: i64 = get(row, 0)?;
                let (new, earlier): (Option<i64>, Option<i64>) = (get(row, 1)?, get(row, 2)?);
                let one = new.map(|id| Recorded::New { id }).or(earlier.map(|id| Recorded::Already { id }));
                let place = usize::try_from(number - 1).ok().and_then(|number| wave.all.places.get(number));
                if let Some(slot) = place.and_then(|place| recorded.get_mut(*place)) {
                    *slot = one;
                }
            }
        }
        Ok(recorded.into_iter().collect())
    }
}
