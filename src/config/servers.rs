//! Reads `[defaults]` and `[[servers]]`: every server completed by the defaults.
//!
//! Runs on the main thread; looks at the certificate files that are named, and leaves passwords to `secrets`.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};
use encoding_rs::{Encoding, UTF_8};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::reader::{ConfigFaults, Section, Table};
use super::secrets::{PASSWORD_KEYS, read_password};
use super::sources::{BOM, Environment};
use super::ssh::{read_ssh, refuse_foreign_keys};
use super::values;
use super::{
    ListingMode, NetworkSettings, Order, Protocol, Selection, ServerSettings, SftpSettings, TlsMode, Verify,
};
use crate::base::names::{RemotePath, ServerName};

/// FTP's control port (RFC 959 section 8).
const FTP_PORT: u16 = 21;
/// Control port of FTP over implicit TLS (the IANA registry's `ftps`).
const FTPS_PORT: u16 = 990;
/// SSH's port (RFC 4253 section 4.2).
const SSH_PORT: u16 = 22;
/// Largest file of certificates in bytes: all authorities of the world take a few hundred KiB.
const MAX_CA_FILE_BYTES: u64 = 16 << 20;
/// The user of public servers (RFC 1635).
pub(super) const ANONYMOUS: &str = "anonymous";

const CONNECTIONS: std::ops::RangeInclusive<u16> = 1..=64;
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// What a server speaks, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtocolWord {
    Ftp,
    Sftp,
}

/// What `[defaults]` says of every server, and a server may say for itself.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    protocol: ProtocolWord,
    connections: usize,
    timeout: Duration,
    min_speed: u64,
    tls: TlsMode,
    tls_ca_file: Option<PathBuf>,
    encoding: &'static Encoding,
    listing: ListingMode,
    verify: Verify,
    pub(super) network: NetworkSettings,
    /// Of those keys that may stand in `[defaults]`.
    sftp: SftpSettings,
    selection: Selection,
    order: Order,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            protocol: ProtocolWord::Ftp,
            connections: 4,
            timeout: Duration::from_secs(30),
            min_speed: 100,
            tls: TlsMode::Off,
            tls_ca_file: None,
            encoding: UTF_8,
            listing: ListingMode::Auto,
            verify: Verify::Auto,
            network: NetworkSettings::default(),
            sftp: SftpSettings::default(),
            selection: Selection::default(),
            order: Order::default(),
        }
    }
}

impl Shared {
    /// What `section` says, and `self` where it says nothing.
    pub(super) fn overridden_by(&self, section: &mut Section) -> Self {
        let connections = section.read("connections", |value| values::whole(value, &CONNECTIONS));
        let timeout = section.read("timeout", |value| values::duration(value, &TIMEOUT));
        Self {
            protocol: section.read("protocol", values::word).unwrap_or(self.protocol),
            connections: connections.map_or(self.connections, usize::from),
            timeout: timeout.unwrap_or(self.timeout),
            min_speed: section.read("min_speed", values::bytes_or_none).unwrap_or(self.min_speed),
            tls: section.read("tls", values::word).unwrap_or(self.tls),
            tls_ca_file: section.read("tls_ca_file", values::path).or_else(|| self.tls_ca_file.clone()),
            encoding: section.read("encoding", values::encoding).unwrap_or(self.encoding),
            listing: section.read("listing", values::word).unwrap_or(self.listing),
            verify: section.read("verify", values::word).unwrap_or(self.verify),
            network: self.network.overridden_by(section),
            sftp: self.sftp.clone(),
            selection: self.selection_by(section),
            order: section.read("order", values::word).unwrap_or(self.order),
        }
    }

    fn selection_by(&self, section: &mut Section) -> Selection {
        let Selection { since, from_now, include, exclude } = &self.selection;
        let (since, from_now) = match section.read("since", values::since) {
            Some(since) => (since, since.is_none()),
            None => (*since, *from_now),
        };
        Selection {
            since,
            from_now,
            include: section.read("include", values::globs).unwrap_or_else(|| include.clone()),
            exclude: section.read("exclude", values::globs).unwrap_or_else(|| exclude.clone()),
        }
    }

