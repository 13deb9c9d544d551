//! The parts of the times in listings: days, times of day, months in words. For the format readers only.
//!
//! What has the shape of a date and lies in no calendar (`Nov 31`) is still a date as far as its line is
//! concerned: the entry then goes without a time.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};

use super::fields::short_number;
use crate::base::facts::{Modified, TimeSource};

/// Seconds of a day without leap seconds.
pub(super) const DAY_SECONDS: i64 = 86_400;

/// How far ahead of ours a server's clock may be: a day without a year lies in the future up to there, else in the
/// year before. Local time is ahead of UTC by up to 14 hours in any case.
const AHEAD_SECONDS: i64 = 7 * DAY_SECONDS;

const HALF_DAY_SECONDS: i64 = DAY_SECONDS / 2;

/// Between leap years lie at most eight years (1896 and 1904).
const LEAP_YEAR_GAP: i32 = 8;

/// Longest month name in bytes, its dot taken off: `févr`, `avril`.
const MAX_MONTH_BYTES: usize = 5;

/// How months begin, in lower case: English, then what German, Dutch, French, Spanish, Italian, Portuguese and
/// the Nordic languages write otherwise. Letters outside ASCII stand in UTF-8 and in Latin-1.
const MONTHS: [&[&[u8]]; 12] = [
    &[b"jan", b"ene", b"gen"],
    &[b"feb", b"fev", b"f\xc3\xa9v", b"f\xe9v"],
    &[b"mar", b"mrz", b"mrt", b"maa", b"m\xc3\xa4r", b"m\xe4r"],
    &[b"apr", b"avr", b"abr"],
    &[b"may", b"mai", b"mei", b"maj", b"mag"],
    &[b"jun", b"juin", b"giu"],
    &[b"jul", b"juil", b"lug"],
    &[b"aug", b"ago", b"ao\xc3\xbb", b"ao\xfb"],
    &[b"sep", b"set"],
    &[b"oct", b"okt", b"out", b"ott"],
    &[b"nov"],
    &[b"dec", b"dez", b"dic", b"des", b"d\xc3\xa9c", b"d\xe9c"],
];

/// A date in a line.
#[derive(Debug)]
pub(super) struct Stamp<'a> {
    /// `None` where the date could not be read.
    pub(super) modified: Option<Modified>,
    /// What follows the date; empty or begins with a blank.
    pub(super) rest: &'a [u8],
}

impl<'a> Stamp<'a> {
    /// A day, if it is one, and the seconds since its midnight.
    pub(super) fn new(day: Option<NaiveDate>, clock: Clock, rest: &'a [u8]) -> Self {
        Self { modified: day.map(|day| clock.on(day)), rest }
    }

    /// Returns whether it shows a time of day.
    pub(super) fn has_time(&self) -> bool {
        self.modified.is_some_and(|modified| modified.source != TimeSource::LocalDay)
    }
}

/// A time of day, and how exact it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Since midnight.
    pub(super) seconds: i64,
    pub(super) source: TimeSource,
}

impl Clock {
    /// Where only the day is known.
    pub(super) const WHOLE_DAY: Self = Self { seconds: 0, source: TimeSource::LocalDay };

