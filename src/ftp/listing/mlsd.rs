//! Reads a line of MLSD (RFC 3659 section 7): `type=file;size=12;modify=20261123030005; a.zip`.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::date::{Clock, calendar_day, seconds_of_day};
use super::fields::{self, short_number};
use super::line::Line;
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::protocol::Kind;

/// What the `type` fact may say, in lower case (RFC 3659 section 7.5.1).
const TYPES: [(&[u8], TypeFact); 4] = [
    (b"file", TypeFact::Entry(Kind::File)),
    (b"dir", TypeFact::Entry(Kind::Directory)),
    // the directory itself and its parent; their name is free, and a full path in some servers
    (b"cdir", TypeFact::Ignored),
    (b"pdir", TypeFact::Ignored),
];

/// How the type of a link begins: ProFTPD says `OS.unix=symlink` or `OS.unix=slink:/target`, Pure-FTPd the latter.
const LINKS: [&[u8]; 2] = [b"os.unix=slink", b"os.unix=symlink"];

/// Facts whose values never hold a blank (RFC 3659 section 7.5, and what all servers mean by `UNIX.mode`).
const STRICT: [&[u8]; 8] =
    [b"type", b"size", b"sizd", b"modify", b"create", b"perm", b"unique", b"unix.mode"];

/// How the names of facts begin that are a system's or a server's own.
const OWN: [&[u8]; 2] = [b"unix.", b"x."];

/// What the facts of one line amount to.
#[derive(Default)]
struct Facts {
    kind: Option<TypeFact>,
    known: FileFacts,
}

#[derive(Clone, Copy)]
enum TypeFact {
    Entry(Kind),
    Special,
    Ignored,
}

/// Reads one line without its line end. A line that tells neither a type nor a size is not understood: what it
/// names could be anything, and a server that sends only such lines had better be noticed.
pub(super) fn read(line: &[u8]) -> Option<Line<'_>> {
    // some servers put a blank before the facts, where RFC 3659 allows a line without facts
    let (facts, name) = split(fields::trim_start(line))?;
    let facts = read_facts(facts)?;
    let said = facts.kind.or(facts.known.size.map(|_| TypeFact::Entry(Kind::File)))?;
    Some(match said {
        TypeFact::Entry(kind) => Line::Entry { name, kind, facts: facts.known },
        TypeFact::Special => Line::Special,
        TypeFact::Ignored => Line::Ignored,
    })
}

/// A number for the `unique` fact of a line that was read before.
pub(super) fn unique(line: &[u8]) -> Option<u64> {
    let value = fact(line, b"unique=").filter(|value| !value.is_empty())?;
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Some(hasher.finish())
}

/// The same where the line is about the directory that is listed (`type=cdir`, RFC 3659 section 7.5.1.2).
pub(super) fn own_unique(line: &[u8]) -> Option<u64> {
    fact(line, b"type=").filter(|value| value == b"cdir").and_then(|_| unique(line))
}

/// The value of a fact, in lower case; `name` ends with the equals sign.
fn fact(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let (facts, _) = split(fields::trim_start(line))?;
    facts.split(|byte| *byte == b';').map(fields::trim_start).find_map(|fact| {
        let (before, value) = fact.split_at_checked(name.len())?;
        before.eq_ignore_ascii_case(name).then(|| value.to_ascii_lowercase())
    })
}

/// The facts and the name, which is all that follows the blank behind the last fact.
///
/// Values should hold no blanks (RFC 3659 section 7.2), and do: the target of a link, which is part of its type in
/// some servers, or a group such as `domain users`. There a blank belongs to the value where the facts go on behind
/// it. Facts of which the RFC says how they look end at a blank, though no semicolon stands before it. And a blank between
/// two facts is neither the end nor a part of them, where the one behind it is such a fact, or one of a system, and has
/// not been there yet.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        let rest = line.get(end..)?;
        if end > 0 && rest.first() == Some(&b' ') {
            if !goes_on_behind_blank(line, end) {
                break;
            }
            end += 1;
            continue;
        }
        let equals = key_length(rest)?;
        let (key, value) = rest.split_at_checked(equals)?;
        let semicolon = value.iter().position(|byte| *byte == b';');
        let blank = value.iter().position(|byte| *byte == b' ');
        match (semicolon, blank) {
            (Some(semicolon), Some(blank)) if blank < semicolon && !holds_blanks(key, value, semicolon) => {
                end += equals + blank;
                break;
            }
            (Some(semicolon), _) => end += equals + semicolon + 1,
            // a link's target without its end may be cut
            (None, Some(blank)) if !is_system_type(key, value) => {
                end += equals + blank;
                break;
            }
            (None, _) => return None,
        }
    }
    let (facts, name) = line.split_at_checked(end)?;
    Some((facts, fields::after_one_blank(name)?))
}