    /// Those of `[defaults]` itself, which are read again with each server's own.
    pub(super) fn with_sftp(mut self, section: &mut Section) -> Self {
        let known_hosts_file = section.read("known_hosts_file", values::path);
        let old_algorithms = section.read("old_algorithms", values::flag).unwrap_or(false);
        self.sftp = SftpSettings { known_hosts_file, old_algorithms, ..SftpSettings::default() };
        self
    }

    /// Without what is for servers that speak FTP.
    fn for_sftp(&self) -> Self {
        let Self { tls, tls_ca_file, listing, .. } = Self::default();
        Self { tls, tls_ca_file, listing, network: self.network.for_sftp(), ..self.clone() }
    }

    /// Whether `section` is a server that speaks SFTP.
    fn is_sftp(&self, section: &Section) -> bool {
        let own = section.peek("protocol").and_then(|value| values::word(value).ok());
        own.unwrap_or(self.protocol) == ProtocolWord::Sftp
    }
}

/// What reading servers needs and leaves behind beside them.
pub(super) struct ReadContext<'a> {
    /// Where `password_env` is looked up.
    pub(super) environment: &'a Environment,
    pub(super) faults: &'a mut ConfigFaults,
    pub(super) warnings: &'a mut Vec<String>,
}

/// Reads every server of the list; those with a fault are left out.
pub(super) fn read_servers(
    list: Vec<Value>,
    defaults: &Shared,
    context: &mut ReadContext<'_>,
) -> Vec<ServerSettings> {
    let mut servers: Vec<ServerSettings> = Vec::with_capacity(list.len());
    // of those with faults too: a name that is taken is told in the same go
    let mut names: HashSet<ServerName> = HashSet::new();
    for (index, value) in list.into_iter().enumerate() {
        let ValueKind::Table(table) = value.kind else {
            context.faults.push(&format!("servers[{index}]"), "must be a table, written [[servers]]");
            continue;
        };
        let name = usable_name(&table);
        let mut section = Section::new(label(index, name.as_ref()), table);
        servers.extend(read_server(&mut section, defaults, context));
        if name.is_some_and(|name| !names.insert(name)) {
            section.fault("name", "must be unique, and a server before it has the same");
        }
        section.finish(context.faults);
    }
    servers
}

/// `servers[2] (omc03)`, counted from 0, with the name where there is a usable one.
fn label(index: usize, name: Option<&ServerName>) -> String {
    match name {
        Some(name) => format!("servers[{index}] ({name})"),
        None => format!("servers[{index}]"),
    }
}

fn usable_name(table: &Table) -> Option<ServerName> {
    let name = table.get("name").and_then(|name| values::text(name).ok())?;
    ServerName::new(name).ok()
}

fn read_server(
    section: &mut Section,
    defaults: &Shared,
    context: &mut ReadContext<'_>,
) -> Option<ServerSettings> {
    let name = required(section, "name", |value| Ok(ServerName::configured(values::text(value)?)?));
    let host = required(section, "host", values::host);
    let is_sftp = defaults.is_sftp(section);
    refuse_foreign_keys(section, is_sftp);
    let has_own_ca_file = section.holds("tls_ca_file");
    let shared = match is_sftp {
        true => defaults.for_sftp().overridden_by(section),
        false => defaults.overridden_by(section),
    };
    if !is_sftp {
        check_ca_file(section, &shared, has_own_ca_file, context.faults);
    }
    let usual_port = match shared.tls {
        _ if is_sftp => SSH_PORT,
        TlsMode::Implicit => FTPS_PORT,
        TlsMode::Off | TlsMode::Explicit => FTP_PORT,
    };
    let port = section.read("port", |value| values::whole(value, &(1..=u16::MAX)));
    if is_sftp {
        refuse_missing_keys(section);
    }
    let password_key = PASSWORD_KEYS.into_iter().find(|key| section.holds(key));
    let sends_password = password_key.is_some();
    let user = section.read("user", user);
    // without a password SFTP has a key, and nothing is sent
    let asked_for = user.as_deref().filter(|_| !is_sftp);
    let password = read_password(section, asked_for, context.environment, context.warnings);
    if !is_sftp {
        refuse_unspeakable(section, shared.encoding, ("user", user.as_deref().unwrap_or_default()));
        refuse_unspeakable(section, shared.encoding, (password_key.unwrap_or("password"), password.reveal()));
    }
    let directories = section.read("directories", |value| directories(value, shared.encoding));
    let protocol = match is_sftp {
        true => Protocol::Sftp(Box::new(read_ssh(section, shared.sftp, sends_password, context))),
        false => Protocol::Ftp,
    };
    Some(ServerSettings {
        name: name?,
        host: host?,
        protocol,
        port: port.unwrap_or(usual_port),
        user: user.unwrap_or_else(|| ANONYMOUS.to_owned()),
        password,
        directories: directories.unwrap_or_else(|| vec![RemotePath::root()]),
        connections: shared.connections,
        timeout: shared.timeout,
        min_speed: shared.min_speed,
        tls: shared.tls,
        tls_ca_file: shared.tls_ca_file,
        encoding: shared.encoding,
        listing: shared.listing,
        verify: shared.verify,
        network: shared.network,
        selection: shared.selection,
        order: shared.order,
    })
}

