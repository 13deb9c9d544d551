//! Turns the merged table into [`Settings`], or into the list of everything that is wrong with it.
//!
//! Runs on the main thread.

use std::path::PathBuf;

use config::{Value, ValueKind};

use super::database::read_records;
use super::files::Environment;
use super::headers::read_headers;
use super::keys::{Kind, Place};
use super::network::rate;
use super::reader::{ConfigFaults, ReadContext, Section, Table, Unknown, sorted};
use super::servers::{read_defaults, read_servers};
use super::sources::Merged;
use super::values;
use super::web::read_web;
use super::{ControlSettings, LogSettings, NotifyConcurrency, NotifySettings, QuotaSettings, SyncSettings};
use super::{Loaded, Settings};

/// Reads every key, and gives either settings without a fault or all faults.
pub(super) fn validate(merged: Merged, environment: &Environment) -> Result<Loaded, ConfigFaults> {
    let Merged { mut table, mut faults, mut warnings, complete } = merged;
    let settings = read(
        &mut table,
        complete,
        &mut ReadContext { environment, faults: &mut faults, warnings: &mut warnings },
    );
    match settings {
        Some(settings) if faults.faults().is_empty() => Ok(Loaded { settings, warnings }),
        _ => Err(faults),
    }
}

/// `control.socket`, unless it has a fault itself, or a file could not be read that may hold it.
pub(super) fn control_socket(merged: Merged) -> Option<PathBuf> {
    let Merged { mut table, complete, .. } = merged;
    let mut faults = ConfigFaults::default();
    let control = read_control(&mut table, &mut faults)?;
    (complete && faults.faults().is_empty()).then_some(control.socket)
}

/// `None` only after a fault.
fn read(table: &mut Table, complete: bool, context: &mut ReadContext<'_>) -> Option<Settings> {
    let sync = read_sync(table, context.faults);
    let quota = read_quota(table, context.faults);
    let notify = read_notify(table, context);
    let records = take_section(table, Place::Records, context.faults);
    let records = read_records(records, context.environment, context.faults, context.warnings);
    let control = read_control(table, context.faults);
    let log = read_log(table, context.faults);
    let web = read_web(take_section(table, Place::Web, context.faults), context.faults, context.warnings);
    let defaults = read_defaults(take_section(table, Place::Defaults, context.faults), context.faults);
    let list = take_servers(table, complete, context.faults);
    let mut servers = read_servers(list, &defaults, context);
    for (name, value) in sorted(table) {
        let known = Place::ALL.map(Place::name);
        context.faults.push_unknown(name, &Unknown { what: "section", name, value, known: &known });
    }
    let (sync, fleet_max_rate) = sync?;
    servers.iter_mut().for_each(|server| server.network.fleet_max_rate = fleet_max_rate);
    Some(Settings {
        sync,
        quota: quota?,
        notify: notify?,
        records: records?,
        control: control?,
        log: log?,
        web,
        servers,
    })
}

/// And the bandwidth that all servers share.
fn read_sync(table: &mut Table, faults: &mut ConfigFaults) -> Option<(SyncSettings, Option<u64>)> {
    let mut section = take_section(table, Place::Sync, faults);
    let root = section.read("root", values::path);
    let interval = section.duration("interval");
    let quiet_directories = section.duration("quiet_directories");
    let max_rate = section.read("max_rate", rate);
    section.finish(faults);
    Some((SyncSettings { root: root?, interval: interval?, quiet_directories }, max_rate?))
}

fn read_quota(table: &mut Table, faults: &mut ConfigFaults) -> Option<QuotaSettings> {
    let mut section = take_section(table, Place::Quota, faults);
    let max_used_percent = section.read("max_used_percent", values::percent);
    let max_bytes = section.read("max_bytes", values::bytes);
    section.finish(faults);
    Some(QuotaSettings { max_used_percent: max_used_percent?, max_bytes })
}

fn read_notify(table: &mut Table, context: &mut ReadContext<'_>) -> Option<NotifySettings> {
    let mut section = take_section(table, Place::Notify, context.faults);
    let url = section.read("url", values::http_url);
    let timeout = section.duration("timeout");
    let concurrency = section.read_by_kind("concurrency", concurrency);
    let method = section.read("method", values::word);
    let headers = read_headers(&mut section, (context.environment, context.warnings));
    section.finish(context.faults);
    Some(NotifySettings { url: url?, method: method?, headers, timeout: timeout?, concurrency: concurrency? })
}

