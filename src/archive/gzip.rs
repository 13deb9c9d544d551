//! Reads a gzip file (RFC 1952) to see whether it is whole: every member is inflated, and its trailer compared.
//!
//! A trailer proves its member, and nothing tells how many members there are: what ends behind one of several may go on.

use std::io::{self, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::source::Source;
use super::unpack::{Disk, Limits, STEP_BYTES};
use super::{Flaw, Interrupted};
use crate::base::read_at::ReadAt;

/// How each member begins: the signature, and the only method there is (section 2.3.1).
const BEGINNING: [u8; 3] = [0x1f, 0x8b, 8];

/// What the members of a file amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// A single one, which ends where the file does.
    One,
    /// They are whole as far as they were read, and more may be to come: there are several, something else follows, or
    /// the limits leave the rest out.
    Open,
}

/// Why the members are not whole.
pub(super) enum Fault {
    Interrupted(Interrupted),
    Flaw(Flaw),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Interrupted(Interrupted::Disk(error))
    }
}

/// Returns whether a member begins at `at`, or could in a file too short to tell.
pub(super) fn begins(source: Source<'_>, at: u64, size: u64) -> io::Result<bool> {
    let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(BEGINNING.len());
    let mut head = [0; BEGINNING.len()];
    let head = head.get_mut(..length).unwrap_or_default();
    source.read_exact_at(head, at)?;
    // one byte says nothing at the beginning of a file; behind a member it may be the next one's
    Ok(length > usize::from(at == 0) && BEGINNING.starts_with(head))
}

/// Inflates the members of a file that begins with one.
pub(super) fn read_members(disk: &Disk<'_>, size: u64, limits: &mut Limits) -> Result<Members, Fault> {
    let step = STEP_BYTES.min(usize::try_from(size).unwrap_or(STEP_BYTES)).max(1);
    let (mut buffer, mut at, mut members) = (vec![0; step], 0, 0_u64);
    while at < size && begins(disk.source(), at, size)? {
        if limits.entries == 0 {
            return beyond(*limits);
        }
        limits.entries -= 1;
        members += 1;
        let mut member = GzDecoder::new(BufReader::with_capacity(step, disk.section(at, size - at)));
        if !inflate(&mut member, &mut buffer, disk, limits).map_err(|error| explain(disk, members, &error))? {
            return beyond(*limits);
        }
        let rest = member.into_inner();
        at = rest.get_ref().position() - rest.buffer().len() as u64;
    }
    Ok(if members == 1 && at == size { Members::One } else { Members::Open })
}

fn beyond(limits: Limits) -> Result<Members, Fault> {
    if limits.strict { Err(Fault::Interrupted(Interrupted::Stopped)) } else { Ok(Members::Open) }
}

/// Reads a member to its end; false where the limits end before.
fn inflate(
    member: &mut dyn Read,
    buffer: &mut [u8],
    disk: &Disk<'_>,
    limits: &mut Limits,
) -> io::Result<bool> {
    loop {
        disk.ask_to_stop()?;
        let read = member.read(buffer)? as u64;
        if read == 0 {
            return Ok(true);
        }
        if read > limits.bytes {
            return Ok(false);
        }
        limits.bytes -= read;
    }
}

