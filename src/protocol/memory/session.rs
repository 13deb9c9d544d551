//! Sessions and listings of the server in memory.

use std::rc::Rc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;

use super::{Child, MemoryServer, Node, Step};
use crate::base::names::RemotePath;
use crate::protocol::{
    Confirmation, Connector, Detail, Entry, EntryCollector, ErrorScope, FileReceiver, FileRequest,
    Fingerprint, Fingerprinter, Listing, ProtocolError, ReadAhead, ReadsAhead, Received, Session, Summary,
    is_unchanged, next_entries,
};

#[async_trait(?Send)]
impl Connector for MemoryServer {
    async fn connect(&self) -> Result<Box<dyn Session>, ProtocolError> {
        if self.sessions() >= self.0.most_sessions.get() {
            return Err(ProtocolError::remote(ErrorScope::TooManyLogins, "too many logins"));
        }
        self.0.sessions.set(self.sessions() + 1);
        // counted while it is made, and no more where that fails or is cancelled
        let session = Box::new(MemorySession { server: self.clone(), is_pending: false });
        self.step(Step::Connect, b"").await?;
        Ok(session)
    }

    fn describe_listing(&self) -> Option<String> {
        (self.count(Step::Finish, "") > 0).then(|| "memory".to_owned())
    }
}

struct MemorySession {
    server: MemoryServer,
    /// Something began that has not come to its end.
    is_pending: bool,
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.server.0.sessions.set(self.server.sessions().saturating_sub(1));
    }
}

impl MemorySession {
    /// The first step of an operation, of which the contract allows none on a session that is not reusable.
    async fn begin(&mut self, step: Step, path: &[u8]) -> Result<bool, ProtocolError> {
        assert!(!self.is_pending, "{step:?} in the middle of a conversation");
        self.step(step, path).await
    }

    /// A step that leaves the session usable where it goes well, or fails for its path alone.
    async fn step(&mut self, step: Step, path: &[u8]) -> Result<bool, ProtocolError> {
        let was_pending = std::mem::replace(&mut self.is_pending, true);
        let outcome = self.server.step(step, path).await;
        let is_usable = outcome.as_ref().err().is_none_or(|error| error.scope() == ErrorScope::Entry);
        self.is_pending = was_pending || !is_usable;
        outcome
    }

    /// The content of a file now.
    fn content(&self, path: &[u8]) -> Result<Rc<Vec<u8>>, ProtocolError> {
        match self.server.node(path) {
            Some(Node::File { content, .. }) => Ok(content),
            _ => Err(ProtocolError::remote(ErrorScope::Entry, "no such file")),
        }
    }

    /// Passes on what there is of a file from `at` on, growing or not.
    async fn pass_on(
        &mut self,
        path: &[u8],
        mut at: usize,
        receiver: &mut dyn FileReceiver,
    ) -> Result<(), ProtocolError> {
        loop {
            let content = self.content(path)?;
            let end = content.len().min(at.saturating_add(self.server.0.piece.get()));
            let Some(piece) = content.get(at..end).filter(|piece| !piece.is_empty()) else { return Ok(()) };
            self.step(Step::Piece, path).await?;
            receiver.receive(piece).await.inspect_err(|_| self.is_pending = true)?;
            at = end;
        }
    }
}

