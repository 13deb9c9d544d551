//! What awc is asked for: clients, headers, the method, and whom TLS trusts.

use std::sync::Arc;
use std::time::Duration;

use awc::Client;
use awc::http::Method;
use awc::http::header::{HOST, HeaderName, HeaderValue};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::stream::HttpConnector;
use super::url::host;
use crate::config::{NotifyMethod, NotifySettings, Password};

/// Returns a client whose connections serve further calls for `keep_alive`.
pub(super) fn new(settings: &NotifySettings, connector: HttpConnector, keep_alive: Duration) -> Client {
    // its limit of 100 connections would queue calls in their own time
    let awc = awc::Connector::new().limit(0).timeout(settings.timeout).conn_keep_alive(keep_alive);
    let mut client = Client::builder()
        .connector(awc.connector(connector))
        .disable_timeout()
        .disable_redirects()
        .add_default_header((HOST, host(&settings.url)))
        .add_default_header(("User-Agent", concat!("mrosync/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in settings.headers.iter().filter_map(header) {
        client = client.add_default_header((name, value));
    }
    client.finish()
}

/// A header as it is sent. The configuration has checked it; one that cannot be sent is left out.
fn header((name, value): &(String, Password)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value.reveal()).ok()?;
    // or awc's own log would show it
    value.set_sensitive(true);
    Some((name, value))
}

pub(super) fn method(method: NotifyMethod) -> Method {
    match method {
        NotifyMethod::Get => Method::GET,
        NotifyMethod::Post => Method::POST,
        NotifyMethod::Put => Method::PUT,
        NotifyMethod::Patch => Method::PATCH,
    }
}

/// Returns TLS that trusts the system's roots. A system without any fails each call, and not the notifier.
pub(super) fn trust_the_system() -> ClientConfig {
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
