//! Which files of a server are fetched, by their names: patterns that take upper and lower case alike.
//!
//! Listings ask for every name, most of which nobody wants. A pattern such as `*.zip` costs a look at the last bytes of
//! a name; any other has the name decoded.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use encoding_rs::Encoding;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::names::{RemoteName, decode};

/// What is fetched where nothing else is said.
pub const USUAL: &[&str] = &["*.zip"];

/// Most patterns in one list: each costs a look at every name of a listing.
const MAX_PATTERNS: usize = 100;
/// What has a meaning in a pattern.
const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct FileNames(Arc<Patterns>);

struct Patterns {
    written: Vec<String>,
    /// `*.zip` is one of them, in whatever case: a listing without any other costs a comparison of four bytes a name.
    zips: bool,
    /// What follows the star of patterns like `*.zip`: ASCII that begins with a dot, which no encoding has within a
    /// character of several bytes.
    endings: Vec<Box<[u8]>>,
    /// All the others, in small letters.
    others: GlobSet,
}

impl FileNames {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that cannot be used, in words that follow the name of the list.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, String> {
        if patterns.is_empty() {
            return Err("must hold at least one pattern".to_owned());
        }
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("must not hold more than {MAX_PATTERNS} patterns"));
        }
        let (mut zips, mut endings, mut others) = (false, Vec::new(), GlobSetBuilder::new());
        for pattern in patterns.iter().map(AsRef::as_ref) {
            match ending(pattern) {
                Some(ending) if is_zip(ending.as_bytes()) && ending.len() == 4 => zips = true,
                Some(ending) => endings.push(ending.as_bytes().into()),
                None => drop(others.add(glob(pattern)?)),
            }
        }
        let others = others.build().map_err(|error| format!("cannot be used: {error}"))?;
        let written = patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Ok(Self(Arc::new(Patterns { written, zips, endings, others })))
    }

    /// Returns whether a file of this name is fetched; `encoding` is that of the name.
    #[must_use]
    pub fn fit(&self, wire: &[u8], encoding: &'static Encoding) -> bool {
        self.0.fit(wire, || match std::str::from_utf8(wire) {
            Ok(text) if wire.is_ascii() => Cow::Borrowed(text),
            _ => Cow::Owned(decode(wire, encoding)),
        })
    }

    /// The same of a name that was taken from a listing.
    #[must_use]
    pub fn fit_name(&self, name: &RemoteName) -> bool {
        self.0.fit(name.wire(), || Cow::Borrowed(name.text()))
    }

    /// Returns whether the name ends as a pattern like `*.zip` says, which hardly a directory's does. Others, such as
    /// `*`, say nothing of what bears the name.
    #[must_use]
    pub fn fit_by_ending(&self, wire: &[u8]) -> bool {
        self.0.fit_by_ending(wire)
    }

    /// Returns whether they are the usual ones.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        self.0.written == USUAL
    }
}

impl Patterns {
    fn fit<'t>(&self, wire: &[u8], text: impl FnOnce() -> Cow<'t, str>) -> bool {
        self.fit_by_ending(wire) || (!self.others.is_empty() && self.others.is_match(text().to_lowercase()))
    }

    fn fit_by_ending(&self, wire: &[u8]) -> bool {
        let ends_in = |ending: &[u8]| {
            let start = wire.len().checked_sub(ending.len());
            start.and_then(|start| wire.get(start..)).is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        };
        (self.zips && is_zip(wire)) || self.endings.iter().any(|ending| ends_in(ending))
    }
}

impl Default for FileNames {
    fn default() -> Self {
        static ZIPS: LazyLock<FileNames> = LazyLock::new(|| {
            let written = USUAL.iter().map(|&pattern| pattern.to_owned()).collect();
            FileNames(Arc::new(Patterns {
                written,
                zips: true,
                endings: Vec::new(),
                others: GlobSet::empty(),
            }))
        });
        ZIPS.clone()
    }
}

impl PartialEq for FileNames {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.written == other.0.written
    }
}

impl Eq for FileNames {}

impl fmt::Debug for FileNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileNames").field(&self.0.written).finish()
    }
}

/// The patterns, as they were written: `*.zip, *.gz`.
impl fmt::Display for FileNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.written.join(", "))
    }
}

