//! A whole file on its way: stored, then recorded, then its partial name is removed. It goes on by itself, whatever becomes
//! of the scan that fetched it.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::fetch::Fetched;
use crate::base::facts::{Download, Earlier, FileFacts};
use crate::base::failpoints;
use crate::base::humanize;
use crate::base::names::{RemotePath, ServerName};
use crate::base::watchdog;
use crate::collector::job::{FileJob, OnRecord};
use crate::collector::server::{Server, Shared};
use crate::mirror::error::PublishError;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::{PartialFile, Target};
use crate::quota::{Busy, Reservation};

/// What a file keeps until it is recorded: its room, its partial file from being removed, and its place among those that
/// are received and not recorded.
pub(in crate::collector) struct Held {
    _hold: Reservation,
    _busy: Busy,
    _turn: OwnedSemaphorePermit,
}

impl Held {
    pub(in crate::collector) fn new(
        reservation: Reservation,
        busy: Busy,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        Self { _hold: reservation, _busy: busy, _turn: turn }
    }
}

/// Sends a whole file on its way; `is_plausible` says whether the size that the listing shows can be one.
pub(in crate::collector) fn publish(
    server: &Server,
    job: &FileJob,
    fetched: Fetched,
    earlier: Earlier,
    held: Held,
    is_plausible: bool,
) {
    let shared = Rc::clone(&server.shared);
    shared.memory.borrow_mut().done(&job.path());
    let Fetched { partial, file, size, found } = fetched;
    let (directory, name) = (Arc::clone(&job.directory), job.name.clone());
    let download = Download {
        server: server.settings.name.clone(),
        directory: Arc::clone(&directory),
        name: name.clone(),
        facts: if is_plausible { partial.facts } else { job.facts },
        size,
        downloaded_at: chrono::Utc::now().timestamp_millis(),
        no_archive: found.no_archive,
        earlier,
    };
    let replaces = job.on_record == OnRecord::Present;
    let target = Target { directory, name, replaces, pulse: watchdog::own() };
    let unrecorded = Unrecorded { shared, partial, is_recorded: false };
    let mut publishing = server.publishing.borrow_mut();
    // those that are done already need not be remembered; their panics were logged
    while publishing.try_join_next().is_some() {}
    publishing.spawn_local(PublishTask { unrecorded, file, target, download, _held: held }.run());
}

/// Why a whole file is not on record.
enum NotRecorded {
    /// It does not have its final name.
    Mirror(PublishError),
    /// It has, and the records do not take it.
    Records(anyhow::Error),
}

/// What a file needs on its way, apart from the scan, which may be stopped meanwhile.
struct PublishTask {
    unrecorded: Unrecorded,
    file: Arc<dyn PartialFile>,
    target: Target,
    download: Download,
    _held: Held,
}

impl PublishTask {
    async fn run(self) {
        let Self { unrecorded, file, target, download, _held } = self;
        let shared = Rc::clone(&unrecorded.shared);
        let (partial, size) = (unrecorded.partial, download.size);
        let (server, path) = (download.server.clone(), download.directory.join(&download.name));
        let (received_at, facts, earlier) = (download.downloaded_at, download.facts, download.earlier);
        let _replacing = (earlier == Earlier::GivesWay).then(|| shared.counters.replacing(&server, &path));
        let stored = match earlier {
            Earlier::IsTheSame => Ok(()),
            Earlier::Stays | Earlier::GivesWay => file.publish(target).await,
        };
        // held until the partial file no longer counts
        let mut _recording = None;
        let outcome = match stored {
            Ok(()) => {
                _recording = Some(shared.counters.begin_recording(size));
                failpoints::hang_here("record", server.as_str()).await;
                shared.records.record(download).await.map_err(NotRecorded::Records)
            }
            Err(error) => Err(NotRecorded::Mirror(error)),
        };
        if let Err(error) = outcome {
            // the proof that the file is ours, should it have its final name already, is kept
            drop(unrecorded);
            shared.note_not_recorded(&server, &path, facts, error);
            return;
        }
        unrecorded.recorded();
        // the proof of ownership has served; one that stays is removed by the next start
        let removed = shared.mirror.remove_partial(partial);
        removed.unwrap_or_else(|error| log::warn!("server={server} path={path}: {error}"));
        shared.counters.partial_gone(size);
        if earlier == Earlier::IsTheSame {
            return log::debug!("server={server} path={path}: the same content as before");
        }
        log::debug!("server={server} path={path}: downloaded, {size} bytes");
        shared.progress.lateness().arrived(&path, size, received_at);
        shared.progress.update(|status| {
            status.files_downloaded += 1;
            status.bytes_downloaded += size;
        });
    }
}

impl Shared {
    /// Says why a file is not recorded, and shows it.
    fn note_not_recorded(
        &self,
        server: &ServerName,
        path: &RemotePath,
        facts: FileFacts,
        error: NotRecorded,
    ) {
        let mut memory = self.memory.borrow_mut();
        let (text, level, is_ours) = match error {
            NotRecorded::Mirror(error) => {
                let text = error.to_string();
                if let PublishError::Apart(directory) = &error {
                    memory.apart(directory);
                    memory.failed(path, facts, &text, Instant::now());
                    memory.complained(path);
                }
                let is_ours = !matches!(error, PublishError::NameTaken);
                (text, if is_ours { log::Level::Error } else { log::Level::Warn }, is_ours)
            }
            // the keeper has said so, once for all files
            NotRecorded::Records(error) => (humanize::why(&error), log::Level::Debug, true),
        };
        let next = "the next scan tries again";
        let first = memory.warn_once.is_first(path, &text, next, level, Instant::now());
        let level = if first { level } else { log::Level::Debug };
        log::log!(level, "server={server} path={path}: {text}; {next}");
        let shown = memory.fault(format!("{path}: {text}"), is_ours).to_owned();
        self.progress.update(|status| status.last_error = Some(shown));
    }
}

/// A file between whole and recorded. Whatever ends its way before the record, a panic included, its partial file is
/// remembered: it is the proof that the file is ours, should it have its final name already.
struct Unrecorded {
    shared: Rc<Shared>,
    partial: PartialName,
    is_recorded: bool,
}

impl Unrecorded {
    fn recorded(mut self) {
        self.is_recorded = true;
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        if self.is_recorded {
            return;
        }
        self.shared.unrecorded.set(self.shared.unrecorded.get() + 1);
        // never a second panic; borrowed by nobody, because each look is over before anything waits
        if let Ok(mut partial_files) = self.shared.partial_files.try_borrow_mut() {
            partial_files.add(self.partial);
        }
    }
}
