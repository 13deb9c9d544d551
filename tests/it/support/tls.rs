//! TLS before a scripted server: a relay that speaks TLS with clients and plain FTP with the server, on control and
//! data connections, and ends data connections as it is told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::certificates::{self, Certificate};
use super::scripted::ScriptedServer;

/// How the relay is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// TLS only after a command in the clear, whose answers these are, one after the other; it begins after the last.
    pub asked: &'static [&'static str],
    /// A data connection for which there is nothing to send is closed without TLS.
    pub closes_empty: bool,
    /// Data connections end with the closing message of TLS; else they are just closed.
    pub says_goodbye: bool,
    /// TLS only after `AUTH TLS`, and then this in the clear behind the 234.
    pub injects: Option<&'static str>,
}

/// The relay; it ends when it is dropped.
pub struct TlsRelay {
    addr: SocketAddr,
    files: certificates::Files,
    _directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Relay {
    acceptor: TlsAcceptor,
    server: SocketAddr,
    manner: Manner,
}

impl TlsRelay {
    /// A relay before `ftp`.
    pub fn before(ftp: &ScriptedServer, manner: Manner) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = certificates::write(directory.path(), Certificate::FromAuthority);
        let relay = Relay { acceptor: acceptor(&files), server: ftp.addr(), manner };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
        let addr = listener.local_addr().expect("the address of a listener");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = relay.accept_all(listener) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { addr, files, _directory: directory, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients have to go.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What clients have to trust.
    pub fn trust(&self) -> &PathBuf {
        &self.files.trust
    }
}

impl Drop for TlsRelay {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn acceptor(files: &certificates::Files) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&files.certificate).expect("a certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a usable certificate");
    TlsAcceptor::from(Arc::new(config))
}

impl Relay {
    async fn accept_all(self, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            let relay = self.clone();
            tokio::spawn(async move { relay.serve(client).await.unwrap_or_default() });
        }
    }

    async fn serve(self, mut client: TcpStream) -> io::Result<()> {
        let mut server = BufReader::new(TcpStream::connect(self.server).await?);
        if let Some(injected) = self.manner.injects {
            // greeting and AUTH in the clear; the answer and what is injected travel in one segment
            let mut greeting = Vec::new();
            server.read_until(b'\n', &mut greeting).await?;
            client.write_all(&greeting).await?;
            let mut auth = [0; 10];
            client.read_exact(&mut auth).await?;
            assert_eq!(&auth, b"AUTH TLS\r\n");
            client.write_all(format!("234 go on\r\n{injected}").as_bytes()).await?;
        }
        if !self.manner.asked.is_empty() {
            let (greeting, mut command) = (&mut Vec::new(), [0; 10]);
            server.read_until(b'\n', greeting).await?;
            client.write_all(greeting).await?;
            for answer in self.manner.asked {
                client.read_exact(&mut command).await?;
                assert!(command.starts_with(b"AUTH "), "{command:?}");
                client.write_all(answer.as_bytes()).await?;
            }
        }
        let (mut from_client, mut to_client) = tokio::io::split(self.acceptor.accept(client).await?);
        let (from_server, mut to_server) = tokio::io::split(server.into_inner());
        let commands = tokio::io::copy(&mut from_client, &mut to_server);
        let replies = async {
            let mut lines = BufReader::new(from_server);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).await? > 0 {
                if line.starts_with(b"227 ") {
                    line = self.passive(&line).await?;
                }
                to_client.write_all(&line).await?;
                to_client.flush().await?;
                line.clear();
            }
            Ok(())
        };
        tokio::select! {
            outcome = commands => outcome.map(drop),
            outcome = replies => outcome,
        }
    }

    /// Puts a data connection of the relay's own in the place of the server's.
    async fn passive(&self, reply: &[u8]) -> io::Result<Vec<u8>> {
        let numbers = reply.split(|byte| !byte.is_ascii_digit()).skip(1);
        let numbers: Vec<u16> =
            numbers.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).collect();
        let port = numbers[4] << 8 | numbers[5];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let relay = self.clone();
        tokio::spawn(async move { relay.data(listener, port).await.unwrap_or_default() });
        Ok(format!("227 Entering Passive Mode (127,0,0,1,{},{}).\r\n", own >> 8, own & 255).into_bytes())
    }

    async fn data(&self, listener: TcpListener, port: u16) -> io::Result<()> {
        let (client, _) = listener.accept().await?;
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        if self.manner.closes_empty && server.peek(&mut [0]).await? == 0 {
            return Ok(());
        }
        let mut client = self.acceptor.accept(client).await?;
        tokio::io::copy(&mut server, &mut client).await?;
        client.flush().await?;
        if self.manner.says_goodbye {
            client.shutdown().await?;
        }
        // without a goodbye the connection is closed beneath TLS
        Ok(())
    }
}
