//! The servers of the suite, each with the same tree.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mrosync::config::ServerSettings;
use mrosync::connectors::connector;
use mrosync::net::network::Network;
use mrosync::protocol::Connector;
use mrosync::protocol::memory::{Action, MemoryServer, Step};

use super::http_index::HttpIndex;
use super::{LENGTH, ODD, Stage, content};
use crate::support::net::{Acceptor, Connection, calm};
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::sftp::{Bend, Bent, FILE, NO_SUCH_FILE, OPEN_DIRECTORY, READ, SftpServer};

const MODIFIED: i64 = 1_760_000_000;

/// The settings of one server, as the program reads them.
fn settings(server: Server) -> ServerSettings {
    let setup = Setup::new().server(server);
    let loaded = mrosync::config::load(setup.configurations()).expect("a usable configuration");
    loaded.settings.servers.first().expect("a server").clone()
}

pub struct InMemory(MemoryServer);

impl InMemory {
    pub fn start() -> Self {
        let server = MemoryServer::default();
        server.file("/MR/a.zip", content(), MODIFIED).file("/MR/b.zip", "first", MODIFIED);
        server.file("/MR/notes.txt", "notes", MODIFIED).directory("/MR/none");
        server.file([b"/", ODD].concat(), "", MODIFIED);
        Self(server)
    }
}

impl Stage for InMemory {
    fn connector(&self) -> Box<dyn Connector> {
        self.0.connector()
    }

    fn change(&self, content: &[u8]) {
        self.0.file("/MR/b.zip", content, MODIFIED);
    }

    fn stall(&self) {
        self.0.on_nth(Step::Piece, "/MR/a.zip", 3, 1, Action::Hang);
    }
}

pub struct Ftp(ScriptedServer);

impl Ftp {
    pub fn start() -> Self {
        let server = ScriptedServer::start();
        server.put("/MR/a.zip", File::new(content()));
        server.put("/MR/b.zip", File::new("first"));
        server.put("/MR/notes.txt", File::new("notes"));
        server.make_directory("/MR/none");
        server.put([b"/", ODD].concat(), File::new(""));
        Self(server)
    }
}

impl Stage for Ftp {
    fn connector(&self) -> Box<dyn Connector> {
        connector(settings(Server::scripted("omc01", &self.0)), &Network::default()).expect("a connector")
    }

    fn change(&self, content: &[u8]) {
        self.0.put("/MR/b.zip", File::new(content));
    }

    fn stall(&self) {
        self.0.rule(Rule::on("RETR").about("/MR/a.zip").stall(LENGTH as u64 / 2));
    }
}

pub struct Sftp(SftpServer);

impl Sftp {
    pub fn start() -> Self {
        // it has a runtime of its own, which cannot begin on the thread of another
        let server = std::thread::spawn(SftpServer::start).join().expect("a server");
        server.put("/MR/a.zip", content());
        server.put("/MR/b.zip", "first");
        server.put("/MR/notes.txt", "notes");
        server.put("/MR/none/", "");
        server.manner(|manner| {
            manner.names = vec![(ODD.to_vec(), FILE)];
            manner.bend = Bend::new(|asked| {
                // by its path, or as one that begins in the directory of the login
                let is_missing = asked.kind == OPEN_DIRECTORY && asked.path.ends_with("missing");
                is_missing.then_some(Bent::Status(NO_SUCH_FILE, "no such directory"))
            });
        });
        Self(server)
    }
}

impl Stage for Sftp {
    fn connector(&self) -> Box<dyn Connector> {
        connector(settings(self.0.server("omc01")), &Network::default()).expect("a connector")
    }

    fn change(&self, content: &[u8]) {
        self.0.put("/MR/b.zip", content);
    }

    fn stall(&self) {
        self.0.manner(|manner| manner.silent_on = Some(READ));
    }
}

/// A web server with an index of each directory, as nginx makes it.
pub struct Http {
    acceptor: Acceptor,
    tree: Arc<Mutex<HttpTree>>,
}

#[derive(Default)]
struct HttpTree {
    /// Directories end in a slash.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    stalls: bool,
}

impl Http {
    pub fn start() -> Self {
        let tree = Arc::new(Mutex::new(HttpTree::default()));
        for (path, content) in [
            (b"/MR/a.zip".to_vec(), content()),
            (b"/MR/b.zip".to_vec(), b"first".to_vec()),
            (b"/MR/notes.txt".to_vec(), b"notes".to_vec()),
            (b"/MR/none/".to_vec(), Vec::new()),
            (b"/MR/".to_vec(), Vec::new()),
            (b"/".to_vec(), Vec::new()),
            ([b"/", ODD].concat(), Vec::new()),
        ] {
            calm(tree.lock()).files.insert(path, content);
        }
        let shared = Arc::clone(&tree);
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), move |connection| {
            serve(connection, &shared);
        });
        Self { acceptor, tree }
    }

    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }
}

impl Stage for Http {
    fn connector(&self) -> Box<dyn Connector> {
        Box::new(HttpIndex::new(self.addr(), Duration::from_secs(5)))
    }

    fn change(&self, content: &[u8]) {
        calm(self.tree.lock()).files.insert(b"/MR/b.zip".to_vec(), content.to_vec());
    }

    fn stall(&self) {
        calm(self.tree.lock()).stalls = true;
    }
}

fn serve(connection: Connection, tree: &Mutex<HttpTree>) {
    let mut stream: &std::net::TcpStream = &connection.stream;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = urlencoding::decode_binary(path.as_bytes()).into_owned();
    let from: usize = head
        .split_once("Range: bytes=")
        .and_then(|(_, range)| range.split('-').next()?.parse().ok())
        .unwrap_or(0);
    let tree = calm(tree.lock());
    let (answer, stalls) = match tree.files.get(&path) {
        None => (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), false),
        Some(content) => {
            let body = if path.ends_with(b"/") { index(&tree, &path) } else { content.clone() };
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let length = body.len() - from.min(body.len());
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            let body = if method == "HEAD" { &[][..] } else { &body[body.len() - length..] };
            let stalls = tree.stalls && path.ends_with(b"a.zip");
            let body = if stalls { &body[..body.len() / 2] } else { body };
            ([head.as_bytes(), body].concat(), stalls)
        }
    };
    drop(tree);
    if stream.write_all(&answer).is_ok() && stalls {
        // until the client has gone
        drop(stream.read(&mut byte));
    }
}

fn index(tree: &HttpTree, directory: &[u8]) -> Vec<u8> {
    let mut page = b"<html><body><a href=\"../\">../</a>\n".to_vec();
    for (path, content) in &tree.files {
        let Some(name) = path.strip_prefix(directory).filter(|name| !name.is_empty()) else { continue };
        if name.strip_suffix(b"/").unwrap_or(name).contains(&b'/') {
            continue;
        }
        let href: String = urlencoding::encode_binary(name).replace("%2F", "/");
        let size = if name.ends_with(b"/") { "-".to_owned() } else { content.len().to_string() };
        page.extend(format!("<a href=\"{href}\">{href}</a>  23-Nov-2026 03:00  {size}\n").bytes());
    }
    page
}
