//! An exercise: directories that a web server shows as an index (`<a href>`), read-only, as a protocol. It is no feature of
//! the program; it shows that a protocol is one folder and one line, and knows nothing of the others.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use mrosync::base::facts::{FileFacts, Modified, TimeSource};
use mrosync::base::names::RemotePath;
use mrosync::protocol::{
    Connector, Detail, Entry, EntryCollector, ErrorScope, FileReceiver, FileRequest, Fingerprint,
    FingerprintKey, Fingerprinter, Kind, Listing, ProtocolError, ReadAhead, ReadsAhead, Received, Session,
    Summary, is_unchanged,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Makes sessions with one web server.
#[derive(Debug, Clone)]
pub struct HttpIndex {
    addr: SocketAddr,
    timeout: Duration,
    key: FingerprintKey,
}

/// One connection for each request, so that a session is little more than its mark.
struct HttpSession {
    server: HttpIndex,
    is_pending: bool,
}

/// The body of an answer that is on its way.
struct Body {
    stream: BufReader<TcpStream>,
    status: u16,
    /// Bytes that have not come yet.
    left: u64,
    server: HttpIndex,
}

struct HttpListing<'s> {
    session: &'s mut HttpSession,
    body: Body,
    collector: EntryCollector,
    fingerprinter: Fingerprinter,
    ahead: ReadAhead<u8, ProtocolError>,
}

fn lost(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProtocolError {
    ProtocolError::remote(ErrorScope::Connection, cause)
}

impl HttpIndex {
    pub fn new(addr: SocketAddr, timeout: Duration) -> Self {
        Self { addr, timeout, key: FingerprintKey::default() }
    }

    async fn within<T>(&self, work: impl Future<Output = std::io::Result<T>>) -> Result<T, ProtocolError> {
        let done = tokio::time::timeout(self.timeout, work).await;
        done.map_err(lost)?.map_err(lost)
    }

    /// Asks, and reads the head of the answer.
    async fn ask(&self, method: &str, path: &[u8], from: u64) -> Result<Body, ProtocolError> {
        let path = urlencoding::encode_binary(path).replace("%2F", "/");
        let range = if from > 0 { format!("Range: bytes={from}-\r\n") } else { String::new() };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: index\r\nConnection: close\r\n{range}\r\n");
        let (head, stream) = self
            .within(async {
                let mut stream = BufReader::new(TcpStream::connect(self.addr).await?);
                stream.write_all(request.as_bytes()).await?;
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
                Ok((head, stream))
            })
            .await?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length =
            head.split_once("Content-Length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        let (Some(status), Some(left)) = (status, length) else { return Err(lost("not HTTP")) };
        match status {
            200..300 => Ok(Body { stream, status, left, server: self.clone() }),
            _ => Err(ProtocolError::remote(ErrorScope::Entry, format!("{method}: {status}"))),
        }
    }
}

#[async_trait(?Send)]
impl Connector for HttpIndex {
    async fn connect(&self) -> Result<Box<dyn Session>, ProtocolError> {
        self.ask("HEAD", b"/", 0).await?;
        Ok(Box::new(HttpSession { server: self.clone(), is_pending: false }))
    }
}

impl Body {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Vec<u8>, ProtocolError> {
        let mut piece = vec![0; usize::try_from(self.left).map_or(16384, |left| left.min(16384))];
        if piece.is_empty() {
            return Ok(piece);
        }
        let read = self.server.within(self.stream.read(&mut piece)).await?;
        if read == 0 {
            return Err(lost("closed in the middle"));
        }
        piece.truncate(read);
        self.left -= read as u64;
        Ok(piece)
    }
}

#[async_trait(?Send)]
impl Session for HttpSession {
    fn is_reusable(&self) -> bool {
        !self.is_pending
    }

    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError> {
        Ok(Some(self.server.ask("HEAD", path.wire(), 0).await?.left))
    }

    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError> {
        let slash: &[u8] = if path.is_root() { b"" } else { b"/" };
        let body = self.server.ask("GET", &[path.wire(), slash].concat(), 0).await?;
        self.is_pending = true;
        Ok(Box::new(HttpListing {
            body,
            collector: EntryCollector::new(encoding_rs::UTF_8),
            fingerprinter: Fingerprinter::new(self.server.key),
            ahead: ReadAhead::default(),
            session: self,
        }))
    }

    async fn fetch(
        &mut self,
        FileRequest { path, offset, .. }: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError> {
        let mut body = self.server.ask("GET", path.wire(), offset).await?;
        if offset > 0 && body.status != 206 {
            return Err(ProtocolError::remote(ErrorScope::Entry, "no ranges").with(Detail::NotResumable));
        }
        self.is_pending = true;
        loop {
            let piece = body.next().await?;
            if piece.is_empty() {
                break;
            }
            receiver.receive(&piece).await?;
        }
        self.is_pending = false;
        Ok(Received { clean_end: true, size_after: None })
    }

    async fn quit(self: Box<Self>, _limit: Duration) {}
}

impl ReadsAhead for HttpListing<'_> {
    type Piece = u8;
    type Error = ProtocolError;

    fn ahead(&mut self) -> &mut ReadAhead<u8, ProtocolError> {
        &mut self.ahead
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    async fn read_on(&mut self, into: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        let piece = self.body.next().await?;
        self.fingerprinter.write(&piece);
        into.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }
}

/// `<a href="a.zip">a.zip</a>  23-Nov-2026 03:00  12345`
fn take_line(line: &str, collector: &mut EntryCollector, entries: &mut Vec<Entry>) {
    let Some((href, rest)) = line.split_once("<a href=\"").and_then(|(_, rest)| rest.split_once('"')) else {
        return;
    };
    let name = urlencoding::decode_binary(href.as_bytes());
    let (name, kind) = match name.strip_suffix(b"/") {
        Some(directory) => (directory, Kind::Directory),
        None => (&*name, Kind::File),
    };
    let mut columns = rest.split("</a>").nth(1).unwrap_or_default().split_whitespace();
    let time = format!("{} {}", columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
    let time = chrono::NaiveDateTime::parse_from_str(&time, "%d-%b-%Y %H:%M").ok();
    let seconds = time.map(|time| time.and_utc().timestamp());
    let modified = seconds.map(|unix_seconds| Modified { unix_seconds, source: TimeSource::LocalMinute });
    let facts = FileFacts { size: columns.next().and_then(|size| size.parse().ok()), modified };
    collector.take(name, Some(kind), facts, entries);
}

#[async_trait(?Send)]
impl Listing for HttpListing<'_> {
    async fn is_unchanged(&mut self, before: Fingerprint) -> bool {
        is_unchanged(self, before).await
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    /// The whole page at once: an index is small, and its length known.
    async fn next(&mut self, entries: &mut Vec<Entry>) -> Result<bool, ProtocolError> {
        let mut page = self.ahead.take()?;
        while self.read_on(&mut page).await? {}
        let page = String::from_utf8_lossy(&page).into_owned();
        page.lines().for_each(|line| take_line(line, &mut self.collector, entries));
        self.collector.check_limit()?;
        Ok(false)
    }

    async fn finish(self: Box<Self>, _entries: &mut Vec<Entry>) -> Result<Summary, ProtocolError> {
        let Self { session, body, collector, .. } = *self;
        if body.left > 0 {
            return Err(ProtocolError::listing_cut("it was not read to its end"));
        }
        session.is_pending = false;
        Ok(collector.finish())
    }
}
