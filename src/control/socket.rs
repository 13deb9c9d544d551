//! The control socket: one command a connection, one answer, then the end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Requests;

/// Longest command line.
const MAX_LINE: u64 = 256;
/// For a client to send its line, and to take its answer.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
/// Clients at a time; further ones wait.
const MAX_CLIENTS: usize = 16;

/// A running service listens there.
#[derive(Debug, thiserror::Error)]
#[error("another mrosync listens on the control socket {}", .0.display())]
pub struct SocketInUse(PathBuf);

/// The bound socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path` for its owner alone. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// [`SocketInUse`] (inside) when a running service listens there, else what the system refuses.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        remove_stale(path)?;
        // nobody else may connect in the moment before the mode is set
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.with_context(|| format!("cannot bind the control socket {shown}"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect the control socket {shown}"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves clients for ever. Several at a time, so that one that hangs hinders no other.
    pub async fn serve(&self, requests: Requests) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            // the semaphore is never closed
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let requests = requests.clone();
                    tokio::task::spawn_local(async move {
                        if let Err(error) = serve_client(stream, &requests).await {
                            log::debug!("a client of the control socket: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    log::warn!("the control socket cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // one that stays is replaced by the next start
        drop(std::fs::remove_file(&self.path));
    }
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!(SocketInUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let kind = std::fs::symlink_metadata(path).with_context(|| format!("cannot look at {shown}"))?;
            if !std::os::unix::fs::FileTypeExt::is_socket(&kind.file_type()) {
                bail!("{shown} is not a socket; control.socket must name one, or a file that does not exist");
            }
            std::fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot use the control socket {shown}")),
    }
}

async fn serve_client(mut stream: UnixStream, requests: &Requests) -> io::Result<()> {
    let line = tokio::time::timeout(CLIENT_LIMIT, read_line(&mut stream)).await??;
    crate::fault::here("control", "control");
    let answer = match line.parse() {
        Ok(command) => requests.ask(command).await,
        Err(unknown) => format!("{unknown}"),
    };
    let send = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        stream.shutdown().await
    };
    tokio::time::timeout(CLIENT_LIMIT, send).await?
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut limited = stream.take(MAX_LINE);
    loop {
        let mut byte = [0];
        match limited.read(&mut byte).await? {
            0 => break,
            _ if byte == *b"\n" => break,
            _ => line.extend_from_slice(&byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
