//! What the records cost, small and large, so that a slip shows: `cargo bench --bench records`. A look-up must cost
//! the same in both; recording includes the sync of the disk.

#![expect(clippy::expect_used, reason = "a benchmark that cannot set its scene has nothing to measure")]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mrosync::base::facts::{Download, Earlier, FileFacts, Modified, TimeSource};
use mrosync::base::names::{RemoteName, RemotePath, ServerName};
use mrosync::config::RecordsSettings;

/// Files that are recorded or looked up together, as in a directory of some hours.
const TOGETHER: u64 = 64;
/// Records that the database holds before. The larger one takes some seconds to fill.
const SIZES: [u64; 2] = [1_000, 200_000];

fn server() -> ServerName {
    ServerName::new("omc01").expect("a name")
}

fn directory(n: u64) -> Arc<RemotePath> {
    let path = RemotePath::from_text(&format!("/mro/{}", n / TOGETHER), encoding_rs::UTF_8);
    Arc::new(path.expect("a path"))
}

fn facts(n: u64) -> FileFacts {
    let modified = Modified { unix_seconds: 1_795_000_000 + i64::from(n as u32), source: TimeSource::Utc };
    FileFacts { size: Some(5000 + n), modified: Some(modified) }
}

fn name(n: u64) -> RemoteName {
    RemoteName::from_wire(format!("omc_{n:08}_mro.zip").as_bytes(), encoding_rs::UTF_8).expect("a name")
}

/// Files `from` on, which all lie in one directory.
fn downloads(from: u64) -> Vec<Download> {
    let directory = directory(from);
    let download = |n| Download {
        server: server(),
        directory: Arc::clone(&directory),
        name: name(n),
        facts: facts(n),
        size: 5000 + n,
        downloaded_at: 1_795_000_000_000,
        no_archive: false,
        earlier: Earlier::Stays,
    };
    (from..from + TOGETHER).map(download).collect()
}

fn records(criterion: &mut Criterion) {
    for size in SIZES {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut records = mrosync::records::open(&RecordsSettings::Sqlite(place.path().join("records.db")))
            .expect("a database");
        let mut next = 0;
        while next < size {
            // many directories in one transaction, which fills it faster
            let files: Vec<Download> = (0..16).flat_map(|part| downloads(next + part * TOGETHER)).collect();
            records.record(&files).expect("recorded");
            next += files.len() as u64;
        }
        let mut group = criterion.benchmark_group(format!("{size} records"));
        group.throughput(Throughput::Elements(TOGETHER));
        let known: Vec<_> = (0..TOGETHER).map(|n| (name(n), facts(n))).collect();
        let path = directory(0);
        group.bench_function("look 64 known files up", |bencher| {
            bencher.iter(|| records.look_up(&server(), &path, &known).expect("looked up"));
        });
        group.bench_function("record 64 files", |bencher| {
            let fresh = || {
                next += TOGETHER;
                downloads(next)
            };
            bencher.iter_batched(
                fresh,
                |files| records.record(&files).expect("recorded"),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, records);
criterion_main!(benches);
