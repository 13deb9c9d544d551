//! Replies as servers send them, made into replies as RFC 959 section 4.2 defines them.
//!
//! suppaftp reads replies strictly in some places and loosely in others: it waits for ever on a reply without
//! text (`226`), takes `100 users online` inside a banner for the end of it, and refuses blank lines. All bytes of
//! the control connection pass [`ReplyRepair`] before suppaftp sees them.

use chrono::{DateTime, NaiveDateTime, Utc};

/// Longest line of a reply, in bytes. Real ones stay under a few hundred.
const MAX_REPLY_LINE: usize = 16 * 1024;
/// Most lines outside any reply that are skipped in a row before the server is given up.
const MAX_STRAY_LINES: usize = 100;

/// What no repair helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// A line longer than any that a server means.
    #[error("a reply line is longer than {MAX_REPLY_LINE} bytes")]
    LineTooLong,
    /// Line after line that belongs to no reply: another protocol.
    #[error("more than {MAX_STRAY_LINES} lines belong to no reply")]
    NotFtp,
    /// What SSH begins with (RFC 4253 section 4.2), in the place of a greeting.
    #[error("an SSH server answers; set protocol = \"sftp\", or port to that of FTP (21 on most hosts)")]
    Ssh,
}

/// A line filter between the control connection and suppaftp. Holds at most one line.
#[derive(Debug, Default)]
pub struct ReplyRepair {
    line: Vec<u8>,
    /// The code of the multi-line reply that is open.
    open: Option<[u8; 3]>,
    stray: usize,
    /// The next reply is the greeting.
    greets: bool,
}

impl ReplyRepair {
    /// For a connection whose first reply is the greeting: suppaftp takes none but 220, where any 2xx means the same.
    #[must_use]
    pub fn before_greeting() -> Self {
        Self { greets: true, ..Self::default() }
    }

    /// Takes received bytes and appends repaired lines to `ready`.
    ///
    /// # Errors
    ///
    /// [`ReplyFault`] when the other end does not speak FTP; the connection is of no use then.
    pub fn feed(&mut self, bytes: &[u8], ready: &mut Vec<u8>) -> Result<(), ReplyFault> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > MAX_REPLY_LINE {
                return Err(ReplyFault::LineTooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(line.trim_ascii_end(), ready)?;
                // keep the allocation for the next line
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], ready: &mut Vec<u8>) -> Result<(), ReplyFault> {
        // inside a reply an indented code is text: RFC 959 section 4.2 has servers pad such lines
        let line = if self.open.is_none() { line.trim_ascii_start() } else { line };
        let (code, separator) = code_of(line);
        match (self.open, code) {
            (Some(open), Some(code)) if code == open && separator != b'-' => {
                self.open = None;
                self.emit_last(line, separator, ready);
            }
            (Some(_), _) => {
                // a digit in front could be taken for the end of the reply
                ready.push(b' ');
                emit(line.trim_ascii_start(), b' ', ready);
            }
            // 120 announces the greeting that follows (RFC 959 section 4.2.1); it asks for nothing but patience
            (None, Some([b'1', b'2', b'0'])) => {}
            (None, Some(code)) => {
                self.stray = 0;
                self.open = (separator == b'-').then_some(code);
                match self.open {
                    Some(_) => emit(line, separator, ready),
                    None => self.emit_last(line, separator, ready),
                }
            }
            (None, None) if self.greets && line.starts_with(b"SSH-") => return Err(ReplyFault::Ssh),
            (None, None) => {
                self.stray += usize::from(!line.is_empty());
                if self.stray > MAX_STRAY_LINES {
                    return Err(ReplyFault::NotFtp);
                }
            }
        }
        Ok(())
    }

    /// The last line of a reply, whose code is the one that counts.
    fn emit_last(&mut self, line: &[u8], separator: u8, ready: &mut Vec<u8>) {
        let is_greeting = std::mem::take(&mut self.greets) && line.starts_with(b"2");
        let at = ready.len();
        emit(line, separator, ready);
        if let Some(code) = ready.get_mut(at..at + 3).filter(|_| is_greeting) {
            code.copy_from_slice(b"220");
        }
    }
}

/// The reply code at the start of a line and what follows it: a blank, `-`, or 0 for nothing at all.
fn code_of(line: &[u8]) -> (Option<[u8; 3]>, u8) {
    let Some((&code, rest)) = line.split_first_chunk::<3>() else { return (None, 0) };
    let separator = rest.first().copied().unwrap_or(0);
    let valid = matches!(code[0], b'1'..=b'6') && code.iter().all(u8::is_ascii_digit);
    if valid && matches!(separator, b' ' | b'-' | b'\t' | 0) { (Some(code), separator) } else { (None, 0) }
}

