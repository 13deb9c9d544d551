//! Names that travel through the whole program: servers, and what lies on them.
//!
//! A remote name is kept twice: as the bytes on the wire, which are what the server is asked for, and as text,
//! which is what the mirror, the records and the logs show. Every name from a server passes
//! [`RemoteName::from_wire`]; nothing else in the program builds one from foreign bytes.

use std::fmt;
use std::sync::Arc;

use encoding_rs::{DecoderResult, Encoding};

/// Longest name of one path component, in bytes of its local form (`NAME_MAX` of Linux file systems).
pub const MAX_NAME_BYTES: usize = 255;

/// The operator's name of a server: one path component, the `{FTP name}` of the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// Takes a name that can be a directory below the mirror's root.
    ///
    /// # Errors
    ///
    /// Says in a few words what a usable name looks like where `name` is none.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() {
            return Err("must not be empty");
        }
        if name.starts_with('.') {
            return Err("must not start with a dot");
        }
        if name.contains('/') {
            return Err("must be one path component, without a slash");
        }
        if name.chars().any(char::is_control) {
            return Err("must not hold control characters");
        }
        if name.len() > MAX_NAME_BYTES {
            return Err("must not be longer than 255 bytes");
        }
        Ok(Self(name.into()))
    }

    /// Takes a name that an operator writes. More is refused than what [`Self::new`] refuses, which reads names that
    /// are on record: what is shown as another name, or as the same as another one.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn configured(name: &str) -> Result<Self, &'static str> {
        if name.trim() != name {
            return Err("must not begin or end with a blank");
        }
        let is_invisible = |c| {
            is_unsafe_to_print(c) || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
        };
        if !name.chars().any(char::is_control) && name.chars().any(is_invisible) {
            return Err("must not hold characters that cannot be seen or turn the direction of writing");
        }
        Self::new(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name from a server is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, on the wire or once decoded.
    #[error("the name is a dot directory")]
    Dots,
    /// `/`, NUL, CR or LF, on the wire or once decoded.
    #[error("the name holds a slash, NUL, CR or LF")]
    Separator,
    /// Longer than [`MAX_NAME_BYTES`] once decoded.
    #[error("the name is longer than 255 bytes")]
    TooLong,
}

/// The name of one directory entry on a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteName {
    wire: Box<[u8]>,
    /// `None` where the wire bytes are the text, which spares the common name a copy.
    text: Option<Box<str>>,
}

impl RemoteName {
    /// Takes a name as it stood in a listing. Bytes that `encoding` cannot decode become `%XX` in the text.
    ///
    /// # Errors
    ///
    /// [`NameRefused`] for whatever could lead elsewhere than to one entry of one directory.
    pub fn from_wire(wire: &[u8], encoding: &'static Encoding) -> Result<Self, NameRefused> {
        refuse_dangerous(wire)?;
        let text = decode(wire, encoding);
        refuse_dangerous(text.as_bytes())?;
        if text.len() > MAX_NAME_BYTES {
            return Err(NameRefused::TooLong);
        }
        let text = (text.as_bytes() != wire).then(|| text.into_boxed_str());
        Ok(Self { wire: wire.into(), text })
    }

    /// The bytes that the server knows the entry by.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The name as people read it, and as the mirror spells it.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            // checked when the name was made: without a text of its own the wire is UTF-8
            None => std::str::from_utf8(&self.wire).unwrap_or_default(),
        }
    }
}

/// An absolute path of a directory or file on a server. Never ends in a slash, except the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemotePath {
    wire: Vec<u8>,
    text: String,
}

