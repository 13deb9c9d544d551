//! What a file of known hosts says of one server. Read for each login, so that a key that is added to it is known at
//! once.

use std::io;
use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::known_hosts::known_host_keys_path;

use super::SftpSettings;
use super::files::BOM;

/// Largest file of known hosts that is read, in bytes: far more than the hosts of a site.
const MAX_KNOWN_HOSTS: u64 = 4 << 20;

/// The keys that such a file knows for a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownKeys {
    /// Of this host and port.
    pub known: Vec<PublicKey>,
    /// Marked `@revoked`, for whatever host.
    pub revoked: Vec<PublicKey>,
}

impl SftpSettings {
    /// What `known_hosts_file` says of this host and port; nothing where there is none.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn known_keys(&self, host: &str, port: u16) -> io::Result<KnownKeys> {
        let Some(path) = &self.known_hosts_file else { return Ok(KnownKeys::default()) };
        let revoked = revoked_keys(path)?;
        let found = known_host_keys_path(host, port, path).map_err(|error| match error {
            russh::keys::Error::IO(error) => error,
            error => io::Error::other(error),
        })?;
        Ok(KnownKeys { known: found.into_iter().map(|(_, key)| key).collect(), revoked })
    }
}

/// The keys that are marked `@revoked`: none of them is worth a look at the pattern. Lines of authorities vouch for
/// nobody here.
fn revoked_keys(path: &Path) -> io::Result<Vec<PublicKey>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_KNOWN_HOSTS {
        return Err(io::Error::other(format!("it has {size} bytes, more than {MAX_KNOWN_HOSTS}")));
    }
    let content = std::fs::read(path)?;
    if content.starts_with(BOM) {
        // it would hide the first line, which may be one of a revoked key
        return Err(io::Error::other("it begins with a byte order mark (BOM); save it as UTF-8 without one"));
    }
    let text = String::from_utf8_lossy(&content).into_owned();
    let revoked = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_revoked = words.next() == Some("@revoked");
        let key: Vec<&str> = words.skip(1).take(2).collect();
        is_revoked.then(|| PublicKey::from_openssh(&key.join(" ")).ok()).flatten()
    });
    Ok(revoked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// interface 5.15
    #[test]
    fn a_byte_order_mark_that_would_hide_a_revoked_key_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, "\u{feff}@revoked * ssh-ed25519 AAAA\n").unwrap();
        let settings = SftpSettings { known_hosts_file: Some(path), ..SftpSettings::default() };
        let fault = settings.known_keys("h", 22).unwrap_err().to_string();
        assert!(fault.contains("byte order mark"), "{fault}");
    }
}
