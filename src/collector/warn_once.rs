//! Which warnings about a server's files and directories are worth a line of the log: each kind at once when it
//! comes up, and further paths that fare alike together, once a scan at most. Bounded; forgetting costs lines.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use log::Level;
use tokio::time::Instant;

use crate::base::names::RemotePath;

/// Most warnings that are remembered path by path; beyond it all are forgotten.
const MAX_SAID: usize = 100_000;
/// Most kinds of warnings; beyond it all are forgotten.
const MAX_KINDS: usize = 200;
/// A kind whose number has not doubled is told of again after so long.
const AGAIN: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug, Default)]
pub struct WarnOnce {
    keys: RandomState,
    said: HashSet<u64>,
    kinds: HashMap<u64, Kind>,
}

/// Paths that fare alike.
#[derive(Debug)]
struct Kind {
    /// Paths that lines told of so far.
    told: u64,
    told_at: Instant,
    /// Those of which no line told yet, by the last of them.
    untold: u64,
    last: Alike,
}

/// Some paths that are warned of in the same words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// How many.
    pub paths: u64,
    /// One of them.
    pub path: RemotePath,
    /// What is wrong with it.
    pub text: String,
    /// What comes next.
    pub next: String,
    /// How much it matters.
    pub level: Level,
}

impl WarnOnce {
    /// Notes a warning. True where it is to be said at once: it is the first of its kind. Others of the kind come with
    /// [`Self::take_untold`]; one about a path that was warned of before is never said again.
    pub fn is_first(
        &mut self,
        path: &RemotePath,
        text: &str,
        next: &str,
        level: Level,
        now: Instant,
    ) -> bool {
        let kind = self.keys.hash_one(kind_of(path, text));
        if self.said.len() >= MAX_SAID {
            self.said.clear();
        }
        if !self.said.insert(self.keys.hash_one((path.wire(), kind))) {
            return false;
        }
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            self.kinds.clear();
        }
        let last =
            || Alike { paths: 0, path: path.clone(), text: text.to_owned(), next: next.to_owned(), level };
        match self.kinds.get_mut(&kind) {
            Some(known) => {
                known.untold += 1;
                known.last = last();
                false
            }
            None => {
                self.kinds.insert(kind, Kind { told: 1, told_at: now, untold: 0, last: last() });
                true
            }
        }
    }

    /// What is to be said at the end of a scan: kinds of which twice as many are known as were told of, or whose last
    /// line is long ago.
    pub fn take_untold(&mut self, now: Instant) -> Vec<Alike> {
        let is_due = |kind: &&mut Kind| {
            kind.untold > 0 && (kind.untold >= kind.told || now.duration_since(kind.told_at) >= AGAIN)
        };
        let due = self.kinds.values_mut().filter(is_due);
        let tell = |kind: &mut Kind| {
            let paths = std::mem::take(&mut kind.untold);
            (kind.told, kind.told_at) = (kind.told + paths, now);
            Alike { paths, ..kind.last.clone() }
        };
        due.map(tell).collect()
    }
}

/// The words of a warning without what differs from path to path: the path, its name, and all numbers.
fn kind_of(path: &RemotePath, text: &str) -> String {
    let path = path.text();
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let mut text = text.to_owned();
    for own in [path, path.trim_start_matches('/'), name] {
        if own.len() > 1 {
            text = text.replace(own, "…");
        }
    }
    // a number, or a word with one in it such as the name of a partial file
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut kind = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        let differs = word.bytes().any(|byte| byte.is_ascii_digit());
        kind.push_str(if differs { "#" } else { word });
        kind.push_str(piece.get(word.len()..).unwrap_or_default());
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::path;

    fn first(warn_once: &mut WarnOnce, at: &str, text: &str, now: Instant) -> bool {
        warn_once.is_first(&path(at), text, "later", Level::Warn, now)
    }

    #[test]
    fn what_is_refused_in_the_same_words_is_said_once_and_then_counted() {
        let (mut warn_once, now) = (WarnOnce::default(), Instant::now());
        let text = |n: u64| format!("RETR: 550 /d/{n}.zip: {n}.5 bytes short");
        let said = (0..300).filter(|n| first(&mut warn_once, &format!("/d/{n}.zip"), &text(*n), now));
        assert_eq!(said.count(), 1);
        let untold = warn_once.take_untold(now);
        assert_eq!(untold.iter().map(|alike| alike.paths).collect::<Vec<_>>(), [299]);
        assert_eq!(untold[0].text, text(299));
        assert!(!first(&mut warn_once, "/d/1.zip", &text(1), now), "said, if not by its name");
        assert_eq!(warn_once.take_untold(now), []);
    }

    #[test]
    fn other_words_are_another_kind() {
        let (mut warn_once, now) = (WarnOnce::default(), Instant::now());
        assert!(first(&mut warn_once, "/1.zip", "RETR: 550 Permission denied", now));
        assert!(first(&mut warn_once, "/1.zip", "RETR: 550 Is a directory", now));
        assert!(first(&mut warn_once, "/2.zip", "CWD: 550 Permission denied", now));
        assert!(first(&mut warn_once, "/3.zip", "cannot make the partial file 0f3a_1_2.1: Read-only", now));
        assert!(!first(&mut warn_once, "/4.zip", "cannot make the partial file ab8c_9_2.1: Read-only", now));
    }

    /// interface 9.3
    #[test]
    fn more_of_a_kind_are_told_of_when_their_number_doubles_or_after_an_hour() {
        let (mut warn_once, now) = (WarnOnce::default(), Instant::now());
        for n in 0..10 {
            first(&mut warn_once, &format!("/{n}.zip"), "no", now);
        }
        assert_eq!(warn_once.take_untold(now).len(), 1);
        first(&mut warn_once, "/10.zip", "no", now);
        assert_eq!(warn_once.take_untold(now + AGAIN / 2), []);
        assert_eq!(warn_once.take_untold(now + AGAIN)[0].paths, 1);
        for n in 11..22 {
            first(&mut warn_once, &format!("/{n}.zip"), "no", now);
        }
        assert_eq!(warn_once.take_untold(now + AGAIN)[0].paths, 11);
    }

    #[test]
    fn kinds_without_number_take_no_room_without_end() {
        let (mut warn_once, now) = (WarnOnce::default(), Instant::now());
        for n in 0..(MAX_KINDS as u32 * 3) {
            let odd: String = n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            first(&mut warn_once, "/a.zip", &odd, now);
        }
        assert!(warn_once.kinds.len() <= MAX_KINDS);
    }
}
