//! The configuration: what an operator writes, checked and ready to use.
//!
//! Three stages: files and variables are merged key by key (`sources`), every key is read as its row in [`keys`] says
//! and every fault collected (`validate`), and the rest of the program sees [`Settings`] only.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use encoding_rs::Encoding;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, PrivateKey};
use url::Url;

use crate::base::names::{RemotePath, ServerName};

mod certificates;
mod database;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod headers;
pub mod keys;
mod known_hosts;
mod network;
mod reader;
mod secrets;
mod selection;
mod servers;
mod sources;
mod ssh;
mod validate;
mod values;
mod web;
mod windows;

pub use database::PostgresHost;
pub use known_hosts::KnownKeys;
pub use network::{NetworkSettings, PassiveCommand, Proxy, TlsVersion, TransferMode};
pub use reader::ConfigFaults;
pub use selection::{Order, Selection};
pub use windows::Windows;

/// The file that is read when the command line names none.
pub const DEFAULT_FILE: &str = "/etc/mrosync/mrosync.toml";

/// A usable configuration, and what the operator should still look at.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, without a fault.
    pub settings: Settings,
    /// One line each: secrets that others can read, users without a password.
    pub warnings: Vec<String>,
}

/// Reads the configuration from `files` ([`DEFAULT_FILE`] when there are none; later ones override earlier ones
/// key by key, and a later list of servers replaces an earlier one) and from the environment, which overrides
/// all files: `MROSYNC_SYNC__ROOT=/data` is `sync.root`. Reads the files of passwords and certificates too.
///
/// # Errors
///
/// Every fault of every source, each beginning with its key or file.
pub fn load(files: &[PathBuf]) -> Result<Loaded, ConfigFaults> {
    load_from(files, &std::env::vars_os().collect())
}

fn load_from(files: &[PathBuf], environment: &files::Environment) -> Result<Loaded, ConfigFaults> {
    let default = [PathBuf::from(DEFAULT_FILE)];
    let files = if files.is_empty() { &default } else { files };
    validate::validate(sources::merge(files, environment), environment)
}

/// `control.socket` alone, for asking the running service about a configuration that has faults elsewhere: it is the
/// service that judges it. `None` where that key is not to be had.
#[must_use]
pub fn control_socket(files: &[PathBuf]) -> Option<PathBuf> {
    let default = [PathBuf::from(DEFAULT_FILE)];
    let files = if files.is_empty() { &default } else { files };
    validate::control_socket(sources::merge(files, &std::env::vars_os().collect()))
}

/// Everything that an operator decides, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[sync]`
    pub sync: SyncSettings,
    /// `[quota]`
    pub quota: QuotaSettings,
    /// `[notify]`
    pub notify: NotifySettings,
    /// `[records]`
    pub records: RecordsSettings,
    /// `[control]`
    pub control: ControlSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[web]`, where it is on
    pub web: Option<WebSettings>,
    /// `[[servers]]`, each completed by `[defaults]`; names are unique
    pub servers: Vec<ServerSettings>,
}

/// Where the mirror lies and how often servers are scanned.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncSettings {
    /// The mirror: `{root}/{server name}{remote path}`.
    pub root: PathBuf,
    /// From the start of one scan to the start of the next.
    pub interval: Duration,
    /// How often directories are listed in which nothing has changed for long; in every scan where left out.
    pub quiet_directories: Option<Duration>,
}

/// How much the mirror may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaSettings {
    /// Of the file system that holds the mirror, as df counts it: used / (used + available), in percent.
    pub max_used_percent: f64,
    /// Of the mirror itself, partial files included, in bytes.
    pub max_bytes: Option<u64>,
}

/// The call for each downloaded file.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifySettings {
    /// `GET {url}?file=…`; a query of its own is kept.
    pub url: Url,
    /// GET unless another one is asked for.
    pub method: NotifyMethod,
    /// Sent with each call. Values are never printed.
    pub headers: Vec<(String, Password)>,
    /// For one call, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Calls under way at a time.
    pub concurrency: NotifyConcurrency,
}

/// How many calls are under way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NotifyConcurrency {
    /// As many as the host bears, [`NotifyConcurrency::MOST_BY_ITSELF`] at most.
    #[default]
    Auto,
    /// So many at most.
    AtMost(usize),
}

impl NotifyConcurrency {
    /// What `"auto"` begins with.
    pub const FIRST_BY_ITSELF: usize = 4;
    /// The most that `"auto"` comes to.
    pub const MOST_BY_ITSELF: usize = 32;

    /// So many at first.
    #[must_use]
    pub fn first(self) -> usize {
        match self {
            Self::Auto => Self::FIRST_BY_ITSELF,
            Self::AtMost(number) => number,
        }
    }

    /// So many at most, either way.
    #[must_use]
    pub fn ceiling(self) -> usize {
        match self {
            Self::Auto => Self::MOST_BY_ITSELF,
            Self::AtMost(number) => number,
        }
    }
}

/// The method of the call. None has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NotifyMethod {
    /// As the requirement has it.
    #[default]
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
}

/// Where the records are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordsSettings {
    /// A SQLite file; its directory is made when missing.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresSettings),
}

impl RecordsSettings {
    /// Returns the key that says where, for messages.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "records.path",
            Self::Postgres(_) => "records.url",
        }
    }
}

impl fmt::Display for RecordsSettings {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(settings) => settings.fmt(f),
        }
    }
}

/// How to reach a PostgreSQL database.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresSettings {
    /// Tried in this order, each with its port; one that takes no writes is passed over.
    pub hosts: Vec<(PostgresHost, u16)>,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Never printed.
    pub password: Option<Password>,
    /// Whether there is TLS; where nothing is said, for hosts that are not this machine.
    pub tls: Option<bool>,
    /// Whom to trust instead of the system's roots.
    pub ca_file: Option<PathBuf>,
}

impl PostgresSettings {
    /// Returns whether the connection to `host` is encrypted, and its certificate verified.
    #[must_use]
    pub fn wants_tls(&self, host: &PostgresHost) -> bool {
        self.tls.unwrap_or_else(|| !host.is_local())
    }
}

/// The control socket.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlSettings {
    /// A Unix socket; its directory is made when missing.
    pub socket: PathBuf,
}

/// The status page and what programs read there.
#[derive(Debug, Clone, PartialEq)]
pub struct WebSettings {
    /// Where to listen; outside of loopback only with a token.
    pub listen: SocketAddr,
    /// Who knows it may start and stop. Never printed.
    pub token: Option<Password>,
    /// Names, in lower case, by which this host is called besides `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// The run log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// The most detailed level that is written.
    pub level: log::LevelFilter,
    /// Beside standard error, the file that is appended to.
    pub file: Option<PathBuf>,
    /// What a line looks like, in both.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `2026-11-23T03:00:05.123Z INFO  [collector::scan] server=omc01 …`
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// One server, completed by `[defaults]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Its directory below the mirror's root.
    pub name: ServerName,
    /// Host name or address.
    pub host: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Control port; 21, 990 with implicit TLS, or 22 with SFTP, when left out.
    pub port: u16,
    /// `anonymous` when left out.
    pub user: String,
    /// Never printed.
    pub password: Password,
    /// Each is mirrored with everything below it; none lies within another.
    pub directories: Vec<RemotePath>,
    /// Most logins at a time, listing and transfers together.
    pub connections: usize,
    /// No byte for this long: the operation has failed.
    pub timeout: Duration,
    /// Slower than so many bytes per second, averaged over twice `timeout`: the transfer or listing is given up. 0 is
    /// no limit.
    pub min_speed: u64,
    /// Whether and how the connections are encrypted.
    pub tls: TlsMode,
    /// Certificates to trust instead of the system's roots: authorities, or the server's own.
    pub tls_ca_file: Option<PathBuf>,
    /// Of file names on the wire; ASCII-compatible.
    pub encoding: &'static Encoding,
    /// Which command lists a directory.
    pub listing: ListingMode,
    /// When a received file is taken as whole.
    pub verify: Verify,
    /// By which way, when and how fast it is reached.
    pub network: NetworkSettings,
    /// Which files are wanted.
    pub selection: Selection,
    /// Which of them first.
    pub order: Order,
}

