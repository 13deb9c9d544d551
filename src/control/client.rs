//! `mrosync ctl`: one command to the running service.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::base::owner::remedy;

use super::answer::{FAILED, OK, REFUSED};
use super::{Change, Command, CommandLine};
use crate::status::{ServiceStatus, json};

/// From connecting to the end of the answer. A stop takes up to 2 s; a service that needs longer than this is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// Between two tries to connect while the queue of the socket is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);
/// A status of thousands of servers stays far below.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// An answer as it came over the control socket: the lines of the service, which may be of another version, and what
/// they mean. This is the one place where they are read.
#[derive(Debug)]
pub struct Reply {
    /// Without the last line end.
    pub text: String,
    /// See there.
    pub meaning: Meaning,
}

/// What the lines of an answer mean.
#[derive(Debug)]
pub enum Meaning {
    /// It is done; where it was a change, to so many.
    Done(Option<u64>),
    /// It is not done.
    Failed,
    /// The configuration has faults.
    Refused,
    /// The service at that moment.
    Status(Box<ServiceStatus>),
    /// Something for people to read.
    Text,
}

impl Reply {
    fn new(text: &str) -> Self {
        let text = text.trim_end_matches('\n').to_owned();
        let meaning = if let Some(done) = text.strip_prefix(OK) {
            Meaning::Done(done.parse().ok())
        } else if text.starts_with(REFUSED) {
            Meaning::Refused
        } else if text.starts_with(FAILED) {
            Meaning::Failed
        } else {
            json::read(&text).map_or(Meaning::Text, |status| Meaning::Status(Box::new(status)))
        };
        Self { text, meaning }
    }

    /// The status, where it is one.
    #[must_use]
    pub fn status(self) -> Option<Box<ServiceStatus>> {
        match self.meaning {
            Meaning::Status(status) => Some(status),
            _ => None,
        }
    }
}

/// Sends `command` and gives back the answer.
///
/// # Errors
///
/// When no service listens on `socket`, or it does not answer within 25 s.
pub fn ask(socket: &Path, command: impl Into<CommandLine>) -> anyhow::Result<Reply> {
    ask_within(socket, command, ANSWER_LIMIT)
}

/// The same within `limit`, from connecting to the end of the answer.
///
/// # Errors
///
/// As [`ask`].
pub fn ask_within(socket: &Path, command: impl Into<CommandLine>, limit: Duration) -> anyhow::Result<Reply> {
    let (shown, deadline) = (socket.display(), Instant::now() + limit);
    let seconds = limit.as_secs_f64();
    let stuck = |error: io::Error, step: &str| match error.kind() {
        // a read or write that runs out of its time says so
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow!("the service on the control socket {shown} does not {step} within {seconds} s")
        }
        _ => anyhow!(error).context(format!("the control socket {shown} broke")),
    };
    let mut stream = connect(socket, deadline).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => stuck(error, "take the connection"),
        ErrorKind::PermissionDenied => {
            anyhow!("cannot use the control socket {shown}: {error}{}", remedy(socket))
        }
        _ => anyhow!(error)
            .context(format!("cannot reach the service on its control socket {shown}; is it running?")),
    })?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream
        .write_all(format!("{}\n", command.into()).as_bytes())
        .map_err(|error| stuck(error, "take the command"))?;
    let answer = read_answer(&mut stream, deadline).map_err(|error| stuck(error, "answer"))?;
    if answer.is_empty() {
        anyhow::bail!("the service ended without an answer");
    }
    Ok(Reply::new(&answer))
}

/// Connects, also where the service is too busy to take one more client at once: a plain `connect` would wait for that
/// without end (unix(7), `EAGAIN`).
#[expect(clippy::disallowed_methods, reason = "the thread of a client has nothing else to do")]
fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(left(deadline)?.min(QUEUE_PAUSE));
            }
            Err(error) => return Err(error),
        }
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

fn read_answer(stream: &mut UnixStream, deadline: Instant) -> io::Result<String> {
    let (mut answer, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer does not end"));
        }
    }
    String::from_utf8(answer).map_err(|_| io::Error::new(ErrorKind::InvalidData, "the answer is no text"))
}

