//! HTTP requests as bytes: tests of the status page say exactly what a client sends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// For an answer; `stop` may take 2 s of it.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends `{line} HTTP/1.1` with these headers, and with the usual ones where they are not among them.
#[track_caller]
pub fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    tell(address, &format!("{request}\r\n")).expect("an answer")
}

/// Sends these bytes; `None` where no whole answer comes.
pub fn tell(address: SocketAddr, bytes: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).expect("somebody who listens");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // what is refused early may be closed before all is sent
    stream.write_all(bytes.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Some(Answer { status, headers, body: body.to_owned() })
}
