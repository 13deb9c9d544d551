//! `mrosync records`: prints what is on record, or how much of it.

use std::io::{self, Write};

use anyhow::bail;

use crate::base::humanize::nearest;
use crate::base::names::Printable;
use crate::config::Settings;
use crate::records::{self, Counts, Query, RecordReader};

/// What to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which records. Their servers need not be in the configuration any more.
    pub query: Query,
    /// How many of each server and day, in the place of the records themselves.
    pub count: bool,
    /// How.
    pub format: Format,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// A server that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("--server {}: {places} a server of that name{hint}", Printable(.name))]
pub struct UnknownServer {
    name: String,
    /// Where it was looked for.
    places: &'static str,
    hint: String,
}

/// Prints to standard output.
///
/// # Errors
///
/// [`UnknownServer`], else what fails while reading and writing.
pub fn print(settings: &Settings, order: &Order) -> anyhow::Result<()> {
    let mut reader = records::read(&settings.records)?;
    refuse_unknown(settings, &mut *reader, &order.query.filter.servers)?;
    let mut out = io::stdout().lock();
    if order.count {
        let counts = records::count(&mut *reader, &order.query.filter)?;
        return match print_counts(&counts, order.format, &mut out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => Ok(printed?),
        };
    }
    let write = match order.format {
        Format::Table => records::write_table,
        Format::Json => records::write_json,
        Format::Csv => records::write_csv,
    };
    Ok(write(&mut *reader, &order.query, &mut out)?)
}

/// Refuses the first of `names` that is neither configured nor on record: what is filtered by it would look as if there
/// were nothing.
///
/// # Errors
///
/// [`UnknownServer`], else what fails while reading.
pub fn refuse_unknown(
    settings: &Settings,
    reader: &mut dyn RecordReader,
    names: &[String],
) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut known: Vec<String> = settings.servers.iter().map(|server| server.name.to_string()).collect();
    known.extend(reader.servers()?);
    let Some(name) = names.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    bail!(UnknownServer {
        name: name.clone(),
        places: "neither the configuration nor the records have",
        hint
    })
}

/// Refuses the first of `names` that is not configured.
///
/// # Errors
///
/// [`UnknownServer`].
pub fn refuse_unconfigured(settings: &Settings, names: &[String]) -> Result<(), UnknownServer> {
    let known = || settings.servers.iter().map(|server| server.name.as_str());
    let Some(name) = names.iter().find(|name| !known().any(|known| known == *name)) else { return Ok(()) };
    let hint = nearest(name, known()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(UnknownServer { name: name.clone(), places: "the configuration does not have", hint })
}

fn print_counts(counts: &[Counts], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => print_table(counts, out),
        Format::Json => counts.iter().try_for_each(|counts| {
            serde_json::to_writer(&mut *out, counts)?;
            out.write_all(b"\n")
        }),
        Format::Csv => {
            writeln!(out, "server,day,files,bytes,announced,evicted")?;
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            for counts in counts {
                csv.serialize(counts).map_err(|error| match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => io::Error::other(format!("{other:?}")),
                })?;
            }
            csv.flush()
        }
    }
}

fn print_table(counts: &[Counts], out: &mut dyn Write) -> io::Result<()> {
    let longest = counts.iter().map(|counts| unicode_width::UnicodeWidthStr::width(counts.server.as_str()));
    let widest = longest.max().unwrap_or(0).max("SERVER".len());
    let mut line = |server: &str, rest: [&str; 5]| {
        let padding = widest.saturating_sub(unicode_width::UnicodeWidthStr::width(server));
        let [day, files, bytes, announced, evicted] = rest;
        writeln!(
            out,
            "{server}{:padding$}  {day:<10}  {files:>9}  {bytes:>15}  {announced:>9}  {evicted:>9}",
            ""
        )
    };
    line("SERVER", ["DAY", "FILES", "BYTES", "ANNOUNCED", "EVICTED"])?;
    for Counts { server, day, files, bytes, announced, evicted } in counts {
        let [files, bytes, announced, evicted] = [files, bytes, announced, evicted].map(u64::to_string);
        line(server, [day, &files, &bytes, &announced, &evicted])?;
    }
    Ok(())
}
