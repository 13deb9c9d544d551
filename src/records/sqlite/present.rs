//! Which downloaded files still lie in the mirror, the oldest first, and which were evicted. Runs on the
//! thread that owns [`Records`].

use rusqlite::{Connection, OptionalExtension, params};

use super::{Records, RecordsError, remote_path, server_name, unsigned};
use crate::base::names::{RemotePath, ServerName};

/// A file of the mirror, as far as the records know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentFile {
    /// Its record; the lower, the earlier it was downloaded.
    pub id: i64,
    /// Where it comes from, which need not be configured any more.
    pub server: ServerName,
    /// Its path on the server; the text is the local path below `{root}/{server}`.
    pub path: RemotePath,
    /// Bytes stored.
    pub size: u64,
    /// Whether its notice was delivered.
    pub announced: bool,
}

/// What [`Records::mark_evicted`] changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Records newly marked.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Those of them whose notice had not been delivered and never will be.
    pub cancelled_notices: u64,
}

pub(super) const EVICT: &str = "UPDATE downloads SET evicted_at = ?2, next_attempt_at = 0
    WHERE id = ?1 AND evicted_at IS NULL RETURNING size, notified_at IS NULL";
/// Indexes are named, so that neither statistics nor another SQLite can turn these into a walk over all rows.
const PRESENT_ANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_announced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NOT NULL AND d.id > ?1 ORDER BY d.id LIMIT ?2";
const PRESENT_UNANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_unannounced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND d.id > ?1 ORDER BY d.id LIMIT ?2";

const NEWEST_ANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_announced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NOT NULL AND d.id > ?1 ORDER BY d.id DESC LIMIT ?2";
const NEWEST_UNANNOUNCED: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM downloads d INDEXED BY present_unannounced CROSS JOIN directories p ON p.id = d.directory
    WHERE d.evicted_at IS NULL AND d.notified_at IS NULL AND d.id > ?1 ORDER BY d.id DESC LIMIT ?2";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 5] =
    [EVICT, PRESENT_ANNOUNCED, PRESENT_UNANNOUNCED, NEWEST_ANNOUNCED, NEWEST_UNANNOUNCED];

impl Records {
    /// The files downloaded longest ago that are still present, announced or not as asked, oldest first; only
    /// those after the record `after`.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn oldest_present(
        &mut self,
        limit: usize,
        after: Option<i64>,
        announced: bool,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        let sql = if announced { PRESENT_ANNOUNCED } else { PRESENT_UNANNOUNCED };
        self.attempt("find the oldest files", |connection| present(connection, sql, after, limit))
    }

    /// Files still present after the record `after`, whether announced or not, oldest first.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn present_after(
        &mut self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<PresentFile>, RecordsError> {
        self.attempt("find present files", |connection| {
            let snapshot = connection.transaction()?;
            let mut files = present(&snapshot, PRESENT_ANNOUNCED, after, limit)?;
            files.extend(present(&snapshot, PRESENT_UNANNOUNCED, after, limit)?);
            files.sort_unstable_by_key(|file| file.id);
            files.truncate(limit);
            Ok(files)
        })
    }

    /// Marks files as evicted, and with that cancels their notices. Unknown and evicted ones are passed over.
    /// `at` is in unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is marked then.
    pub fn mark_evicted(&mut self, ids: &[i64], at: i64) -> Result<Evicted, RecordsError> {
        self.write("mark files as evicted", |transaction| {
            let mut evict = transaction.prepare_cached(EVICT)?;
            let mut sum = Evicted::default();
            for id in ids {
                let row =
                    evict.query_row(params![id, at], |row| Ok((unsigned(row, 0)?, row.get::<_, bool>(1)?)));
                let Some((bytes, cancelled)) = row.optional()? else { continue };
                sum.files += 1;
                sum.bytes += bytes;
                sum.cancelled_notices += u64::from(cancelled);
            }
            Ok(sum)
        })
    }
}

/// Looks at an entry of each index.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    present(connection, PRESENT_ANNOUNCED, None, 1)?;
    present(connection, PRESENT_UNANNOUNCED, None, 1).map(drop)
}

