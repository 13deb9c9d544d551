//! The dls.php of the demo: answers every call with 200, and shows which file it was for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Calls that are shown in one second; the first scan brings dozens at once.
const SHOWN_IN_A_SECOND: u32 = 8;
/// Longest head of a request.
const MAX_HEAD: u64 = 16 * 1024;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// The calls so far.
#[derive(Debug)]
pub struct Calls {
    count: AtomicU64,
    mirror: PathBuf,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Calls {
    /// None yet. Files are looked up below `mirror`.
    pub fn new(mirror: PathBuf) -> Self {
        let shown = Shown { since: Instant::now(), lines: 0, left_out: 0 };
        Self { count: AtomicU64::new(0), mirror, shown: Mutex::new(shown) }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn take(&self, file: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.since.elapsed() >= Duration::from_secs(1) {
            if shown.left_out > 0 {
                crate::say(&format!("dls.php  … and {} more", shown.left_out));
            }
            *shown = Shown { since: Instant::now(), lines: 0, left_out: 0 };
        }
        if shown.lines == SHOWN_IN_A_SECOND {
            shown.left_out += 1;
            return;
        }
        shown.lines += 1;
        let size = std::fs::metadata(self.mirror.join(file.trim_start_matches('/')));
        let size = size
            .map_or("evicted already".to_owned(), |there| ByteSize(there.len()).display().iec().to_string());
        crate::say(&format!("dls.php  {file}  ({size})"));
    }
}

/// Takes calls for ever.
pub async fn serve(listener: TcpListener, calls: Arc<Calls>) {
    while let Ok((stream, _)) = listener.accept().await {
        let calls = Arc::clone(&calls);
        // a caller who goes away is no news
        tokio::spawn(async move { drop(serve_caller(stream, &calls).await) });
    }
}

/// Call after call on one connection, which HTTP/1.1 keeps open.
async fn serve_caller(stream: TcpStream, calls: &Calls) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(target) = read_target(&mut stream).await? {
        let answer = match announced(&target) {
            Some(file) => {
                calls.take(&file);
                ANSWER
            }
            None => NOT_FOUND,
        };
        stream.write_all(answer).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// The target of the next GET; `None` at the end of the connection, or of what can be understood.
async fn read_target(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = stream.take(MAX_HEAD);
    let mut request = String::new();
    head.read_line(&mut request).await?;
    let mut line = String::from("more");
    while !line.trim().is_empty() {
        line.clear();
        head.read_line(&mut line).await?;
    }
    let mut words = request.split_whitespace();
    Ok(words.next().filter(|method| *method == "GET").and(words.next()).map(str::to_owned))
}

/// The file that a call is for, decoded.
fn announced(target: &str) -> Option<String> {
    let url = Url::parse("http://demo").ok()?.join(target).ok()?;
    let file = url.query_pairs().find(|(key, _)| key == "file").map(|(_, file)| file.into_owned());
    file.filter(|_| url.path() == "/dls.php")
}
