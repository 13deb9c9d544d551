//! Moments as people write them, for the configuration and the command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Reads `2026-11-01`, `2026-11-01T00:00`, with seconds too, or RFC 3339 with its offset; UTC where there is none.
/// Returns milliseconds since 1970.
///
/// # Errors
///
/// What it must look like.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    // chrono takes years of one digit and of seven, which nobody means
    let usual = text.split('-').next().is_some_and(|year| year.len() == 4);
    let time = naive.or_else(day).filter(|_| usual);
    time.map(|time| time.and_utc().timestamp_millis()).ok_or_else(|| {
        "must be a time such as \"2026-11-01\", \"2026-11-01T00:00\" or \"2026-11-01T00:00:00+08:00\"; UTC \
         without an offset"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// interface 14.7
    #[test]
    fn a_moment_is_a_day_a_minute_or_rfc_3339_and_in_utc_unless_it_says_otherwise() {
        // 2026-11-01T00:00:00Z
        const NOVEMBER: i64 = 1_793_491_200_000;
        for (text, expected) in [
            ("2026-11-01", NOVEMBER),
            ("2026-11-01T00:00", NOVEMBER),
            ("2026-11-01T00:00:01", NOVEMBER + 1000),
            ("2026-11-01T00:00:00.005Z", NOVEMBER + 5),
            ("2026-11-01T08:00:00+08:00", NOVEMBER),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for wrong in ["", "now", "2026-11-31", "01.11.2026", "2026-11-01 ", "26-11-01", "1793491200"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
