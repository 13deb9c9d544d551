//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), which is what servers speak: bytes to
//! replies. Pure. Names and paths are bytes: the draft says nothing of their encoding.

use bytes::{Buf, Bytes, BytesMut};

use super::error::shown;
use super::status;
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::protocol::Kind;

/// Largest packet that is taken. Servers send up to 256 KiB; a READ is answered with what was asked for.
pub const MAX_PACKET: usize = 256 * 1024;

/// Longest handle (section 3 of the draft).
const MAX_HANDLE: usize = 256;

/// One packet of a server, not taken apart yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    kind: u8,
    body: Bytes,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An outcome, good or bad.
    Status {
        /// Section 7 of the draft.
        code: u32,
        /// The server's words.
        text: String,
    },
    /// What was opened.
    Handle(Bytes),
    /// Bytes of a file.
    Data(Bytes),
    /// Names of a directory, to be read with [`Names`].
    Names(Names),
    /// What a file is.
    Attributes(Attributes),
}

/// What a server says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// In bytes.
    pub size: Option<u64>,
    /// Type and permissions, as Unix has them.
    pub mode: Option<u32>,
    /// Last change in seconds since 1970, UTC.
    pub modified: Option<u32>,
}

/// Names of a directory, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    left: u32,
    body: Bytes,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Without its directory.
    pub name: Bytes,
    /// The same as `ls -l` shows it.
    pub long: Bytes,
    /// Of the name itself: links are not followed.
    pub attributes: Attributes,
}

/// Takes the next whole packet from the front of `bytes`; `None` where it is not complete yet.
///
/// # Errors
///
/// What is wrong with it; there is no going on from there.
pub fn take_packet(bytes: &mut BytesMut) -> Result<Option<Packet>, &'static str> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if length > MAX_PACKET {
        return Err("a packet is longer than 256 KiB, or it is no SFTP at all");
    }
    if bytes.len() < 4 + length {
        return Ok(None);
    }
    bytes.advance(4);
    let mut body = bytes.split_to(length).freeze();
    let kind = body.try_get_u8().map_err(|_| "an empty packet")?;
    Ok(Some(Packet { kind, body }))
}

impl Packet {
    /// The version in the answer to the first packet.
    ///
    /// # Errors
    ///
    /// Where it is something else.
    pub fn version(mut self) -> Result<u32, &'static str> {
        if self.kind != 2 {
            return Err("the first packet is not VERSION");
        }
        self.body.try_get_u32().map_err(|_| CUT)
    }

    /// The number of the request that is answered, and the answer.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn reply(self) -> Result<(u32, Reply), &'static str> {
        let Self { kind, mut body } = self;
        let id = body.try_get_u32().map_err(|_| CUT)?;
        let reply = match kind {
            101 => {
                let code = body.try_get_u32().map_err(|_| CUT)?;
                // old servers leave the words out
                let text = string(&mut body).unwrap_or_default();
                Reply::Status { code, text: describe(code, &text) }
            }
            102 => {
                let handle = string(&mut body)?;
                if handle.len() > MAX_HANDLE {
                    return Err("a handle is longer than 256 bytes");
                }
                Reply::Handle(handle)
            }
            103 => Reply::Data(string(&mut body)?),
            104 => {
                let left = body.try_get_u32().map_err(|_| CUT)?;
                Reply::Names(Names { left, body })
            }
            105 => Reply::Attributes(attributes(&mut body)?),
            2 => return Err("VERSION in the middle of the conversation"),
            _ => return Err("a packet of an unknown kind"),
        };
        Ok((id, reply))
    }
}

const CUT: &str = "a packet ends too early";

impl Names {
    /// Returns whether there are none left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next of them.
    ///
    /// # Errors
    ///
    /// Where the packet ends before its names do.
    pub fn take_next(&mut self) -> Result<Option<Name>, &'static str> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let name = string(&mut self.body)?;
        let long = string(&mut self.body)?;
        let attributes = attributes(&mut self.body)?;
        Ok(Some(Name { name, long, attributes }))
    }
}

/// What is told of an entry's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It can be mirrored, or leads to what can be.
    Is(Kind),
    /// A device, a socket and the like.
    Special,
    /// Nothing.
    Untold,
}