/// What a server speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Protocol {
    /// FTP, with or without TLS.
    Ftp,
    /// SFTP, which is part of SSH.
    Sftp(Box<SftpSettings>),
}

/// What SFTP needs beside host, user and password.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SftpSettings {
    /// The server's keys, as the operator wrote them.
    pub host_keys: Vec<HostKey>,
    /// More of them, as OpenSSH keeps them.
    pub known_hosts_file: Option<PathBuf>,
    /// Whether what is broken or weak today may be agreed on.
    pub old_algorithms: bool,
    /// Our key, already opened.
    pub private_key: Option<LoginKey>,
    /// Whether a password is configured.
    pub sends_password: bool,
}

/// A server's key that was pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// SHA-256.
    pub fingerprint: Fingerprint,
    /// Where the whole key was given.
    pub kind: Option<Algorithm>,
}

/// A private key. Not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub struct LoginKey(Arc<PrivateKey>);

/// How connections are encrypted (RFC 4217; implicit TLS is older and has no RFC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain FTP.
    Off,
    /// `AUTH TLS` after the greeting; a server that refuses is an error, never a plain login.
    Explicit,
    /// TLS from the first byte.
    Implicit,
}

/// Which command lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingMode {
    /// MLSD where FEAT shows it, LIST otherwise.
    Auto,
    /// MLSD (RFC 3659 section 7).
    Mlsd,
    /// LIST (RFC 959), in whatever dialect the server speaks.
    List,
}

/// When a received file is taken as whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Size, and where it begins as a zip archive, that it ends as one.
    Auto,
    /// The size alone.
    Size,
    /// Only a readable zip archive.
    Zip,
}

/// A secret. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the login only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is odd about it as far as anybody may know, for whoever wonders why it is refused: words that go behind the
    /// refusal. Empty where nothing is.
    #[must_use]
    pub fn oddity(&self) -> &'static str {
        let ends = |test: fn(char) -> bool| self.0.starts_with(test) || self.0.ends_with(test);
        let quoted = |quote| self.0.len() > 1 && self.0.starts_with(quote) && self.0.ends_with(quote);
        if self.0.contains(['\u{feff}', '\u{200b}', '\u{a0}']) {
            "; note that an invisible character (such as a byte order mark) is part of the password as it is configured"
        } else if ends(char::is_whitespace) {
            "; note that the password as it is configured begins or ends with a blank, which is part of it"
        } else if quoted('"') || quoted('\'') {
            "; note that the password as it is configured has quotes around it, which are part of it"
        } else {
            ""
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_about_a_password_is_said_without_showing_it() {
        for (secret, word) in [
            (" geheim", "blank"),
            ("geheim\t", "blank"),
            ("'geheim'", "quotes"),
            ("\"geheim\"", "quotes"),
            ("\u{feff}geheim", "byte order mark"),
        ] {
            let oddity = Password::new(secret).oddity();
            assert!(oddity.contains(word) && !oddity.contains("geheim"), "{secret}: {oddity}");
        }
        for plain in ["geheim", "ge heim", "'", "", "it's"] {
            assert_eq!(Password::new(plain).oddity(), "", "{plain}");
        }
    }
}
