//! Reads `[records]`: a SQLite file, or the URL of a PostgreSQL database.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use config::Value;

use super::certificates::read_certificates;
use super::files::Environment;
use super::reader::{ConfigFaults, Section};
use super::secrets::{password_of_file, password_of_variable};
use super::{Password, PostgresSettings, RecordsSettings, values};

/// Where PostgreSQL listens.
const PORT: u16 = 5432;
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const PASSWORD_KEYS: [&str; 2] = ["password_file", "password_env"];
/// Names are short in every system; a longer text is something else in the wrong place.
const LONGEST_HOST: usize = 253;

/// A machine that the database runs on, or a pooler before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresHost {
    /// A host name or address.
    Network(String),
    /// The directory of its Unix socket.
    Directory(PathBuf),
}

impl PostgresHost {
    /// Returns whether it is this machine for certain.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Directory(_) => true,
            Self::Network(name) => {
                name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) if name.contains(':') => write!(f, "[{name}]"),
            Self::Network(name) => f.write_str(name),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

/// What a URL says of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DatabaseUrl {
    hosts: Vec<(PostgresHost, u16)>,
    user: String,
    database: String,
    tls: Option<bool>,
}

/// `None` only after a fault.
pub(super) fn read_records(
    mut section: Section<'_>,
    environment: &Environment,
    faults: &mut ConfigFaults,
    warnings: &mut Vec<String>,
) -> Option<RecordsSettings> {
    let [has_path, has_url] = ["path", "url"].map(|key| section.holds(key));
    let path = section.read("path", values::path);
    let url = section.read("url", |value| parse(values::text(value)?));
    let password = read_password(&mut section, environment, warnings);
    let ca_file = section.read("tls_ca_file", certificates);
    if has_path && has_url {
        section.fault("url", "give either records.path (SQLite) or records.url (PostgreSQL), not both");
    }
    for key in PASSWORD_KEYS.into_iter().chain(["tls_ca_file"]).filter(|_| !has_url) {
        if section.holds(key) {
            warnings.push(format!("{}.{key}: means nothing without records.url", section.label()));
        }
    }
    section.finish(faults);
    if !has_url {
        return Some(RecordsSettings::Sqlite(path?));
    }
    let DatabaseUrl { hosts, user, database, tls } = url?;
    Some(RecordsSettings::Postgres(PostgresSettings { hosts, user, database, password, tls, ca_file }))
}

fn certificates(value: &Value) -> Result<PathBuf, String> {
    let path = values::path(value)?;
    read_certificates(&path)?;
    Ok(path)
}

/// None where there is none, or after a fault.
fn read_password(
    section: &mut Section<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Password> {
    let [in_file, in_variable] = PASSWORD_KEYS;
    if section.holds(in_file) && section.holds(in_variable) {
        section.fault(in_file, &format!("give only one of {in_file} and {in_variable}"));
    }
    let file = section.read(in_file, |value| password_of_file(&values::path(value)?, warnings));
    let variable = section.read(in_variable, |value| password_of_variable(values::text(value)?, environment));
    file.or(variable).map(Password::new)
}

/// Reads `postgres://user@host1:5432,host2/database?key=value`. Faults show nothing of the text: a password may be in it.
fn parse(url: &str) -> Result<DatabaseUrl, String> {
    const FORM: &str = "must be a URL such as \"postgres://mrosync@pg1,pg2/mrosync\"";
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(FORM)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (user, hosts),
        None => ("", authority),
    };
    if user.contains(':') {
        return Err(NO_PASSWORD.to_owned());
    }
    let mut parts = Parts { user: decoded(user)?, database: decoded(database)?, ..Parts::default() };
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        parts.hosts.push(host_and_port(host)?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("has a part after \"?\" that is not key=value")?;
        parts.set(&decoded(key)?, decoded(value)?)?;
    }
    parts.finish()
}

const NO_PASSWORD: &str = "holds a password, and URLs are shown in messages: name a file (password_file) or a variable (password_env)";

#[derive(Default)]
struct Parts {
    user: String,
    database: String,
    hosts: Vec<(PostgresHost, Option<u16>)>,
    port: Option<u16>,
    tls: Option<bool>,
}

