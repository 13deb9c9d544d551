//! Reads a line of LIST as `ls -l` prints it: `-rw-r--r-- 1 mro mro 12 Nov 23 03:00 a.zip`.
//!
//! No columns are counted. The line must begin with a mode; then the date is looked for, the number before it is
//! the size, and one blank after it begins the name. So marks of access lists, missing groups, groups of two
//! words and dates in any order cost no code of their own.

use chrono::{DateTime, Utc};

use super::date::Stamp;
use super::fields;
use super::line::Line;
use super::unix_date::{self, Reading};
use crate::base::facts::FileFacts;
use crate::protocol::Kind;

/// Most fields between mode and date: links, owner and group of several words each, size.
const MAX_FIELDS: usize = 12;

/// From this field on (links, owner, …) a date is one. Before it, `jan 10 2048` might be a user, a group and a
/// size, and is if a date follows.
const FIRST_SURE_FIELD: usize = 2;

/// Of `jan 10 2048`.
const FIELDS_OF_A_DATE: usize = 3;

/// What `ls` calls the line of blocks in languages that write it in ASCII.
const TOTALS: [&[u8]; 5] = [b"total", b"totale", b"totaal", b"insgesamt", b"razem"];

/// Inode and blocks, as `ls -lis` puts them before the mode.
const MAX_LEADING_NUMBERS: usize = 2;

/// The first column and what follows it.
struct Mode<'a> {
    /// `None` for devices, sockets and the like.
    kind: Option<Kind>,
    /// Somebody may execute it, which `ls -F` marks with a star behind the name.
    is_executable: bool,
    /// NetWare fills up with blanks before the name; `ls` puts exactly one there, and further ones are the name's.
    pads_name: bool,
    rest: &'a [u8],
}

/// A date with the number before it.
struct Dated<'a> {
    size: Option<u64>,
    stamp: Stamp<'a>,
}

/// Reads one line without its line end. `now` dates entries without a year. With `halves`, `AM` or `PM` behind a time
/// belongs to it, and a time behind a year to the date; else both belong to the name. `is_wanted` says so of the name of
/// a file.
pub(super) fn read<'l>(
    line: &'l [u8],
    now: DateTime<Utc>,
    halves: bool,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Option<Line<'l>> {
    let Some(mode) = read_mode(line) else {
        return is_total(line).then_some(Line::Ignored);
    };
    let Dated { size, stamp } = find_date(mode.rest, now, halves)?;
    let name = if mode.pads_name { fields::trim_start(stamp.rest) } else { stamp.rest.get(1..)? };
    if name.is_empty() {
        return None;
    }
    let facts = FileFacts { size, modified: stamp.modified };
    Some(match mode.kind {
        None => Line::Special,
        Some(kind @ Kind::Link) => Line::Entry { name: without_mark(before_arrow(name), b'@'), kind, facts },
        Some(kind @ Kind::File) if mode.is_executable || is_marked(name, is_wanted) => {
            Line::Entry { name: without_mark(name, b'*'), kind, facts }
        }
        Some(kind) => Line::Entry { name, kind, facts },
    })
}

/// What `ls -F` puts behind a name is no part of it.
fn without_mark(name: &[u8], mark: u8) -> &[u8] {
    name.strip_suffix(&[mark]).filter(|name| !name.is_empty()).unwrap_or(name)
}

/// Returns whether it is a wanted file but for the star that `ls -F` puts behind what may be executed, which not all
/// modes show.
fn is_marked(name: &[u8], is_wanted: &dyn Fn(&[u8]) -> bool) -> bool {
    name.strip_suffix(b"*").is_some_and(is_wanted)
}

fn read_mode(line: &[u8]) -> Option<Mode<'_>> {
    let mut text = fields::trim_start(line);
    for _ in 0..MAX_LEADING_NUMBERS {
        if let Some((first, rest)) = fields::field(text)
            && fields::number(first).is_some()
        {
            text = fields::trim_start(rest);
        }
    }
    let (kind, rest) = text.split_first()?;
    let kind = match kind {
        b'-' => Some(Kind::File),
        b'd' => Some(Kind::Directory),
        b'l' => Some(Kind::Link),
        // block and character devices, pipes, sockets; doors and ports of Solaris, HP-UX's network files
        b'b' | b'c' | b'p' | b's' | b'D' | b'P' | b'n' => None,
        _ => return None,
    };
    if let Some((rights, rest)) = fields::field(rest)
        && let Some(rights) = rights.strip_prefix(b"[").and_then(|rights| rights.strip_suffix(b"]"))
    {
        // NetWare: d [RWCEAFMS]
        let known = rights.iter().all(|right| b"-SRWCEAFM".contains(right));
        return known.then_some(Mode { kind, is_executable: false, pads_name: true, rest });
    }
    let (rights, rest) = rest.split_at_checked(9)?;
    // a mark may follow (access list, security context, extended attributes), or the links without a blank
    let rest = rest.split_first().filter(|(mark, _)| b"+.@".contains(mark)).map_or(rest, |(_, rest)| rest);
    let is_executable = rights.iter().any(|right| b"xst".contains(right));
    let known = rights.iter().all(|right| b"-rwxsStTlL".contains(right));
    known.then_some(Mode { kind, is_executable, pads_name: false, rest })
}

/// The first date, with the number before it.
fn find_date(text: &[u8], now: DateTime<Utc>, halves: bool) -> Option<Dated<'_>> {
    let mut rest = text;
    let mut size = None;
    let mut unsure: Option<(usize, Dated<'_>)> = None;
    for index in 0..MAX_FIELDS {
        let Some((field, after)) = fields::field(rest) else { break };
        // after a size, a word of no known language may be a month
        if let Some(stamp) = unix_date::read(rest, Reading { now, any_month: size.is_some(), halves }) {
            let dated = Dated { size, stamp };
            match unsure {
                None if index < FIRST_SURE_FIELD && !dated.stamp.has_time() => unsure = Some((index, dated)),
                Some((first, _)) if index != first + FIELDS_OF_A_DATE => break,
                _ => return Some(dated),
            }
        }
        size = fields::number(field);
        rest = after;
    }
    unsure.map(|(_, dated)| dated)
}

/// `total 12`, in whichever language the server prints it: one word and a number.
fn is_total(line: &[u8]) -> bool {
    let Some((word, rest)) = fields::field(line) else { return false };
    let Some((amount, rest)) = fields::field(rest) else { return false };
    // `ls -h` gives a unit
    let digits = amount.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let known = TOTALS.iter().any(|total| total.eq_ignore_ascii_case(word)) || !word.iter().any(u8::is_ascii);
    known && fields::trim_start(rest).is_empty() && digits > 0 && amount.len() - digits <= 1
}

/// The part of a link's text before its target. A name may itself hold an arrow, and nothing tells where the
/// target begins then: the first arrow is taken.
fn before_arrow(name: &[u8]) -> &[u8] {
    const ARROW: &[u8] = b" -> ";
    let arrow = name.windows(ARROW.len()).skip(1).position(|window| window == ARROW);
    arrow.and_then(|end| name.get(..=end)).unwrap_or(name)
}
