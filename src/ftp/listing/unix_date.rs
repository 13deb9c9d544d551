//! Reads the dates that `ls -l` prints, in the orders and languages of its servers.

use chrono::{DateTime, Utc};

use super::date::{Clock, Stamp, calendar_day, marked_number, month, three_numbers};
use super::fields::{field, short_number};
use crate::base::facts::TimeSource;

/// What stands for a month whose name is in no table: no day of any calendar.
const UNKNOWN_MONTH: u32 = 0;

/// How dates are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Dates those without a year.
    pub(super) now: DateTime<Utc>,
    /// A word of no known language passes for a month where a day and a time or year are with it; such a date has no
    /// value.
    pub(super) any_month: bool,
    /// `AM` or `PM` in the field behind a time belongs to it, and a time behind a year to the date.
    pub(super) halves: bool,
}

/// Reads a date at the beginning of `text`.
pub(super) fn read(text: &[u8], reading: Reading) -> Option<Stamp<'_>> {
    let (first, rest) = field(text)?;
    full(first, rest, reading)
        .or_else(|| without_year(first, rest, reading))
        .or_else(|| named(first, rest, reading))
}

/// `2026-11-23`, `2026-11-23 03:00`, `2026/11/23 03:00:05`, `2026-11-23 03:00:05.000000000 +0800`.
fn full<'a>(date: &[u8], rest: &'a [u8], reading: Reading) -> Option<Stamp<'a>> {
    let (_, [year, month, day]) = three_numbers(date)?;
    let (year, month, day) =
        (short_number(year, 4..=4)?, short_number(month, 1..=2)?, short_number(day, 1..=2)?);
    let day = calendar_day(year, month, day);
    let clock = field(rest).and_then(|(time, rest)| read_clock(time, rest, reading));
    let Some((mut clock, rest)) = clock else { return Some(Stamp::new(day, Clock::WHOLE_DAY, rest)) };
    if clock.source == TimeSource::LocalSecond
        && let Some((zone, after)) = field(rest)
        && let Some(offset) = read_offset(zone)
    {
        clock.seconds -= offset;
        return Some(Stamp::new(day, clock, after));
    }
    Some(Stamp::new(day, clock, rest))
}

/// Seconds that `+0800` lies before UTC.
fn read_offset(text: &[u8]) -> Option<i64> {
    let (sign, digits) = text.split_first()?;
    let number = i64::from(short_number(digits, 4..=4)?);
    let seconds = number / 100 * 3600 + number % 100 * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// `11-23 03:00`, `11-23 2025`.
fn without_year<'a>(date: &[u8], rest: &'a [u8], reading: Reading) -> Option<Stamp<'a>> {
    let (month, day) = date.split_at_checked(2)?;
    let (month, day) = (short_number(month, 2..=2)?, short_number(day.strip_prefix(b"-")?, 2..=2)?);
    let (second, rest) = field(rest)?;
    year_or_time((month, day), second, rest, reading)
}

/// `Nov 23 03:00`, `Nov 23 2025`, `23 Nov 03:00`, `23. Nov 2025`, `11月 23日 03:00`, `Nov 23 03:00:05 2025`.
fn named<'a>(first: &[u8], rest: &'a [u8], reading: Reading) -> Option<Stamp<'a>> {
    let (second, rest) = field(rest)?;
    let (third, rest) = field(rest)?;
    // most fields of a line begin no date, and this tells it without a look at the months
    if !third.first()?.is_ascii_digit() {
        return None;
    }
    let unknown = |word: &[u8]| (reading.any_month && is_word(word)).then_some(UNKNOWN_MONTH);
    let month_of = |word| month(word).or_else(|| unknown(word));
    let month_first = || Some((month_of(first)?, marked_number(second, 1..=2)?));
    let day_first = || Some((month_of(second)?, marked_number(first, 1..=2)?));
    year_or_time(month_first().or_else(day_first)?, third, rest, reading)
}

fn year_or_time<'a>(
    (month, day): (u32, u32),
    text: &[u8],
    rest: &'a [u8],
    reading: Reading,
) -> Option<Stamp<'a>> {
    if let Some(year) = marked_number(text, 4..=4) {
        let behind = reading.halves.then(|| clock_behind_year(rest, reading)).flatten();
        let (clock, rest) = behind.unwrap_or((Clock::WHOLE_DAY, rest));
        return Some(Stamp::new(calendar_day(year, month, day), clock, rest));
    }
    let (clock, rest) = read_clock(text, rest, reading)?;
    // BSD's `ls -lT` shows seconds and year; elsewhere a number behind the time belongs to the name
    if clock.source == TimeSource::LocalSecond
        && let Some((year, after)) = field(rest)
        && let Some(year) = short_number(year, 4..=4)
    {
        return Some(Stamp::new(calendar_day(year, month, day), clock, after));
    }
    Some(Stamp::new(clock.most_recent(month, day, reading.now), clock, rest))
}

/// `Nov 23 2026 03:00`, `Nov 23 2026 03:00 PM`.
fn clock_behind_year(rest: &[u8], reading: Reading) -> Option<(Clock, &[u8])> {
    let (time, rest) = field(rest)?;
    read_clock(time, rest, reading)
}

/// `03:00`, `03:00PM`, `03:00 PM`, and what follows it.
fn read_clock<'a>(time: &[u8], rest: &'a [u8], reading: Reading) -> Option<(Clock, &'a [u8])> {
    let clock = Clock::read_half(time)?;
    if reading.halves
        && clock.is_of_twelve()
        && let Some((half, after)) = field(rest)
        && half.len() == 2
        && let Some(clock) = clock.in_half(half)
    {
        return Some((clock, after));
    }
    Some((clock, rest))
}

fn is_word(text: &[u8]) -> bool {
    text.len() > 1 && text.iter().all(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii() || *byte == b'.')
}
