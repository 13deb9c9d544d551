//! Merges the configuration files and the environment variables into one table, key by key, for `validate`.
//!
//! What the `config` crate would do silently is refused here: it takes `"sync.root"` as a path into the tables,
//! and an environment variable could replace a whole list by a table. Runs on the main thread.

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::num::{ParseFloatError, ParseIntError};
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, FileFormat, Format, Source, Value, ValueKind};

use super::DEFAULT_FILE;
use super::files::{Environment, open_to_others, read_text};
use super::keys::{self, Key, Place, Secrecy};
use super::reader::{ConfigFaults, Table};
use super::values::FROM_ENVIRONMENT;

/// What every variable of ours begins with.
const PREFIX: &str = "MROSYNC_";
/// Parts the section from the key: `MROSYNC_SYNC__ROOT`.
const SEPARATOR: &str = "__";

/// Largest configuration file in bytes: some 100 000 servers, and far from a device that never ends.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// All sources in one table.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) table: Table,
    pub(super) faults: ConfigFaults,
    pub(super) warnings: Vec<String>,
    /// Whether every file could be read: what is missing in `table` is missing indeed.
    pub(super) complete: bool,
}

/// Merges `files` in their order, then the variables of `environment` that are ours.
pub(super) fn merge(files: &[PathBuf], environment: &Environment) -> Merged {
    let mut merged = Merged { complete: true, ..Merged::default() };
    let mut builder = Config::builder();
    for path in files {
        match read_layer(path, &mut merged) {
            Ok(layer) => builder = builder.add_source(layer),
            Err(fault) => {
                merged.faults.push(&path.display().to_string(), &fault);
                merged.complete = false;
            }
        }
    }
    builder = builder.add_source(environment_layer(environment, &mut merged.faults));
    match builder.build().and_then(|config| config.collect()) {
        Ok(table) => merged.table = table,
        Err(error) => merged.faults.push("configuration", &format!("cannot be merged: {error}")),
    }
    merged
}

/// One source, already read. Keys are paths into the tables for the `config` crate, such as `sync.root`.
#[derive(Debug, Clone)]
struct Layer(Table);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(self.0.clone())
    }
}

fn read_layer(path: &Path, merged: &mut Merged) -> Result<Layer, String> {
    let (text, metadata) = read_text(path, MAX_FILE_BYTES).map_err(|error| unreadable(path, &error))?;
    let origin = format!("in {}", path.display());
    let mut table = FileFormat::Toml
        .parse(Some(&origin), &text)
        .map_err(|error| format!("is not valid TOML{}", toml_fault(error.as_ref())))?;
    table.retain(|key, _| {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !plain {
            merged.faults.push(key, &format!("unknown section ({origin})"));
        }
        plain
    });
    if holds_secret(&table) {
        merged.warnings.extend(open_to_others(path, &metadata));
    }
    Ok(Layer(table))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let is_missing_default = error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_FILE);
    let hint = if is_missing_default { "; name another file with --config" } else { "" };
    format!("cannot be read: {error}{hint}")
}

/// Where and why TOML could not be parsed, as the end of a fault.
///
/// The error's own text quotes the source line, which may hold a password: only its first line (the place) and
/// its last (the reason, without any source text in `toml` 1) are taken, and nothing of a text in another shape.
fn toml_fault(error: &(dyn Error + Send + Sync + 'static)) -> String {
    if error.is::<ParseIntError>() || error.is::<ParseFloatError>() {
        return format!(": {error}");
    }
    let text = error.to_string();
    let mut lines = text.lines();
    let place = lines.next().and_then(|first| first.strip_prefix("TOML parse error"));
    match (place, lines.nth(3)) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        _ => String::new(),
    }
}

