//! A scripted FTP server: well-behaved until a test tells it where to go wrong, and a witness of all it saw.
//!
//! ```ignore
//! let server = ScriptedServer::start();
//! server.put("/MR/a.zip", File::new(zip));
//! server.rule(Rule::on("RETR").about("/MR/a.zip").cut(1000, Ending::Success).once());
//! // … let the program scan it …
//! assert_eq!(server.retrs("/MR/a.zip"), 2);
//! ```
//!
//! Paths and names are wire bytes. One thread accepts, one serves each connection; all end with the handle.

pub mod passive;

mod journal;
mod listing;
mod rules;
mod session;
mod transfer;
mod tree;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

pub use journal::{Command, Journal, Retr, Visit};
pub use rules::{AsImage, CONNECT, Ending, Limit, LimitAt, ListStyle, Manner, MlsdLinks, Paths, Rest, Rule};
pub use tree::{File, Tree};

use super::net::{Acceptor, calm, open_connections};
use session::Session;

/// The handle of a running server; the server ends when it is dropped.
pub struct ScriptedServer {
    // before `shared`: its drop ends the threads that use it
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

/// What the sessions and the handle share.
struct Shared {
    world: Mutex<World>,
    /// Something was written into the journal.
    seen: Condvar,
}

#[derive(Default)]
struct World {
    tree: Tree,
    manner: Manner,
    rules: Vec<Rule>,
    journal: Journal,
}

impl ScriptedServer {
    /// Starts a server on 127.0.0.1 with an empty root directory.
    pub fn start() -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Starts a server on `::1`.
    pub fn start_v6() -> Self {
        Self::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    fn start_on(host: IpAddr) -> Self {
        let shared = Arc::new(Shared { world: Mutex::default(), seen: Condvar::new() });
        let acceptor = Acceptor::start(host, {
            let shared = Arc::clone(&shared);
            move |connection| Session::serve(connection, &shared)
        });
        Self { acceptor, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    // -- what it shows ---------------------------------------------------------------------------------------

    /// Puts a file in place, with the directories above it.
    pub fn put(&self, path: impl AsRef<[u8]>, file: File) {
        self.shared.lock().tree.put(path, file);
    }

    /// Makes a directory, and those above it.
    pub fn make_directory(&self, path: impl AsRef<[u8]>) {
        self.shared.lock().tree.make_directory(path);
    }

    /// Removes a file or link, or a directory with everything below it.
    pub fn remove(&self, path: impl AsRef<[u8]>) {
        self.shared.lock().tree.remove(path);
    }

    /// Changes the tree in one step, so that no listing sees half of it.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Tree) -> T) -> T {
        change(&mut self.shared.lock().tree)
    }

    // -- how it behaves --------------------------------------------------------------------------------------

    /// Changes how it is, from the next command on.
    pub fn manner(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.shared.lock().manner);
    }

    /// Adds a rule.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn behave(&self) {
        self.shared.lock().rules.clear();
    }

    /// Lets go on what hangs or stalls at this moment.
    pub fn release(&self) {
        self.acceptor.release();
    }

    /// Closes all control and data connections without a word.
    pub fn drop_connections(&self) {
        self.acceptor.drop_connections();
    }

    /// Closes everything and stops listening: connecting is refused.
    pub fn go_down(&self) {
        self.acceptor.go_down();
    }

    /// Listens again, at the same port.
    pub fn come_back(&self) {
        self.acceptor.come_back();
    }

    // -- what it saw -----------------------------------------------------------------------------------------

    /// Looks into the journal.
    pub fn journal<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.shared.lock().journal)
    }

    /// How often this file was asked for and began to come.
    pub fn retrs(&self, path: impl AsRef<[u8]>) -> usize {
        self.journal(|journal| journal.retrs_of(path))
    }

    /// How often this directory was listed.
    pub fn listings(&self, path: impl AsRef<[u8]>) -> usize {
        self.journal(|journal| journal.listings_of(path))
    }

    /// All commands so far, as text.
    pub fn commands(&self) -> Vec<String> {
        self.journal(Journal::lines)
    }

    /// How often this verb came.
    pub fn count(&self, verb: &str) -> usize {
        self.journal(|journal| journal.count(verb))
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.journal(|journal| journal.connections.len())
    }

    /// The most connections that clients had open at one time.
    pub fn max_open(&self) -> usize {
        self.journal(|journal| journal.max_open)
    }

    /// Connections that clients have open now.
    pub fn open(&self) -> usize {
        open_connections(self.addr())
    }

    /// Waits until the journal is as wanted; panics with `what` and all commands at the limit.
    #[track_caller]
    pub fn wait_for(&self, limit: Duration, what: &str, mut wanted: impl FnMut(&Journal) -> bool) {
        let world = self.shared.lock();
        let waiting = |world: &mut World| !wanted(&world.journal);
        let (world, waited) = calm(self.shared.seen.wait_timeout_while(world, limit, waiting));
        let lines = world.journal.lines();
        drop(world);
        assert!(!waited.timed_out(), "still not so after {limit:?}: {what}; commands: {lines:#?}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        calm(self.world.lock())
    }

    /// Writes into the journal and wakes whoever waits for it.
    fn note<T>(&self, write: impl FnOnce(&mut Journal) -> T) -> T {
        let result = write(&mut self.lock().journal);
        self.seen.notify_all();
        result
    }
}
