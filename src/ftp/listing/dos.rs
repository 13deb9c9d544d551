//! Reads a line of LIST as IIS prints it: `11-23-26  03:00AM               12 a.zip`.

use super::date::{Clock, Stamp, calendar_day, three_numbers};
use super::fields::{field, short_number, trim_start};
use super::line::Line;
use crate::base::facts::{FileFacts, TimeSource};
use crate::protocol::Kind;

/// What stands in the column of sizes where there is no size, and what it means.
const TAGS: [(&[u8], Kind); 4] = [
    (b"<DIR>", Kind::Directory),
    (b"<JUNCTION>", Kind::Link),
    (b"<SYMLINKD>", Kind::Link),
    (b"<SYMLINK>", Kind::Link),
];

/// Reads one line without its line end.
///
/// A size stands to the right of its column, and one blank after it the name begins, with blanks of its own if
/// there are more. A size that stands to the left, and every tag, is filled up with blanks: those are not the
/// name's. A directory that begins with a blank is lost that way; Windows hardly allows one.
pub(super) fn read(line: &[u8]) -> Option<Line<'_>> {
    let stamp = read_date(line)?;
    let (column, rest) = field(stamp.rest)?;
    let (kind, name) = match TAGS.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(column)) {
        Some((_, Kind::Link)) => (Kind::Link, before_target(trim_start(rest))),
        Some((_, kind)) => (*kind, trim_start(rest)),
        None if !is_size(column) => return None,
        None if stamp.rest.len() - trim_start(stamp.rest).len() > 1 => (Kind::File, rest.get(1..)?),
        None => (Kind::File, trim_start(rest)),
    };
    let size = (kind == Kind::File).then(|| size_value(column)).flatten();
    let facts = FileFacts { size, modified: stamp.modified };
    (!name.is_empty()).then_some(Line::Entry { name, kind, facts })
}

/// `11-23-26  03:00AM`, `11-23-2026  15:00`, `2026/11/23 03:00`, `23.11.2026 03:00`. With dots the day comes
/// first, otherwise the month, which is how IIS writes in every language.
fn read_date(text: &[u8]) -> Option<Stamp<'_>> {
    let (date, rest) = field(text)?;
    let (separator, [first, second, third]) = three_numbers(date)?;
    let (year, month, day) = match separator {
        _ if first.len() == 4 => (first, second, third),
        b'.' => (third, second, first),
        _ => (third, first, second),
    };
    let year = match year.len() {
        2 => short_number(year, 2..=2).map(|year| if year < 70 { 2000 + year } else { 1900 + year })?,
        _ => short_number(year, 4..=4)?,
    };
    let day = calendar_day(year, short_number(month, 1..=2)?, short_number(day, 1..=2)?);
    let (time, rest) = field(rest)?;
    let clock = read_time(time)?;
    let half = field(rest).filter(|(half, _)| half.len() == 2 && !half.iter().any(u8::is_ascii_digit));
    match half.and_then(|(half, rest)| Some((clock.in_half(half)?, rest))) {
        Some((clock, rest)) => Some(Stamp::new(day, clock, rest)),
        None => Some(Stamp::new(day, clock, rest)),
    }
}

/// `03:00AM`, `3:00p`, `15:00`. Seconds are for logs, which begin with date and time as well.
fn read_time(text: &[u8]) -> Option<Clock> {
    Clock::read_half(text).filter(|clock| clock.source == TimeSource::LocalMinute)
}

/// `1234`, `1,234` or `1.234`; and what some servers make of a size that they cannot show: `-2147483648`, `4.5K`,
/// `12 KB` without the blank.
fn is_size(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    let end = number.iter().take_while(|byte| byte.is_ascii_digit() || is_separator(**byte)).count();
    let unit = number.get(end..).unwrap_or_default();
    number.iter().any(u8::is_ascii_digit)
        && end > 0
        && unit.len() <= 2
        && unit.iter().all(u8::is_ascii_alphabetic)
}

/// `None` where the number does not fit, or is none.
fn size_value(text: &[u8]) -> Option<u64> {
    let mut groups = text.split(|byte| is_separator(*byte));
    let first = groups.next().unwrap_or_default();
    let is_grouped = text.len() > first.len();
    let in_threes = !is_grouped || ((1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3));
    if !in_threes || !text.iter().all(|byte| byte.is_ascii_digit() || is_separator(*byte)) {
        return None;
    }
    let mut digits = text.iter().filter(|byte| !is_separator(**byte));
    digits
        .try_fold(0_u64, |size, digit| size.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0'))))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b'.')
}

/// `dir` shows the target of a link in brackets behind its name.
fn before_target(name: &[u8]) -> &[u8] {
    let bracket = name.windows(2).position(|pair| pair == b" [").filter(|_| name.ends_with(b"]"));
    bracket.and_then(|end| name.get(..end)).unwrap_or(name)
}
