//! Reads the period that a file's name carries.

use chrono::{NaiveDate, NaiveDateTime};

/// A name without its digits, and the period that was among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The name with each run of digits as one `#`: files of all stations and periods share it.
    pub series: String,
    /// Minutes since 1970-01-01T00:00, read as if it were UTC; of use against other periods only.
    pub minute: i64,
}

/// The period in `name`: `yyyymmddHHMMSS` or `yyyymmddHHMM`, in one run of digits or with one sign between date and
/// time. The first of several holds; seconds are rounded to the minute.
#[must_use]
pub fn read(name: &str) -> Option<Stamped> {
    let runs = runs(name);
    let whole = runs.iter().map(|(_, digits)| (*digits).to_owned());
    let split = runs.windows(2).filter_map(|pair| match pair {
        [(at, date), (next, time)] if date.len() == 8 && *next == at + date.len() + 1 => {
            Some(format!("{date}{time}"))
        }
        _ => None,
    });
    let minute = whole.chain(split).find_map(|digits| minute(&digits))?;
    Some(Stamped { series: series(name), minute })
}

/// The runs of digits with their places.
fn runs(name: &str) -> Vec<(usize, &str)> {
    let mut runs = Vec::new();
    let mut place = 0;
    for part in name.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        if !digits.is_empty() {
            runs.push((place, digits));
        }
        place += part.len();
    }
    runs
}

fn minute(digits: &str) -> Option<i64> {
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
    let seconds = match digits.len() {
        14 => number(12, 14)?,
        12 => 0,
        _ => return None,
    };
    let year = i32::try_from(number(0, 4)?).ok().filter(|year| (2000..2100).contains(year))?;
    let date = NaiveDate::from_ymd_opt(year, number(4, 6)?, number(6, 8)?)?;
    let time: NaiveDateTime = date.and_hms_opt(number(8, 10)?, number(10, 12)?, seconds)?;
    Some((time.and_utc().timestamp() + 30).div_euclid(60))
}

fn series(name: &str) -> String {
    let mut series = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_ascii_digit() {
            true if series.ends_with('#') => {}
            true => series.push('#'),
            false => series.push(c),
        }
    }
    series
}

/// A period as names spell it, to the minute.
#[must_use]
pub fn spelt(minute: i64) -> String {
    let time = chrono::DateTime::from_timestamp(minute.saturating_mul(60), 0).unwrap_or_default();
    time.format("%Y%m%d%H%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(name: &str) -> Option<String> {
        read(name).map(|stamped| spelt(stamped.minute))
    }

    /// interface 19.3
    #[test]
    fn a_period_is_read_from_the_names_that_equipment_gives() {
        for (name, expected) in [
            ("TD-LTE_MRO_HUAWEI_OMC1_400001_20261123031500.zip", Some("202611230315")),
            ("202611230315_x.zip", Some("202611230315")),
            ("MRO_20261123_0315.zip", Some("202611230315")),
            ("MRO-20261123T031500-20261123T033000.zip", Some("202611230315")),
            ("MRO_20261123031459.zip", Some("202611230315")),
            ("测量_20261123031500.zip", Some("202611230315")),
            ("omc_456456_mro.zip", None),
            ("MRO_20261323031500.zip", None),
            ("MRO_20261123250000.zip", None),
            ("MRO_2026112303150.zip", None),
            ("MRO_19991123031500.zip", None),
            ("MRO_20261123.zip", None),
            ("", None),
        ] {
            assert_eq!(period(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn stations_and_periods_of_one_kind_are_one_series() {
        let series = |name| read(name).unwrap().series;
        let one = series("LTE_MRO_400001_20261123031500.zip");
        assert_eq!(one, "LTE_MRO_#_#.zip");
        assert_eq!(one, series("LTE_MRO_7_20261123033000.zip"));
        assert_ne!(one, series("LTE_MRE_400001_20261123031500.zip"));
    }
}
