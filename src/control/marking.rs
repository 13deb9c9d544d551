//! Files that are counted as fetched, on their way from `mrosync records mark` to the service: a part of the object
//! that [`super::command::Change`] is there. Names go as the bytes of the wire, percent-encoded, and are read on the
//! other side as those of a listing are.

use std::sync::Arc;

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

use crate::base::facts::{Download, FileFacts, Modified, TimeSource};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::{BATCH, Mark};

/// Most bytes of the names in one line beside its first file, so that no line is long.
const MAX_NAME_BYTES: usize = 64 << 10;

/// Files of one server. When they were fetched is what the service's clock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Sent", try_from = "Sent")]
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
}

/// A marking as it is sent.
#[derive(Serialize, Deserialize)]
struct Sent {
    #[serde(with = "SentMark")]
    mark: Mark,
    encoding: String,
    server: String,
    directories: Vec<SentDirectory>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mark", rename_all = "snake_case")]
enum SentMark {
    Listed,
    Local,
    LocalToAnnounce,
}

#[derive(Serialize, Deserialize)]
struct SentDirectory {
    path: String,
    files: Vec<SentFile>,
}

#[derive(Serialize, Deserialize)]
struct SentFile {
    name: String,
    size: u64,
    listed_size: Option<u64>,
    /// Unix seconds, and the code of their source.
    modified: Option<(i64, i64)>,
}

impl From<Marking> for Sent {
    fn from(Marking { mark, encoding, files }: Marking) -> Self {
        let server = files.first().map(|file| file.server.to_string()).unwrap_or_default();
        let directories =
            files.chunk_by(|a, b| a.directory == b.directory).filter_map(sent_directory).collect();
        Self { mark, encoding: encoding.name().to_owned(), server, directories }
    }
}

fn sent_directory(files: &[Download]) -> Option<SentDirectory> {
    let path = urlencoding::encode_binary(files.first()?.directory.wire()).into_owned();
    let files = files.iter().map(|file| SentFile {
        name: urlencoding::encode_binary(file.name.wire()).into_owned(),
        size: file.size,
        listed_size: file.facts.size,
        modified: file.facts.modified.map(|time| (time.unix_seconds, time.source.code())),
    });
    Some(SentDirectory { path, files: files.collect() })
}

impl TryFrom<Sent> for Marking {
    type Error = &'static str;

    fn try_from(Sent { mark, encoding, server, directories }: Sent) -> Result<Self, &'static str> {
        let encoding = Encoding::for_label(encoding.as_bytes()).ok_or("no encoding")?;
        let server = ServerName::new(&server).map_err(|_| "no name of a server")?;
        let mut files = Vec::new();
        for directory in directories {
            let path = Arc::new(path_of(&bytes(&directory.path), encoding).ok_or("no path")?);
            for file in directory.files {
                files.push(received(&file, encoding, &server, &path).ok_or("no file")?);
            }
        }
        Ok(Self { mark, encoding, files })
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

fn received(
    file: &SentFile,
    encoding: &'static Encoding,
    server: &ServerName,
    directory: &Arc<RemotePath>,
) -> Option<Download> {
    let name = RemoteName::from_wire(&bytes(&file.name), encoding).ok()?;
    let modified = match file.modified {
        Some((unix_seconds, source)) => {
            Some(Modified { unix_seconds, source: TimeSource::from_code(source)? })
        }
        None => None,
    };
    let facts = FileFacts { size: file.listed_size, modified };
    Some(Download::marked(server, Arc::clone(directory), name, facts, file.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(directory: &str, name: &[u8], facts: FileFacts) -> Download {
        let server = ServerName::new("OMC 01").unwrap();
        let directory = Arc::new(RemotePath::from_text(directory, encoding_rs::GBK).unwrap());
        Download::marked(&server, directory, RemoteName::from_wire(name, encoding_rs::GBK).unwrap(), facts, 3)
    }

    #[test]
    fn files_arrive_as_they_were_whatever_their_names_hold() {
        let modified = Some(Modified { unix_seconds: -5, source: TimeSource::LocalDay });
        let files = vec![
            download("/", b"a b:c%41.zip", FileFacts { size: Some(u64::MAX), modified }),
            download("/上海", b"\xc9\xcf.zip", FileFacts::default()),
            download("/上海", b"\xff\xff=.zip", FileFacts::default()),
        ];
        let marking = Marking { mark: Mark::Local, encoding: encoding_rs::GBK, files };
        let line = serde_json::to_string(&marking).unwrap();
        let read = |line: &str| serde_json::from_str::<Marking>(line);
        assert_eq!(read(&line).unwrap(), marking);
        let directory = r#""path":"%2F%C9%CF%BA%A3""#;
        assert!(line.contains(directory), "{line}");
        for path in ["%2F..%2Fx", "%2F%2E%2E"] {
            read(&line.replace(directory, &format!(r#""path":"{path}""#))).unwrap_err();
        }
        for (part, wrong) in [("a%20b", "a%2Fb"), ("OMC 01", "."), ("GBK", "?"), ("\"local\"", "\"x\"")] {
            assert!(line.contains(part), "{part}: {line}");
            read(&line.replace(part, wrong)).unwrap_err();
        }
    }

    /// interface 16.7
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
        assert!(batches.iter().all(|batch| serde_json::to_string(batch).unwrap().len() < 3 * MAX_NAME_BYTES));
    }
}
