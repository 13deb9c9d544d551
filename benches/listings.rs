//! What listings and replies cost, so that a slip shows: `cargo bench --bench listings`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mrosync::ftp::control::reply::{Reply, ReplyRepair};
use mrosync::ftp::listing::ListingParser;

/// Entries of a listing, as in a directory of some days.
const ENTRIES: u32 = 1000;
/// What one read of a data connection brings.
const CHUNK: usize = 32 * 1024;

/// A listing of zips, each line made by `line` of a number.
fn listing(line: impl Fn(u32) -> String) -> Vec<u8> {
    (0..ENTRIES).flat_map(|n| line(n).into_bytes()).collect()
}

fn unix(n: u32) -> String {
    format!(
        "-rw-r--r--    1 1000     1000     {:>8} Nov 23 03:{:02} omc_{n:06}_mro.zip\r\n",
        5000 + n,
        n % 60
    )
}

fn dos(n: u32) -> String {
    format!("11-23-26  03:{:02}AM {:>20} omc_{n:06}_mro.zip\r\n", n % 60, 5000 + n)
}

fn mlsd(n: u32) -> String {
    format!(
        "type=file;size={};modify=202611230300{:02};UNIX.mode=0644; omc_{n:06}_mro.zip\r\n",
        5000 + n,
        n % 60
    )
}

fn parse(mut parser: ListingParser, bytes: &[u8]) -> usize {
    let mut entries = Vec::new();
    for chunk in bytes.chunks(CHUNK) {
        parser.feed(chunk, &mut entries);
    }
    parser.finish(&mut entries);
    entries.len()
}

fn listings(criterion: &mut Criterion) {
    let now = chrono::Utc::now();
    let list = || ListingParser::list(encoding_rs::UTF_8, now);
    let mlsd_of = || ListingParser::mlsd(encoding_rs::UTF_8);
    let mut group = criterion.benchmark_group("listing of 1000 zips");
    group.throughput(Throughput::Elements(ENTRIES.into()));
    for (name, bytes) in [("unix", listing(unix)), ("dos", listing(dos))] {
        group.bench_function(name, |bencher| bencher.iter(|| parse(list(), black_box(&bytes))));
    }
    let bytes = listing(mlsd);
    group.bench_function("mlsd", |bencher| bencher.iter(|| parse(mlsd_of(), black_box(&bytes))));
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let wire =
        b"226 Transfer complete.\r\n227 Entering Passive Mode (10,0,0,1,156,64).\r\n150 Here it comes.\r\n";
    criterion.bench_function("the three replies of a file", |bencher| {
        bencher.iter(|| {
            let mut ready = Vec::new();
            let fed = ReplyRepair::default().feed(black_box(wire), &mut ready);
            (fed.is_ok(), Reply::from_body(ready).pasv_port())
        });
    });
}

criterion_group!(benches, listings, replies);
criterion_main!(benches);
