//! Who may ask for what.
//!
//! A browser on the operator's desk reaches loopback addresses for any site that it shows, so every request is looked
//! at: the name that it was sent to (DNS rebinding), the site that sent it (cross-site requests), and the token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;

use super::assets;
use super::clients::{Client, Clients};
use crate::config::WebSettings;

/// Between two warnings of wrong tokens.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// How long the answer to a wrong token is kept back, for each wrong one of the last minute; and at most. Whoever tries
/// many gets few answers; the right token is never kept waiting.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sent with every answer: the page loads nothing from elsewhere, is shown inside of nothing, and text from servers
/// is text.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What is allowed, and the memory of wrong tokens.
pub(super) struct Rules {
    settings: RwLock<Arc<WebSettings>>,
    wrong: Mutex<WrongTokens>,
}

/// The wrong tokens of the minute that began with the last warning.
#[derive(Debug, Default)]
struct WrongTokens {
    warned: Option<Instant>,
    count: u32,
}

/// A request was let in with the token.
#[derive(Debug, Clone, Copy)]
pub(super) struct WithToken(pub(super) bool);

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Host,
    Site,
    Body,
    ReadOnly,
    TokenMissing,
    TokenWrong,
}

impl Refusal {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "refused: this service is not known by that name; web.hosts can list it",
            ),
            Self::Site => (StatusCode::FORBIDDEN, "refused: the request comes from another site"),
            Self::Body => (StatusCode::PAYLOAD_TOO_LARGE, "refused: nothing here takes a body"),
            Self::ReadOnly => {
                (StatusCode::FORBIDDEN, "refused: read-only, because web.token_file is not configured")
            }
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, "refused: this needs the token"),
            Self::TokenWrong => (StatusCode::UNAUTHORIZED, "refused: the token is wrong"),
        }
    }
}

impl Rules {
    pub(super) fn new(settings: WebSettings) -> Self {
        Self { settings: RwLock::new(Arc::new(settings)), wrong: Mutex::default() }
    }

    /// From now on these hold; the address that is listened on is the same.
    pub(super) fn change(&self, settings: WebSettings) {
        *self.settings.write() = Arc::new(settings);
    }

    fn settings(&self) -> Arc<WebSettings> {
        Arc::clone(&self.settings.read())
    }

    /// Returns whether the token allows anything that is not allowed without it.
    pub(super) fn has_token(&self) -> bool {
        self.settings().token.is_some()
    }

    /// Returns whether the request has the token.
    fn judge(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<bool, Refusal> {
        let settings = self.settings();
        let host = only(headers, header::HOST).ok_or(Refusal::Host)?;
        if !knows(&settings, host) {
            return Err(Refusal::Host);
        }
        if headers.contains_key(header::TRANSFER_ENCODING)
            || only(headers, header::CONTENT_LENGTH).is_some_and(|length| length != "0")
        {
            return Err(Refusal::Body);
        }
        // a link on another site may lead to the page, and that is all
        if assets::is_asset(path) || path == "/healthz" {
            return Ok(false);
        }
        if is_foreign(headers, host) {
            return Err(Refusal::Site);
        }
        let shown = match headers.contains_key(header::AUTHORIZATION) {
            true => is_token(&settings, headers).map(Some)?,
            false => None,
        };
        let reads = *method == Method::GET || *method == Method::HEAD;
        match (&settings.token, shown) {
            (Some(_), Some(())) => Ok(true),
            (None, _) if !reads => Err(Refusal::ReadOnly),
            (Some(_), None) if !reads || !settings.listen.ip().is_loopback() => Err(Refusal::TokenMissing),
            _ => Ok(false),
        }
    }

    /// Warns once a minute, or whoever tries tokens would fill the log, and returns how long to keep the answer back.
    fn wrong_token(&self, request: &ServiceRequest) -> Duration {
        let mut wrong = self.wrong.lock();
        if wrong.warned.is_none_or(|before| before.elapsed() > WARN_EVERY) {
            let peer = request.peer_addr().map_or("somebody".to_owned(), |peer| peer.ip().to_string());
            let before = match wrong.count {
                0 | 1 => String::new(),
                count => format!("; {count} were wrong in the minute after the last warning"),
            };
            log::warn!("the status page was asked with a wrong token, from {peer}{before}");
            *wrong = WrongTokens { warned: Some(Instant::now()), count: 0 };
        }
        wrong.count = wrong.count.saturating_add(1);
        WRONG_TOKEN_PAUSE.saturating_mul(wrong.count).min(LONGEST_PAUSE)
    }
}

/// An address cannot be made to mean another host; a name can, unless it is one of ours.
fn knows(settings: &WebSettings, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let unbracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    unbracketed.parse::<IpAddr>().is_ok() || lower == "localhost" || settings.hosts.contains(&lower)
}

fn is_token(settings: &WebSettings, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = only(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let (Some(shown), Some(token)) = (shown, &settings.token) else { return Err(Refusal::TokenWrong) };
    // takes as long for a token that is nearly right
    let right = shown.as_bytes().ct_eq(token.reveal().as_bytes());
    if bool::from(right) { Ok(()) } else { Err(Refusal::TokenWrong) }
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// Returns whether a browser says that another site is behind the request. Programs say nothing.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    let foreign_origin = headers.contains_key(header::ORIGIN)
        && only(headers, header::ORIGIN)
            .and_then(|origin| origin.split_once("://"))
            .is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host));
    foreign_site || foreign_origin
}

