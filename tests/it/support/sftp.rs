//! An SFTP server in this process that does what it is told, for logins by password and for faults: OpenSSH's daemon
//! (`super::sshd`) is too well behaved for these.
//!
//! It serves files from memory. What a real server would never do is in [`Manner`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session, run_stream};
use russh::{Channel, ChannelId, Disconnect, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::net::calm;
use super::service::Server;

/// The only user, and the password.
const USER: &str = "mro";
const PASSWORD: &str = "mro-pass";

/// Kinds of requests, for [`Manner::silent_on`].
pub const OPEN: u8 = 3;
pub const READ: u8 = 5;
pub const READ_DIRECTORY: u8 = 12;

/// The kind of an answer to READ.
const DATA: u8 = 103;

/// Modes of names, for [`Manner::names`].
pub const FILE: u32 = 0o100_644;
pub const DIRECTORY: u32 = 0o040_755;
pub const LINK: u32 = 0o120_777;

/// When all files were changed last: long ago, so that no time is compared with a clock.
const MODIFIED: u32 = 1_760_000_000;

/// How the server behaves; the default is without fault.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Asks questions instead of taking a password.
    pub asks: bool,
    /// Takes another password than everybody else's.
    pub password: String,
    /// Gives no answer to requests of this kind.
    pub silent_on: Option<u8>,
    /// Gives no more answers to READ once so many bytes were sent in all.
    pub silent_after: Option<u64>,
    /// Ends the connection once so many bytes were sent in all, with these last words.
    pub leaves_after: Option<(u64, &'static str)>,
    /// Answers a READ with so many bytes at most.
    pub most: usize,
    /// Answers what comes together in the reverse order.
    pub backwards: bool,
    /// Answers READ only once so many answers are due, or a file's end is reached.
    pub hoards: usize,
    /// Knows a directory no more once its end was told.
    pub forgets: bool,
    /// Begins an answer to READDIR that would be gigabytes long.
    pub shouts: bool,
    /// The rest of a file, which comes when its end was reached once.
    pub grows: Option<(String, Vec<u8>)>,
    /// Names that are shown in `/` beside the files, whatever they are.
    pub names: Vec<(Vec<u8>, u32)>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            asks: false,
            password: PASSWORD.to_owned(),
            silent_on: None,
            silent_after: None,
            leaves_after: None,
            most: usize::MAX,
            backwards: false,
            hoards: 0,
            forgets: false,
            shouts: false,
            grows: None,
            names: Vec::new(),
        }
    }
}

/// What was asked of the server so far.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Passwords that were tried, right or wrong.
    pub passwords: usize,
    /// Connections that are logged in now, and the most of them at a time.
    pub open: usize,
    pub most_open: usize,
    /// Directories that were opened.
    pub listings: usize,
    /// Of each READ its path and offset.
    pub reads: Vec<(String, u64)>,
    sent: u64,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    manner: Manner,
    journal: Journal,
}

/// The running server; it ends with all its connections when it is dropped.
pub struct SftpServer {
    addr: SocketAddr,
    fingerprint: String,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SftpServer {
    /// Starts one without files.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key");
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
        let addr = listener.local_addr().expect("the address of a listener");
        let config = Arc::new(Config {
            keys: vec![key],
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..Config::default()
        });
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept_all(listener, config, shared) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { addr, fingerprint, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Of its key, as an operator writes it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// An entry of `[[servers]]` that logs in with the password and trusts the key.
    pub fn server(&self, name: &str) -> Server {
        let server = Server::at(name, self.addr).key("protocol", "'sftp'");
        server.key("host_key", &format!("'{}'", self.fingerprint))
    }

    /// Puts a file in place, with the directories above it.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.lock().files.insert(path.to_owned(), content.into());
    }

    /// Changes how it behaves from now on.
    pub fn manner(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.lock().manner);
    }