/// Returns whether the blank at `end` stands between two facts, and not before a name that looks like facts.
fn goes_on_behind_blank(line: &[u8], end: usize) -> bool {
    let Some((before, rest)) = line.split_at_checked(end) else { return false };
    let rest = rest.get(1..).unwrap_or_default();
    let Some((key, value)) = key_length(rest).and_then(|length| rest.split_at_checked(length)) else {
        return false;
    };
    let Some(semicolon) = value.iter().position(|byte| *byte == b';') else { return false };
    let (value, after) = value.split_at_checked(semicolon).unwrap_or_default();
    let was_there = |fact: &[u8]| {
        let fact = fields::trim_start(fact);
        starts_with(fact, key) && fact.get(key.len()) == Some(&b'=')
    };
    let is_strict = STRICT.iter().any(|strict| strict.eq_ignore_ascii_case(key));
    let is_own = OWN.iter().any(|own| starts_with(key, own));
    let is_followed =
        after.get(1..).is_some_and(|after| after.first() == Some(&b' ') || key_length(after).is_some());
    (is_own || is_strict && !value.contains(&b' '))
        && is_followed
        && !before.split(|byte| *byte == b';').any(was_there)
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// The length of a fact's name, where there is one with its equals sign.
fn key_length(text: &[u8]) -> Option<usize> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let length = text.iter().take_while(|byte| is_name(byte)).count();
    (length > 0 && text.get(length) == Some(&b'=')).then_some(length)
}

/// Returns whether a value that ends at `semicolon` has blanks of its own: the facts go on behind it, or end
/// as they should.
fn holds_blanks(key: &[u8], value: &[u8], semicolon: usize) -> bool {
    let is_strict = STRICT.iter().any(|strict| strict.eq_ignore_ascii_case(key));
    let after = value.get(semicolon + 1..).unwrap_or_default();
    let goes_on = after.first() == Some(&b' ') || key_length(after).is_some();
    goes_on && (!is_strict || is_system_type(key, value))
}

/// `type=OS.unix=slink:…`, whose value is anything.
fn is_system_type(key: &[u8], value: &[u8]) -> bool {
    key.eq_ignore_ascii_case(b"type")
        && value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"=os."))
}

/// `None` where one of them is no fact, so that prose is not taken for a name.
fn read_facts(text: &[u8]) -> Option<Facts> {
    let mut facts = Facts::default();
    for fact in text.split(|byte| *byte == b';').map(fields::trim_start).filter(|fact| !fact.is_empty()) {
        let equals = fact.iter().position(|byte| *byte == b'=')?;
        let (name, value) = fact.split_at_checked(equals)?;
        let value = value.get(1..)?;
        if name.eq_ignore_ascii_case(b"type") {
            facts.kind = Some(read_type(value));
        } else if name.eq_ignore_ascii_case(b"size") || name.eq_ignore_ascii_case(b"sizd") {
            facts.known.size = fields::number(value);
        } else if name.eq_ignore_ascii_case(b"modify") {
            facts.known.modified = read_modify(value);
        }
    }
    Some(facts)
}

fn read_type(value: &[u8]) -> TypeFact {
    let starts_with =
        |link: &&[u8]| value.get(..link.len()).is_some_and(|start| start.eq_ignore_ascii_case(link));
    let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    let link = LINKS.iter().find(|link| starts_with(link)).map(|_| TypeFact::Entry(Kind::Link));
    known.map(|(_, said)| *said).or(link).unwrap_or(TypeFact::Special)
}

/// `20261123030005` with any fraction (RFC 3659 section 2.3). Servers with a year 2000 fault write `19` and the
/// years since 1900, `19126` for 2026.
fn read_modify(value: &[u8]) -> Option<Modified> {
    let digits = value.split(|byte| *byte == b'.').next()?;
    let (year, rest) = digits.split_at_checked(digits.len().checked_sub(10)?)?;
    let year = match year.strip_prefix(b"19") {
        Some(since_1900) if year.len() == 5 => 1900 + short_number(since_1900, 3..=3)?,
        _ => short_number(year, 4..=4)?,
    };
    let mut pairs = rest.chunks(2).map(|pair| short_number(pair, 2..=2));
    let mut next = || pairs.next().flatten();
    let day = calendar_day(year, next()?, next()?)?;
    let seconds = seconds_of_day(next()?, next()?, next()?)?;
    Some(Clock { seconds, source: TimeSource::Utc }.on(day))
}
