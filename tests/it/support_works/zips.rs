//! The archives of the tests are archives.

use std::io::Cursor;

use crate::support::zips::{noise, zip};

#[test]
fn zips_are_real_and_the_same_for_the_same_seed() {
    let bytes = zip(3, 50_000);
    assert!(bytes.len() > 50_000 && bytes.len() < 50_500, "{}", bytes.len());
    assert!(bytes == zip(3, 50_000));
    assert!(noise(3, 50_000) != noise(4, 50_000));
    let mut archive = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut content = Vec::new();
    std::io::copy(&mut archive.by_index(0).unwrap(), &mut content).unwrap();
    assert!(content == noise(3, 50_000));
}