/// suppaftp waits for a blank or `-` behind the code, where some servers have a tab or nothing.
fn emit(line: &[u8], separator: u8, ready: &mut Vec<u8>) {
    let (code, text) = line.split_at_checked(3).unwrap_or((line, b""));
    ready.extend_from_slice(code);
    match separator {
        0 => ready.push(b' '),
        b'\t' => {
            ready.push(b' ');
            ready.extend_from_slice(text.get(1..).unwrap_or_default());
        }
        _ => ready.extend_from_slice(text),
    }
    ready.extend_from_slice(b"\r\n");
}

/// One complete reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits of its last line.
    pub code: u16,
    /// All its lines, repaired.
    pub body: Vec<u8>,
}

impl Reply {
    /// Takes the bytes that suppaftp collected for one reply.
    #[must_use]
    pub fn from_body(body: Vec<u8>) -> Self {
        let last = body.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let digits = last.get(..3).unwrap_or_default();
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0') % 10));
        Self { code, body }
    }

    /// The same with `secret` blotted out: some servers repeat the command that they refuse.
    #[must_use]
    pub fn without(self, secret: &[u8]) -> Self {
        // a repaired line has lost the blanks at its end, and the secret's with them
        let secret = secret.trim_ascii();
        if secret.is_empty() {
            return self;
        }
        let mut body = Vec::with_capacity(self.body.len());
        let mut rest = self.body.as_slice();
        while let Some((first, others)) = rest.split_first() {
            match rest.strip_prefix(secret) {
                Some(after) => {
                    body.extend_from_slice(b"***");
                    rest = after;
                }
                None => {
                    body.push(*first);
                    rest = others;
                }
            }
        }
        Self { body, ..self }
    }

    /// 2xx: done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.code / 100 == 2
    }

    /// 1xx: under way, another reply follows.
    #[must_use]
    pub fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// The text of the last line, without its code.
    #[must_use]
    pub fn last_line(&self) -> &[u8] {
        let last = self.body.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        last.get(4..).unwrap_or_default().trim_ascii()
    }

    /// Returns whether any line holds `word`, whatever its case (ASCII).
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        let body = self.body.to_ascii_lowercase();
        body.windows(word.len()).any(|window| window == word.as_bytes())
    }

    /// The port of a 227 reply: the last two of its last six numbers, whatever stands around them.
    #[must_use]
    pub fn pasv_port(&self) -> Option<u16> {
        let numbers = numbers(self.last_line());
        let [.., _, _, _, _, high, low] = numbers.as_slice() else { return None };
        let (high, low) = (u8::try_from(*high).ok()?, u8::try_from(*low).ok()?);
        Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0)
    }

    /// The port of a 229 reply (RFC 2428): its last number.
    #[must_use]
    pub fn epsv_port(&self) -> Option<u16> {
        let port = *numbers(self.last_line()).last()?;
        u16::try_from(port).ok().filter(|port| *port != 0)
    }

    /// The time of a 213 reply to MDTM (RFC 3659 section 3).
    #[must_use]
    pub fn modified(&self) -> Option<DateTime<Utc>> {
        let digits = self.last_line().get(..14).filter(|_| self.code == 213)?;
        let text = std::str::from_utf8(digits).ok()?;
        NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%S").ok().map(|time| time.and_utc())
    }

    /// The first number of a 213 reply: the size of a file (RFC 3659 section 4).
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        numbers(self.last_line()).first().copied()
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, crate::base::names::Printable(&self.telling()))
    }
}

/// Longest text of a reply that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 200;
/// What servers close a reply of several lines with, which says nothing.
const CLOSINGS: [&str; 6] = ["", "end", "done", "ok", "failed", "error"];

impl Reply {
    /// What it says: all lines that say something where that is short, else the last one and then the first. A refusal of
    /// several lines has its reason in any of them.
    fn telling(&self) -> String {
        let code = self.code.to_string();
        let body = String::from_utf8_lossy(self.body.trim_ascii_end());
        let last = body.lines().count().saturating_sub(1);
        let own = |(place, line): (usize, &str)| {
            let line = line.trim();
            let coded = place == 0 || place == last || line.starts_with(&code);
            let rest = if coded {
                line.char_indices().nth(3).and_then(|(at, _)| line.get(at..))
            } else {
                Some(line)
            };
            rest.unwrap_or_default().trim_start_matches(['-', ' ', '\t']).to_owned()
        };
        let tells = |line: &String| {
            let words = line.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            !CLOSINGS.contains(&words.as_str())
        };
        let lines: Vec<String> = body.lines().enumerate().map(own).filter(tells).collect();
        let all = lines.join("; ");
        let text = match lines.as_slice() {
            [] => String::from_utf8_lossy(self.last_line()).into_owned(),
            [first, .., last] if all.chars().count() > MAX_SHOWN_CHARS => format!("{last}; {first}"),
            _ => all,
        };
        text.chars().take(MAX_SHOWN_CHARS).collect()
    }
}

