//! What only SQL shows: what is stored, and what is not written or read.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, StatementStatus, params};

use super::super::open::statements;
use super::super::outbox::{FRESH, notice};
use super::super::reader::PAGE_OF_ROWS;
use super::super::store::SqliteStore;
use super::super::totals::totals;
use crate::base::facts::{FileFacts, Knowledge, Postponed};
use crate::records::error::FailureKind;
use crate::records::fixtures::{Shortcuts, directory, download, mlsd, name, new_id, record_some, server};
use crate::records::sqlite::tests::fixtures::Place;
use crate::records::store::RecordStore;
use crate::records::types::{PresentFile, Totals, Writes};

/// The totals, counted anew from all rows.
fn counted(records: &SqliteStore) -> Totals {
    let sql = "SELECT count(*) FILTER (WHERE evicted_at IS NULL),
            ifnull(sum(size) FILTER (WHERE evicted_at IS NULL), 0),
            count(*) FILTER (WHERE evicted_at IS NOT NULL),
            ifnull(sum(size) FILTER (WHERE evicted_at IS NOT NULL), 0),
            count(*) FILTER (WHERE evicted_at IS NULL AND notified_at IS NULL),
            count(notified_at), count(*) FILTER (WHERE evicted_at IS NOT NULL AND notified_at IS NULL),
            (SELECT ifnull(sum(changes), 0) FROM last_listed)
        FROM downloads";
    records.connection.query_row(sql, [], totals).unwrap()
}

#[test]
fn the_totals_stay_right_when_rows_are_deleted_by_hand() {
    let place = Place::new();
    let mut records = place.open();
    let ids = record_some(&mut *records, 6);
    records.deliver(&ids[..3], 7);
    records.evict(&ids[2..5], 8);
    let listing = [(name("1.zip"), mlsd(99, 60)), (name("6.zip"), mlsd(99, 60))];
    records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
    records.connection.execute("DELETE FROM downloads WHERE id % 2 = 0", []).unwrap();
    let changes = records.totals().unwrap().changes;
    assert_eq!(records.totals().unwrap(), Totals { changes, ..counted(&records) });
    assert_eq!(counted(&records).changes, 1, "the change of a deleted record is gone with it");
}

#[test]
fn a_write_holds_the_lock_from_its_beginning_and_keeps_nothing_where_it_fails() {
    let place = Place::new();
    let mut records = place.open();
    let other = Connection::open(place.file()).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let refused = records.write("try", |transaction| {
        other.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        transaction.execute("UPDATE totals SET changes = 5", [])?;
        transaction.execute_batch("SELECT * FROM nowhere")
    });
    assert!(refused.unwrap_err().to_string().starts_with("cannot try in "));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(records.totals().unwrap().changes, 0);
}

fn all_present(records: &mut SqliteStore) -> Vec<PresentFile> {
    records.present_after(None, 1000).unwrap()
}

#[test]
fn ids_ascend_even_after_the_latest_rows_were_deleted_by_hand() {
    let place = Place::new();
    let mut records = place.open();
    let ids = record_some(&mut *records, 3);
    assert!(ids.is_sorted());
    records.connection.execute("DELETE FROM downloads WHERE id >= ?1", [ids[1]]).unwrap();
    let next = new_id(records.record(&[download("new.zip", 9)]).unwrap()[0]);
    assert!(next > ids[2], "{next} after {ids:?}");
}

#[test]
fn on_a_full_disk_all_or_nothing_is_recorded_and_it_goes_on_when_there_is_room() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 1);
    let pages: i64 = records.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |pages: i64| format!("PRAGMA max_page_count = {pages}");
    records.connection.query_row(&limit(pages), [], |_| Ok(())).unwrap();
    let files: Vec<_> = (0..500).map(|n| download(format!("more-{n}.zip"), n)).collect();
    let error = records.record(&files).unwrap_err();
    assert_eq!(error.kind(), FailureKind::DiskFull);
    let told = error.to_string();
    assert!(told.starts_with(&format!("cannot record downloads in {}: ", place.file().display())), "{told}");
    assert_eq!((all_present(&mut records).len(), records.totals().unwrap().downloads()), (1, 1));
    records.connection.query_row(&limit(1_000_000), [], |_| Ok(())).unwrap();
    assert_eq!(records.record(&files).unwrap().len(), 500);
    assert_eq!(records.totals().unwrap().downloads(), 501);
}

