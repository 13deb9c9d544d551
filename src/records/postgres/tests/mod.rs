//! What holds for records in PostgreSQL beside the suite of all stores.

mod fixtures;

use std::time::{Duration, Instant};

use super::reader::PostgresReader;
use super::store::PostgresStore;
use crate::records::error::{FailureKind, OpenError};
use crate::records::fixtures::{Shortcuts, download, record_some};
use crate::records::reader::RecordReader;
use crate::records::store::RecordStore;
use fixtures::{Place, Way};

/// By the pooler: what works there works without it.
mod by_pooler {
    use super::fixtures::{Way, place};

    crate::records::conformance::record_store_suite!(*place(Way::Pooler));
}

/// interface 21.7
#[test]
fn a_second_writer_is_refused_while_the_first_lives_and_goes_on_at_once_when_it_has_closed() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let first = place.open();
    let begun = Instant::now();
    assert!(matches!(PostgresStore::open(&place.settings), Err(OpenError::InUse { .. })));
    first.close();
    place.open();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// interface 21.7
#[test]
fn a_dead_process_of_this_machine_is_followed_at_once() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let first = place.open();
    place.sql("UPDATE mrosync.nodes SET holder = regexp_replace(holder, 'started [0-9]+', 'started 1')");
    let begun = Instant::now();
    let mut second = place.open();
    assert!(begun.elapsed() < Duration::from_secs(5));
    record_some(&mut *second, 1);
    drop(first);
    second.record(&[download("x.zip", 2)]).unwrap();
}

/// interface 21.7
#[test]
fn a_holder_elsewhere_is_waited_for_and_refuses_by_its_sign_of_life_alone() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let _first = place.open();
    let elsewhere =
        "UPDATE mrosync.nodes SET holder = replace(holder, 'system ', 'system x'), seen_at = now() - ";
    // it renews within 5 s
    place.sql(&format!("{elsewhere} interval '1 s'"));
    assert!(matches!(PostgresStore::open(&place.settings), Err(OpenError::InUse { .. })));
    place.sql(&format!("{elsewhere} interval '16 s'"));
    place.open();
}

/// interface 21.7
#[test]
fn whoever_lost_the_records_writes_nothing_any_more_and_says_so() {
    let Some(place) = Place::new(Way::Pooler) else { return };
    let mut records = place.open();
    let ids = record_some(&mut *records, 2);
    place.sql("UPDATE mrosync.nodes SET life = gen_random_uuid(), holder = 'host collector-2'");
    let error = records.record(&[download("late.zip", 9)]).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Replaced);
    assert!(
        error.to_string().contains("another service has taken these records (host collector-2)"),
        "{error}"
    );
    let evicted = crate::records::Change::Evicted(ids);
    assert_eq!(records.change(&evicted, 9).unwrap_err().kind(), FailureKind::Replaced);
    assert_eq!(place.read().last_id().unwrap(), Some(2));
    let sums = place.sql("SELECT count(*)::int8 FROM mrosync.files");
    assert_eq!(sums[0].get::<_, i64>(0), 2);
}

#[test]
fn connections_that_are_cut_are_replaced_and_what_was_asked_is_done() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let mut records = place.open();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for at in 1..4 {
        place.sql(cut);
        records.record(&[download(format!("{at}.zip"), at)]).unwrap();
    }
    place.sql(cut);
    assert_eq!(records.totals().unwrap().present_files, 3);
}

#[test]
fn a_directory_that_a_failover_took_back_is_made_again() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let mut records = place.open();
    record_some(&mut *records, 2);
    for table in ["files", "records", "directories"] {
        place.sql(&format!("DELETE FROM mrosync.{table}"));
    }
    let recorded = record_some(&mut *records, 2);
    assert_eq!(recorded.len(), 2);
    assert_eq!(records.due(9, 9, &[]).fresh.len(), 2);
}

#[test]
fn records_of_a_later_release_are_refused_where_it_says_so_and_records_that_are_not_there_are_missing() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let read = || PostgresReader::open(&place.settings).map(drop);
    assert!(matches!(read(), Err(OpenError::Missing { .. })));
    drop(place.open());
    place.sql("UPDATE mrosync.meta SET version = 99");
    read().unwrap();
    place.open();
    place.sql("UPDATE mrosync.meta SET min_writer = 99");
    let refused = PostgresStore::open(&place.settings).map(drop);
    assert!(matches!(refused, Err(OpenError::NewerVersion { found: 99, known: 1, .. })), "{refused:?}");
    assert!(matches!(read(), Err(OpenError::NewerVersion { .. })));
    place.sql("DROP TABLE mrosync.meta");
    assert!(matches!(read(), Err(OpenError::NotOurs { .. })));
}

