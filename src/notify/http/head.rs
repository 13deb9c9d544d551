//! The head of an answer (RFC 9112), as hosts send it, made into one that awc takes as it is meant. Pure.
//!
//! awc 3.11 takes the first head for the answer, also one of 100 to 199 (RFC 9110 section 15.2 has more of them come);
//! it keeps a connection of HTTP/1.0 whose host closes it; it takes an answer of HTTP/1.1 without a length for one
//! without a body; and it refuses heads for fields that no call has a use for.

/// More than this is no head.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Of the target of a redirect.
const MAX_LOCATION: usize = 1000;

/// What the first bytes of an answer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Not whole yet.
    Partial,
    /// The next bytes, so many, announce that the answer is still to come.
    Interim(usize),
    /// The next bytes, so many, are its head; this one says the same to awc.
    Final(usize, Vec<u8>),
    /// No HTTP.
    Foreign,
}

/// What a head says of the body and the connection.
#[derive(Debug, Default)]
struct Framing {
    lengths: Vec<u64>,
    /// A length that is none.
    odd: bool,
    chunked: bool,
    close: bool,
    keep: bool,
    location: Option<Vec<u8>>,
}

/// Reads the head at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Head {
    // some hosts end the body before with a line too many (RFC 9112 section 2.2)
    let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = bytes.get(skipped..).unwrap_or_default();
    let Some(length) = end_of_head(rest) else {
        let begins = rest.iter().zip(b"HTTP/1.").all(|(byte, wanted)| byte == wanted);
        return if begins { Head::Partial } else { Head::Foreign };
    };
    let mut lines =
        rest.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let Some((minor, status)) = lines.next().and_then(status_line) else { return Head::Foreign };
    let whole = skipped + length;
    if (100..200).contains(&status) && status != 101 {
        return Head::Interim(whole);
    }
    let mut framing = Framing::default();
    lines.for_each(|line| framing.read(line));
    Head::Final(whole, framing.head(minor, status))
}

/// Where the empty line ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.find_map(|at| match bytes.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The minor version and the status of `HTTP/1.1 200 OK`.
fn status_line(line: &[u8]) -> Option<(u8, u16)> {
    let [minor, b' ', rest @ ..] = line.strip_prefix(b"HTTP/1.")? else { return None };
    let digits = std::str::from_utf8(rest.trim_ascii_start().get(..3)?).ok()?;
    let status = digits.parse().ok().filter(|status| (100..1000).contains(status))?;
    minor.is_ascii_digit().then_some((*minor, status))
}

impl Framing {
    fn read(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let words = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"content-length" => words().for_each(|word| self.length(word)),
            b"transfer-encoding" => {
                self.chunked = words().next_back().is_some_and(|word| word.eq_ignore_ascii_case(b"chunked"));
                // a coding without chunks ends with the connection
                self.odd |= !self.chunked;
            }
            b"connection" | b"proxy-connection" => {
                self.close |= words().any(|word| word.eq_ignore_ascii_case(b"close"));
                self.keep |= words().any(|word| word.eq_ignore_ascii_case(b"keep-alive"));
            }
            b"location" => self.location = Some(value.iter().copied().take(MAX_LOCATION).collect()),
            _ => {}
        }
    }

    fn length(&mut self, word: &[u8]) {
        let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        match std::str::from_utf8(word).ok().filter(|_| digits).and_then(|word| word.parse().ok()) {
            Some(length) => self.lengths.push(length),
            None => self.odd = true,
        }
    }

    /// The head for awc. A body whose end is not said for sure ends with the connection.
    fn head(&self, minor: u8, status: u16) -> Vec<u8> {
        let agreed = self.lengths.first().filter(|first| self.lengths.iter().all(|length| length == *first));
        let bodyless = matches!(status, 101 | 204 | 304);
        let (version, body) = match agreed {
            _ if bodyless => ("1.1", "content-length: 0\r\n".to_owned()),
            _ if self.chunked => ("1.1", "transfer-encoding: chunked\r\n".to_owned()),
            Some(length) if !self.odd => ("1.1", format!("content-length: {length}\r\n")),
            _ => ("1.0", String::new()),
        };
        let doubtful = status == 101 || (self.chunked && !self.lengths.is_empty());
        let keep = if minor == b'0' { self.keep && !self.close } else { !self.close };
        let connection = if keep && version == "1.1" && !doubtful { "" } else { "connection: close\r\n" };
        let mut head = format!("HTTP/{version} {status} -\r\n{body}{connection}").into_bytes();
        if let Some(location) = &self.location {
            head.extend_from_slice(b"location: ");
            head.extend(location.iter().copied().filter(|byte| !byte.is_ascii_control()));
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a head with nothing behind it.
    fn whole(text: &str) -> String {
        match read(text.as_bytes()) {
            Head::Final(length, head) if length == text.len() => String::from_utf8(head).unwrap(),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// interface 13.6
    #[test]
    fn a_head_says_where_the_body_ends_and_whether_the_connection_stays() {
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 -\r\ncontent-length: 3\r\n\r\n"),
            (
                "HTTP/1.1 200\nTransfer-Encoding: Chunked\n\n",
                "HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: TE, Close\r\n\r\n",
                "HTTP/1.1 200 -\r\ncontent-length: 3\r\nconnection: close\r\n\r\n",
            ),
            // HTTP/1.0 closes unless it says otherwise
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
                "HTTP/1.1 200 -\r\ncontent-length: 3\r\nconnection: close\r\n\r\n",
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
                "HTTP/1.1 200 -\r\ncontent-length: 3\r\n\r\n",
            ),
            // a body without a length ends with the connection
            ("HTTP/1.1 200 OK\r\nX: y\r\n\r\n", "HTTP/1.0 200 -\r\nconnection: close\r\n\r\n"),
            ("HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 204 -\r\ncontent-length: 0\r\n\r\n"),
            // lengths that agree are one; others are none
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                "HTTP/1.1 200 -\r\ncontent-length: 3\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n",
                "HTTP/1.0 200 -\r\nconnection: close\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", "HTTP/1.0 200 -\r\nconnection: close\r\n\r\n"),
            // what no call has a use for is no reason to refuse
            (
                "\r\nHTTP/1.1 500 \x01\r\nBad Field\u{e9}: x\r\n folded\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 500 -\r\ncontent-length: 0\r\n\r\n",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: http://x/y\x07\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 302 -\r\ncontent-length: 0\r\nlocation: http://x/y\r\n\r\n",
            ),
        ] {
            assert_eq!(whole(head), wanted, "{head:?}");
        }
    }

    #[test]
    fn what_announces_an_answer_is_not_the_answer() {
        for head in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 102 -\r\nX: y\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
        ] {
            let both = format!("{head}HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!(read(both.as_bytes()), Head::Interim(head.len()));
        }
    }

    #[test]
    fn what_is_not_whole_or_no_http_is_no_head() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert!((0..text.len()).all(|length| read(&text[..length]) == Head::Partial));
        for foreign in [
            "220 ready\r\n",
            "what?\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 099 -\r\n\r\n",
        ] {
            assert_eq!(read(foreign.as_bytes()), Head::Foreign, "{foreign:?}");
        }
    }
}
