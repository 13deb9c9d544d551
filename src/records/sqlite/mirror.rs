//! Which mirror the records belong to, and which of their files were not found there. Runs on the thread that owns
//! [`Records`].

use rusqlite::{Connection, OptionalExtension, params};

use super::present::{self, EVICT, PresentFile};
use super::{Evicted, Records, RecordsError, RecordsReader, Totals, read_totals, unsigned};

const MARKER: &str = "SELECT marker FROM mirror WHERE id = 1";
const REMEMBER: &str =
    "INSERT INTO mirror (id, marker) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET marker = excluded.marker";
const MISS: &str = "INSERT INTO missing (id) VALUES (?1) ON CONFLICT (id) DO NOTHING";
const NOT_MISSING: &str = "DELETE FROM missing WHERE id = ?1";
/// Not those that were marked as listed (see [`super::Mark`]), which never were ours.
const FOUND: &str = "UPDATE downloads SET evicted_at = NULL,
        next_attempt_at = CASE WHEN notified_at IS NULL THEN ?2 ELSE 0 END
    WHERE id = ?1 AND evicted_at IS NOT NULL
        AND NOT (evicted_at = downloaded_at AND notified_at IS NOT NULL AND notified_at = downloaded_at)";
const MISSING: &str =
    "SELECT d.id, p.server, p.wire, p.text, d.name, d.text, d.size, d.notified_at IS NOT NULL
    FROM missing m CROSS JOIN downloads d ON d.id = m.id CROSS JOIN directories p ON p.id = d.directory
    WHERE m.id > ?1 ORDER BY m.id LIMIT ?2";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 6] = [MARKER, REMEMBER, MISS, NOT_MISSING, FOUND, MISSING];

/// What the records say of their mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The marker of the mirror that they belong to, where they know one.
    pub marker: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// Some present files: those downloaded first and those downloaded last.
    pub sample: Vec<PresentFile>,
}

impl Records {
    /// What is known of the mirror, with up to twice `some` of the files in it.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn standing(&mut self, some: usize) -> Result<Standing, RecordsError> {
        self.attempt("read which mirror they belong to", |connection| {
            let snapshot = connection.transaction()?;
            standing(&snapshot, some)
        })
    }

    /// Remembers the marker of the mirror that the records belong to.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn remember_mirror(&mut self, marker: &str) -> Result<(), RecordsError> {
        self.write("remember the mirror", |transaction| {
            transaction.prepare_cached(REMEMBER)?.execute([marker]).map(drop)
        })
    }

    /// Marks files as evicted that nobody here deleted, as [`Self::mark_evicted`] does, and remembers that they may be
    /// found again.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is marked then.
    pub fn mark_missing(&mut self, ids: &[i64], at: i64) -> Result<Evicted, RecordsError> {
        self.write("mark files as missing", |transaction| {
            let (mut evict, mut miss) =
                (transaction.prepare_cached(EVICT)?, transaction.prepare_cached(MISS)?);
            let mut sum = Evicted::default();
            for id in ids {
                let row =
                    evict.query_row(params![id, at], |row| Ok((unsigned(row, 0)?, row.get::<_, bool>(1)?)));
                let Some((bytes, cancelled)) = row.optional()? else { continue };
                miss.execute([id])?;
                sum.files += 1;
                sum.bytes += bytes;
                sum.cancelled_notices += u64::from(cancelled);
            }
            Ok(sum)
        })
    }

    /// Marks evicted files as present again and says how many that changed. What was not announced is due at `now`, in
    /// unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is changed then.
    pub fn mark_found(&mut self, ids: &[i64], now: i64) -> Result<usize, RecordsError> {
        self.write("mark files as found again", |transaction| {
            let (mut found, mut settled) =
                (transaction.prepare_cached(FOUND)?, transaction.prepare_cached(NOT_MISSING)?);
            let mut changed = 0;
            for id in ids {
                changed += found.execute(params![id, now])?;
                settled.execute([id])?;
            }
            Ok(changed)
        })
    }

    /// Files that were found missing, after the record `after`, oldest first.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn missing_after(&mut self, after: i64, limit: usize) -> Result<Vec<PresentFile>, RecordsError> {
        self.attempt("find missing files", |connection| {
            present::present(connection, MISSING, Some(after), limit)
        })
    }
}