/// Returns whether the file has a secret in it, by the rows of its keys.
fn holds_secret(table: &Table) -> bool {
    let is_secret =
        |key: &Key, table: &Table| match (key.secrecy, table.get(key.name).map(|value| &value.kind)) {
            (Secrecy::Secret, Some(_)) => true,
            (Secrecy::InUrl, Some(ValueKind::String(url))) => url.contains('@'),
            _ => false,
        };
    keys::all().any(|key| tables_of(key.place, table).into_iter().any(|table| is_secret(key, table)))
}

/// The tables of a file in which keys of that place may stand.
fn tables_of(place: Place, table: &Table) -> Vec<&Table> {
    let inner = |name: &str| match table.get(name).map(|value| &value.kind) {
        Some(ValueKind::Table(table)) => vec![table],
        Some(ValueKind::Array(list)) => list
            .iter()
            .filter_map(|value| match &value.kind {
                ValueKind::Table(table) => Some(table),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut tables = inner(place.name());
    if place == Place::Defaults {
        tables.extend(inner(Place::Servers.name()));
    }
    tables
}

/// `MROSYNC_SYNC__ROOT=/data` as `sync.root = "/data"`. Values stay strings: a name like `007` is not a number.
fn environment_layer(environment: &Environment, faults: &mut ConfigFaults) -> Layer {
    let mut layer = Table::new();
    for (variable, value) in environment {
        let Some((variable, name)) = our_name(variable) else { continue };
        match environment_entry(variable, name, value) {
            Ok((key, value)) => {
                layer.insert(key, value);
            }
            Err(fault) => faults.push(variable, &fault),
        }
    }
    Layer(layer)
}

/// The variable's whole name, and what follows the prefix, where it is meant for the configuration.
fn our_name(variable: &OsStr) -> Option<(&str, &str)> {
    let variable = variable.to_str()?;
    let name = variable.strip_prefix(PREFIX).filter(|name| name.contains(SEPARATOR))?;
    Some((variable, name))
}

fn environment_entry(variable: &str, name: &str, value: &OsStr) -> Result<(String, Value), String> {
    let well_formed =
        name.split_once(SEPARATOR).filter(|(section, key)| is_upper_word(section) && is_upper_word(key));
    let Some((section, key)) = well_formed else {
        return Err(format!(
            "names no key; a key is written {PREFIX}SECTION{SEPARATOR}KEY, such as {PREFIX}SYNC{SEPARATOR}ROOT"
        ));
    };
    if section == "SERVERS" {
        return Err("cannot change the list of servers; a server takes its password from a variable with \
                    password_env"
            .to_owned());
    }
    let value = value.to_str().ok_or("is not UTF-8")?;
    let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
    Ok((key, Value::new(Some(&format!("{FROM_ENVIRONMENT}{variable}")), value)))
}

/// Words of upper-case letters and digits, parted by single underscores.
fn is_upper_word(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    name.split('_').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use tempfile::TempDir;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn written(directory: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn text<'a>(merged: &'a Merged, section: &str, key: &str) -> Option<&'a str> {
        let ValueKind::Table(section) = &merged.table.get(section)?.kind else { return None };
        match &section.get(key)?.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Merges one file with this content.
    fn merged_file(content: &str) -> Merged {
        let directory = tempfile::tempdir().unwrap();
        merge(&[written(&directory, "a.toml", content)], &Environment::new())
    }

    #[test]
    fn later_files_override_key_by_key_and_variables_override_both() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            written(
                &directory,
                "a.toml",
                "[sync]\nroot = 'a'\ninterval = 'a'\n[log]\nlevel = 'a'\nfile = 'a'\n",
            ),
            written(&directory, "b.toml", "[sync]\ninterval = 'b'\n[log]\nlevel = 'b'\n"),
        ];
        let merged =
            merge(&files, &environment(&[("MROSYNC_LOG__LEVEL", "c"), ("MROSYNC_NOTIFY__URL", "c")]));
        let values =
            [("sync", "root"), ("sync", "interval"), ("log", "level"), ("log", "file"), ("notify", "url")]
                .map(|(section, key)| text(&merged, section, key).unwrap().to_owned());
        assert_eq!(values, ["a", "b", "c", "a", "c"]);
        assert_eq!(merged.faults.faults(), [""; 0]);
    }

    #[test]
    fn a_later_list_of_servers_replaces_an_earlier_one() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            written(&directory, "a.toml", "[[servers]]\nname='a'\nhost='a'\n[[servers]]\nname='b'\n"),
            written(&directory, "b.toml", "[[servers]]\nname='c'\n"),
        ];
        let merged = merge(&files, &Environment::new());
        let ValueKind::Array(servers) = &merged.table["servers"].kind else { panic!("no list") };
        assert_eq!(servers.len(), 1);
        let ValueKind::Table(server) = &servers[0].kind else { panic!("no table") };
        assert_eq!(sorted_keys(server), ["name"]);
    }

    fn sorted_keys(table: &Table) -> Vec<&str> {
        super::super::reader::sorted(table).into_iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn variables_stay_strings_and_those_of_others_are_ignored() {
        let merged = merge(
            &[],
            &environment(&[
                ("MROSYNC_DEFAULTS__CONNECTIONS", "2"),
                ("MROSYNC_SYNC__ROOT", "007"),
                ("MROSYNC_LOG__FILE", "true"),
                ("MROSYNC_HOME", "/x"),
                ("MROSYNC__X", "/x"),
                ("MROSYNCER_SYNC__INTERVAL", "1s"),
                ("SYNC__INTERVAL", "1s"),
                ("PATH", "/bin"),
            ]),
        );
        assert_eq!(sorted_keys(&merged.table), ["defaults", "log", "sync"]);
        assert_eq!(text(&merged, "defaults", "connections"), Some("2"));
        assert_eq!(text(&merged, "sync", "root"), Some("007"));
        assert_eq!(text(&merged, "log", "file"), Some("true"));
        assert_eq!(merged.faults.faults(), [""; 0]);
    }

    #[test]
    fn variables_that_cannot_be_keys_are_faults() {
        for name in [
            "MROSYNC_SYNC__ROOT__X",
            "MROSYNC_SYNC__",
            "MROSYNC___ROOT",
            "MROSYNC_sync__root",
            "MROSYNC_SYNC[9]__ROOT",
            "MROSYNC_SYNC.X__ROOT",
        ] {
            let merged = merge(&[], &environment(&[(name, "geheim")]));
            assert!(merged.table.is_empty(), "{name}");
            let faults = merged.faults.faults();
            assert!(
                faults.len() == 1 && faults[0].starts_with(&format!("{name}: names no key")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn no_variable_changes_the_list_of_servers() {
        let directory = tempfile::tempdir().unwrap();
        let file = written(&directory, "a.toml", "[[servers]]\nname='a'\n");
        let merged = merge(&[file], &environment(&[("MROSYNC_SERVERS__PASSWORD", "geheim")]));
        assert!(matches!(merged.table["servers"].kind, ValueKind::Array(_)));
        let faults = merged.faults.to_string();
        assert!(
            faults.starts_with("MROSYNC_SERVERS__PASSWORD: ") && faults.contains("password_env"),
            "{faults}"
        );
        assert!(!faults.contains("geheim"));
    }

    #[test]
    fn variables_that_are_not_utf8_hurt_only_where_they_are_ours() {
        let broken = || OsString::from_vec(b"geheim\xff".to_vec());
        let mut variables = Environment::new();
        variables.insert(OsString::from_vec(b"MROSYNC_SYNC__\xff".to_vec()), broken());
        variables.insert("OTHER".into(), broken());
        assert_eq!(merge(&[], &variables).faults.faults(), [""; 0]);
        variables.insert("MROSYNC_SYNC__ROOT".into(), broken());
        assert_eq!(merge(&[], &variables).faults.faults(), ["MROSYNC_SYNC__ROOT: is not UTF-8"]);
    }

    #[test]
    fn a_quoted_key_with_a_dot_is_no_path_into_the_tables() {
        let merged =
            merged_file("\"sync.root\" = 'x'\n\"servers[999999999]\" = 'x'\n[sync]\ninterval = '1s'\n");
        assert_eq!(sorted_keys(&merged.table), ["sync"]);
        assert_eq!(text(&merged, "sync", "root"), None);
        let faults = merged.faults.to_string();
        assert!(faults.contains("sync.root: unknown section (in "), "{faults}");
        assert!(faults.contains("servers[999999999]: unknown section (in "), "{faults}");
    }

    #[test]
    fn every_file_that_cannot_be_read_is_a_fault_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let latin = directory.path().join("latin.toml");
        std::fs::write(&latin, b"# caf\xe9\n").unwrap();
        let missing = directory.path().join("missing.toml");
        let files =
            [missing, directory.path().to_owned(), latin, written(&directory, "bad.toml", "[sync]\n\nx y\n")];
        let merged = merge(&files, &Environment::new());
        assert!(!merged.complete);
        let faults = merged.faults.faults();
        assert_eq!(faults.len(), files.len(), "{faults:?}");
        for (fault, path) in faults.iter().zip(&files) {
            assert!(fault.starts_with(&format!("{}: ", path.display())), "{fault}");
        }
        assert!(faults[2].contains("not UTF-8"), "{faults:?}");
        assert!(faults[3].contains("is not valid TOML at line 3, column 3: "), "{faults:?}");
    }

    #[test]
    fn a_number_too_large_for_toml_is_a_fault_that_says_so() {
        let faults = merged_file("[quota]\nmax_bytes = 99999999999999999999\n").faults.to_string();
        assert!(
            faults.ends_with("a.toml: is not valid TOML: number too large to fit in target type"),
            "{faults}"
        );
    }

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let fault = read_text(Path::new("/dev/zero"), 100).unwrap_err().to_string();
        assert_eq!(fault, "it is longer than 100 bytes");
        let directory = tempfile::tempdir().unwrap();
        let path = written(&directory, "x", &"x".repeat(100));
        assert_eq!(read_text(&path, 100).unwrap().0.len(), 100);
    }

    #[test]
    fn only_the_missing_default_file_hints_at_the_option() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert!(unreadable(Path::new(DEFAULT_FILE), &missing).contains("--config"));
        assert!(!unreadable(Path::new("/other.toml"), &missing).contains("--config"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!unreadable(Path::new(DEFAULT_FILE), &denied).contains("--config"));
    }

    #[test]
    fn broken_toml_never_shows_a_password() {
        let whole = "[[servers]]\nname = \"a\"\npassword = \"QQQQQQQQ\"\nhost = 'h'\n";
        for at in 0..whole.len() {
            for change in ["\"", "'", "\n", "=", "[", "]", "\\", "\u{7f}", "#", "\"\"\"", " ", "1", "."] {
                for skip in [0, 1] {
                    let mut broken = whole.to_owned();
                    broken.replace_range(at..at + skip, change);
                    let faults = toml_faults(&broken);
                    assert!(!faults.contains("QQ"), "{broken:?} gives {faults:?}");
                }
            }
        }
        for broken in ["password = QQQQ\n", "password = 'QQQQ\n", "password = 2026-13-QQ", "password = 1QQQ"]
        {
            let faults = toml_faults(broken);
            assert!(!faults.contains("QQ") && faults.contains(" at line 1, column "), "{faults:?}");
        }
    }

    fn toml_faults(text: &str) -> String {
        match FileFormat::Toml.parse(None, text) {
            Ok(_) => String::new(),
            Err(error) => toml_fault(error.as_ref()),
        }
    }

    #[test]
    fn a_toml_error_in_an_unknown_shape_is_not_shown() {
        let error: Box<dyn Error + Send + Sync> = "password = QQQQ".into();
        assert_eq!(toml_fault(error.as_ref()), "");
    }
}
