//! A server in memory, for tests: a tree that keeps the contract of a protocol without a socket, and faults at every step
//! of a conversation. All waiting is tokio's, so that a paused clock holds it.
//!
//! Each call of a session is a [`Step`]. Rules ([`MemoryServer::on`]) say what happens at which of them: it fails, it takes
//! its time, it never returns, or the tree changes, as it does where files grow and listings are cut. Steps are numbered
//! from 0 on ([`MemoryServer::steps`]), so that a test can break a scan off at each of them in turn.

mod session;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::{Connector, Detail, ErrorScope, FingerprintKey, Kind, ProtocolError};
use crate::base::facts::{FileFacts, Modified, TimeSource};

/// Entries that come in one batch of a listing, and bytes in one piece of a file, unless a test says otherwise.
const BATCH: usize = 3;
const PIECE: usize = 16 * 1024;

/// A call that reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A login.
    Connect,
    /// [`Session::size`](super::Session::size).
    Size,
    /// [`Session::list`](super::Session::list).
    List,
    /// [`Listing::next`](super::Listing::next), or what [`Listing::is_unchanged`](super::Listing::is_unchanged) reads.
    Next,
    /// [`Listing::finish`](super::Listing::finish).
    Finish,
    /// [`Session::confirm_listing`](super::Session::confirm_listing).
    Confirm,
    /// [`Session::fetch`](super::Session::fetch), before the first byte.
    Fetch,
    /// One piece of a file, before it is handed on.
    Piece,
    /// The end of a file, before the verdict.
    End,
    /// [`Session::quit`](super::Session::quit).
    Quit,
}

