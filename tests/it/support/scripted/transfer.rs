//! The data connections of a scripted server: listings and files, and what can go wrong with them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::super::net::{LOOK_UP_EVERY, Waited, accept_for, is_closed};
use super::rules::{DataFault, Ending};
use super::session::{Acts, Gone, Session, Step};
use super::tree::Content;
use super::{Retr, World, listing};

/// How long a client may take from PASV to connecting.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The most that is written at once.
const CHUNK: usize = 64 * 1024;

/// How sending ended, short of the connection being gone.
enum Sent {
    All,
    Cut(Ending),
    /// The client closed the data connection before the end.
    Refused,
}

/// Where the bytes come from.
enum Source {
    Bytes(Content, u64),
    /// A block for ever, and how often it was taken.
    Repeat(Vec<u8>, u64),
}

/// What is to go wrong while sending.
#[derive(Default)]
struct Trouble {
    cut: Option<(u64, Ending)>,
    stall: Option<u64>,
    trickle: Option<(usize, Duration)>,
}

impl Session<'_> {
    /// A listing without entries.
    pub(super) fn list_nothing(&mut self, acts: &Acts) -> Step {
        self.transfer(Source::bytes(Vec::new()), acts, None)
    }

    /// LIST, MLSD and NLST.
    pub(super) fn list(&mut self, verb: &str, directory: &[u8], acts: &Acts) -> Step {
        let (works, empty, bytes) = {
            let World { tree, manner, .. } = &mut *self.shared.lock();
            let is_empty = tree.entries(directory).is_some_and(|entries| entries.is_empty());
            let bytes = match verb {
                "LIST" => listing::list(tree, directory, manner.list_style),
                "NLST" => listing::nlst(tree, directory),
                _ => listing::mlsd(tree, directory, manner.mlsd_links),
            };
            let empty = manner.empty_listing.clone().filter(|_| is_empty);
            // a rule that says what comes may show directories that nobody made
            let told = acts.data.iter().any(|fault| matches!(fault, DataFault::Content(_)));
            let bytes = bytes.or_else(|| told.then(Vec::new));
            (verb != "MLSD" || manner.mlsd_works, empty, bytes)
        };
        if !works {
            return self.reply("500 Unknown command.");
        }
        match (bytes, empty) {
            (Some(_), Some(reply)) => self.send(&reply),
            (Some(bytes), _) => self.transfer(Source::bytes(bytes), acts, None),
            (None, _) => self.reply("550 No such directory."),
        }
    }

    /// RETR.
    pub(super) fn retrieve(&mut self, path: &[u8], acts: &Acts) -> Step {
        let offset = std::mem::take(&mut self.restart_at);
        let content = self.shared.lock().tree.file_mut(path).map(|file| file.to_send());
        let Some(content) = content else {
            self.passive = None;
            return self.reply("550 Failed to open file.");
        };
        if offset > content.len() {
            // as ProFTPD, Pure-FTPd and pyftpdlib; vsftpd sends nothing and says 226
            self.passive = None;
            return self.reply("554 Restart position beyond the end of the file.");
        }
        let retr = Retr {
            connection: self.id,
            path: path.to_vec(),
            offset,
            sent: 0,
            early: 0,
            began: Instant::now(),
            ended: None,
        };
        let place = self.shared.note(|journal| {
            journal.retrs.push(retr);
            journal.retrs.len() - 1
        });
        let result = self.transfer(Source::Bytes(content, offset), acts, Some(place));
        self.shared.note(|journal| journal.retrs[place].ended = Some(Instant::now()));
        result
    }

    /// One data connection from accepting to the final reply; `retr` is the place in the journal.
    fn transfer(&mut self, source: Source, acts: &Acts, retr: Option<usize>) -> Step {
        let Some(data) = self.accept()? else {
            return self.reply("425 Use PASV or EPSV first.");
        };
        let opening = acts.opening.as_deref();
        self.send(opening.unwrap_or(b"150 Opening data connection.\r\n"))?;
        let (source, trouble) = Trouble::of(&acts.data, source);
        let sent = self.pump(&data, source, trouble, retr)?;
        if matches!(sent, Sent::All | Sent::Cut(Ending::Success)) {
            self.finish(&data);
        }
        if matches!(sent, Sent::Cut(Ending::Reset)) {
            self.gate.pause(Duration::from_millis(200));
            SockRef::from(&*data).set_linger(Some(Duration::ZERO)).ok();
        }
        drop(data);
        let early = self.look_for_early()?;
        self.shared.note(|journal| match retr {
            Some(place) => journal.retrs[place].early = early,
            None => journal.early_at_listings += early,
        });
        let success = acts.closing.as_deref().unwrap_or(b"226 Transfer complete.\r\n");
        match sent {
            Sent::All | Sent::Cut(Ending::Success | Ending::Reset) => self.send(success),
            Sent::Cut(Ending::Silence) => Ok(()),
            Sent::Cut(Ending::Close) => Err(Gone),
            Sent::Cut(Ending::AbortedThenSuccess) => {
                self.reply("426 Connection closed; transfer aborted.")?;
                self.send(success)
            }
            Sent::Cut(Ending::Aborted) => self.reply("426 Connection closed; transfer aborted."),
            Sent::Refused => self.reply("426 Failure writing network stream."),
        }
    }

    pub(super) fn accept(&mut self) -> Result<Option<Arc<TcpStream>>, Gone> {
        if let Some(client) = self.active.take() {
            let data = TcpStream::connect_timeout(&client, CONNECT_WITHIN).ok().map(Arc::new);
            data.iter().for_each(|data| self.gate.adopt(self.id, data));
            return Ok(data);
        }
        if let Some(came) = self.came.take() {
            return Ok(Some(came));
        }
        let Some(listener) = self.passive.take() else { return Ok(None) };
        let deadline = Instant::now() + CONNECT_WITHIN;
        while Instant::now() < deadline {
            if let Ok((data, _)) = accept_for(&listener, LOOK_UP_EVERY) {
                let data = Arc::new(data);
                self.gate.adopt(self.id, &data);
                return Ok(Some(data));
            }
            if self.gate.is_ending() || is_closed(&self.control) {
                return Err(Gone);
            }
        }
        Ok(None)
    }

    fn pump(
        &self,
        mut data: &TcpStream,
        mut source: Source,
        mut trouble: Trouble,
        retr: Option<usize>,
    ) -> Result<Sent, Gone> {
        let (mut sent, mut ticket) = (0, self.ticket);
        loop {
            if trouble.stall.is_some_and(|after| sent >= after) {
                if self.gate.hang(ticket, &[&self.control, data]) == Waited::Gone {
                    return Err(Gone);
                }
                trouble.stall = None;
            }
            if let Some((_, ending)) = trouble.cut.filter(|(after, _)| sent >= *after) {
                return Ok(Sent::Cut(ending));
            }
            let chunk = source.take(trouble.most(sent));
            if chunk.is_empty() {
                return Ok(Sent::All);
            }
            let wire = if self.binary || retr.is_none() { chunk.clone() } else { as_text(&chunk) };
            if data.write_all(&wire).is_err() {
                return if self.gate.is_ending() { Err(Gone) } else { Ok(Sent::Refused) };
            }
            sent += chunk.len() as u64;
            ticket = self.gate.ticket();
            self.shared.note(|journal| {
                journal.data_bytes += wire.len() as u64;
                if let Some(place) = retr {
                    journal.retrs[place].sent = sent;
                }
            });
            if let Some((_, every)) = trouble.trickle
                && self.gate.pause(every) == Waited::Gone
            {
                return Err(Gone);
            }
        }
    }

    /// Ends the data connection in order, and waits for the client to do the same where the manner is so.
    fn finish(&self, mut data: &TcpStream) {
        data.shutdown(Shutdown::Write).ok();
        if self.manner(|manner| manner.waits_for_client_close) {
            // whatever the client sends here is nothing to us, and neither is how it closes
            let mut rest = [0; 256];
            while data.read(&mut rest).is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

impl Source {
    fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(Content::Bytes(bytes.into()), 0)
    }

    /// Up to `most` of the next bytes; none at the end.
    fn take(&mut self, most: usize) -> Vec<u8> {
        match self {
            Self::Bytes(content, at) => {
                let chunk = content.read(*at, most);
                *at += chunk.len() as u64;
                chunk
            }
            Self::Repeat(block, count) => {
                let mut chunk = Vec::new();
                while chunk.len() < most {
                    *count += 1;
                    chunk.extend_from_slice(&numbered(block, *count));
                }
                // a block is never torn: the next one begins with its first byte
                chunk
            }
        }
    }
}

impl Trouble {
    /// Sorts the faults: those that change what is sent, and those that change how.
    fn of(faults: &[DataFault], mut source: Source) -> (Source, Self) {
        let mut trouble = Self::default();
        for fault in faults {
            match fault {
                DataFault::Content(bytes) => source = Source::bytes(bytes.clone()),
                DataFault::Repeat(block) => source = Source::Repeat(block.clone(), 0),
                DataFault::Cut(after, ending) => trouble.cut = Some((*after, *ending)),
                DataFault::Stall(after) => trouble.stall = Some(*after),
                DataFault::Trickle(bytes, every) => trouble.trickle = Some((*bytes, *every)),
            }
        }
        (source, trouble)
    }

    /// The most that may be sent now, after `sent` bytes.
    fn most(&self, sent: u64) -> usize {
        let stops = [self.cut.map(|(after, _)| after), self.stall];
        let left = stops.into_iter().flatten().map(|after| after.saturating_sub(sent)).min();
        let chunk = self.trickle.map_or(CHUNK, |(bytes, _)| bytes);
        left.map_or(chunk, |left| chunk.min(usize::try_from(left).unwrap_or(CHUNK)))
    }
}

/// The block with `{n}` replaced.
fn numbered(block: &[u8], count: u64) -> Vec<u8> {
    const PLACE: &[u8] = b"{n}";
    match block.windows(PLACE.len()).position(|window| window == PLACE) {
        Some(at) => [&block[..at], count.to_string().as_bytes(), &block[at + PLACE.len()..]].concat(),
        None => block.to_vec(),
    }
}

/// What ASCII mode makes of bytes: each LF gets a CR.
fn as_text(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}