    /// `3:00`, `03:00`, `03:00:05`, `03:00:05.123`.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(3, |byte| *byte == b':');
        let hour = short_number(parts.next()?, 1..=2)?;
        let minute = short_number(parts.next()?, 2..=2)?;
        let Some(second) = parts.next() else {
            return Some(Self { seconds: seconds_of_day(hour, minute, 0)?, source: TimeSource::LocalMinute });
        };
        let whole = second.split(|byte| *byte == b'.').next()?;
        let seconds = seconds_of_day(hour, minute, short_number(whole, 2..=2)?)?;
        Some(Self { seconds, source: TimeSource::LocalSecond })
    }

    /// As [`Self::read`], and with the half of the day behind it: `03:00PM`, `3:00p`.
    pub(super) fn read_half(text: &[u8]) -> Option<Self> {
        let letters = text.iter().position(u8::is_ascii_alphabetic).unwrap_or(text.len());
        let (time, half) = text.split_at_checked(letters)?;
        let clock = Self::read(time)?;
        if half.is_empty() { Some(clock) } else { clock.in_half(half) }
    }

    /// The time in the half of the day that `AM`, `pm`, `a` and the like say; `None` for other words.
    pub(super) fn in_half(mut self, half: &[u8]) -> Option<Self> {
        let says = |word: &[u8]| half.eq_ignore_ascii_case(word);
        let is_afternoon = self.seconds >= HALF_DAY_SECONDS;
        match is_afternoon {
            false if says(b"pm") || says(b"p") => self.seconds += HALF_DAY_SECONDS,
            true if says(b"am") || says(b"a") => self.seconds -= HALF_DAY_SECONDS,
            _ if says(b"am") || says(b"a") || says(b"pm") || says(b"p") => {}
            _ => return None,
        }
        Some(self)
    }

    /// Returns whether half of the day may be said with it.
    pub(super) fn is_of_twelve(self) -> bool {
        (3_600..3_600 + HALF_DAY_SECONDS).contains(&self.seconds)
    }

    /// The time on a day, taken as UTC.
    pub(super) fn on(self, day: NaiveDate) -> Modified {
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        Modified { unix_seconds: midnight + self.seconds, source: self.source }
    }

    /// The most recent day of a year that is not known, and not more than [`AHEAD_SECONDS`] after `now`.
    pub(super) fn most_recent(self, month: u32, day: u32, now: DateTime<Utc>) -> Option<NaiveDate> {
        let latest = now.timestamp().saturating_add(AHEAD_SECONDS);
        let year = DateTime::from_timestamp(latest, 0)?.year();
        let years = (year.saturating_sub(LEAP_YEAR_GAP)..=year).rev();
        years
            .filter_map(|year| NaiveDate::from_ymd_opt(year, month, day))
            .find(|day| self.on(*day).unix_seconds <= latest)
    }
}

/// Checks a time of day. `24:00` is the end of the day, and a leap second the beginning of the next minute.
pub(super) fn seconds_of_day(hour: u32, minute: u32, second: u32) -> Option<i64> {
    let within = (hour < 24 && minute < 60 && second <= 60) || (hour, minute, second) == (24, 0, 0);
    within.then(|| i64::from(hour * 3600 + minute * 60 + second))
}

/// A day of the calendar.
pub(super) fn calendar_day(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

/// Three numbers with the same separator between them, and that separator: `2026-11-23`, `11/23/26`, `23.11.2026`.
pub(super) fn three_numbers(text: &[u8]) -> Option<(u8, [&[u8]; 3])> {
    let separator = *text.iter().find(|byte| !byte.is_ascii_digit()).filter(|byte| b"-/.".contains(byte))?;
    let mut parts = text.split(|byte| *byte == separator);
    let numbers = [parts.next()?, parts.next()?, parts.next()?];
    let digits = numbers.iter().all(|number| number.iter().all(u8::is_ascii_digit));
    (digits && parts.next().is_none()).then_some((separator, numbers))
}

/// The month that a word names: `Nov`, `nov.`, `März`; or says with its number: `11月`.
pub(super) fn month(text: &[u8]) -> Option<u32> {
    if text.first()?.is_ascii_digit() {
        return marked_number(text, 1..=2).filter(|month| !text.is_ascii() && (1..=12).contains(month));
    }
    let word = text.strip_suffix(b".").unwrap_or(text);
    let mut lower = [0; MAX_MONTH_BYTES];
    lower.get_mut(..word.len())?.copy_from_slice(word);
    lower.make_ascii_lowercase();
    // the first letter tells nearly all of them apart
    let is = |name: &&[u8]| name.first() == lower.first() && lower.starts_with(name);
    let index = MONTHS.iter().position(|names| names.iter().any(is))?;
    u32::try_from(index + 1).ok()
}

/// A number of some digits, behind which may stand a mark: `23`, `23.`, `23日`, `2025年`, in whatever encoding.
pub(super) fn marked_number(text: &[u8], digits: RangeInclusive<usize>) -> Option<u32> {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, mark) = text.split_at_checked(end)?;
    let is_mark = matches!(mark, [] | [b'.'] | [b',']) || (mark.len() <= 3 && !mark.iter().any(u8::is_ascii));
    short_number(number, digits).filter(|_| is_mark)
}