/// What happens at a step.
#[derive(Clone)]
pub enum Action {
    /// It fails for its path alone, with these words; the session stays usable.
    Refuse(&'static str),
    /// The connection is lost.
    Lose,
    /// It fails so; the session stays usable where the scope is [`ErrorScope::Entry`].
    Fail(ErrorScope, Detail, &'static str),
    /// It goes on after so long.
    Delay(Duration),
    /// It never returns.
    Hang,
    /// This is done first, such as a change of the tree.
    Do(Rc<dyn Fn(&MemoryServer)>),
    /// The listing is to be confirmed by another way: the directory is to be listed again. Of [`Step::Confirm`] alone.
    ListAgain,
}

/// Where a rule holds.
#[derive(Default)]
struct Rule {
    step: Option<Step>,
    path: Option<Vec<u8>>,
    /// The number of the step among all steps.
    number: Option<u64>,
    /// So many matches pass first.
    skips: Cell<u32>,
    /// Matches that are left.
    times: Cell<u32>,
    action: Option<Action>,
}

#[derive(Clone)]
enum Node {
    Directory { is_readable: bool },
    File { content: Rc<Vec<u8>>, facts: FileFacts, kind: Kind },
}

/// The server; clones are the same one.
#[derive(Clone)]
pub struct MemoryServer(Rc<State>);

struct State {
    tree: RefCell<BTreeMap<Vec<u8>, Node>>,
    rules: RefCell<Vec<Rule>>,
    journal: RefCell<Vec<(Step, String)>>,
    encoding: &'static encoding_rs::Encoding,
    sessions: Cell<usize>,
    most_sessions: Cell<usize>,
    batch: Cell<usize>,
    piece: Cell<usize>,
    is_tentative: Cell<bool>,
    tells_sizes: Cell<bool>,
    latency: Cell<Duration>,
    key: FingerprintKey,
}

impl Default for MemoryServer {
    fn default() -> Self {
        Self::new(encoding_rs::UTF_8)
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryServer")
    }
}

impl MemoryServer {
    /// An empty root; names are in `encoding`.
    #[must_use]
    pub fn new(encoding: &'static encoding_rs::Encoding) -> Self {
        let root = (b"/".to_vec(), Node::Directory { is_readable: true });
        Self(Rc::new(State {
            tree: RefCell::new(BTreeMap::from([root])),
            rules: RefCell::default(),
            journal: RefCell::default(),
            encoding,
            sessions: Cell::new(0),
            most_sessions: Cell::new(usize::MAX),
            batch: Cell::new(BATCH),
            piece: Cell::new(PIECE),
            is_tentative: Cell::new(false),
            tells_sizes: Cell::new(true),
            latency: Cell::new(Duration::ZERO),
            key: FingerprintKey::default(),
        }))
    }

    /// Returns what makes sessions with it.
    #[must_use]
    pub fn connector(&self) -> Box<dyn Connector> {
        Box::new(self.clone())
    }

    /// Makes a directory, and those above it.
    pub fn directory(&self, path: impl AsRef<[u8]>) -> &Self {
        let path = path.as_ref();
        let mut tree = self.0.tree.borrow_mut();
        for (end, _) in path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/') {
            let above = path.get(..end).unwrap_or_default().to_vec();
            tree.entry(above).or_insert(Node::Directory { is_readable: true });
        }
        tree.entry(path.to_vec()).or_insert(Node::Directory { is_readable: true });
        drop(tree);
        self
    }

    /// A directory that is listed in the one above it, and cannot be entered.
    pub fn forbid(&self, path: impl AsRef<[u8]>) -> &Self {
        self.directory(path.as_ref());
        self.0.tree.borrow_mut().insert(path.as_ref().to_vec(), Node::Directory { is_readable: false });
        self
    }

    /// Puts a file there, changed at the time `modified`, in seconds of Unix; its directories are made.
    pub fn file(&self, path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>, modified: i64) -> &Self {
        let content = content.into();
        let modified = Some(Modified { unix_seconds: modified, source: TimeSource::Utc });
        let facts = FileFacts { size: Some(content.len() as u64), modified };
        self.file_shown_as(path, content, facts)
    }

    /// Puts a file there of which listings show `facts`, whatever its content.
    pub fn file_shown_as(
        &self,
        path: impl AsRef<[u8]>,
        content: impl Into<Vec<u8>>,
        facts: FileFacts,
    ) -> &Self {
        let path = path.as_ref();
        self.directory(parent(path));
        let node = Node::File { content: Rc::new(content.into()), facts, kind: Kind::File };
        self.0.tree.borrow_mut().insert(path.to_vec(), node);
        self
    }

    /// Appends to a file, as somebody does who uploads it: listings show the new size, transfers under way see the new
    /// bytes.
    pub fn append(&self, path: impl AsRef<[u8]>, more: &[u8]) -> &Self {
        if let Some(Node::File { content, facts, .. }) = self.0.tree.borrow_mut().get_mut(path.as_ref()) {
            Rc::make_mut(content).extend_from_slice(more);
            facts.size = facts.size.map(|_| content.len() as u64);
        }
        self
    }

    /// Removes a file or a directory with all that is in it.
    pub fn remove(&self, path: impl AsRef<[u8]>) -> &Self {
        let path = path.as_ref();
        let below = [path, b"/"].concat();
        self.0.tree.borrow_mut().retain(|name, _| name != path && !name.starts_with(&below));
        self
    }

    /// At the next such step on `path` (or on any, where it is empty), `action` happens, once.
    pub fn on(&self, step: Step, path: impl AsRef<[u8]>, action: Action) -> &Self {
        self.on_nth(step, path, 0, 1, action)
    }

    /// The same of each of `times` such steps, after `skips` that go well.
    pub fn on_nth(
        &self,
        step: Step,
        path: impl AsRef<[u8]>,
        skips: u32,
        times: u32,
        action: Action,
    ) -> &Self {
        let path = Some(path.as_ref().to_vec()).filter(|path| !path.is_empty());
        self.rule(Rule {
            step: Some(step),
            path,
            skips: Cell::new(skips),
            times: Cell::new(times),
            ..Rule::of(action)
        })
    }

    /// At the step with this number, whatever it is, `action` happens; see [`Self::steps`].
    pub fn at(&self, number: u64, action: Action) -> &Self {
        self.rule(Rule { number: Some(number), times: Cell::new(1), ..Rule::of(action) })
    }

    fn rule(&self, rule: Rule) -> &Self {
        self.0.rules.borrow_mut().push(rule);
        self
    }

    /// Forgets all rules.
    pub fn heal(&self) -> &Self {
        self.0.rules.borrow_mut().clear();
        self
    }

    /// Takes no more than so many logins at a time.
    pub fn limit_logins(&self, most: usize) -> &Self {
        self.0.most_sessions.set(most);
        self
    }

    /// So many entries come in a batch, and so many bytes in a piece; 1 at least.
    pub fn pieces(&self, batch: usize, piece: usize) -> &Self {
        self.0.batch.set(batch.max(1));
        self.0.piece.set(piece.max(1));
        self
    }

    /// Each step takes so long, so that others may come in between.
    pub fn latency(&self, latency: Duration) -> &Self {
        self.0.latency.set(latency);
        self
    }

    /// Listings are tentative until they are confirmed.
    pub fn tentative(&self, is_tentative: bool) -> &Self {
        self.0.is_tentative.set(is_tentative);
        self
    }

    /// Tells the size of a file that is asked for, which not every server does.
    pub fn tells_sizes(&self, tells_sizes: bool) -> &Self {
        self.0.tells_sizes.set(tells_sizes);
        self
    }

    /// Returns how many steps there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.journal.borrow().len() as u64
    }

