//! What everything costs with a million records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::facts::{Download, Knowledge};
use crate::records::Query;
use crate::records::fixtures::{Shortcuts, directory, download, mlsd, server};
use crate::records::sqlite::tests::fixtures::Place;
use crate::records::store::RecordStore;
use crate::records::write_json;

/// From 14 servers in turn, 5000 files to a directory, with a name as equipment makers give it.
fn nth_download(n: i64) -> Download {
    let mut file = download(format!("TD-LTE_MRO_VENDOR_OMC01_{n:06}_20261123030000.zip"), n);
    file.server = server(&format!("omc{:02}", n % 14));
    file.directory = Arc::new(directory(&format!("/MR/20261123/{:03}", n / 70_000)));
    (file.size, file.facts) = (1_000_000, mlsd(1_000_000, 1_795_402_800));
    file
}

/// Does `work` and prints how long it took for each of `count`.
fn timed<T>(what: &str, count: i64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    let total = start.elapsed();
    println!("{what}: {total:?}, {:.2} us each of {count}", total.as_secs_f64() * 1e6 / count as f64);
    value
}

#[test]
#[ignore = "takes a minute; shows the cost of everything with a million records"]
fn a_million_records_cost_no_more_to_open_than_a_few() {
    const MILLION: i64 = 1_000_000;
    let place = Place::new();
    let mut records = place.open();
    timed("record in thousands", MILLION, || {
        for thousand in 0..MILLION / 1000 {
            let files: Vec<_> = (0..1000).map(|n| nth_download(thousand * 1000 + n)).collect();
            records.record(&files).unwrap();
        }
    });
    let ids = |range: std::ops::Range<i64>| range.collect::<Vec<_>>();
    timed("deliver", 900_000, || records.deliver(&ids(1..900_001), 1));
    timed("evict", 800_000, || records.evict(&ids(1..800_001), 1));
    records.close();
    let bytes = std::fs::metadata(place.file()).unwrap().len();
    println!("{} bytes a record", bytes / MILLION.cast_unsigned());

    let start = Instant::now();
    let mut records = timed("open", 1, || place.open());
    assert!(start.elapsed() < Duration::from_secs(1));
    let listing: Vec<_> =
        (0..5000).map(|n| nth_download(n * 14)).map(|file| (file.name, file.facts)).collect();
    let first = nth_download(0);
    for turn in ["cold", "warm"] {
        let found = timed(&format!("look up, {turn}"), 5000, || {
            records.look_up(&first.server, &first.directory, &listing).unwrap()
        });
        assert_eq!(found.iter().filter(|found| **found == Knowledge::Known).count(), 5000);
    }
    timed("totals", 1, || records.totals().unwrap());
    timed("oldest present", 100, || {
        assert_eq!(records.oldest_present(true, None, 100).unwrap()[0].id, 800_001)
    });
    timed("due notices", 100, || assert_eq!(records.due(MILLION, 100, &[]).fresh.len(), 100));
    timed("deliver one by one", 200, || {
        (900_001..900_201).for_each(|id| assert_eq!(records.deliver(&[id], 1), 1));
    });
    let mut next = MILLION;
    for batch in [1, 64] {
        timed(&format!("record in batches of {batch}"), batch * 200, || {
            for _ in 0..200 {
                let files: Vec<_> = (0..batch).map(|n| nth_download(next + n)).collect();
                records.record(&files).unwrap();
                next += batch;
            }
        });
    }
    let mut reader = place.read();
    timed("export as json", next, || {
        write_json(&mut reader, &Query::default(), &mut std::io::sink()).unwrap()
    });
}