/// The type by the first letter of a line as `ls -l` prints it. Some servers send the bare name instead, which may
/// begin with any letter.
fn seen_by_line(long: &[u8]) -> Seen {
    let Some((letter, rest)) = long.split_first() else { return Seen::Untold };
    let rights = rest.first_chunk::<9>().is_some_and(|rights| {
        rights
            .iter()
            .all(|right| matches!(right, b'r' | b'w' | b'x' | b's' | b'S' | b't' | b'T' | b'-' | b'?'))
    });
    let is_line = rights && rest.get(9).is_some_and(|mark| matches!(mark, b' ' | b'\t' | b'+' | b'.' | b'@'));
    match letter {
        _ if !is_line => Seen::Untold,
        b'd' => Seen::Is(Kind::Directory),
        b'-' => Seen::Is(Kind::File),
        b'l' => Seen::Is(Kind::Link),
        b'b' | b'c' | b'p' | b's' | b'D' => Seen::Special,
        _ => Seen::Untold,
    }
}

impl Name {
    /// What it is, by its type, or by its line where the server leaves the type out.
    #[must_use]
    pub fn seen(&self) -> Seen {
        match self.attributes.seen() {
            Seen::Untold => seen_by_line(&self.long),
            seen => seen,
        }
    }

    /// Size and time; of a link the time alone, because its size is its own.
    #[must_use]
    pub fn facts(&self, kind: Option<Kind>) -> FileFacts {
        let Attributes { size, modified, .. } = self.attributes;
        let size = size.filter(|_| kind == Some(Kind::File));
        let seconds = |seconds| Modified { unix_seconds: i64::from(seconds), source: TimeSource::Utc };
        FileFacts { size, modified: modified.map(seconds) }
    }
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// Pipes, devices and sockets.
const SPECIAL: [u32; 4] = [0o010_000, 0o020_000, 0o060_000, 0o140_000];

impl Attributes {
    /// The type, where it is told.
    #[must_use]
    pub fn seen(&self) -> Seen {
        match self.type_bits() {
            Some(DIRECTORY) => Seen::Is(Kind::Directory),
            Some(FILE) => Seen::Is(Kind::File),
            Some(LINK) => Seen::Is(Kind::Link),
            Some(bits) if SPECIAL.contains(&bits) => Seen::Special,
            _ => Seen::Untold,
        }
    }

    fn type_bits(&self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o170_000).filter(|bits| *bits != 0)
    }

    /// Returns whether it may be read as a file: it is one, or the server does not say what it is.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.seen(), Seen::Is(Kind::File) | Seen::Untold)
    }
}

fn attributes(body: &mut Bytes) -> Result<Attributes, &'static str> {
    let mut found = Attributes::default();
    let flags = body.try_get_u32().map_err(|_| CUT)?;
    if flags & 1 != 0 {
        found.size = Some(body.try_get_u64().map_err(|_| CUT)?);
    }
    if flags & 2 != 0 {
        // user and group
        body.try_get_u64().map_err(|_| CUT)?;
    }
    if flags & 4 != 0 {
        found.mode = Some(body.try_get_u32().map_err(|_| CUT)?);
    }
    if flags & 8 != 0 {
        // when it was read last, which is no change
        body.try_get_u32().map_err(|_| CUT)?;
        found.modified = Some(body.try_get_u32().map_err(|_| CUT)?);
    }
    if flags & 0x8000_0000 != 0 {
        let count = body.try_get_u32().map_err(|_| CUT)?;
        // each takes eight bytes at least, so that the packet's end ends it
        for _ in 0..count {
            string(body)?;
            string(body)?;
        }
    }
    Ok(found)
}

fn string(body: &mut Bytes) -> Result<Bytes, &'static str> {
    let length = body.try_get_u32().map_err(|_| CUT)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if body.len() < length {
        return Err(CUT);
    }
    Ok(body.split_to(length))
}