    /// What was asked so far.
    pub fn journal(&self) -> Journal {
        self.lock().journal.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        calm(self.state.lock())
    }
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept_all(listener: TcpListener, config: Arc<Config>, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let handler = Visitor {
            state: Arc::clone(&state),
            inbox: Vec::new(),
            held: Vec::new(),
            handles: Vec::new(),
            is_in: false,
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(session) = run_stream(config, stream, handler).await {
                session.await.ok();
            }
        });
    }
}

/// A name with its mode and size.
type Shown = (Vec<u8>, u32, u64);

/// One connection.
struct Visitor {
    state: Arc<Mutex<State>>,
    inbox: Vec<u8>,
    /// Answers that are held back.
    held: Vec<Vec<u8>>,
    /// What was opened: a path, and for a directory what is left to show of it.
    handles: Vec<(String, Option<Vec<Shown>>, bool)>,
    is_in: bool,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        calm(self.state.lock()).journal.open -= usize::from(self.is_in);
    }
}

impl Visitor {
    fn judge(&mut self, user: &str, password: &str) -> Auth {
        let mut state = calm(self.state.lock());
        state.journal.passwords += 1;
        if user != USER || password != state.manner.password {
            return Auth::reject();
        }
        self.is_in = true;
        state.journal.open += 1;
        state.journal.most_open = state.journal.most_open.max(state.journal.open);
        Auth::Accept
    }

    /// The answers to all whole packets of the inbox; `None` where the connection is to end.
    fn answers(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        while let Some(head) = self.inbox.first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if self.inbox.len() < 4 + length {
                break;
            }
            let packet: Vec<u8> = self.inbox.drain(..4 + length).skip(4).collect();
            answers.extend(self.answer(&packet));
        }
        let mut state = calm(self.state.lock());
        if state.manner.hoards > 0 {
            self.held.append(&mut answers);
            let ends = self.held.iter().any(|answer| answer[4] != DATA);
            if ends || self.held.len() >= state.manner.hoards {
                answers.append(&mut self.held);
            }
        }
        if state.manner.backwards {
            answers.reverse();
        }
        let leaves = state.manner.leaves_after.is_some_and(|(after, _)| state.journal.sent >= after);
        state.journal.sent = if leaves { 0 } else { state.journal.sent };
        (!leaves).then_some(answers)
    }

    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (kind, rest) = packet.split_first().expect("a packet");
        let mut state = calm(self.state.lock());
        if *kind == 1 {
            return Some(framed(&[&[2_u8][..], &3_u32.to_be_bytes()].concat()));
        }
        if state.manner.silent_on == Some(*kind) {
            return None;
        }
        let (id, rest) = rest.split_at(4);
        let (length, rest) = rest.split_at(4);
        let (subject, rest) = rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        let reply = |kind: u8, body: &[u8]| Some(framed(&[&[kind][..], id, body].concat()));
        let status =
            |code: u32| reply(101, &[&code.to_be_bytes()[..], &text(b"so it is"), &text(b"en")].concat());
        let handle = |handles: &Vec<_>| reply(102, &text(&(handles.len() as u32 - 1).to_be_bytes()));
        let opened = || u32::from_be_bytes(subject.try_into().unwrap()) as usize;
        let path = || String::from_utf8_lossy(subject).into_owned();
        match *kind {
            OPEN if !state.files.contains_key(&path()) => status(2),
            OPEN => {
                self.handles.push((path(), None, false));
                handle(&self.handles)
            }
            11 => {
                state.journal.listings += 1;
                self.handles.push((path(), Some(state.names(&path())), false));
                handle(&self.handles)
            }
            READ_DIRECTORY if state.manner.shouts => Some(vec![0x7f, 0xff, 0xff, 0xff, 104]),
            READ_DIRECTORY => {
                let left = self.handles[opened()].1.as_mut().expect("a directory");
                let some: Vec<_> = left.drain(..left.len().min(10)).collect();
                if some.is_empty() {
                    let is_known = !std::mem::replace(&mut self.handles[opened()].2, state.manner.forgets);
                    return status(if is_known { 1 } else { 4 });
                }
                let entry =
                    |(name, mode, size): &Shown| [text(name), text(b"-"), attributes(*mode, *size)].concat();
                let body: Vec<u8> = some.iter().flat_map(entry).collect();
                reply(104, &[&(some.len() as u32).to_be_bytes()[..], &body].concat())
            }
            READ => {
                let path = self.handles[opened()].0.clone();
                let offset = u64::from_be_bytes(rest[..8].try_into().unwrap());
                let wanted = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
                match state.read(&path, offset, wanted)? {
                    data if data.is_empty() => status(1),
                    data => reply(103, &text(&data)),
                }
            }
            8 => {
                let size = state.files[&self.handles[opened()].0].len() as u64;
                reply(105, &attributes(FILE, size))
            }
            17 => match state.files.get(&path()) {
                Some(content) => reply(105, &attributes(FILE, content.len() as u64)),
                None => status(2),
            },
            _ => status(0),
        }
    }
}

