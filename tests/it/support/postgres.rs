//! A PostgreSQL server of Debian, with pgbouncer before it: one for all tests of a run, and a database for each.
//!
//! Unpacked by `scripts/test`, as the FTP daemons are. It ends with the process, however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::geteuid;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use super::certificates::{self, Certificate};

/// `nobody`, as every Debian numbers it.
const NOBODY: u32 = 65534;

/// What its role needs where it is reached by a port.
pub const PASSWORD: &str = "mro-pass";

struct Server {
    directory: PathBuf,
    port: u16,
    pooler_port: u16,
    /// Its input is closed by the end of this process, which ends the server.
    _process: Child,
}

/// A database of a test.
pub struct Database {
    server: &'static Server,
    name: String,
}

fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref()
}

fn start() -> Option<Server> {
    let Some(servers) = std::env::var_os("MROSYNC_TEST_SERVERS") else {
        println!("left out: PostgreSQL: MROSYNC_TEST_SERVERS is not set (run scripts/test)");
        return None;
    };
    let directory = tempfile::Builder::new().prefix("mrosync-pg").tempdir().expect("a directory").keep();
    let files = certificates::write(&directory, Certificate::FromAuthority);
    let [certificate, key] = ["server.crt", "server.key"].map(|name| directory.join(name));
    std::fs::rename(&files.certificate, &certificate).expect("the certificate");
    std::fs::rename(&files.key, &key).expect("the key");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode")
    };
    set(&key, 0o600);
    set(&directory, 0o755);
    let [port, pooler_port] = [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port());
    let mut command = Command::new("/bin/sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/postgres.sh"));
    command.arg(Path::new(&servers)).arg(&directory).args([port, pooler_port].map(|port| port.to_string()));
    if geteuid().is_root() {
        for path in [&directory, &certificate, &key] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server");
    let mut said = String::new();
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut said).expect("its output");
    let log = || std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    assert_eq!(said, "up\n", "{}", log());
    Some(Server { port, pooler_port, _process: child, directory })
}

impl Database {
    /// A new database; `None` where the machine has no server, which is said.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let server = server()?;
        let name = format!("it{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.ask("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Some(Self { server, name })
    }

    /// Its URL, by way of pgbouncer.
    pub fn pooled(&self) -> String {
        self.at(self.server.pooler_port)
    }

    /// Its URL, straight to the server.
    pub fn direct(&self) -> String {
        self.at(self.server.port)
    }

    /// Its URL by this port, as that of a [`Proxy`].
    pub fn at(&self, port: u16) -> String {
        format!("postgres://mrosync@127.0.0.1:{port}/{}", self.name)
    }

    /// A way to it that can be disturbed.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(SocketAddr::from(([127, 0, 0, 1], self.server.port)))
    }

    /// What a client has to trust, in PEM.
    pub fn trust(&self) -> PathBuf {
        self.server.directory.join("trust.pem")
    }

    /// Runs a statement, and returns the first column of its first row.
    pub fn ask(&self, sql: &str) -> Option<String> {
        self.server.ask(&self.name, sql)
    }
}

impl Server {
    fn ask(&self, database: &str, sql: &str) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let socket = self.directory.join(format!(".s.PGSQL.{}", self.port));
            let stream = tokio::net::UnixStream::connect(socket).await.expect("the server's socket");
            let mut config = Config::new();
            let asked = config.user("mrosync").dbname(database).connect_raw(stream, NoTls).await;
            let (client, connection) = asked.expect("a login");
            let rows = async {
                let rows = client.simple_query(sql).await.expect(sql);
                drop(client);
                rows
            };
            let (rows, _) = tokio::join!(rows, connection);
            rows.into_iter().find_map(|row| match row {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
        })
    }
}

/// What the way to the database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All goes through.
    Open,
    /// All connections are cut, and new ones closed at once.
    Cut,
    /// The next COMMIT goes through; its answer is lost, and the connection is cut. Open again after a moment.
    LoseCommit,
    /// Nothing goes through any more, and nothing is cut.
    Silent,
}

/// A way to the database that can be disturbed; it ends with the process.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    way: Mutex<Way>,
    open: Mutex<Vec<TcpStream>>,
    lost_commits: AtomicUsize,
    refused: AtomicUsize,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let shared = Arc::new(Shared {
            way: Mutex::new(Way::Open),
            open: Mutex::default(),
            lost_commits: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *own.way.lock().expect("the way") == Way::Cut {
                    own.refused.fetch_add(1, Ordering::Release);
                    continue;
                }
                let Ok(server) = TcpStream::connect(to) else { continue };
                own.carry(&stream, &server, false);
                own.carry(&server, &stream, true);
                own.open.lock().expect("connections").extend([stream, server]);
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Behaves so from now on.
    pub fn set(&self, way: Way) {
        *self.shared.way.lock().expect("the way") = way;
        if way == Way::Cut {
            self.shared.cut();
        }
    }

    /// How many connections were closed at once.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Acquire)
    }

    /// How many were lost.
    pub fn lost_commits(&self) -> usize {
        self.shared.lost_commits.load(Ordering::Acquire)
    }
}

impl Shared {
    fn cut(&self) {
        for stream in self.open.lock().expect("connections").drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Lets the server do it, and nobody hear of it.
    fn lose(&self, server: &mut TcpStream, request: &[u8]) {
        let mut open = self.open.lock().expect("connections");
        // the client's half first: the answer has nowhere to go
        for stream in open.iter().step_by(2) {
            stream.shutdown(Shutdown::Both).ok();
        }
        server.write_all(request).ok();
        std::thread::park_timeout(Duration::from_millis(200));
        open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        self.lost_commits.fetch_add(1, Ordering::Release);
        *self.way.lock().expect("the way") = Way::Open;
    }

    fn carry(self: &Arc<Self>, from: &TcpStream, to: &TcpStream, is_answer: bool) {
        let clone = |stream: &TcpStream| stream.try_clone().expect("a stream");
        let (mut from, mut to, shared) = (clone(from), clone(to), Arc::clone(self));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let way = || *shared.way.lock().expect("the way");
                while way() == Way::Silent {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                let is_commit = !is_answer && buffer[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
                if is_commit && way() == Way::LoseCommit {
                    shared.lose(&mut to, &buffer[..read]);
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            to.shutdown(Shutdown::Both).ok();
            from.shutdown(Shutdown::Both).ok();
        });
    }
}