impl RecordsReader {
    /// As [`Records::standing`].
    ///
    /// # Errors
    ///
    /// Whatever fails while reading.
    pub fn standing(&self, some: usize) -> Result<Standing, RecordsError> {
        self.ask(|connection| standing(connection, some))
    }
}

fn standing(connection: &Connection, some: usize) -> rusqlite::Result<Standing> {
    let marker = connection.prepare_cached(MARKER)?.query_row([], |row| row.get(0)).optional()?;
    let mut sample = present::ends(connection, some)?;
    sample.sort_unstable_by_key(|file| file.id);
    sample.dedup_by_key(|file| file.id);
    Ok(Standing { marker, totals: read_totals(connection)?, sample })
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::super::fixtures::{Place, download, record_some};
    use super::*;

    fn ids(files: &[PresentFile]) -> Vec<i64> {
        files.iter().map(|file| file.id).collect()
    }

    #[test]
    fn the_mirror_is_remembered_and_the_first_and_the_last_files_are_known() {
        let place = Place::new();
        let mut records = place.open();
        assert_eq!(records.standing(3).unwrap(), Standing::default());
        let all = record_some(&mut records, 20);
        records.mark_delivered(&all[5..18], 7).unwrap();
        records.mark_evicted(&all[..2], 8).unwrap();
        let first = "0123456789abcdef0123456789abcdef";
        for marker in ["ffffffffffffffffffffffffffffffff", first] {
            records.remember_mirror(marker).unwrap();
        }
        drop(records);
        let standing = place.open().standing(2).unwrap();
        assert_eq!(standing.marker.as_deref(), Some(first));
        assert_eq!(ids(&standing.sample), [all[2], all[3], all[18], all[19]]);
        assert_eq!(RecordsReader::open(&place.file()).unwrap().standing(2).unwrap(), standing);
        assert_eq!(ids(&place.open().standing(50).unwrap().sample), all[2..], "each once");
    }

    #[test]
    fn a_missing_file_that_is_found_again_is_present_and_its_notice_is_due() {
        let place = Place::new();
        let mut records = place.open();
        let all = record_some(&mut records, 4);
        records.mark_delivered(&all[1..2], 5).unwrap();
        let before = records.totals().unwrap();
        let missed = records.mark_missing(&all[..3], 9).unwrap();
        assert_eq!(missed, Evicted { files: 3, bytes: 30, cancelled_notices: 2 });
        assert_eq!(records.mark_missing(&all[..3], 9).unwrap(), Evicted::default());
        assert_eq!(ids(&records.missing_after(0, 9).unwrap()), all[..3]);
        assert_eq!(ids(&records.missing_after(all[0], 1).unwrap()), all[1..2]);
        assert_eq!(records.mark_found(&all[..2], 100).unwrap(), 2);
        assert_eq!(records.mark_found(&all[..2], 100).unwrap(), 0);
        assert_eq!(ids(&records.missing_after(0, 9).unwrap()), all[2..3]);
        assert_eq!(records.mark_found(&all[2..3], 100).unwrap(), 1);
        assert_eq!(records.totals().unwrap(), before);
        let due = records.due_notices(100, 9, &[]).unwrap();
        let due: Vec<_> = due.fresh.iter().map(|notice| notice.id).collect();
        assert_eq!(due, [all[3], all[0], all[2]]);
    }

    #[test]
    fn what_is_forgotten_is_not_missing_and_what_was_never_here_is_not_found() {
        let place = Place::new();
        let mut records = place.open();
        let all = record_some(&mut records, 1);
        records.mark_missing(&all, 9).unwrap();
        records.amend(super::super::Amendment::Forget, &all, 10).unwrap();
        assert_eq!(records.missing_after(0, 9).unwrap(), []);
        records.mark(Mark::Listed, &[download("listed.zip", 7)]).unwrap();
        let listed = super::super::RecordsReader::open(&place.file());
        let mut id = 0;
        let mut visit = |row: &super::super::RecordRow| {
            id = row.id;
            Ok(())
        };
        listed.unwrap().for_each(&super::super::Filter::default(), &mut visit).unwrap();
        assert_eq!(records.mark_found(&[id], 100).unwrap(), 0);
    }
}