/// SFTP has no anonymous user, and a server's `/` is often the whole machine.
fn refuse_missing_keys(section: &mut Section) {
    if !section.holds("user") {
        section.fault("user", "is missing; SFTP has no anonymous user");
    }
    if !PASSWORD_KEYS.iter().chain(&["private_key_file"]).any(|key| section.holds(key)) {
        section.fault("password", "give a password, or private_key_file");
    }
    if !section.holds("directories") {
        section.fault(
            "directories",
            "is missing; with SFTP \"/\" may be the whole machine: write [\"/\"] where that is meant",
        );
    }
}

/// FTP sends user and password in the server's encoding, SFTP in UTF-8 (RFC 4252 section 5). The fault shows neither.
fn refuse_unspeakable(section: &mut Section, encoding: &'static Encoding, (key, text): (&str, &str)) {
    let (.., lacks_some) = encoding.encode(text);
    if lacks_some {
        let name = encoding.name();
        section.fault(key, &format!("holds a character that the server's encoding ({name}) lacks"));
    }
}

fn required<T>(
    section: &mut Section,
    key: &'static str,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Option<T> {
    if !section.holds(key) {
        section.fault(key, "is missing");
    }
    section.read(key, read)
}

fn user(value: &Value) -> Result<String, String> {
    let user = values::command_text(value)?;
    if user.is_empty() {
        return Err("must not be empty; leave it out to log in as anonymous".to_owned());
    }
    Ok(user)
}

/// The directories to mirror, without those that lie within another one: the outer one covers them.
fn directories(value: &Value, encoding: &'static Encoding) -> Result<Vec<RemotePath>, String> {
    let mut kept: Vec<RemotePath> = Vec::new();
    for text in values::texts(value)? {
        let path = RemotePath::from_text(text, encoding).map_err(|fault| format!("\"{text}\" {fault}"))?;
        if !kept.iter().any(|outer| path.is_within(outer)) {
            kept.retain(|inner| !inner.is_within(&path));
            kept.push(path);
        }
    }
    Ok(kept)
}

/// Faults a certificate file that would be used and holds none: where it is written, and once. Nothing would be
/// trusted then; it must not wait until the first login to be noticed.
fn check_ca_file(section: &mut Section, shared: &Shared, is_own: bool, faults: &mut ConfigFaults) {
    let Some(path) = shared.tls_ca_file.as_deref().filter(|_| shared.tls != TlsMode::Off) else { return };
    let Err(fault) = read_certificates(path) else { return };
    if is_own {
        section.fault("tls_ca_file", &fault);
    } else {
        faults.push("defaults.tls_ca_file", &fault);
    }
}

