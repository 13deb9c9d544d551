//! Puts files on record that were never fetched, because an operator says so. Runs on the thread that owns [`Records`].

use rusqlite::params;

use super::downloads::{insert, is_recorded};
use super::{Download, Records, RecordsError};

/// What is known of files that are counted as fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A server lists them, and the mirror does not hold them: evicted from the beginning.
    Listed,
    /// They lie in the mirror, and whoever works with them has seen them.
    Local,
    /// They lie in the mirror, and are to be announced.
    LocalToAnnounce,
}

/// All times of such a record are the one of the marking, by which it is known again. It counts as announced and not
/// as cancelled, so that nobody looks for what went wrong.
const SETTLE: &str = "UPDATE downloads SET notified_at = downloaded_at, next_attempt_at = 0,
    evicted_at = CASE WHEN ?2 THEN downloaded_at END WHERE id = ?1";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 1] = [SETTLE];

impl Records {
    /// Puts `files` on record and says how many of them were new there; the others are left as they are.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is on record then.
    pub fn mark(&mut self, mark: Mark, files: &[Download]) -> Result<usize, RecordsError> {
        self.write("mark files as fetched", |transaction| {
            let mut marked = 0;
            for file in files {
                if is_recorded(transaction, file)? {
                    continue;
                }
                let id = insert(transaction, file)?.id();
                if mark != Mark::LocalToAnnounce {
                    transaction.prepare_cached(SETTLE)?.execute(params![id, mark == Mark::Listed])?;
                }
                marked += 1;
            }
            Ok(marked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, directory, download, mlsd, name, server};
    use super::super::{Knowledge, Recorded, RecordsReader};
    use super::*;

    #[test]
    fn a_marked_file_is_known_and_waits_for_no_notice_and_a_listed_one_is_not_present() {
        let place = Place::new();
        let mut records = place.open();
        assert_eq!(records.mark(Mark::Listed, &[download("a.zip", 7), download("b.zip", 7)]).unwrap(), 2);
        assert_eq!(records.mark(Mark::Local, &[download("b.zip", 8), download("c.zip", 8)]).unwrap(), 1);
        assert_eq!(records.mark(Mark::LocalToAnnounce, &[download("d.zip", 9)]).unwrap(), 1);
        let totals = records.totals().unwrap();
        assert_eq!((totals.present_files, totals.present_bytes, totals.evicted_files), (2, 20, 2));
        assert_eq!((totals.pending_notices, totals.delivered_notices, totals.cancelled_notices), (1, 3, 0));
        let announced = records.oldest_present(9, None, true).unwrap();
        assert_eq!(announced.iter().map(|file| file.path.text()).collect::<Vec<_>>(), ["/in/c.zip"]);
        let listed = ["a.zip", "b.zip", "c.zip", "d.zip"].map(|file| (name(file), mlsd(10, 60)));
        let known = records.look_up(&server("omc01"), &directory("/in"), &listed).unwrap();
        assert_eq!(known, [Knowledge::Known; 4]);
        let mut reader = RecordsReader::open(&place.file()).unwrap();
        let mut knows = |file: &str| reader.knows(&server("omc01"), &directory("/in"), &name(file)).unwrap();
        assert!(knows("a.zip") && !knows("e.zip"));
    }

    #[test]
    fn a_download_that_was_under_way_when_its_file_was_marked_counts() {
        let place = Place::new();
        let mut records = place.open();
        records.mark(Mark::Listed, &[download("a.zip", 7), download("b.zip", 7)]).unwrap();
        let recorded = records.record(&[download("a.zip", 9)]).unwrap();
        assert!(matches!(recorded[..], [Recorded::New { .. }]), "{recorded:?}");
        let totals = records.totals().unwrap();
        assert_eq!((totals.present_files, totals.evicted_files, totals.pending_notices), (1, 1, 1));
        assert_eq!(records.due_notices(9, 9, &[]).unwrap().fresh[0].downloaded_at, 9);
        // an eviction of later on is one
        records.mark_evicted(&[recorded[0].id()], 12).unwrap();
        assert!(matches!(records.record(&[download("a.zip", 13)]).unwrap()[..], [Recorded::Already { .. }]));
    }
}
