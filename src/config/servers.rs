//! Reads `[defaults]` and `[[servers]]`: every server completed by the defaults.
//!
//! Runs on the main thread; leaves certificates, passwords and keys to `certificates`, `secrets` and `ssh`.

use std::collections::HashSet;

use config::{Value, ValueKind};
use encoding_rs::Encoding;

use super::certificates::check_ca_file;
use super::keys::ProtocolName;
use super::reader::{ConfigFaults, Inherited, ReadContext, Section, Table};
use super::secrets::{PASSWORD_KEYS, read_password};
use super::ssh::{read_shared_ssh, read_ssh};
use super::{NetworkSettings, Password, Protocol, Selection, ServerSettings, TlsMode, values};
use crate::base::names::{RemotePath, ServerName};

/// FTP's control port (RFC 959 section 8).
const FTP_PORT: u16 = 21;
/// Control port of FTP over implicit TLS (the IANA registry's `ftps`).
const FTPS_PORT: u16 = 990;
/// SSH's port (RFC 4253 section 4.2).
const SSH_PORT: u16 = 22;

/// What a server alone says.
struct Own {
    name: ServerName,
    host: String,
    protocol: Protocol,
    port: u16,
    user: String,
    password: Password,
    directories: Vec<RemotePath>,
}

/// Reads `[defaults]`: for its faults, and for what servers inherit.
pub(super) fn read_defaults(mut section: Section<'_>, faults: &mut ConfigFaults) -> Inherited {
    section.read("protocol", values::word::<ProtocolName>);
    read_shared(&mut section, None);
    read_shared_ssh(&mut section);
    section.finish(faults)
}

