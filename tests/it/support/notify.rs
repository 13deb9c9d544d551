//! The host that is called for each file (`dls.php`), with every fault such a host can have.
//!
//! HTTP/1.1 with keep-alive, written by hand: what a server may do wrong is the point.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::net::{Acceptor, Connection, Gate, Waited, calm};

/// The handle of a running host; it ends when it is dropped.
pub struct NotifyStub {
    // before `shared`: its drop ends the threads that use it
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// When its head was complete.
    pub at: Instant,
    /// `GET`.
    pub method: String,
    /// Path and query as they stood in the request line: `/dls.php?file=%2Fomc01%2Fa.zip`.
    pub target: String,
    /// The header lines as they came, without line ends.
    pub headers: Vec<String>,
    /// Counts connections from 1: two calls with the same number came by the same connection.
    pub connection: u64,
}

/// What the host does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status, with a short body.
    Status(u16),
    /// This status, late.
    Late(Duration, u16),
    /// Nothing, until the test releases what hangs; then 200.
    Hang,
    /// Closes the connection without a word.
    Close,
    /// 200, and a body that never ends.
    EndlessBody,
    /// 200 that promises a body and then sends nothing, until the test releases what hangs.
    HangingBody,
    /// These bytes, and the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, and the connection stays.
    Bytes(Vec<u8>),
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

struct Seen {
    calls: Vec<Call>,
    under_way: usize,
    max_under_way: usize,
    answer: Answer,
    /// For the next calls, one each, before `answer` holds.
    next: Vec<Answer>,
    /// For files of this server, before all others.
    of_server: Option<(String, Answer)>,
}

impl NotifyStub {
    /// Starts a host on 127.0.0.1 that answers 200.
    pub fn start() -> Self {
        let seen = Seen {
            calls: Vec::new(),
            under_way: 0,
            max_under_way: 0,
            answer: Answer::Status(200),
            next: Vec::new(),
            of_server: None,
        };
        let shared = Arc::new(Shared { seen: Mutex::new(seen), changed: Condvar::new() });
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
            let shared = Arc::clone(&shared);
            move |connection| serve(&connection, &shared).unwrap_or_default()
        });
        Self { acceptor, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    /// What belongs into `[notify].url`.
    pub fn url(&self) -> String {
        format!("http://{}/dls.php", self.addr())
    }

    /// What all calls are answered from now on.
    pub fn answer(&self, answer: Answer) {
        self.shared.lock().answer = answer;
    }

    /// What the next calls are answered, one each; later ones as before.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().next.extend(answers);
    }

    /// What all calls for files of this server are answered from now on.
    pub fn answer_server(&self, server: &str, answer: Answer) {
        self.shared.lock().of_server = Some((format!("file=%2F{server}%2F"), answer));
    }

    /// Forgets the answers meant for the next calls.
    pub fn behave(&self) {
        self.shared.lock().next.clear();
    }

    /// Lets go on what hangs at this moment.
    pub fn release(&self) {
        self.acceptor.release();
    }

    /// Closes everything and stops listening: connecting is refused.
    pub fn go_down(&self) {
        self.acceptor.go_down();
    }

    /// Listens again, at the same port.
    pub fn come_back(&self) {
        self.acceptor.come_back();
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// The files of all calls so far, decoded, in the order of arrival.
    pub fn files(&self) -> Vec<String> {
        self.shared.lock().calls.iter().filter_map(Call::file).collect()
    }

    /// The most calls that were under way at one time.
    pub fn max_under_way(&self) -> usize {
        self.shared.lock().max_under_way
    }

    /// Waits until the calls are as wanted; panics with `what` and all targets at the limit.
    #[track_caller]
    pub fn wait_for(&self, limit: Duration, what: &str, mut wanted: impl FnMut(&[Call]) -> bool) {
        let seen = self.shared.lock();
        let waiting = |seen: &mut Seen| !wanted(&seen.calls);
        let (seen, waited) = calm(self.shared.changed.wait_timeout_while(seen, limit, waiting));
        let targets: Vec<String> = seen.calls.iter().map(|call| call.target.clone()).collect();
        drop(seen);
        assert!(!waited.timed_out(), "still not so after {limit:?}: {what}; calls: {targets:#?}");
    }
}

impl Call {
    /// The value of `file`, decoded; `None` where the query has none or it is no UTF-8.
    pub fn file(&self) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("file="))?;
        urlencoding::decode(value).ok().map(|value| value.into_owned())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        calm(self.seen.lock())
    }

    fn arrived(&self, call: Call) -> Answer {
        let mut seen = self.lock();
        let own = seen.of_server.as_ref().filter(|(file, _)| call.target.contains(file));
        let own = own.map(|(_, answer)| answer.clone());
        seen.calls.push(call);
        seen.under_way += 1;
        seen.max_under_way = seen.max_under_way.max(seen.under_way);
        let answer = match own {
            Some(own) => own,
            None if seen.next.is_empty() => seen.answer.clone(),
            None => seen.next.remove(0),
        };
        self.changed.notify_all();
        answer
    }
}

/// Serves one connection; `None` when it is over.
fn serve(connection: &Connection, shared: &Shared) -> Option<()> {
    let stream = connection.stream.as_ref();
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        // taken before the test can see the call, so that a release after that counts
        let ticket = connection.gate.ticket();
        let mut words = head.first()?.split(' ').map(str::to_owned);
        let call = Call {
            at: Instant::now(),
            method: words.next()?,
            target: words.next()?,
            headers: head[1..].to_vec(),
            connection: connection.id,
        };
        let answer = shared.arrived(call);
        let hang = || match connection.gate.hang(ticket, &[stream]) {
            Waited::Over => Some(()),
            Waited::Gone => None,
        };
        let goes_on = give(answer, stream, &connection.gate, hang);
        shared.lock().under_way -= 1;
        goes_on?;
    }
}

fn give(
    answer: Answer,
    mut stream: &TcpStream,
    gate: &Gate,
    hang: impl FnOnce() -> Option<()>,
) -> Option<()> {
    match answer {
        Answer::Status(status) => send(stream, status),
        Answer::Late(time, status) => match gate.pause(time) {
            Waited::Over => send(stream, status),
            Waited::Gone => None,
        },
        Answer::Hang => {
            hang()?;
            send(stream, 200)
        }
        Answer::Close => None,
        Answer::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            loop {
                stream.write_all(&[&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat()).ok()?;
            }
        }
        Answer::HangingBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").ok()?;
            hang()?;
            stream.write_all(b"ok").ok()
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes).ok()?;
            None
        }
        Answer::Bytes(bytes) => stream.write_all(&bytes).ok(),
    }
}

fn send(mut stream: &TcpStream, status: u16) -> Option<()> {
    let body = if status == 204 || status == 304 { "" } else { "done" };
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    stream.write_all(format!("HTTP/1.1 {status} As Told\r\n{length}\r\n{body}").as_bytes()).ok()
}

/// The lines of a request's head. GET has no body, so that the next request follows at once.
fn read_head(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line.to_owned());
    }
}
