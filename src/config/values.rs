//! Reads single values of the configuration: one function for each kind of value, for `validate` and `servers`.
//!
//! Strict where the `config` crate is lenient (it would take `true` for 1 and 1.5 for 2). Errors say what the
//! value must look like, in words that follow the key: `must be …`. A value that could hold a secret is never
//! part of them: hosts and URLs are where people write passwords by mistake.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use config::{Value, ValueKind};
use encoding_rs::Encoding;
use log::LevelFilter;
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use url::Url;

use crate::base::globs::Globs;
use crate::base::time;

/// Begins the origin of each value that an environment variable gave.
pub(super) const FROM_ENVIRONMENT: &str = "from ";

/// Longest path of a Unix socket, in bytes: `sun_path` holds 108 with the final NUL (unix(7)).
const MAX_SOCKET_BYTES: usize = 107;

/// A string.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text),
        _ => Err("must be a string".to_owned()),
    }
}

/// A string that goes into an FTP command: without what would end the command, and not shown in the error.
pub(super) fn command_text(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    refuse_line_breaks(text)?;
    Ok(text.to_owned())
}

/// Refuses what would end an FTP command, without showing the text.
pub(super) fn refuse_line_breaks(text: &str) -> Result<(), String> {
    if text.contains(['\r', '\n', '\0']) {
        return Err("must not hold a line break or NUL".to_owned());
    }
    Ok(())
}

/// A list of strings, at least one.
pub(super) fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let wrong = || "must be a list of strings, at least one".to_owned();
    match &value.kind {
        ValueKind::Array(list) if !list.is_empty() => {
            list.iter().map(text).collect::<Result<_, _>>().map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// A list of patterns over remote paths; an empty one is as good as none.
pub(super) fn globs(value: &Value) -> Result<Globs, String> {
    match &value.kind {
        ValueKind::Array(list) if list.is_empty() => Ok(Globs::default()),
        _ => Globs::new(&texts(value)?),
    }
}

/// A moment, in unix seconds.
pub(super) fn timestamp(value: &Value) -> Result<i64, String> {
    time::parse(text(value)?).map(|milliseconds| milliseconds.div_euclid(1000))
}

/// A moment, in unix seconds; none where it is that of the first start.
pub(super) fn since(value: &Value) -> Result<Option<i64>, String> {
    if text(value)? == "now" {
        return Ok(None);
    }
    timestamp(value).map(Some).map_err(|fault| format!("{fault}; or \"now\""))
}

/// A whole number within `range`.
pub(super) fn whole(value: &Value, range: &RangeInclusive<u16>) -> Result<u16, String> {
    let (least, most) = (range.start(), range.end());
    let number = match &value.kind {
        ValueKind::I64(number) => u16::try_from(*number).ok(),
        ValueKind::String(text) if is_from_environment(value) => text.parse().ok(),
        _ => return Err(format!("must be a whole number from {least} to {most}")),
    };
    let within = number.filter(|number| range.contains(number));
    within.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// A percentage: more than 0, up to 100, fractions allowed.
pub(super) fn percent(value: &Value) -> Result<f64, String> {
    let percent = match &value.kind {
        ValueKind::Float(percent) => Some(*percent),
        ValueKind::I64(percent) => i16::try_from(*percent).ok().map(f64::from),
        ValueKind::String(text) if is_from_environment(value) => text.parse().ok(),
        _ => None,
    };
    // NaN is in no range
    let within = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    within.ok_or_else(|| "must be a number more than 0 and up to 100".to_owned())
}

/// A size in bytes, more than 0: a whole number, or a string such as `500GiB`.
pub(super) fn bytes(value: &Value) -> Result<u64, String> {
    let more = any_bytes(value).filter(|bytes| *bytes > 0);
    more.ok_or_else(|| {
        "must be a size more than 0, such as \"500GiB\", or a whole number of bytes".to_owned()
    })
}

/// The same, and 0 as well.
pub(super) fn bytes_or_none(value: &Value) -> Result<u64, String> {
    any_bytes(value).ok_or_else(|| "must be a size such as \"100B\", or a whole number of bytes".to_owned())
}

fn any_bytes(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::I64(bytes) => u64::try_from(*bytes).ok(),
        ValueKind::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
        _ => None,
    }
}

/// A time with its unit, such as `60s`, within `range`.
pub(super) fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = match &value.kind {
        ValueKind::String(text) if text.parse::<f64>().is_err() => text,
        ValueKind::String(number) => return Err(bare_number(number)),
        ValueKind::I64(number) => return Err(bare_number(number)),
        ValueKind::Float(number) => return Err(bare_number(number)),
        _ => return Err("must be a time with its unit, such as \"60s\"".to_owned()),
    };
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("must be a time with its unit, such as \"60s\": {error}"))?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) =
        (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
    Err(format!("must be from {least} to {most}"))
}