/// What is left until `deadline`.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Sends a change of records, and gives back how many the service changed.
///
/// # Errors
///
/// As [`ask`], and with the words of the service where it could not.
pub fn change(socket: &Path, change: Change) -> anyhow::Result<u64> {
    match ask(socket, Command::Change(change))? {
        Reply { meaning: Meaning::Done(Some(changed)), .. } => Ok(changed),
        Reply { text, .. } => anyhow::bail!("the service says: {text}"),
    }
}

/// Has the service take what lies at the mirror's place for the mirror of the records.
///
/// # Errors
///
/// As [`change`].
pub fn adopt(socket: &Path) -> anyhow::Result<()> {
    match ask(socket, Command::Change(Change::Adopt {}))? {
        Reply { meaning: Meaning::Done(_), .. } => Ok(()),
        Reply { text, .. } => anyhow::bail!("the service says: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Answer, Form};
    use std::os::unix::net::UnixListener;

    /// A socket that is listened on and never accepted from.
    fn deaf() -> (tempfile::TempDir, std::path::PathBuf, UnixListener) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        (directory, path, listener)
    }

    /// Returns why the service is given up; panics where that takes long.
    fn given_up(path: &Path, limit: Duration) -> String {
        let (told, telling) = std::sync::mpsc::channel();
        let path = path.to_owned();
        std::thread::spawn(move || told.send(ask_within(&path, Command::Help, limit)));
        let answer = telling.recv_timeout(Duration::from_secs(30)).expect("it is not given up");
        format!("{:#}", answer.unwrap_err())
    }

    #[test]
    fn what_an_answer_means_is_told_by_its_first_words_and_its_lines_are_kept() {
        let meaning = |text: &str| Reply::new(text).meaning;
        assert!(matches!(meaning("ok: 3\n"), Meaning::Done(Some(3))));
        assert!(matches!(meaning("ok: 3 servers were started\n"), Meaning::Done(None)));
        assert!(matches!(meaning("failed: no\n"), Meaning::Failed));
        let faults = Answer::Refused(vec!["a: wrong".to_owned(), "b: too".to_owned()]).text(Form::Lines);
        let reply = Reply::new(&format!("{faults}\n"));
        assert!(matches!(reply.meaning, Meaning::Refused));
        assert_eq!(reply.text, faults);
        let json = Answer::Status(Box::default()).text(Form::Json).replacen('{', "{\"newer\":1,", 1);
        let reply = Reply::new(&format!("{json}\n"));
        assert_eq!(reply.text, json, "also what is not known here");
        assert!(reply.status().is_some_and(|status| !status.running));
        assert!(matches!(meaning("service   running, up 1s\n"), Meaning::Text));
    }

    /// interface 8.3
    #[test]
    fn a_service_that_never_answers_is_given_up() {
        let (_directory, path, _listener) = deaf();
        let text = given_up(&path, Duration::from_millis(100));
        assert!(
            text.contains("does not answer within 0.1 s") && text.contains(path.to_str().unwrap()),
            "{text}"
        );
    }

    #[test]
    fn a_service_that_takes_no_more_connections_is_given_up() {
        let (_directory, path, listener) = deaf();
        socket2::SockRef::from(&listener).listen(0).unwrap();
        let client = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&SockAddr::unix(&path).unwrap()).is_ok().then_some(socket)
        };
        // until the queue is full
        let held: Vec<_> = std::iter::from_fn(client).collect();
        assert!(!held.is_empty());
        let text = given_up(&path, Duration::from_millis(100));
        assert!(text.contains("does not take the connection within 0.1 s"), "{text}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the pace of a server that trickles")]
    fn an_answer_that_trickles_is_given_up_too() {
        let (_directory, path, listener) = deaf();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while client.write_all(b"o").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let text = given_up(&path, Duration::from_millis(200));
        assert!(text.contains("does not answer within 0.2 s"), "{text}");
    }
}
