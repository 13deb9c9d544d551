//! What the documents and the shipped file say of configuration keys comes from the table of keys.
//!
//! `UPDATE=1 cargo test documents::configuration` writes it; without `UPDATE`, what differs is a failure.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mrosync::config::keys::{self, Fallback, Key, Kind, Place, ProtocolName};

/// Columns of the shipped configuration.
const WIDTH: usize = 118;

#[derive(Clone, Copy, PartialEq)]
enum Language {
    English,
    Chinese,
}

use Language::{Chinese, English};

impl Language {
    fn choose<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            English => english,
            Chinese => chinese,
        }
    }

    /// `a`, `b` or `c`
    fn alternatives(self, words: &[&str]) -> String {
        let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        let (last, others) = quoted.split_last().expect("a word");
        match others {
            [] => last.clone(),
            _ => format!("{}{}{last}", others.join(self.choose(", ", "、")), self.choose(" or ", " 或 ")),
        }
    }

    /// What values look like.
    fn values(self, kind: &Kind) -> String {
        let time = |time: &Duration| format!("`{}`", humantime::format_duration(*time));
        match kind {
            Kind::Text => self.choose("string", "字符串").to_owned(),
            Kind::Form(english, chinese) => self.choose(english, chinese).to_owned(),
            Kind::Path => self.choose("path", "路径").to_owned(),
            Kind::Texts => self.choose("list of strings", "字符串列表").to_owned(),
            Kind::TextOrTexts => self.choose("string, or list of strings", "字符串，或字符串列表").to_owned(),
            Kind::Word(words) => self.alternatives(words),
            Kind::Flag => self.alternatives(&["true", "false"]),
            Kind::Time(range) if *range.start() < Duration::from_millis(1) => {
                format!("{}{}", self.choose("time, up to ", "时间，不超过 "), time(range.end()))
            }
            Kind::Time(range) => format!(
                "{}{}{}{}",
                self.choose("time, ", "时间，"),
                time(range.start()),
                self.choose(" to ", " 至 "),
                time(range.end())
            ),
            Kind::Whole(range) => {
                format!(
                    "{}{}{}{}",
                    range.start(),
                    self.choose(" to ", " 至 "),
                    range.end(),
                    self.choose("", " 的整数")
                )
            }
            Kind::AutoOrWhole(range) => {
                format!("`auto`{}{}", self.choose(", or ", "，或 "), self.values(&Kind::Whole(range.clone())))
            }
            Kind::Percent => self.choose("number above 0, up to 100", "大于 0、不超过 100 的数").to_owned(),
            Kind::Size { or_zero: true } => self.choose("size", "大小").to_owned(),
            Kind::Size { or_zero: false } => self.choose("size above 0", "大于 0 的大小").to_owned(),
            Kind::Rate => {
                self.choose("`0`, or rate of 1KiB/s and up", "`0`，或 1KiB/s 以上的速率").to_owned()
            }
            Kind::Headers => self.choose("table", "表").to_owned(),
        }
    }

    fn default(self, key: &Key) -> String {
        match key.default {
            Fallback::Is(literal) => format!("`{}`", literal.to_string().trim_matches('"')),
            Fallback::Depends(english, chinese) => self.choose(english, chinese).to_owned(),
            Fallback::Absent => self.choose("none", "无").to_owned(),
            Fallback::Required => self.choose("required", "必填").to_owned(),
        }
    }

    /// An example of a value, where the words of its kind leave one open.
    fn such_as(self, key: &Key) -> String {
        let example = key.example.filter(|example| !example.contains('…'));
        example
            .map(|example| format!("{}`{example}`", self.choose(", such as ", "，例如 ")))
            .unwrap_or_default()
    }

    fn help(self, key: &Key) -> &str {
        self.choose(key.help, key.help_zh)
    }

    /// For which servers it is, and when a change takes effect.
    fn notes(self, key: &Key) -> Vec<&str> {
        let protocol = key.protocol.map(|protocol| match protocol {
            ProtocolName::Ftp => self.choose("FTP only.", "仅用于 FTP。"),
            ProtocolName::Sftp => self.choose("SFTP only.", "仅用于 SFTP。"),
        });
        let restart =
            key.needs_restart.then(|| self.choose("A change needs a restart.", "修改后需重启才生效。"));
        protocol.into_iter().chain(restart).collect()
    }

    fn table(self, place: Place) -> String {
        let head = self.choose("| key | value | default | meaning |", "| 配置项 | 值 | 默认值 | 含义 |");
        let row = |key: &Key| {
            let between = self.choose(" ", "");
            let notes =
                self.notes(key).into_iter().map(|note| format!("{between}*{note}*")).collect::<String>();
            let values = self.values(&key.kind) + &self.such_as(key);
            let cells = [values, self.default(key), format!("{}{notes}", self.help(key))];
            assert!(!cells.concat().contains('|'), "{key:?}");
            format!("| `{}` | {} |\n", key.name, cells.join(" | "))
        };
        format!("{head}\n| --- | --- | --- | --- |\n{}", place.keys().map(row).collect::<String>())
    }
}

