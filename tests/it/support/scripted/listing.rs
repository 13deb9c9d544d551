//! The bytes of a listing, from the tree.

use chrono::{DateTime, TimeDelta, Utc};

use super::rules::{ListStyle, MlsdLinks};
use super::tree::{Node, Tree, join};

/// What MLSD sends for a directory (RFC 3659 section 7); `None` where there is none.
pub fn mlsd(tree: &mut Tree, directory: &[u8], links: MlsdLinks) -> Option<Vec<u8>> {
    let mut lines = b"type=cdir;modify=20261123030000; .\r\n".to_vec();
    for name in names(tree, directory)? {
        let facts = match (look(tree, directory, &name), links) {
            (Seen::Link(_), MlsdLinks::Followed) => followed_facts(tree, &join(directory, &name)),
            (seen, _) => facts(&seen),
        };
        lines.extend_from_slice(&[&facts, &b" "[..], &name, b"\r\n"].concat());
    }
    Some(lines)
}

/// What LIST sends for a directory; `None` where there is none.
pub fn list(tree: &mut Tree, directory: &[u8], style: ListStyle) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for name in names(tree, directory)? {
        let seen = look(tree, directory, &name);
        let line = match style {
            ListStyle::Unix => unix_line(&seen, &name),
            ListStyle::Dos => dos_line(&seen, &name),
        };
        lines.extend_from_slice(&line);
        lines.extend_from_slice(b"\r\n");
    }
    Some(lines)
}

/// What NLST sends for a directory; `None` where there is none.
pub fn nlst(tree: &Tree, directory: &[u8]) -> Option<Vec<u8>> {
    Some(names(tree, directory)?.iter().flat_map(|name| [&name[..], b"\r\n"].concat()).collect())
}

/// A time as MDTM and the `modify` fact have it.
pub fn digits(unix_seconds: i64) -> String {
    time(unix_seconds).format("%Y%m%d%H%M%S").to_string()
}

/// An entry as somebody who lists the directory sees it.
enum Seen {
    Directory,
    File(u64, i64),
    Link(Vec<u8>),
}

fn names(tree: &Tree, directory: &[u8]) -> Option<Vec<Vec<u8>>> {
    Some(tree.entries(directory)?.keys().cloned().collect())
}

fn look(tree: &mut Tree, directory: &[u8], name: &[u8]) -> Seen {
    let entries = tree.entries_mut(directory).expect("the directory was there");
    match entries.get_mut(name).expect("the entry was there") {
        Node::Directory => Seen::Directory,
        Node::Link(target) => Seen::Link(target.clone()),
        Node::File(file) => {
            let modified = file.modified;
            Seen::File(file.look(), modified)
        }
    }
}

fn facts(seen: &Seen) -> Vec<u8> {
    match seen {
        Seen::Directory => b"type=dir;modify=20261123030000;".to_vec(),
        Seen::File(size, at) => format!("type=file;size={size};modify={};", digits(*at)).into_bytes(),
        Seen::Link(target) => [b"type=OS.unix=slink:", &target[..], b";modify=20261123030000;"].concat(),
    }
}

fn followed_facts(tree: &mut Tree, path: &[u8]) -> Vec<u8> {
    if tree.is_directory(path) {
        return facts(&Seen::Directory);
    }
    match tree.file_mut(path) {
        Some(file) => {
            let modified = file.modified;
            facts(&Seen::File(file.look(), modified))
        }
        None => b"type=file;".to_vec(),
    }
}

fn unix_line(seen: &Seen, name: &[u8]) -> Vec<u8> {
    let (mode, size, at, arrow) = match seen {
        Seen::Directory => ("drwxr-xr-x", 4096, 1_795_402_800, Vec::new()),
        Seen::File(size, at) => ("-rw-r--r--", *size, *at, Vec::new()),
        Seen::Link(target) => {
            ("lrwxrwxrwx", target.len() as u64, 1_795_402_800, [b" -> ", &target[..]].concat())
        }
    };
    // as ls does: the year instead of the hour for what is older than half a year, or lies ahead
    let age = Utc::now() - time(at);
    let recent = age >= TimeDelta::zero() && age < TimeDelta::days(182);
    let date = time(at).format(if recent { "%b %e %H:%M" } else { "%b %e  %Y" });
    [format!("{mode}   1 mro      mro  {size:>12} {date} ").as_bytes(), name, &arrow].concat()
}

fn dos_line(seen: &Seen, name: &[u8]) -> Vec<u8> {
    let (size, at) = match seen {
        Seen::Directory | Seen::Link(_) => ("       <DIR>         ".to_owned(), 1_795_402_800),
        Seen::File(size, at) => (format!("{size:>21}"), *at),
    };
    [format!("{}{size} ", time(at).format("%m-%d-%y  %I:%M%p")).as_bytes(), name].concat()
}

fn time(unix_seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(unix_seconds, 0).expect("a time that a server can show")
}
