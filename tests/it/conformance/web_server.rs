//! A web server that shows an index of each directory, as nginx makes it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::net::{Acceptor, Connection, calm};

/// The handle of a running server; it ends when it is dropped.
pub struct WebServer {
    acceptor: Acceptor,
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    /// The paths of directories end in a slash.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    stalled: Option<Vec<u8>>,
    /// Paths whose content was asked for, in order.
    fetched: Vec<String>,
}

impl WebServer {
    /// Starts a server on 127.0.0.1 with an empty directory.
    pub fn start() -> Self {
        let tree = Arc::new(Mutex::new(Tree::default()));
        calm(tree.lock()).make_directory(b"/");
        let shared = Arc::clone(&tree);
        let serve = move |connection: Connection| serve(&connection.stream, &shared);
        Self { acceptor: Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), serve), tree }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    /// Puts a file at `path`, and its directories where they are missing.
    pub fn put(&self, path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) {
        let (path, mut tree) = (path.as_ref(), calm(self.tree.lock()));
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            tree.make_directory(&path[..=at]);
        }
        tree.files.insert(path.to_vec(), content.into());
    }

    /// Makes an empty directory, whose path ends in a slash.
    pub fn make_directory(&self, path: &str) {
        calm(self.tree.lock()).make_directory(path.as_bytes());
    }

    /// From now on only the first half of this file comes.
    pub fn stall(&self, path: &str) {
        calm(self.tree.lock()).stalled = Some(path.as_bytes().to_vec());
    }

    /// The files and directories that were asked for so far, as often as they were.
    pub fn fetched(&self) -> Vec<String> {
        calm(self.tree.lock()).fetched.clone()
    }
}

impl Tree {
    fn make_directory(&mut self, path: &[u8]) {
        self.files.insert(path.to_vec(), Vec::new());
    }

    /// Returns the answer, and whether nothing follows it.
    fn answer(&mut self, head: &str) -> (Vec<u8>, bool) {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = urlencoding::decode_binary(path.as_bytes()).into_owned();
        let range = head.split_once("Range: bytes=");
        let from: usize = range.and_then(|(_, range)| range.split('-').next()?.parse().ok()).unwrap_or(0);
        let Some(content) = self.files.get(&path) else {
            return (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), false);
        };
        let body = if path.ends_with(b"/") { self.index(&path) } else { content.clone() };
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let length = body.len() - from.min(body.len());
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
        let is_stalled = self.stalled.as_deref() == Some(&path);
        let body = match method {
            "HEAD" => &[][..],
            _ if is_stalled => &body[..body.len() / 2],
            _ => &body[body.len() - length..],
        };
        if method != "HEAD" {
            self.fetched.push(String::from_utf8_lossy(&path).into_owned());
        }
        ([head.as_bytes(), body].concat(), is_stalled)
    }

    fn index(&self, directory: &[u8]) -> Vec<u8> {
        let mut page = b"<html><body><a href=\"../\">../</a>\n".to_vec();
        for (path, content) in &self.files {
            let Some(name) = path.strip_prefix(directory).filter(|name| !name.is_empty()) else { continue };
            if name.strip_suffix(b"/").unwrap_or(name).contains(&b'/') {
                continue;
            }
            let href: String = urlencoding::encode_binary(name).replace("%2F", "/");
            let size = if name.ends_with(b"/") { "-".to_owned() } else { content.len().to_string() };
            page.extend(format!("<a href=\"{href}\">{href}</a>  23-Nov-2026 03:00  {size}\n").bytes());
        }
        page
    }
}

fn serve(mut stream: &TcpStream, tree: &Mutex<Tree>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    let (answer, is_stalled) = calm(tree.lock()).answer(&String::from_utf8_lossy(&head));
    if stream.write_all(&answer).is_ok() && is_stalled {
        // until the client has gone
        drop(stream.read(&mut byte));
    }
}