/// A page with the tables of keys between its marks.
fn page(text: &str, language: Language) -> String {
    let mut text = text.to_owned();
    for place in Place::ALL {
        let mark = format!("<!-- keys of {} -->\n", place.name());
        let (before, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("no {mark}"));
        let (_, after) = rest.split_once("<!-- end of keys -->").expect("the end of the keys");
        text = format!("{before}{mark}\n{}\n<!-- end of keys -->{after}", language.table(place));
    }
    text
}

/// The words of a text; what stands between backticks is one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match words.last_mut().filter(|last| last.matches('`').count() % 2 == 1) {
            Some(last) => last.extend([" ", word]),
            None => words.push(word.to_owned()),
        }
    }
    words
}

/// Lines that begin with `mark`, of words that fit.
fn comment(mark: &str, text: &str) -> String {
    let mut lines = vec![mark.to_owned()];
    for word in words(text) {
        let last = lines.last_mut().expect("a line");
        if last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{mark} {word}"));
        } else {
            last.push(' ');
            last.push_str(&word);
        }
    }
    lines.join("\n") + "\n"
}

/// Help as it is read without links.
fn plain(markdown: &str) -> String {
    let mut parts = markdown.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("](") {
            Some((shown, rest)) => {
                text.push_str(shown);
                text.push_str(rest.split_once(')').expect("the end of a link").1);
            }
            None => {
                text.push('[');
                text.push_str(part);
            }
        }
    }
    text
}

/// The help of a key, and below it what its values look like.
fn explained(mark: &str, key: &Key) -> String {
    let example = match key.default {
        Fallback::Is(_) if key.place != Place::Servers => English.such_as(key),
        _ => String::new(),
    };
    let values = match &key.kind {
        Kind::Text | Kind::Path | Kind::Texts | Kind::TextOrTexts | Kind::Headers if example.is_empty() => {
            String::new()
        }
        kind => format!("Value: {}{example}.", English.values(kind)),
    };
    let sentences = [values.as_str()].into_iter().chain(English.notes(key));
    let sentences: Vec<_> = sentences.filter(|sentence| !sentence.is_empty()).collect();
    let below = if sentences.is_empty() { String::new() } else { comment(mark, &sentences.join(" ")) };
    comment(mark, &plain(English.help(key))) + &below
}

/// A key of a section as the shipped file shows it: set, or in a comment where it has no default.
fn shown(key: &Key) -> String {
    let line = match (key.default, key.example) {
        (Fallback::Is(literal), _) => format!("{} = {literal}\n", key.name),
        (_, Some(example)) if key.is_shipped => format!("{} = {example}\n", key.name),
        (_, example) => format!("# {} = {}\n", key.name, example.expect("an example")),
    };
    explained("#", key) + &line
}

/// A key of a server as the shipped file explains it.
fn of_a_server(key: &Key) -> String {
    let default = match key.default {
        Fallback::Is(literal) => Some(literal.to_string()),
        _ => None,
    };
    let value = key.example.map(str::to_owned).or(default).expect("a value");
    format!("#   {} = {value}\n", key.name) + &explained("#      ", key)
}

