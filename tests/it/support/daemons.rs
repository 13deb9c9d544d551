//! The real FTP daemons of Debian, one process of their own for each test that asks for one.
//!
//! They are unpacked, not installed, by `scripts/test`, which says where in `MROSYNC_TEST_SERVERS`. Without that, or
//! without root, a test that wants a daemon is left out and says so. Nothing outside the daemon's temporary
//! directory is written, except that Pure-FTPd makes `/run/pure-ftpd` for its scoreboard.

mod configuration;

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::certificates::{self, Certificate};
use super::processes;
use super::wait::try_obtain;

/// Where the unpacked daemons are.
const SERVERS: &str = "MROSYNC_TEST_SERVERS";

/// A port that was free a moment ago can be taken by somebody else: so often another one is tried.
const PORTS_TRIED: usize = 5;

/// From starting a daemon to its greeting.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// How long a daemon may take to end in order; then it is killed.
const DOWN_WITHIN: Duration = Duration::from_secs(2);

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// vsftpd 3: no MLSD, EPSV and PASV, closes with 226 after the client. Its only user here is `anonymous`, with
    /// a password: any other would need an account of the system.
    Vsftpd,
    /// ProFTPD 1.3.8. After a session ends it sleeps 400 ms before it accepts the next one.
    Proftpd,
    /// Pure-FTPd 1.0.50: truncates listings, has no implicit TLS.
    PureFtpd,
}

/// How connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Plain FTP; AUTH is refused.
    #[default]
    Off,
    /// AUTH TLS; a plain login and plain data are refused.
    Explicit,
    /// From the first byte.
    Implicit,
}

/// How a daemon is set up. The default is plain FTP without limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Encryption.
    pub tls: Tls,
    /// Data connections must resume the session of the control connection (vsftpd, ProFTPD).
    pub require_session_reuse: bool,
    /// TLS 1.3 is off (ProFTPD).
    pub tls12_only: bool,
    /// The certificate, where there is TLS.
    pub certificate: Certificate,
    /// Most connections at a time; one more is refused: 421 at once, by ProFTPD 530 at the login.
    pub max_clients: Option<u32>,
    /// Pure-FTPd truncates listings after so many entries; 10,000 is its own default.
    pub listing_limit: Option<u32>,
    /// ProFTPD takes `OPTS UTF8 ON`; else it answers 451. Names are the bytes of the disk either way.
    pub utf8: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: Tls::Off,
            require_session_reuse: false,
            tls12_only: false,
            certificate: Certificate::FromAuthority,
            max_clients: None,
            listing_limit: None,
            utf8: true,
        }
    }
}

/// A running daemon; it is killed with all its sessions when it is dropped.
pub struct Daemon {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The directory that clients see as `/`. Files in it must be readable for everybody.
    pub root: PathBuf,
    /// Who may log in.
    pub user: &'static str,
    /// With what.
    pub password: &'static str,
    /// What a client has to trust, in PEM; nothing is there without TLS.
    pub trust: PathBuf,
    child: Child,
    directory: TempDir,
}

/// Where everything of one daemon lies.
struct Place<'a> {
    servers: &'a Path,
    directory: &'a Path,
    port: u16,
}

impl Daemon {
    /// Starts a daemon that serves an empty directory; `None` where the machine has none, which is said.
    ///
    /// Panics where the daemon is there and does not come up, with what it wrote.
    #[track_caller]
    pub fn start(kind: Kind, options: &Options) -> Option<Self> {
        let servers = match available(kind) {
            Ok(servers) => servers,
            Err(why) => {
                println!("left out: {kind:?}: {why} (run scripts/test)");
                return None;
            }
        };
        let mut said = String::new();
        for _ in 0..PORTS_TRIED {
            match Self::try_start(kind, options, &servers) {
                Ok(daemon) => return Some(daemon),
                Err(output) => said = output,
            }
        }
        panic!("{kind:?} does not come up with {options:?}: {said}");
    }

    fn try_start(kind: Kind, options: &Options, servers: &Path) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // the daemons serve as users that are not root, and vsftpd serves the user's home instead of what it
        // cannot enter
        let open = Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("an open directory");
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("the served directory");
        certificates::write(directory.path(), options.certificate);
        let place = Place { servers, directory: directory.path(), port: free_port() };
        let child = place.spawn(configuration::command(kind, options, &place));
        let mut daemon = Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), place.port),
            root,
            user: if kind == Kind::Vsftpd { "anonymous" } else { configuration::USER },
            password: configuration::PASSWORD,
            trust: directory.path().join("trust.pem"),
            child,
            directory,
        };
        if daemon.comes_up(options.tls) { Ok(daemon) } else { Err(daemon.output()) }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What the daemon wrote: its output and its logs.
    pub fn output(&self) -> String {
        let logs = std::fs::read_dir(self.directory.path()).expect("the daemon's directory");
        let logs = logs.flatten().map(|entry| entry.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        logs.map(|path| {
            let bytes = std::fs::read(&path).unwrap_or_default();
            format!("--- {}\n{}", path.display(), String::from_utf8_lossy(&bytes))
        })
        .collect()
    }

    /// Whether it greets before it ends itself or the time is over.
    fn comes_up(&mut self, tls: Tls) -> bool {
        let outcome = try_obtain(UP_WITHIN, || {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Some(false);
            }
            greets(self.addr, tls).then_some(true)
        });
        outcome == Some(true)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // each session is a process, of vsftpd even in a process group of its own, and would outlive the listener;
        // asked first, so that Pure-FTPd tidies its scoreboard
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

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file that only root can read.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a configuration");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private file");
        path
    }

    fn spawn(&self, mut command: Command) -> Child {
        let output = File::create(self.path("output.log")).expect("the output");
        command
            .env("LD_LIBRARY_PATH", self.servers.join("lib"))
            // vsftpd writes what is wrong with its configuration to standard input
            .stdin(output.try_clone().expect("the output"))
            .stdout(output.try_clone().expect("the output"))
            .stderr(output)
            .spawn()
            .expect("the daemon started")
    }
}

/// The directory of the daemons, where this one is there and can be run.
fn available(kind: Kind) -> Result<PathBuf, String> {
    let servers = unpacked(configuration::program(kind))?;
    if !geteuid().is_root() {
        return Err("the daemons start as root only".to_owned());
    }
    Ok(servers)
}

/// The directory of the daemons, where this program is in it.
pub fn unpacked(program: &str) -> Result<PathBuf, String> {
    let Some(servers) = std::env::var_os(SERVERS).map(PathBuf::from) else {
        return Err(format!("{SERVERS} is not set"));
    };
    let program = servers.join(program);
    if program.is_file() { Ok(servers) } else { Err(format!("{} is not there", program.display())) }
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    listener.local_addr().expect("the address of a listener").port()
}

/// Whether somebody greets at `addr`; with implicit TLS, whether somebody listens.
fn greets(addr: SocketAddr, tls: Tls) -> bool {
    let Ok(stream) = TcpStream::connect(addr) else { return false };
    if tls == Tls::Implicit {
        return true;
    }
    stream.set_read_timeout(Some(UP_WITHIN)).expect("a timeout");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|_| line.starts_with("220"))
}
