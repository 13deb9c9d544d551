//! The receiver is an HTTP server: one request for each file, which names it in the query.

mod answer;
mod client;
mod head;
mod stream;
mod url;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use ::url::Url;
use anyhow::Context;
use awc::error::{ConnectError, SendRequestError};
use awc::http::Method;
use awc::{Client, ClientRequest, ClientResponse};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::sink::{CallFailure, CallResult, Fault, Notice, Sink};
use crate::base::humanize;
use crate::config::NotifySettings;
use answer::Refusal;
use stream::{Broken, HttpConnector};

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

/// See the module.
pub(super) struct HttpSink {
    /// Uses connections again.
    kept: Client,
    /// Opens one for each call.
    fresh: Client,
    method: Method,
    url: Url,
    timeout: Duration,
    /// What is called, as it may be shown.
    shown: String,
    lingering: RefCell<VecDeque<AbortHandle>>,
}

/// A call that came to nothing.
enum Missed {
    /// A connection that was idle had been closed; the host got nothing of the call as far as can be told.
    Idle,
    Failed(CallFailure),
}

impl HttpSink {
    /// Makes a client that calls as `settings` say: each call has its timeout, from connecting to the head of its
    /// answer. Redirects are not followed: a 3xx is not delivered.
    #[must_use]
    pub(super) fn new(settings: &NotifySettings) -> Self {
        let tls = (settings.url.scheme() == "https").then(client::trust_the_system);
        let connector = HttpConnector::to(&settings.url, tls, settings.timeout);
        let method = client::method(settings.method);
        Self {
            kept: client::new(settings, connector.clone(), KEEP_ALIVE),
            fresh: client::new(settings, connector, Duration::ZERO),
            shown: format!("{method} {}", url::shown(&settings.url)),
            method,
            url: settings.url.clone(),
            timeout: settings.timeout,
            lingering: RefCell::default(),
        }
    }

    /// Sends the request. A connection that died while it was idle is replaced at once, whatever the method: a call
    /// that got no answer is made again in any case.
    async fn request(&self, url: &str) -> Result<ClientResponse, CallFailure> {
        let request = |client: &Client| client.request(self.method.clone(), url);
        let sent = match self.send(request(&self.kept)).await {
            Err(Missed::Idle) => self.send(request(&self.fresh).force_close()).await,
            sent => sent,
        };
        sent.map_err(|missed| match missed {
            Missed::Failed(failure) => failure,
            Missed::Idle => failure(Fault::Unanswered, Broken::Closed.to_string()),
        })
    }

    async fn send(&self, request: ClientRequest) -> Result<ClientResponse, Missed> {
        let Ok(sent) = timeout(self.timeout + GRACE, request.send()).await else {
            let late = format!("no answer within {}", humanize::duration(self.timeout));
            return Err(Missed::Failed(failure(Fault::Unanswered, late)));
        };
        sent.map_err(|error| match broken(&error) {
            Some(Broken::Idle) => Missed::Idle,
            Some(foreign @ Broken::Foreign(_)) => {
                Missed::Failed(failure(Fault::Refused, foreign.to_string()))
            }
            Some(broken) => Missed::Failed(failure(Fault::Unanswered, broken.to_string())),
            None => Missed::Failed(failure(Fault::Unanswered, self.describe(&error))),
        })
    }

    fn describe(&self, error: &SendRequestError) -> String {
        match error {
            SendRequestError::Connect(ConnectError::Timeout) => {
                format!("no connection within {}", humanize::duration(self.timeout))
            }
            SendRequestError::Connect(ConnectError::Io(error)) => format!("cannot connect: {error}"),
            error => error.to_string(),
        }
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

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.lingering.borrow().iter().for_each(AbortHandle::abort);
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for HttpSink {
    fn describe(&self) -> &str {
        &self.shown
    }

    /// The head of the answer decides, and 2xx is delivered.
    async fn deliver(&self, notice: &Notice) -> CallResult {
        let began = Instant::now();
        let answer = self.request(&url::plain(&url::of_file(&self.url, &notice.file()))).await?;
        if answer.status().is_success() {
            let mut answer = Box::pin(answer);
            let mut reading = Box::pin(async move { answer::skip(&mut answer).await });
            if timeout(BODY, &mut reading).await.is_err() {
                self.linger(timeout_at(began + self.timeout.max(BODY), reading));
            }
            return Ok(());
        }
        let refusal = Refusal::of(&answer);
        let mut words = Vec::new();
        drop(timeout(BODY, answer::gather(&mut Box::pin(answer), &mut words)).await);
        Err(failure(refusal.fault(), refusal.describe(&self.url, &words)))
    }

    /// Opens a connection and calls nothing.
    async fn probe(&self) -> anyhow::Result<String> {
        let host = self.url.host_str().context("the URL has no host")?;
        let port = self.url.port_or_known_default().context("the URL has no port")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        timeout(self.timeout, TcpStream::connect((bare, port)))
            .await
            .map_err(|_| anyhow::anyhow!("no answer in {}", humanize::duration(self.timeout)))
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("connecting to {host}:{port}"))?;
        Ok(format!("{host}:{port} takes connections"))
    }
}

fn failure(fault: Fault, reason: String) -> CallFailure {
    CallFailure { fault, reason }
}

/// Returns why the stream broke, where it did.
fn broken(error: &SendRequestError) -> Option<&Broken> {
    let cause: &std::io::Error = match error {
        SendRequestError::Send(error) => error,
        SendRequestError::Response(error) => std::error::Error::source(error)?.downcast_ref()?,
        _ => return None,
    };
    cause.get_ref()?.downcast_ref()
}