/// What the shipped file says before its servers.
fn sections() -> String {
    let mut text = String::new();
    for place in Place::ALL {
        let about = match place {
            Place::Web => "The status page, /metrics and /healthz; off unless it is told where to listen.",
            Place::Defaults => {
                "What holds for each server that does not say otherwise. Every key of this section may stand in a server \
                 too, and overrides it there."
            }
            Place::Servers => {
                "The servers: any number, at least one. These keys are a server's own; those of [defaults] may follow. \
                 What is not said to be required may be left out."
            }
            _ => "",
        };
        if !about.is_empty() {
            text.push_str(&comment("#", about));
        }
        if place == Place::Servers {
            let keys: String = place.keys().map(of_a_server).collect();
            text.push_str(&format!("#\n{keys}"));
        } else {
            let keys: String = place.keys().map(shown).collect();
            text.push_str(&format!("[{}]\n{keys}\n", place.name()));
        }
    }
    text
}

/// The shipped file with its sections.
fn shipped(text: &str) -> String {
    let (head, rest) = text.split_once("\n[sync]\n").expect("the first section");
    let (_, servers) = rest.split_once("\n[[servers]]\n").expect("the first server");
    format!("{head}\n{}\n[[servers]]\n{servers}", sections())
}

/// Compares a file with what it should be, or writes it.
fn hold(file: &str, written: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let written = written(&found);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, written).unwrap_or_else(|error| panic!("{file}: {error}"));
        return;
    }
    let pairs = found.lines().zip(written.lines());
    let difference = pairs.enumerate().find(|(_, (found, written))| found != written);
    if let Some((number, (found, written))) = difference {
        let number = number + 1;
        panic!(
            "{file}:{number} differs from the table of keys\n  found  {found}\n  should {written}\n\
             UPDATE=1 cargo test documents::configuration rewrites it"
        );
    }
    assert_eq!(found, written, "{file}");
}

#[test]
fn the_pages_on_configuration_have_the_tables_of_keys() {
    hold("docs/configuration.md", |text| page(text, English));
    hold("docs/configuration.zh-CN.md", |text| page(text, Chinese));
}

#[test]
fn the_shipped_configuration_explains_every_key() {
    hold("config/mrosync.toml", shipped);
}

/// A line of the normative listing: section, key, value and what the comment says.
fn listed() -> Vec<(Place, String, String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interface.md");
    let text = fs::read_to_string(path).expect("the page");
    let listing =
        text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the listing");
    let mut place = None;
    let mut lines = Vec::new();
    for line in listing.lines().filter(|line| !line.is_empty()) {
        let (line, comment) = line.split_once(" #").unwrap_or((line, ""));
        if let Some(name) = line.trim().strip_prefix('[') {
            let name = name.trim_matches(['[', ']']);
            place = Some(Place::ALL.into_iter().find(|place| place.name() == name).expect(name));
        } else {
            let (key, value) = line.split_once(" = ").expect(line);
            lines.push((
                place.expect("a section"),
                key.to_owned(),
                value.trim().to_owned(),
                comment.to_owned(),
            ));
        }
    }
    lines
}

/// interface 5.1, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7, 5.8, 5.9
#[test]
fn the_normative_listing_has_the_keys_and_defaults_of_the_table() {
    let mut missing: BTreeSet<_> = keys::all().map(|key| (key.place.name(), key.name)).collect();
    for (place, name, value, comment) in listed() {
        let key = keys::find(place, &name).unwrap_or_else(|| panic!("no key {name} in {place:?}"));
        missing.remove(&(place.name(), key.name));
        // other ways to say the same stand beside it
        let beside = |other: &&Key| {
            comment.contains(&format!("{} = ", other.name)) || comment.contains(&format!("or {}", other.name))
        };
        for other in place.keys().filter(beside) {
            missing.remove(&(place.name(), other.name));
        }
        let is_placeholder = value.contains('…');
        let is_example = key.example == Some(value.as_str());
        match key.default {
            _ if is_placeholder => {}
            Fallback::Is(literal) if comment.contains("optional") || place == Place::Servers => {
                assert!(is_example || literal.to_string() == value, "{name} = {value}");
            }
            Fallback::Is(literal) => assert_eq!(literal.to_string(), value, "{name}"),
            Fallback::Depends(..) | Fallback::Absent | Fallback::Required => {
                assert!(is_example || key.is_shipped, "{name} = {value}");
            }
        }
    }
    assert!(missing.is_empty(), "the listing lacks {missing:?}");
}
