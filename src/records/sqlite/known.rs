//! What is known of the files of a listing: whether each was ever downloaded, and whether it changed since.
//! Runs on the thread that owns [`Records`].

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::downloads::{FIND_DIRECTORY, keep_listed};
use super::{Knowledge, Records, RecordsError, modified, modified_columns, unsigned};
use crate::base::facts::FileFacts;
use crate::base::names::{RemoteName, RemotePath, ServerName};

pub(super) const LOOK_UP: &str = "SELECT d.id, d.size, d.modified, d.modified_source,
        l.changes, l.size, l.modified, l.modified_source, d.no_archive, d.evicted_at IS NULL
    FROM downloads d LEFT JOIN last_listed l ON l.id = d.id WHERE d.directory = ?1 AND d.name = ?2";
const SHOWN_AS_STORED: &str = "DELETE FROM last_listed WHERE id = ?1";
pub(super) const SET_TIME: &str = "UPDATE downloads SET modified = ?2, modified_source = ?3 WHERE id = ?1";
const COUNT_CHANGES: &str = "UPDATE totals SET changes = changes + ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 4] = [LOOK_UP, SHOWN_AS_STORED, SET_TIME, COUNT_CHANGES];

impl Records {
    /// Says for each of `files`, all of one `directory`, whether it was ever downloaded. A change is stored
    /// with the answer, so that it is answered once only; without one nothing is written.
    ///
    /// Changed means that the listing contradicts the one before, see [`FileFacts::agrees_with`]. A file that
    /// had grown between its listing and its download is known as soon as the listing has caught up.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; no change counts as answered then.
    pub fn look_up(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        files: &[(RemoteName, FileFacts)],
    ) -> Result<Vec<Knowledge>, RecordsError> {
        const WHAT: &str = "look up files";
        let found = self.attempt(WHAT, |connection| {
            // one snapshot for all of them, which spares each its own lock
            let snapshot = connection.transaction()?;
            find_all(&snapshot, server, directory, files)
        })?;
        if found.iter().any(|finding| finding.news.is_some()) {
            self.write(WHAT, |transaction| {
                files.iter().zip(&found).try_for_each(|((_, facts), finding)| {
                    finding.news.as_ref().map_or(Ok(()), |news| keep_news(transaction, news, facts))
                })
            })?;
        }
        Ok(found.into_iter().map(|finding| finding.knowledge).collect())
    }
}

/// What was found of one listed file, and what of it is to be kept.
struct Finding {
    knowledge: Knowledge,
    news: Option<News>,
}

pub(super) enum News {
    /// The listing contradicts the last one.
    Changed { id: i64 },
    /// The listing has caught up with the file that was stored.
    CaughtUp { id: i64 },
}

/// The record of a listed file.
struct Known {
    id: i64,
    size: u64,
    /// What a listing of it is expected to say.
    expected: FileFacts,
    /// Whether the listing was out of date when the file came, and no change has been seen since.
    listing_lags: bool,
    /// It was taken though it was no archive.
    no_archive: bool,
    is_present: bool,
}

