//! The times at which a server may be connected to, in the local time of the machine.
//!
//! Pure: whoever asks says what time it is. A clock that is set forward or back is looked at minute by minute, so that
//! the answer is right on those days too.

use std::fmt;

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;
/// A change that lies further ahead than a week and an hour never comes: windows are the same every week.
const LOOK_AHEAD: i64 = WEEK as i64 + 2 * 60;

/// See the module. Always, where there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// From and up to a minute of the week, which begins on Monday at 00:00; none goes over its end.
    spans: Vec<(u16, u16)>,
    /// As they were written.
    written: Vec<String>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.written).finish()
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written.join(", "))
    }
}

impl Windows {
    /// Understands each of `texts`: `22:00-06:00`, `Mon-Fri 22:00-06:00`, `Sat,Sun 00:00-24:00`. A window that goes
    /// over midnight belongs to the day of its beginning.
    pub(super) fn read(texts: &[&str]) -> Result<Self, String> {
        let mut windows = Self::default();
        for text in texts {
            let wrong = || {
                format!(
                    "\"{text}\" must be like \"22:00-06:00\" or \"Mon-Fri 22:00-06:00\", and not empty or all day \
                     by the same time twice"
                )
            };
            let (days, from, until) = window(text).ok_or_else(wrong)?;
            for day in days {
                windows.add(day * DAY + from, day * DAY + until);
            }
            windows.written.push((*text).to_owned());
        }
        Ok(windows)
    }

    fn add(&mut self, from: u16, until: u16) {
        self.spans.push((from, until.min(WEEK)));
        if until > WEEK {
            self.spans.push((0, until - WEEK));
        }
    }

    /// Returns whether there is no limit at all.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns whether `time` lies in a window.
    #[must_use]
    pub fn are_open<Z: TimeZone>(&self, time: &DateTime<Z>) -> bool {
        let minute =
            time.weekday().num_days_from_monday() * u32::from(DAY) + time.hour() * 60 + time.minute();
        let within = |(from, until): &(u16, u16)| (u32::from(*from)..u32::from(*until)).contains(&minute);
        self.is_always() || self.spans.iter().any(within)
    }

    /// When they close next, or open where they are closed; `None` where that never comes.
    #[must_use]
    pub fn next_change<Z: TimeZone>(&self, now: &DateTime<Z>) -> Option<DateTime<Z>> {
        if self.is_always() {
            return None;
        }
        let open = self.are_open(now);
        let into_minute = i64::from(now.second()) * 1000 + i64::from(now.nanosecond() / 1_000_000);
        let minute = now.clone() - TimeDelta::milliseconds(into_minute);
        let minutes = (1..=LOOK_AHEAD).map(|n| minute.clone() + TimeDelta::minutes(n));
        minutes.into_iter().find(|time| self.are_open(time) != open)
    }
}

/// The days, and from and up to a minute of them.
fn window(text: &str) -> Option<(Vec<u16>, u16, u16)> {
    let text = text.trim();
    let (days, times) = match text.rsplit_once(' ') {
        Some((days, times)) => (days_of(days)?, times),
        None => ((0..7).collect(), text),
    };
    let (from, until) = times.split_once('-')?;
    let (from, until) = (minute(from)?, minute(until)?);
    if from == until || from == DAY {
        return None;
    }
    Some((days, from, if until < from { until + DAY } else { until }))
}

/// `22:00`; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

/// `Mon`, `Mon-Fri`, `Fri-Mon`, or several of them with commas between.
fn days_of(text: &str) -> Option<Vec<u16>> {
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        DAYS.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, day)| day)
    };
    let mut days: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        days.extend((0..=length).map(|n| (first + n) % 7));
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::FixedOffset;

    /// A moment of the week of Monday 2026-11-23, in a zone far from UTC.
    fn at(day: u32, time: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(&format!("2026-11-{:02}T{time}+08:00", 23 + day)).unwrap()
    }

    fn windows(texts: &[&str]) -> Windows {
        Windows::read(texts).unwrap()
    }

    #[test]
    fn without_windows_it_is_always_open() {
        let always = Windows::default();
        assert!(always.is_always() && always.are_open(&at(0, "12:00:00")));
        assert_eq!(always.next_change(&at(0, "12:00:00")), None);
    }

    /// interface 6.8
    #[test]
    fn a_window_over_midnight_is_open_on_both_sides_of_it() {
        let night = windows(&["22:00-06:00"]);
        for open in ["22:00:00", "23:59:59", "00:00:00", "05:59:59"] {
            assert!(night.are_open(&at(0, open)) && night.are_open(&at(6, open)), "{open}");
        }
        for closed in ["06:00:00", "12:00:00", "21:59:59"] {
            assert!(!night.are_open(&at(0, closed)) && !night.are_open(&at(6, closed)), "{closed}");
        }
    }

    /// interface 6.8
    #[test]
    fn the_next_change_is_the_opening_or_the_closing() {
        let night = windows(&["22:00-06:00"]);
        for (now, day, change) in
            [("12:34:56.789", 2, "22:00:00"), ("22:00:00", 3, "06:00:00"), ("05:59:59.999", 2, "06:00:00")]
        {
            assert_eq!(night.next_change(&at(2, now)), Some(at(day, change)), "{now}");
        }
        // the last night of the week ends in the next one
        assert_eq!(night.next_change(&at(6, "23:00:00")), Some(at(7, "06:00:00")));
    }

    /// interface 6.8
    #[test]
    fn days_are_those_of_the_beginning() {
        let weekdays = windows(&["Mon-Fri 22:00-06:00"]);
        assert!(weekdays.are_open(&at(5, "05:00:00")), "Friday's night goes into Saturday");
        assert!(!weekdays.are_open(&at(0, "05:00:00")), "Sunday's is none of them");
        assert_eq!(weekdays.next_change(&at(5, "06:00:00")), Some(at(7, "22:00:00")));
        let weekend = windows(&["sat,Sun 00:00-24:00"]);
        assert!(weekend.are_open(&at(5, "00:00:00")) && weekend.are_open(&at(6, "23:59:00")));
        assert_eq!(weekend.next_change(&at(5, "12:00:00")), Some(at(7, "00:00:00")));
        let around = windows(&["Sun-Mon 10:00-11:00"]);
        assert!(around.are_open(&at(6, "10:30:00")) && around.are_open(&at(0, "10:30:00")));
        assert!(!around.are_open(&at(1, "10:30:00")));
    }

    #[test]
    fn windows_that_meet_are_one() {
        let both = windows(&["20:00-24:00", "00:00-02:00"]);
        assert_eq!(both.next_change(&at(1, "21:00:00")), Some(at(2, "02:00:00")));
        let whole = windows(&["00:00-12:00", "12:00-24:00"]);
        assert_eq!(whole.next_change(&at(1, "21:00:00")), None);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for wrong in [
            "",
            "22-06",
            "22:00",
            "22:00-22:00",
            "24:00-06:00",
            "22:60-06:00",
            "25:00-06:00",
            "2:00-6:00",
            "22:00-06:00 Mon",
            "Mon-Xyz 22:00-06:00",
            "Mon- 22:00-06:00",
            "+2:00-06:00",
            "22:00-06:00-07:00",
        ] {
            assert!(Windows::read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
