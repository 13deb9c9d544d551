//! Reads a line of LIST as IIS prints it: `11-23-26  03:00AM               12 a.zip`.

use super::date::{Clock, DAY_SECONDS, Stamp, calendar_day, three_numbers};
use super::fields::{field, short_number, trim_start};
use super::{Kind, Line};
use crate::names::{FileFacts, TimeSource};

const HALF_DAY_SECONDS: i64 = DAY_SECONDS / 2;

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
    Some(Stamp::new(day, read_time(time)?, rest))
}

/// `03:00AM`, `3:00p`, `15:00`. Seconds are for logs, which begin with date and time as well.
fn read_time(text: &[u8]) -> Option<Clock> {
    let letters = text.iter().position(u8::is_ascii_alphabetic).unwrap_or(text.len());
    let (time, half) = text.split_at_checked(letters)?;
    let mut clock = Clock::read(time).filter(|clock| clock.source == TimeSource::ListMinute)?;
    let afternoon = clock.seconds >= HALF_DAY_SECONDS;
    match half {
        b"PM" | b"pm" | b"P" | b"p" if !afternoon => clock.seconds += HALF_DAY_SECONDS,
        b"AM" | b"am" | b"A" | b"a" if afternoon => clock.seconds -= HALF_DAY_SECONDS,
        b"" | b"AM" | b"am" | b"A" | b"a" | b"PM" | b"pm" | b"P" | b"p" => {}
        _ => return None,
    }
    Some(clock)
}

/// `1234`, `1,234` or `1.234`.
fn is_size(text: &[u8]) -> bool {
    let mut groups = text.split(|byte| is_separator(*byte));
    let first = groups.next().unwrap_or_default();
    let grouped = text.len() > first.len();
    let in_threes = !grouped || ((1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3));
    !first.is_empty() && in_threes && text.iter().all(|byte| byte.is_ascii_digit() || is_separator(*byte))
}

/// `None` where the number does not fit.
fn size_value(text: &[u8]) -> Option<u64> {
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
