//! JSON for people's terminals and programs that read line by line: the same values as `serde_json` writes, with
//! more of each string in escapes.
//!
//! `serde_json` escapes what JSON demands. That leaves DEL, the C1 control characters, which terminals take for
//! commands, U+0085, U+2028 and U+2029, at which some programs end a line, and the marks that turn the direction of
//! writing. A reader of JSON gets all of them back.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::base::names::is_unsafe_to_print;

/// Writes `value` on one line, without a line end.
///
/// # Errors
///
/// The writer's, or where `value` is nothing that JSON can say.
pub fn write(out: &mut dyn io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Harmless))
}

/// The same as a string.
///
/// # Errors
///
/// Where `value` is nothing that JSON can say.
pub fn to_string(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes, value)?;
    String::from_utf8(bytes).map_err(|error| serde::ser::Error::custom(error.utf8_error()))
}

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        for part in text.split_inclusive(is_unsafe_to_print) {
            match part.chars().next_back().filter(|last| is_unsafe_to_print(*last)) {
                Some(last) => {
                    out.write_all(part.strip_suffix(last).unwrap_or(part).as_bytes())?;
                    // all of them have four digits
                    write!(out, "\\u{:04x}", u32::from(last))?;
                }
                None => out.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_comes_back_and_nothing_in_it_moves_a_cursor_or_ends_a_line() {
        let harmful = "\u{1b}[2J\u{9b}2J\u{7f}\u{85}\u{2028}\u{2029}\u{202e}gpj\u{2069}\n\r\t\0\"\\/中😀";
        let json = to_string(&[harmful]).unwrap();
        assert!(!json.contains(is_unsafe_to_print), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [harmful]);
        assert!(json.contains("\\u009b2J\\u007f\\u0085\\u2028\\u2029\\u202egpj\\u2069"), "{json}");
    }

    #[test]
    fn what_is_harmless_is_written_as_ever() {
        let value = serde_json::json!({"server": "omc01", "path": "/上海/a b.zip", "size": 1, "at": null});
        assert_eq!(to_string(&value).unwrap(), serde_json::to_string(&value).unwrap());
    }
}
