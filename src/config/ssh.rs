//! Reads what a server that speaks SFTP has to say for itself: who it is, and who we are.
//!
//! Runs on the main thread; reads the key files that the keys name. Nothing here ever shows a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use config::{Value, ValueKind};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, Error, HashAlg, PrivateKey, PublicKey, decode_secret_key};

use super::files::{open_to_others, read_text};
use super::reader::{ReadContext, Section};
use super::secrets::{Secret, read_secret};
use super::values;
use super::{HostKey, LoginKey, SftpSettings};

/// Largest private key file in bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// What a server says of SSH. `sends_password` is whether it has a password.
pub(super) fn read_ssh(
    section: &mut Section<'_>,
    sends_password: bool,
    context: &mut ReadContext<'_>,
) -> Option<SftpSettings> {
    let host_keys = section.read("host_key", host_keys).unwrap_or_default();
    let (known_hosts_file, old_algorithms) = read_shared_ssh(section);
    if let Some(path) = &known_hosts_file
        && let Err(error) = super::files::open(path)
    {
        let fault = format!("cannot read {}: {error}", path.display());
        if section.holds("known_hosts_file") {
            section.fault("known_hosts_file", &fault);
        } else {
            context.faults.push("defaults.known_hosts_file", &fault);
        }
    }
    let private_key = read_private_key(section, context);
    let old_algorithms = old_algorithms?;
    Some(SftpSettings { host_keys, known_hosts_file, old_algorithms, private_key, sends_password })
}

/// `known_hosts_file` and `old_algorithms`, which may stand in `[defaults]` too.
pub(super) fn read_shared_ssh(section: &mut Section<'_>) -> (Option<PathBuf>, Option<bool>) {
    (section.read("known_hosts_file", values::path), section.read("old_algorithms", values::flag))
}

fn read_private_key(section: &mut Section<'_>, context: &mut ReadContext<'_>) -> Option<LoginKey> {
    let given = section.holds("private_key_file");
    let path = section.read("private_key_file", values::path);
    let keys = ["passphrase", "passphrase_file", "passphrase_env"];
    let passphrase = match read_secret(section, keys, context.environment, context.warnings) {
        Secret::Given(passphrase) => Some(passphrase),
        Secret::Missing => None,
        Secret::Faulty => return None,
    };
    if passphrase.is_some() && !given {
        section.fault("passphrase", "has no meaning without private_key_file");
    }
    let passphrase = passphrase.as_ref().map(super::Password::reveal);
    match private_key(&path?, passphrase, context.warnings) {
        Ok(key) => Some(key),
        Err(fault) => {
            section.fault("private_key_file", &fault);
            None
        }
    }
}

