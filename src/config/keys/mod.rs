//! The table of configuration keys: one row for a key, with its place, type, default, range and help.
//!
//! The parser takes from it which keys there are, what they default to and which numbers they allow. The tables of
//! `docs/configuration.md`, their Chinese and the comments of the shipped `config/mrosync.toml` are written from it by
//! a test (`UPDATE=1 cargo test documents::configuration`). A new key is a row here, a field of the settings, and the
//! line that reads the one into the other.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::Value;

mod server;
mod service;
mod shared;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Where it may stand.
    pub place: Place,
    /// As it is written.
    pub name: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// What holds when it is left out.
    pub default: Fallback,
    /// A value in TOML, for keys that have no default to show.
    pub example: Option<&'static str>,
    /// Whether the shipped configuration sets `example`.
    pub is_shipped: bool,
    /// The only protocol that it has a meaning for.
    pub protocol: Option<ProtocolName>,
    /// Whether a change waits for the next start of the process; a `reload` follows the others.
    pub needs_restart: bool,
    /// Whether it holds a secret, so that others should not read the file.
    pub secrecy: Secrecy,
    /// What it is for, in Markdown without line breaks.
    pub help: &'static str,
    /// The same in Chinese.
    pub help_zh: &'static str,
}

impl Key {
    /// What most rows say.
    const USUAL: Self = Self {
        place: Place::Sync,
        name: "",
        kind: Kind::Text,
        default: Fallback::Absent,
        example: None,
        is_shipped: false,
        protocol: None,
        needs_restart: false,
        secrecy: Secrecy::Public,
        help: "",
        help_zh: "",
    };

    /// Returns whether a server that speaks `protocol` has a use for it.
    #[must_use]
    pub fn is_for(&self, protocol: ProtocolName) -> bool {
        self.protocol.is_none_or(|only| only == protocol)
    }
}

/// Where a key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `[sync]`
    Sync,
    /// `[quota]`
    Quota,
    /// `[notify]`
    Notify,
    /// `[records]`
    Records,
    /// `[control]`
    Control,
    /// `[web]`
    Web,
    /// `[log]`
    Log,
    /// `[defaults]`, and each of `[[servers]]`, which overrides it
    Defaults,
    /// Each of `[[servers]]` alone
    Servers,
}

impl Place {
    /// All of them, in the order in which documents show them.
    pub const ALL: [Self; 9] = [
        Self::Sync,
        Self::Quota,
        Self::Notify,
        Self::Records,
        Self::Control,
        Self::Web,
        Self::Log,
        Self::Defaults,
        Self::Servers,
    ];

    /// The name of the TOML table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Quota => "quota",
            Self::Notify => "notify",
            Self::Records => "records",
            Self::Control => "control",
            Self::Web => "web",
            Self::Log => "log",
            Self::Defaults => "defaults",
            Self::Servers => "servers",
        }
    }

    /// Its rows, in their order.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        all().filter(move |key| key.place == self)
    }
}

/// What a value looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A string, of which the help says more.
    Text,
    /// A string in a form that these words name, in English and in Chinese.
    Form(&'static str, &'static str),
    /// A path of the local file system.
    Path,
    /// A list of strings.
    Texts,
    /// A string, or a list of them.
    TextOrTexts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A time with its unit.
    Time(RangeInclusive<Duration>),
    /// A whole number.
    Whole(RangeInclusive<u16>),
    /// `auto`, or a whole number.
    AutoOrWhole(RangeInclusive<u16>),
    /// A number above 0, up to 100.
    Percent,
    /// A size in bytes; whether 0 is one too.
    Size {
        /// 0 is allowed.
        or_zero: bool,
    },
    /// Bytes per second; 0 is no limit.
    Rate,
    /// A table of headers.
    Headers,
}

impl Kind {
    /// The times that are allowed.
    #[must_use]
    pub fn times(&self) -> RangeInclusive<Duration> {
        match self {
            Self::Time(range) => range.clone(),
            _ => Duration::ZERO..=Duration::MAX,
        }
    }

    /// The whole numbers that are allowed.
    #[must_use]
    pub fn wholes(&self) -> RangeInclusive<u16> {
        match self {
            Self::Whole(range) | Self::AutoOrWhole(range) => range.clone(),
            _ => 0..=u16::MAX,
        }
    }
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Is(Literal),
    /// What these words say, in English and in Chinese.
    Depends(&'static str, &'static str),
    /// Nothing.
    Absent,
    /// A fault.
    Required,
}

impl Fallback {
    /// The value, as if it had been written.
    pub(super) fn value(self) -> Option<Value> {
        match self {
            Self::Is(literal) => Some(literal.value()),
            Self::Depends(..) | Self::Absent | Self::Required => None,
        }
    }
}

/// A value; shown as TOML writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// A string.
    Text(&'static str),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list of strings.
    List(&'static [&'static str]),
}

impl Literal {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => Value::new(None, text),
            Self::Number(number) => Value::new(None, number),
            Self::Flag(flag) => Value::new(None, flag),
            Self::List(list) => Value::new(None, list.to_vec()),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(list) => write!(f, "{list:?}"),
        }
    }
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// FTP, with or without TLS.
    Ftp,
    /// SFTP, which is part of SSH.
    Sftp,
}

impl ProtocolName {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Sftp => "sftp",
        }
    }
}