fn bare_number(number: impl Display) -> String {
    format!("must be a time with its unit; write {number} seconds as \"{number}s\"")
}

/// A path of the local file system, absolute or relative to the current directory.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("must not be empty".to_owned()),
        path if path.contains('\0') => Err("must not hold NUL".to_owned()),
        path if is_of_windows(path) => {
            Err("is a path of Windows, and this host has none such; write one of its own, \
                                             such as \"/sync\""
                .to_owned())
        }
        path => Ok(PathBuf::from(path)),
    }
}

/// `D:\sync`, `D:/sync` or `\\host\share`: on this system, names of files in the working directory.
fn is_of_windows(path: &str) -> bool {
    let drive = |path: &str| matches!(path.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    path.starts_with("\\\\") || drive(path)
}

/// The path of a Unix socket, which the kernel bounds.
pub(super) fn socket_path(value: &Value) -> Result<PathBuf, String> {
    let path = path(value)?;
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_BYTES {
        return Err(format!("must not be longer than {MAX_SOCKET_BYTES} bytes, and has {length}"));
    }
    Ok(path)
}

/// One of the words that `T` knows.
pub(super) fn word<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(text(value)?.into_deserializer()).map_err(|error: value::Error| error.to_string())
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match &value.kind {
        ValueKind::Boolean(flag) => Some(*flag),
        ValueKind::String(text) if is_from_environment(value) => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| "must be true or false".to_owned())
}

/// A level of the log.
pub(super) fn level(value: &Value) -> Result<LevelFilter, String> {
    let level = LevelFilter::from_str(text(value)?);
    level.map_err(|_| "must be one of off, error, warn, info, debug and trace".to_owned())
}

/// An encoding of file names, by any label of the WHATWG Encoding Standard (section 4.2).
///
/// Paths are put together from `/` and names, so an encoding must leave ASCII as it is.
pub(super) fn encoding(value: &Value) -> Result<&'static Encoding, String> {
    let label = text(value)?;
    let encoding = Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        format!("must be the name of an encoding, such as \"utf-8\" or \"gbk\", and is \"{label}\"")
    })?;
    if !encoding.is_ascii_compatible() {
        return Err(format!("must be an encoding that holds ASCII unchanged, which \"{label}\" does not"));
    }
    Ok(encoding)
}

/// An `http` or `https` URL. The error never shows it: it may hold a password.
pub(super) fn http_url(value: &Value) -> Result<Url, String> {
    let url = Url::parse(text(value)?).map_err(|error| format!("must be a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be a URL that begins with http:// or https://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must be a URL with a host".to_owned());
    }
    // they would be shown wherever the URL is, and sent by nobody
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must be a URL without user and password".to_owned());
    }
    Ok(url)
}

/// A host name or address; IPv6 with or without brackets, which are not kept. The error never shows it.
pub(super) fn host(value: &Value) -> Result<String, String> {
    let host = text(value)?;
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let inner = unbracketed.unwrap_or(host);
    if inner.is_empty() {
        return Err("must not be empty".to_owned());
    }
    // fe80::1%eth0: the zone is the resolver's business
    let address = inner.split_once('%').map_or(inner, |(address, _)| address);
    let is_ipv6 = address.parse::<Ipv6Addr>().is_ok();
    let is_foreign =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '[' | ']' | '\\');
    if inner.contains(is_foreign) || (inner.contains(':') || unbracketed.is_some()) && !is_ipv6 {
        return Err(
            "must be a host name or an address alone, without blanks, scheme, user, port or path".into()
        );
    }
    Ok(inner.to_owned())
}

