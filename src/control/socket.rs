//! The control socket: one command a connection, one answer, then the end.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::FlockOperation;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::{Answer, CommandLine, Form, Requests};
use crate::base::owner::User;
use crate::base::start_error::StartError;

/// Longest command line: files to put on record, with names up to 64 KiB together, or one file whose path alone is as
/// long as 256 directories allow; three letters a byte.
const MAX_LINE: u64 = 384 << 10;
/// For a client to send its line, and to take its answer.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
/// Clients at a time. One more takes the place of the one that has been silent longest.
const MAX_CLIENTS: usize = 64;
/// So long a client may be silent before it loses its place: `ctl` sends its line at once.
const SILENCE: Duration = Duration::from_millis(500);
/// How long to wait for another service that is about to bind a socket in the same directory, and between two looks.
const BIND_LIMIT: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// The bound socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that only ours is removed.
    file: (u64, u64),
}

impl ControlSocket {
    /// Binds `path` for its owner alone. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`] when a running service listens there, or others may write into the directory; else what
    /// the system refuses.
    pub async fn bind(path: &Path) -> Result<Self, StartError> {
        let shown = path.display();
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let handle = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
        check_directory(
            directory,
            &handle.metadata().with_context(|| format!("cannot look at {}", directory.display()))?,
        )?;
        // of two services that start at once, none may take the fresh socket of the other for a stale one
        lock(&handle).await;
        remove_stale(path)?;
        // nobody else may connect in the moment before the mode is set
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.with_context(|| format!("cannot bind the control socket {shown}"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect the control socket {shown}"))?;
        let file = std::fs::symlink_metadata(path).with_context(|| format!("cannot look at {shown}"))?;
        Ok(Self { listener, path: path.to_owned(), file: (file.dev(), file.ino()) })
    }

    /// Serves clients for ever. Many at a time, so that one that hangs hinders no other.
    pub async fn serve(&self, requests: Requests) {
        let mut clients = Clients::default();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    clients.make_room().await;
                    clients.serve(stream, requests.clone());
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
        let ours = |file: &Metadata| (file.dev(), file.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| ours(&file)) {
            // one that stays is replaced by the next start
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Refuses a directory in which others could replace the socket, and warns of a group that could.
///
/// # Errors
///
/// [`StartError::Refused`].
pub fn check_directory(directory: &Path, metadata: &Metadata) -> Result<(), StartError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let refuse = |why: String| {
        let directory = directory.display();
        Err(StartError::Refused(format!(
            "control.socket: the directory {directory} {why} name a socket in a directory of your own"
        )))
    };
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        let owned = User::of(directory).map_or_else(String::new, User::for_sudo);
        return refuse(format!(
            "belongs to another user (uid {owner}); sudo -u {owned} runs it as its owner, or"
        ));
    }
    // with the sticky bit, as in /tmp, everybody may add files and nobody replace those of others
    let sticky = mode & 0o1000 != 0;
    if mode & 0o002 != 0 && !sticky {
        return refuse(format!("can be written by everybody (mode {mode:04o});"));
    }
    if mode & 0o020 != 0 && !sticky {
        let directory = directory.display();
        log::warn!("control.socket: the group of {directory} can replace the socket (mode {mode:04o})");
    }
    Ok(())
}

/// Holds the directory for the moment of binding; whoever holds it much longer is none of ours.
async fn lock(directory: &File) {
    let deadline = Instant::now() + BIND_LIMIT;
    while rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= deadline {
            return log::warn!(
                "control.socket: its directory is locked by another program; going on without"
            );
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

fn remove_stale(path: &Path) -> Result<(), StartError> {
    let shown = path.display();
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(StartError::Refused(format!("another mrosync listens on the control socket {shown}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let kind = std::fs::symlink_metadata(path).with_context(|| format!("cannot look at {shown}"))?;
            if !kind.file_type().is_socket() {
                let lack = format!(
                    "{shown} is not a socket; control.socket must name one, or a file that does not exist"
                );
                return Err(anyhow::Error::msg(lack).into());
            }
            std::fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {shown}"))?;
            Ok(())
        }
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("cannot use the control socket {shown}")).into())
        }
    }
}

/// The clients that are served, each by a task of its own.
#[derive(Default)]
struct Clients {
    tasks: JoinSet<()>,
    served: Vec<Served>,
}

/// One of them.
struct Served {
    task: AbortHandle,
    silent_since: SilentSince,
}

/// Since when a client is waited for; `None` while it waits for us.
type SilentSince = Rc<Cell<Option<Instant>>>;

impl Clients {
    /// Waits until one more can be served. Who has been silent for longest makes room.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= MAX_CLIENTS {
            self.served.retain(|client| !client.task.is_finished());
            let silent = |client: &Served| client.silent_since.get();
            let longest = self
                .served
                .iter()
                .filter_map(|client| Some((silent(client)?, client)))
                .min_by_key(|(since, _)| *since);
            match longest {
                Some((since, client)) if since.elapsed() >= SILENCE => {
                    client.task.abort();
                    self.tasks.join_next().await;
                }
                // whoever asked something is answered soon; whoever came just now may be about to ask
                _ => drop(tokio::time::timeout(SILENCE, self.tasks.join_next()).await),
            }
        }
    }

    fn serve(&mut self, stream: UnixStream, requests: Requests) {
        let silent_since = SilentSince::default();
        let silent = Rc::clone(&silent_since);
        let task = self.tasks.spawn_local(async move {
            if let Err(error) = serve_client(stream, &requests, &silent).await {
                log::debug!("a client of the control socket: {error}");
            }
        });
        self.served.retain(|client| !client.task.is_finished());
        self.served.push(Served { task, silent_since });
    }
}

async fn serve_client(
    mut stream: UnixStream,
    requests: &Requests,
    silent_since: &Cell<Option<Instant>>,
) -> io::Result<()> {
    silent_since.set(Some(Instant::now()));
    let line = tokio::time::timeout(CLIENT_LIMIT, read_line(&mut stream)).await??;
    silent_since.set(None);
    crate::base::failpoints::here("control", "control");
    let answer = match CommandLine::from_socket(&line) {
        Ok(CommandLine { command, form }) => requests.ask(command).await.text(form),
        Err(unknown) => Answer::from(unknown).text(Form::People),
    };
    silent_since.set(Some(Instant::now()));
    let send = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        stream.shutdown().await
    };
    tokio::time::timeout(CLIENT_LIMIT, send).await?
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    // what comes after the line is nobody's: one command a connection
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}