#[async_trait(?Send)]
impl Session for MemorySession {
    fn is_reusable(&self) -> bool {
        !self.is_pending
    }

    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError> {
        self.begin(Step::Size, path.wire()).await?;
        let content = self.content(path.wire()).ok().filter(|_| self.server.0.tells_sizes.get());
        Ok(content.map(|content| content.len() as u64))
    }

    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError> {
        self.begin(Step::List, path.wire()).await?;
        match self.server.node(path.wire()) {
            Some(Node::Directory { is_readable: true }) => {}
            Some(Node::Directory { is_readable: false }) => {
                return Err(ProtocolError::remote(ErrorScope::Entry, "permission denied"));
            }
            _ => return Err(ProtocolError::remote(ErrorScope::Entry, "no such directory")),
        }
        self.is_pending = true;
        let mut children = self.server.children(path.wire());
        children.reverse();
        let mut collector = EntryCollector::new(self.server.0.encoding);
        if self.server.0.is_tentative.get() {
            collector.collect_names();
            collector.watch_for(path);
        }
        let fingerprinter = Fingerprinter::new(self.server.0.key);
        let path = path.wire().to_vec();
        Ok(Box::new(MemoryListing {
            session: self,
            path,
            children,
            collector,
            fingerprinter,
            ahead: ReadAhead::default(),
        }))
    }

    async fn confirm_listing(
        &mut self,
        path: &RemotePath,
        _summary: &Summary,
        _expected: bool,
    ) -> Result<Confirmation, ProtocolError> {
        match self.begin(Step::Confirm, path.wire()).await? {
            true => Ok(Confirmation::ListAgain(Some("listed in another way from now on".to_owned()))),
            false => Ok(Confirmation::Confirmed),
        }
    }

    async fn fetch(
        &mut self,
        FileRequest { path, offset, .. }: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError> {
        let path = path.wire();
        self.begin(Step::Fetch, path).await?;
        let size = self.content(path)?.len() as u64;
        if offset > size {
            let error = ProtocolError::remote(ErrorScope::Entry, "the file is shorter");
            return Err(error.with(Detail::NotResumable));
        }
        self.is_pending = true;
        let at = usize::try_from(offset).map_err(|error| anyhow!(error))?;
        match self.pass_on(path, at, receiver).await {
            // one that is gone meanwhile, or refused in the middle, leaves the session in order
            Err(error) => {
                self.is_pending = error.scope() != ErrorScope::Entry;
                return Err(error);
            }
            Ok(()) => self.is_pending = false,
        }
        self.step(Step::End, path).await?;
        Ok(Received { clean_end: true, size_after: None })
    }

    async fn quit(self: Box<Self>, limit: Duration) {
        drop(tokio::time::timeout(limit, self.server.step(Step::Quit, b"")).await);
    }
}

struct MemoryListing<'s> {
    session: &'s mut MemorySession,
    path: Vec<u8>,
    /// Those that have not come yet, the next one last.
    children: Vec<Child>,
    collector: EntryCollector,
    fingerprinter: Fingerprinter,
    ahead: ReadAhead<Entry, ProtocolError>,
}

impl ReadsAhead for MemoryListing<'_> {
    type Piece = Entry;
    type Error = ProtocolError;

    fn ahead(&mut self) -> &mut ReadAhead<Entry, ProtocolError> {
        &mut self.ahead
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn read_on(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        self.session.step(Step::Next, &self.path).await?;
        let batch = self.session.server.0.batch.get();
        let had_some = !self.children.is_empty();
        for Child { name, kind, facts } in
            self.children.split_off(self.children.len().saturating_sub(batch)).into_iter().rev()
        {
            let line = format!("{kind:?} {facts:?} ");
            self.fingerprinter.write(line.as_bytes());
            self.fingerprinter.write(&name);
            self.collector.take(&name, Some(kind), facts, entries);
        }
        self.collector.check_limit()?;
        Ok(had_some)
    }
}

#[async_trait(?Send)]
impl Listing for MemoryListing<'_> {
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        is_unchanged(self, before).await
    }

    fn is_tentative(&self) -> bool {
        self.session.server.0.is_tentative.get()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        next_entries(self, entries).await
    }

    async fn finish(self: Box<Self>, _entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError> {
        let Self { session, path, children, collector, .. } = *self;
        if !children.is_empty() {
            return Err(ProtocolError::listing_cut("it was not read to its end"));
        }
        // a listing that is refused at its end leaves the session in order
        session.is_pending = false;
        session.step(Step::Finish, &path).await?;
        Ok(collector.finish())
    }
}
