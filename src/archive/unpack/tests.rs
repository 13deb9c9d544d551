//! Archives entry by entry.

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::archive::Formats;
use crate::archive::end::find_directory;
use crate::archive::tests::with_zip64_end;

const METHODS: [CompressionMethod; 3] =
    [CompressionMethod::Stored, CompressionMethod::Deflated, CompressionMethod::Bzip2];

fn read(bytes: &[u8]) -> Result<u64, Failure> {
    read_within(bytes, Limits::of(bytes.len() as u64))
}

fn read_within(bytes: &[u8], limits: Limits) -> Result<u64, Failure> {
    read_until(bytes, &|| false, limits)
}

fn read_until(bytes: &[u8], stop: &dyn Fn() -> bool, mut limits: Limits) -> Result<u64, Failure> {
    let source = Source::Memory(bytes);
    let Some(directory) = find_directory(source, bytes.len() as u64)? else {
        return Err(Failure::Damaged("it does not end as one".to_owned()));
    };
    let before = directory.before(source)?;
    read_all(&Disk::new(source, stop), directory, before, &mut limits)
}

fn limits(bytes: u64, entries: u64) -> Limits {
    Limits { bytes, entries, ..Limits::of(1 << 20) }
}

/// What is wrong with a damaged archive.
fn damage(result: Result<u64, Failure>) -> String {
    match result {
        Err(Failure::Damaged(text)) => text,
        other => panic!("not damaged: {other:?}"),
    }
}

fn options(method: CompressionMethod) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(method)
}

