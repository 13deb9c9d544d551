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

/// Further kinds of requests, for [`Manner::bend`].
pub const CLOSE: u8 = 4;
pub const LSTAT: u8 = 7;
pub const FSTAT: u8 = 8;
pub const OPEN_DIRECTORY: u8 = 11;
pub const REAL_PATH: u8 = 16;
pub const STAT: u8 = 17;

/// Codes of answers.
pub const EOF: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const PERMISSION_DENIED: u32 = 3;
pub const FAILURE: u32 = 4;
pub const UNSUPPORTED: u32 = 8;

/// A request, for [`Manner::bend`].
pub struct Asked {
    pub kind: u8,
    /// Of the handle, where it has one.
    pub path: String,
    pub offset: u64,
    pub length: usize,
    /// Which READDIR of this handle it is, from 0 on.
    pub turn: usize,
    /// How many requests of its kind this connection had before.
    pub before: usize,
}

/// Another answer than the usual one.
pub enum Bent {
    Status(u32, &'static str),
    /// Kind and body, without the number of the request.
    Packet(u8, Vec<u8>),
    /// The answer to another request.
    Stray,
}

type Bending = dyn Fn(&Asked) -> Option<Bent> + Send + Sync;

/// What answers are bent to.
#[derive(Clone, Default)]
pub struct Bend(Option<Arc<Bending>>);

impl std::fmt::Debug for Bend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bend")
    }
}

impl Bend {
    pub fn new(bend: impl Fn(&Asked) -> Option<Bent> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(bend)))
    }
}

/// An answer to READDIR: name, long name and attributes of each entry.
pub fn listing(entries: &[(&str, &str, Vec<u8>)]) -> Bent {
    let entry = |(name, long, attributes): &(&str, &str, Vec<u8>)| {
        [text(name.as_bytes()), text(long.as_bytes()), attributes.clone()].concat()
    };
    let body: Vec<u8> = entries.iter().flat_map(entry).collect();
    Bent::Packet(104, [&(entries.len() as u32).to_be_bytes()[..], &body].concat())
}

/// Attributes that say nothing.
pub fn no_attributes() -> Vec<u8> {
    vec![0; 4]
}

/// Rounds of questions: instructions, and prompts with whether their answers are shown.
pub type Questions = &'static [(&'static str, &'static [(&'static str, bool)])];

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
    /// Answers some requests in another way.
    pub bend: Bend,
    /// The version that it speaks.
    pub version: u32,
    /// What its shell prints first.
    pub prints: &'static str,
    /// What it says on standard error before it ends, instead of SFTP.
    pub complains: &'static str,
    /// What it says to everybody who comes.
    pub banner: Option<String>,
    /// The rounds of questions, instructions and prompts, of a login that [`Manner::asks`]; none of them lets in.
    pub questions: Option<Questions>,
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
            bend: Bend::default(),
            version: 3,
            prints: "",
            complains: "",
            banner: None,
            questions: None,
        }
    }
}

/// What was asked of the server so far.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Passwords that were tried, right or wrong.
    pub passwords: usize,
    /// All answers to questions, where there are rounds of them.
    pub answers: Vec<String>,
    /// Connections that logged in.
    pub logins: usize,
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

    /// Puts a file in place, with the directories above it; where the path ends in a slash, those alone.
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
            turns: BTreeMap::new(),
            round: 0,
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

/// A path, for a directory what is left to show of it, and whether its end was told.
type Opened = (String, Option<Vec<Shown>>, bool);

