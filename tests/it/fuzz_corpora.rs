//! The fuzz targets on their corpora, and on changes of them that are the same in every run: what fuzzing once
//! found stays found, without cargo-fuzz. `scripts/fuzz` looks for more.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

/// Changes of each file of a corpus.
const CHANGES: u64 = 60;

/// Bytes that mean something to one reader or another.
const TELLING: &[u8] = b"\0\t\n\r \"'%-./0129:;=APZ[\\]_az\x1b\x7f\x81\x9b\xa0\xc2\xe2\xff";

#[test]
fn listings_hold_on_their_corpus() {
    run("listings", targets::listings::run);
}

#[test]
fn replies_hold_on_their_corpus() {
    run("replies", targets::replies::run);
}

#[test]
fn passive_ports_hold_on_their_corpus() {
    run("passive", targets::passive::run);
}

#[test]
fn configurations_hold_on_their_corpus() {
    run("configuration", targets::configuration::run);
}

#[test]
fn console_lines_hold_on_their_corpus() {
    run("console", targets::console::run);
}

#[test]
fn names_hold_on_their_corpus() {
    run("names", targets::names::run);
}

#[test]
fn packets_hold_on_their_corpus() {
    run("packets", targets::packets::run);
}

#[test]
fn names_of_partial_files_hold_on_their_corpus() {
    run("partials", targets::partials::run);
}

#[test]
fn zips_hold_on_their_corpus() {
    run("zips", targets::zips::run);
}

fn run(target: &str, body: fn(&[u8])) {
    let corpus = corpus(target);
    for (path, seed) in &corpus {
        attempt(path, None, seed, body);
        for number in 0..CHANGES {
            let mut chance = Chance(hash(seed) ^ number);
            let (_, other) = &corpus[chance.below(corpus.len())];
            attempt(path, Some(number), &changed(seed, other, &mut chance), body);
        }
    }
}

/// Runs the target, and says which file and change it failed with.
fn attempt(path: &Path, change: Option<u64>, data: &[u8], body: fn(&[u8])) {
    if let Err(panic) = std::panic::catch_unwind(|| body(data)) {
        eprintln!("{} with change {change:?}: {:?}", path.display(), String::from_utf8_lossy(data));
        std::panic::resume_unwind(panic);
    }
}

/// The files of a target's corpus in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("a corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{} is no corpus", directory.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect()
}

/// A few changes at random places, as fuzzers make them.
fn changed(seed: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(data.len() + 1);
        let end = (at + chance.below(16)).min(data.len());
        match chance.below(6) {
            0 if at < data.len() => data[at] = TELLING[chance.below(TELLING.len())],
            1 if at < data.len() => data[at] ^= 1 << chance.below(8),
            2 => data.insert(at, TELLING[chance.below(TELLING.len())]),
            3 => drop(data.drain(at..end)),
            4 => {
                let part = data[at..end].to_vec();
                data.splice(at..at, part);
            }
            _ => {
                let from = chance.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or_default() % most
    }
}

/// FNV-1a: the same in every run and on every machine.
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