fn concurrency(value: &Value, kind: &Kind) -> Result<NotifyConcurrency, String> {
    if values::word::<String>(value).is_ok_and(|word| word == "auto") {
        return Ok(NotifyConcurrency::Auto);
    }
    let number = values::whole(value, &kind.wholes()).map_err(|fault| format!("{fault}, or \"auto\""))?;
    Ok(NotifyConcurrency::AtMost(usize::from(number)))
}

fn read_control(table: &mut Table, faults: &mut ConfigFaults) -> Option<ControlSettings> {
    let mut section = take_section(table, Place::Control, faults);
    let socket = section.read("socket", values::socket_path);
    section.finish(faults);
    Some(ControlSettings { socket: socket? })
}

fn read_log(table: &mut Table, faults: &mut ConfigFaults) -> Option<LogSettings> {
    let mut section = take_section(table, Place::Log, faults);
    let level = section.read("level", values::level);
    let file = section.read("file", values::path);
    let format = section.read("format", values::word);
    section.finish(faults);
    Some(LogSettings { level: level?, file, format: format? })
}

/// Takes a section out of the whole; one that is left out is an empty one.
fn take_section(table: &mut Table, place: Place, faults: &mut ConfigFaults) -> Section<'static> {
    let name = place.name();
    let entries = match table.remove(name).map(|value| value.kind) {
        Some(ValueKind::Table(entries)) => entries,
        Some(_) => {
            faults.push(name, &format!("must be a table, written [{name}]"));
            Table::new()
        }
        None => Table::new(),
    };
    Section::new(place, entries)
}

