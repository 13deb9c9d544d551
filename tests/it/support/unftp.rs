//! libunftp in this process: a real FTP server that needs neither root nor a package, for whole runs with many
//! servers. It is fast to start and forgiving; faults are the business of [`super::scripted`].

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use libunftp::ServerBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};
use unftp_sbe_fs::Filesystem;

/// A running server over a temporary directory; both end when it is dropped.
pub struct Unftp {
    addr: SocketAddr,
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Unftp {
    /// Starts a server that lets anybody in.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server for one user.
    pub fn start_for(user: &str, password: &str) -> Self {
        Self::start_with(Some(Login { user: user.to_owned(), password: password.to_owned() }))
    }

    fn start_with(login: Option<Login>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        // bound here, so that the first connection of a test already finds it
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
        let addr = listener.local_addr().expect("the address of a listener");
        let root = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept_all(listener, root, login.map(Arc::new)) => {}
                    _ = stopped => {}
                }
            });
            // sessions and their file work end here, and none may keep the test
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { addr, directory, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The directory that clients see as `/`.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file in place at once, with the directories above it.
    pub fn put(&self, path: &str, content: &[u8]) {
        let path = self.root().join(path.trim_start_matches('/'));
        let parent = path.parent().expect("a file below the root");
        std::fs::create_dir_all(parent).expect("the directories above");
        // renamed from outside, so that no listing sees half of it
        let whole = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(whole.path(), content).expect("the content");
        whole.persist(&path).expect("the file in place");
    }
}

impl Drop for Unftp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept_all(listener: TcpListener, root: PathBuf, login: Option<Arc<Login>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let root = root.clone();
        let storage = Box::new(move || Filesystem::new(root.clone()).expect("the served directory"));
        let builder = ServerBuilder::new(storage);
        let builder = match &login {
            Some(login) => builder.authenticator(Arc::clone(login) as Arc<dyn Authenticator + Send + Sync>),
            None => builder,
        };
        // one server value a connection: it is the only way to listen at a port that is already ours
        let server = builder.build().expect("a server");
        tokio::spawn(async move { server.service(stream).await.ok() });
    }
}

struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

#[async_trait]
impl Authenticator for Login {
    async fn authenticate(&self, user: &str, given: &Credentials) -> Result<Principal, AuthenticationError> {
        if user != self.user {
            return Err(AuthenticationError::BadUser);
        }
        if given.password.as_deref() != Some(&self.password) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal { username: user.to_owned() })
    }
}
