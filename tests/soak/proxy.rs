//! A proxy before a real daemon: it relays the control connection, counts what is fetched, and misbehaves in the
//! daemon's place. Data connections go past it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::net::{Acceptor, Connection, Waited, calm};

/// Between two looks whether what is frozen may move again.
const THAW_EVERY: Duration = Duration::from_millis(50);

pub struct Proxy {
    pub acceptor: Acceptor,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Nothing is passed on.
    frozen: AtomicBool,
    /// RETR by path.
    fetched: Mutex<HashMap<String, usize>>,
}

impl Proxy {
    pub fn before(addr: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
            let state = Arc::clone(&state);
            // whatever breaks: the connection is over
            move |connection| relay(&connection, addr, &state).unwrap_or_default()
        });
        Self { acceptor, state }
    }

    pub fn freeze(&self, frozen: bool) {
        self.state.frozen.store(frozen, Ordering::Relaxed);
    }

    pub fn fetched(&self) -> HashMap<String, usize> {
        calm(self.state.fetched.lock()).clone()
    }
}

fn relay(connection: &Connection, addr: SocketAddr, state: &Arc<State>) -> std::io::Result<()> {
    let (client, server) = (Arc::clone(&connection.stream), Arc::new(TcpStream::connect(addr)?));
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    connection.gate.adopt(connection.id, &server);
    let back = std::thread::spawn({
        let (client, server) = (Arc::clone(&client), Arc::clone(&server));
        let (gate, state) = (Arc::clone(&connection.gate), Arc::clone(state));
        move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = server.as_ref().read(&mut bytes) {
                while state.frozen.load(Ordering::Relaxed) && gate.pause(THAW_EVERY) == Waited::Over {}
                if client.as_ref().write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            client.shutdown(Shutdown::Both).ok();
        }
    });
    let mut lines = BufReader::new(client.as_ref());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if let Some(path) = line.strip_prefix(b"RETR ") {
            let path = String::from_utf8_lossy(path).trim_end().to_owned();
            *calm(state.fetched.lock()).entry(path).or_default() += 1;
        }
        if server.as_ref().write_all(&line).is_err() {
            break;
        }
        line.clear();
    }
    server.shutdown(Shutdown::Both).ok();
    back.join().ok();
    Ok(())
}
