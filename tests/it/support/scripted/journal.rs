//! What a scripted server saw, for asserts.

use std::collections::BTreeMap;
use std::time::Instant;

/// Everything that happened, in the order in which it happened.
#[derive(Debug, Default)]
pub struct Journal {
    /// Connections by number, which counts from 1 in the order of arrival.
    pub connections: BTreeMap<u64, Visit>,
    /// Commands of all connections.
    pub commands: Vec<Command>,
    /// Each RETR that began to send.
    pub retrs: Vec<Retr>,
    /// Commands that came before the final reply of a listing was sent.
    pub early_at_listings: usize,
    /// The most connections that clients had open at one time.
    pub max_open: usize,
    /// Logins that succeeded.
    pub logins: usize,
    /// Bytes on data connections, listings included.
    pub data_bytes: u64,
}

/// One control connection.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// When it was accepted.
    pub opened: Instant,
    /// When the server was done with it.
    pub closed: Option<Instant>,
}

/// One command.
#[derive(Debug, Clone)]
pub struct Command {
    /// The connection that it came by.
    pub connection: u64,
    /// When its line was complete.
    pub at: Instant,
    /// Whether another one had arrived behind it.
    pub more: bool,
    /// The verb in capitals.
    pub verb: String,
    /// What follows the first blank.
    pub argument: Vec<u8>,
    /// The absolute path that it is about, where it is about one: a listing's directory, RETR's file.
    pub path: Option<Vec<u8>>,
}

/// One transfer of a file.
#[derive(Debug, Clone)]
pub struct Retr {
    /// The connection that it came by.
    pub connection: u64,
    /// The absolute path.
    pub path: Vec<u8>,
    /// Where it began: what REST had said.
    pub offset: u64,
    /// Bytes given to the kernel.
    pub sent: u64,
    /// Commands that came before its final reply was sent.
    pub early: usize,
    /// When it began.
    pub began: Instant,
    /// When it was over, however it ended.
    pub ended: Option<Instant>,
}

impl Journal {
    /// How often this file was asked for and began to come.
    pub fn retrs_of(&self, path: impl AsRef<[u8]>) -> usize {
        self.retrs.iter().filter(|retr| retr.path == path.as_ref()).count()
    }

    /// How often this verb came.
    pub fn count(&self, verb: &str) -> usize {
        self.commands.iter().filter(|command| command.verb == verb).count()
    }

    /// How often a directory was listed, by whichever command.
    pub fn listings_of(&self, path: impl AsRef<[u8]>) -> usize {
        let is_listing = |command: &&Command| matches!(command.verb.as_str(), "LIST" | "MLSD");
        let commands = self.commands.iter().filter(is_listing);
        commands.filter(|command| command.path.as_deref() == Some(path.as_ref())).count()
    }

    /// How often the second verb was there already when the first one, the command before it on that connection, was
    /// taken up.
    pub fn arrived_together(&self, first: &str, second: &str) -> usize {
        let of = |connection| self.commands.iter().filter(move |command| command.connection == connection);
        let pairs = self.connections.keys().flat_map(|id| of(*id).zip(of(*id).skip(1)));
        pairs.filter(|(a, b)| a.verb == first && b.verb == second && a.more).count()
    }

    /// All commands as text, such as `RETR /a.zip`.
    pub fn lines(&self) -> Vec<String> {
        self.commands.iter().map(Command::line).collect()
    }

    /// The commands of one connection as text.
    pub fn lines_of(&self, connection: u64) -> Vec<String> {
        let commands = self.commands.iter().filter(|command| command.connection == connection);
        commands.map(Command::line).collect()
    }
}

impl Command {
    /// The command as text; bytes that are not UTF-8 come as U+FFFD.
    pub fn line(&self) -> String {
        let argument = String::from_utf8_lossy(&self.argument);
        format!("{} {argument}", self.verb).trim_end().to_owned()
    }
}