impl RemotePath {
    /// The server's root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self { wire: b"/".to_vec(), text: "/".to_owned() }
    }

    /// Takes a path that the operator wrote, such as `/MR/上海`.
    ///
    /// # Errors
    ///
    /// Says what is wrong where the path is not absolute, holds `.` or `..` components, or a character that
    /// `encoding` cannot put on the wire.
    pub fn from_text(text: &str, encoding: &'static Encoding) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("must be absolute, beginning with a slash");
        }
        let mut path = Self::root();
        for component in text.split('/').filter(|component| !component.is_empty()) {
            let (wire, _, unmappable) = encoding.encode(component);
            if unmappable {
                return Err("holds a character that the server's encoding lacks");
            }
            let name = RemoteName::from_wire(&wire, encoding)
                .map_err(|_| "must not hold '.', '..', NUL, CR, LF or components over 255 bytes")?;
            path = path.join(&name);
        }
        Ok(path)
    }

    /// Puts a stored path together again. For the records only: nothing is checked here.
    #[must_use]
    pub fn from_parts(wire: Vec<u8>, text: String) -> Self {
        Self { wire, text }
    }

    /// The path of the entry `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &RemoteName) -> Self {
        let slash = usize::from(!self.is_root());
        let mut wire = Vec::with_capacity(self.wire.len() + slash + name.wire().len());
        wire.extend_from_slice(&self.wire);
        let mut text = String::with_capacity(self.text.len() + slash + name.text().len());
        text.push_str(&self.text);
        if slash == 1 {
            wire.push(b'/');
            text.push('/');
        }
        wire.extend_from_slice(name.wire());
        text.push_str(name.text());
        Self { wire, text }
    }

    /// Returns whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.wire == b"/"
    }

    /// Returns whether `self` is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self.wire == other.wire
            || self.wire.strip_prefix(other.wire.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Returns whether one of its components is this, as the server knows it.
    #[must_use]
    pub fn has_component(&self, wire: &[u8]) -> bool {
        !wire.is_empty() && self.wire.split(|byte| *byte == b'/').any(|component| component == wire)
    }

    /// The bytes that the server knows the path by.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The path as people read it; below `{root}/{server}` it is also the local path.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The components of the local path, from the top; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').filter(|component| !component.is_empty())
    }
}

impl fmt::Display for RemotePath {
    /// Control characters come escaped, so that a name cannot write to a terminal or forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(&self.text))
    }
}

/// Shows foreign text with whatever could make it look like something else escaped: control characters, C1 among
/// them, which move the cursor or end the line; and the marks of Unicode that end a line or turn the direction of
/// writing, with which `gpj.zip` is shown as `piz.jpg`.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(is_unsafe_to_print) {
            match part.chars().next_back().filter(|last| is_unsafe_to_print(*last)) {
                Some(last) => {
                    f.write_str(part.strip_suffix(last).unwrap_or(part))?;
                    write!(f, "{}", last.escape_default())?;
                }
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and the marks, embeddings, overrides and isolates of the
/// bidirectional algorithm (Unicode Standard Annex 9 section 2).
#[must_use]
pub(crate) fn is_unsafe_to_print(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn refuse_dangerous(name: &[u8]) -> Result<(), NameRefused> {
    match name {
        b"" => Err(NameRefused::Empty),
        b"." | b".." => Err(NameRefused::Dots),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0 | b'\r' | b'\n')) => Err(NameRefused::Separator),
        _ => Ok(()),
    }
}