/// Lets a request in or answers it with the refusal.
pub(super) async fn admit(
    rules: web::Data<Rules>,
    clients: web::Data<Clients>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Some(client) = request.conn_data::<Arc<Client>>() {
        clients.asks(client);
    }
    let verdict = rules.judge(request.method(), request.path(), request.headers());
    let mut response = match verdict {
        Ok(with_token) => {
            request.extensions_mut().insert(WithToken(with_token));
            next.call(request).await?.map_into_left_body()
        }
        Err(refusal) => {
            if refusal == Refusal::TokenWrong {
                let pause = rules.wrong_token(&request);
                tokio::time::sleep(pause).await;
            }
            let (status, text) = refusal.answer();
            let mut answer = HttpResponse::build(status);
            if status == StatusCode::UNAUTHORIZED {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            // what else the client sends is not waited for
            answer.force_close().content_type("text/plain; charset=utf-8");
            request.into_response(answer.body(format!("{text}\n"))).map_into_right_body()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Password;

    const TOKEN: &str = "0123456789abcdef";

    fn rules(listen: &str, token: Option<&str>) -> Rules {
        let hosts = vec!["omc.example".to_owned()];
        Rules::new(WebSettings { listen: listen.parse().unwrap(), token: token.map(Password::new), hosts })
    }

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let given = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        given.for_each(|(name, value)| headers.append(name, value));
        headers
    }

    fn judged(rules: &Rules, asked: &str, given: &[(&'static str, &str)]) -> Result<bool, Refusal> {
        let (method, path) = asked.split_once(' ').unwrap();
        rules.judge(&method.parse().unwrap(), path, &headers(given))
    }

    #[test]
    fn only_addresses_localhost_and_configured_names_are_answered() {
        let rules = rules("127.0.0.1:8321", None);
        for (host, known) in [
            ("127.0.0.1:8321", true),
            ("127.0.0.1", true),
            ("[::1]:8321", true),
            ("localhost:8321", true),
            ("LOCALHOST", true),
            ("omc.example:443", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8321", false),
            ("127.0.0.1:8321@evil.example", false),
            ("", false),
        ] {
            let expected = if known { Ok(false) } else { Err(Refusal::Host) };
            assert_eq!(judged(&rules, "GET /api/status", &[("host", host)]), expected, "{host}");
            assert_eq!(judged(&rules, "GET /", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(judged(&rules, "GET /", &[]), Err(Refusal::Host));
        let twice = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
        assert_eq!(judged(&rules, "GET /", &twice), Err(Refusal::Host));
    }

    #[test]
    fn another_site_may_link_to_the_page_and_no_more() {
        let rules = rules("127.0.0.1:8321", Some(TOKEN));
        let bearer = format!("Bearer {TOKEN}");
        for (name, value, foreign) in [
            ("origin", "http://127.0.0.1:8321", false),
            ("origin", "https://127.0.0.1:8321", false),
            ("origin", "http://evil.example", true),
            ("origin", "http://127.0.0.1:9999", true),
            ("origin", "null", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
        ] {
            let given = [("host", "127.0.0.1:8321"), (name, value), ("authorization", bearer.as_str())];
            let expected = if foreign { Err(Refusal::Site) } else { Ok(true) };
            for asked in ["POST /api/stop", "GET /api/status", "GET /metrics"] {
                assert_eq!(judged(&rules, asked, &given), expected, "{asked} {name}: {value}");
            }
            assert_eq!(judged(&rules, "GET /", &given), Ok(false));
        }
    }

    #[test]
    fn the_token_is_needed_to_act_and_outside_of_loopback_to_read() {
        let host = ("host", "10.0.0.1");
        let (wrong, right) =
            (("authorization", "Bearer 0123456789abcdeF"), ("authorization", "Bearer 0123456789abcdef"));
        let missing = Err(Refusal::TokenMissing);
        for (listen, token, read, act) in [
            ("127.0.0.1:1", None, Ok(false), Err(Refusal::ReadOnly)),
            ("127.0.0.1:1", Some(TOKEN), Ok(false), missing),
            ("0.0.0.0:1", Some(TOKEN), missing, missing),
        ] {
            let rules = rules(listen, token);
            for (asked, expected) in
                [("GET /api/status", read), ("GET /metrics", read), ("POST /api/start", act)]
            {
                assert_eq!(judged(&rules, asked, &[host]), expected, "{listen} {asked}");
                let refused = Err(Refusal::TokenWrong);
                for wrong in [wrong, ("authorization", ""), ("authorization", "Basic 0123456789abcdef")] {
                    assert_eq!(judged(&rules, asked, &[host, wrong]), refused, "{listen} {asked}");
                }
                assert_eq!(judged(&rules, asked, &[host, right, right]), refused);
                let allowed = if token.is_some() { Ok(true) } else { refused };
                assert_eq!(judged(&rules, asked, &[host, right]), allowed, "{listen} {asked}");
            }
            for open in ["GET /", "GET /page.js", "GET /healthz"] {
                assert_eq!(judged(&rules, open, &[host]), Ok(false));
            }
        }
    }

    #[test]
    fn nothing_takes_a_body() {
        let rules = rules("127.0.0.1:1", None);
        for (body, expected) in [
            (("content-length", "0"), Ok(false)),
            (("content-length", "1"), Err(Refusal::Body)),
            (("transfer-encoding", "chunked"), Err(Refusal::Body)),
        ] {
            assert_eq!(judged(&rules, "GET /api/status", &[("host", "[::1]"), body]), expected);
        }
    }
}