fn archive(method: CompressionMethod, contents: &[&[u8]]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (index, content) in contents.iter().enumerate() {
        writer.start_file(format!("{index}"), options(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A little that compresses, and a little that does not.
fn content() -> Vec<u8> {
    (0..3000_u32).flat_map(|number| (number / 7).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

fn position(bytes: &[u8], signature: &[u8]) -> usize {
    bytes.windows(signature.len()).position(|window| window == signature).unwrap()
}

/// Puts `extra` into the only header of the directory.
fn with_extra(bytes: &[u8], extra: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let central = position(bytes, CENTRAL_HEADER);
    let end = bytes.len() - 22;
    let (mut header, mut record) = (bytes[central..end].to_vec(), bytes[end..].to_vec());
    header[30..32].copy_from_slice(&u16::try_from(extra.len()).unwrap().to_le_bytes());
    change(&mut header);
    header.splice(47..47, extra.iter().copied());
    record[12..16].copy_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
    [&bytes[..central], &header, &record].concat()
}

/// interface 10.14
#[test]
fn archives_of_every_method_are_read() {
    for method in METHODS {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_directory("empty", options(method)).unwrap();
        for name in ["a", "目录/文件.xml"] {
            writer.start_file(name, options(method)).unwrap();
            writer.write_all(&content()).unwrap();
        }
        writer.start_file("nothing", options(method)).unwrap();
        writer.start_file("large", options(method).large_file(true)).unwrap();
        writer.write_all(b"x").unwrap();
        writer.set_comment("a comment").unwrap();
        read(&writer.finish().unwrap().into_inner()).unwrap();
    }
    read(&archive(CompressionMethod::Stored, &[])).unwrap();
}

#[test]
fn an_archive_written_as_a_stream_has_its_sizes_behind_the_data() {
    for method in METHODS {
        let mut writer = ZipWriter::new_stream(Vec::new());
        writer.start_file("a", options(method)).unwrap();
        writer.write_all(&content()).unwrap();
        writer.start_file("b", options(method)).unwrap();
        writer.write_all(b"x").unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(u16_at(&bytes, 6) & SIZES_FOLLOW, SIZES_FOLLOW);
        read(&bytes).unwrap();
    }
}

/// interface 10.14
#[test]
fn one_changed_byte_of_content_is_found() {
    let stored = archive(CompressionMethod::Stored, &[b"first", b"second"]);
    let start = position(&stored, b"second");
    for at in start..start + 6 {
        let mut bytes = stored.clone();
        bytes[at] ^= 1;
        assert_eq!(damage(read(&bytes)), "entry 2: Invalid checksum");
    }
    for method in METHODS {
        let mut bytes = archive(method, &[&content()]);
        let middle = position(&bytes, CENTRAL_HEADER) / 2;
        bytes[middle] ^= 0x10;
        assert!(damage(read(&bytes)).starts_with("entry 1: "));
    }
}

#[test]
fn one_of_two_entries_with_the_same_name_is_not_overlooked() {
    for at in [0, 1] {
        let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
        // "1" becomes "0" in both headers
        for name in [position(&bytes, b"1second"), bytes.len() - 23] {
            bytes[name] = b'0';
        }
        read(&bytes).unwrap();
        let content = position(&bytes, [&b"first"[..], b"second"][at]);
        bytes[content] ^= 1;
        assert_eq!(damage(read(&bytes)), format!("entry {}: Invalid checksum", at + 1));
    }
}

#[test]
fn an_archive_cut_anywhere_is_damaged() {
    let bytes = archive(CompressionMethod::Deflated, &[b"first", b"second"]);
    for length in 0..bytes.len() {
        assert_eq!(damage(read(&bytes[..length])), "it does not end as one");
    }
    assert_eq!(damage(read(b"<html>a page of more than 22 bytes</html>")), "it does not end as one");
}

#[test]
fn bytes_missing_in_the_middle_are_found() {
    for method in METHODS {
        let mut bytes = archive(method, &[&content(), b"second"]);
        bytes.drain(100..200);
        damage(read(&bytes));
    }
}

#[test]
fn something_may_stand_before_an_archive() {
    let bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
    read(&[b"#!/bin/sh\n", &bytes[..]].concat()).unwrap();
    let mut changed = [b"#!/bin/sh\n", &bytes[..]].concat();
    let at = position(&changed, b"second");
    changed[at] ^= 1;
    assert_eq!(damage(read(&changed)), "entry 2: Invalid checksum");
}

#[test]
fn what_cannot_be_unpacked_here_is_looked_at_from_outside() {
    // an encrypted entry; one of a method that nobody knows
    for (field, value) in [(8, 1), (10, 99)] {
        let mut bytes = archive(CompressionMethod::Stored, &[b"first"]);
        let (content, central) = (position(&bytes, b"first"), position(&bytes, CENTRAL_HEADER));
        bytes[content] ^= 1;
        damage(read(&bytes));
        bytes[central + field] = value;
        read(&bytes).unwrap();
        bytes[central + 20] += 1; // its packed size reaches into the directory
        assert_eq!(damage(read(&bytes)), "entry 1: its data are not where the directory says");
    }
}

#[test]
fn entries_that_lie_nowhere_are_damage() {
    let bytes = archive(CompressionMethod::Stored, &[b"first"]);
    let central = position(&bytes, CENTRAL_HEADER);
    let lies: [(usize, &[u8], &str); 6] = [
        (central + 42, &[1], "entry 1: its data are not where the directory says"),
        (central + 42, &[0xfe; 4], "entry 1: its data are not where the directory says"),
        (central + 42, &[0xff; 4], "entry 1: its data are not where the directory says"),
        (0, b"PK\x01\x02", "entry 1: its data are not where the directory says"),
        (central + 28, &[0xff; 2], "entry 1: failed to fill whole buffer"),
        (central, b"PK\x03\x04", "entry 1: the directory holds something else"),
    ];
    for (at, lie, expected) in lies {
        let mut bytes = bytes.clone();
        bytes[at..at + lie.len()].copy_from_slice(lie);
        assert_eq!(damage(read(&bytes)), expected);
    }
}

#[test]
fn sizes_are_compared_with_what_comes_out() {
    for method in METHODS {
        let bytes = archive(method, &[b"first"]);
        let size = position(&bytes, CENTRAL_HEADER) + 24;
        for (size_byte, expected) in [(6, "is shorter than announced"), (4, "larger than its declared")] {
            let mut bytes = bytes.clone();
            bytes[size] = size_byte;
            let text = damage(read(&bytes));
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[test]
fn the_number_of_entries_is_the_announced_one() {
    for announced in [0, 1, 3] {
        let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
        let end = bytes.len() - 22;
        bytes[end + 10] = announced;
        assert_eq!(damage(read(&bytes)), format!("it holds 2 entries and announces {announced}"));
    }
}

/// So many entries without content, all of them the same one, announced by their lower 16 bits.
fn crowded(entries: u32) -> Vec<u8> {
    let central = [CENTRAL_HEADER, &[0; 42]].concat();
    let mut bytes = [LOCAL_HEADER, &[0; 26]].concat();
    bytes.extend(central.repeat(entries as usize));
    let [lower, upper, ..] = entries.to_le_bytes();
    let numbers = [[lower, upper, lower, upper], (entries * 46).to_le_bytes(), 30_u32.to_le_bytes()];
    bytes.extend([b"PK\x05\x06", &[0; 4][..], &numbers.concat(), &[0; 2]].concat());
    bytes
}

#[test]
fn more_entries_than_16_bits_count_are_announced_by_their_lower_bits() {
    read(&crowded(65_537)).unwrap();
}

#[test]
fn a_number_of_entries_in_64_bits_is_meant_as_it_stands() {
    let mut bytes = with_zip64_end(&archive(CompressionMethod::Stored, &[b"first", b"second"]), 0..0);
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].fill(0xff);
    read(&bytes).unwrap();
    let mut bytes = with_zip64_end(&crowded(65_537), 8..20);
    assert_eq!(damage(read(&bytes)), "it holds 65537 entries and announces 1");
    let record = position(&bytes, b"PK\x06\x06");
    bytes[record + 32..record + 36].copy_from_slice(&65_537_u32.to_le_bytes());
    read(&bytes).unwrap();
}

#[test]
fn something_may_stand_between_directory_and_end() {
    let mut bytes = archive(CompressionMethod::Stored, &[b"first"]);
    let end = bytes.len() - 22;
    bytes.splice(end..end, *b"something");
    read(&bytes).unwrap();
}

#[test]
fn entries_without_any_data_need_not_be_well_packed() {
    let mut bytes = archive(CompressionMethod::Stored, &[b""]);
    let central = position(&bytes, CENTRAL_HEADER);
    for method in [8, 9, 12] {
        bytes[central + 10] = method;
        read(&bytes).unwrap();
    }
}

#[test]
fn numbers_in_64_bits_are_found_among_the_extra_fields() {
    let bytes = archive(CompressionMethod::Stored, &[b"first"]);
    let wide = |number: u64| number.to_le_bytes();
    let other = [0x55, 0x54, 8, 0, 7, 7, 7, 7, 7, 7, 7, 7];
    let extra = [&other[..], &[1, 0, 24, 0], &wide(5), &wide(5), &wide(0), &other].concat();
    let all = |header: &mut [u8]| {
        header[20..28].fill(0xff);
        header[42..46].fill(0xff);
    };
    read(&with_extra(&bytes, &extra, all)).unwrap();
    let packed = |header: &mut [u8]| header[20..24].fill(0xff);
    read(&with_extra(&bytes, &[&[1, 0, 8, 0][..], &wide(5)].concat(), packed)).unwrap();
    for lie in [u64::MAX, 1 << 40] {
        let extra = [&[1, 0, 8, 0][..], &wide(lie)].concat();
        let text = damage(read(&with_extra(&bytes, &extra, packed)));
        assert_eq!(text, "entry 1: its data are not where the directory says");
    }
    // cut in the middle of a number
    damage(read(&with_extra(&bytes, &[1, 0, 8, 0, 5], packed)));
}

/// interface 10.14
#[test]
fn beyond_the_limits_only_the_places_are_checked() {
    let mut bytes = archive(CompressionMethod::Stored, &[b"first", b"second"]);
    let at = position(&bytes, b"second");
    bytes[at] ^= 1;
    damage(read_within(&bytes, limits(11, 2)));
    read_within(&bytes, limits(10, 2)).unwrap();
    read_within(&bytes, limits(11, 1)).unwrap();
    let header = at - 31;
    bytes[header] = 0;
    damage(read_within(&bytes, limits(0, 0)));
}

/// interface 10.14
#[test]
fn a_hole_is_found_in_what_cannot_be_unpacked_here() {
    let content: Vec<u8> = content();
    // encrypted; a method that nobody knows; deflated, and beyond the limit
    for (field, value, allowed) in [(8, 1, u64::MAX), (10, 93, u64::MAX), (10, 8, 0)] {
        let mut bytes = archive(CompressionMethod::Stored, &[&content, b"second"]);
        let central = position(&bytes, CENTRAL_HEADER);
        bytes[central + field] = value;
        let unproved = read_within(&bytes, limits(allowed, 2)).unwrap();
        assert_eq!(unproved, if allowed == 0 { 2 } else { 1 });
        bytes[4000..5100].fill(0);
        let text = damage(read_within(&bytes, limits(allowed, 2)));
        assert_eq!(text, "entry 1: a part of its data is nothing but zeros");
    }
}

#[test]
fn a_stop_is_heard_at_every_step_and_ends_the_reading() {
    let large = vec![0; 4 << 20];
    for method in METHODS {
        let file = archive(method, &[&large, b"second"]);
        let all_of_it = Limits::of(file.len() as u64);
        let polls = Cell::new(0);
        let count = |last: u32| {
            polls.set(polls.get() + 1);
            polls.get() == last
        };
        read_until(&file, &|| count(0), all_of_it).unwrap();
        let all = polls.take();
        assert!(all >= 4, "asked {all} times in 4 MiB");
        for last in [1, 2, all / 2, all] {
            let stopped = read_until(&file, &|| count(last), all_of_it);
            assert!(matches!(stopped, Err(Failure::Interrupted(Interrupted::Stopped))), "{stopped:?}");
            assert_eq!(polls.take(), last);
        }
    }
}

#[test]
fn a_stop_is_heard_among_entries_without_content() {
    let stopped = read_until(&crowded(1), &|| true, limits(0, 0));
    assert!(matches!(stopped, Err(Failure::Interrupted(Interrupted::Stopped))), "{stopped:?}");
}

#[test]
fn a_damaged_entry_is_not_read_to_its_end() {
    let mut bytes = archive(CompressionMethod::Stored, &[&vec![0; 4 << 20]]);
    let central = position(&bytes, CENTRAL_HEADER);
    bytes[central + 10] = 8; // not deflated at all
    let polls = Cell::new(0);
    let count = || {
        polls.set(polls.get() + 1);
        false
    };
    damage(read_until(&bytes, &count, Limits::of(bytes.len() as u64)));
    assert!(polls.get() < 10, "asked {} times", polls.get());
}

#[test]
fn no_damage_makes_it_panic() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |end: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 32).unwrap() % end
    };
    let archives = METHODS.map(|method| archive(method, &[&content(), b"second", b""]));
    for round in 0..1000 {
        let mut bytes = archives[round % archives.len()].clone();
        let central = position(&bytes, CENTRAL_HEADER);
        for _ in 0..=below(4) {
            let at = if below(2) == 0 { below(bytes.len()) } else { central + below(bytes.len() - central) };
            bytes[at] = [0, 1, 0xff, u8::try_from(below(256)).unwrap()][below(4)];
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let content = super::super::prove(&file, bytes.len() as u64, Formats::Zip, &|| false).unwrap();
        let small = super::super::prove_small(&file, bytes.len() as u64, Formats::Zip).unwrap();
        assert!(small.is_none_or(|small| small == content), "{content:?}");
    }
}
