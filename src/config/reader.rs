//! Reads a merged table key by key, as the rows of `keys` say, and collects what is wrong with it.
//!
//! A fault never stops the reading: the caller goes on with a stand-in value, and the settings are thrown away
//! at the end if there was any. Values are shown in faults by the value readers that know them to be harmless,
//! never here. Runs on the main thread, before anything else is started.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use super::files::Environment;
use super::keys::{self, Fallback, Key, Kind, Place, ProtocolName};
use super::values;
use crate::base::humanize::nearest;
use crate::base::names::Printable;

/// A TOML table as the `config` crate keeps it.
pub(super) type Table = Map<String, Value>;

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
        let hint = nearest(unknown.name, unknown.known.iter().copied())
            .map(|near| format!("; did you mean \"{near}\"?"));
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

/// What reading needs and leaves behind beside the settings.
pub(super) struct ReadContext<'a> {
    /// Where variables that hold secrets are looked up.
    pub(super) environment: &'a Environment,
    pub(super) faults: &'a mut ConfigFaults,
    pub(super) warnings: &'a mut Vec<String>,
}

/// What `[defaults]` said, as it was read, for each server that does not say it itself.
#[derive(Default)]
pub(super) struct Inherited {
    values: HashMap<&'static str, Box<dyn Any>>,
    /// Keys whose values do not fit others, which was told.
    conflicts: BTreeSet<&'static str>,
}

/// One table while it is read. A key that has no row in `keys` is unknown.
pub(super) struct Section<'a> {
    /// How faults name the table: `sync`, `servers[2] (omc03)`.
    label: String,
    /// Whose rows apply.
    places: Vec<Place>,
    table: Table,
    read: BTreeSet<&'static str>,
    inherited: Option<&'a Inherited>,
    protocol: Option<ProtocolName>,
    to_inherit: Inherited,
    faults: ConfigFaults,
}

impl Section<'static> {
    /// The table of a place, or what is written in it.
    pub(super) fn new(place: Place, table: Table) -> Self {
        Self::over(None, place.name().to_owned(), vec![place], table)
    }
}

impl<'a> Section<'a> {
    /// The table of a server, which faults call `label`, over what `[defaults]` said.
    pub(super) fn of_server(label: String, table: Table, defaults: &'a Inherited) -> Self {
        Self::over(Some(defaults), label, vec![Place::Servers, Place::Defaults], table)
    }

    fn over(inherited: Option<&'a Inherited>, label: String, places: Vec<Place>, table: Table) -> Self {
        Self {
            label,
            places,
            table,
            read: BTreeSet::new(),
            inherited,
            protocol: None,
            to_inherit: Inherited::default(),
            faults: ConfigFaults::default(),
        }
    }

    /// Returns how faults name the table.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Returns whether `key` is in the table itself.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of `key` as `read` understands it: the table's own, else the one inherited, else the default. A fault
    /// of the own one is recorded, and a required one that is missing is a fault.
    pub(super) fn read<T: Clone + 'static>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.read_by_kind(key, |value, _| read(value))
    }

    /// A time, in the range of the row.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.read_by_kind(key, |value, kind| values::duration(value, &kind.times()))
    }

    /// A whole number, in the range of the row.
    pub(super) fn whole(&mut self, key: &'static str) -> Option<u16> {
        self.read_by_kind(key, |value, kind| values::whole(value, &kind.wholes()))
    }

    /// [`Section::read`] with what the row says of values.
    pub(super) fn read_by_kind<T: Clone + 'static>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&Value, &Kind) -> Result<T, String>,
    ) -> Option<T> {
        let key = self.key(name)?;
        self.read.insert(name);
        match self
            .table
            .get(name)
            .map(|value| read(value, &key.kind).map_err(|fault| (fault, shown_origin(value))))
        {
            Some(Ok(value)) => {
                // of a server nobody inherits
                if self.inherited.is_none() {
                    self.to_inherit.values.insert(name, Box::new(value.clone()));
                }
                return Some(value);
            }
            Some(Err((fault, origin))) => self.fault(name, &format!("{fault}{origin}")),
            None if key.default == Fallback::Required => self.fault(name, "is missing"),
            None => {}
        }
        self.inherited_value(key).or_else(|| read(&key.default.value()?, &key.kind).ok())
    }

    fn inherited_value<T: Clone + 'static>(&self, key: &Key) -> Option<T> {
        if self.protocol.is_some_and(|protocol| !key.is_for(protocol)) {
            return None;
        }
        self.inherited?.values.get(key.name)?.downcast_ref::<T>().cloned()
    }

    /// Refuses the own keys that are for another protocol than this one, and inherits none of them.
    pub(super) fn speak(&mut self, protocol: ProtocolName) {
        self.protocol = Some(protocol);
        for key in self.rows().filter(|key| !key.is_for(protocol)) {
            if self.table.remove(key.name).is_some() {
                self.fault(key.name, &format!("has no meaning with protocol = \"{}\"", protocol.as_str()));
            }
        }
    }

    /// Records a fault of `key`.
    pub(super) fn fault(&mut self, key: &str, fault: &str) {
        self.faults.push(&format!("{}.{key}", self.label), fault);
    }

    /// Records that the value of `key` does not fit another, unless that was inherited as it is and told there.
    pub(super) fn conflict(&mut self, key: &'static str, fault: &str) {
        self.to_inherit.conflicts.insert(key);
        if self.inherited.is_none_or(|inherited| !inherited.conflicts.contains(key)) {
            self.fault(key, fault);
        }
    }

    /// Ends the reading: hands over the faults, and one for each key that has no row, or that nothing asked for.
    pub(super) fn finish(mut self, faults: &mut ConfigFaults) -> Inherited {
        let is_of_use = |key: &&Key| self.protocol.is_none_or(|protocol| key.is_for(protocol));
        let known: Vec<_> = self.rows().filter(is_of_use).map(|key| key.name).collect();
        for (name, value) in
            sorted(&self.table).into_iter().filter(|(name, _)| !self.read.contains(name.as_str()))
        {
            let unknown = Unknown { what: "key", name, value, known: &known };
            self.faults.push_unknown(&format!("{}.{name}", self.label), &unknown);
        }
        for fault in self.faults.faults {
            if !faults.faults.contains(&fault) {
                faults.faults.push(fault);
            }
        }
        self.to_inherit
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.places.iter().find_map(|place| keys::find(*place, name))
    }

    fn rows(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.places.clone().into_iter().flat_map(Place::keys)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &str)]) -> Table {
        let origin = "in x.toml".to_owned();
        entries.iter().map(|(key, value)| ((*key).to_owned(), Value::new(Some(&origin), *value))).collect()
    }

    /// interface 5.10
    #[test]
    fn a_key_that_nothing_asked_for_is_a_fault_with_its_origin() {
        let mut section =
            Section::new(Place::Sync, table(&[("rot", "/x"), ("zzz", "1"), ("interval", "60s")]));
        assert_eq!(section.read("root", |_| Ok(())), Some(()));
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
            let mut section = Section::new(Place::Sync, table(&[("interval", "x")]));
            assert_eq!(section.read::<()>("interval", |_| Err("is\nno duration".to_owned())), None);
            section.finish(&mut faults);
        }
        assert_eq!(faults.to_string(), "sync.interval: is\\nno duration (in x.toml)");
    }
}
