//! The connections to the status page. Everyone is let in; beyond a number, one more takes the place of the one that has
//! been silent for longest, so that clients who only hold connections keep nobody else out.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use parking_lot::Mutex;
use socket2::{SockRef, Socket};

use super::DEAF_LIMIT;

/// The open connections.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    open: Arc<Mutex<Vec<Weak<Client>>>>,
    most: usize,
    began: Instant,
}

/// One connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Client {
    /// The connection's own socket, under another descriptor.
    socket: Socket,
    /// Milliseconds since the page began: when it was opened, and from its first request on when it asked last.
    active: AtomicU64,
    /// It has sent a whole head.
    asked: AtomicU64,
}

impl Clients {
    /// None yet, and at most `most` at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { open: Arc::default(), most, began: Instant::now() }
    }

    /// Notes a new connection, and closes another where there are too many.
    pub(super) fn admit(&self, stream: &TcpStream, data: &mut Extensions) {
        let limited = SockRef::from(stream).set_tcp_user_timeout(Some(DEAF_LIMIT));
        limited.unwrap_or_else(|error| log::debug!("a client without a limit: {error}"));
        match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => {
                let client = Arc::new(Client {
                    socket: socket.into(),
                    active: AtomicU64::new(self.now()),
                    asked: AtomicU64::new(0),
                });
                self.add(&client);
                data.insert(client);
            }
            // without a handle of its own it cannot be made to give way
            Err(error) => {
                log::debug!("a client of the status page is sent away: {error}");
                drop(SockRef::from(stream).shutdown(std::net::Shutdown::Both));
            }
        }
    }

    fn add(&self, client: &Arc<Client>) {
        let mut open = self.open.lock();
        open.retain(|client| client.strong_count() > 0);
        while open.len() >= self.most {
            let there =
                open.iter().enumerate().filter_map(|(place, client)| Some((place, client.upgrade()?)));
            let Some((place, client)) = there.min_by_key(|(_, client)| client.rank()) else { break };
            // reading and writing end at once, and with them the connection
            drop(client.socket.shutdown(std::net::Shutdown::Both));
            open.swap_remove(place);
        }
        open.push(Arc::downgrade(client));
    }

    /// The client has sent a request.
    pub(super) fn asks(&self, client: &Client) {
        client.asked.store(1, Ordering::Relaxed);
        client.active.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Client {
    /// Returns who gives way first: those that never asked anything, then the one that asked longest ago.
    fn rank(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.active.load(Ordering::Relaxed))
    }
}