/// What the records say of `/in/a.zip` of omc01, listed with `facts`.
fn look_up(records: &mut SqliteStore, facts: FileFacts) -> Knowledge {
    records.look_up(&server("omc01"), &directory("/in"), &[(name("a.zip"), facts)]).unwrap()[0]
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
fn without_a_change_nothing_is_written() {
    let place = Place::new();
    let mut records = place.open();
    records.record(&[download("a.zip", 1)]).unwrap();
    records.connection.pragma_update(None, "query_only", true).unwrap();
    assert_eq!(look_up(&mut records, mlsd(10, 60)), Knowledge::Known);
    let listing = [(name("a.zip"), mlsd(11, 60))];
    let refused = records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap_err();
    assert_eq!(refused.kind(), FailureKind::ReadOnly);
    records.connection.pragma_update(None, "query_only", false).unwrap();
    // what could not be kept was not answered, so it is told now
    assert_eq!(look_up(&mut records, mlsd(11, 60)), Knowledge::Changed { was: mlsd(10, 60) });
}

#[test]
fn a_delivery_clears_what_a_failed_call_left() {
    let place = Place::new();
    let mut records = place.open();
    let ids = record_some(&mut *records, 1);
    records.deliver(&ids, 5);
    records.postpone(ids[0], 1, 7);
    let sql = "SELECT attempts, next_attempt_at FROM downloads";
    let kept: (i64, i64) =
        records.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(kept, (0, 0));
}

#[test]
fn a_start_without_a_new_server_writes_nothing() {
    let place = Place::new();
    let [a, b] = [server("a"), server("b")];
    let mut records = place.open();
    assert_eq!(records.begin_servers(&[b.clone(), a.clone()], 200).unwrap(), [200, 200]);
    records.connection.pragma_update(None, "query_only", true).unwrap();
    assert_eq!(
        records.begin_servers(&[b.clone(), a.clone()], 300).unwrap(),
        [200, 200],
        "nothing is written"
    );
}

#[test]
fn a_fresh_notice_is_found_beside_any_number_that_failed_and_without_a_look_at_those() {
    let place = Place::new();
    let mut records = place.open();
    let ids = record_some(&mut *records, 3000);
    let failed: Vec<_> = ids.iter().take(2999).map(|id| Postponed { id: *id, attempts: 3, at: 4 }).collect();
    records.commit(&Writes { postponed: &failed, ..Writes::default() }).unwrap();
    let due = records.due(10_000, 5, &[]);
    assert_eq!(due.fresh.iter().map(|notice| notice.id).collect::<Vec<_>>(), [ids[2999]]);
    assert_eq!(due.tried.len(), 5);
    let mut fresh = records.connection.prepare(FRESH).unwrap();
    fresh.query_map(params![9, ""], notice).unwrap().for_each(drop);
    let steps = fresh.get_status(rusqlite::StatementStatus::VmStep);
    assert!(steps < 200, "{steps} steps of SQLite for one row");
}

#[test]
fn every_statement_finds_its_rows_by_an_index_in_their_order() {
    let place = Place::new();
    let mut records = place.open();
    let files: Vec<_> = (0..400)
        .map(|n| {
            let mut file = download(format!("{n}.zip"), n);
            file.directory = Arc::new(directory(&format!("/{}", n % 40)));
            file
        })
        .collect();
    records.record(&files).unwrap();
    // the plans hold with statistics, which an operator may have gathered, and without
    for statistics in ["", "ANALYZE"] {
        records.connection.execute_batch(statistics).unwrap();
        let mut named = 0;
        for sql in statements().chain([PAGE_OF_ROWS]) {
            let mut explain = records.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = explain.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let in_order =
                    step.contains("USING INDEX outbox") || step.contains("USING COVERING INDEX outbox");
                let searched = step.starts_with("SEARCH") || in_order || step == "SCAN totals";
                assert!(searched && !step.contains("TEMP B-TREE"), "{step}: {sql}");
                named += usize::from(step.contains("INDEX present_") || in_order);
            }
        }
        assert_eq!(named, 7, "the statements with an index of their own");
    }
}

#[test]
fn no_statement_is_planned_anew_for_each_question() {
    let place = Place::new();
    let mut records = place.open();
    record_some(&mut *records, 3);
    let listing = [(name("1.zip"), mlsd(10, 60))];
    let mut ask = || {
        records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
        assert_eq!(records.present_after(None, 9).unwrap().len(), 3);
        assert_eq!(records.due(i64::MAX, 9, &[]).fresh.len(), 3);
        let plans = |sql| {
            let statement = records.connection.prepare_cached(sql).unwrap();
            statement.get_status(StatementStatus::RePrepare)
        };
        statements().map(plans).sum::<i32>()
    };
    let first = ask();
    assert_eq!([ask(), ask()], [first; 2]);
}
