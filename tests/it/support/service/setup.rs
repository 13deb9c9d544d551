//! What a service is started with: its directory, its configuration and its environment.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{PROGRAM, Service};
use crate::support::daemons::{Daemon, Tls};
use crate::support::postgres;
use crate::support::scripted::ScriptedServer;
use crate::support::unftp::Unftp;

/// `sync.root`, below the service's directory.
pub const ROOT: &str = "sync";

/// `records.path`, below the service's directory.
pub const RECORDS: &str = "records.db";

/// How a service is to be started.
pub struct Setup {
    pub(super) directory: TempDir,
    pub(super) configurations: Vec<PathBuf>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) arguments: Vec<String>,
}

/// One entry of `[[servers]]`.
#[derive(Debug, Clone)]
pub struct Server {
    keys: BTreeMap<String, String>,
}

impl Setup {
    /// A service with an empty mirror, a scan every 200 ms, no disk limit that could be reached, and a notify host
    /// where nobody listens.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let records = format!("path = '{}'", directory.path().join(RECORDS).display());
        Self::with_records(directory, &records)
    }

    /// As [`new`](Self::new), with records in PostgreSQL.
    pub fn in_postgres(url: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::with_records(directory, &format!("url = '{url}'\npassword_env = 'RECORDS_PASSWORD'"))
            .env("RECORDS_PASSWORD", postgres::PASSWORD)
    }

    fn with_records(directory: TempDir, records: &str) -> Self {
        let at = |name: &str| directory.path().join(name).display().to_string();
        // 1 is a privileged port that nobody serves: a call is refused at once and tried again later
        let base = format!(
            "[sync]
root = '{root}'
interval = '200ms'

[quota]
max_used_percent = 100

[notify]
url = 'http://127.0.0.1:1/dls.php'

[records]
{records}

[control]
socket = '{socket}'

[log]
level = 'debug'

",
            root = at(ROOT),
            socket = at("control.sock"),
        );
        let mut setup =
            Self { directory, configurations: Vec::new(), environment: Vec::new(), arguments: Vec::new() };
        std::fs::create_dir(setup.directory.path().join(ROOT)).expect("the mirror's root");
        setup.add(&base);
        setup
    }

    /// Adds a server.
    pub fn server(self, server: Server) -> Self {
        let path = self.configurations.first().expect("the first configuration");
        let mut file = OpenOptions::new().append(true).open(path).expect("the configuration");
        file.write_all(server.toml().as_bytes()).expect("the configuration");
        self
    }

    /// Where the calls go.
    pub fn notify(self, url: &str) -> Self {
        self.toml(&format!("[notify]\nurl = '{url}'\n"))
    }

    /// From the start of one scan to the next, such as `1s`.
    pub fn interval(self, interval: &str) -> Self {
        self.toml(&format!("[sync]\ninterval = '{interval}'\n"))
    }

    /// Any further configuration: its keys take the place of those before.
    pub fn toml(mut self, toml: &str) -> Self {
        self.add(toml);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs with `--start`: nothing waits for the console.
    pub fn started(mut self) -> Self {
        self.arguments.push("--start".to_owned());
        self
    }

    /// The service's directory, to prepare something in it.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The files that it is configured by.
    pub fn configurations(&self) -> &[PathBuf] {
        &self.configurations
    }

    /// Starts the program.
    pub fn run(self) -> Service {
        Service::run(self)
    }

    /// Another command with this configuration, not started yet: `{command} --config …`.
    pub fn command(&self, command: &[&str]) -> Command {
        self::command(command, &self.configurations, &self.environment)
    }

    fn add(&mut self, toml: &str) {
        let path = self.directory.path().join(format!("{}.toml", self.configurations.len()));
        std::fs::write(&path, toml).expect("a configuration");
        // it holds passwords, and the program warns where others could read them
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private configuration");
        self.configurations.push(path);
    }
}

impl Server {
    /// A server with the user and password that all test servers take, mirrored from `/`.
    pub fn at(name: &str, addr: SocketAddr) -> Self {
        Self::bare(name, addr).key("user", "'mro'").key("password", "'mro-pass'")
    }

    /// A scripted server.
    pub fn scripted(name: &str, server: &ScriptedServer) -> Self {
        Self::at(name, server.addr())
    }

    /// A libunftp server that lets anybody in.
    pub fn anonymous(name: &str, server: &Unftp) -> Self {
        Self::bare(name, server.addr())
    }

    /// A daemon, with the encryption that it was started with.
    pub fn daemon(name: &str, daemon: &Daemon, tls: Tls) -> Self {
        let server = Self::bare(name, daemon.addr)
            .key("user", &format!("'{}'", daemon.user))
            .key("password", &format!("'{}'", daemon.password));
        let tls = match tls {
            Tls::Off => return server,
            Tls::Explicit => "'explicit'",
            Tls::Implicit => "'implicit'",
        };
        server.key("tls", tls).key("tls_ca_file", &format!("'{}'", daemon.trust.display()))
    }

    /// Sets a key to a TOML value: `.key("connections", "2")`, `.key("encoding", "'gbk'")`.
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves a key out.
    pub fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }

    /// The entry as it stands in a configuration.
    pub fn toml(&self) -> String {
        let lines = self.keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
        format!("\n[[servers]]\n{}", lines.collect::<String>())
    }

    fn bare(name: &str, addr: SocketAddr) -> Self {
        Self { keys: BTreeMap::new() }
            .key("name", &format!("'{name}'"))
            .key("host", &format!("'{}'", addr.ip()))
            .key("port", &addr.port().to_string())
            .key("directories", "['/']")
            .key("timeout", "'5s'")
    }
}

/// `mrosync {command} --config … `, with nothing of this test's environment that the program listens to.
pub fn command(command: &[&str], configurations: &[PathBuf], environment: &[(String, String)]) -> Command {
    let mut process = Command::new(PROGRAM);
    for (name, _) in std::env::vars() {
        // meant for another installation on this machine
        if name.starts_with("MROSYNC_") && name.contains("__") {
            process.env_remove(name);
        }
    }
    process.envs(environment.iter().map(|(name, value)| (name, value))).args(command);
    for path in configurations {
        process.arg("--config").arg(path);
    }
    process
}
