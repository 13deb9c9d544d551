//! Files of which something is on record already.

use std::time::Duration;

use tokio::time::sleep;

use super::world::{INTERVAL, World, run, scanned, zip_of};
use crate::base::facts::{Download, FileFacts, Modified, TimeSource};
use crate::base::fixtures::name;
use crate::collector::ports::Records;
use crate::protocol::memory::{Action, Step};
use crate::records::fixtures::download;

#[test]
fn a_file_that_an_operator_counts_as_fetched_during_the_scan_is_not_fetched() {
    run(async || {
        let world = World::new("connections = 1");
        let zip = zip_of(500, 1);
        world.remote.file("/in/1.zip", zip.clone(), 7).file("/in/2.zip", zip.clone(), 7);
        world.remote.on(Step::Fetch, "/in/1.zip", Action::Delay(Duration::from_secs(10)));
        let server = world.start();
        let mark = async {
            sleep(Duration::from_secs(5)).await;
            let modified = Some(Modified { unix_seconds: 7, source: TimeSource::Utc });
            let (size, name) = (zip.len() as u64, name("2.zip"));
            let facts = FileFacts { size: Some(size), modified };
            world.records.record(Download { name, facts, size, ..download("2.zip", 1) }).await.unwrap();
            world.progress.records_changed();
        };
        let (tally, ()) = tokio::join!(scanned(&server), mark);
        assert_eq!((tally.files, tally.fetched, world.remote.count(Step::Fetch, "/in/2.zip")), (2, 1, 0));
    });
}

#[test]
fn the_same_bytes_under_another_time_are_put_on_record_and_replace_nothing() {
    run(async || {
        let world = World::new("");
        world.remote.file("/a.zip", "no archive", 7);
        let server = world.start();
        for (modified, downloads) in [(7, 1), (700_000, 1)] {
            world.remote.file("/a.zip", "no archive", modified);
            while scanned(&server).await.fetched == 0 {
                sleep(INTERVAL).await;
            }
            assert_eq!(world.status().files_downloaded, downloads);
            assert_eq!(world.records.row("/a.zip").unwrap().facts.modified.unwrap().unix_seconds, modified);
            assert!(world.partial().is_empty());
        }
        assert_eq!((scanned(&server).await.fetched, world.remote.count(Step::Fetch, "") > 2), (0, true));
        assert_eq!(world.content("/a.zip"), Some(b"no archive".to_vec()));
    });
}
