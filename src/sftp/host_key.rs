//! Whom to trust: a server's key is compared with what the operator pinned, and never taken unseen.

use std::path::Path;

use russh::AlgorithmKind;
use russh::client::{DisconnectReason, Handler};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::error::{SftpError, lost, shown};
use super::server_messages::ServerMessages;
use crate::config::{HostKey, KnownKeys, SftpSettings};
use crate::net::error::NetError;

/// The disconnect_reason of a server that takes nothing of what it was offered.
pub(super) const NO_WAY_LEFT: &str = "the server takes nothing else either";

/// Watches over one connection: which key the server shows, and what it says when it leaves.
pub struct HostKeyVerifier {
    trust: Trust,
    messages: ServerMessages,
}

/// The keys that are taken of one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    /// How faults call the server: as the operator would write it into a file of known hosts.
    host: String,
    pinned: Vec<HostKey>,
    known: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl Trust {
    /// What the settings name. The file of known hosts is read for each login, so that a key that is added to it is
    /// known at once.
    pub(super) fn load(settings: &SftpSettings, host: &str, port: u16) -> Result<Self, SftpError> {
        let (pinned, shown) = (settings.host_keys.clone(), known_hosts_name(host, port));
        let KnownKeys { known, revoked } = settings.known_keys(host, port).map_err(|error| {
            let path = settings.known_hosts_file.as_deref().unwrap_or(Path::new("")).display();
            SftpError::HostKey(format!("cannot read known_hosts_file {path}: {error}"))
        })?;
        Ok(Self { host: shown, pinned, known, revoked })
    }

    /// The kinds of the keys that are known, which a server with several is asked for.
    pub(super) fn kinds(&self) -> Vec<Algorithm> {
        let pinned = self.pinned.iter().filter_map(|key| key.kind.clone());
        pinned.chain(self.known.iter().map(PublicKey::algorithm)).collect()
    }

    /// # Errors
    ///
    /// Why the key is not taken, and what to write where it is the server's all the same.
    pub(super) fn check(&self, key: &PublicKey) -> Result<(), String> {
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let shown = format!("{} {fingerprint}", key.algorithm());
        let host = &self.host;
        if self.revoked.iter().any(|revoked| revoked.key_data() == key.key_data()) {
            return Err(format!("the host key of {host} is {shown}, which known_hosts_file revokes"));
        }
        let pinned = self.pinned.iter().any(|pinned| pinned.fingerprint == fingerprint);
        if pinned || self.known.iter().any(|known| known.key_data() == key.key_data()) {
            return Ok(());
        }
        let hint = format!("where that is right, write host_key = \"{fingerprint}\"");
        Err(if self.pinned.is_empty() && self.known.is_empty() {
            format!("unknown host key: {host} shows {shown}; {hint}")
        } else {
            format!(
                "wrong host key: {host} shows {shown}, and another one is configured: its key was changed, or somebody is in between; {hint}"
            )
        })
    }
}

fn known_hosts_name(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

impl HostKeyVerifier {
    pub(super) fn new(trust: Trust, messages: &ServerMessages) -> Self {
        Self { trust, messages: messages.clone() }
    }
}

/// What ends a connection, on russh's side.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The key is not taken.
    #[error("{0}")]
    HostKey(String),
    /// Everything else.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

impl Broken {
    /// With what the server `said` when it left.
    pub(super) fn into_error(self, step: &'static str, said: Option<String>) -> SftpError {
        match self {
            Self::HostKey(text) => SftpError::HostKey(text),
            // what was said is why it is not read on
            Self::Ssh(russh::Error::IO(cause)) if cause.kind() == std::io::ErrorKind::InvalidData => {
                lost(step, said)
            }
            Self::Ssh(russh::Error::IO(cause)) => NetError::Lost { step, cause }.into(),
            Self::Ssh(russh::Error::Disconnect | russh::Error::HUP) => lost(step, said),
            Self::Ssh(russh::Error::NoCommonAlgo { kind, theirs, .. }) => {
                SftpError::Ssh { step, text: nothing_in_common(&kind, &theirs) }
            }
            Self::Ssh(error) => SftpError::Ssh { step, text: shown(error.to_string().as_bytes()) },
        }
    }
}

/// What the server has, without the markers that stand among key exchanges.
fn nothing_in_common(kind: &AlgorithmKind, theirs: &[String]) -> String {
    let kind = match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    };
    let is_marker = |name: &str| name.starts_with("kex-strict-") || name.starts_with("ext-info-");
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).filter(|name| !is_marker(name)).collect();
    let theirs = shown(theirs.join(", ").as_bytes());
    format!("no {kind} algorithm in common; the server has {theirs}; old_algorithms = true allows more")
}

impl Handler for HostKeyVerifier {
    type Error = Broken;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        self.trust.check(&shown.public_key()).map_err(Broken::HostKey)?;
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let said = match reason {
            DisconnectReason::ReceivedDisconnect(said) => shown(said.message.as_bytes()),
            DisconnectReason::Error(Broken::Ssh(russh::Error::Disconnect | russh::Error::HUP)) => {
                return Ok(());
            }
            // russh ends a connection whose server refuses without naming another way
            DisconnectReason::Error(Broken::Ssh(russh::Error::NoAuthMethod)) => NO_WAY_LEFT.to_owned(),
            DisconnectReason::Error(error) => shown(error.to_string().as_bytes()),
        };
        self.messages.leaves(said);
        Ok(())
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut russh::client::Session,
    ) -> Result<(), Broken> {
        self.messages.banner(banner);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FIRST: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const SECOND: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn trust(lines: &str, port: u16) -> Result<Trust, SftpError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        fs::write(&path, lines).unwrap();
        let settings = SftpSettings { known_hosts_file: Some(path), ..SftpSettings::default() };
        Trust::load(&settings, "omc01", port)
    }

    #[test]
    fn a_key_is_known_for_its_host_and_port_alone() {
        let lines = format!("omc01 {FIRST}\n[omc01]:2222,other {SECOND}\n");
        let (usual, own) = (trust(&lines, 22).unwrap(), trust(&lines, 2222).unwrap());
        assert!(usual.check(&key(FIRST)).is_ok() && own.check(&key(SECOND)).is_ok());
        assert!(
            usual
                .check(&key(SECOND))
                .unwrap_err()
                .starts_with("wrong host key: omc01 shows ssh-ed25519 SHA256:")
        );
        assert!(own.check(&key(FIRST)).unwrap_err().starts_with("wrong host key: [omc01]:2222 shows "));
        let stranger = trust(&format!("other {FIRST}\n"), 22).unwrap();
        assert!(stranger.check(&key(FIRST)).unwrap_err().starts_with("unknown host key: "));
        assert_eq!(usual.kinds(), [Algorithm::Ed25519]);
    }

    #[test]
    fn what_is_revoked_is_refused_even_where_it_is_known_and_authorities_vouch_for_nobody() {
        let lines = format!("omc01 {FIRST}\n@revoked * {FIRST}\n@cert-authority * {SECOND}\n");
        let trust = trust(&lines, 22).unwrap();
        assert!(trust.check(&key(FIRST)).unwrap_err().ends_with("which known_hosts_file revokes"));
        assert!(trust.check(&key(SECOND)).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in() {
        let settings =
            SftpSettings { known_hosts_file: Some("/nonexistent/known".into()), ..SftpSettings::default() };
        let error = Trust::load(&settings, "omc01", 22).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read known_hosts_file /nonexistent/known: "),
            "{error}"
        );
    }
}
