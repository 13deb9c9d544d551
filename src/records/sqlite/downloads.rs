//! Puts downloads on record. Runs on the thread that owns [`Records`].

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::outbox::{deliver, postpone};
use super::{Download, Postponed, Records, RecordsError, modified_columns, storable};
use crate::base::facts::{Earlier, FileFacts};

/// What became of a [`Download`] that was to be recorded. Ids ascend in the order of download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is on record, and its notice waits to be delivered.
    New {
        /// Its record.
        id: i64,
    },
    /// Its path had been on record before; nothing was changed.
    Already {
        /// The earlier record.
        id: i64,
    },
}

const FIND: &str = "SELECT id FROM downloads WHERE directory = ?1 AND name = ?2";
pub(super) const FIND_DIRECTORY: &str = "SELECT id, text FROM directories WHERE server = ?1 AND wire = ?2";
const INSERT_DIRECTORY: &str =
    "INSERT INTO directories (server, wire, text) VALUES (?1, ?2, ?3) RETURNING id";
/// A file that was marked as listed and never there (see [`super::Mark`]) is downloaded after all where its download was
/// under way when it was marked.
const INSERT: &str = "INSERT INTO downloads
        (directory, name, text, size, modified, modified_source, downloaded_at, next_attempt_at, no_archive)
    VALUES (:directory, :name, :text, :size, :modified, :source, :downloaded_at, :downloaded_at, :no_archive)
    ON CONFLICT (directory, name) DO UPDATE SET size = excluded.size, modified = excluded.modified,
        modified_source = excluded.modified_source, downloaded_at = excluded.downloaded_at,
        notified_at = NULL, evicted_at = NULL, attempts = 0, next_attempt_at = excluded.downloaded_at,
        no_archive = excluded.no_archive
    WHERE evicted_at = downloaded_at AND notified_at = downloaded_at RETURNING id";
/// Its notice goes with it, so that one that is under way is not taken for that of the new content.
const GIVE_WAY: &str = "DELETE FROM downloads WHERE directory = ?1 AND name = ?2 AND no_archive = 1";
const SAME_AGAIN: &str = "UPDATE downloads SET modified = ?3, modified_source = ?4
    WHERE directory = ?1 AND name = ?2 AND no_archive = 1 RETURNING id";
const FORGET_SHOWN: &str = "DELETE FROM last_listed WHERE id = ?1";
const SHOWN_OTHERWISE: &str = "INSERT INTO last_listed VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET size = excluded.size, modified = excluded.modified,
        modified_source = excluded.modified_source, changes = changes + excluded.changes";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 8] =
    [FIND, FIND_DIRECTORY, INSERT_DIRECTORY, INSERT, SHOWN_OTHERWISE, GIVE_WAY, SAME_AGAIN, FORGET_SHOWN];

/// What is written with one sync of the disk.
#[derive(Debug, Default)]
pub struct Writes {
    /// To be recorded.
    pub downloads: Vec<Download>,
    /// Records whose notices were delivered.
    pub delivered: Vec<i64>,
    /// When, in milliseconds since 1970.
    pub delivered_at: i64,
    /// Notices that are to be called again.
    pub postponed: Vec<Postponed>,
}

impl Recorded {
    /// Its record, new or not.
    pub(super) fn id(self) -> i64 {
        match self {
            Self::New { id } | Self::Already { id } => id,
        }
    }
}

impl Records {
    /// Records downloads and marks notices as delivered, all of it or, where it fails, nothing.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn commit(&mut self, writes: &Writes) -> Result<(), RecordsError> {
        self.write("record downloads and deliveries", |transaction| {
            writes.downloads.iter().try_for_each(|file| insert(transaction, file).map(drop))?;
            deliver(transaction, &writes.delivered, writes.delivered_at)?;
            postpone(transaction, &writes.postponed)
        })
    }

    /// Records downloads, all of them or, where it fails, none. Their notices are due at once.
    ///
    /// # Errors
    ///
    /// [`RecordsError`].
    pub fn record(&mut self, files: &[Download]) -> Result<Vec<Recorded>, RecordsError> {
        self.write("record downloads", |transaction| {
            files.iter().map(|file| insert(transaction, file)).collect()
        })
    }
}

/// Whether the path is on record.
pub(super) fn is_recorded(connection: &Connection, file: &Download) -> rusqlite::Result<bool> {
    let key = (file.server.as_str(), file.directory.wire(), file.name.wire());
    find(connection, key).map(|id| id.is_some())
}

