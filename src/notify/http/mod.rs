//! One call of the notify URL.

mod head;
mod line;
pub mod url;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::url::Url;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{HOST, HeaderName, HeaderValue, LOCATION};
use awc::http::{Method, StatusCode};
use awc::{Client, ClientRequest, ClientResponse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::dispatch::health::Fault;
use super::dispatch::{Caller, Failure};
use crate::base::names::Printable;
use crate::config::{NotifyMethod, NotifySettings, Password};
use line::{Broken, Lines};

/// More of an answer than this is not read; its connection is closed then.
const MAX_ANSWER: usize = 64 * 1024;
/// Of a refusal, for its first line.
const MAX_WORDS: usize = 4096;
/// Characters shown of an answer, and of the target of a redirect.
const MAX_SHOWN: usize = 200;
/// An idle connection is used again within this time only. Apache closes its own after 5 s, and a call on a
/// connection that is closed meanwhile fails.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// A call takes part in `concurrency` for so long after the head of its answer, while the body comes.
const BODY: Duration = Duration::from_secs(1);
/// Answers that go on for longer are read beside other calls, so many at most: a script that goes on working after its
/// answer may be ended by its server when the connection closes, as PHP does it.
const MAX_LINGERING: usize = 64;
/// The connector has its own limit, and says so first.
const GRACE: Duration = Duration::from_millis(50);

/// Calls by HTTP. Lives on the notifier's thread, which awc needs to be one of actix-rt.
pub struct HttpCaller {
    /// Uses connections again.
    kept: Client,
    /// Opens one for each call.
    fresh: Client,
    method: Method,
    timeout: Duration,
    /// What is called, as it may be shown.
    shown: String,
    lingering: RefCell<VecDeque<AbortHandle>>,
}

/// A call that came to nothing.
enum Missed {
    /// A connection that was idle had been closed; the host got nothing of the call as far as can be told.
    Idle,
    Failed(Failure),
}

impl HttpCaller {
    /// A client that makes calls as `settings` say: each has its timeout, from connecting to the head of its answer.
    /// Redirects are not followed: a 3xx is not delivered.
    #[must_use]
    pub fn new(settings: &NotifySettings) -> Self {
        let tls = (settings.url.scheme() == "https").then(trust_the_system);
        let lines = Lines::to(&settings.url, tls, settings.timeout);
        let method = method(settings.method);
        Self {
            kept: client(settings, lines.clone(), KEEP_ALIVE),
            fresh: client(settings, lines, Duration::ZERO),
            shown: format!("{method} {}", shown(&settings.url)),
            method,
            timeout: settings.timeout,
            lingering: RefCell::default(),
        }
    }

    /// The head of the answer decides. A connection that died while it was idle is replaced at once, whatever the
    /// method: a call that got no answer is made again in any case.
    async fn answered(&self, url: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let answer = match self.send(self.kept.request(self.method.clone(), plain(url))).await {
            Err(Missed::Idle) => {
                self.send(self.fresh.request(self.method.clone(), plain(url)).force_close()).await
            }
            sent => sent,
        };
        let (status, location, mut body) = match answer {
            Ok(answer) => {
                let location = answer.headers().get(LOCATION).map(|value| lossy(value.as_bytes()));
                (answer.status(), location, Box::pin(answer))
            }
            Err(Missed::Failed(failure)) => return Err(failure),
            Err(Missed::Idle) => return Err(self.failure(Fault::Unanswered, Broken::Closed.to_string())),
        };
        if status.is_success() {
            let mut reading = Box::pin(async move { skip(&mut body, MAX_ANSWER).await });
            if timeout(BODY, &mut reading).await.is_err() {
                self.linger(timeout_at(began + self.timeout.max(BODY), reading));
            }
            return Ok(());
        }
        let mut words = Vec::new();
        drop(timeout(BODY, gather(&mut body, &mut words)).await);
        // 429 Too Many Requests (RFC 6585 section 4), 503 Service Unavailable (RFC 9110 section 15.6.4)
        let is_overload = matches!(status.as_u16(), 429 | 503);
        Err(Failure { is_overload, ..self.failure(Fault::Refused, self.refusal(status, location, &words)) })
    }

    async fn send(&self, request: ClientRequest) -> Result<ClientResponse, Missed> {
        match timeout(self.timeout + GRACE, request.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => match broken(&error) {
                Some(Broken::Idle) => Err(Missed::Idle),
                Some(Broken::Foreign(words)) => {
                    let broken = Broken::Foreign(words.clone());
                    Err(Missed::Failed(self.failure(Fault::Refused, broken.to_string())))
                }
                Some(broken) => Err(Missed::Failed(self.failure(Fault::Unanswered, broken.to_string()))),
                None => Err(Missed::Failed(self.failure(Fault::Unanswered, self.words(&error)))),
            },
            Err(_) => {
                let late = format!("no answer within {}", crate::base::humanize::duration(self.timeout));
                Err(Missed::Failed(self.failure(Fault::Unanswered, late)))
            }
        }
    }

    fn failure(&self, fault: Fault, what: String) -> Failure {
        let reason = format!("{}: {what}", self.shown);
        Failure { fault, is_overload: false, reason: Printable(&reason).to_string() }
    }

    fn words(&self, error: &SendRequestError) -> String {
        match error {
            SendRequestError::Connect(ConnectError::Timeout) => {
                format!("no connection within {}", crate::base::humanize::duration(self.timeout))
            }
            SendRequestError::Connect(ConnectError::Io(error)) => format!("cannot connect: {error}"),
            error => error.to_string(),
        }
    }

    /// What the host answered, and the first line of what it said about it.
    fn refusal(&self, status: StatusCode, location: Option<String>, words: &[u8]) -> String {
        let reason = status.canonical_reason().unwrap_or_default();
        let mut said = format!("the answer is {} {reason}", status.as_u16()).trim_end().to_owned();
        if let Some(target) = location.filter(|_| status.is_redirection()) {
            said.push_str(&format!(" to {}; redirects are not followed", self.target(&target)));
        } else if let Some(line) = first_line(words) {
            said.push_str(&format!(" ({line})"));
        }
        said
    }

    /// Where a redirect leads, without its query, which may hold a secret.
    fn target(&self, location: &str) -> String {
        let base = self.shown.split_once(' ').and_then(|(_, url)| Url::parse(url).ok());
        let target = match base {
            Some(base) => base.join(location).ok(),
            None => Url::parse(location).ok(),
        };
        target.map_or_else(|| "an address that is none".to_owned(), |url| shown(&url))
    }

    /// Goes on reading an answer that counts already.
    fn linger(&self, reading: impl Future + 'static) {
        let mut lingering = self.lingering.borrow_mut();
        lingering.retain(|reading| !reading.is_finished());
        if lingering.len() >= MAX_LINGERING
            && let Some(oldest) = lingering.pop_front()
        {
            oldest.abort();
        }
        let task = actix_rt::spawn(async move { drop(reading.await) });
        lingering.push_back(task.abort_handle());
    }
}

impl Drop for HttpCaller {
    fn drop(&mut self) {
        self.lingering.borrow().iter().for_each(AbortHandle::abort);
    }
}

#[async_trait::async_trait(?Send)]
impl Caller for HttpCaller {
    async fn call(&self, url: &str) -> Result<(), Failure> {
        self.answered(url).await
    }
}

/// A client whose connections serve further calls for `keep_alive`.
fn client(settings: &NotifySettings, lines: Lines, keep_alive: Duration) -> Client {
    // its limit of 100 connections would queue calls in their own time
    let connector = awc::Connector::new().limit(0).timeout(settings.timeout).conn_keep_alive(keep_alive);
    let mut client = Client::builder()
        .connector(connector.connector(lines))
        .disable_timeout()
        .disable_redirects()
        .add_default_header((HOST, host(&settings.url)))
        .add_default_header(("User-Agent", concat!("mrosync/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in settings.headers.iter().filter_map(header) {
        client = client.add_default_header((name, value));
    }
    client.finish()
}

/// The host as the header names it: with its port unless that is the scheme's own.
fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// A URL without what may be secret.
fn shown(url: &Url) -> String {
    let shown = format!("{}://{}{}", url.scheme(), host(url), url.path());
    shown.chars().take(MAX_SHOWN).collect()
}

/// As awc is to see it: TLS is a matter of the line.
fn plain(url: &str) -> String {
    url.strip_prefix("https://").map_or_else(|| url.to_owned(), |rest| format!("http://{rest}"))
}

/// Why the line broke, where it did.
fn broken(error: &SendRequestError) -> Option<&Broken> {
    let cause: &std::io::Error = match error {
        SendRequestError::Send(error) => error,
        SendRequestError::Response(error) => std::error::Error::source(error)?.downcast_ref()?,
        _ => return None,
    };
    cause.get_ref()?.downcast_ref()
}

/// Reads to the end of a body, or so many bytes of it: a body that was read whole leaves the connection to the next
/// call.
async fn skip(body: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin), most: usize) {
    let mut read = 0;
    while let Some(Ok(block)) = body.next().await {
        read += block.len();
        if read > most {
            break;
        }
    }
}

/// The same, and keeps the beginning.
async fn gather(body: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin), words: &mut Vec<u8>) {
    while let Some(Ok(block)) = body.next().await {
        let room = MAX_WORDS.saturating_sub(words.len());
        words.extend(block.iter().take(room));
        if room <= block.len() {
            return skip(body, MAX_ANSWER).await;
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first line of text in an answer, without the tags of HTML.
fn first_line(words: &[u8]) -> Option<String> {
    let mut within = false;
    let text: String = lossy(words)
        .chars()
        .filter(|c| {
            let tag = within || *c == '<';
            within = tag && *c != '>';
            !tag
        })
        .collect();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(MAX_SHOWN).collect())
}

/// A header as it is sent. The configuration has checked it; one that cannot be sent is left out.
fn header((name, value): &(String, Password)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value.reveal()).ok()?;
    // or awc's own log would show it
    value.set_sensitive(true);
    Some((name, value))
}

fn method(method: NotifyMethod) -> Method {
    match method {
        NotifyMethod::Get => Method::GET,
        NotifyMethod::Post => Method::POST,
        NotifyMethod::Put => Method::PUT,
        NotifyMethod::Patch => Method::PATCH,
    }
}

/// TLS that trusts the system's roots. A system without any fails each call, and not the notifier.
fn trust_the_system() -> ClientConfig {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        log::error!(
            "the system has no root certificates ({}): no call by https can succeed",
            reasons.join("; ")
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap_or_else(|_| ClientConfig::builder());
    builder.with_root_certificates(roots).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_answer_is_text_and_short() {
        let html = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>";
        assert_eq!(first_line(html).as_deref(), Some("502 Bad Gateway"));
        assert_eq!(first_line(b"\n  no such file \nmore").as_deref(), Some("no such file"));
        assert_eq!(first_line(&[b'x'; 1000]).map(|line| line.len()), Some(MAX_SHOWN));
        assert_eq!(first_line(b"<p></p>"), None);
    }

    #[test]
    fn a_url_is_shown_without_its_query_and_called_by_its_own_host() {
        let url = Url::parse("https://mro.web.com:8443/dls.php?token=geheim").unwrap();
        assert_eq!(shown(&url), "https://mro.web.com:8443/dls.php");
        assert_eq!(host(&Url::parse("https://mro.web.com:443/").unwrap()), "mro.web.com");
        assert_eq!(plain("https://h/d?file=https"), "http://h/d?file=https");
    }
}
