//! The snapshot as programs are shown it, and as `ctl` reads it again: one object on one line, with the fields of
//! `docs/interface.md`. This is where times become text (RFC 3339, to the millisecond) and lengths of time numbers.

use super::ServiceStatus;
use crate::base::json;

/// Writes the status on one line, without a line end.
///
/// # Errors
///
/// A number in it is none that JSON knows.
pub fn write(status: &ServiceStatus) -> serde_json::Result<String> {
    json::to_string(status)
}

/// Reads what a service has written, which may be one of another version: fields that are not known are passed over.
///
/// # Errors
///
/// It is no status.
pub fn read(text: &str) -> serde_json::Result<ServiceStatus> {
    serde_json::from_str(text)
}

/// Times, as RFC 3339 to the millisecond.
pub(super) mod time {
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn text(time: DateTime<Utc>) -> String {
        time.to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        text(*time).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(from)?;
        DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc()).map_err(D::Error::custom)
    }
}

/// Times that may be missing, which is null.
pub(super) mod optional_time {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    struct Time(#[serde(with = "super::time")] DateTime<Utc>);

    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        time.map(super::time::text).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Ok(Option::<Time>::deserialize(from)?.map(|Time(time)| time))
    }
}

/// Lengths of time in seconds, to the tenth.
pub(super) mod tenths {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn number(length: Duration) -> f64 {
        (length.as_secs_f64() * 10.0).round() / 10.0
    }

    pub fn serialize<S: Serializer>(length: &Duration, to: S) -> Result<S::Ok, S::Error> {
        number(*length).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::try_from_secs_f64(f64::deserialize(from)?).unwrap_or_default())
    }
}

/// Lengths of time in seconds, to the millisecond, or null.
pub(super) mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn number(length: Duration) -> f64 {
        (length.as_secs_f64() * 1000.0).round() / 1000.0
    }

    pub fn serialize<S: Serializer>(length: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        length.map(number).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;
    use crate::status::{IncompleteFile, ServerStatus};

    fn status() -> ServiceStatus {
        let at = DateTime::from_timestamp_millis(1_795_402_800_500).unwrap();
        let file = IncompleteFile {
            path: "/a.zip".to_owned(),
            reason: "cut".to_owned(),
            tries: 2,
            since: at,
            next_try: at,
        };
        let server = ServerStatus {
            name: "omc01".to_owned(),
            last_scan_started: Some(at),
            last_scan_took: Some(Duration::from_micros(4_122_700)),
            incomplete: vec![file],
            ..ServerStatus::default()
        };
        ServiceStatus {
            running: true,
            uptime: Duration::from_millis(12_540),
            servers: vec![server],
            ..ServiceStatus::default()
        }
    }

    #[test]
    fn times_are_rfc_3339_and_lengths_of_time_are_seconds() {
        let json = write(&status()).unwrap();
        for part in [
            r#"{"running":true,"uptime_seconds":12.5,"disk":{"used_percent":null,"#,
            r#""last_scan_started":"2026-11-23T03:00:00.500Z","last_scan_seconds":4.123,"scans":0,"#,
            r#""next_scan":null,"#,
            r#""tries":2,"since":"2026-11-23T03:00:00.500Z","next_try":"2026-11-23T03:00:00.500Z"}]"#,
        ] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_says_the_same() {
        let json = write(&status()).unwrap();
        let read = read(&json).unwrap();
        assert_eq!(read.servers[0].last_scan_started, status().servers[0].last_scan_started);
        assert_eq!(write(&read).unwrap(), json);
    }

    #[test]
    fn a_status_of_another_version_is_read_and_other_text_is_not() {
        let json = write(&status()).unwrap();
        let newer = json.replacen('{', r#"{"a_new_key":[1],"#, 1);
        assert!(read(&newer).unwrap().running);
        let older = json.replacen(r#""mirror":{"held":false,"holds":[]},"#, "", 1);
        assert!(older.len() < json.len() && !read(&older).unwrap().mirror.held);
        for wrong in ["", "ok: started", "failed: the service is ending", "{}", "[]"] {
            read(wrong).unwrap_err();
        }
    }
}