impl State {
    /// What is in a directory.
    fn names(&self, directory: &str) -> Vec<Shown> {
        let inside = format!("{}/", directory.trim_end_matches('/'));
        let mut names = BTreeSet::new();
        for (path, content) in &self.files {
            let Some(rest) = path.strip_prefix(&inside) else { continue };
            names.insert(match rest.split_once('/') {
                Some((above, _)) => (above.as_bytes().to_vec(), DIRECTORY, 0),
                None => (rest.as_bytes().to_vec(), FILE, content.len() as u64),
            });
        }
        let odd = self.manner.names.iter().filter(|_| directory == "/");
        odd.map(|(name, mode)| (name.clone(), *mode, 5)).chain(names).collect()
    }

    /// `None` where there is to be no answer.
    fn read(&mut self, path: &str, offset: u64, wanted: usize) -> Option<Vec<u8>> {
        self.journal.reads.push((path.to_owned(), offset));
        if self.manner.silent_after.is_some_and(|after| self.journal.sent >= after) {
            return None;
        }
        let content = self.files.get_mut(path)?;
        let begin = usize::try_from(offset).unwrap().min(content.len());
        let end = content.len().min(begin + wanted.min(self.manner.most));
        let data = content[begin..end].to_vec();
        if data.is_empty() && self.manner.grows.as_ref().is_some_and(|(growing, _)| growing == path) {
            content.extend(self.manner.grows.take().map(|(_, rest)| rest).unwrap_or_default());
        }
        self.journal.sent += data.len() as u64;
        Some(data)
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        let asks = calm(self.state.lock()).manner.asks;
        let mut methods = MethodSet::empty();
        methods.push(if asks { MethodKind::KeyboardInteractive } else { MethodKind::Password });
        Ok(Auth::Reject { proceed_with_methods: Some(methods), partial_success: false })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        if calm(self.state.lock()).manner.asks {
            return Ok(Auth::UnsupportedMethod);
        }
        Ok(self.judge(user, password))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let answers: Vec<_> = response.into_iter().flatten().collect();
        match answers.as_slice() {
            [name, password] if name.is_empty() => {
                let password = String::from_utf8_lossy(password).into_owned();
                Ok(self.judge(user, &password))
            }
            [] => Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Borrowed(&[
                    (Cow::Borrowed("Site: "), true),
                    (Cow::Borrowed("Password: "), false),
                ]),
            }),
            _ => Ok(Auth::reject()),
        }
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.inbox.extend_from_slice(data);
        let Some(answers) = self.answers() else {
            let (_, words) = calm(self.state.lock()).manner.leaves_after.take().expect("last words");
            return session.disconnect(Disconnect::ByApplication, words, "");
        };
        answers.into_iter().try_for_each(|answer| session.data(channel, answer))
    }
}

fn framed(packet: &[u8]) -> Vec<u8> {
    text(packet)
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn attributes(mode: u32, size: u64) -> Vec<u8> {
    let numbers = [mode, MODIFIED, MODIFIED].map(u32::to_be_bytes).concat();
    [&13_u32.to_be_bytes()[..], &size.to_be_bytes(), &numbers].concat()
}
