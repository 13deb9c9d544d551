//! The floor: the least that a client of FTP does to bring known files home.
//!
//! It lists nothing, looks nothing up, syncs and records and announces nothing. For each file it sends PASV, connects,
//! sends RETR, writes what comes, and reads the reply at the end, one after the other, on so many connections a server.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);
const BUFFER: usize = 256 * 1024;

/// One server of the plan.
struct Server {
    name: String,
    address: String,
    user: String,
    password: String,
    paths: Vec<String>,
}

/// Fetches what the file `plan` names below `root`. Its lines, by tabs: `server NAME ADDRESS USER PASSWORD`, then
/// `file PATH` for each file of that server. With `sync` the data of each file are on the disk before the next one.
pub fn fetch_all(plan: &Path, root: &Path, connections: usize, sync: bool) -> Result<()> {
    let servers = read_plan(&std::fs::read_to_string(plan)?)?;
    for server in &servers {
        make_directories(server, root)?;
    }
    let next: Vec<AtomicUsize> = servers.iter().map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (server, next) in servers.iter().zip(&next) {
            for _ in 0..connections {
                threads.push(scope.spawn(move || fetch(server, root, next, sync)));
            }
        }
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| Error::other("a thread of the floor panicked"))?
        })
    })
}

fn read_plan(text: &str) -> Result<Vec<Server>> {
    let mut servers: Vec<Server> = Vec::new();
    for line in text.lines() {
        match (line.split('\t').collect::<Vec<_>>().as_slice(), servers.last_mut()) {
            (["server", name, address, user, password], _) => servers.push(Server {
                name: (*name).to_owned(),
                address: (*address).to_owned(),
                user: (*user).to_owned(),
                password: (*password).to_owned(),
                paths: Vec::new(),
            }),
            (["file", path], Some(server)) => server.paths.push((*path).to_owned()),
            _ => return Err(Error::other(format!("a line of the plan is not understood: {line}"))),
        }
    }
    Ok(servers)
}

fn local(root: &Path, server: &Server, path: &str) -> PathBuf {
    root.join(&server.name).join(path.trim_start_matches('/'))
}

fn make_directories(server: &Server, root: &Path) -> Result<()> {
    let mut last = PathBuf::new();
    for path in &server.paths {
        let file = local(root, server, path);
        if let Some(directory) = file.parent().filter(|directory| *directory != last) {
            std::fs::create_dir_all(directory)?;
            last = directory.to_owned();
        }
    }
    Ok(())
}

/// One connection, which takes the next path until there is none.
fn fetch(server: &Server, root: &Path, next: &AtomicUsize, sync: bool) -> Result<()> {
    let mut control = Control::log_in(server)?;
    let mut buffer = vec![0; BUFFER];
    while let Some(path) = server.paths.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut data = connect(&control.ask("PASV", 227)?)?;
        control.ask(&format!("RETR {path}"), 150)?;
        let mut file = File::create(local(root, server, path))?;
        loop {
            let count = data.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            file.write_all(bytes)?;
        }
        drop(data);
        control.expect(226)?;
        if sync {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Connects to the address in a reply to PASV.
fn connect(reply: &str) -> Result<TcpStream> {
    let odd = || Error::other(format!("no address in {reply:?}"));
    let inside = reply.split(['(', ')']).nth(1).ok_or_else(odd)?;
    let numbers: Vec<u8> =
        inside.split(',').map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| odd())?;
    let [a, b, c, d, high, low] = numbers.as_slice() else { return Err(odd()) };
    let address = SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low]));
    let data = TcpStream::connect(address)?;
    data.set_read_timeout(Some(TIMEOUT))?;
    Ok(data)
}

/// A control connection.
struct Control {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Control {
    fn log_in(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(&server.address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut control = Self { stream, received: Vec::new() };
        control.expect(220)?;
        control.ask(&format!("USER {}", server.user), 331)?;
        control.ask(&format!("PASS {}", server.password), 230)?;
        control.ask("TYPE I", 200)?;
        Ok(control)
    }

    fn ask(&mut self, command: &str, code: u16) -> Result<String> {
        self.stream.write_all(format!("{command}\r\n").as_bytes())?;
        self.expect(code)
    }

    /// The last line of the next reply, which must have this code.
    fn expect(&mut self, code: u16) -> Result<String> {
        loop {
            let line = self.line()?;
            // other lines of a longer reply have text or a hyphen there
            if line
                .get(..4)
                .is_some_and(|start| start.ends_with(' ') && start.trim_end().parse::<u16>().is_ok())
            {
                if line.starts_with(&code.to_string()) {
                    return Ok(line);
                }
                return Err(Error::other(format!("{code} was expected, not {line:?}")));
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut some = [0; 4096];
            let count = self.stream.read(&mut some)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.received.extend(some.iter().take(count));
        }
    }
}