impl Parts {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "password" | "sslpassword" => return Err(NO_PASSWORD.to_owned()),
            "user" => self.user = value,
            "dbname" => self.database = value,
            "port" => self.port = Some(port(&value)?),
            "host" => {
                for host in value.split(',') {
                    self.hosts.push((one_host(host)?, None));
                }
            }
            "sslmode" => self.tls = Some(tls(&value)?),
            // records are written: it is never another one
            "target_session_attrs" if matches!(value.as_str(), "read-write" | "primary") => {}
            "target_session_attrs" => return Err("takes target_session_attrs=read-write alone".to_owned()),
            _ => {
                return Err(
                    "knows user, host, port, dbname, sslmode and target_session_attrs alone after \"?\""
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<DatabaseUrl, String> {
        let Self { user, mut database, hosts, port, tls } = self;
        if user.is_empty() {
            return Err("names no user, as in \"postgres://mrosync@pg1/mrosync\"".to_owned());
        }
        if hosts.is_empty() {
            return Err("names no host; for a Unix socket add ?host=/var/run/postgresql".to_owned());
        }
        if database.is_empty() {
            database.clone_from(&user);
        }
        let port = port.unwrap_or(PORT);
        let hosts = hosts.into_iter().map(|(host, own)| (host, own.unwrap_or(port))).collect();
        Ok(DatabaseUrl { hosts, user, database, tls })
    }
}

fn tls(value: &str) -> Result<bool, String> {
    match value {
        "disable" => Ok(false),
        "require" | "verify-full" => Ok(true),
        _ => {
            Err("takes sslmode=verify-full (TLS, with the certificate verified) or sslmode=disable"
                .to_owned())
        }
    }
}

fn host_and_port(text: &str) -> Result<(PostgresHost, Option<u16>), String> {
    const UNCLOSED: &str = "has an address without its \"]\"";
    let (host, rest) = match text.strip_prefix('[') {
        Some(address) => address.split_once(']').ok_or(UNCLOSED)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let own = rest.strip_prefix(':').map(port).transpose()?;
    Ok((one_host(&decoded(host)?)?, own))
}

fn one_host(host: &str) -> Result<PostgresHost, String> {
    if host.starts_with('/') {
        return Ok(PostgresHost::Directory(Path::new(host).to_owned()));
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.:".contains(c));
    if host.is_empty() || host.len() > LONGEST_HOST || host.contains(odd) {
        return Err("has a host that is no name and no address".to_owned());
    }
    Ok(PostgresHost::Network(host.to_owned()))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| "has a port that is none".to_owned())
}

fn decoded(text: &str) -> Result<String, String> {
    let text = urlencoding::decode(text).map_err(|_| "is not UTF-8 where it is percent-encoded")?;
    if text.contains(char::is_control) {
        return Err("has control characters".to_owned());
    }
    Ok(text.into_owned())
}

impl fmt::Display for PostgresSettings {
    /// Without what is secret, and without the port that all have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user)?;
        for (place, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match *port {
                PORT => write!(f, "{comma}{host}")?,
                port => write!(f, "{comma}{host}:{port}")?,
            }
        }
        write!(f, "/{}", self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{SERVER, load_with};
    use std::ffi::OsString;

    fn read(keys: &str) -> Result<RecordsSettings, Vec<String>> {
        let environment = Environment::from([(OsString::from("PG_SECRET"), OsString::from("hush-hush"))]);
        load_with(&format!("[records]\n{keys}\n{SERVER}"), &environment).map(|loaded| loaded.settings.records)
    }

    fn postgres(keys: &str) -> PostgresSettings {
        match read(keys).unwrap() {
            RecordsSettings::Postgres(settings) => settings,
            other @ RecordsSettings::Sqlite(_) => panic!("{other:?}"),
        }
    }

    /// interface 21.2
    #[test]
    fn a_url_names_hosts_in_their_order_and_is_shown_without_secrets() {
        let url = "url = 'postgres://mro%40sync@pg1,[fd00::2]:6432/mro?target_session_attrs=read-write'";
        let settings = postgres(&format!("{url}\npassword_env = 'PG_SECRET'"));
        let host = |name: &str| PostgresHost::Network(name.to_owned());
        assert_eq!(settings.hosts, [(host("pg1"), 5432), (host("fd00::2"), 6432)]);
        assert_eq!(settings.password.as_ref().map(Password::reveal), Some("hush-hush"));
        assert_eq!(settings.to_string(), "postgres://mro@sync@pg1,[fd00::2]:6432/mro");
        assert!(!format!("{settings:?}").contains("hush"));
        let socket = postgres("url = 'postgresql://mrosync@/?host=/var/run/postgresql&port=5433'");
        assert_eq!(socket.hosts, [(PostgresHost::Directory("/var/run/postgresql".into()), 5433)]);
        assert_eq!((socket.database.as_str(), socket.tls), ("mrosync", None));
    }

    /// interface 21.3
    #[test]
    fn tls_is_verified_wherever_the_host_is_not_this_machine_unless_the_url_says_otherwise() {
        for (url, tls) in [
            ("postgres://a@pg1", true),
            ("postgres://a@192.0.2.1", true),
            ("postgres://a@localhost", false),
            ("postgres://a@127.0.0.2", false),
            ("postgres://a@[::1]:1", false),
            ("postgres://a@?host=/run/p", false),
            ("postgres://a@localhost?sslmode=verify-full", true),
            ("postgres://a@pg1?sslmode=disable", false),
        ] {
            let settings = postgres(&format!("url = '{url}'"));
            assert_eq!(settings.wants_tls(&settings.hosts[0].0), tls, "{url}");
        }
    }

    /// interface 21.2
    #[test]
    fn a_password_in_the_url_is_refused_and_not_shown() {
        for url in ["postgres://a:hush-hush@pg1/b", "postgres://a@pg1/b?password=hush-hush"] {
            let faults = read(&format!("url = '{url}'")).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("records.url: holds a password"), "{faults:?}");
            assert!(!faults[0].contains("hush"), "{faults:?}");
        }
    }

    /// interface 21.1, 21.2
    #[test]
    fn what_cannot_be_meant_is_a_fault() {
        for (keys, fault) in [
            ("path = 'r.db'\nurl = 'postgres://a@b'", "records.url: give either"),
            ("url = 'postgres://a@b'\npassword_env = 'NONE'", "records.password_env: no environment"),
            ("url = 'mysql://a@b'", "records.url: must be a URL"),
            ("url = 'postgres://b/c'", "records.url: names no user"),
            ("url = 'postgres://a@/c'", "records.url: names no host"),
            ("url = 'postgres://a@b?sslmode=prefer'", "records.url: takes sslmode"),
            ("url = 'postgres://a@b?target_session_attrs=any'", "records.url: takes target"),
            ("url = 'postgres://a@b?options=-csearch_path'", "records.url: knows user"),
            ("url = 'postgres://a@b:0'", "records.url: has a port"),
            ("url = 'postgres://a@b c'", "records.url: has a host"),
            ("url = 'postgres://a@b'\ntls_ca_file = '/nonexistent'", "records.tls_ca_file: cannot read"),
        ] {
            let faults = read(keys).unwrap_err();
            assert!(faults.iter().any(|found| found.starts_with(fault)), "{keys}: {faults:?}");
        }
    }
}