/// Whether a key holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// It does not.
    Public,
    /// It is one.
    Secret,
    /// It is a URL, which may have a password before an `@`.
    InUrl,
}

/// All rows, in the order of their places.
pub fn all() -> impl Iterator<Item = &'static Key> {
    service::KEYS.iter().chain(shared::KEYS).chain(server::KEYS)
}

/// The row of the key of that name.
#[must_use]
pub fn find(place: Place, name: &str) -> Option<&'static Key> {
    place.keys().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::load_with;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_one_row_with_help_in_both_languages() {
        let mut seen = BTreeSet::new();
        for key in all() {
            assert!(seen.insert((key.place.name(), key.name)), "{key:?}");
            assert!(!seen.contains(&("servers", key.name)) || find(Place::Defaults, key.name).is_none());
            for help in [key.help, key.help_zh] {
                assert!(!help.is_empty() && !help.contains('\n') && !help.contains("  "), "{key:?}");
            }
            assert!(key.help.ends_with('.') && key.help_zh.ends_with('。'), "{key:?}");
        }
        assert!(seen.len() > 50, "{}", seen.len());
    }

    #[test]
    fn rows_stand_in_the_order_of_their_places() {
        let places: Vec<_> = all().map(|key| key.place).collect();
        let sorted: Vec<_> = Place::ALL.into_iter().flat_map(Place::keys).map(|key| key.place).collect();
        assert_eq!(places, sorted);
    }

    #[test]
    fn literals_are_shown_as_toml_writes_them() {
        let literals =
            [Literal::Text("60s"), Literal::Number(4), Literal::Flag(false), Literal::List(&["/"])];
        assert_eq!(literals.map(|literal| literal.to_string()), ["\"60s\"", "4", "false", "[\"/\"]"]);
        assert_eq!(Literal::List(&[]).to_string(), "[]");
    }

    /// The faults of a configuration that sets the key at each place where it may stand.
    fn faults(key: &Key, value: &str) -> Vec<String> {
        let set = format!("{} = {value}\n", key.name);
        let protocol = key.protocol.map_or("ftp", ProtocolName::as_str);
        let protocol =
            if key.name == "protocol" { String::new() } else { format!("protocol = '{protocol}'\n") };
        let needed = [("name", "'a'"), ("host", "'h'"), ("user", "'u'"), ("directories", "['/']")];
        let needed = needed.map(
            |(name, value)| if name == key.name { String::new() } else { format!("{name} = {value}\n") },
        );
        let server = format!("[[servers]]\n{protocol}{}", needed.concat());
        match key.place {
            Place::Servers => load_with(&format!("{server}{set}"), &Default::default()),
            Place::Defaults => load_with(&format!("[defaults]\n{set}{server}{set}"), &Default::default()),
            place => load_with(&format!("[{}]\n{set}{server}", place.name()), &Default::default()),
        }
        .err()
        .unwrap_or_default()
    }

    #[test]
    fn every_key_is_read_and_takes_its_default_and_its_example() {
        for key in all() {
            let default = match key.default {
                Fallback::Is(literal) => Some(literal.to_string()),
                _ => None,
            };
            assert!(default.is_some() || key.example.is_some(), "nothing shows {key:?}");
            for value in default.into_iter().chain(key.example.map(str::to_owned)) {
                let mut faults = faults(key, &value);
                // files and variables of the examples are not there, a key has no fingerprint, and some need a partner
                let is_of_the_example = |fault: &&String| {
                    [
                        "cannot read",
                        "no environment variable",
                        "must be \"SHA256:…\"",
                        "without private_key_file",
                        "give a password",
                    ]
                    .iter()
                    .any(|part| fault.contains(part))
                };
                faults.retain(|fault| !is_of_the_example(&fault));
                assert!(faults.is_empty(), "{} = {value}: {faults:?}", key.name);
            }
        }
    }

    #[test]
    fn words_and_ranges_are_those_that_the_parser_knows() {
        let told = |key: &Key, value: &str| faults(key, value).into_iter().next().unwrap_or_default();
        for key in all() {
            match &key.kind {
                Kind::Word(words) => {
                    let fault = told(key, "'nonsense'");
                    let after = fault
                        .split_once("one of ")
                        .or_else(|| fault.split_once("expected "))
                        .expect(&fault)
                        .1;
                    let known: Vec<_> = after
                        .split([',', ' ', '`'])
                        .filter(|word| !["", "and", "or"].contains(word))
                        .collect();
                    assert_eq!(known, *words, "{}", key.name);
                }
                Kind::Whole(range) | Kind::AutoOrWhole(range) => {
                    let fault = told(key, &(i64::from(*range.end()) + 1).to_string());
                    assert!(fault.contains(&format!("from {} to {}", range.start(), range.end())), "{fault}");
                    assert!(
                        !told(key, &(i64::from(*range.start()) - 1).to_string()).is_empty(),
                        "{}",
                        key.name
                    );
                }
                Kind::Time(range) => {
                    let fault = told(key, &format!("'{}s'", range.end().as_secs() + 1));
                    let ends =
                        [range.start(), range.end()].map(|end| humantime::format_duration(*end).to_string());
                    assert!(fault.contains(&format!("must be from {} to {}", ends[0], ends[1])), "{fault}");
                    assert!(!told(key, "'0s'").is_empty(), "{}", key.name);
                }
                _ => {}
            }
        }
    }
}
