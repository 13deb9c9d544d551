//! Known files that a server lists with times shifted as a whole: once it is clear whether its zone changed or the files
//! did, their records follow. Runs on the thread that owns [`Records`].

use rusqlite::{Connection, OptionalExtension, params};

use super::downloads::{FIND_DIRECTORY, keep_listed};
use super::known::{LOOK_UP, News, SET_TIME, keep_news};
use super::{Records, RecordsError, modified_columns};
use crate::base::facts::Shifted;
use crate::base::names::ServerName;

/// Files that are settled in one transaction.
const TOGETHER: usize = 1000;

impl Records {
    /// Brings records up to date whose files are listed with another time. Those that did change count as changed.
    ///
    /// # Errors
    ///
    /// [`RecordsError`]; those that were not settled are answered as before.
    pub fn settle_shifts(&mut self, server: &ServerName, files: &[Shifted]) -> Result<(), RecordsError> {
        for files in files.chunks(TOGETHER) {
            self.write("settle times", |transaction| {
                files.iter().try_for_each(|file| settle(transaction, server, file))
            })?;
        }
        Ok(())
    }
}

fn settle(connection: &Connection, server: &ServerName, file: &Shifted) -> rusqlite::Result<()> {
    let mut find = connection.prepare_cached(FIND_DIRECTORY)?;
    let directory = find.query_row(params![server.as_str(), file.directory.wire()], |row| row.get(0));
    let Some(directory): Option<i64> = directory.optional()? else { return Ok(()) };
    let mut look_up = connection.prepare_cached(LOOK_UP)?;
    let known = look_up.query_row(params![directory, file.name.wire()], |row| Ok((row.get(0)?, row.get(4)?)));
    // forgotten meanwhile, it is fetched again
    let Some((id, changes)): Option<(i64, Option<i64>)> = known.optional()? else { return Ok(()) };
    match (file.is_zone, changes) {
        (false, _) => keep_news(connection, &News::Changed { id }, &file.facts),
        (true, Some(_)) => keep_listed(connection, id, &file.facts, 0),
        (true, None) => {
            let (seconds, source) = modified_columns(&file.facts);
            connection.prepare_cached(SET_TIME)?.execute(params![id, seconds, source]).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixtures::{Place, directory, download, mlsd, name, server};
    use super::super::{Knowledge, Records};
    use super::*;
    use crate::base::facts::FileFacts;

    fn look_up(records: &mut Records, facts: FileFacts) -> Knowledge {
        records.look_up(&server("omc01"), &directory("/in"), &[(name("a.zip"), facts)]).unwrap()[0]
    }

    fn settle(records: &mut Records, facts: FileFacts, is_zone: bool) {
        let file = Shifted { directory: Arc::new(directory("/in")), name: name("a.zip"), facts, is_zone };
        records.settle_shifts(&server("omc01"), &[file]).unwrap();
    }

    #[test]
    fn a_shift_is_answered_until_it_is_settled_and_counts_as_a_change_only_where_it_is_one() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        let shifted = Knowledge::Shifted { was: mlsd(10, 60), by: 3600 };
        assert_eq!([(); 2].map(|()| look_up(&mut records, mlsd(10, 3660))), [shifted; 2]);
        settle(&mut records, mlsd(10, 3660), true);
        assert_eq!(look_up(&mut records, mlsd(10, 3660)), Knowledge::Known);
        assert_eq!(records.totals().unwrap().changes, 0);
        // back again, where the file was changed in between
        assert_eq!(look_up(&mut records, mlsd(11, 3661)), Knowledge::Changed { was: mlsd(10, 3660) });
        settle(&mut records, mlsd(11, 61), true);
        assert_eq!(look_up(&mut records, mlsd(11, 61)), Knowledge::Known);
        assert_eq!(records.totals().unwrap().changes, 1);
        settle(&mut records, mlsd(11, 3661), false);
        assert_eq!(look_up(&mut records, mlsd(11, 3661)), Knowledge::Known);
        assert_eq!(records.totals().unwrap().changes, 2);
    }

    #[test]
    fn another_size_is_a_change_whatever_the_time() {
        let place = Place::new();
        let mut records = place.open();
        records.record(&[download("a.zip", 1)]).unwrap();
        assert_eq!(look_up(&mut records, mlsd(11, 3660)), Knowledge::Changed { was: mlsd(10, 60) });
    }
}