impl Known {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let size = unsigned(row, 1)?;
        let changes: Option<i64> = row.get(4)?;
        let expected = match changes {
            None => FileFacts { size: Some(size), modified: modified(row, 2)? },
            Some(_) => {
                let listed: Option<i64> = row.get(5)?;
                FileFacts { size: listed.map(i64::cast_unsigned), modified: modified(row, 6)? }
            }
        };
        let (no_archive, is_present) = (row.get(8)?, row.get(9)?);
        Ok(Self { id: row.get(0)?, size, expected, listing_lags: changes == Some(0), no_archive, is_present })
    }

    /// By how much a file of the same size is shown later, where it may be the zone that changed.
    fn shift_to(&self, listed: &FileFacts) -> Option<i64> {
        let is_same_size = listed.size.is_some() && listed.size == self.expected.size;
        let times = self.expected.modified.zip(listed.modified).filter(|_| is_same_size);
        times.and_then(|(was, is)| was.shift_to(is))
    }

    fn compare(&self, listed: &FileFacts) -> Finding {
        if listed.agrees_with(&self.expected) {
            return Finding { knowledge: Knowledge::Known, news: None };
        }
        if self.listing_lags && listed.size == Some(self.size) {
            return Finding { knowledge: Knowledge::Known, news: Some(News::CaughtUp { id: self.id }) };
        }
        if self.no_archive {
            let knowledge = Knowledge::Outdated { was: self.expected, is_present: self.is_present };
            return Finding { knowledge, news: None };
        }
        if let Some(by) = self.shift_to(listed) {
            return Finding { knowledge: Knowledge::Shifted { was: self.expected, by }, news: None };
        }
        Finding {
            knowledge: Knowledge::Changed { was: self.expected },
            news: Some(News::Changed { id: self.id }),
        }
    }
}

fn find_all(
    connection: &Connection,
    server: &ServerName,
    directory: &RemotePath,
    files: &[(RemoteName, FileFacts)],
) -> rusqlite::Result<Vec<Finding>> {
    let new = || Finding { knowledge: Knowledge::New, news: None };
    let mut find_directory = connection.prepare_cached(FIND_DIRECTORY)?;
    let id = find_directory.query_row(params![server.as_str(), directory.wire()], |row| row.get(0));
    let Some(id): Option<i64> = id.optional()? else {
        return Ok(files.iter().map(|_| new()).collect());
    };
    let mut look_up = connection.prepare_cached(LOOK_UP)?;
    let find = |(name, facts): &(RemoteName, FileFacts)| {
        let known = look_up.query_row(params![id, name.wire()], Known::read).optional()?;
        Ok(known.map_or_else(new, |known| known.compare(facts)))
    };
    files.iter().map(find).collect()
}