/// The server's words, or the draft's where it has none.
fn describe(code: u32, text: &[u8]) -> String {
    if !text.trim_ascii().is_empty() {
        return shown(text);
    }
    let standard = match code {
        status::OK => "done",
        status::EOF => "end of file",
        2 => "no such file",
        3 => "permission denied",
        4 => "failure",
        5 => "bad message",
        6 => "no connection",
        7 => "connection lost",
        8 => "operation not supported",
        code => return format!("failed with code {code}"),
    };
    standard.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::request::length;
    use proptest::prelude::*;

    fn packet(kind: u8, id: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = length(5 + rest.len()).to_vec();
        bytes.push(kind);
        bytes.extend(id.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [&length(bytes.len())[..], bytes].concat()
    }

    fn read(bytes: &[u8]) -> Result<(u32, Reply), &'static str> {
        let mut bytes = BytesMut::from(bytes);
        take_packet(&mut bytes)?.ok_or("incomplete")?.reply()
    }

    #[test]
    fn packets_are_taken_whole_however_they_come() {
        let whole = [packet(103, 1, &text(b"abc")), packet(102, 2, &text(b"h"))].concat();
        let (mut bytes, mut replies) = (BytesMut::new(), Vec::new());
        for byte in &whole {
            bytes.extend_from_slice(&[*byte]);
            while let Some(packet) = take_packet(&mut bytes).unwrap() {
                replies.push(packet.reply().unwrap());
            }
        }
        assert_eq!(replies, [(1, Reply::Data("abc".into())), (2, Reply::Handle("h".into()))]);
        assert!(take_packet(&mut BytesMut::from(&b"\0\x04\0\x01"[..])).is_err(), "over 256 KiB");
        assert!(take_packet(&mut BytesMut::from(&b"\0\0\0\0"[..])).is_err(), "empty");
    }

    #[test]
    fn names_come_with_their_kind_size_and_time_and_links_without_size() {
        let attributes = |mode: u32| {
            let mut bytes = 0x8000_000f_u32.to_be_bytes().to_vec();
            bytes.extend(123_u64.to_be_bytes());
            bytes.extend(0_u64.to_be_bytes());
            bytes.extend(mode.to_be_bytes());
            bytes.extend([5_u32, 1_700_000_000, 1].map(u32::to_be_bytes).concat());
            bytes.extend([text(b"x@y"), text(b"z")].concat());
            bytes
        };
        let entry = |name: &[u8], mode| [text(name), text(b"?"), attributes(mode)].concat();
        let modes = [0o100_644, 0o120_777, 0o040_755, 0o010_644];
        let body = modes.map(|mode| entry(b"\xff.zip", mode)).concat();
        let (_, reply) = read(&packet(104, 3, &[&4_u32.to_be_bytes()[..], &body].concat())).unwrap();
        let Reply::Names(mut names) = reply else { panic!("{reply:?}") };
        let mut found = Vec::new();
        while let Some(name) = names.take_next().unwrap() {
            assert_eq!((&name.name[..], name.attributes.modified), (&b"\xff.zip"[..], Some(1_700_000_000)));
            let kind = match name.seen() {
                Seen::Is(kind) => Some(kind),
                _ => None,
            };
            found.push((kind, name.facts(kind).size));
        }
        let expected = [
            (Some(Kind::File), Some(123)),
            (Some(Kind::Link), None),
            (Some(Kind::Directory), None),
            (None, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_server_that_leaves_the_type_out_is_read_by_its_lines_where_they_are_lines() {
        let seen = |long: &str, mode| {
            let attributes = Attributes { mode, ..Attributes::default() };
            Name { name: "x".into(), long: long.to_owned().into(), attributes }.seen()
        };
        assert_eq!(seen("drwxr-xr-x 1 u g 0 Nov 1 00:00 x", None), Seen::Is(Kind::Directory));
        assert_eq!(seen("-rw-r--r--+ 1 u g 0 Nov 1 00:00 x", Some(0o644)), Seen::Is(Kind::File));
        assert_eq!(seen("lrwxrwxrwx 1 u g 0 Nov 1 00:00 x", None), Seen::Is(Kind::Link));
        assert_eq!(seen("srwxrwxrwx 1 u g 0 Nov 1 00:00 x", None), Seen::Special);
        assert_eq!(seen("drwxr-xr-x 1 u g 0 Nov 1 00:00 x", Some(0o100_644)), Seen::Is(Kind::File));
        for bare in ["", "data.zip", "-1.zip", "l", "drwxr-xr-x"] {
            assert_eq!(seen(bare, Some(0o644)), Seen::Untold, "{bare}");
        }
        assert_eq!(seen("", Some(0o050_644)), Seen::Untold, "a type that no system has");
    }

    #[test]
    fn a_refusal_without_words_gets_the_drafts() {
        let refusal =
            |code: u32, rest: &[u8]| match read(&packet(101, 1, &[&code.to_be_bytes()[..], rest].concat())) {
                Ok((_, Reply::Status { text, .. })) => text,
                other => panic!("{other:?}"),
            };
        assert_eq!(refusal(3, b""), "permission denied");
        assert_eq!(refusal(2, &text(b"No such file\n")), "No such file");
        assert_eq!(refusal(99, &text(b" ")), "failed with code 99");
        assert!(refusal(4, &text(&[b'x'; 1000])).len() <= 200);
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 100_u8..107) {
            if let Ok((_, Reply::Names(mut names))) = read(&packet(kind, 1, &bytes)) {
                while let Ok(Some(name)) = names.take_next() {
                    let _ = (name.seen(), name.facts(None));
                }
            }
        }
    }
}
