//! What an answer that is not 2xx says, and what is read of any.

use ::url::Url;
use awc::ClientResponse;
use awc::error::PayloadError;
use awc::http::StatusCode;
use awc::http::header::LOCATION;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::url::{MAX_SHOWN, shown};
use crate::notify::sink::Fault;

/// More of an answer than this is not read; its connection is closed then.
const MAX_ANSWER: usize = 64 * 1024;
/// Of a refusal, for its first line.
const MAX_WORDS: usize = 4096;

/// The head of an answer that is not 2xx.
pub(super) struct Refusal {
    status: StatusCode,
    location: Option<String>,
}

impl Refusal {
    pub(super) fn of(answer: &ClientResponse) -> Self {
        let location = answer.headers().get(LOCATION).map(|value| lossy(value.as_bytes()));
        Self { status: answer.status(), location }
    }

    pub(super) fn fault(&self) -> Fault {
        match self.status.as_u16() {
            // Too Many Requests (RFC 6585 section 4), Service Unavailable (RFC 9110 section 15.6.4)
            429 | 503 => Fault::Overloaded,
            _ => Fault::Refused,
        }
    }

    /// What `called` answered, and the first line of what it said about it.
    pub(super) fn describe(self, called: &Url, words: &[u8]) -> String {
        let Self { status, location } = self;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut said = format!("the answer is {} {reason}", status.as_u16()).trim_end().to_owned();
        if let Some(target) = location.filter(|_| status.is_redirection()) {
            said.push_str(&format!(" to {}; redirects are not followed", target_of(called, &target)));
        } else if let Some(line) = first_line(words) {
            said.push_str(&format!(" ({line})"));
        }
        said
    }
}

/// Where a redirect leads, without its query, which may hold a secret.
fn target_of(called: &Url, location: &str) -> String {
    let target = called.join(location);
    target.map_or_else(|_| "an address that is none".to_owned(), |url| shown(&url))
}

/// Reads to the end of a body, or so many bytes of it: a body that was read whole leaves the connection to the next
/// call.
pub(super) async fn skip(body: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin)) {
    let mut read = 0;
    while let Some(Ok(block)) = body.next().await {
        read += block.len();
        if read > MAX_ANSWER {
            break;
        }
    }
}

/// Does the same, and keeps the beginning.
pub(super) async fn gather(
    body: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    words: &mut Vec<u8>,
) {
    while let Some(Ok(block)) = body.next().await {
        let room = MAX_WORDS.saturating_sub(words.len());
        words.extend(block.iter().take(room));
        if room <= block.len() {
            return skip(body).await;
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
    fn a_redirect_names_its_target_without_what_may_be_secret() {
        let called = Url::parse("http://h:81/a/dls.php?token=geheim").unwrap();
        let words = |location: &str| {
            let status = StatusCode::FOUND;
            Refusal { status, location: Some(location.to_owned()) }.describe(&called, b"moved")
        };
        assert_eq!(
            words("login?token=geheim"),
            "the answer is 302 Found to http://h:81/a/login; redirects are not followed"
        );
        assert!(words("https://else/x?y").contains(" to https://else/x;"));
        assert!(words("http://[").contains("an address that is none"));
    }
}
