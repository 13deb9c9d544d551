//! An HTTP server of a few lines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use super::{Receiver, SECRET, Treatment};
use crate::config::{NotifyConcurrency, NotifyMethod, NotifySettings, Password};
use crate::notify::http::HttpSink;
use crate::notify::sink::Sink;

/// See the module.
pub(super) struct HttpReceiver {
    state: Rc<State>,
    port: u16,
    accepting: JoinHandle<()>,
}

struct State {
    treatment: watch::Sender<Treatment>,
    taken: RefCell<Vec<String>>,
    under_way: Cell<usize>,
}

impl HttpReceiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (treatment, _) = watch::channel(Treatment::Takes);
        let state = Rc::new(State { treatment, taken: RefCell::default(), under_way: Cell::default() });
        let serving = Rc::clone(&state);
        let accepting = actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Rc::clone(&serving);
                actix_rt::spawn(async move { state.serve(stream).await });
            }
        });
        Self { state, port, accepting }
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// Answers one request after the other, until the connection ends or is to end.
    async fn serve(&self, mut stream: TcpStream) {
        while let Some(head) = request(&mut stream).await {
            self.under_way.set(self.under_way.get() + 1);
            let mut treatment = self.treatment.subscribe();
            let decided = tokio::select! {
                decided = treatment.wait_for(|it| *it != Treatment::Hangs) => Some(*decided.unwrap()),
                _ = stream.read_u8() => None,
            };
            self.under_way.set(self.under_way.get() - 1);
            let (status, words) = match decided {
                Some(Treatment::Takes) => {
                    self.taken.borrow_mut().push(file(&head));
                    ("200 OK", "taken")
                }
                Some(Treatment::Refuses) => ("404 Not Found", "<p>unwanted</p>"),
                Some(Treatment::IsOverloaded) => ("503 Busy", "later"),
                _ => return,
            };
            let length = words.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{words}");
            drop(stream.write_all(answer.as_bytes()).await);
        }
    }
}

/// The head of the next request, if there is one.
async fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(head)
}

/// What a request names as its file.
fn file(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let target = head.split(' ').nth(1).unwrap();
    let url = Url::parse("http://h").unwrap().join(target).unwrap();
    url.query_pairs().find(|(name, _)| name == "file").unwrap().1.into_owned()
}

impl Receiver for HttpReceiver {
    fn sink(&self, timeout: Duration) -> Rc<dyn Sink> {
        Rc::new(HttpSink::new(&NotifySettings {
            url: Url::parse(&format!("http://127.0.0.1:{}/dls.php?token={SECRET}", self.port)).unwrap(),
            method: NotifyMethod::Get,
            headers: vec![("X-Token".to_owned(), Password::new(SECRET.to_owned()))],
            timeout,
            concurrency: NotifyConcurrency::Auto,
        }))
    }

    fn treat(&self, treatment: Treatment) {
        self.state.treatment.send_replace(treatment);
    }

    fn taken(&self) -> Vec<String> {
        self.state.taken.borrow().clone()
    }

    fn under_way(&self) -> usize {
        self.state.under_way.get()
    }

    fn vanish(&self) {
        self.accepting.abort();
    }
}

suite!(by_http, crate::notify::conformance::http::HttpReceiver::start().await);
