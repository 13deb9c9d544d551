//! The ground of the servers that run inside a test: one thread accepts, one thread serves each connection, and
//! all of them end when the [`Acceptor`] is dropped, whatever they were waiting for.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, LockResult, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

/// How long a blocking call stays blind to the end of the test.
pub const LOOK_UP_EVERY: Duration = Duration::from_millis(20);

/// Accepts connections and serves each on a thread of its own, until it is dropped.
pub struct Acceptor {
    addr: SocketAddr,
    gate: Arc<Gate>,
    accepting: Option<JoinHandle<()>>,
}

/// One accepted connection, for the thread that serves it.
pub struct Connection {
    /// Counts from 1 in the order of arrival.
    pub id: u64,
    /// The connection itself; it is closed with the last of its owners.
    pub stream: Arc<TcpStream>,
    /// For whatever has to wait.
    pub gate: Arc<Gate>,
}

/// What all threads of one server share: whether it is up, what hangs, and what must be closed at the end.
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    ending: bool,
    down: bool,
    listening: bool,
    releases: u64,
    streams: HashMap<u64, Vec<Weak<TcpStream>>>,
    threads: Vec<JoinHandle<()>>,
}

/// From when on a release counts.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

/// How a wait came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The time is over, or the test let everything go that hung.
    Over,
    /// The other side closed, or the server is ending: there is nobody to go on for.
    Gone,
}

impl Acceptor {
    /// Listens on `host` at a port that the system chooses.
    pub fn start(host: IpAddr, serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(host, 0)).expect("a loopback port");
        let addr = listener.local_addr().expect("the address of a listener");
        let gate = Arc::new(Gate { state: Mutex::default(), changed: Condvar::new() });
        let accepting = std::thread::spawn({
            let gate = Arc::clone(&gate);
            let serve = Arc::new(serve);
            move || accept_all(listener, &gate, &serve)
        });
        let acceptor = Self { addr, gate, accepting: Some(accepting) };
        acceptor.gate.wait_listening(true);
        acceptor
    }

    /// Where it listens, or did before it went down.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets everything go on that hangs at this moment.
    pub fn release(&self) {
        self.gate.lock().releases += 1;
        self.gate.changed.notify_all();
    }

    /// Closes all connections; the server goes on.
    pub fn drop_connections(&self) {
        self.gate.close_all(&self.gate.lock());
    }

    /// Stops listening and closes all connections: from now on connecting is refused.
    pub fn go_down(&self) {
        self.gate.lock().down = true;
        self.gate.wait_listening(false);
        self.drop_connections();
    }

    /// Listens again, at the same port.
    pub fn come_back(&self) {
        self.gate.lock().down = false;
        self.gate.changed.notify_all();
        self.gate.wait_listening(true);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.gate.lock().ending = true;
        self.gate.changed.notify_all();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        // nothing is accepted any more, so that this list of streams and threads is complete
        self.drop_connections();
        let threads = std::mem::take(&mut self.gate.lock().threads);
        for thread in threads {
            thread.join().ok();
        }
    }
}

impl Gate {
    /// Waits for `time`, unless the server ends before.
    pub fn pause(&self, time: Duration) -> Waited {
        let state = self.lock();
        let (state, _) = calm(self.changed.wait_timeout_while(state, time, |state| !state.ending));
        if state.ending { Waited::Gone } else { Waited::Over }
    }

    /// To be taken before the test can see what is going to hang: a release after that counts for it.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.lock().releases)
    }

    /// Hangs until the test releases what hangs, one of the `streams` is closed by its peer, or the server ends.
    pub fn hang(&self, ticket: Ticket, streams: &[&TcpStream]) -> Waited {
        let Ticket(before) = ticket;
        loop {
            let state = self.lock();
            let waiting = |state: &mut GateState| !state.ending && state.releases == before;
            let (state, _) = calm(self.changed.wait_timeout_while(state, LOOK_UP_EVERY, waiting));
            if state.ending {
                return Waited::Gone;
            }
            if state.releases != before {
                return Waited::Over;
            }
            drop(state);
            if streams.iter().any(|stream| is_closed(stream)) {
                return Waited::Gone;
            }
        }
    }

    /// Has `stream`, which belongs to connection `id`, closed when all connections are.
    pub fn adopt(&self, id: u64, stream: &Arc<TcpStream>) {
        let mut state = self.lock();
        if state.ending {
            stream.shutdown(Shutdown::Both).ok();
        }
        let streams = state.streams.entry(id).or_default();
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(stream));
    }

    /// Whether the server is ending.
    pub fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Whether the test wants the server down; tells it how the door is, and waits while it is to stay shut.
    /// `None` when the server ends.
    fn wanted_down(&self, door: &Door) -> Option<bool> {
        let mut state = self.lock();
        state.listening = matches!(door, Door::Open(_));
        self.changed.notify_all();
        let stays_shut = |state: &mut GateState| !state.ending && state.down && !state.listening;
        let (state, _) = calm(self.changed.wait_timeout_while(state, LOOK_UP_EVERY, stays_shut));
        (!state.ending).then_some(state.down)
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        calm(self.state.lock())
    }

    fn close_all(&self, state: &GateState) {
        for stream in state.streams.values().flatten().filter_map(Weak::upgrade) {
            stream.shutdown(Shutdown::Both).ok();
        }
        self.changed.notify_all();
    }

    fn wait_listening(&self, wanted: bool) {
        let state = self.lock();
        let limit = Duration::from_secs(5);
        let waiting = |state: &mut GateState| state.listening != wanted;
        let (state, waited) = calm(self.changed.wait_timeout_while(state, limit, waiting));
        drop(state);
        assert!(!waited.timed_out(), "the listener did not change within {limit:?}");
    }
}

