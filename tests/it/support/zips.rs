//! Real zip archives with reproducible content, and the names that MRO exports bear.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A readable archive of one entry: about `size` bytes in all (some 150 more), the same for the same `seed`.
pub fn zip(seed: u64, size: usize) -> Vec<u8> {
    // stored, because random bytes do not shrink and a test has better things to do
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(size + 256)));
    archive.start_file(format!("{seed}.xml"), options).expect("a new entry");
    archive.write_all(&noise(seed, size)).expect("room in memory");
    archive.finish().expect("room in memory").into_inner()
}

/// A readable archive of exactly `size` bytes, for tests that want any bytes that are taken.
pub fn sized(seed: u64, size: usize) -> Vec<u8> {
    let archive = zip(seed, size - zip(seed, 0).len());
    assert_eq!(archive.len(), size);
    archive
}

/// `size` bytes that look random and are the same for the same `seed` (xorshift64*).
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The name of an export: `TD-LTE_MRO_{vendor}_{OMC}_{eNB}_{yyyymmddHHMMSS}.zip`, of the quarter of an hour
/// `quarter` on 2026-11-23 (0 to 95).
pub fn mro_name(omc: &str, enb: u32, quarter: u32) -> String {
    let (hour, minute) = (quarter / 4 % 24, quarter % 4 * 15);
    format!("TD-LTE_MRO_HUAWEI_{omc}_{enb}_20261123{hour:02}{minute:02}00.zip")
}
