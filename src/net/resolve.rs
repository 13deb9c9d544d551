//! Host names to addresses, with a deadline and with one look-up at a time for each name.
//!
//! The system's resolver cannot be cancelled and may hang for minutes. Each look-up has a thread of its own that
//! nobody ever waits for, neither a stop nor the end of the process; whoever wants a name that is being looked up
//! already waits for that same answer, so that threads do not pile up behind a resolver that never answers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::base::blocking;

/// What the resolver of the system is asked: a host name for addresses, in the order in which to try them.
pub(crate) type LookUp = fn(&str) -> io::Result<Vec<IpAddr>>;

/// A finished look-up; errors as text, because several may wait for the same one.
type Answer = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Resolver {
    look_up: LookUp,
    under_way: Mutex<HashMap<String, watch::Receiver<Option<Answer>>>>,
}

/// One that asks the system.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(system)
    }
}

impl Resolver {
    /// One that asks `look_up`.
    pub(crate) fn new(look_up: LookUp) -> Self {
        Self { look_up, under_way: Mutex::default() }
    }

    /// The addresses of `host`. May take as long as the system wants: the caller has the deadline. Cancelled, the
    /// look-up goes on for whoever asks next.
    ///
    /// # Errors
    ///
    /// The system's words, or that no thread can be started.
    pub(crate) async fn resolve(self: &Arc<Self>, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.ask(host).await?,
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn ask(self: &Arc<Self>, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut receiver = self.begin(host)?;
        let answer = receiver.wait_for(Option::is_some).await;
        match answer.ok().and_then(|answer| answer.clone()) {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err((kind, text))) => Err(io::Error::new(kind, text)),
            None => Err(io::Error::other("the look-up broke off")),
        }
    }

    /// Joins the look-up that is under way, or begins one.
    fn begin(self: &Arc<Self>, host: &str) -> io::Result<watch::Receiver<Option<Answer>>> {
        let mut under_way = self.under_way.lock();
        if let Some(receiver) = under_way.get(host) {
            return Ok(receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let (resolver, name) = (Arc::clone(self), host.to_owned());
        blocking::spawn("resolver", move || {
            let answer = (resolver.look_up)(&name).map_err(|error| (error.kind(), error.to_string()));
            // taken out first: an answer is for those who wait, and the next who asks gets a fresh one
            resolver.under_way.lock().remove(&name);
            sender.send_replace(Some(answer));
        })?;
        under_way.insert(host.to_owned(), receiver.clone());
        Ok(receiver)
    }
}

/// Also takes what only the system understands, such as `fe80::1%eth0`.
fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let resolver = Arc::new(Resolver::new(|_| panic!("looked up")));
        for (host, shown) in [("127.0.0.1", "127.0.0.1:21"), ("::1", "[::1]:21")] {
            assert_eq!(resolver.resolve(host, 21).await.unwrap()[0].to_string(), shown);
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_by_the_system_and_failures_keep_their_words() {
        assert!(Arc::new(Resolver::default()).resolve("localhost", 21).await.unwrap()[0].ip().is_loopback());
        let resolver = Arc::new(Resolver::new(|_| Err(io::Error::other("no such name"))));
        assert_eq!(resolver.resolve("x", 21).await.unwrap_err().to_string(), "no such name");
    }

    #[tokio::test]
    async fn a_resolver_that_never_answers_holds_one_thread_however_often_it_is_asked() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn never(_: &str) -> io::Result<Vec<IpAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        let resolver = Arc::new(Resolver::new(never));
        for _ in 0..20 {
            let asking = resolver.resolve("omc01.example", 21);
            assert!(tokio::time::timeout(Duration::from_millis(5), asking).await.is_err());
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn all_who_wait_get_the_same_answer_and_the_next_a_fresh_one() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: AtomicBool = AtomicBool::new(false);
        fn gated(_: &str) -> io::Result<Vec<IpAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            while !OPEN.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        }
        let resolver = Arc::new(Resolver::new(gated));
        let asking: Vec<_> = (0..3)
            .map(|_| {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move { resolver.resolve("h", 21).await })
            })
            .collect();
        let all_wait = async {
            while Arc::strong_count(&resolver) < 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_wait).await.unwrap();
        OPEN.store(true, Ordering::SeqCst);
        for one in asking {
            assert_eq!(one.await.unwrap().unwrap()[0].to_string(), "10.0.0.1:21");
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        resolver.resolve("h", 21).await.unwrap();
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    }
}
