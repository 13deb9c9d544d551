//! What can be asked of the [`super::record_keeper::RecordKeeper`]. Each is answered in its turn.

use std::sync::Arc;

use actix::Message;

use crate::base::facts::{Download, FileFacts, Knowledge, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::{Amendment, Due, Mark, Postponed, PresentFile, Standing};

/// A zip is safe on disk: record it. Answered once the record is, too.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct DownloadedFile(pub Download);

/// What is known of files in one directory?
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Vec<Knowledge>>")]
pub struct LookUp {
    /// The server.
    pub server: ServerName,
    /// The directory on it.
    pub directory: Arc<RemotePath>,
    /// Names and facts, as listed.
    pub files: Arc<[(RemoteName, FileFacts)]>,
}

/// Was it the server's zone that changed, or the files?
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct SettleShifts {
    /// The server.
    pub server: ServerName,
    /// Some of those that one scan saw.
    pub files: Vec<Shifted>,
}

/// Which present files were downloaded longest ago?
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Vec<PresentFile>>")]
pub struct OldestPresent {
    /// Announced ones, or the others.
    pub announced: bool,
    /// Only those recorded after this one.
    pub after: i64,
    /// At most so many.
    pub limit: usize,
}

/// The next present files in the order of their records, for the audit of files that were deleted by hand.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Vec<PresentFile>>")]
pub struct PresentAfter {
    /// The record that was looked at last.
    pub after: i64,
    /// At most so many.
    pub limit: usize,
}

/// The files are gone from the mirror.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct MarkEvicted(pub Vec<i64>);

/// The files are gone from the mirror, and nobody here deleted them; they may be found again.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct MarkMissing(pub Vec<i64>);

/// The next files that were found missing, in the order of their records.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Vec<PresentFile>>")]
pub struct MissingAfter {
    /// The record that was looked at last.
    pub after: i64,
    /// At most so many.
    pub limit: usize,
}

/// Files that were evicted lie in the mirror again. Answers how many that changed.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<usize>")]
pub struct MarkFound(pub Vec<i64>);

/// Which mirror do the records belong to? With up to twice so many of the files in it.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Standing>")]
pub struct GetStanding(pub usize);

/// The records belong to the mirror with this marker.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct RememberMirror(pub String);

/// Which files are to be announced now, and when the next?
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Due>")]
pub struct DueNotices {
    /// At most so many that were never tried, and so many others.
    pub limit: usize,
    /// Being announced already.
    pub except: Vec<i64>,
    /// Servers whose files wait.
    pub held: Vec<ServerName>,
}

/// The files were announced.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct Delivered(pub Vec<i64>);

/// These are called again later.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<()>")]
pub struct Postpone(pub Vec<Postponed>);

/// Since when do these servers begin with what is new, in seconds since 1970? Now, where that is new of them.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<Vec<i64>>")]
pub struct BeginServers(pub Vec<ServerName>);

/// Is anybody there? Answered in its turn, so that a keeper that hangs is noticed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Everything that came before is on disk when this is answered; the database is closed then.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// An operator changes records, [`crate::records::BATCH`] at most. Answers how many that changed.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<usize>")]
pub struct Amend(pub Amendment, pub Vec<i64>);

/// An operator counts files as fetched. Answers how many were not on record.
#[derive(Debug, Message)]
#[rtype(result = "anyhow::Result<usize>")]
pub struct MarkFetched(pub Mark, pub Vec<Download>);