fn numbers(text: &[u8]) -> Vec<u64> {
    text.split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .collect()
}

/// What FEAT (RFC 2389) says that matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// MLST, and with it MLSD.
    pub mlsd: bool,
    /// `UTF8`
    pub utf8: bool,
}

impl Features {
    /// Reads any shape of FEAT reply: with or without leading blanks, tabs, or `211-` on each line.
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        let mut features = Self::default();
        for line in reply.body.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            let line = line.strip_prefix(b"211-").unwrap_or(line).trim_ascii();
            let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            features.mlsd |= word.eq_ignore_ascii_case(b"MLST") || word.eq_ignore_ascii_case(b"MLSD");
            features.utf8 |= word.eq_ignore_ascii_case(b"UTF8");
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(bytes: &[u8]) -> String {
        let mut whole = Vec::new();
        ReplyRepair::default().feed(bytes, &mut whole).unwrap();
        let mut bytewise = Vec::new();
        let mut repair = ReplyRepair::default();
        for byte in bytes {
            repair.feed(std::slice::from_ref(byte), &mut bytewise).unwrap();
        }
        assert_eq!(whole, bytewise, "the cut of the packets changed the reply");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn a_reply_without_text_gets_its_blank() {
        assert_eq!(repaired(b"226\r\n220\n"), "226 \r\n220 \r\n");
        assert_eq!(repaired(b"226\tok\n"), "226 ok\r\n");
    }

    #[test]
    fn digits_inside_a_multi_line_reply_do_not_end_it() {
        assert_eq!(
            repaired(b"220-Welcome\r\n100 users online\r\n404 is not\r\n220-more\r\n220 ready\r\n"),
            "220-Welcome\r\n 100 users online\r\n 404 is not\r\n 220-more\r\n220 ready\r\n"
        );
        assert_eq!(repaired(b"220-a\r\n 220 b\r\n220 c\r\n"), "220-a\r\n 220 b\r\n220 c\r\n");
        assert_eq!(repaired(b"211-Features\r\n MLST\r\n211\r\n"), "211-Features\r\n MLST\r\n211 \r\n");
    }

    #[test]
    fn blank_lines_and_120_are_passed_over() {
        assert_eq!(repaired(b"120 wait\r\n\r\n220 ready\r\n"), "220 ready\r\n");
        assert_eq!(repaired(b"  226 indented\r\n"), "226 indented\r\n");
    }

    #[test]
    fn any_success_is_a_greeting() {
        let greeted = |bytes: &[u8]| {
            let mut ready = Vec::new();
            ReplyRepair::before_greeting().feed(bytes, &mut ready).unwrap();
            String::from_utf8(ready).unwrap()
        };
        assert_eq!(greeted(b"120 soon\r\n200 hello\r\n230 in\r\n"), "220 hello\r\n230 in\r\n");
        assert_eq!(greeted(b"230-hello\r\n230 you\r\n"), "230-hello\r\n220 you\r\n");
        assert_eq!(greeted(b"421 full\r\n"), "421 full\r\n");
    }

    #[test]
    fn endless_lines_and_other_protocols_are_refused() {
        let mut ready = Vec::new();
        let long = vec![b'x'; MAX_REPLY_LINE + 1];
        assert_eq!(ReplyRepair::default().feed(&long, &mut ready), Err(ReplyFault::LineTooLong));
        let html = b"<p>\r\n".repeat(MAX_STRAY_LINES + 1);
        assert_eq!(ReplyRepair::default().feed(&html, &mut ready), Err(ReplyFault::NotFtp));
        assert!(ready.is_empty());
    }

    #[test]
    fn codes_that_suppaftp_does_not_name_are_read_from_the_text() {
        assert_eq!(Reply::from_body(b"522 reuse required\r\n".to_vec()).code, 522);
        assert_eq!(Reply::from_body(b"220-a\r\n220 b\r\n".to_vec()).last_line(), b"b");
        assert_eq!(Reply::from_body(Vec::new()).code, 0);
    }

    #[test]
    fn of_a_refusal_in_several_lines_the_one_that_tells_is_shown() {
        let shown = |text: &str| Reply::from_body(text.as_bytes().to_vec()).to_string();
        assert_eq!(
            shown("500-File too big. Send at least 8605 bytes first.\r\n500 End.\r\n"),
            "500 File too big. Send at least 8605 bytes first."
        );
        assert_eq!(
            shown("553-Quota\r\n is used up\r\n553 End of reply.\r\n"),
            "553 Quota; is used up; End of reply."
        );
        assert_eq!(
            shown("530-Welcome\r\n ----\r\n530 Login incorrect.\r\n"),
            "530 Welcome; Login incorrect."
        );
        let long = format!("530-{}\r\n530 Login incorrect.\r\n", "x".repeat(300));
        assert!(shown(&long).starts_with("530 Login incorrect.; xxx"), "{}", shown(&long));
        assert_eq!(shown("550 End.\r\n"), "550 End.");
        assert_eq!(shown("550 5501.zip: no\r\n"), "550 5501.zip: no");
        assert_eq!(shown("226 \r\n"), "226 ");
    }

    #[test]
    fn passive_ports_are_found_in_any_dress() {
        let port = |text: &str| Reply::from_body(text.as_bytes().to_vec()).pasv_port();
        assert_eq!(port("227 Entering Passive Mode (10,0,0,1,4,1)\r\n"), Some(1025));
        assert_eq!(port("227 =127, 0, 0, 1, 4, 1.\r\n"), Some(1025));
        assert_eq!(port("227 进入被动模式 10,0,0,1,4,1\r\n"), Some(1025));
        assert_eq!(port("227 in 5 s: (10,0,0,1,4,1)\r\n"), Some(1025));
        for bad in
            ["227 none\r\n", "227 (10,0,0,1,4)\r\n", "227 (10,0,0,1,256,1)\r\n", "227 (0,0,0,0,0,0)\r\n"]
        {
            assert_eq!(port(bad), None, "{bad}");
        }
        let port = |text: &str| Reply::from_body(text.as_bytes().to_vec()).epsv_port();
        assert_eq!(port("229 Extended (|||4096|)\r\n"), Some(4096));
        assert_eq!(port("229 !!!4096!\r\n"), Some(4096));
        assert_eq!(port("229 (|1|10.0.0.1|4096|)\r\n"), Some(4096));
        assert_eq!(port("229 (|||70000|)\r\n"), None);
    }

    #[test]
    fn the_time_of_a_file_is_read_with_any_fraction_and_nothing_else_for_one() {
        let modified = |text: &str| Reply::from_body(format!("{text}\r\n").into_bytes()).modified();
        let at = modified("213 20261123030005").map(|time| time.timestamp());
        assert_eq!(at, Some(1_795_402_805));
        assert_eq!(modified("213 20261123030005.123").map(|time| time.timestamp()), at);
        for other in ["213 2026112303000", "213 20261323030005", "250 20261123030005", "550 no such file"] {
            assert_eq!(modified(other), None, "{other}");
        }
    }

    #[test]
    fn every_shape_of_feat_is_read() {
        let features = |text: &str| Features::from_reply(&Reply::from_body(text.as_bytes().to_vec()));
        for text in [
            "211-Features:\r\n MLST type*;size*;\r\n UTF8\r\n211 End\r\n",
            "211-Features:\r\nMLST\r\n\tUTF8\r\n211 End\r\n",
            "211-Features:\r\n 211-MLST a;\r\n 211-UTF8\r\n211 End\r\n",
        ] {
            assert_eq!(features(text), Features { mlsd: true, utf8: true }, "{text}");
        }
        assert_eq!(features("211 no features\r\n"), Features::default());
    }

    #[test]
    fn sizes_with_words_behind_them_are_read() {
        assert_eq!(Reply::from_body(b"213 123 bytes\r\n".to_vec()).size(), Some(123));
        assert_eq!(Reply::from_body(b"213 \r\n".to_vec()).size(), None);
    }

    #[test]
    fn a_secret_is_blotted_out_wherever_a_reply_repeats_it() {
        let shown = |text: &str, secret: &str| {
            Reply::from_body(text.as_bytes().to_vec()).without(secret.as_bytes()).to_string()
        };
        assert_eq!(shown("530 PASS s3cret: s3cret?\r\n", "s3cret"), "530 PASS ***: ***?");
        assert_eq!(shown("530 PASS s3cret\r\n", " s3cret "), "530 PASS ***");
        assert_eq!(shown("530 no\r\n", ""), "530 no");
        assert_eq!(shown("530 no\r\n", "530"), "530 no");
    }
}