/// interface 21.3
#[test]
fn a_host_that_does_not_answer_is_named_and_the_next_one_is_asked() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let mut settings = place.settings.clone();
    let nobody = (crate::config::PostgresHost::Network("127.0.0.1".to_owned()), 1);
    settings.hosts.insert(0, nobody.clone());
    drop(PostgresStore::open(&settings).unwrap());
    settings.hosts = vec![nobody.clone(), nobody];
    let Err(error) = PostgresStore::open(&settings) else { panic!("nobody listens") };
    assert!(matches!(error, OpenError::Unreachable { .. }));
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1: Connection refused"), "{text}");
}

#[test]
fn two_services_that_begin_at_once_make_the_tables_once() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let open = || PostgresStore::open(&place.settings).map(drop);
    std::thread::scope(|scope| {
        let both = [(); 3].map(|()| scope.spawn(open));
        for opened in both.map(|thread| thread.join().unwrap()) {
            assert!(matches!(opened, Ok(()) | Err(OpenError::InUse { .. })), "{opened:?}");
        }
    });
    place.open();
}

/// interface 21.8
#[test]
fn a_database_that_forgets_or_cannot_hold_every_name_is_refused() {
    let Some(place) = Place::new(Way::Socket) else { return };
    let database = &place.settings.database;
    place.sql(&format!("ALTER DATABASE {database} SET synchronous_commit = off"));
    let Err(error) = PostgresStore::open(&place.settings) else { panic!("it forgets") };
    assert!(error.to_string().contains("synchronous_commit is off"), "{error}");
    let other = Place::new(Way::Socket).unwrap();
    other.sql(&format!("CREATE DATABASE {database}_ascii ENCODING 'SQL_ASCII' TEMPLATE template0"));
    let mut settings = place.settings.clone();
    settings.database = format!("{database}_ascii");
    let Err(error) = PostgresStore::open(&settings) else { panic!("it has no encoding") };
    assert!(error.to_string().contains("not in UTF8"), "{error}");
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    let Some(place) = Place::new(Way::Password) else { return };
    let mut settings = place.settings.clone();
    settings.password = Some(crate::config::Password::new("guess-work"));
    let Err(error) = PostgresStore::open(&settings) else { panic!("it is wrong") };
    assert!(matches!(error, OpenError::Other { .. }), "{error}");
    assert!(!error.to_string().contains("guess"), "{error}");
}

#[test]
#[ignore = "shows what 200,000 records cost"]
fn what_recording_and_looking_up_cost() {
    use crate::records::fixtures::{directory, mlsd, name, server};
    let Some(place) = Place::new(Way::Socket) else { return };
    let mut records = place.open();
    for batch in [64_i64, 500] {
        let begun = Instant::now();
        for from in (0..100_000).step_by(batch as usize) {
            let file = |at: i64| download(format!("MRO_OMC1_{batch}_{at:08}_20261201000000.zip"), at);
            records.record(&(from..from + batch).map(file).collect::<Vec<_>>()).unwrap();
        }
        println!("batches of {batch}: {:.0} records/s", 100_000.0 / begun.elapsed().as_secs_f64());
    }
    let listing: Vec<_> = (0..200_000)
        .map(|at| (name(format!("MRO_OMC1_64_{at:08}_20261201000000.zip")), mlsd(10, 60)))
        .collect();
    let begun = Instant::now();
    records.look_up(&server("omc01"), &directory("/in"), &listing).unwrap();
    println!("200,000 names looked up in {:?}", begun.elapsed());
    let bytes = "SELECT sum(pg_total_relation_size(c.oid))::int8 / (SELECT count(*) FROM mrosync.records),
        (pg_total_relation_size('mrosync.records') / (SELECT count(*) FROM mrosync.records))::int8
        FROM pg_class c WHERE c.relnamespace = 'mrosync'::regnamespace AND c.relkind = 'r'";
    let row = place.sql(bytes);
    println!("bytes a record: {}, without its file {}", row[0].get::<_, i64>(0), row[0].get::<_, i64>(1));
}
