//! The temporary directory that everything of the demo lies in, and what the operator is told of it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::fleet::{Fleet, PASSWORD, USER};

/// From one scan to the next: short, so that something happens while somebody looks on.
const INTERVAL: &str = "2s";
/// So small that the first zips are evicted within seconds.
const MAX_BYTES: &str = "512KiB";
/// What the status page asks for before it starts and stops; a demo on loopback has nothing to hide.
const TOKEN: &str = "mrosync-demo-token";
/// Servers in one line of the programme.
const COLUMNS: usize = 3;

/// Where the parts of the demo listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The dls.php.
    pub receiver: SocketAddr,
    /// The status page.
    pub page: SocketAddr,
}

/// See the module. Removed when dropped, which a panic does too.
#[derive(Debug)]
pub struct Place(TempDir);

impl Place {
    /// Makes the directory, for its owner alone.
    pub fn make() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("mrosync-demo-").tempdir();
        Ok(Self(directory.context("cannot make a temporary directory")?))
    }

    /// What a server serves.
    pub fn served(&self, server: &str) -> PathBuf {
        self.0.path().join("servers").join(server)
    }

    /// Where zips are written before they appear on a server, on the same file system.
    pub fn workshop(&self) -> PathBuf {
        self.0.path().join("workshop")
    }

    /// The mirror.
    pub fn mirror(&self) -> PathBuf {
        self.0.path().join("sync")
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.0.path().join("mrosync.toml")
    }

    fn records(&self) -> PathBuf {
        self.0.path().join("records.db")
    }

    fn token_file(&self) -> PathBuf {
        self.0.path().join("token")
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("control.sock")
    }

    /// Writes the configuration file.
    pub fn write_configuration(&self, fleet: &Fleet, at: Addresses) -> anyhow::Result<()> {
        let Addresses { receiver, page } = at;
        private(self.token_file())?.write_all(TOKEN.as_bytes())?;
        let mut toml = format!(
            "[sync]\nroot = {}\ninterval = \"{INTERVAL}\"\n\n\
             # the disk may be as full as it is: max_bytes alone makes room here\n\
             [quota]\nmax_used_percent = 100\nmax_bytes = \"{MAX_BYTES}\"\n\n\
             [notify]\nurl = \"http://{receiver}/dls.php\"\n\n\
             [records]\npath = {}\n\n[control]\nsocket = {}\n\n\
             [web]\nlisten = \"{page}\"\ntoken_file = {}\n\n\
             [log]\nlevel = \"warn\"\n\n[defaults]\nconnections = 2\nverify = \"zip\"\n",
            quoted(self.mirror())?,
            quoted(self.records())?,
            quoted(self.socket())?,
            quoted(self.token_file())?,
        );
        for (name, address) in fleet.servers() {
            let (host, port) = (address.ip(), address.port());
            write!(
                toml,
                "\n[[servers]]\nname = \"{name}\"\nhost = \"{host}\"\nport = {port}\n\
                 user = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
            )?;
        }
        // it holds a password: any other mode would be warned of
        Ok(private(self.configuration())?.write_all(toml.as_bytes())?)
    }

    /// What runs where, and what to type.
    pub fn programme(&self, fleet: &Fleet, at: Addresses, limit: Option<Duration>) -> String {
        let Addresses { receiver, page } = at;
        let servers: Vec<String> =
            fleet.servers().map(|(name, address)| format!("{name} {address}")).collect();
        let servers: Vec<String> = servers.chunks(COLUMNS).map(|line| line.join("   ")).collect();
        let end = limit.map_or_else(
            || "It runs until you type quit, or press Ctrl-C.".to_owned(),
            |limit| format!("It ends by itself after {}.", humantime::format_duration(limit)),
        );
        let (mirror, records) = (self.mirror(), self.records());
        let (mirror, records, configuration) = (mirror.display(), records.display(), self.configuration());
        let configuration = configuration.display();
        // in the profile of the demo itself, of which all but the program is built already
        let run = if cfg!(debug_assertions) { "cargo run" } else { "cargo run --release" };
        format!(
            "\
MROSync's demo: fourteen FTP servers, a dls.php and the service itself, all in this process.
{end} Then everything that it made is removed.

  status page     http://{page}/#token={TOKEN}
  FTP servers     {}
                  (user {USER}, password {PASSWORD}; new zips and directories keep appearing)
                  omc13 misses a period after ten seconds: look at MISSING in status, and at the log
                  omc14 has gone quiet: look at NEWEST
  dls.php         http://{receiver}/dls.php, shown below whenever it is called
  mirror          {mirror}
                  (at most {MAX_BYTES}: beyond it, the zips downloaded first are deleted)
  records         {records}
  configuration   {configuration}

The service is started and scans every {INTERVAL}. Type a command and Enter:

  status          what every server does
  stop, start     stop and start the scanning (statr starts too)
  help, quit      the commands; the end

or, from another terminal in this directory:

  {run} -- ctl --config {configuration} status
  {run} -- records --config {configuration}
",
            servers.join("\n                  "),
        )
    }

    /// Removes the directory and everything in it.
    pub fn remove(self) -> anyhow::Result<()> {
        let path = self.0.path().to_owned();
        self.0.close().with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// A new file for its owner alone.
fn private(path: PathBuf) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A path as a TOML string; JSON's strings are such.
fn quoted(path: PathBuf) -> anyhow::Result<String> {
    Ok(serde_json::to_string(path.to_str().context("the temporary directory is not UTF-8")?)?)
}
