//! Numbers, times and faults in words, as people read them.

use std::fmt::Display;
use std::time::Duration;

/// From so long on a time is shown in whole seconds, and from a second on in tenths.
const WHOLE_SECONDS: Duration = Duration::from_secs(10);
/// A word is offered instead of an unknown one up to this many edits away, however short it is.
const NEAR_EDITS: usize = 2;

/// `1 server`, `2 servers`, `0 directories`, `2 lines of it`: the first word tells how many.
#[must_use]
pub fn count<N: Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    let (noun, rest) =
        one.split_once(' ').map_or((one, String::new()), |(noun, rest)| (noun, format!(" {rest}")));
    match noun.strip_suffix('y') {
        _ if number == N::from(1) => format!("{number} {one}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies{rest}"),
        _ => format!("{number} {noun}s{rest}"),
    }
}

/// `1 file is`, `2 files are`.
#[must_use]
pub fn count_is<N: Copy + Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    format!("{} {}", count(number, one), if number == N::from(1) { "is" } else { "are" })
}

/// `1 file was`, `2 files were`.
#[must_use]
pub fn count_was<N: Copy + Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    format!("{} {}", count(number, one), if number == N::from(1) { "was" } else { "were" })
}

/// A length of time as exactly as a person reads it: `710ms`, `1.5s`, `1m 53s`, `2h 5m`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let tenths = (millis + 50) / 100;
    if time < WHOLE_SECONDS && tenths < 100 {
        let (seconds, tenth) = (tenths / 10, tenths % 10);
        return if tenth == 0 { format!("{seconds}s") } else { format!("{seconds}.{tenth}s") };
    }
    let seconds = u64::try_from((millis + 500) / 1000).unwrap_or(u64::MAX);
    let shown = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let largest: Vec<&str> = shown.split(' ').take(2).collect();
    largest.join(" ")
}

/// The one of `known` that `name` may have been meant to be: up to two edits away, or a third of its letters.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|candidate| (strsim::levenshtein(name, candidate), candidate));
    // as many edits as letters would turn anything into anything
    let near = near.filter(|(edits, candidate)| {
        *edits < candidate.len() && *edits <= NEAR_EDITS.max(name.len().min(candidate.len()) / 3)
    });
    near.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// A fault and what led to it, none of it twice: some errors have their cause in their own words already.
#[must_use]
pub fn why(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_miss_is_offered() {
        for (name, known, near) in [
            ("pasword", ["password", "user"], Some("password")),
            ("intervall", ["root", "interval"], Some("interval")),
            ("directory", ["directories", "user"], Some("directories")),
            ("strat", ["start", "stop"], Some("start")),
            ("passwords_of_all", ["password", "user"], None),
            ("ab", ["xy", "zz"], None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
    }
    use anyhow::Context;

    #[test]
    fn one_is_one_and_all_others_are_many() {
        assert_eq!([count(1_u64, "server"), count(0_u64, "server")], ["1 server", "0 servers"]);
        assert_eq!([count(2_usize, "directory"), count(3_usize, "day")], ["2 directories", "3 days"]);
        assert_eq!([count_is(1_u64, "line"), count_is(2_u64, "line")], ["1 line is", "2 lines are"]);
    }

    #[test]
    fn times_are_no_more_exact_than_a_person_reads() {
        let shown = |micros| duration(Duration::from_micros(micros));
        assert_eq!([shown(0), shown(681), shown(710_681)], ["0s", "0s", "710ms"]);
        assert_eq!([shown(1_000_000), shown(1_549_000), shown(9_960_000)], ["1s", "1.5s", "10s"]);
        assert_eq!([shown(112_710_681), shown(30_000_000)], ["1m 53s", "30s"]);
        assert_eq!([shown(7_512_000_000), shown(90_061_000_000)], ["2h 5m", "1day 1h"]);
    }

    #[test]
    fn a_fault_says_its_reason_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot store: {0}")]
        struct Twice(#[source] std::io::Error);
        let full = || std::io::Error::from_raw_os_error(28);
        let error = anyhow::Error::new(Twice(full())).context("/a.zip");
        assert_eq!(why(&error), "/a.zip: cannot store: No space left on device (os error 28)");
        let error = Err::<(), _>(full()).context("cannot make /d").unwrap_err();
        assert_eq!(why(&error), "cannot make /d: No space left on device (os error 28)");
    }
}