pub(super) fn keep_news(connection: &Connection, news: &News, listed: &FileFacts) -> rusqlite::Result<()> {
    let (seconds, source) = modified_columns(listed);
    match news {
        News::Changed { id } => {
            keep_listed(connection, *id, listed, 1)?;
            connection.prepare_cached(COUNT_CHANGES)?.execute([1])?;
        }
        News::CaughtUp { id } => {
            connection.prepare_cached(SET_TIME)?.execute(params![id, seconds, source])?;
            connection.prepare_cached(SHOWN_AS_STORED)?.execute([id])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, directory, download, mlsd, name, record_some, server};
    use super::*;
    use crate::base::facts::{Modified, TimeSource};

    /// What the records say of `/in/a.zip` of omc01, listed with `facts`.
    fn look_up(records: &mut Records, facts: FileFacts) -> Knowledge {
        records.look_up(&server("omc01"), &directory("/in"), &[(name("a.zip"), facts)]).unwrap()[0]
    }

    fn unknown() -> FileFacts {
        FileFacts::default()
    }

    #[test]
    fn what_was_downloaded_is_known_and_the_rest_is_new_in_the_order_asked() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 2);
        let listing: Vec<_> =
            ["2.zip", "3.zip", "1.zip"].into_iter().map(|wire| (name(wire), mlsd(10, 60))).collect();
        let mut ask =
            |server: &ServerName, path| records.look_up(server, &directory(path), &listing).unwrap();
        use Knowledge::{Known, New};
        assert_eq!(ask(&server("omc01"), "/in"), [Known, New, Known]);
        assert_eq!(ask(&server("omc01"), "/"), [New, New, New]);
        assert_eq!(ask(&server("omc02"), "/in"), [New, New, New]);
    }

    #[test]
    fn an_evicted_file_is_known() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 1);
        records.mark_evicted(&ids, 5).unwrap();
        let found =
            records.look_up(&server("omc01"), &directory("/in"), &[(name("1.zip"), mlsd(10, 60))]).unwrap();
        assert_eq!(found, [Knowledge::Known]);
    }

    #[test]
    fn each_change_on_the_server_is_told_once_even_over_restarts() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        assert_eq!(look_up(&mut records, mlsd(11, 60)), Knowledge::Changed { was: mlsd(10, 60) });
        drop(records);
        let mut records = place.open();
        assert_eq!(look_up(&mut records, mlsd(11, 60)), Knowledge::Known);
        assert_eq!(look_up(&mut records, mlsd(11, 61)), Knowledge::Changed { was: mlsd(11, 60) });
        assert_eq!(look_up(&mut records, mlsd(11, 61)), Knowledge::Known);
        // and back again
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Changed { was: mlsd(11, 61) });
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        assert_eq!(records.totals().unwrap().changes, 3);
    }

    #[test]
    fn the_record_keeps_what_was_downloaded_whatever_the_server_shows_later() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        look_up(&mut records, mlsd(99, 99));
        let sql = "SELECT size, modified FROM downloads";
        let kept: (i64, i64) =
            records.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, (10, 60));
    }

    #[test]
    fn what_the_listing_leaves_out_is_no_change() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        let day = Modified { unix_seconds: 999_999, source: TimeSource::ListDay };
        for facts in [
            unknown(),
            FileFacts { size: Some(10), modified: None },
            FileFacts { size: Some(10), modified: Some(day) },
        ] {
            assert_eq!(look_up(&mut records, facts), Knowledge::Known, "{facts:?}");
        }
        let size_alone = FileFacts { size: Some(11), modified: None };
        assert_eq!(look_up(&mut records, size_alone), Knowledge::Changed { was: mlsd(10, 60) });
        // the time of the changed file is not known, so no time contradicts it
        assert_eq!(look_up(&mut records, mlsd(11, 70)), Knowledge::Known);
    }

    #[test]
    fn a_file_listed_without_facts_is_known_by_the_bytes_stored() {
        let place = Place::new();
        let mut records = place.open();
        let mut file = download("a.zip", 1);
        file.facts = unknown();
        records.record(&[file]).unwrap();
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        let was = FileFacts { size: Some(10), modified: None };
        assert_eq!(look_up(&mut records, mlsd(11, 60)), Knowledge::Changed { was });
    }

    #[test]
    fn a_file_that_had_grown_since_its_listing_has_not_changed_when_the_listing_catches_up() {
        let place = Place::new();
        let mut records = place.open();
        let mut file = download("a.zip", 1);
        (file.facts, file.size) = (mlsd(4, 50), 10);
        records.record(&[file]).unwrap();
        assert_eq!(look_up(&mut records, mlsd(4, 50)), Knowledge::Known);
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        assert_eq!(records.totals().unwrap().changes, 0);
        let changed = Knowledge::Changed { was: mlsd(10, 60) };
        assert_eq!(look_up(&mut records, mlsd(4, 50)), changed);
        assert_eq!(look_up(&mut records, mlsd(10, 70)), Knowledge::Changed { was: mlsd(4, 50) });
    }

    #[test]
    fn a_size_that_no_file_can_have_is_one_change_and_not_one_a_scan() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        for size in [u64::MAX, i64::MAX.cast_unsigned() + 1] {
            assert!(matches!(look_up(&mut records, mlsd(size, 60)), Knowledge::Changed { .. }));
            assert_eq!(look_up(&mut records, mlsd(size, 60)), Knowledge::Known);
        }
    }

    #[test]
    fn without_a_change_nothing_is_written() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        records.connection.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
        let listing = [(name("a.zip"), mlsd(11, 60))];
        let refused = records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap_err();
        assert_eq!(refused.trouble(), super::super::Trouble::ReadOnly);
        records.connection.pragma_update(None, "query_only", false).unwrap();
        // what could not be kept was not answered, so it is told now
        assert_eq!(look_up(&mut records, mlsd(11, 60)), Knowledge::Changed { was: mlsd(10, 60) });
    }
}