/// The record of what has this server, and on the wire this directory and name.
pub(super) fn find(
    connection: &Connection,
    (server, directory, name): (&str, &[u8], &[u8]),
) -> rusqlite::Result<Option<i64>> {
    let mut find_directory = connection.prepare_cached(FIND_DIRECTORY)?;
    let found = find_directory.query_row(params![server, directory], |row| row.get::<_, i64>(0));
    let Some(directory) = found.optional()? else { return Ok(None) };
    connection.prepare_cached(FIND)?.query_row(params![directory, name], |row| row.get(0)).optional()
}

pub(super) fn insert(connection: &Connection, file: &Download) -> rusqlite::Result<Recorded> {
    let (directory, text) = place(connection, file)?;
    let (seconds, source) = modified_columns(&file.facts);
    match file.earlier {
        Earlier::Stays => {}
        Earlier::GivesWay => {
            connection.prepare_cached(GIVE_WAY)?.execute(params![directory, file.name.wire()])?;
        }
        Earlier::IsTheSame => {
            let row = params![directory, file.name.wire(), seconds, source];
            let same = connection.prepare_cached(SAME_AGAIN)?.query_row(row, |row| row.get(0)).optional()?;
            if let Some(id) = same {
                connection.prepare_cached(FORGET_SHOWN)?.execute([id])?;
                keep_if_shown_otherwise(connection, id, file)?;
                return Ok(Recorded::Already { id });
            }
        }
    }
    let inserted = connection.prepare_cached(INSERT)?.query_row(
        named_params! {
            ":directory": directory, ":name": file.name.wire(), ":text": text, ":size": storable(file.size),
            ":modified": seconds, ":source": source, ":downloaded_at": file.downloaded_at,
            ":no_archive": file.no_archive,
        },
        |row| row.get(0),
    );
    let Some(id) = inserted.optional()? else {
        let mut find = connection.prepare_cached(FIND)?;
        let id = find.query_row(params![directory, file.name.wire()], |row| row.get(0))?;
        return Ok(Recorded::Already { id });
    };
    keep_if_shown_otherwise(connection, id, file)?;
    Ok(Recorded::New { id })
}

/// The size that a listing shows may not be the one that came.
fn keep_if_shown_otherwise(connection: &Connection, id: i64, file: &Download) -> rusqlite::Result<()> {
    if file.facts.size.is_some_and(|size| size != file.size) {
        keep_listed(connection, id, &file.facts, 0)?;
    }
    Ok(())
}

/// The directory of a download, which is put on record where it is new, and the `text` of the download in it.
fn place<'a>(connection: &Connection, file: &'a Download) -> rusqlite::Result<(i64, Option<Cow<'a, str>>)> {
    let (server, directory) = (file.server.as_str(), file.directory.as_ref());
    let own_text = text_beside(directory.wire(), directory.text());
    let name_text = text_beside(file.name.wire(), file.name.text()).map(Cow::Borrowed);
    let found: Option<(i64, Option<String>)> = connection
        .prepare_cached(FIND_DIRECTORY)?
        .query_row(params![server, directory.wire()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((id, text)) if text.as_deref() == own_text => Ok((id, name_text)),
        Some((id, _)) => Ok((id, Some(Cow::Owned(directory.join(&file.name).text().to_owned())))),
        None => {
            let mut insert = connection.prepare_cached(INSERT_DIRECTORY)?;
            let row = params![server, directory.wire(), own_text];
            Ok((insert.query_row(row, |row| row.get(0))?, name_text))
        }
    }
}

/// The text, where it is not the wire's bytes anyway.
fn text_beside<'a>(wire: &[u8], text: &'a str) -> Option<&'a str> {
    (text.as_bytes() != wire).then_some(text)
}

