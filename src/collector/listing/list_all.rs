//! One look at all that a server lists, for `mrosync records mark --listed`: nothing is fetched, made or remembered.
//! It sees what a scan sees: the same directories, by the same commands, with the same loops and depths left out.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::list_directory::MAX_WAYS;
use super::loops::is_loop;
use crate::base::facts::FileFacts;
use crate::base::names::{RemoteName, RemotePath};
use crate::collector::job::{DirectoryJob, Lineage};
use crate::config::ServerSettings;
use crate::mirror::server::MAX_DEPTH;
use crate::protocol::{Confirmation, Connector, Entry, ErrorScope, Kind, ProtocolError, Session};

/// Most files and directories of a server that are kept in memory.
const MAX_FILES: usize = 5_000_000;
const MAX_DIRECTORIES: usize = 1_000_000;
/// A directory is tried so often, each time on a new connection.
const MAX_TRIES: u32 = 3;
/// For logging out.
const QUIT_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// What was found.
#[derive(Debug, Default)]
pub struct AllListed {
    /// The files that the server's `files`, `since`, `include` and `exclude` leave, and `wants` does.
    pub files: Vec<(Arc<RemotePath>, RemoteName, FileFacts)>,
    /// Directories that the server refuses to list, in words.
    pub refused: Vec<String>,
}

/// Lists all directories of the server, one after the other on one connection.
///
/// # Errors
///
/// When a configured directory cannot be listed, there is no way in, or the connection breaks again and again: a part
/// of what there is would be taken for all.
pub async fn list_all(
    connector: &dyn Connector,
    settings: &ServerSettings,
    wants: impl Fn(&RemotePath) -> bool,
) -> anyhow::Result<AllListed> {
    let root = |path: &RemotePath| DirectoryJob {
        path: Arc::new(path.clone()),
        depth: 0,
        unique: None,
        above: None,
        tries: 0,
    };
    let mut waiting: Vec<DirectoryJob> = settings.directories.iter().map(root).collect();
    let (mut all, mut idle): (AllListed, Option<Box<dyn Session>>) = Default::default();
    while let Some(mut job) = waiting.pop() {
        let mut session = match idle.take() {
            Some(session) => session,
            None => connector.connect().await.context("logging in")?,
        };
        let listed = list(session.as_mut(), settings, &job).await;
        idle = session.is_reusable().then_some(session);
        match listed {
            Ok(Listed { directories, files }) => {
                waiting.extend(directories);
                let wanted = |(name, _): &(RemoteName, FileFacts)| wants(&job.path.join(name));
                let files = files.into_iter().filter(wanted);
                all.files.extend(files.map(|(name, facts)| (Arc::clone(&job.path), name, facts)));
            }
            Err(error) if error.scope() == ErrorScope::Connection && job.tries + 1 < MAX_TRIES => {
                job.tries += 1;
                waiting.push(job);
            }
            Err(error) if error.scope() == ErrorScope::Entry && job.depth > 0 => {
                all.refused.push(format!("{}: {error}", job.path));
            }
            Err(error) => return Err(error).with_context(|| format!("listing {}", job.path)),
        }
        if all.files.len() > MAX_FILES || waiting.len() > MAX_DIRECTORIES {
            bail!("more than {MAX_FILES} files or {MAX_DIRECTORIES} directories; choose some with --path");
        }
    }
    if let Some(session) = idle {
        session.quit(QUIT_LIMIT).await;
    }
    Ok(all)
}

/// One directory.
#[derive(Default)]
struct Listed {
    directories: Vec<DirectoryJob>,
    files: Vec<(RemoteName, FileFacts)>,
}

async fn list(
    session: &mut dyn Session,
    settings: &ServerSettings,
    job: &DirectoryJob,
) -> Result<Listed, ProtocolError> {
    let mut tries = 0;
    loop {
        let (mut subdirectories, mut files) = (Vec::new(), Vec::new());
        let mut take = |entries: &mut Vec<Entry>| {
            let path = |name: &RemoteName| job.path.join(name);
            for Entry { name, kind, facts, unique, .. } in entries.drain(..) {
                match kind {
                    Kind::Directory if settings.selection.wants_directory(|| path(&name)) => {
                        subdirectories.push((name, unique));
                    }
                    Kind::File | Kind::Link if settings.selection.wants(&name, &facts, || path(&name)) => {
                        files.push((name, facts));
                    }
                    _ => {}
                }
            }
        };
        let mut entries = Vec::new();
        let mut listing = session.list(&job.path).await?;
        while listing.next(&mut entries).await? {
            take(&mut entries);
        }
        let summary = listing.finish(&mut entries).await?;
        take(&mut entries);
        if let Confirmation::ListAgain(_) =
            session.confirm_listing(&job.path, &summary, job.depth == 0).await?
        {
            tries += 1;
            if tries < MAX_WAYS {
                continue;
            }
            return Err(ProtocolError::listing_cut("each way of listing it contradicts the others"));
        }
        if job.is_another(summary.own_unique) {
            return Err(ProtocolError::listing_of_another());
        }
        let fingerprint = summary.is_telling.then_some(summary.fingerprint);
        if let Some(fingerprint) = fingerprint
            && is_loop(session, settings.encoding, job, fingerprint).await?
        {
            return Ok(Listed::default());
        }
        let lineage = Rc::new(Lineage {
            unique: job.unique.or(summary.own_unique),
            listing: fingerprint,
            above: job.above.clone(),
        });
        let is_new = |unique: Option<u64>| {
            unique.is_none() || Lineage::upwards(Some(&lineage)).all(|above| above.unique != unique)
        };
        let below = subdirectories.into_iter().filter(|(_, unique)| is_new(*unique));
        let directories = below.map(|(name, unique)| DirectoryJob {
            path: Arc::new(job.path.join(&name)),
            depth: job.depth + 1,
            unique,
            above: Some(Rc::clone(&lineage)),
            tries: 0,
        });
        let directories = directories.filter(|job| job.depth <= MAX_DEPTH).collect();
        return Ok(Listed { directories, files });
    }
}
