//! One call of the notify URL.

use std::sync::Arc;
use std::time::Duration;

use awc::Client;
use awc::http::Method;
use awc::http::header::{HeaderName, HeaderValue};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::announce::Caller;
use crate::config::{NotifyMethod, NotifySettings, Password};

/// More of an answer than this is not read; its connection is closed then.
const MAX_ANSWER: usize = 64 * 1024;
/// An idle connection is used again within this time only. Apache closes its own after 5 s, and a call on a
/// connection that is closed meanwhile fails.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Calls by HTTP. Lives on the notifier's thread, which awc needs to be one of actix-rt.
pub struct HttpCaller {
    client: Client,
    method: Method,
    timeout: Duration,
}

impl HttpCaller {
    /// A client that makes calls as `settings` say: each has its timeout, from connecting to the end of the answer.
    /// Redirects are not followed: a 3xx is not delivered.
    #[must_use]
    pub fn new(settings: &NotifySettings) -> Self {
        let timeout = settings.timeout;
        let mut connector = awc::Connector::new().timeout(timeout).conn_keep_alive(KEEP_ALIVE);
        if settings.url.scheme() == "https" {
            connector = connector.rustls_0_23(Arc::new(trust_the_system()));
        }
        let mut client = Client::builder()
            .connector(connector)
            .timeout(timeout)
            .disable_redirects()
            .add_default_header(("User-Agent", concat!("mrosync/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in settings.headers.iter().filter_map(header) {
            client = client.add_default_header((name, value));
        }
        Self { client: client.finish(), method: method(settings.method), timeout }
    }
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

#[async_trait::async_trait(?Send)]
impl Caller for HttpCaller {
    async fn call(&self, url: &str) -> Result<(), String> {
        let call = async {
            let request = self.client.request(self.method.clone(), url);
            let mut answer = request.send().await.map_err(|error| error.to_string())?;
            let status = answer.status();
            // read to its end, so that the connection serves the next call too; an answer that is too long or
            // breaks off changes nothing of its status
            drop(answer.body().limit(MAX_ANSWER).await);
            if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
        };
        let late = |_| format!("no answer within {}", humantime::format_duration(self.timeout));
        tokio::time::timeout(self.timeout, call).await.map_err(late)?
    }
}