fn private_key(
    path: &Path,
    passphrase: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<LoginKey, String> {
    let shown = path.display();
    let (text, metadata) =
        read_text(path, MAX_KEY_BYTES).map_err(|error| format!("cannot read {shown}: {error}"))?;
    for warning in open_to_others(path, &metadata) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    match decode_secret_key(&text, passphrase) {
        Ok(key) => Ok(LoginKey(Arc::new(key))),
        Err(Error::KeyIsEncrypted) => {
            Err(format!("{shown} is encrypted; give passphrase, passphrase_file or passphrase_env"))
        }
        Err(_) if passphrase.is_some() => {
            Err(format!("{shown} holds no private key that this passphrase opens"))
        }
        Err(_) => {
            Err(format!("{shown} holds no private key in a format that is known (OpenSSH, PEM, PuTTY)"))
        }
    }
}

/// One fingerprint or public key, or a list of them.
fn host_keys(value: &Value) -> Result<Vec<HostKey>, String> {
    let texts = match value.kind {
        ValueKind::String(_) => vec![values::text(value)?],
        _ => values::texts(value).map_err(|_| "must be a string, or a list of strings".to_owned())?,
    };
    texts.into_iter().map(host_key).collect()
}

fn host_key(text: &str) -> Result<HostKey, String> {
    let wrong =
        || "must be \"SHA256:…\" as check and ssh-keygen -l show it, or a public key (\"ssh-ed25519 AAAA…\")";
    if let Ok(fingerprint @ Fingerprint::Sha256(_)) = Fingerprint::from_str(text) {
        return Ok(HostKey { fingerprint, kind: None });
    }
    let key = PublicKey::from_openssh(text).map_err(|_| wrong())?;
    Ok(HostKey { fingerprint: key.fingerprint(HashAlg::Sha256), kind: Some(key.algorithm()) })
}

impl LoginKey {
    /// The key itself, for the login only.
    #[must_use]
    pub fn reveal(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0)
    }

    /// Returns whether a hash has to be chosen for its signatures.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        matches!(self.0.algorithm(), Algorithm::Rsa { .. })
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{SERVER, faults, load, load_with};
    use crate::config::{Protocol, ServerSettings};
    use std::fs;

    const WHOLE: &str = "protocol = 'sftp'\nuser = 'mro'\npassword = 'x'\ndirectories = ['/mr']\n";
    const FINGERPRINT: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const PUBLIC: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti foo@bar.com";

    fn server(toml: &str) -> (ServerSettings, SftpSettings) {
        let server = load(toml).unwrap().remove(0);
        let Protocol::Sftp(sftp) = server.protocol.clone() else { panic!("{server:?}") };
        (server, *sftp)
    }

    /// interface 5.13
    #[test]
    fn sftp_has_its_port_and_asks_for_user_directories_and_something_to_log_in_with() {
        let (server, sftp) = server(&format!("{SERVER}{WHOLE}"));
        assert_eq!((server.port, server.password.reveal(), sftp.sends_password), (22, "x", true));
        assert_eq!((sftp.host_keys, sftp.old_algorithms, sftp.private_key.is_some()), (vec![], false, false));
        let faults = faults("protocol = 'sftp'\n");
        let keys: Vec<_> = faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
        assert_eq!(keys, ["user", "password", "directories"].map(|key| format!("servers[0] (omc01).{key}")));
        assert!(load_with(&format!("{SERVER}{WHOLE}"), &Default::default()).unwrap().warnings.is_empty());
    }

    /// interface 5.12
    #[test]
    fn keys_of_the_other_protocol_are_refused_on_the_server_itself_and_named() {
        let fault = |key: &str, protocol: &str| {
            vec![format!("servers[0] (omc01).{key}: has no meaning with protocol = \"{protocol}\"")]
        };
        for key in [
            "tls = 'explicit'",
            "tls_ca_file = '/x'",
            "listing = 'mlsd'",
            "mode = 'active'",
            "active_ports = '50000-50100'",
            "active_address = '203.0.113.7'",
            "passive = 'epsv'",
            "tls_min = '1.2'",
            "tls_max = '1.3'",
        ] {
            let name = key.split(' ').next().unwrap();
            assert_eq!(faults(&format!("{WHOLE}{key}\n")), fault(name, "sftp"));
        }
        for key in
            ["host_key = 'x'", "known_hosts_file = 'x'", "old_algorithms = true", "private_key_file = 'x'"]
        {
            let name = key.split(' ').next().unwrap();
            assert_eq!(faults(&format!("{key}\n")), fault(name, "ftp"));
        }
    }

    /// interface 5.12
    #[test]
    fn defaults_hold_for_servers_of_their_protocol() {
        let defaults = "[defaults]\nprotocol = 'sftp'\ntls = 'explicit'\ntls_ca_file = '/nonexistent'\n\
                        old_algorithms = true\n";
        let (_, sftp) = server(&format!("{defaults}{SERVER}{}", WHOLE.replace("protocol = 'sftp'\n", "")));
        assert!(sftp.old_algorithms);
        let own = "protocol = 'ftp'\ntls = 'off'\n";
        let servers = load(&format!("{defaults}{SERVER}{own}")).unwrap();
        assert!(matches!(servers[0].protocol, Protocol::Ftp));
        assert_eq!(servers[0].port, 21);
    }

    /// interface 5.12
    #[test]
    fn what_the_defaults_say_of_data_connections_and_tls_is_for_ftp_alone() {
        let for_both = "max_rate = '1MB/s'\nwindows = ['22:00-06:00']\n";
        let for_ftp = "mode = 'active'\nactive_ports = '50000-50100'\nactive_address = '203.0.113.7'\n\
                       passive = 'epsv'\ntls = 'explicit'\ntls_max = '1.2'\nlisting = 'mlsd'\n";
        let own = "proxy = 'socks5://p'\n";
        let (plain, _) = server(&format!("[defaults]\n{for_both}{SERVER}{WHOLE}{own}"));
        let (server, _) = server(&format!("[defaults]\n{for_both}{for_ftp}{SERVER}{WHOLE}{own}"));
        assert_eq!(server, plain);
        assert_eq!(server.network.max_rate, Some(1_000_000));
        let words = server.network.describe(server.tls);
        assert_eq!(words, ["through the proxy p:1080", "at most 1.0 MB a second"]);
    }

    /// interface 5.9
    #[test]
    fn host_keys_are_fingerprints_or_public_keys_one_or_several() {
        let keys = |value: &str| server(&format!("{SERVER}{WHOLE}host_key = {value}\n")).1.host_keys;
        assert_eq!(keys(&format!("'{FINGERPRINT}'"))[0].fingerprint.to_string(), FINGERPRINT);
        let both = keys(&format!("['{FINGERPRINT}', '{PUBLIC}']"));
        let kinds: Vec<_> = both.into_iter().map(|key| key.kind).collect();
        assert_eq!(kinds, [None, Some(Algorithm::Ed25519)]);
        for wrong in ["'SHA256:x'", "''", "'MD5:00:11'", "[]", "5", "['ssh-ed25519 AAAA']"] {
            let faults = faults(&format!("{WHOLE}host_key = {wrong}\n"));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("servers[0] (omc01).host_key: must be "), "{faults:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_faults_before_anything_is_started() {
        let file = "known_hosts_file = '/nonexistent/known'\n";
        let found = faults(&format!("{WHOLE}{file}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("servers[0] (omc01).known_hosts_file: cannot read /nonexistent/known: ")
        );
        let found = load(&format!("[defaults]\n{file}{SERVER}{WHOLE}")).unwrap_err();
        assert!(found.len() == 1 && found[0].starts_with("defaults.known_hosts_file: "), "{found:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "geheim").unwrap();
        for (path, fault) in
            [("/nonexistent", "cannot read"), (path.to_str().unwrap(), "holds no private key")]
        {
            let found = faults(&format!("{WHOLE}private_key_file = '{path}'\n"));
            assert!(found.len() == 1 && found[0].contains(fault), "{found:?}");
            assert!(!found[0].contains("geheim"), "{found:?}");
        }
        let found = faults(&format!("{WHOLE}passphrase = 'geheim'\n"));
        assert_eq!(found, ["servers[0] (omc01).passphrase: has no meaning without private_key_file"]);
    }
}
