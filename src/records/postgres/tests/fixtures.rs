//! A PostgreSQL server for the tests of this process, and a database on it for each.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::geteuid;

use super::super::link::Link;
use super::super::reader::PostgresReader;
use super::super::store::PostgresStore;
use crate::config::{Password, PostgresHost, PostgresSettings};
use crate::records::fixtures;
use crate::records::memory::MemoryRecords;
use crate::records::reader::RecordReader;
use crate::records::store::RecordStore;

/// `nobody`, as every Debian numbers it.
const NOBODY: u32 = 65534;

/// How the server is reached.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// By its Unix socket.
    Socket,
    /// By its port, which asks for the password.
    Password,
    /// By way of pgbouncer, which gives each transaction to another session.
    Pooler,
}

struct Server {
    directory: PathBuf,
    port: u16,
    pooler_port: u16,
    /// Its input is closed by the end of this process, which ends the server.
    _process: Child,
}

/// A database that nobody else has.
pub(super) struct Place {
    pub(super) settings: PostgresSettings,
}

/// The server; none where `scripts/test` did not unpack one, which is said.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref()
}

fn start() -> Option<Server> {
    let Some(servers) = std::env::var_os("MROSYNC_TEST_SERVERS") else {
        eprintln!("left out: MROSYNC_TEST_SERVERS does not say where PostgreSQL is");
        return None;
    };
    let directory = tempfile::Builder::new().prefix("mrosync-pg").tempdir().unwrap().keep();
    let [port, pooler_port] = [(); 2].map(|()| free_port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/postgres.sh");
    let mut command = Command::new("/bin/sh");
    command
        .arg(script)
        .arg(Path::new(&servers))
        .arg(&directory)
        .args([port, pooler_port].map(|port| port.to_string()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    if geteuid().is_root() {
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let log = || std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    assert_eq!(said, "up\n", "{}", log());
    Some(Server { port, pooler_port, _process: child, directory })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Place {
    /// A new database; none without a server.
    pub(super) fn new(way: Way) -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let server = server()?;
        let database = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let of = |host: PostgresHost, port: u16, database: &str| PostgresSettings {
            hosts: vec![(host, port)],
            user: "mrosync".to_owned(),
            database: database.to_owned(),
            password: Some(Password::new("mro-pass")),
            tls: None,
            ca_file: None,
        };
        let socket = || PostgresHost::Directory(server.directory.clone());
        let administrator = Link::new(&of(socket(), server.port, "postgres")).unwrap();
        let sql = format!("CREATE DATABASE {database} TEMPLATE template0");
        let make = async |client: &tokio_postgres::Client| Ok(client.batch_execute(&sql).await?);
        administrator.ask(Duration::from_secs(60), make).unwrap();
        let local = PostgresHost::Network("127.0.0.1".to_owned());
        Some(Self {
            settings: match way {
                Way::Socket => of(socket(), server.port, &database),
                Way::Password => of(local, server.port, &database),
                Way::Pooler => of(local, server.pooler_port, &database),
            },
        })
    }

    pub(super) fn open(&self) -> Box<PostgresStore> {
        Box::new(PostgresStore::open(&self.settings).unwrap())
    }

    pub(super) fn read(&self) -> PostgresReader {
        PostgresReader::open(&self.settings).unwrap()
    }

    /// Asks the database beside all that is tested.
    pub(super) fn sql(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        let link = Link::new(&self.settings).unwrap();
        link.ask(Duration::from_secs(20), async |client| Ok(client.query_typed(sql, &[]).await?)).unwrap()
    }
}

impl fixtures::Place for Place {
    fn open(&self) -> Box<dyn RecordStore> {
        Self::open(self)
    }

    fn read(&self) -> Box<dyn RecordReader> {
        Box::new(Self::read(self))
    }
}

/// A place for the suite that all stores pass; records in memory without a server.
pub(super) fn place(way: Way) -> Box<dyn fixtures::Place> {
    match Place::new(way) {
        Some(place) => Box::new(place),
        None => Box::new(MemoryRecords::default()),
    }
}