fn read_certificates(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CA_FILE_BYTES).read_to_end(&mut pem));
    read.map_err(|error| format!("cannot read {shown}: {error}"))?;
    let pem = pem.strip_prefix(BOM).unwrap_or(&pem);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!("{shown} holds no certificate (PEM)")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot read the certificates in {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, load_from};
    use std::fs;

    const NAMED: &str = "[[servers]]\nname = 'omc01'\nhost = 'h'\n";
    /// The shape of a certificate; what is in it is read when TLS begins.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    fn load(toml: &str, environment: &Environment) -> Result<Loaded, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, toml).unwrap();
        let origin = format!(" (in {})", path.display());
        load_from(&[path], environment)
            .map_err(|faults| faults.faults().iter().map(|fault| fault.replace(&origin, "")).collect())
    }

    fn servers(toml: &str) -> Vec<ServerSettings> {
        load(toml, &Environment::new()).unwrap().settings.servers
    }

    /// The only server, with these keys beside name and host.
    fn server(keys: &str) -> ServerSettings {
        servers(&format!("{NAMED}{keys}\n")).remove(0)
    }

    fn faults(keys: &str) -> Vec<String> {
        load(&format!("{NAMED}{keys}\n"), &Environment::new()).unwrap_err()
    }

    #[test]
    fn a_server_needs_name_and_host_alone() {
        let server = server("");
        assert_eq!((server.name.as_str(), server.host.as_str(), server.port), ("omc01", "h", 21));
        assert_eq!((server.user.as_str(), server.password.reveal()), ("anonymous", "mrosync@"));
        assert_eq!(server.directories, [RemotePath::root()]);
        assert_eq!((server.connections, server.timeout), (4, Duration::from_secs(30)));
        assert_eq!(server.min_speed, 100);
        assert_eq!((server.tls, server.tls_ca_file, server.encoding), (TlsMode::Off, None, UTF_8));
        assert_eq!((server.listing, server.verify), (ListingMode::Auto, Verify::Auto));
    }

    #[test]
    fn defaults_hold_for_every_server_and_each_may_override_every_one() {
        let directory = tempfile::tempdir().unwrap();
        let [general, own] = ["general.pem", "own.pem"].map(|name| directory.path().join(name));
        fs::write(&general, PEM).unwrap();
        fs::write(&own, PEM).unwrap();
        let servers = servers(&format!(
            "[defaults]\nconnections = 2\ntimeout = '1h'\nmin_speed = '1KiB'\ntls = 'explicit'\ntls_ca_file = '{}'\n\
             encoding = 'gbk'\nlisting = 'list'\nverify = 'size'\n\
             [[servers]]\nname = 'a'\nhost = 'h'\n\
             [[servers]]\nname = 'b'\nhost = 'h'\nconnections = 64\ntimeout = '100ms'\ntls = 'implicit'\n\
             min_speed = 0\ntls_ca_file = '{}'\nencoding = 'latin1'\nlisting = 'mlsd'\nverify = 'zip'\n",
            general.display(),
            own.display()
        ));
        let shown = |server: &ServerSettings| {
            let ServerSettings { connections, timeout, min_speed, tls, tls_ca_file, .. } = server.clone();
            let ServerSettings { encoding, listing, verify, .. } = server.clone();
            ((connections, timeout, min_speed, tls, tls_ca_file), (encoding, listing, verify))
        };
        assert_eq!(
            shown(&servers[0]),
            (
                (2, Duration::from_secs(3600), 1024, TlsMode::Explicit, Some(general)),
                (encoding_rs::GBK, ListingMode::List, Verify::Size)
            )
        );
        assert_eq!(
            shown(&servers[1]),
            (
                (64, Duration::from_millis(100), 0, TlsMode::Implicit, Some(own)),
                (encoding_rs::WINDOWS_1252, ListingMode::Mlsd, Verify::Zip)
            )
        );
    }

    #[test]
    fn which_zips_are_wanted_is_inherited_key_by_key_and_faults_are_named() {
        let servers = servers(
            "[defaults]\nsince = '2026-11-01'\nexclude = ['/old/**']\norder = 'newest-first'\n\
             [[servers]]\nname = 'a'\nhost = 'h'\ninclude = ['*.zip']\n\
             [[servers]]\nname = 'b'\nhost = 'h'\nsince = '2026-11-01T08:00:01+08:00'\nexclude = []\n\
             order = 'oldest-first'\n",
        );
        let globs = |pattern: &str| crate::base::globs::Globs::new(&[pattern]).unwrap();
        let since = Some(1_793_491_200);
        let (include, exclude) = (globs("*.zip"), globs("/old/**"));
        let selection = Selection { since, include, exclude, ..Selection::default() };
        assert_eq!((&servers[0].selection, servers[0].order), (&selection, Order::NewestFirst));
        let selection = Selection { since: Some(1_793_491_201), ..Selection::default() };
        assert_eq!((&servers[1].selection, servers[1].order), (&selection, Order::OldestFirst));
        assert_eq!(server("").order, Order::Listed);
        let defaults = "[defaults]\nsince = 'now'\n";
        let toml = format!(
            "{defaults}[[servers]]\nname = 'a'\nhost = 'h'\n[[servers]]\nname = 'b'\nhost = 'h'\nsince = '2026-11-01'\n"
        );
        let servers = load(&toml, &Environment::new()).unwrap().settings.servers;
        let begins = |server: &ServerSettings| (server.selection.from_now, server.selection.since);
        assert_eq!((begins(&servers[0]), begins(&servers[1])), ((true, None), (false, since)));
        let told = faults("since = 'soon'\ninclude = ['[a']\nexclude = [1]\norder = 'random'");
        let named = ["since", "include", "exclude", "order"];
        assert_eq!(told.len(), named.len(), "{told:?}");
        for key in named {
            assert!(
                told.iter().any(|fault| fault.starts_with(&format!("servers[0] (omc01).{key}: "))),
                "{told:?}"
            );
        }
    }

    #[test]
    fn the_port_follows_the_effective_tls() {
        assert_eq!(server("tls = 'implicit'").port, 990);
        assert_eq!(server("tls = 'explicit'").port, 21);
        assert_eq!(server("tls = 'implicit'\nport = 2121").port, 2121);
        let inherited = servers(&format!(
            "[defaults]\ntls = 'implicit'\n{NAMED}[[servers]]\nname='b'\nhost='h'\ntls='off'"
        ));
        assert_eq!((inherited[0].port, inherited[1].port), (990, 21));
        assert_eq!(server("port = 65535").port, 65535);
        for wrong in ["0", "65536", "-1", "'21'", "21.0"] {
            let faults = faults(&format!("port = {wrong}"));
            assert_eq!(faults, ["servers[0] (omc01).port: must be a whole number from 1 to 65535"]);
        }
    }

    #[test]
    fn names_are_unique() {
        let twice = format!("{NAMED}{NAMED}");
        let faults = load(&twice, &Environment::new()).unwrap_err();
        assert_eq!(faults, ["servers[1] (omc01).name: must be unique, and a server before it has the same"]);
        assert_eq!(servers(&twice.replacen("omc01", "OMC01", 1)).len(), 2);
        let faults = load(&format!("[[servers]]\nname = 'omc01'\n{NAMED}"), &Environment::new()).unwrap_err();
        assert_eq!(faults.len(), 2, "a name is taken by a server with faults too: {faults:?}");
    }

    #[test]
    fn hosts_lose_their_brackets() {
        assert_eq!(servers("[[servers]]\nname = 'a'\nhost = '[::1]'\n")[0].host, "::1");
    }

    #[test]
    fn users_cannot_end_a_command() {
        assert_eq!(server("user = 'mro'\npassword = 'x'").user, "mro");
        for wrong in ["\"\"", "\"a\\r\"", "\"a\\nb\"", "\"a\\u0000\"", "5"] {
            let faults = faults(&format!("user = {wrong}"));
            assert!(faults.len() == 1 && faults[0].starts_with("servers[0] (omc01).user: "), "{faults:?}");
        }
    }

    #[test]
    fn directories_within_others_are_dropped() {
        let kept = |list: &str| -> Vec<String> {
            let directories = server(&format!("directories = {list}")).directories;
            directories.iter().map(|path| path.text().to_owned()).collect()
        };
        assert_eq!(kept("['/b', '/a/x', '/a', '/a/', '/ab', '/b/c']"), ["/b", "/a", "/ab"]);
        assert_eq!(kept("['/a', '/']"), ["/"]);
        for wrong in ["[]", "'/a'", "[1]", "['a']", "['/a/../b']", "['/a', '']"] {
            let faults = faults(&format!("directories = {wrong}"));
            assert!(
                faults.len() == 1 && faults[0].starts_with("servers[0] (omc01).directories: "),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn directories_are_encoded_as_the_server_does() {
        let toml = format!("[defaults]\nencoding = 'gbk'\n{NAMED}directories = ['/中']\n");
        assert_eq!(servers(&toml)[0].directories[0].wire(), b"/\xd6\xd0");
        let faults = faults("encoding = 'latin1'\ndirectories = ['/中']");
        assert_eq!(
            faults,
            ["servers[0] (omc01).directories: \"/中\" holds a character that the server's encoding lacks"]
        );
    }

    #[test]
    fn user_and_password_must_be_words_of_the_servers_encoding() {
        for (encoding, fault) in [("latin1", "windows-1252"), ("gbk", "GBK"), ("ascii", "windows-1252")] {
            let secret = "user = 'm\u{1F600}'\npassword = 'geheim\u{1F600}'";
            let faults = faults(&format!("encoding = '{encoding}'\n{secret}"));
            let lacks = format!("holds a character that the server's encoding ({fault}) lacks");
            assert_eq!(
                faults,
                ["user", "password"].map(|key| format!("servers[0] (omc01).{key}: {lacks}")),
                "{encoding}"
            );
        }
        let environment = Environment::from([("PW".into(), "密".into())]);
        let toml = format!("[defaults]\nencoding = 'latin1'\n{NAMED}user = 'é'\npassword_env = 'PW'\n");
        let faults = load(&toml, &environment).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].starts_with("servers[0] (omc01).password_env: "),
            "{faults:?}"
        );
        // SFTP speaks UTF-8 whatever its names are in
        let sftp =
            "protocol = 'sftp'\nencoding = 'latin1'\nuser = '密'\npassword = '密'\ndirectories = ['/d']";
        assert_eq!(server(sftp).user, "密");
    }

    #[test]
    fn a_certificate_file_must_be_readable_where_it_is_used() {
        let general = "[defaults]\ntls_ca_file = '/nonexistent/ca.pem'\n";
        let two = format!("{NAMED}[[servers]]\nname = 'b'\nhost = 'h'\n");
        assert_eq!(servers(&format!("{general}{two}")).len(), 2);
        let used = two.replace("host", "tls = 'explicit'\nhost");
        let faults_of = |toml: &str| load(toml, &Environment::new()).unwrap_err();
        let faults = faults_of(&format!("{general}{used}"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].starts_with("defaults.tls_ca_file: cannot read /nonexistent/ca.pem: "),
            "{faults:?}"
        );
        let faults = faults_of(&format!("{NAMED}tls = 'implicit'\ntls_ca_file = '/'\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("servers[0] (omc01).tls_ca_file: cannot read /: "), "{faults:?}");
    }

    #[test]
    fn a_certificate_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let own = format!("{NAMED}tls = 'explicit'\ntls_ca_file = '{}'\n", path.display());
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        for garbage in
            ["", "\n", "x", "garbage\n".repeat(1000).as_str(), key, PEM.replace("MAA=", "?").as_str()]
        {
            fs::write(&path, garbage).unwrap();
            let faults = load(&own, &Environment::new()).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("servers[0] (omc01).tls_ca_file: "), "{faults:?}");
            assert!(faults[0].contains(&path.display().to_string()), "{faults:?}");
        }
        for good in [format!("Some Authority\n==========\n{key}{PEM}"), format!("\u{feff}{PEM}")] {
            fs::write(&path, good).unwrap();
            assert_eq!(load(&own, &Environment::new()).unwrap().settings.servers.len(), 1);
        }
    }

    #[test]
    fn no_key_turns_the_verification_of_certificates_off() {
        for key in
            ["insecure", "tls_verify", "tls_insecure", "verify_tls", "skip_verify", "no_check_certificate"]
        {
            for value in ["true", "false", "'off'", "0"] {
                let faults = faults(&format!("tls = 'explicit'\n{key} = {value}"));
                assert!(faults.len() == 1 && faults[0].contains("unknown key"), "{faults:?}");
            }
        }
        for word in ["none", "insecure", "no-verify", "Off", "optional", "explicit-insecure", ""] {
            let faults = faults(&format!("tls = '{word}'"));
            assert!(faults.len() == 1 && faults[0].starts_with("servers[0] (omc01).tls: "), "{faults:?}");
        }
    }
}