/// Keeps a listing that is not what was stored. Its size is foreign and may be any number, so its bits are kept.
pub(super) fn keep_listed(
    connection: &Connection,
    id: i64,
    listed: &FileFacts,
    changes: i64,
) -> rusqlite::Result<()> {
    let (seconds, source) = modified_columns(listed);
    let size = listed.size.map(u64::cast_signed);
    connection.prepare_cached(SHOWN_OTHERWISE)?.execute(params![id, size, seconds, source, changes])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::base::names::{RemoteName, RemotePath};
    use encoding_rs::{GBK, UTF_8, WINDOWS_1252};

    use super::super::fixtures::{Place, directory, download, mlsd, name, new_id, record_some, server};
    use super::super::{Knowledge, PresentFile, Trouble};
    use super::*;

    fn all_present(records: &mut Records) -> Vec<PresentFile> {
        records.present_after(None, 1000).unwrap()
    }

    #[test]
    fn a_download_is_recorded_once_and_answers_its_first_record_ever_after() {
        let place = Place::new();
        let mut records = place.open();
        let id = new_id(records.record(&[download("a.zip", 5)]).unwrap()[0]);
        let mut again = download("a.zip", 9);
        again.size = 99;
        let answers = records.record(&[again, download("b.zip", 9), download("b.zip", 9)]).unwrap();
        let b = new_id(answers[1]);
        assert_eq!(answers, [Recorded::Already { id }, Recorded::New { id: b }, Recorded::Already { id: b }]);
        let sizes: Vec<_> = all_present(&mut records).into_iter().map(|file| file.size).collect();
        assert_eq!(sizes, [10, 10]);
        records.mark_evicted(&[id], 10).unwrap();
        assert_eq!(records.record(&[download("a.zip", 11)]).unwrap(), [Recorded::Already { id }]);
        assert_eq!(all_present(&mut records).len(), 1);
    }

    #[test]
    fn what_was_no_archive_gives_way_once_to_what_the_server_has_later() {
        let place = Place::new();
        let mut records = place.open();
        let look_up = |records: &mut Records, size| {
            let listing = [(name("a.zip"), mlsd(size, 60))];
            records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap()[0]
        };
        let empty = Download { facts: mlsd(0, 60), size: 0, no_archive: true, ..download("a.zip", 5) };
        let old = new_id(records.record(std::slice::from_ref(&empty)).unwrap()[0]);
        assert_eq!(look_up(&mut records, 0), Knowledge::Known);
        records.mark_delivered(&[old], 6).unwrap();
        let outdated = |is_present| Knowledge::Outdated { was: mlsd(0, 60), is_present };
        // asked again and again, until it is done
        assert_eq!([(); 2].map(|()| look_up(&mut records, 10)), [outdated(true); 2]);
        records.mark_evicted(&[old], 7).unwrap();
        assert_eq!(look_up(&mut records, 10), outdated(false));
        assert_eq!(records.totals().unwrap().changes, 0);
        let now = Download { earlier: Earlier::GivesWay, facts: mlsd(10, 60), ..download("a.zip", 9) };
        let new = new_id(records.record(std::slice::from_ref(&now)).unwrap()[0]);
        assert!(new > old, "the latest in the order of eviction");
        // a call for the earlier content that ends now says nothing of this one
        records.mark_delivered(&[old], 10).unwrap();
        let due = records.due_notices(99, 9, &[]).unwrap().fresh;
        let due: Vec<_> = due.iter().map(|notice| notice.id).collect();
        assert_eq!(due, [new]);
        let totals = records.totals().unwrap();
        assert_eq!((totals.present_files, totals.present_bytes, totals.evicted_files), (1, 10, 0));
        // an archive stays what it is
        assert!(matches!(look_up(&mut records, 11), Knowledge::Changed { .. }));
        assert_eq!(records.record(&[now]).unwrap(), [Recorded::Already { id: new }]);
    }

    #[test]
    fn the_same_content_with_another_time_is_not_announced_again() {
        let place = Place::new();
        let mut records = place.open();
        let empty = Download { facts: mlsd(0, 60), size: 0, no_archive: true, ..download("a.zip", 5) };
        let id = new_id(records.record(std::slice::from_ref(&empty)).unwrap()[0]);
        records.mark_delivered(&[id], 6).unwrap();
        let touched = Download { facts: mlsd(0, 90), earlier: Earlier::IsTheSame, ..empty };
        assert_eq!(records.record(&[touched]).unwrap(), [Recorded::Already { id }]);
        let listing = [(name("a.zip"), mlsd(0, 90))];
        let known = records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
        assert_eq!(known, [Knowledge::Known]);
        let due = records.due_notices(99, 9, &[]).unwrap();
        assert!(due.fresh.is_empty() && due.tried.is_empty());
    }

    #[test]
    fn the_key_is_the_server_and_the_bytes_on_the_wire() {
        let place = Place::new();
        let mut records = place.open();
        // both read bad%FF.zip
        let files = [download(b"bad\xff.zip", 1), download("bad%FF.zip", 2)];
        assert_eq!(files[0].name.text(), files[1].name.text());
        let mut elsewhere = download("bad%FF.zip", 3);
        elsewhere.server = server("omc02");
        let mut deeper = download("bad%FF.zip", 4);
        deeper.directory = Arc::new(directory("/in/deeper"));
        for file in files.into_iter().chain([elsewhere, deeper]) {
            let listing = [(file.name.clone(), file.facts)];
            let before = records.look_up(&file.server, &file.directory, &listing).unwrap();
            assert_eq!(before, [Knowledge::New], "{file:?}");
            new_id(records.record(std::slice::from_ref(&file)).unwrap()[0]);
            let after = records.look_up(&file.server, &file.directory, &listing).unwrap();
            assert_eq!(after, [Knowledge::Known], "{file:?}");
        }
    }

    #[test]
    fn names_come_back_as_they_were_in_any_encoding() {
        let place = Place::new();
        let mut records = place.open();
        let gbk = |wire: &[u8]| RemoteName::from_wire(wire, GBK).unwrap();
        let gbk_directory = RemotePath::from_text("/MR/上海", GBK).unwrap();
        let cases = [
            (gbk_directory.clone(), gbk(b"\xd6\xd0.zip")),
            (gbk_directory, gbk(b"odd\xff.zip")),
            (RemotePath::root(), gbk(b"\xd6\xd0.zip")),
            (RemotePath::root(), name("plain.zip")),
            (directory("/中"), name("文.zip")),
            (directory("/a"), RemoteName::from_wire(b"caf\xe9.zip", WINDOWS_1252).unwrap()),
        ];
        for (directory, name) in &cases {
            let mut file = download("a.zip", 1);
            (file.directory, file.name) = (Arc::new(directory.clone()), name.clone());
            records.record(&[file]).unwrap();
        }
        drop(records);
        let expected: Vec<_> = cases.iter().map(|(directory, name)| directory.join(name)).collect();
        let found: Vec<_> = all_present(&mut place.open()).into_iter().map(|file| file.path).collect();
        assert_eq!(found, expected);
        assert_eq!((found[0].text(), found[2].text()), ("/MR/上海/中.zip", "/中.zip"));
    }

    #[test]
    fn files_keep_their_local_paths_when_the_encoding_of_a_server_changes() {
        let place = Place::new();
        let mut records = place.open();
        let gbk = RemotePath::from_text("/上海", GBK).unwrap();
        let undecoded = RemotePath::root().join(&RemoteName::from_wire(&gbk.wire()[1..], UTF_8).unwrap());
        assert_eq!((gbk.wire(), gbk.text() == undecoded.text()), (undecoded.wire(), false));
        for (wire, directory) in [("a.zip", &undecoded), ("b.zip", &gbk), ("c.zip", &undecoded)] {
            let mut file = download(wire, 1);
            file.directory = Arc::new(directory.clone());
            records.record(&[file]).unwrap();
        }
        let texts: Vec<_> =
            all_present(&mut records).into_iter().map(|file| file.path.text().to_owned()).collect();
        let bytes = undecoded.text();
        assert_eq!(texts, [format!("{bytes}/a.zip"), "/上海/b.zip".to_owned(), format!("{bytes}/c.zip")]);
        let listing = [(name("b.zip"), download("b.zip", 1).facts)];
        let found = records.look_up(&server("omc01"), &undecoded, &listing).unwrap();
        assert_eq!(found, [Knowledge::Known]);
    }

    #[test]
    fn ids_ascend_even_after_the_latest_rows_were_deleted_by_hand() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3);
        assert!(ids.is_sorted());
        records.connection.execute("DELETE FROM downloads WHERE id >= ?1", [ids[1]]).unwrap();
        let next = new_id(records.record(&[download("new.zip", 9)]).unwrap()[0]);
        assert!(next > ids[2], "{next} after {ids:?}");
    }

    #[test]
    fn on_a_full_disk_all_or_nothing_is_recorded_and_it_goes_on_when_there_is_room() {
        let place = Place::new();
        let mut records = place.open();
        record_some(&mut records, 1);
        let pages: i64 = records.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit = |pages: i64| format!("PRAGMA max_page_count = {pages}");
        records.connection.query_row(&limit(pages), [], |_| Ok(())).unwrap();
        let files: Vec<_> = (0..500).map(|n| download(format!("more-{n}.zip"), n)).collect();
        let error = records.record(&files).unwrap_err();
        assert_eq!(error.trouble(), Trouble::DiskFull);
        let told = error.to_string();
        assert!(
            told.starts_with(&format!("cannot record downloads in {}: ", place.file().display())),
            "{told}"
        );
        assert_eq!((all_present(&mut records).len(), records.totals().unwrap().downloads()), (1, 1));
        records.connection.query_row(&limit(1_000_000), [], |_| Ok(())).unwrap();
        assert_eq!(records.record(&files).unwrap().len(), 500);
        assert_eq!(records.totals().unwrap().downloads(), 501);
    }
}