/// Environment variables are strings: a number may stand in one.
fn is_from_environment(value: &Value) -> bool {
    value.origin().is_some_and(|origin| origin.starts_with(FROM_ENVIRONMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: impl Into<ValueKind>) -> Value {
        Value::new(Some(&"in x.toml".to_owned()), kind)
    }

    fn variable(text: &str) -> Value {
        Value::new(Some(&format!("{FROM_ENVIRONMENT}MROSYNC_X__Y")), text)
    }

    #[test]
    fn whole_numbers_are_within_their_range_and_strings_only_from_the_environment() {
        let whole = |value: Value| whole(&value, &(1..=64));
        assert_eq!(whole(file(1_i64)), Ok(1));
        assert_eq!(whole(file(64_i64)), Ok(64));
        assert_eq!(whole(variable("4")), Ok(4));
        for wrong in
            [file(0_i64), file(65_i64), file(-1_i64), file(70_000_i64), variable("65"), variable("four")]
        {
            assert_eq!(
                whole(wrong.clone()),
                Err("must be a whole number from 1 to 64".to_owned()),
                "{wrong:?}"
            );
        }
        for wrong in [file("4"), file(4.0), file(true), variable(""), variable(" 4")] {
            assert!(whole(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn percentages_are_more_than_0_and_up_to_100() {
        for (value, expected) in
            [(file(60_i64), 60.0), (file(0.5), 0.5), (file(100_i64), 100.0), (variable("62.5"), 62.5)]
        {
            assert_eq!(percent(&value), Ok(expected));
        }
        for wrong in
            [file(0_i64), file(100.1), file(-1_i64), file(f64::NAN), file("60"), variable("NaN"), file(true)]
        {
            assert!(percent(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (value, expected) in [
            (file("500GiB"), 500 << 30),
            (file("1.5 KiB"), 1536),
            (file("2kB"), 2000),
            (file(123_i64), 123),
            (variable("123"), 123),
        ] {
            assert_eq!(bytes(&value), Ok(expected));
        }
        for wrong in [file(0_i64), file(-1_i64), file("0"), file("-1GiB"), file("much"), file(1.5), file("")]
        {
            assert!(bytes(&wrong).is_err(), "{wrong:?}");
        }
        for (value, expected) in [(file("100B"), 100), (file(0_i64), 0), (file("0"), 0), (file("1KiB"), 1024)]
        {
            assert_eq!(bytes_or_none(&value), Ok(expected));
        }
        for wrong in [file(-1_i64), file("slow"), file(1.5), file("100B/s")] {
            assert!(bytes_or_none(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_need_a_unit_and_keep_their_range() {
        let range = Duration::from_millis(100)..=Duration::from_hours(1);
        let duration = |value: Value| duration(&value, &range);
        assert_eq!(duration(file("100ms")), Ok(Duration::from_millis(100)));
        assert_eq!(duration(file("1h")), Ok(Duration::from_hours(1)));
        assert_eq!(duration(file("1m 30s")), Ok(Duration::from_secs(90)));
        for bare in [file(60_i64), file("60"), variable("60")] {
            let fault = duration(bare).unwrap_err();
            assert_eq!(fault, "must be a time with its unit; write 60 seconds as \"60s\"");
        }
        for wrong in [file("99ms"), file("1h 1ns"), file("0s")] {
            assert_eq!(duration(wrong), Err("must be from 100ms to 1h".to_owned()));
        }
        for wrong in [file("soon"), file(""), file(true), file("-60s"), file(1.5)] {
            assert!(duration(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    /// interface 5.29
    #[test]
    fn paths_are_not_empty_and_sockets_fit_the_kernels_limit() {
        assert_eq!(path(&file("relative/x")), Ok(PathBuf::from("relative/x")));
        for windows in ["D:\\sync", "d:/sync", "\\\\nas\\sync"] {
            assert!(path(&file(windows)).unwrap_err().contains("path of Windows"), "{windows}");
            assert!(socket_path(&file(windows)).is_err(), "{windows}");
        }
        for own in ["a:b", "x/D:/y", "\\odd", "D:"] {
            assert!(path(&file(own)).is_ok(), "{own}");
        }
        assert!(path(&file("")).is_err() && path(&file("a\0b")).is_err() && path(&file(1_i64)).is_err());
        assert!(socket_path(&file("x".repeat(107).as_str())).is_ok());
        let fault = socket_path(&file("x".repeat(108).as_str())).unwrap_err();
        assert_eq!(fault, "must not be longer than 107 bytes, and has 108");
        assert!(socket_path(&file("")).is_err());
    }

    #[test]
    fn encodings_are_known_by_any_label_and_hold_ascii() {
        for (label, expected) in [
            ("utf-8", encoding_rs::UTF_8),
            ("GBK", encoding_rs::GBK),
            ("gb18030", encoding_rs::GB18030),
            ("latin1", encoding_rs::WINDOWS_1252),
        ] {
            assert_eq!(encoding(&file(label)), Ok(expected));
        }
        for wrong in ["utf-16le", "utf-16be", "iso-2022-jp", "replacement", "hz-gb-2312", "klingon", ""] {
            assert!(encoding(&file(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_are_http_with_a_host_and_never_shown() {
        for good in ["http://mro.web.com/dls.php", "https://[::1]:8443/x?site=7"] {
            assert_eq!(http_url(&file(good)).unwrap().as_str(), good);
        }
        for wrong in [
            "ftp://geheim.example/",
            "geheim",
            "http://",
            "http://user:geheim@host/",
            "http://geheim@host/",
            "http://geheim:x/",
            "unix:/geheim",
        ] {
            let fault = http_url(&file(wrong)).expect_err(wrong);
            assert!(!fault.contains("geheim"), "{fault}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_and_never_shown() {
        for (written, kept) in [
            ("10.0.0.1", "10.0.0.1"),
            ("ftp.example.org", "ftp.example.org"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
        ] {
            assert_eq!(host(&file(written)), Ok(kept.to_owned()));
        }
        for wrong in [
            "",
            "[]",
            "a geheim",
            "a\tgeheim",
            "geheim\n",
            "geheim:21",
            "ftp://geheim",
            "user:geheim@x",
            "geheim@x",
            "geheim/x",
            "[geheim]",
            "[::1]:21",
            "[::1",
        ] {
            let fault = host(&file(wrong)).expect_err(wrong);
            assert!(!fault.contains("geheim"), "{fault}");
        }
    }

    #[test]
    fn levels_and_words_are_those_listed() {
        for (text, expected) in
            [("off", LevelFilter::Off), ("warn", LevelFilter::Warn), ("trace", LevelFilter::Trace)]
        {
            assert_eq!(level(&file(text)), Ok(expected));
        }
        assert!(level(&file("loud")).is_err() && level(&file(1_i64)).is_err());
        assert_eq!(word(&file("explicit")), Ok(crate::config::TlsMode::Explicit));
        let fault = word::<crate::config::TlsMode>(&file("ssl")).unwrap_err();
        assert_eq!(fault, "unknown variant `ssl`, expected one of `off`, `explicit`, `implicit`");
    }

    #[test]
    fn command_texts_cannot_end_a_command_and_are_never_shown() {
        assert_eq!(command_text(&file("p:ä %")), Ok("p:ä %".to_owned()));
        for wrong in ["geheim\r", "ge\nheim", "geheim\0"] {
            let fault = command_text(&file(wrong)).unwrap_err();
            assert_eq!(fault, "must not hold a line break or NUL");
        }
        assert_eq!(command_text(&file(12_345_i64)), Err("must be a string".to_owned()));
    }
}