/// Decodes wire bytes for people; what `encoding` cannot decode comes as `%XX`, byte for byte.
#[must_use]
pub fn decode(wire: &[u8], encoding: &'static Encoding) -> String {
    if encoding == encoding_rs::UTF_8
        && let Ok(text) = std::str::from_utf8(wire)
    {
        return text.to_owned();
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(wire.len() * 3 + 16);
    let mut rest = wire;
    loop {
        // room for every byte as `%XX` or as the longest character, so that the output is never full for ever
        text.reserve(rest.len() * 4 + 16);
        let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        let consumed = rest.get(..read).unwrap_or_default();
        rest = rest.get(read..).unwrap_or_default();
        match result {
            DecoderResult::InputEmpty => return text,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(bad, good_after) => {
                let end = consumed.len().saturating_sub(usize::from(good_after));
                let start = end.saturating_sub(usize::from(bad));
                for byte in consumed.get(start..end).unwrap_or_default() {
                    text.push_str(&format!("%{byte:02X}"));
                }
                // the bytes read after the malformed ones are decoded again, by a fresh decoder
                let again = usize::from(good_after);
                rest = wire.get(wire.len() - rest.len() - again..).unwrap_or_default();
                decoder = encoding.new_decoder_without_bom_handling();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::name;
    use encoding_rs::{GBK, UTF_8, WINDOWS_1252};

    #[test]
    fn a_configured_name_of_a_server_misleads_nobody() {
        for good in ["omc01", "OMC 01", "omc01.", "核心网", "a-b_c"] {
            assert!(ServerName::configured(good).is_ok(), "{good}");
        }
        for bad in [
            " omc01",
            "omc01 ",
            "\u{3000}omc01",
            "omc\t",
            "o\u{202e}mc",
            "omc\u{200b}01",
            "\u{feff}omc",
            ".omc",
            "",
        ] {
            assert!(ServerName::configured(bad).is_err(), "{bad:?}");
        }
        assert!(ServerName::new("omc01 ").is_ok(), "what is on record is read");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"a\rb", b"a\nb"] {
            assert!(RemoteName::from_wire(bad, UTF_8).is_err(), "{bad:?}");
            assert!(RemoteName::from_wire(bad, GBK).is_err(), "{bad:?}");
        }
        assert_eq!(RemoteName::from_wire(&[b'x'; 256], UTF_8), Err(NameRefused::TooLong));
        assert!(RemoteName::from_wire(&[b'x'; 255], UTF_8).is_ok());
    }

    #[test]
    fn undecodable_bytes_become_percent_signs_and_the_rest_stays() {
        assert_eq!(name(b"bad\xff.zip").text(), "bad%FF.zip");
        assert_eq!(RemoteName::from_wire(b"bad\xff.zip", GBK).unwrap().text(), "bad%FF.zip");
        assert_eq!(RemoteName::from_wire(b"\xd6\xd0\xff\xce\xc4.zip", GBK).unwrap().text(), "中%FF文.zip");
        assert_eq!(name(b"\xe4\xb8.zip").text(), "%E4%B8.zip");
        assert_eq!(name(b"a\xe4").text(), "a%E4");
        assert_eq!(RemoteName::from_wire(b"a\x81", GBK).unwrap().text(), "a%81");
    }

    #[test]
    fn the_wire_bytes_are_kept_whatever_the_encoding() {
        let gbk = RemoteName::from_wire(b"\xd6\xd0.zip", GBK).unwrap();
        assert_eq!((gbk.wire(), gbk.text()), (&b"\xd6\xd0.zip"[..], "中.zip"));
        let latin = RemoteName::from_wire(b"caf\xe9.zip", WINDOWS_1252).unwrap();
        assert_eq!(latin.text(), "café.zip");
        assert_eq!(name("中.zip".as_bytes()).text(), "中.zip");
    }

    #[test]
    fn paths_join_and_nest() {
        let root = RemotePath::root();
        let a = root.join(&name(b"a"));
        let b = a.join(&name(b"b.zip"));
        assert_eq!((a.text(), b.text()), ("/a", "/a/b.zip"));
        assert!(b.is_within(&a) && b.is_within(&root) && a.is_within(&a) && !a.is_within(&b));
        assert!(!root.join(&name(b"ab")).is_within(&a));
        assert_eq!(b.components().collect::<Vec<_>>(), ["a", "b.zip"]);
    }

    #[test]
    fn the_operators_paths_are_encoded_for_the_wire() {
        let path = RemotePath::from_text("/MR//中/", GBK).unwrap();
        assert_eq!((path.wire(), path.text()), (&b"/MR/\xd6\xd0"[..], "/MR/中"));
        assert_eq!(RemotePath::from_text("/", UTF_8).unwrap(), RemotePath::root());
        for bad in ["MR", "", "/a/../b", "/\u{1F600}"] {
            assert!(RemotePath::from_text(bad, GBK).is_err(), "{bad}");
        }
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(Printable("a\u{1b}[2J\tb").to_string(), "a\\u{1b}[2J\\tb");
        assert_eq!(Printable("中.zip").to_string(), "中.zip");
        assert_eq!(Printable("\u{9b}2J\u{7f}").to_string(), "\\u{9b}2J\\u{7f}");
    }

    #[test]
    fn no_mark_turns_the_direction_of_what_is_shown_or_ends_its_line() {
        assert_eq!(Printable("a\u{202e}gpj.zip").to_string(), "a\\u{202e}gpj.zip");
        for mark in
            ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{2066}', '\u{2069}']
        {
            let shown = Printable(&format!("a{mark}b{mark}")).to_string();
            assert!(shown.is_ascii() && shown.matches("\\u{").count() == 2, "{shown}");
        }
        // right-to-left letters are letters
        assert_eq!(Printable("שלום.zip").to_string(), "שלום.zip");
    }
}
