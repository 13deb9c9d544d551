//! `mrosync mirror adopt` and `mrosync records confirm`: an operator says that the mirror and the records belong together.
//! Counts what that means, asks, and does it. Looks, asks and writes as `amend` does.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::actors::mirror_watch::{SAMPLE, standing};
use crate::base::file_names::FileNames;
use crate::base::humanize;
use crate::base::names::ServerName;
use crate::commands::confirmation::{Outcome, is_confirmed};
use crate::commands::record_writer::RecordWriter;
use crate::config::Settings;
use crate::control::Change;
use crate::mirror;
use crate::mirror::identity::Reason;
use crate::mirror::identity::{MirrorId, Standing, Verdict, judge};
use crate::mirror::mounted::look_for;
use crate::mirror::store::MirrorLocation;
use crate::quota::Absence;
use crate::records::{self, BATCH, Filter, OpenError, RecordRow};

/// How sure the operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What is adopted.
    pub subject: Subject,
    /// Say what it means and change nothing.
    pub dry_run: bool,
    /// The number that goes with it, as the operator knows it.
    pub confirm: Option<u64>,
}

/// What was another, or is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The mirror: it was moved, restored, or lost files.
    Mirror,
    /// The records: the zips in the mirror stay unknown to them.
    Records,
}

/// Does what `order` says, with its words on standard output.
///
/// # Errors
///
/// Whatever fails; what was changed before stays changed, and the same command goes on with the rest.
pub fn adopt(settings: &Settings, order: Order) -> anyhow::Result<Outcome> {
    let root = &settings.sync.root;
    if !mirror::at(root).is_reachable() {
        anyhow::bail!("{} is no directory; is its disk mounted?", root.display());
    }
    let view = View::of(settings)?;
    match order.subject {
        Subject::Mirror => adopt_mirror(settings, order, &view),
        Subject::Records => confirm_records(settings, order, &view),
    }
}

/// Records and mirror, as they are.
pub(crate) struct View {
    standing: Standing,
    marker: Option<MirrorId>,
    servers: Vec<(ServerName, FileNames)>,
    /// What was found of some files that the records call present.
    pub(crate) found: Absence,
    /// What follows from all of it.
    pub(crate) verdict: Verdict,
}

impl View {
    /// Looks at both, and changes nothing.
    pub(crate) fn of(settings: &Settings) -> anyhow::Result<Self> {
        let location = mirror::at(&settings.sync.root);
        let standing = match records::read(&settings.records) {
            Ok(mut reader) => standing(&reader.recorded_mirror(SAMPLE)?),
            // before the first start of the service
            Err(OpenError::Missing { .. }) => Standing::default(),
            Err(error) => return Err(error.into()),
        };
        // one that cannot be read is replaced
        let marker = location.marker().unwrap_or_default();
        let servers: Vec<_> = settings
            .servers
            .iter()
            .map(|server| (server.name.clone(), server.selection.files.clone()))
            .collect();
        let found = look_for(&*location, &standing.sample);
        let verdict = judge(&standing, marker, found, |limit| location.count_files(&servers, limit));
        Ok(Self { standing, marker, servers, found, verdict })
    }
}

fn adopt_mirror(settings: &Settings, order: Order, view: &View) -> anyhow::Result<Outcome> {
    let root = &settings.sync.root;
    if matches!(view.verdict, Verdict::Held(Reason::NewRecords { .. })) {
        anyhow::bail!(
            "the records are new and know nothing of the zips in {}: see 'mrosync records confirm --dry-run'",
            root.display()
        );
    }
    let mut out = BufWriter::new(io::stdout());
    let counted = count(settings, order.dry_run, &mut out)?;
    describe(root, view, &counted, &mut out)?;
    out.flush()?;
    if order.dry_run {
        return Ok(Outcome::Done);
    }
    if !is_confirmed(order.confirm, counted.missing)? {
        return Ok(Outcome::Unconfirmed);
    }
    let (missing, found) = change(settings, view, counted.last)?;
    writeln!(out, "{missing} count as evicted, {found} as present again; {} is adopted", root.display())?;
    out.flush()?;
    Ok(Outcome::Done)
}

fn describe(root: &Path, view: &View, counted: &Counted, out: &mut dyn Write) -> io::Result<()> {
    let Counted { present, missing, unannounced, found, .. } = *counted;
    let root = root.display();
    let marker = match (view.marker, view.standing.known) {
        (None, _) => "has no marker, and gets one",
        (Some(marker), Some(known)) if marker == known => "has the marker that the records know",
        (Some(_), _) => "has another marker than the records know, which they will know",
    };
    writeln!(out, "{root} {marker}")?;
    writeln!(out, "{} of {present} files that the records call present are there", present - missing)?;
    if found > 0 {
        writeln!(out, "{found} that count as evicted are there again, and will count as present")?;
    }
    writeln!(
        out,
        "{missing} are missing, and will count as evicted: they are not fetched again; {unannounced} of them were not \
         announced, and never will be"
    )
}

