//! What every protocol promises (`src/protocol`), sentence by sentence, on each of them: FTP and SFTP against the servers
//! that the other tests use, the server in memory that stands for all of them in unit tests, and a protocol that exists
//! here alone, an index over HTTP, which shows what a new one takes. `whole_scan` has the service mirror a tree through it.

mod http_index;
mod stages;
mod web_server;
mod whole_scan;

use std::time::Duration;

use async_trait::async_trait;
use mrosync::base::names::RemotePath;
use mrosync::protocol::{
    Connector, Entry, ErrorScope, FileReceiver, FileRequest, Kind, ProtocolError, Received, Session, Summary,
};

/// A server whose tree is in the hands of a test.
///
/// It holds `/MR` with `a.zip`, `b.zip`, `notes.txt` and the empty directory `none`, and `ODD` beside `/MR`.
trait Stage {
    fn connector(&self) -> Box<dyn Connector>;

    /// Changes the content of `/MR/b.zip`.
    fn change(&self, content: &[u8]);

    /// From now on the transfer of `/MR/a.zip` stops half-way, and nothing more comes.
    fn stall(&self);

    /// Whether listings have times.
    fn shows_times(&self) -> bool {
        true
    }
}

/// A name that no encoding in use here can read.
const ODD: &[u8] = b"\xff\xfe1.zip";
/// Long enough to come in several pieces.
const LENGTH: usize = 200_000;
/// Longer than anything here takes, shorter than what has stopped.
const A_MOMENT: Duration = Duration::from_millis(300);

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at / 251 + at) as u8).collect()
}

fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text, encoding_rs::UTF_8).unwrap()
}

/// Keeps what it is given; fails once there is more than it may take.
struct Bytes {
    kept: Vec<u8>,
    most: usize,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { kept: Vec::new(), most: usize::MAX }
    }
}

#[async_trait(?Send)]
impl FileReceiver for Bytes {
    async fn receive(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        assert!(!bytes.is_empty(), "a piece without a byte");
        anyhow::ensure!(self.kept.len() + bytes.len() <= self.most, "no room");
        self.kept.extend_from_slice(bytes);
        Ok(())
    }
}

async fn fetch(
    session: &mut dyn Session,
    path: &RemotePath,
    offset: u64,
    bytes: &mut Bytes,
) -> Result<Received, ProtocolError> {
    let request = FileRequest { path, offset, expected_size: Some(LENGTH as u64) };
    session.fetch(request, bytes).await
}

async fn list(session: &mut dyn Session, path: &RemotePath) -> Result<(Vec<Entry>, Summary), ProtocolError> {
    let (mut entries, mut listing) = (Vec::new(), session.list(path).await?);
    while listing.next(&mut entries).await? {}
    let summary = listing.finish(&mut entries).await?;
    entries.sort_by(|a, b| a.name.wire().cmp(b.name.wire()));
    Ok((entries, summary))
}

async fn a_directory_is_listed_with_names_kinds_sizes_and_times(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let (entries, summary) = list(session.as_mut(), &path("/MR")).await.unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.text(), entry.kind, entry.facts.size.filter(|_| entry.kind == Kind::File)))
        .collect();
    let size = Some(LENGTH as u64);
    assert_eq!(
        seen,
        [("a.zip", Kind::File, size), ("b.zip", Kind::File, Some(5)), ("none", Kind::Directory, None)]
    );
    assert_eq!((summary.entries, summary.unused()), (4, 0), "{summary:?}");
    let has_time = |entry: &Entry| entry.facts.modified.is_some();
    assert_eq!(entries.iter().filter(|entry| entry.kind == Kind::File).all(has_time), stage.shows_times());
    assert!(session.is_reusable());
}

async fn an_empty_directory_is_empty_and_no_fault(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let (entries, summary) = list(session.as_mut(), &path("/MR/none")).await.unwrap();
    assert!(entries.is_empty() && summary.is_empty() && session.is_reusable(), "{summary:?}");
}

async fn names_are_bytes_whatever_they_say(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let (entries, _) = list(session.as_mut(), &RemotePath::root()).await.unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.wire()).collect();
    assert_eq!(names, [b"MR", ODD]);
}

async fn a_directory_that_is_not_there_costs_only_itself(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let error = list(session.as_mut(), &path("/missing")).await.unwrap_err();
    assert_eq!(error.scope(), ErrorScope::Entry, "{error}");
    assert!(session.is_reusable() && list(session.as_mut(), &path("/MR")).await.is_ok());
}

async fn a_file_comes_whole_and_in_order(stage: impl Stage) {
    let connector = stage.connector();
    let mut session = connector.connect().await.unwrap();
    let mut bytes = Bytes::default();
    let received = fetch(session.as_mut(), &path("/MR/a.zip"), 0, &mut bytes).await.unwrap();
    assert!(bytes.kept == content() && received.clean_end && session.is_reusable());
    assert!(received.size_after.is_none_or(|size| size == LENGTH as u64), "{received:?}");
    assert_eq!(session.size(&path("/MR/a.zip")).await.unwrap(), Some(LENGTH as u64));
    session.quit(A_MOMENT).await;
}

