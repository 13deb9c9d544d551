//! Files that are counted as fetched, on their way from `mrosync records mark` to the service: one line of words.
//! Names go as the bytes of the wire, percent-encoded, and are read on the other side as those of a listing are.

use std::fmt;
use std::sync::Arc;

use encoding_rs::Encoding;

use crate::base::facts::{Download, Earlier, FileFacts, Modified, TimeSource};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::{BATCH, Mark};

/// Most bytes of the names in one line beside its first file, so that no line is long.
const MAX_NAME_BYTES: usize = 64 << 10;

/// Files of one server. When they were fetched is what the service's clock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marking {
    /// What is known of them.
    pub mark: Mark,
    /// Of their names on the wire.
    pub encoding: &'static Encoding,
    /// [`BATCH`] at most, and one at least.
    pub files: Vec<Download>,
}

impl Marking {
    /// Takes `files` of one server apart into what one line may hold each.
    pub fn batches(
        mark: Mark,
        encoding: &'static Encoding,
        files: &[Download],
    ) -> impl Iterator<Item = Self> {
        let mut rest = files;
        std::iter::from_fn(move || {
            let mut bytes = 0_usize;
            let fitting = rest.iter().take(BATCH).take_while(|file| {
                bytes += 3 * (file.directory.wire().len() + file.name.wire().len());
                bytes <= MAX_NAME_BYTES
            });
            // one that is too long by itself goes alone
            let (batch, later) = rest.split_at(fitting.count().max(1).min(rest.len()));
            rest = later;
            (!batch.is_empty()).then(|| Self { mark, encoding, files: batch.to_vec() })
        })
    }

    /// Reads the words of a line after the first.
    pub(super) fn read(words: &[&str]) -> Option<Self> {
        let [mark, encoding, server, rest @ ..] = words else { return None };
        let mark = match *mark {
            "listed" => Mark::Listed,
            "local" => Mark::Local,
            "announce" => Mark::LocalToAnnounce,
            _ => return None,
        };
        let encoding = Encoding::for_label(encoding.as_bytes())?;
        let server = ServerName::new(std::str::from_utf8(&bytes(server)).ok()?).ok()?;
        let (mut files, mut directory) = (Vec::new(), None);
        for word in rest {
            match word.strip_prefix("in=") {
                Some(path) => directory = Some(Arc::new(path_of(&bytes(path), encoding)?)),
                None => files.push(file(word, encoding, &server, directory.as_ref()?)?),
            }
        }
        (1..=BATCH).contains(&files.len()).then_some(Self { mark, encoding, files })
    }
}

fn bytes(word: &str) -> Vec<u8> {
    urlencoding::decode_binary(word.as_bytes()).into_owned()
}

fn path_of(wire: &[u8], encoding: &'static Encoding) -> Option<RemotePath> {
    let components = wire.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    components
        .map(|component| RemoteName::from_wire(component, encoding).ok())
        .try_fold(RemotePath::root(), |path, name| Some(path.join(&name?)))
}

fn file(
    word: &str,
    encoding: &'static Encoding,
    server: &ServerName,
    directory: &Arc<RemotePath>,
) -> Option<Download> {
    let mut parts = word.split(':');
    let name = RemoteName::from_wire(&bytes(parts.next()?), encoding).ok()?;
    let (size, listed) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok());
    let time = parts.next()?.parse().ok().zip(TimeSource::from_code(parts.next()?.parse().ok()?));
    let modified = time.map(|(unix_seconds, source)| Modified { unix_seconds, source });
    let facts = FileFacts { size: listed, modified };
    let (server, directory) = (server.clone(), Arc::clone(directory));
    Some(Download {
        server,
        directory,
        name,
        facts,
        size,
        downloaded_at: 0,
        no_archive: false,
        earlier: Earlier::Stays,
    })
}

impl fmt::Display for Marking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.files.first() else { return Ok(()) };
        let mark = match self.mark {
            Mark::Listed => "listed",
            Mark::Local => "local",
            Mark::LocalToAnnounce => "announce",
        };
        let server = urlencoding::encode(first.server.as_str());
        write!(f, "{mark} {} {server}", self.encoding.name())?;
        let mut directory: Option<&RemotePath> = None;
        for file in &self.files {
            if directory != Some(&*file.directory) {
                write!(f, " in={}", urlencoding::encode_binary(file.directory.wire()))?;
                directory = Some(&file.directory);
            }
            let name = urlencoding::encode_binary(file.name.wire());
            let (time, source) =
                file.facts.modified.map_or((0, 0), |time| (time.unix_seconds, time.source.code()));
            let listed = file.facts.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
            write!(f, " {name}:{}:{listed}:{time}:{source}", file.size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(directory: &str, name: &[u8], facts: FileFacts) -> Download {
        Download {
            server: ServerName::new("OMC 01").unwrap(),
            directory: Arc::new(RemotePath::from_text(directory, encoding_rs::GBK).unwrap()),
            name: RemoteName::from_wire(name, encoding_rs::GBK).unwrap(),
            facts,
            size: 3,
            downloaded_at: 0,
            no_archive: false,
            earlier: Earlier::Stays,
        }
    }

    #[test]
    fn files_arrive_as_they_were_whatever_their_names_hold() {
        let modified = Some(Modified { unix_seconds: -5, source: TimeSource::ListDay });
        let files = vec![
            download("/", b"a b:c%41.zip", FileFacts { size: Some(u64::MAX), modified }),
            download("/上海", b"\xc9\xcf.zip", FileFacts::default()),
            download("/上海", b"\xff\xff=.zip", FileFacts::default()),
        ];
        let marking = Marking { mark: Mark::Local, encoding: encoding_rs::GBK, files };
        let line = marking.to_string();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(Marking::read(&words), Some(marking));
        assert_eq!(Marking::read(&words[..4]), None, "no file");
        let up: Vec<_> = words.iter().map(|word| word.replace("in=%2F", "in=%2F..%2F")).collect();
        assert_eq!(Marking::read(&up.iter().map(String::as_str).collect::<Vec<_>>()), None);
    }

    #[test]
    fn a_batch_is_bounded_by_files_and_by_bytes_and_nothing_is_lost() {
        let long = "x".repeat(200);
        let files: Vec<_> = (0..1200)
            .map(|n| {
                let name = if n < 600 { format!("{n}.zip") } else { format!("{n}{long}.zip") };
                download("/in", name.as_bytes(), FileFacts::default())
            })
            .collect();
        let batches: Vec<_> = Marking::batches(Mark::Listed, encoding_rs::UTF_8, &files).collect();
        assert_eq!(batches.iter().flat_map(|batch| batch.files.clone()).collect::<Vec<_>>(), files);
        assert!(batches[0].files.len() == BATCH && batches[2].files.len() < 200, "{}", batches.len());
        assert!(batches.iter().all(|batch| batch.to_string().len() < 2 * MAX_NAME_BYTES));
    }
}