fn accept_all<S>(listener: TcpListener, gate: &Arc<Gate>, serve: &Arc<S>)
where
    S: Fn(Connection) + Send + Sync + 'static,
{
    let mut door = Door::Open(listener);
    let mut next_id = 1;
    while let Some(down) = gate.wanted_down(&door) {
        door = if down { door.shut() } else { door.opened() };
        let listener = match &door {
            Door::Open(listener) => listener,
            Door::Shut(listener) => {
                turn_away(listener);
                continue;
            }
        };
        let Ok((stream, _)) = accept_for(listener, LOOK_UP_EVERY) else { continue };
        stream.set_nodelay(true).ok();
        let connection = Connection { id: next_id, stream: Arc::new(stream), gate: Arc::clone(gate) };
        next_id += 1;
        gate.adopt(connection.id, &connection.stream);
        let serve = Arc::clone(serve);
        let thread = std::thread::spawn(move || {
            let (id, gate) = (connection.id, Arc::clone(&connection.gate));
            serve(connection);
            gate.lock().streams.remove(&id);
        });
        gate.lock().threads.push(thread);
    }
}

/// The server's port: it stays ours while the server is down, so that no other test gets it meanwhile.
enum Door {
    Open(TcpListener),
    /// Whoever connects is dropped without a word. The port stays ours: one that is bound and does not listen can be
    /// given to somebody else.
    Shut(TcpListener),
}

impl Door {
    fn opened(self) -> Self {
        match self {
            Self::Open(listener) => Self::Open(listener),
            Self::Shut(listener) => {
                // whoever came while it was shut, and may be gone since, is not served now
                turn_away(&listener);
                Self::Open(listener)
            }
        }
    }

    fn shut(self) -> Self {
        match self {
            Self::Open(listener) | Self::Shut(listener) => Self::Shut(listener),
        }
    }
}

/// Drops everybody who waits to be accepted.
fn turn_away(listener: &TcpListener) {
    listener.set_nonblocking(true).expect("a listener that does not block");
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).expect("a listener that blocks");
}

/// What was locked, even where a test panicked meanwhile: its servers still have to end in order.
pub fn calm<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// Accepts one connection within `limit`.
pub fn accept_for(listener: &TcpListener, limit: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    // Linux applies the receive timeout of a listening socket to accept
    SockRef::from(listener).set_read_timeout(Some(limit))?;
    let (stream, peer) = listener.accept()?;
    stream.set_read_timeout(None)?;
    Ok((stream, peer))
}

/// Whether the peer has closed and nothing is left to read.
pub fn is_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).ok();
    match seen {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// The connections to `addr` that clients have open now, as the kernel counts them.
///
/// The server's own count lags behind: it learns of a client that has gone only when it next reads.
pub fn open_connections(addr: SocketAddr) -> usize {
    const ESTABLISHED: &str = "01";
    let (table, address) = match addr.ip() {
        IpAddr::V4(v4) => ("/proc/net/tcp", hex_of(v4)),
        IpAddr::V6(v6) => ("/proc/net/tcp6", hex_of_v6(v6)),
    };
    let remote = format!("{address}:{:04X}", addr.port());
    let table = std::fs::read_to_string(table).expect("the kernel's table of connections");
    let is_open = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(&remote) && fields.next() == Some(ESTABLISHED)
    };
    table.lines().skip(1).filter(is_open).count()
}

fn hex_of(v4: Ipv4Addr) -> String {
    // the kernel prints the address as one number in the byte order of the machine
    format!("{:08X}", u32::from_ne_bytes(v4.octets()))
}

fn hex_of_v6(v6: Ipv6Addr) -> String {
    v6.octets()
        .chunks_exact(4)
        .map(|word| format!("{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
        .collect()
}