/// What an error met while inflating means.
fn explain(disk: &Disk<'_>, member: u64, error: &io::Error) -> Fault {
    match disk.why_closed() {
        Some(failure) => Fault::Interrupted(failure),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Fault::Flaw(Flaw::NoEnd),
        None if member == 1 => Fault::Flaw(Flaw::Damaged(error.to_string())),
        None => Fault::Flaw(Flaw::Damaged(format!("member {member}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::{Content, Formats, prove, prove_small};
    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    /// What compresses a little, and fills several steps where it is long.
    fn content(length: u32) -> Vec<u8> {
        (0..length).flat_map(|n| (n / 3).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
    }

    /// What the bytes are, proved in both ways.
    fn is(bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let content = prove(&file, bytes.len() as u64, Formats::Any, &|| false).unwrap();
        let small = prove_small(&file, bytes.len() as u64, Formats::Any).unwrap();
        assert!(small.is_none_or(|small| small == content));
        content
    }

    fn is_open(bytes: &[u8]) -> bool {
        matches!(is(bytes), Content::Other { is_gzip: true, .. })
    }

    /// interface 10.31
    #[test]
    fn one_member_is_proved_by_its_trailer() {
        for length in [0, 1, 3000, 400_000] {
            let bytes = gzip(&content(length));
            assert_eq!(is(&bytes), Content::Gzip, "{length}");
            for at in 1..=8 {
                let mut changed = bytes.clone();
                let last = changed.len() - at;
                changed[last] ^= 1;
                assert!(matches!(is(&changed), Content::UnfinishedGzip(Flaw::Damaged(_))), "{length}, {at}");
            }
        }
        let mut named = flate2::GzBuilder::new()
            .filename("a.xml")
            .comment("x")
            .extra("y")
            .write(Vec::new(), Compression::best());
        named.write_all(b"content").unwrap();
        assert_eq!(is(&named.finish().unwrap()), Content::Gzip);
    }

    /// interface 10.31
    #[test]
    fn a_member_that_is_cut_anywhere_or_has_a_hole_is_unfinished() {
        let bytes = gzip(&content(300));
        for length in 2..bytes.len() {
            assert_eq!(is(&bytes[..length]), Content::UnfinishedGzip(Flaw::NoEnd), "{length}");
        }
        for from in (12..bytes.len() - 1).step_by(7) {
            let mut reserved = bytes.clone();
            reserved[from..].fill(0);
            assert!(matches!(is(&reserved), Content::UnfinishedGzip(_)), "{from}");
        }
    }

    #[test]
    fn several_members_are_whole_and_may_go_on() {
        let (a, b) = (gzip(b"one"), gzip(&content(3000)));
        let both = [&a[..], &b].concat();
        assert!(
            is_open(&both) && is_open(&[&both[..], &[0; 100]].concat()) && is_open(&[&a[..], b"x"].concat())
        );
        for length in a.len() + 1..both.len() {
            assert!(matches!(is(&both[..length]), Content::UnfinishedGzip(_)), "{length}");
        }
        let mut changed = both.clone();
        changed[a.len() + 40] ^= 0x10;
        assert!(
            matches!(is(&changed), Content::UnfinishedGzip(Flaw::Damaged(text)) if text.starts_with("member 2"))
        );
    }

    #[test]
    fn a_zip_alone_is_known_where_a_zip_is_promised() {
        let bytes = gzip(b"content");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let content = prove(&file, bytes.len() as u64, Formats::Zip, &|| false).unwrap();
        assert!(matches!(content, Content::Other { is_gzip: false, .. }));
        for other in [&b"\x1f"[..], b"\x1f\x8b\x07", b"text"] {
            assert!(matches!(is(other), Content::Other { is_gzip: false, .. }), "{other:?}");
        }
    }

    #[test]
    fn beyond_the_limits_nothing_is_inflated_and_a_stop_is_heard() {
        let bytes = [gzip(&content(3000)), gzip(b"two")].concat();
        let read = |limits: &mut Limits, stop: bool| {
            let stop = move || stop;
            read_members(&Disk::new(Source::Memory(&bytes), &stop), bytes.len() as u64, limits)
        };
        let limits = |bytes, entries, strict| Limits { bytes, entries, searched: 0, strict };
        for few in [limits(11_999, 9, false), limits(u64::MAX, 0, false)] {
            assert!(matches!(read(&mut few.clone(), false), Ok(Members::Open)));
        }
        for strict in [limits(11_999, 9, true), limits(u64::MAX, 1, true)] {
            let outcome = read(&mut strict.clone(), false);
            assert!(matches!(outcome, Err(Fault::Interrupted(Interrupted::Stopped))));
        }
        let stopped = read(&mut limits(u64::MAX, 9, false), true);
        assert!(matches!(stopped, Err(Fault::Interrupted(Interrupted::Stopped))));
        let mut enough = limits(12_003, 2, true);
        assert!(matches!(read(&mut enough, false), Ok(Members::Open)));
        assert_eq!((enough.bytes, enough.entries), (0, 0));
    }
}
