//! The servers of the suite, each with the same tree.

use std::time::Duration;

use mrosync::config::ServerSettings;
use mrosync::connectors::connector;
use mrosync::net::network::Network;
use mrosync::protocol::Connector;
use mrosync::protocol::memory::{Action, MemoryServer, Step};

use super::http_index::HttpIndex;
use super::web_server::WebServer;
use super::{LENGTH, ODD, Stage, content};
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

pub struct Http(WebServer);

impl Http {
    pub fn start() -> Self {
        let server = WebServer::start();
        server.put("/MR/a.zip", content());
        server.put("/MR/b.zip", "first");
        server.put("/MR/notes.txt", "notes");
        server.make_directory("/MR/none/");
        server.put([b"/", ODD].concat(), "");
        Self(server)
    }
}

impl Stage for Http {
    fn connector(&self) -> Box<dyn Connector> {
        Box::new(HttpIndex::new(self.0.addr(), Duration::from_secs(5)))
    }

    fn change(&self, content: &[u8]) {
        self.0.put("/MR/b.zip", content);
    }

    fn stall(&self) {
        self.0.stall("/MR/a.zip");
    }
}
