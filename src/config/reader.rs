//! Takes a merged table apart key by key and collects what is wrong with it, for `validate` and `servers`.
//!
//! A fault never stops the reading: the caller goes on with a stand-in value, and the settings are thrown away
//! at the end if there was any. Values are shown in faults by the value readers that know them to be harmless,
//! never here. Runs on the main thread, before anything else is started.

use std::fmt;

use config::{Map, Value, ValueKind};

use crate::base::names::Printable;

/// A TOML table as the `config` crate keeps it.
pub(super) type Table = Map<String, Value>;

/// A key is offered instead of an unknown one up to this many edits away.
const NEAR_EDITS: usize = 2;

/// Everything that is wrong with a configuration, each fault with the key or the file that it lies in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFaults {
    faults: Vec<String>,
}

impl ConfigFaults {
    /// The faults in the order of the configuration, one line each; no password is in any of them.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Adds a fault of `place`, which is a key or a file. The same fault is kept once.
    pub(super) fn push(&mut self, place: &str, fault: &str) {
        let line = Printable(&format!("{place}: {fault}")).to_string();
        if !self.faults.contains(&line) {
            self.faults.push(line);
        }
    }

    /// Adds the fault of a key that nothing asked for.
    pub(super) fn push_unknown(&mut self, place: &str, unknown: &Unknown<'_>) {
        let hint = nearest(unknown.name, unknown.known).map(|near| format!("; did you mean \"{near}\"?"));
        let (what, hint, origin) = (unknown.what, hint.unwrap_or_default(), shown_origin(unknown.value));
        self.push(place, &format!("unknown {what}{hint}{origin}"));
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("\n"))
    }
}

impl std::error::Error for ConfigFaults {}

/// A key or section that nothing asked for, and what may be written in its place.
pub(super) struct Unknown<'a> {
    /// `key` or `section`
    pub(super) what: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
    pub(super) known: &'a [&'static str],
}

/// One table while it is read: every key asked for is taken out, so that what stays is unknown.
#[derive(Debug)]
pub(super) struct Section {
    /// How faults name the table: `sync`, `servers[2] (omc03)`.
    label: String,
    table: Table,
    known: Vec<&'static str>,
    faults: ConfigFaults,
}

impl Section {
    /// A table to be read; `label` begins each of its faults.
    pub(super) fn new(label: impl Into<String>, table: Table) -> Self {
        Self { label: label.into(), table, known: Vec::new(), faults: ConfigFaults::default() }
    }

    /// How faults name the table.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether `key` is in the table and was not read yet.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes `value` where `key` is left out.
    pub(super) fn set_default(&mut self, key: &str, value: &str) {
        self.table.entry(key.to_owned()).or_insert_with(|| Value::new(None, value));
    }

    /// The value of `key` as `read` understands it; `None` where it is left out, or a fault was recorded.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(fault) => {
                self.fault(key, &format!("{fault}{}", shown_origin(&value)));
                None
            }
        }
    }

    /// The value of `key`, which stays to be read.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    /// Takes `key` out unread; whether it was there.
    pub(super) fn discard(&mut self, key: &str) -> bool {
        self.table.remove(key).is_some()
    }

    /// Records a fault of `key`.
    pub(super) fn fault(&mut self, key: &str, fault: &str) {
        self.faults.push(&format!("{}.{key}", self.label), fault);
    }

    /// Ends the reading: hands over the faults, and one for each key that nothing asked for.
    pub(super) fn finish(mut self, faults: &mut ConfigFaults) {
        for (name, value) in sorted(&self.table) {
            let unknown = Unknown { what: "key", name, value, known: &self.known };
            self.faults.push_unknown(&format!("{}.{name}", self.label), &unknown);
        }
        for fault in self.faults.faults {
            if !faults.faults.contains(&fault) {
                faults.faults.push(fault);
            }
        }
    }
}

/// The entries of a table in the order of their names, so that faults come in the same order every time.
pub(super) fn sorted(table: &Table) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

/// Where a value was written, as the end of a fault: ` (in FILE)`, ` (from VARIABLE)` or nothing.
fn shown_origin(value: &Value) -> String {
    let inner = match &value.kind {
        // merging keeps the origin of values alone; a table comes from where its first value does
        ValueKind::Table(table) => sorted(table).first().and_then(|(_, value)| value.origin()),
        _ => None,
    };
    value.origin().or(inner).map(|origin| format!(" ({origin})")).unwrap_or_default()
}

/// The name of `known` that differs least from `name`, if by little; the first of several.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|candidate| (edits(name, candidate), *candidate));
    // as many edits as letters would turn anything into anything
    let near = near.filter(|(edits, candidate)| *edits <= NEAR_EDITS && *edits < candidate.len());
    near.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// The Levenshtein distance: insertions, removals and replacements of characters that turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (above, from) in a.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        let mut next = vec![left];
        for (to, up) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            left = replaced.min(up + 1).min(left + 1);
            diagonal = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &str)]) -> Table {
        let origin = "in x.toml".to_owned();
        entries.iter().map(|(key, value)| ((*key).to_owned(), Value::new(Some(&origin), *value))).collect()
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("port", "port", 0),
            ("prot", "port", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_miss_is_offered() {
        assert_eq!(nearest("pasword", &["password", "user"]), Some("password"));
        assert_eq!(nearest("intervall", &["root", "interval"]), Some("interval"));
        assert_eq!(nearest("passwords_of_all", &["password", "user"]), None);
        assert_eq!(nearest("ab", &["xy"]), None);
    }

    #[test]
    fn a_key_that_nothing_asked_for_is_a_fault_with_its_origin() {
        let mut section = Section::new("sync", table(&[("rot", "/x"), ("zzz", "1"), ("interval", "60s")]));
        assert_eq!(section.read("root", |_| Ok(())), None);
        assert_eq!(section.read("interval", |_| Ok(1)), Some(1));
        let mut faults = ConfigFaults::default();
        section.finish(&mut faults);
        assert_eq!(
            faults.faults(),
            [
                "sync.rot: unknown key; did you mean \"root\"? (in x.toml)",
                "sync.zzz: unknown key (in x.toml)"
            ]
        );
    }

    #[test]
    fn a_refused_value_is_a_fault_with_its_key_and_origin_and_once() {
        let mut faults = ConfigFaults::default();
        for _ in 0..2 {
            let mut section = Section::new("sync", table(&[("interval", "x")]));
            assert_eq!(section.read::<()>("interval", |_| Err("is\nno duration".to_owned())), None);
            section.finish(&mut faults);
        }
        assert_eq!(faults.to_string(), "sync.interval: is\\nno duration (in x.toml)");
    }
}