/// The `some` present files downloaded first and as many downloaded last, in no order; some perhaps twice.
pub(super) fn ends(connection: &Connection, some: usize) -> rusqlite::Result<Vec<PresentFile>> {
    let mut ends = Vec::new();
    for (announced, unannounced) in
        [(PRESENT_ANNOUNCED, PRESENT_UNANNOUNCED), (NEWEST_ANNOUNCED, NEWEST_UNANNOUNCED)]
    {
        let mut files = present(connection, announced, None, some)?;
        files.extend(present(connection, unannounced, None, some)?);
        let newest = announced == NEWEST_ANNOUNCED;
        files.sort_unstable_by_key(|file| if newest { -file.id } else { file.id });
        ends.extend(files.into_iter().take(some));
    }
    Ok(ends)
}

pub(super) fn present(
    connection: &Connection,
    sql: &str,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<PresentFile>> {
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![after.unwrap_or(i64::MIN), limit], |row| {
        Ok(PresentFile {
            id: row.get(0)?,
            server: server_name(row, 1)?,
            path: remote_path(row, 2)?,
            size: unsigned(row, 6)?,
            announced: row.get(7)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, record_some};
    use super::*;

    fn ids(files: &[PresentFile]) -> Vec<i64> {
        files.iter().map(|file| file.id).collect()
    }

    #[test]
    fn the_oldest_present_files_come_first_announced_or_not_as_asked() {
        let place = Place::new();
        let mut records = place.open();
        let all = record_some(&mut records, 6);
        records.mark_delivered(&[all[4], all[1], all[3]], 7).unwrap();
        records.mark_evicted(&[all[1], all[2]], 8).unwrap();
        let announced = records.oldest_present(9, None, true).unwrap();
        assert_eq!(ids(&announced), [all[3], all[4]]);
        assert!(announced.iter().all(|file| file.announced && file.size == 10));
        assert_eq!(announced[0].path.text(), "/in/4.zip");
        let unannounced = records.oldest_present(9, None, false).unwrap();
        assert_eq!(ids(&unannounced), [all[0], all[5]]);
        assert!(unannounced.iter().all(|file| !file.announced));
        assert_eq!(ids(&records.oldest_present(1, None, false).unwrap()), [all[0]]);
        assert_eq!(ids(&records.oldest_present(9, Some(all[3]), true).unwrap()), [all[4]]);
        assert_eq!(records.oldest_present(9, Some(all[5]), false).unwrap(), []);
    }

    #[test]
    fn an_audit_meets_every_present_file_once_whatever_the_step() {
        let place = Place::new();
        let mut records = place.open();
        let all = record_some(&mut records, 20);
        let every = |step: usize| all.iter().copied().step_by(step).collect::<Vec<_>>();
        records.mark_delivered(&every(3), 7).unwrap();
        records.mark_evicted(&every(5), 8).unwrap();
        let evicted = every(5);
        let present: Vec<_> = all.iter().copied().filter(|id| !evicted.contains(id)).collect();
        for step in [1, 3, 16, 100] {
            let (mut met, mut after) = (Vec::new(), None);
            while met.len() <= present.len() {
                let files = records.present_after(after, step).unwrap();
                let Some(last) = files.last() else { break };
                after = Some(last.id);
                met.extend(ids(&files));
            }
            assert_eq!(met, present, "in steps of {step}");
        }
    }

    #[test]
    fn evicting_again_or_what_was_never_there_changes_nothing() {
        let place = Place::new();
        let mut records = place.open();
        let all = record_some(&mut records, 3);
        records.mark_delivered(&[all[0]], 7).unwrap();
        let first = records.mark_evicted(&[all[0], all[1], all[1], 999], 8).unwrap();
        assert_eq!(first, Evicted { files: 2, bytes: 20, cancelled_notices: 1 });
        let totals = records.totals().unwrap();
        assert_eq!(records.mark_evicted(&[all[1], all[0]], 9).unwrap(), Evicted::default());
        assert_eq!(records.totals().unwrap(), totals);
        let sql = "SELECT evicted_at FROM downloads WHERE id = ?1";
        let at: i64 = records.connection.query_row(sql, [all[1]], |row| row.get(0)).unwrap();
        assert_eq!(at, 8);
    }
}
