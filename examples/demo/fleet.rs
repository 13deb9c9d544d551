//! Fourteen FTP servers on loopback ports of the system's choice, each with a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use libunftp::{Server, ServerBuilder};
use tokio::net::TcpListener;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, DefaultUser, Principal};
use unftp_sbe_fs::Filesystem;

use crate::place::Place;

/// As many as the requirement names.
const SERVERS: usize = 14;
/// The one account of every server.
pub const USER: &str = "mro";
/// Its password.
pub const PASSWORD: &str = "mro-demo";

/// The open servers. They serve until their runtime ends.
#[derive(Debug)]
pub struct Fleet(Vec<(String, SocketAddr)>);

impl Fleet {
    /// Makes the servers' directories and serves them, each from a task of its own on the current runtime.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        let mut servers = Vec::with_capacity(SERVERS);
        for number in 1..=SERVERS {
            let name = format!("omc{number:02}");
            let root = place.served(&name);
            std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
            // bound here and not by libunftp, which would have to be told a port that is free a moment later
            let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot open an FTP server")?;
            servers.push((name, listener.local_addr()?));
            tokio::spawn(serve(listener, root));
        }
        Ok(Self(servers))
    }

    /// Name and address of each server, in order.
    pub fn servers(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().map(|(name, address)| (name.as_str(), *address))
    }
}

async fn serve(listener: TcpListener, root: PathBuf) {
    while let Ok((stream, _)) = listener.accept().await {
        // libunftp ends a transfer with two small writes, of which the second would wait 40 ms for the first
        stream.set_nodelay(true).ok();
        match server(&root) {
            Ok(server) => drop(tokio::spawn(server.service(stream))),
            Err(error) => crate::say(&format!("demo: an FTP server refuses a connection: {error:#}")),
        }
    }
}

/// A server for one connection: libunftp's value serves once.
fn server(root: &Path) -> anyhow::Result<Server<Filesystem, DefaultUser>> {
    let root = root.to_owned();
    #[expect(
        clippy::expect_used,
        reason = "libunftp takes no error here; a panic ends this connection alone"
    )]
    let open =
        move || Filesystem::new(root.clone()).expect("the served directory is there until the demo ends");
    let builder = ServerBuilder::with_authenticator(Box::new(open), Arc::new(OneAccount));
    Ok(builder.greeting("MROSync's demo").build()?)
}

/// Knows [`USER`] with [`PASSWORD`] and nobody else.
#[derive(Debug)]
struct OneAccount;

#[async_trait]
impl Authenticator for OneAccount {
    async fn authenticate(&self, user: &str, given: &Credentials) -> Result<Principal, AuthenticationError> {
        if user != USER {
            return Err(AuthenticationError::BadUser);
        }
        if given.password.as_deref() != Some(PASSWORD) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal { username: user.to_owned() })
    }
}