fn confirm_records(settings: &Settings, order: Order, view: &View) -> anyhow::Result<Outcome> {
    let root = &settings.sync.root;
    let mut out = BufWriter::new(io::stdout());
    match &view.verdict {
        Verdict::Held(Reason::NewRecords { .. }) => {}
        Verdict::Held(reason) => anyhow::bail!("{}", reason.describe(root)),
        Verdict::Ours | Verdict::Take => {
            writeln!(out, "there is nothing to confirm: the records are not new beside {}", root.display())?;
            out.flush()?;
            return Ok(Outcome::Done);
        }
    }
    let zips = mirror::at(root).count_files(&view.servers, u64::MAX);
    let are_zips = view.servers.iter().all(|(_, files)| files.are_usual());
    let noun = if are_zips { "zip" } else { "file" };
    writeln!(out, "{} in {}, of which the records know nothing", lie(zips, noun), root.display())?;
    writeln!(
        out,
        "confirmed, they are left alone: never deleted nor announced, and a {noun} of the same path is not fetched; \
         everything else that the servers show counts as new"
    )?;
    writeln!(out, "'mrosync records mark --local' takes them over instead")?;
    out.flush()?;
    if order.dry_run {
        return Ok(Outcome::Done);
    }
    if !is_confirmed(order.confirm, zips)? {
        return Ok(Outcome::Unconfirmed);
    }
    RecordWriter::open(settings)?.adopt(view.marker)?;
    writeln!(out, "the records are those of {}", root.display())?;
    out.flush()?;
    Ok(Outcome::Done)
}

#[derive(Debug, Default)]
struct Counted {
    /// What the records call present.
    present: u64,
    /// Those that are not there.
    missing: u64,
    /// Those of them that are still to be announced.
    unannounced: u64,
    /// What counts as evicted, and is there.
    found: u64,
    /// The last record that was looked at; later ones are not meant.
    last: i64,
}

/// What is to become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Missing,
    Found,
}

fn fate(mirror: &dyn MirrorLocation, row: &RecordRow) -> Fate {
    // what cannot be looked at is not missing
    let Ok(there) = mirror.size(&row.server, &row.path) else { return Fate::Stays };
    match (row.evicted_at, there) {
        (None, None) => Fate::Missing,
        // marked as listed by a server, and never fetched
        (Some(evicted), _) if evicted == row.downloaded_at && row.notified_at == Some(evicted) => Fate::Stays,
        (Some(_), Some(size)) if size == row.size => Fate::Found,
        _ => Fate::Stays,
    }
}

fn count(settings: &Settings, listed: bool, out: &mut dyn Write) -> anyhow::Result<Counted> {
    let mut counted = Counted { last: i64::MIN, ..Counted::default() };
    let mirror = mirror::at(&settings.sync.root);
    let mut reader = match records::read(&settings.records) {
        Err(OpenError::Missing { .. }) => return Ok(counted),
        opened => opened?,
    };
    reader.for_each(&Filter::default(), &mut |row| {
        counted.last = row.id;
        counted.present += u64::from(row.evicted_at.is_none());
        let word = match fate(&*mirror, row) {
            Fate::Stays => return Ok(()),
            Fate::Missing => {
                counted.missing += 1;
                counted.unannounced += u64::from(row.notified_at.is_none());
                "missing"
            }
            Fate::Found => {
                counted.found += 1;
                "found"
            }
        };
        if listed {
            writeln!(out, "{word}  {}  {}", row.server, row.path)?;
        }
        Ok(())
    })?;
    Ok(counted)
}

fn change(settings: &Settings, view: &View, last: i64) -> anyhow::Result<(u64, u64)> {
    let mirror = mirror::at(&settings.sync.root);
    let mut writer = RecordWriter::open(settings)?;
    let mut reader = records::read(&settings.records)?;
    let (mut missing, mut found) = (Vec::new(), Vec::new());
    let (mut missed, mut back) = (0, 0);
    reader.for_each(&Filter::default(), &mut |row| {
        match fate(&*mirror, row) {
            Fate::Missing if row.id <= last => missing.push(row.id),
            Fate::Found if row.id <= last => found.push(row.id),
            _ => {}
        }
        if missing.len() >= BATCH {
            missed +=
                writer.change(Change::Missing(std::mem::take(&mut missing))).map_err(io::Error::other)?;
        }
        if found.len() >= BATCH {
            back += writer.change(Change::Found(std::mem::take(&mut found))).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    if !missing.is_empty() {
        missed += writer.change(Change::Missing(missing))?;
    }
    if !found.is_empty() {
        back += writer.change(Change::Found(found))?;
    }
    writer.adopt(view.marker)?;
    Ok((missed, back))
}

fn lie(count: u64, noun: &str) -> String {
    format!("{} {}", humanize::count(count, noun), if count == 1 { "lies" } else { "lie" })
}