/// One connection.
struct Visitor {
    state: Arc<Mutex<State>>,
    inbox: Vec<u8>,
    /// Answers that are held back.
    held: Vec<Vec<u8>>,
    /// What was opened: a path, and for a directory what is left to show of it.
    handles: Vec<Opened>,
    /// How often each kind of request came, and READDIR of each handle.
    turns: BTreeMap<(u8, String), usize>,
    /// Questions asked so far.
    round: usize,
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
        state.journal.logins += 1;
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
            let version = framed(&[&[2_u8][..], &state.manner.version.to_be_bytes()].concat());
            return Some([state.manner.prints.as_bytes(), &version].concat());
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
        let asked = asked(&self.handles, &mut self.turns, *kind, subject, rest);
        let bend = state.manner.bend.clone();
        if let Some(bent) = bend.0.and_then(|bend| bend(&asked)) {
            if *kind == READ {
                state.journal.reads.push((asked.path, asked.offset));
            }
            return Some(bent.framed(id));
        }
        match *kind {
            OPEN if !state.files.contains_key(&path()) => status(2),
            OPEN => {
                self.handles.push((path(), None, false));
                handle(&self.handles)
            }
            OPEN_DIRECTORY => {
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
            FSTAT => {
                let size = state.files[&self.handles[opened()].0].len() as u64;
                reply(105, &attributes(FILE, size))
            }
            STAT | LSTAT if !state.names(&path()).is_empty() => reply(105, &attributes(DIRECTORY, 4096)),
            STAT | LSTAT => match state.files.get(&path()) {
                Some(content) => reply(105, &attributes(FILE, content.len() as u64)),
                None => status(2),
            },
            _ => status(0),
        }
    }
}

/// What is asked, and how often it was before.
fn asked(
    handles: &[Opened],
    turns: &mut BTreeMap<(u8, String), usize>,
    kind: u8,
    subject: &[u8],
    rest: &[u8],
) -> Asked {
    let path = match kind {
        CLOSE | READ | FSTAT | READ_DIRECTORY => {
            let place = u32::from_be_bytes(subject.try_into().unwrap()) as usize;
            handles.get(place).map(|(path, ..)| path.clone()).unwrap_or_default()
        }
        _ => String::from_utf8_lossy(subject).into_owned(),
    };
    let number = |at: usize, count: usize| {
        let bytes = rest.get(at..at + count).filter(|_| kind == READ).unwrap_or_default();
        bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let mut count = |key: String| {
        let turn = turns.entry((kind, key)).or_default();
        *turn += 1;
        *turn - 1
    };
    let turn = if kind == READ_DIRECTORY { count(format!("{subject:?}")) } else { 0 };
    let before = count("all".to_owned());
    Asked { kind, path, offset: number(0, 8), length: number(8, 4) as usize, turn, before }
}

impl Bent {
    fn framed(self, id: &[u8]) -> Vec<u8> {
        let reply = |kind: u8, body: &[u8]| framed(&[&[kind][..], id, body].concat());
        match self {
            Self::Status(code, words) => {
                reply(101, &[&code.to_be_bytes()[..], &text(words.as_bytes()), &text(b"en")].concat())
            }
            Self::Packet(kind, body) => reply(kind, &body),
            Self::Stray => framed(&[&[101_u8][..], &[0xff; 4], &[0; 4]].concat()),
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
                None if rest.is_empty() => continue,
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

impl Visitor {
    /// The next round of questions.
    fn ask(&mut self, questions: Questions) -> Auth {
        let Some((instructions, prompts)) = questions.get(self.round) else { return Auth::reject() };
        self.round += 1;
        Auth::Partial {
            name: Cow::Borrowed(""),
            instructions: Cow::Borrowed(instructions),
            prompts: prompts.iter().map(|(prompt, echo)| (Cow::Borrowed(*prompt), *echo)).collect(),
        }
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(calm(self.state.lock()).manner.banner.clone())
    }

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
        let questions = calm(self.state.lock()).manner.questions;
        if let Some(questions) = questions {
            let text = answers.iter().map(|answer| String::from_utf8_lossy(answer).into_owned());
            calm(self.state.lock()).journal.answers.extend(text);
            return Ok(self.ask(questions));
        }
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
        session.channel_success(channel)?;
        let complains = calm(self.state.lock()).manner.complains;
        if complains.is_empty() {
            return Ok(());
        }
        session.extended_data(channel, 1, complains.as_bytes().to_vec())?;
        session.close(channel)
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

pub fn attributes(mode: u32, size: u64) -> Vec<u8> {
    let numbers = [mode, MODIFIED, MODIFIED].map(u32::to_be_bytes).concat();
    [&13_u32.to_be_bytes()[..], &size.to_be_bytes(), &numbers].concat()
}
