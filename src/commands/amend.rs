//! `mrosync records forget` and `requeue`: counts what is meant, asks, and changes it batch by batch. While a service
//! runs, it is the one that writes, and it is told over its control socket; else the database is opened here.

use std::io::{self, BufWriter, Write};

use crate::base::names::{RemotePath, ServerName};
use crate::commands::adopt::View;
use crate::commands::confirmation::{Outcome, is_confirmed};
use crate::commands::record_writer::RecordWriter;
use crate::commands::records::refuse_unknown;
use crate::config::Settings;
use crate::control::Change;
use crate::mirror;
use crate::mirror::identity::Verdict;
use crate::mirror::store::MirrorLocation;
use crate::records::{self, Amendment, BATCH, Filter, RecordRow};

/// What to change, and how sure the operator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The change.
    pub amendment: Amendment,
    /// Delete the files that are still in the mirror first, where records are forgotten.
    pub delete: bool,
    /// Of these records.
    pub filter: Filter,
    /// Show them and change nothing.
    pub dry_run: bool,
    /// How many they are, as the operator knows.
    pub confirm: Option<u64>,
}

/// Does what `order` says, with its words on standard output.
///
/// # Errors
///
/// Whatever fails; each batch that was changed before stays changed, and the same command goes on with the rest.
pub fn amend(settings: &Settings, order: &Order) -> anyhow::Result<Outcome> {
    let root = &settings.sync.root;
    let mirror = &*mirror::at(root);
    if order.amendment == Amendment::Forget && !mirror.is_mirror() {
        // without the mirror, everything would look deleted
        anyhow::bail!("{} is no mirror of this service; is its disk mounted?", root.display());
    }
    if order.amendment == Amendment::Forget
        && let Verdict::Held(reason) = View::of(settings)?.verdict
    {
        // nor is it known in another one what was deleted
        anyhow::bail!("{}", reason.describe(root));
    }
    refuse_unknown(settings, &mut *records::read(&settings.records)?, &order.filter.servers)?;
    let mut out = BufWriter::new(io::stdout());
    let counted = count(settings, mirror, order, &mut out)?;
    let (verb, matching) = (verb(order.amendment), counted.matching);
    if counted.in_place > 0 {
        let fate =
            if order.delete { "are deleted first" } else { "stay on record, unless --delete is given" };
        writeln!(out, "{} are still in the mirror, and {fate}", counted.in_place)?;
    }
    writeln!(out, "{matching} {} to {verb}", if matching == 1 { "record" } else { "records" })?;
    out.flush()?;
    if order.dry_run || (matching == 0 && order.confirm.unwrap_or(0) == 0) {
        return Ok(Outcome::Done);
    }
    if !is_confirmed(order.confirm, matching)? {
        return Ok(Outcome::Unconfirmed);
    }
    let changed = change(settings, mirror, order, counted.last)?;
    writeln!(out, "{changed} changed")?;
    out.flush()?;
    Ok(Outcome::Done)
}

fn verb(amendment: Amendment) -> &'static str {
    match amendment {
        Amendment::Forget => "forget",
        Amendment::Requeue => "announce again",
    }
}

#[derive(Debug, Default)]
struct Counted {
    matching: u64,
    /// Files that are in the way of fetching them again.
    in_place: u64,
    /// The last record that was counted; later ones are not meant.
    last: i64,
}

fn count(
    settings: &Settings,
    mirror: &dyn MirrorLocation,
    order: &Order,
    out: &mut dyn Write,
) -> anyhow::Result<Counted> {
    let mut counted = Counted { last: i64::MIN, ..Counted::default() };
    let mut reader = records::read(&settings.records)?;
    reader.for_each(&order.filter, &mut |row| {
        let is_free = is_free(mirror, order.amendment, row)?;
        counted.in_place += u64::from(!is_free && order.amendment == Amendment::Forget);
        if is_free || order.delete {
            counted.matching += 1;
            counted.last = row.id;
            if order.dry_run {
                writeln!(out, "{}  {}", row.server, row.path)?;
            }
        }
        Ok(())
    })?;
    Ok(counted)
}

/// Returns whether nothing is in the way of the change. A file that lies at its place would not be replaced.
fn is_free(mirror: &dyn MirrorLocation, amendment: Amendment, row: &RecordRow) -> io::Result<bool> {
    match amendment {
        Amendment::Requeue => Ok(row.notified_at.is_some() && row.evicted_at.is_none()),
        Amendment::Forget => mirror.is_taken(&row.server, &row.path).map(|is_taken| !is_taken),
    }
}

/// What is changed together.
#[derive(Default)]
struct Batch {
    ids: Vec<i64>,
    /// To be deleted from the mirror before.
    files: Vec<(ServerName, RemotePath)>,
}

fn change(settings: &Settings, mirror: &dyn MirrorLocation, order: &Order, last: i64) -> anyhow::Result<u64> {
    let mut writer = RecordWriter::open(settings)?;
    let mut reader = records::read(&settings.records)?;
    let mut changed = 0;
    let mut batch = Batch::default();
    let mut write = |batch: Batch| {
        // a file without a record would never be deleted; a record without a file is forgotten the next time
        mirror.delete(&batch.files)?;
        writer.change(Change::amend(order.amendment, batch.ids))
    };
    reader.for_each(&order.filter, &mut |row| {
        let is_free = is_free(mirror, order.amendment, row)?;
        if row.id <= last && (is_free || order.delete) {
            batch.ids.push(row.id);
            batch.files.extend((!is_free).then(|| (row.server.clone(), row.path.clone())));
        }
        if batch.ids.len() >= BATCH {
            changed += write(std::mem::take(&mut batch)).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    if !batch.ids.is_empty() {
        changed += write(batch)?;
    }
    writer.close();
    Ok(changed)
}
