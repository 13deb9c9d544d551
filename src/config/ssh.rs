//! Reads what a server that speaks SFTP has to say for itself: who it is, and who we are.
//!
//! Runs on the main thread; reads the key files that the keys name. Nothing here ever shows a secret.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use config::{Value, ValueKind};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, Error, HashAlg, PrivateKey, PublicKey, decode_secret_key};

use super::leaf;
use super::passwords::{Secret, read_secret};
use super::reader::Section;
use super::servers::Surroundings;
use super::sources::{open_to_others, read_text};
use super::{HostKey, LoginKey, SftpSettings};

/// Largest private key file in bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Keys that mean nothing to a server that speaks SFTP. They may stand in `[defaults]`, for the others.
const FOR_FTP: [&str; 3] = ["tls", "tls_ca_file", "listing"];
/// Keys that mean nothing to one that speaks FTP.
const FOR_SFTP: [&str; 7] = [
    "host_key",
    "known_hosts_file",
    "old_algorithms",
    "private_key_file",
    "passphrase",
    "passphrase_file",
    "passphrase_env",
];

/// Refuses the keys of a server that its protocol has no use for.
pub(super) fn refuse_foreign_keys(section: &mut Section, is_sftp: bool) {
    let (foreign, protocol) = if is_sftp { (&FOR_FTP[..], "sftp") } else { (&FOR_SFTP[..], "ftp") };
    for key in foreign {
        if section.discard(key) {
            section.fault(key, &format!("has no meaning with protocol = \"{protocol}\""));
        }
    }
}

/// What `section` says of SSH, completed by `shared`. `password` is whether one is given.
pub(super) fn read_ssh(
    section: &mut Section,
    shared: SftpSettings,
    sends_password: bool,
    around: &mut Surroundings<'_>,
) -> SftpSettings {
    let has_own_file = section.holds("known_hosts_file");
    let host_keys = section.read("host_key", host_keys).unwrap_or_default();
    let known_hosts_file = section.read("known_hosts_file", leaf::path).or(shared.known_hosts_file);
    let old_algorithms = section.read("old_algorithms", leaf::flag).unwrap_or(shared.old_algorithms);
    if let Some(path) = &known_hosts_file
        && let Err(error) = std::fs::File::open(path)
    {
        let fault = format!("cannot read {}: {error}", path.display());
        if has_own_file {
            section.fault("known_hosts_file", &fault);
        } else {
            around.faults.push("defaults.known_hosts_file", &fault);
        }
    }
    let private_key = read_private_key(section, around);
    SftpSettings { host_keys, known_hosts_file, old_algorithms, private_key, sends_password }
}

fn read_private_key(section: &mut Section, around: &mut Surroundings<'_>) -> Option<LoginKey> {
    let given = section.holds("private_key_file");
    let path = section.read("private_key_file", leaf::path);
    let keys = ["passphrase", "passphrase_file", "passphrase_env"];
    let passphrase = match read_secret(section, keys, around.environment, around.warnings) {
        Secret::Given(passphrase) => Some(passphrase),
        Secret::Missing => None,
        Secret::Faulty => return None,
    };
    if passphrase.is_some() && !given {
        section.fault("passphrase", "has no meaning without private_key_file");
    }
    let passphrase = passphrase.as_ref().map(super::Password::reveal);
    match private_key(&path?, passphrase, around.warnings) {
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
        ValueKind::String(_) => vec![leaf::text(value)?],
        _ => leaf::texts(value).map_err(|_| "must be a string, or a list of strings".to_owned())?,
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

    /// Whether a hash has to be chosen for its signatures.
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