/// Reads every server of the list; those with a fault are left out.
pub(super) fn read_servers(
    list: Vec<Value>,
    defaults: &Inherited,
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
        let mut section = Section::of_server(label(index, name.as_ref()), table, defaults);
        let own = read_own(&mut section, context);
        servers.extend(read_shared(&mut section, own));
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

fn read_own(section: &mut Section<'_>, context: &mut ReadContext<'_>) -> Option<Own> {
    let name = section.read("name", |value| Ok(ServerName::configured(values::text(value)?)?));
    let host = section.read("host", values::host);
    let protocol = section.read("protocol", values::word)?;
    section.speak(protocol);
    let is_sftp = protocol == ProtocolName::Sftp;
    check_ca_file(section, context.faults);
    let port = section.whole("port").or_else(|| usual_port(section, protocol));
    if is_sftp {
        refuse_missing_keys(section);
    }
    let password_key = PASSWORD_KEYS.into_iter().find(|key| section.holds(key));
    let user = section.read("user", user);
    let encoding = section.read("encoding", values::encoding)?;
    // without a password SFTP has a key, and nothing is sent
    let asked_for = user.as_deref().filter(|_| !is_sftp);
    let password = read_password(section, asked_for, context.environment, context.warnings);
    if !is_sftp {
        refuse_unspeakable(section, encoding, ("user", user.as_deref().unwrap_or_default()));
        refuse_unspeakable(section, encoding, (password_key.unwrap_or("password"), password.reveal()));
    }
    let directories = section.read("directories", |value| directories(value, encoding));
    let protocol = match protocol {
        ProtocolName::Sftp => {
            read_ssh(section, password_key.is_some(), context).map(|ssh| Protocol::Sftp(Box::new(ssh)))
        }
        ProtocolName::Ftp => Some(Protocol::Ftp),
    };
    Some(Own {
        name: name?,
        host: host?,
        protocol: protocol?,
        port: port?,
        user: user?,
        password,
        directories: directories?,
    })
}

/// Reads what may stand in `[defaults]` as well; a server where `own` is given.
fn read_shared(section: &mut Section<'_>, own: Option<Own>) -> Option<ServerSettings> {
    let connections = section.whole("connections");
    let timeout = section.duration("timeout");
    let min_speed = section.read("min_speed", values::bytes_or_none);
    let tls = section.read("tls", values::word);
    let tls_ca_file = section.read("tls_ca_file", values::path);
    let encoding = section.read("encoding", values::encoding);
    let listing = section.read("listing", values::word);
    let verify = section.read("verify", values::word);
    let network = NetworkSettings::read(section);
    let selection = Selection::read(section);
    let order = section.read("order", values::word);
    let Own { name, host, protocol, port, user, password, directories } = own?;
    Some(ServerSettings {
        name,
        host,
        protocol,
        port,
        user,
        password,
        directories,
        connections: usize::from(connections?),
        timeout: timeout?,
        min_speed: min_speed?,
        tls: tls?,
        tls_ca_file,
        encoding: encoding?,
        listing: listing?,
        verify: verify?,
        network: network?,
        selection: selection?,
        order: order?,
    })
}

fn usual_port(section: &mut Section<'_>, protocol: ProtocolName) -> Option<u16> {
    let tls = section.read("tls", values::word)?;
    Some(match (protocol, tls) {
        (ProtocolName::Sftp, _) => SSH_PORT,
        (ProtocolName::Ftp, TlsMode::Implicit) => FTPS_PORT,
        (ProtocolName::Ftp, TlsMode::Off | TlsMode::Explicit) => FTP_PORT,
    })
}

/// SFTP has no anonymous user, and a server's `/` is often the whole machine.
fn refuse_missing_keys(section: &mut Section<'_>) {
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
fn refuse_unspeakable(section: &mut Section<'_>, encoding: &'static Encoding, (key, text): (&str, &str)) {
    let (.., lacks_some) = encoding.encode(text);
    if lacks_some {
        let name = encoding.name();
        section.fault(key, &format!("holds a character that the server's encoding ({name}) lacks"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Environment;
    use crate::config::fixtures::{SERVER, faults, load, load_with, server};
    use crate::config::{ListingMode, Order, Verify};
    use std::fs;
    use std::time::Duration;

    /// The shape of a certificate; what is in it is read when TLS begins.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    fn servers(toml: &str) -> Vec<ServerSettings> {
        load(toml).unwrap()
    }

    #[test]
    fn a_server_needs_name_and_host_alone() {
        let server = server("");
        assert_eq!((server.name.as_str(), server.host.as_str(), server.port), ("omc01", "h", 21));
        assert_eq!((server.user.as_str(), server.password.reveal()), ("anonymous", "mrosync@"));
        assert_eq!(server.directories, [RemotePath::root()]);
        assert_eq!((server.connections, server.timeout), (4, Duration::from_secs(30)));
        assert_eq!(server.min_speed, 100);
        assert_eq!(
            (server.tls, server.tls_ca_file, server.encoding),
            (TlsMode::Off, None, encoding_rs::UTF_8)
        );
        assert_eq!((server.listing, server.verify), (ListingMode::Auto, Verify::Auto));
    }

    /// interface 5.8
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

    /// interface 5.11
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
        let servers = load(&toml).unwrap();
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

    /// interface 5.9
    #[test]
    fn the_port_follows_the_effective_tls() {
        assert_eq!(server("tls = 'implicit'").port, 990);
        assert_eq!(server("tls = 'explicit'").port, 21);
        assert_eq!(server("tls = 'implicit'\nport = 2121").port, 2121);
        let inherited = servers(&format!(
            "[defaults]\ntls = 'implicit'\n{SERVER}[[servers]]\nname='b'\nhost='h'\ntls='off'"
        ));
        assert_eq!((inherited[0].port, inherited[1].port), (990, 21));
        assert_eq!(server("port = 65535").port, 65535);
        for wrong in ["0", "65536", "-1", "'21'", "21.0"] {
            let faults = faults(&format!("port = {wrong}"));
            assert_eq!(faults, ["servers[0] (omc01).port: must be a whole number from 1 to 65535"]);
        }
    }

    /// interface 5.9
    #[test]
    fn names_are_unique() {
        let twice = format!("{SERVER}{SERVER}");
        let faults = load(&twice).unwrap_err();
        assert_eq!(faults, ["servers[1] (omc01).name: must be unique, and a server before it has the same"]);
        assert_eq!(servers(&twice.replacen("omc01", "OMC01", 1)).len(), 2);
        let faults = load(&format!("[[servers]]\nname = 'omc01'\n{SERVER}")).unwrap_err();
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
        let toml = format!("[defaults]\nencoding = 'gbk'\n{SERVER}directories = ['/中']\n");
        assert_eq!(servers(&toml)[0].directories[0].wire(), b"/\xd6\xd0");
        let faults = faults("encoding = 'latin1'\ndirectories = ['/中']");
        assert_eq!(
            faults,
            ["servers[0] (omc01).directories: \"/中\" holds a character that the server's encoding lacks"]
        );
    }

    /// interface 5.14
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
        let toml = format!("[defaults]\nencoding = 'latin1'\n{SERVER}user = 'é'\npassword_env = 'PW'\n");
        let faults = load_with(&toml, &environment).unwrap_err();
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
