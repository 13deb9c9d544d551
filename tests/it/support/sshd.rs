//! OpenSSH's daemon, one process of its own for each test that asks for one, unpacked by `scripts/test` as the FTP
//! daemons are. It runs as a user without rights, who is also the one who may log in, with a key.

use std::fs::{File, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::daemons::{free_port, unpacked};
use super::processes;
use super::service::Server;
use super::wait::try_obtain;

/// From starting the daemon to its greeting, and from asking it to end to its end.
const UP_WITHIN: Duration = Duration::from_secs(10);
const DOWN_WITHIN: Duration = Duration::from_secs(2);

/// A port that was free a moment ago can be taken by somebody else: so often another one is tried.
const PORTS_TRIED: usize = 5;

/// Where the program lies below the unpacked daemons.
const PROGRAM: &str = "sshd/usr/sbin/sshd";

/// `nobody`, as every Debian numbers it.
const NOBODY: u32 = 65534;

/// A running daemon; it is killed with all its sessions when it is dropped.
pub struct Sshd {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The directory that is served. Clients see the whole machine, and this in it by the same path.
    pub root: PathBuf,
    /// Who may log in.
    pub user: String,
    /// With which private key, unencrypted.
    pub key: PathBuf,
    /// The fingerprint of the daemon's own key.
    pub fingerprint: String,
    /// That key as it stands in a file of known hosts.
    pub public_key: String,
    child: Child,
    directory: TempDir,
}

impl Sshd {
    /// Starts a daemon that serves an empty directory; `None` where the machine has none, which is said. `lines` are
    /// added to its configuration, before all others.
    #[track_caller]
    pub fn start_with(lines: &str) -> Option<Self> {
        let servers = match unpacked(PROGRAM) {
            Ok(servers) => servers,
            Err(why) => {
                println!("left out: sshd: {why} (run scripts/test)");
                return None;
            }
        };
        let mut said = String::new();
        for _ in 0..PORTS_TRIED {
            match Self::try_start(&servers, lines) {
                Ok(daemon) => return Some(daemon),
                Err(output) => said = output,
            }
        }
        panic!("sshd does not come up: {said}");
    }

    /// The same without further lines.
    #[track_caller]
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    fn try_start(servers: &Path, lines: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("an open directory");
        std::fs::create_dir(at("root")).expect("the served directory");
        let host_key = write_key(&at("host_key"), &Algorithm::Ed25519);
        let login_key = write_key(&at("login_key"), &Algorithm::Ed25519);
        let public = login_key.public_key().to_openssh().expect("a public key");
        std::fs::write(at("authorized_keys"), public).expect("the keys that may log in");
        let port = free_port();
        let helpers = servers.join("sshd/usr/lib/openssh");
        // OpenSSH from 9.8 on is made of several programs, and looks away from those who failed to log in
        let newer = if helpers.join("sshd-session").is_file() {
            format!("PerSourcePenalties no\nSshdSessionPath {}\n", helpers.join("sshd-session").display())
        } else {
            String::new()
        };
        let auth = helpers.join("sshd-auth");
        let newest =
            if auth.is_file() { format!("SshdAuthPath {}\n", auth.display()) } else { String::new() };
        let configuration = format!(
            "{lines}
{newer}{newest}ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
PidFile none
# without it, sshd takes an account for locked whose shadow entry it cannot read
UsePAM yes
StrictModes no
AuthorizedKeysFile {keys}
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
MaxStartups 200
LogLevel VERBOSE
",
            host_key = at("host_key").display(),
            keys = at("authorized_keys").display(),
        );
        std::fs::write(at("sshd_config"), configuration).expect("a configuration");
        let output = File::create(at("output.log")).expect("the output");
        let mut command = Command::new(servers.join(PROGRAM));
        command.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
        command.env("LD_LIBRARY_PATH", servers.join("lib"));
        command.stdout(output.try_clone().expect("the output")).stderr(output);
        if geteuid().is_root() {
            rustix::fs::chown(at("host_key"), rustix::fs::Uid::from_raw(NOBODY).into(), None)
                .expect("the daemon's key");
            command.uid(NOBODY);
        }
        let child = command.spawn().expect("the daemon started");
        let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let public_key = host_key.public_key().to_openssh().expect("a public key");
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let (root, key) = (at("root"), at("login_key"));
        let mut daemon = Self { addr, root, user: user(), key, fingerprint, public_key, child, directory };
        let up = try_obtain(UP_WITHIN, || {
            let ended = daemon.child.try_wait().is_ok_and(|status| status.is_some());
            (ended || TcpStream::connect(addr).is_ok()).then_some(!ended)
        });
        if up == Some(true) { Ok(daemon) } else { Err(daemon.output()) }
    }

    /// An entry of `[[servers]]` that logs in with the key, trusts the daemon's, and mirrors what is served.
    pub fn server(&self, name: &str) -> Server {
        Server::at(name, self.addr)
            .without("password")
            .key("protocol", "'sftp'")
            .key("user", &format!("'{}'", self.user))
            .key("private_key_file", &format!("'{}'", self.key.display()))
            .key("host_key", &format!("'{}'", self.fingerprint))
            .key("directories", &format!("['{}']", self.root.display()))
    }

    /// The path in the mirror of what is served as `path`.
    pub fn mirrored(&self, name: &str, path: &str) -> String {
        format!("{name}{}/{path}", self.root.display())
    }

    /// What the daemon wrote.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("output.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Breaks all connections; the daemon goes on.
    pub fn end_sessions(&self) {
        processes::end(&processes::descendants(self.child.id()), Signal::KILL);
    }

    /// Puts a passphrase on the key that may log in.
    pub fn encrypt_key(&self, passphrase: &str) {
        let text = std::fs::read_to_string(&self.key).expect("the key");
        let key = PrivateKey::from_openssh(text).expect("the key");
        let locked = key.encrypt(&mut russh::keys::key::safe_rng(), passphrase).expect("an encrypted key");
        let text = locked.to_openssh(LineEnding::LF).expect("a private key");
        std::fs::write(&self.key, text.as_bytes()).expect("the key file");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let mut family = processes::descendants(self.child.id());
        family.push(self.child.id());
        processes::end(&family, Signal::TERM);
        let over = || family.iter().all(|pid| processes::is_over(*pid)).then_some(());
        if try_obtain(DOWN_WITHIN, over).is_none() {
            processes::end(&family, Signal::KILL);
        }
        self.child.wait().ok();
    }
}

/// Makes a key and writes it where only its owner can read it.
pub fn write_key(path: &Path, algorithm: &Algorithm) -> PrivateKey {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm.clone()).expect("a new key");
    let text = key.to_openssh(LineEnding::LF).expect("a private key");
    std::fs::write(path, text.as_bytes()).expect("the key file");
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a private file");
    key
}

/// The name of the user that the daemon runs as.
fn user() -> String {
    let uid = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
    let users = std::fs::read_to_string("/etc/passwd").expect("the users of this machine");
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.get(2) == Some(&uid.to_string().as_str()));
    found.expect("the user of this test")[0].to_owned()
}
