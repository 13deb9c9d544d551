//! `mrosync records mark`: counts files as fetched that never were, either all that the servers list or all that lie in
//! the mirror. Looks, asks and writes as `amend` does.

use std::io::{self, BufWriter, Write};

use anyhow::Context;

use crate::base::facts::{Download, FileFacts};
use crate::base::globs::Globs;
use crate::base::names::{Printable, RemotePath};
use crate::collector::listing::list_all::list_all;
use crate::commands::confirmation::{Outcome, is_confirmed};
use crate::commands::record_writer::RecordWriter;
use crate::config::{ServerSettings, Settings};
use crate::connectors;
use crate::control::{Change, Marking};
use crate::mirror;
use crate::mirror::store::{MirrorLocation, MirroredFile};
use crate::net::network::Network;
use crate::records::{self, Mark, OpenError, RecordReader};

/// What to mark, and how sure the operator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which files, and as what.
    pub mark: Mark,
    /// Of one of these servers; of all that are configured where there is none.
    pub servers: Vec<String>,
    /// With a path that one of these fits; any where there is none.
    pub paths: Globs,
    /// Show them and change nothing.
    pub dry_run: bool,
    /// How many they are, as the operator knows.
    pub confirm: Option<u64>,
}

/// Does what `order` says, with its words on standard output.
///
/// # Errors
///
/// Whatever fails. Nothing was changed where it fails before the number is confirmed; after that each batch stays, and
/// the same command goes on with the rest.
pub async fn mark(settings: &Settings, order: &Order) -> anyhow::Result<Outcome> {
    let mut reader = match records::read(&settings.records) {
        Ok(reader) => Some(reader),
        // before the first start of the service
        Err(OpenError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut servers = chosen(settings, &order.servers)?;
    if let Some(reader) = &mut reader {
        for server in servers.iter_mut().filter(|server| server.selection.from_now) {
            server.selection.since = reader.beginning(&server.name)?;
        }
    }
    let mut found = find(settings, order, &servers).await?;
    if let Some(reader) = &mut reader {
        leave_recorded(reader.as_mut(), &mut found)?;
    }
    // the writer looks at the file, which would drop the locks of a reader in this process
    drop(reader);
    let matching: u64 = found.iter().map(|(_, files)| files.len() as u64).sum();
    let mut out = BufWriter::new(io::stdout());
    for file in found.iter().flat_map(|(_, files)| files).filter(|_| order.dry_run) {
        writeln!(out, "{}  {}", file.server, file.directory.join(&file.name))?;
    }
    writeln!(out, "{matching} {} to mark as fetched", if matching == 1 { "file" } else { "files" })?;
    out.flush()?;
    if order.dry_run || (matching == 0 && order.confirm.unwrap_or(0) == 0) {
        return Ok(Outcome::Done);
    }
    if !is_confirmed(order.confirm, matching)? {
        return Ok(Outcome::Unconfirmed);
    }
    let changed = write(settings, order.mark, &found)?;
    writeln!(out, "{changed} changed")?;
    out.flush()?;
    Ok(Outcome::Done)
}

/// The files of each server.
type Found<'s> = Vec<(&'s ServerSettings, Vec<Download>)>;

async fn find<'s>(
    settings: &Settings,
    order: &Order,
    servers: &'s [ServerSettings],
) -> anyhow::Result<Found<'s>> {
    let mirror = &*mirror::at(&settings.sync.root);
    let wants = |path: &RemotePath| order.paths.is_empty() || order.paths.is_match(path.text());
    let searches = servers.iter().map(|server| async move {
        let files = match order.mark {
            Mark::Listed => listed(server, wants).await,
            Mark::Local | Mark::LocalToAnnounce => local(mirror, server, wants),
        };
        files.map(|files| (server, files)).with_context(|| format!("server {}", server.name))
    });
    let found: Vec<_> = futures_util::future::join_all(searches).await;
    found.into_iter().collect::<anyhow::Result<_>>().context("nothing was changed")
}

fn chosen(settings: &Settings, names: &[String]) -> anyhow::Result<Vec<ServerSettings>> {
    let is_configured =
        |name: &&String| settings.servers.iter().any(|server| server.name.as_str() == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !is_configured(name)) {
        anyhow::bail!("no server of the configuration is called {}", Printable(unknown));
    }
    let is_chosen = |server: &&ServerSettings| {
        names.is_empty() || names.iter().any(|name| name.as_str() == server.name.as_str())
    };
    Ok(settings.servers.iter().filter(is_chosen).cloned().collect())
}

async fn listed(
    server: &ServerSettings,
    wants: impl Fn(&RemotePath) -> bool,
) -> anyhow::Result<Vec<Download>> {
    let connector = connectors::connector(server.clone(), &Network::default())?;
    let all = list_all(&*connector, server, wants).await?;
    for refused in &all.refused {
        writeln!(io::stderr(), "mrosync: server {}: passed over: {}", server.name, Printable(refused))?;
    }
    let download = |(directory, name, facts): (_, _, FileFacts)| {
        Download::marked(&server.name, directory, name, facts, facts.size.unwrap_or(0))
    };
    Ok(all.files.into_iter().map(download).collect())
}

/// The oldest first, so that the quota takes them in that order.
fn local(
    mirror: &dyn MirrorLocation,
    server: &ServerSettings,
    wants: impl Fn(&RemotePath) -> bool,
) -> anyhow::Result<Vec<Download>> {
    let mut files =
        mirror.files(&server.name, (&server.selection.files, server.encoding), &server.directories)?;
    files.retain(|file| wants(&file.directory.join(&file.name)));
    files.sort_by_key(|file| file.modified);
    let download = |file: MirroredFile| {
        // whether the time of the file is that of the server, nobody knows
        let facts = FileFacts { size: Some(file.size), modified: None };
        Download::marked(&server.name, file.directory, file.name, facts, file.size)
    };
    Ok(files.into_iter().map(download).collect())
}

/// Leaves out what is on record.
fn leave_recorded(reader: &mut dyn RecordReader, found: &mut Found<'_>) -> anyhow::Result<()> {
    for (_, files) in found {
        let mut kept = Vec::new();
        for file in std::mem::take(files) {
            if !reader.knows(&file.server, &file.directory, &file.name)? {
                kept.push(file);
            }
        }
        *files = kept;
    }
    Ok(())
}

fn write(settings: &Settings, mark: Mark, found: &Found<'_>) -> anyhow::Result<u64> {
    let mut writer = RecordWriter::open(settings)?;
    let mut changed = 0;
    for (server, files) in found {
        for marking in Marking::batches(mark, server.encoding, files) {
            changed += writer.change(Change::Mark(marking))?;
        }
    }
    writer.close();
    Ok(changed)
}
