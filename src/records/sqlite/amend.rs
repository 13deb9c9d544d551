//! What an operator changes in the records afterwards. Runs on the thread that owns [`Records`].

use rusqlite::{OptionalExtension, params};

use super::{Records, RecordsError};

/// Most records that are changed in one transaction, so that downloads and notices never wait for long.
pub const BATCH: usize = 500;

/// A change of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amendment {
    /// They are taken out, so that their files are new.
    Forget,
    /// Files that are in the mirror are to be announced once more.
    Requeue,
}

/// What became of records that an operator changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amended {
    /// How many changed.
    pub records: usize,
    /// Notices that waited for their call and went with their records.
    pub cancelled_notices: u64,
}

const FORGET: &str =
    "DELETE FROM downloads WHERE id = ?1 RETURNING evicted_at IS NULL AND notified_at IS NULL";
const REQUEUE: &str = "UPDATE downloads SET notified_at = NULL, attempts = 0, next_attempt_at = ?2
    WHERE id = ?1 AND notified_at IS NOT NULL AND evicted_at IS NULL";

/// All of the above, to be prepared when the database is opened.
pub(super) const STATEMENTS: [&str; 2] = [FORGET, REQUEUE];

impl Records {
    /// Changes the records `ids` and says how many that changed, and how many notices are never called because of it;
    /// those that are gone, or need no change, are passed over. `now` is in unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; none is changed then.
    pub fn amend(&mut self, amendment: Amendment, ids: &[i64], now: i64) -> Result<Amended, RecordsError> {
        self.write("change records", |transaction| {
            let mut sum = Amended::default();
            for id in ids {
                match amendment {
                    Amendment::Forget => {
                        let mut forget = transaction.prepare_cached(FORGET)?;
                        let pending: Option<bool> = forget.query_row([id], |row| row.get(0)).optional()?;
                        sum.records += usize::from(pending.is_some());
                        sum.cancelled_notices += u64::from(pending == Some(true));
                    }
                    Amendment::Requeue => {
                        let mut requeue = transaction.prepare_cached(REQUEUE)?;
                        sum.records += requeue.execute(params![id, now])?;
                    }
                }
            }
            Ok(sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Place, directory, mlsd, name, record_some, server};
    use super::super::{Knowledge, Postponed, Totals};
    use super::*;

    #[test]
    fn what_was_forgotten_is_new_again_and_counts_nowhere() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3);
        let listed = [(name("1.zip"), mlsd(99, 99))];
        let known =
            |records: &mut Records| records.look_up(&server("omc01"), &directory("/in"), &listed).unwrap()[0];
        // a change that was noticed goes with the record
        assert!(matches!(known(&mut records), Knowledge::Changed { .. }));
        records.mark_evicted(&ids[1..2], 5).unwrap();
        let amended = records.amend(Amendment::Forget, &[ids[0], ids[1], ids[0], 999], 9).unwrap();
        assert_eq!(amended, Amended { records: 2, cancelled_notices: 1 });
        assert_eq!(known(&mut records), Knowledge::New);
        let totals = records.totals().unwrap();
        assert_eq!((totals.present_files, totals.evicted_files, totals.pending_notices), (1, 0, 1));
        assert_eq!(records.mark_delivered(&ids[..1], 9).unwrap(), 0);
    }

    #[test]
    fn only_announced_files_of_the_mirror_are_announced_once_more() {
        let place = Place::new();
        let mut records = place.open();
        let ids = record_some(&mut records, 3);
        records.mark_delivered(&ids[..2], 5).unwrap();
        records.mark_evicted(&ids[1..2], 6).unwrap();
        records.settle(&[], 0, &[Postponed { id: ids[2], attempts: 7, at: 5000 }]).unwrap();
        assert_eq!(records.amend(Amendment::Requeue, &ids, 100).unwrap().records, 1);
        assert_eq!(records.due_notices(100, 9, &[]).unwrap().fresh[0].id, ids[0]);
        assert_eq!(records.due_notices(5000, 9, &[]).unwrap().tried[0].attempts, 7);
        let Totals { pending_notices, delivered_notices, .. } = records.totals().unwrap();
        assert_eq!((pending_notices, delivered_notices), (2, 1));
    }
}