async fn a_file_is_resumed_where_it_was_left(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let mut bytes = Bytes::default();
    fetch(session.as_mut(), &path("/MR/a.zip"), 70_001, &mut bytes).await.unwrap();
    assert!(bytes.kept == content()[70_001..] && session.is_reusable());
    // there may be nothing left
    let mut nothing = Bytes::default();
    fetch(session.as_mut(), &path("/MR/a.zip"), LENGTH as u64, &mut nothing).await.unwrap();
    assert!(nothing.kept.is_empty());
}

async fn a_file_that_is_not_there_costs_only_itself(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let mut bytes = Bytes::default();
    let error = fetch(session.as_mut(), &path("/MR/missing.zip"), 0, &mut bytes).await.unwrap_err();
    assert_eq!((error.scope(), bytes.kept.len()), (ErrorScope::Entry, 0), "{error}");
    assert!(session.is_reusable());
    assert!(fetch(session.as_mut(), &path("/MR/b.zip"), 0, &mut bytes).await.is_ok());
}

async fn whoever_takes_the_bytes_may_end_the_transfer(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let mut bytes = Bytes { most: 0, ..Bytes::default() };
    let error = fetch(session.as_mut(), &path("/MR/a.zip"), 0, &mut bytes).await.unwrap_err();
    assert!(matches!(&error, ProtocolError::Local(error) if error.to_string() == "no room"), "{error:?}");
    assert!(!session.is_reusable());
}

async fn a_transfer_that_is_dropped_costs_its_session_and_no_other(stage: impl Stage) {
    let connector = stage.connector();
    let mut other = connector.connect().await.unwrap();
    let mut session = connector.connect().await.unwrap();
    stage.stall();
    let mut bytes = Bytes::default();
    let file = path("/MR/a.zip");
    let transfer = fetch(session.as_mut(), &file, 0, &mut bytes);
    assert!(tokio::time::timeout(A_MOMENT, transfer).await.is_err());
    assert!(content().starts_with(&bytes.kept), "what came is true");
    assert!(!session.is_reusable());
    session.quit(A_MOMENT).await;
    let (entries, _) = list(other.as_mut(), &path("/MR")).await.unwrap();
    assert!(entries.len() == 3 && other.is_reusable());
    assert!(list(connector.connect().await.unwrap().as_mut(), &path("/MR")).await.is_ok());
}

async fn a_listing_that_is_dropped_costs_its_session_and_no_other(stage: impl Stage) {
    let connector = stage.connector();
    let mut other = connector.connect().await.unwrap();
    let mut session = connector.connect().await.unwrap();
    drop(session.list(&path("/MR")).await.unwrap());
    assert!(!session.is_reusable());
    assert!(list(other.as_mut(), &path("/MR")).await.is_ok() && other.is_reusable());
}

async fn a_listing_is_known_again_and_a_change_is_seen(stage: impl Stage) {
    let mut session = stage.connector().connect().await.unwrap();
    let directory = path("/MR");
    let mut listing = session.list(&directory).await.unwrap();
    let mut entries = Vec::new();
    while listing.next(&mut entries).await.unwrap() {}
    let before = listing.fingerprint();
    listing.finish(&mut entries).await.unwrap();
    let mut again = session.list(&directory).await.unwrap();
    assert!(again.is_unchanged(before).await);
    again.finish(&mut Vec::new()).await.unwrap();
    stage.change(b"another length");
    let mut changed = session.list(&directory).await.unwrap();
    assert!(!changed.is_unchanged(before).await);
    // what was read to find out comes all the same
    let mut entries = Vec::new();
    while changed.next(&mut entries).await.unwrap() {}
    changed.finish(&mut entries).await.unwrap();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().any(|entry| entry.facts.size == Some(14)), "{entries:?}");
    assert!(session.is_reusable());
}

/// All sentences on one stage.
macro_rules! conforms {
    ($stage:expr; $($sentence:ident)*) => {$(
        #[tokio::test]
        async fn $sentence() {
            super::$sentence($stage).await;
        }
    )*};
    ($name:ident, $stage:expr) => {
        mod $name {
            conforms! { $stage;
                a_directory_is_listed_with_names_kinds_sizes_and_times
                an_empty_directory_is_empty_and_no_fault
                names_are_bytes_whatever_they_say
                a_directory_that_is_not_there_costs_only_itself
                a_file_comes_whole_and_in_order
                a_file_is_resumed_where_it_was_left
                a_file_that_is_not_there_costs_only_itself
                whoever_takes_the_bytes_may_end_the_transfer
                a_transfer_that_is_dropped_costs_its_session_and_no_other
                a_listing_that_is_dropped_costs_its_session_and_no_other
                a_listing_is_known_again_and_a_change_is_seen
            }
        }
    };
}

conforms!(memory, super::stages::InMemory::start());
conforms!(ftp, super::stages::Ftp::start());
conforms!(sftp, super::stages::Sftp::start());
conforms!(http, super::stages::Http::start());