fn is_zip(name: &[u8]) -> bool {
    name.last_chunk::<4>().is_some_and(|tail| tail.eq_ignore_ascii_case(b".zip"))
}

/// What a name ends in that the pattern fits, where nothing else matters.
fn ending(pattern: &str) -> Option<&str> {
    let ending = pattern.strip_prefix('*')?;
    (ending.starts_with('.') && ending.is_ascii() && !ending.contains(SPECIAL) && !ending.contains('/'))
        .then_some(ending)
}

fn glob(pattern: &str) -> Result<globset::Glob, String> {
    if pattern.is_empty() {
        return Err("must not hold an empty pattern".to_owned());
    }
    if pattern.contains('/') {
        return Err(format!(
            "\"{pattern}\" holds a slash, and names are compared, not paths: those are for include and exclude"
        ));
    }
    let built = GlobBuilder::new(&pattern.to_lowercase()).literal_separator(false).build();
    built.map_err(|error| format!("\"{pattern}\" is not a usable pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{GBK, UTF_8};

    fn fit(pattern: &str, name: &str) -> bool {
        FileNames::new(&[pattern]).unwrap().fit(name.as_bytes(), UTF_8)
    }

    /// interface 5.30
    #[test]
    fn names_fit_whole_and_in_any_case() {
        for (pattern, name, fits) in [
            ("*.zip", "a.ZIP", true),
            ("*.zip", ".Zip", true),
            ("*.zip", "a.zip.tmp", false),
            ("*.zip", "zip", false),
            ("*.ZIP", "a.zip", true),
            ("*.tar.gz", "a.tar.GZ", true),
            ("*.tar.gz", "a.gz", false),
            ("MRO_*.x?l", "mro_1.XML", true),
            ("MRO_*.x?l", "a_MRO_1.xml", false),
            ("*.{gz,Xml}", "a.xMl", true),
            ("[A-C]*", "b", true),
            ("[!A-C]*", "b", false),
            ("*", "anything", true),
            ("*mro.xml", "1MRO.xml", true),
            ("*É*.csv", "é.CSV", true),
            ("报告*.xml", "报告1.XML", true),
        ] {
            assert_eq!(fit(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_is_compared_as_it_is_read_whatever_its_encoding() {
        let names = FileNames::new(&["报*.xml", "*.Gz", "*z"]).unwrap();
        let wire = |text: &str| GBK.encode(text).0.into_owned();
        assert!(names.fit(&wire("报告.XML"), GBK) && names.fit(&wire("报.gz"), GBK));
        assert!(!names.fit(&wire("告.xml"), GBK));
        // 亃 is 81 7A, whose second byte is a z
        assert!(!names.fit(&[0x81, 0x7a], GBK), "the half of a character is no letter");
        let name = RemoteName::from_wire(&wire("报告.XML"), GBK).unwrap();
        assert!(names.fit_name(&name) && !FileNames::default().fit_name(&name));
    }

    #[test]
    fn an_ending_tells_a_file_and_a_star_alone_does_not() {
        let names = FileNames::new(&["*.gz", "*"]).unwrap();
        assert!(names.fit_by_ending(b"a.GZ") && !names.fit_by_ending(b"a") && names.fit(b"a", UTF_8));
    }

    #[test]
    fn the_usual_ones_are_zips() {
        assert_eq!(FileNames::default(), FileNames::new(USUAL).unwrap());
        assert!(FileNames::default().are_usual() && FileNames::default().to_string() == "*.zip");
        let others = FileNames::new(&["*.zip", "*.gz"]).unwrap();
        assert!(!others.are_usual() && others != FileNames::default());
        assert_eq!(others.to_string(), "*.zip, *.gz");
    }

    #[test]
    fn what_is_no_pattern_over_names_is_refused_by_its_text() {
        let told = |patterns: &[&str]| FileNames::new(patterns).unwrap_err();
        assert_eq!(told(&[]), "must hold at least one pattern");
        assert_eq!(told(&["*.zip", ""]), "must not hold an empty pattern");
        for path in ["/in/*.zip", "*./zip", "in/*"] {
            assert!(told(&[path]).starts_with(&format!("\"{path}\" holds a slash")), "{path}");
        }
        assert!(told(&["[a"]).starts_with("\"[a\" is not a usable pattern: "));
        assert!(FileNames::new(&vec!["a"; MAX_PATTERNS + 1]).is_err());
    }
}
