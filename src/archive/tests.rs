//! What whole files are taken for.

use std::fs::File;
use std::io::{Cursor, Write};
use std::ops::Range;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// Where the fixed part of an end record lies in an archive without a comment.
fn end_of(archive: &[u8]) -> usize {
    archive.len() - 22
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What the bytes are, proved in both ways.
fn prove(bytes: &[u8]) -> Content {
    let file = file(bytes);
    let content = super::prove(&file, bytes.len() as u64, Formats::Zip, &|| false).unwrap();
    if let Some(small) = prove_small(&file, bytes.len() as u64, Formats::Zip).unwrap() {
        assert_eq!(small, content);
    }
    content
}

fn whole(before: u64, behind: u64) -> Content {
    Content::Archive(Archive { before, behind, unproved: 0 })
}

fn unfinished(bytes: &[u8]) -> Flaw {
    match prove(bytes) {
        Content::Unfinished(flaw) => flaw,
        other => panic!("not unfinished: {other:?}"),
    }
}

fn is_other(bytes: &[u8]) -> bool {
    matches!(prove(bytes), Content::Other { .. })
}

fn archive(contents: &[&[u8]], comment: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (index, content) in contents.iter().enumerate() {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(format!("mro_{index}.xml"), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.set_raw_comment(comment.into()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// The archive with its end told in 64 bits as well, and `hidden` bytes of the end in 32 bits at their largest.
pub(super) fn with_zip64_end(archive: &[u8], hidden: Range<usize>) -> Vec<u8> {
    let (body, end) = archive.split_at(end_of(archive));
    let wide = |value: u32| u64::from(value).to_le_bytes();
    let (entries, size, start) = (u16_at(end, 10).into(), u32_at(end, 12), u32_at(end, 16));
    let mut record = [b"PK\x06\x06", &44_u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8]].concat();
    for value in [entries, entries, size, start] {
        record.extend_from_slice(&wide(value));
    }
    let position = (body.len() as u64).to_le_bytes();
    let locator = [b"PK\x06\x07", &[0; 4][..], &position, &1_u32.to_le_bytes()].concat();
    let mut end = end.to_vec();
    end[hidden].fill(0xff);
    [body, &record, &locator, &end].concat()
}

#[test]
fn an_archive_is_whole_with_or_without_entries_and_comment() {
    for comment in [&b""[..], b"x", b"with PK\x05\x06 in it", &[b'x'; 65_535]] {
        assert_eq!(prove(&archive(&[], comment)), whole(0, 0));
        assert_eq!(prove(&archive(&[b"one", b"two"], comment)), whole(0, 0));
    }
}

#[test]
fn an_archive_cut_anywhere_is_unfinished() {
    for comment in [&b""[..], b"a comment"] {
        let bytes = archive(&[b"one", b"two"], comment);
        for size in 2..bytes.len() {
            assert_eq!(unfinished(&bytes[..size]), Flaw::NoEnd, "{size}");
        }
    }
}

#[test]
fn bytes_that_are_still_to_come_make_an_archive_unfinished_wherever_they_are_missing() {
    let bytes = archive(&[&[b'x'; 3000], &[b'y'; 3000]], b"");
    for (from, to) in [(0, 100), (500, 1500), (2900, 3200), (4000, 4010), (6000, bytes.len() - 22)] {
        let mut holed = bytes.clone();
        holed[from..to].fill(0);
        assert!(matches!(unfinished(&holed), Flaw::Damaged(_)), "{from} to {to}");
    }
    let mut endless = bytes.clone();
    endless[3000..].fill(0);
    assert_eq!(unfinished(&endless), Flaw::NoEnd);
    assert_eq!(prove(&vec![0; bytes.len()]), Content::Zeros);
    assert_eq!(prove(&vec![0; 700_000]), Content::Zeros);
}

/// interface 10.15
#[test]
fn what_follows_an_archive_is_counted_and_does_no_harm() {
    let signature: Vec<u8> = (0..700_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for bytes in [archive(&[b"one", b"two"], b""), archive(&[], b""), archive(&[b"one"], b"comment\0")] {
        let tails = [&b"\n"[..], b"\r\n", b"\0", &[0; 300], &[0x1a; 128], &[0; 700_000], &signature];
        for tail in tails.into_iter().map(<[u8]>::to_vec).chain([[&signature, &[0; 90_000][..]].concat()]) {
            assert_eq!(prove(&[&bytes[..], &tail].concat()), whole(0, tail.len() as u64));
        }
    }
    // an end record in what follows, which describes nothing
    let bytes = archive(&[b"one"], b"");
    let tail = [&b"PK\x05\x06"[..], &[7; 18], b"PK\x05\x06", &[0; 40]].concat();
    assert_eq!(prove(&[&bytes[..], &tail].concat()), whole(0, tail.len() as u64));
}

#[test]
fn an_archive_within_another_is_no_whole_one() {
    let inner = archive(&[b"one", b"two"], b"");
    let outer = archive(&[b"first", &inner, b"last"], b"");
    let end = outer.windows(inner.len()).position(|window| window == inner).unwrap() + inner.len();
    for tail in [&b""[..], b"\0", &[0; 5000]] {
        let cut = [&outer[..end], tail].concat();
        assert!(matches!(prove(&cut), Content::Unfinished(_)), "{} zeros", tail.len());
    }
    let cut = [&b"#!/bin/sh\n"[..], &outer[..end]].concat();
    assert!(matches!(prove(&cut), Content::Unfinished(_)));
    assert_eq!(prove(&outer), whole(0, 0));
}

#[test]
fn something_may_stand_before_an_archive() {
    let bytes = archive(&[b"one", b"two"], b"");
    for stub in [&b"#!/bin/sh\nunzip $0; exit\n"[..], b"MZ\x90\0", &[b'x'; 100_000]] {
        let stubbed = [stub, &bytes].concat();
        assert_eq!(prove(&stubbed), whole(stub.len() as u64, 0));
        let mut damaged = stubbed.clone();
        damaged[stub.len() + 31] ^= 1;
        damaged[stub.len() + 45] ^= 1;
        assert!(matches!(prove(&damaged), Content::Unfinished(_)), "{}", stub.len());
    }
    let wide = with_zip64_end(&bytes, 8..20);
    assert_eq!(prove(&[b"#!/bin/sh\n", &wide[..]].concat()), whole(10, 0));
}

#[test]
fn archives_may_follow_one_another() {
    let [a, b, c] = [&b"one"[..], b"two", b"three"].map(|content| archive(&[content], b""));
    assert_eq!(prove(&[&a[..], &b, &c].concat()), whole((a.len() + b.len()) as u64, 0));
    let mut damaged = [&a[..], &b, &c].concat();
    damaged[a.len() + 40] ^= 1;
    let proved = prove(&damaged);
    assert_eq!(proved, whole(0, (b.len() + c.len()) as u64), "the first of them is whole");
    damaged[40] ^= 1;
    assert!(matches!(prove(&damaged), Content::Unfinished(_)));
}

#[test]
fn an_archive_over_a_longer_or_a_shorter_one_is_whole_once_it_is_written() {
    let (short, long) = (archive(&[&[b'x'; 400]], b""), archive(&[&[b'y'; 4000]], b""));
    let over = |new: &[u8], old: &[u8], written: usize| {
        let rest = old.get(written..).unwrap_or_default();
        [&new[..written], rest].concat()
    };
    for written in (45..short.len()).step_by(7) {
        assert!(matches!(prove(&over(&short, &long, written)), Content::Unfinished(_)), "{written}");
    }
    let rest = (long.len() - short.len()) as u64;
    assert_eq!(prove(&over(&short, &long, short.len())), whole(0, rest));
    for written in (45..long.len()).step_by(7) {
        assert!(matches!(prove(&over(&long, &short, written)), Content::Unfinished(_)), "{written}");
    }
}

#[test]
fn an_archive_whose_directory_does_not_fit_before_its_end_is_not_whole() {
    let bytes = archive(&[b"one"], b"");
    for field in [12, 16] {
        let mut bytes = bytes.clone();
        let at = end_of(&bytes) + field;
        bytes[at] += 1;
        assert_eq!(unfinished(&bytes), Flaw::NoEnd);
    }
}

#[test]
fn what_does_not_begin_as_an_archive_is_none() {
    for bytes in [&b"<html>"[..], b"P", b"PX", b"PK\x01\x02", b"PK\x07\x08data", b"\x1f\x8b\x08"] {
        assert!(is_other(bytes), "{bytes:?}");
    }
    let digests = [&b"one"[..], b"two", b"one"].map(prove);
    assert!(digests[0] == digests[2] && digests[0] != digests[1]);
    assert_eq!((prove(b""), prove(b"\0\0\0\0")), (Content::Empty, Content::Zeros));
    // the last of several parts, whose entries lie in others
    let mut part = archive(&[b"one"], b"");
    let end = end_of(&part);
    part[end + 4] = 3;
    part[..40].fill(b'x');
    assert!(is_other(&part));
}

#[test]
fn the_marks_of_split_archives_are_beginnings_too() {
    let bytes = archive(&[b"one"], b"");
    for mark in [&b"PK\x07\x08"[..], b"PK00"] {
        assert_eq!(prove(&[mark, &bytes].concat()), whole(4, 0));
        assert_eq!(unfinished(mark), Flaw::NoEnd);
    }
}

#[test]
fn an_end_in_64_bits_is_looked_up_where_32_bits_do_not_do() {
    let bytes = archive(&[b"one", b"two"], b"");
    let wide = with_zip64_end(&bytes, 8..20);
    assert_eq!(prove(&wide), whole(0, 0));
    // the record: its signature, size and start of the directory
    let record = wide.len() - 22 - 20 - 56;
    for at in [record, record + 40, record + 48] {
        let mut broken = wide.clone();
        broken[at] = broken[at].wrapping_add(1);
        assert_eq!(unfinished(&broken), Flaw::NoEnd, "{}", at - record);
    }
    let mut unused = with_zip64_end(&bytes, 0..0);
    unused[record] = 0;
    assert_eq!(prove(&unused), whole(0, 0));
}

#[test]
fn the_largest_value_means_itself_where_nothing_is_told_in_64_bits() {
    let mut bytes = archive(&[b"one"], b"");
    let end = end_of(&bytes);
    bytes[end + 16..end + 20].fill(0xff);
    assert_eq!(unfinished(&bytes), Flaw::NoEnd);
}

#[test]
fn what_takes_longer_is_left_to_whoever_has_the_time() {
    let deflated = |content: &[u8]| {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("a", SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap().into_inner()
    };
    let large = deflated(&vec![0; 2 << 20]);
    assert!(large.len() < SMALL);
    assert_eq!(prove_small(&file(&large), large.len() as u64, Formats::Zip).unwrap(), None);
    assert_eq!(prove(&large), whole(0, 0));
    let small = deflated(&vec![0; 200_000]);
    assert_eq!(prove_small(&file(&small), small.len() as u64, Formats::Zip).unwrap(), Some(whole(0, 0)));
    let long = archive(&[&vec![7; SMALL]], b"");
    assert_eq!(prove_small(&file(&long), long.len() as u64, Formats::Zip).unwrap(), None);
    let file = file(&long);
    assert!(matches!(
        super::prove(&file, long.len() as u64, Formats::Zip, &|| true),
        Err(Interrupted::Stopped)
    ));
}

#[test]
fn a_file_shorter_than_it_should_be_is_an_error_of_its_own() {
    let bytes = archive(&[b"one"], b"");
    assert!(super::prove(&file(&bytes), bytes.len() as u64 + 1, Formats::Zip, &|| false).is_err());
    assert!(prove_small(&file(&bytes), bytes.len() as u64 + 1, Formats::Zip).is_err());
}