    /// Returns all steps and their paths so far.
    #[must_use]
    pub fn journal(&self) -> Vec<(Step, String)> {
        self.0.journal.borrow().clone()
    }

    /// Returns how often there was such a step on `path` (any, where it is empty).
    #[must_use]
    pub fn count(&self, step: Step, path: &str) -> usize {
        let journal = self.0.journal.borrow();
        journal.iter().filter(|(was, on)| *was == step && (path.is_empty() || on == path)).count()
    }

    /// Returns how many sessions are logged in now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.get()
    }

    /// A step: noted, and whatever the first rule for it says. True where the directory is to be listed again.
    async fn step(&self, step: Step, path: &[u8]) -> Result<bool, ProtocolError> {
        let number = self.steps();
        self.0.journal.borrow_mut().push((step, String::from_utf8_lossy(path).into_owned()));
        if !self.0.latency.get().is_zero() {
            tokio::time::sleep(self.0.latency.get()).await;
        }
        match self.action(step, path, number) {
            None => Ok(false),
            Some(Action::ListAgain) => Ok(true),
            Some(Action::Refuse(text)) => Err(ProtocolError::remote(ErrorScope::Entry, text)),
            Some(Action::Fail(scope, detail, text)) => Err(ProtocolError::remote(scope, text).with(detail)),
            Some(Action::Lose) => Err(ProtocolError::remote(ErrorScope::Connection, "connection lost")),
            Some(Action::Hang) => std::future::pending().await,
            Some(Action::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(false)
            }
            Some(Action::Do(change)) => {
                change(self);
                Ok(false)
            }
        }
    }

    fn action(&self, step: Step, path: &[u8], number: u64) -> Option<Action> {
        let rules = self.0.rules.borrow();
        let rule = rules.iter().find(|rule| rule.applies(step, path, number))?;
        rule.action.clone()
    }

    fn node(&self, path: &[u8]) -> Option<Node> {
        self.0.tree.borrow().get(path).cloned()
    }

    /// What is in a directory, in the order of its names.
    fn children(&self, directory: &[u8]) -> Vec<Child> {
        let tree = self.0.tree.borrow();
        let is_child = |path: &[u8]| path != directory && parent(path) == directory;
        let children = tree.iter().filter(|(path, _)| is_child(path));
        children.map(|(path, node)| Child::of(name(path), node)).collect()
    }
}

impl Rule {
    fn of(action: Action) -> Self {
        Self { action: Some(action), ..Self::default() }
    }

    /// Returns whether it holds for this step, which it is counted for.
    fn applies(&self, step: Step, path: &[u8], number: u64) -> bool {
        let is_meant = self.step.is_none_or(|own| own == step)
            && self.path.as_deref().is_none_or(|own| own == path)
            && self.number.is_none_or(|own| own == number);
        if !is_meant || self.times.get() == 0 {
            return false;
        }
        if self.skips.get() > 0 {
            self.skips.set(self.skips.get() - 1);
            return false;
        }
        self.times.set(self.times.get() - 1);
        true
    }
}

/// The directory of a path.
fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => path.get(..slash).unwrap_or_default(),
    }
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// One entry of a listing.
struct Child {
    name: Vec<u8>,
    kind: Kind,
    facts: FileFacts,
}

impl Child {
    fn of(name: &[u8], node: &Node) -> Self {
        let (kind, facts) = match node {
            Node::Directory { .. } => (Kind::Directory, FileFacts::default()),
            Node::File { facts, kind, .. } => (*kind, *facts),
        };
        Self { name: name.to_vec(), kind, facts }
    }
}