/// Takes the list of servers out of the whole. Where a file is missing nobody knows whether it has some.
fn take_servers(table: &mut Table, complete: bool, faults: &mut ConfigFaults) -> Vec<Value> {
    match table.remove("servers").map(|value| value.kind) {
        Some(ValueKind::Array(servers)) if !servers.is_empty() => return servers,
        Some(ValueKind::Array(_)) => faults.push("servers", "at least one is needed, written [[servers]]"),
        Some(_) => faults.push("servers", "must be a list of tables, each written [[servers]]"),
        None if complete => faults.push("servers", "at least one is needed, written [[servers]]"),
        None => {}
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use log::LevelFilter;

    use crate::config::fixtures::{self, SERVER};
    use crate::config::{RecordsSettings, load_from};
    use std::fs;

    fn load_with(toml: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        fixtures::load_with(toml, &environment)
    }

    fn settings(toml: &str) -> Settings {
        load_with(&format!("{toml}\n{SERVER}"), &[]).unwrap().settings
    }

    fn faults(toml: &str) -> Vec<String> {
        load_with(&format!("{toml}\n{SERVER}"), &[]).unwrap_err()
    }

    #[test]
    fn everything_but_a_server_has_a_default() {
        let Settings { sync, quota, notify, records, control, log, web, servers } = settings("");
        assert_eq!((sync.root, sync.interval), ("/sync".into(), Duration::from_secs(60)));
        assert_eq!((quota.max_used_percent, quota.max_bytes), (60.0, None));
        assert_eq!(notify.url.as_str(), "http://mro.web.com/dls.php");
        assert_eq!((notify.timeout, notify.concurrency), (Duration::from_secs(10), NotifyConcurrency::Auto));
        assert_eq!(records, RecordsSettings::Sqlite("/var/lib/mrosync/records.db".into()));
        assert_eq!(control.socket, PathBuf::from("/run/mrosync/control.sock"));
        assert_eq!((log.level, log.file), (LevelFilter::Info, None));
        assert!(web.is_none());
        assert_eq!(servers.len(), 1);
    }

    #[test]
    fn every_key_outside_servers_is_taken() {
        let Settings { sync, quota, notify, records, control, log, .. } = settings(
            "[sync]\nroot = 'mirror'\ninterval = '100ms'\n\
             [quota]\nmax_used_percent = 12.5\nmax_bytes = '500GiB'\n\
             [notify]\nurl = 'https://h/x?site=1'\ntimeout = '1h'\nconcurrency = 256\n\
             [records]\npath = 'r.db'\n[control]\nsocket = 'c.sock'\n[log]\nlevel = 'debug'\nfile = 'x.log'\n",
        );
        assert_eq!((sync.root, sync.interval), ("mirror".into(), Duration::from_millis(100)));
        assert_eq!((quota.max_used_percent, quota.max_bytes), (12.5, Some(500 << 30)));
        assert_eq!(notify.url.as_str(), "https://h/x?site=1");
        assert_eq!(
            (notify.timeout, notify.concurrency),
            (Duration::from_secs(3600), NotifyConcurrency::AtMost(256))
        );
        assert_eq!((records, control.socket), (RecordsSettings::Sqlite("r.db".into()), "c.sock".into()));
        assert_eq!((log.level, log.file), (LevelFilter::Debug, Some("x.log".into())));
    }

    #[test]
    fn every_fault_comes_at_once_and_begins_with_its_key() {
        let faults = load_with(
            "quota = 5\nplan = 'b'\n\
             [sync]\nroot = ''\ninterval = 60\nrot = 1\n\
             [notify]\nurl = 'ftp://x'\ntimeout = '2h'\nconcurrency = 0\n\
             [records]\npath = 1\n[control]\nsocket = ''\n[log]\nlevel = 'loud'\nfile = ''\n\
             [defaults]\nconnections = 65\ntimeout = '1ms'\ntls = 'ssl'\ntls_ca_file = ''\nencoding = 'utf-16le'\n\
             listing = 'nlst'\nverify = 'crc'\npassword = 'geheim'\n\
             [snyc]\nroot = 'x'\n\
             [[servers]]\nname = 'omc03'\nport = 0\nuser = \"a\\nb\"\ndirectories = ['x']\nhots = 'h'\n\
             [[servers]]\nname = '.x'\nhost = 'a b'\npassword = 12345\n",
            &[("MROSYNC_SYNC__INTERVALL", "1s"), ("MROSYNC_MIRROR__ROOT", "x")],
        )
        .unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
        assert_eq!(
            keys,
            [
                "sync.root",
                "sync.interval",
                "sync.intervall",
                "sync.rot",
                "quota",
                "notify.url",
                "notify.timeout",
                "notify.concurrency",
                "records.path",
                "control.socket",
                "log.level",
                "log.file",
                "defaults.connections",
                "defaults.timeout",
                "defaults.tls",
                "defaults.tls_ca_file",
                "defaults.encoding",
                "defaults.listing",
                "defaults.verify",
                "defaults.password",
                "servers[0] (omc03).host",
                "servers[0] (omc03).port",
                "servers[0] (omc03).user",
                "servers[0] (omc03).directories",
                "servers[0] (omc03).hots",
                "servers[1].name",
                "servers[1].host",
                "servers[1].password",
                "mirror",
                "plan",
                "snyc",
            ]
        );
        for part in [
            "sync.interval: must be a time with its unit; write 60 seconds as \"60s\"",
            "sync.intervall: unknown key; did you mean \"interval\"? (from MROSYNC_SYNC__INTERVALL)",
            "mirror: unknown section (from MROSYNC_MIRROR__ROOT)",
            "snyc: unknown section; did you mean \"sync\"?",
            "quota: must be a table, written [quota]",
            "servers[0] (omc03).host: is missing",
            "servers[0] (omc03).hots: unknown key; did you mean \"host\"?",
            "servers[1].name: must not start with a dot",
            "servers[1].password: must be a string",
        ] {
            assert!(faults.iter().any(|fault| fault == part), "{part} is not in {faults:#?}");
        }
        let shown = faults.join("\n");
        assert!(!shown.contains("geheim") && !shown.contains("12345"), "{shown}");
    }

    #[test]
    fn a_fault_names_the_file_that_it_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
        fs::write(&files[0], format!("[sync]\nroot = 1\ninterval = '1s'\n{SERVER}")).unwrap();
        fs::write(&files[1], "[sync]\ninterval = 1\n").unwrap();
        let faults = load_from(&files, &Environment::new()).unwrap_err();
        let ends: Vec<String> = files.iter().map(|file| format!("(in {})", file.display())).collect();
        assert!(faults.faults()[0].ends_with(&ends[0]) && faults.faults()[1].ends_with(&ends[1]), "{faults}");
        assert_eq!(faults.to_string().lines().count(), 2);
    }

    #[test]
    fn a_broken_file_hides_neither_other_faults_nor_invents_some() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
        fs::write(&files[0], "[sync]\nroot = 1\n").unwrap();
        fs::write(&files[1], "[[servers]\n").unwrap();
        let faults = load_from(&files, &Environment::new()).unwrap_err();
        assert_eq!(faults.faults().len(), 2, "{faults}");
        assert!(faults.faults()[0].starts_with(&files[1].display().to_string()), "{faults}");
        assert!(faults.faults()[1].starts_with("sync.root: "), "{faults}");
    }

    #[test]
    fn at_least_one_server_is_needed() {
        for (toml, fault) in [
            ("", "servers: at least one is needed, written [[servers]]"),
            ("servers = []", "servers: at least one is needed, written [[servers]]"),
            ("servers = 'omc01'", "servers: must be a list of tables, each written [[servers]]"),
            ("[servers]\nname = 'omc01'", "servers: must be a list of tables, each written [[servers]]"),
            ("servers = ['omc01']", "servers[0]: must be a table, written [[servers]]"),
        ] {
            assert_eq!(load_with(toml, &[]).unwrap_err(), [fault], "{toml}");
        }
    }

    /// interface 5.1
    #[test]
    fn the_interval_is_between_100ms_and_a_week() {
        assert_eq!(settings("[sync]\ninterval = '7days'").sync.interval, Duration::from_secs(604_800));
        for wrong in ["99ms", "8days"] {
            let faults = faults(&format!("[sync]\ninterval = '{wrong}'"));
            assert_eq!(faults, ["sync.interval: must be from 100ms to 7days"]);
        }
        assert_eq!(faults("[notify]\ntimeout = '0s'").len(), 1);
    }

    #[test]
    fn variables_give_numbers_and_times_as_well() {
        let variables = [
            ("MROSYNC_DEFAULTS__CONNECTIONS", "2"),
            ("MROSYNC_QUOTA__MAX_USED_PERCENT", "70.5"),
            ("MROSYNC_QUOTA__MAX_BYTES", "1000"),
            ("MROSYNC_SYNC__INTERVAL", "5s"),
            ("MROSYNC_SYNC__ROOT", "007"),
        ];
        let settings = load_with(SERVER, &variables).unwrap().settings;
        assert_eq!(settings.servers[0].connections, 2);
        assert_eq!((settings.quota.max_used_percent, settings.quota.max_bytes), (70.5, Some(1000)));
        assert_eq!((settings.sync.interval, settings.sync.root), (Duration::from_secs(5), "007".into()));
    }

    #[test]
    fn a_missing_default_file_is_a_fault() {
        // where a machine has the file, it may be usable and may not; both say that it was read
        let result = load_from(&[], &Environment::new());
        if !fs::exists(crate::config::DEFAULT_FILE).unwrap_or(true) {
            let faults = result.unwrap_err();
            assert!(
                faults.faults()[0].starts_with("/etc/mrosync/mrosync.toml: cannot be read: "),
                "{faults}"
            );
            assert_eq!(faults.faults().len(), 1, "{faults}");
        }
    }

    #[test]
    fn no_broken_configuration_shows_a_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let whole = "[[servers]]\nname = \"a\"\nhost = 'h'\npassword = \"~~~~\"\nuser = 'u'\n";
        for at in 0..whole.len() {
            for change in ["\"", "'", "\n", "=", "[", "]", "\\", "#", "\"\"\"", " ", "1", ".", "\\n"] {
                for skip in [0, 1] {
                    let mut broken = whole.to_owned();
                    broken.replace_range(at..at + skip, change);
                    fs::write(&path, &broken).unwrap();
                    let shown = match load_from(std::slice::from_ref(&path), &Environment::new()) {
                        Ok(loaded) => format!("{loaded:?}"),
                        Err(faults) => faults.to_string(),
                    };
                    assert!(!shown.contains("~~"), "{broken:?} gives {shown:?}");
                }
            }
        }
    }

    /// The shipped configuration, with the password files in a directory of its own.
    fn shipped() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=14 {
            let path = directory.path().join(format!("omc{number:02}.password"));
            fs::write(path, format!("geheim{number}\n")).unwrap();
        }
        let place = format!("\"{}/", directory.path().display());
        (directory, include_str!("../../config/mrosync.toml").replace("\"/etc/mrosync/", &place))
    }

    #[test]
    fn the_shipped_configuration_has_fourteen_servers() {
        let (_directory, toml) = shipped();
        let servers = load_with(&toml, &[]).unwrap().settings.servers;
        assert_eq!(servers.len(), 14);
        for (number, server) in (1..).zip(&servers) {
            assert_eq!(server.name.as_str(), format!("omc{number:02}"));
            assert_eq!(server.host, format!("10.0.0.{number}"));
            assert_eq!((server.user.as_str(), server.port), ("mro", 21));
            assert_eq!(server.password.reveal(), format!("geheim{number}"));
        }
    }

    #[test]
    fn the_shipped_configuration_shows_the_defaults() {
        let (_directory, toml) = shipped();
        let servers = toml.split_at(toml.find("\n[[servers]]").unwrap()).1;
        let said = load_with(&toml, &[]).unwrap().settings;
        let mut left_out = load_with(servers, &[]).unwrap().settings;
        left_out.log.file.clone_from(&said.log.file);
        assert_eq!(format!("{said:#?}"), format!("{left_out:#?}"));
    }
}
