//! Reads lines of LIST that neither Unix nor Windows print, where what they mean is beyond doubt: VxWorks, EPLF, and
//! files of OS/400.

use super::date::{Clock, Stamp, calendar_day, month};
use super::fields::{field, number, short_number, trim_start};
use super::line::Line;
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::protocol::Kind;

/// Reads one line without its line end.
pub(super) fn read(line: &[u8]) -> Option<Line<'_>> {
    vxworks(line).or_else(|| eplf(line)).or_else(|| os400(line))
}

/// The heading of VxWorks, and the line of dashes below it, one for each column.
const HEADING: [&[u8]; 4] = [b"size", b"date", b"time", b"name"];

/// `  1234  Nov-23-2026  03:00:05  a.zip`, and `  512  Nov-23-2026  03:00:05  MR   <DIR>`, with or without seconds.
fn vxworks(line: &[u8]) -> Option<Line<'_>> {
    if is_heading(line) {
        return Some(Line::Ignored);
    }
    let (size, rest) = field(line)?;
    let size = number(size)?;
    let (date, rest) = field(rest)?;
    let mut parts = date.split(|byte| *byte == b'-');
    let month = month(parts.next()?)?;
    let day = short_number(parts.next()?, 1..=2)?;
    let year = short_number(parts.next()?, 4..=4)?;
    let (time, rest) = field(rest)?;
    let stamp = Stamp::new(calendar_day(year, month, day), Clock::read(time)?, rest);
    let name = trim_start(rest).trim_ascii_end();
    let directory =
        name.strip_suffix(b"<DIR>").filter(|name| name.ends_with(b" ")).map(<[u8]>::trim_ascii_end);
    let (name, kind) = directory.map_or((name, Kind::File), |name| (name, Kind::Directory));
    let size = (kind == Kind::File).then_some(size);
    let facts = FileFacts { size, modified: stamp.modified };
    (!name.is_empty() && parts.next().is_none()).then_some(Line::Entry { name, kind, facts })
}

fn is_heading(line: &[u8]) -> bool {
    let mut rest = line;
    let mut columns = Vec::new();
    while let Some((column, after)) = field(rest).filter(|_| columns.len() <= HEADING.len()) {
        columns.push(column);
        rest = after;
    }
    let is_rule = |column: &&[u8]| column.iter().all(|byte| *byte == b'-');
    columns.len() == HEADING.len() && (columns == HEADING || columns.iter().all(is_rule))
}

/// Easily parsed LIST format: `+i8388621.48594,m825718503,r,s280,` a tab, and the name.
fn eplf(line: &[u8]) -> Option<Line<'_>> {
    let text = line.strip_prefix(b"+")?;
    let tab = text.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = text.split_at_checked(tab)?;
    let name = name.get(1..).filter(|name| !name.is_empty())?;
    let (mut kind, mut known) = (None, FileFacts::default());
    for fact in facts.split(|byte| *byte == b',').filter(|fact| !fact.is_empty()) {
        let (letter, value) = fact.split_first()?;
        match letter {
            b'/' => kind = Some(Kind::Directory),
            b'r' => kind = kind.or(Some(Kind::File)),
            b's' => known.size = number(value),
            b'm' => known.modified = number(value).and_then(unix_time),
            letter if letter.is_ascii_alphabetic() => {}
            _ => return None,
        }
    }
    let size = known.size.filter(|_| kind == Some(Kind::File));
    let facts = FileFacts { size, ..known };
    Some(kind.map_or(Line::Special, |kind| Line::Entry { name, kind, facts }))
}

fn unix_time(seconds: u64) -> Option<Modified> {
    let unix_seconds = i64::try_from(seconds).ok()?;
    Some(Modified { unix_seconds, source: TimeSource::LocalSecond })
}

/// `MRO  77824 11/23/26 03:00:05 *STMF  a.zip`, `MRO  8192 11/23/26 03:00:05 *DIR  MR/`. The order of the date is that of
/// the job, which nothing tells: there is no time. Objects that are neither file nor directory are for programs.
fn os400(line: &[u8]) -> Option<Line<'_>> {
    let (_, rest) = field(line)?;
    let (size, rest) = field(rest)?;
    let size = number(size)?;
    let (date, rest) = field(rest)?;
    let (time, rest) = field(rest)?;
    let (kind, rest) = field(rest)?;
    let name = trim_start(rest);
    let is_date = date.len() == 8 && date.iter().filter(|byte| byte.is_ascii_digit()).count() == 6;
    if !is_date || Clock::read(time).is_none() || !kind.starts_with(b"*") || name.is_empty() {
        return None;
    }
    let entry = |kind, size| Line::Entry { name, kind, facts: FileFacts { size, modified: None } };
    Some(match kind {
        b"*STMF" => entry(Kind::File, Some(size)),
        b"*DIR" | b"*DDIR" | b"*FLR" => entry(Kind::Directory, None),
        _ => Line::Special,
    })
}
