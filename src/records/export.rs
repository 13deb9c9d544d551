//! Writes the records for people and programs, in memory that does not grow with their number. A reader that
//! goes away, as `head` does, ends the writing without an error.

use std::io::{self, BufWriter, Write};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::reader::{Query, RecordReader, VisitError};
use super::search::Found;
use super::types::RecordRow;

/// Bytes collected before they are written.
const BUFFER: usize = 64 * 1024;

/// A record with the keys and the spelling of the promised output.
#[derive(Serialize)]
struct Line<'a> {
    server: &'a str,
    path: &'a str,
    size: u64,
    modified: Option<String>,
    downloaded_at: Option<String>,
    notified_at: Option<String>,
    evicted_at: Option<String>,
}

/// The keys of [`Line`], in its order.
const KEYS: [&str; 7] = ["server", "path", "size", "modified", "downloaded_at", "notified_at", "evicted_at"];

impl<'a> Line<'a> {
    fn new(row: &'a RecordRow) -> Self {
        Self {
            server: row.server.as_str(),
            path: row.path.text(),
            size: row.size,
            modified: row.modified.and_then(|time| seconds(time.unix_seconds)),
            downloaded_at: milliseconds(row.downloaded_at),
            notified_at: row.notified_at.and_then(milliseconds),
            evicted_at: row.evicted_at.and_then(milliseconds),
        }
    }
}

/// Writes one JSON object a line, of the records that `query` means, in its order.
///
/// # Errors
///
/// [`VisitError`].
pub fn write_json(
    records: &mut dyn RecordReader,
    query: &Query,
    out: &mut dyn Write,
) -> Result<(), VisitError> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let written = records.visit(query, &mut |row| {
        crate::base::json::write(&mut out, &Line::new(row))?;
        out.write_all(b"\n")
    });
    until_the_reader_leaves(written.and_then(|()| Ok(out.flush()?)))
}

/// The latest `limit` records as one JSON list, the newest first, each as [`write_json`] writes it.
///
/// # Errors
///
/// [`VisitError`].
pub fn newest_json(records: &mut dyn RecordReader, limit: u32) -> Result<String, VisitError> {
    let rows = records.newest(limit)?;
    let lines: Vec<_> = rows.iter().map(Line::new).collect();
    Ok(serde_json::to_string(&lines).map_err(io::Error::from)?)
}

#[derive(Serialize)]
struct FoundLines<'a> {
    records: Vec<Line<'a>>,
    next: Option<i64>,
}

/// Writes what a search found as one JSON object: `records`, newest first, and where to go on.
///
/// # Errors
///
/// None that is known of.
pub fn found_json(found: &Found) -> serde_json::Result<String> {
    let records = found.rows.iter().map(Line::new).collect();
    serde_json::to_string(&FoundLines { records, next: found.next })
}

/// Writes CSV (RFC 4180) with a line of keys, of the records that `query` means, in its order. What
/// is not known is empty.
///
/// # Errors
///
/// [`VisitError`].
pub fn write_csv(
    records: &mut dyn RecordReader,
    query: &Query,
    out: &mut dyn Write,
) -> Result<(), VisitError> {
    let mut out = csv::WriterBuilder::new().has_headers(false).buffer_capacity(BUFFER).from_writer(out);
    let written = out
        .write_record(KEYS)
        .map_err(csv_error)
        .map_err(VisitError::from)
        .and_then(|()| records.visit(query, &mut |row| out.serialize(Line::new(row)).map_err(csv_error)));
    until_the_reader_leaves(written.and_then(|()| Ok(out.flush()?)))
}

/// Writes a table for people, of the records that `query` means, in its order. Times are in UTC, to
/// the second; the path comes last, because nobody knows the longest before all are read.
///
/// # Errors
///
/// [`VisitError`].
pub fn write_table(
    records: &mut dyn RecordReader,
    query: &Query,
    out: &mut dyn Write,
) -> Result<(), VisitError> {
    let widest = match query.filter.servers.as_slice() {
        [] => records.servers()?.iter().map(|server| width(server)).max().unwrap_or(0),
        servers => servers.iter().map(|server| width(server)).max().unwrap_or(0),
    };
    let widest = widest.max(width("SERVER"));
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let columns = ["SERVER", "SIZE", "MODIFIED", "DOWNLOADED", "NOTIFIED", "EVICTED", "PATH"];
    let written = write_columns(&mut out, widest, columns)
        .map_err(VisitError::from)
        .and_then(|()| records.visit(query, &mut |row| write_row(&mut out, widest, row)));
    until_the_reader_leaves(written.and_then(|()| Ok(out.flush()?)))
}

fn write_row(out: &mut dyn Write, widest: usize, row: &RecordRow) -> io::Result<()> {
    let time = |milliseconds: Option<i64>| {
        milliseconds.and_then(|at| seconds(at.div_euclid(1000))).unwrap_or_else(|| "-".to_owned())
    };
    let modified = row.modified.and_then(|time| seconds(time.unix_seconds)).unwrap_or_else(|| "-".to_owned());
    let columns = [
        row.server.as_str(),
        &row.size.to_string(),
        &modified,
        &time(Some(row.downloaded_at)),
        &time(row.notified_at),
        &time(row.evicted_at),
        &row.path.to_string(),
    ];
    write_columns(out, widest, columns)
}

fn write_columns(out: &mut dyn Write, widest: usize, columns: [&str; 7]) -> io::Result<()> {
    let [server, size, modified, downloaded, notified, evicted, path] = columns;
    let padding = widest.saturating_sub(width(server));
    writeln!(
        out,
        "{server}{:padding$}  {size:>13}  {modified:<20}  {downloaded:<20}  {notified:<20}  {evicted:<20}  {path}",
        ""
    )
}

/// Columns that a terminal takes for `text`: two for the wide characters of East Asian scripts, roughly.
fn width(text: &str) -> usize {
    text.chars().map(|character| if character < '\u{1100}' { 1 } else { 2 }).sum()
}

fn seconds(unix_seconds: i64) -> Option<String> {
    let time = DateTime::from_timestamp(unix_seconds, 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn milliseconds(unix_milliseconds: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(unix_milliseconds)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The error below, whose kind the conversion of the csv crate would lose.
fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn until_the_reader_leaves(written: Result<(), VisitError>) -> Result<(), VisitError> {
    match written {
        Err(VisitError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use encoding_rs::GBK;

    use super::super::filter::Filter;
    use super::super::fixtures::{Place, Shortcuts, directory, download, mlsd, name, record_some, server};
    use super::super::memory::MemoryRecords;
    use super::super::store::RecordStore;
    use super::*;
    use crate::base::facts::FileFacts;
    use crate::base::names::{RemoteName, RemotePath};

    /// 2026-11-23T03:00:00Z
    const MODIFIED: i64 = 1_795_402_800;

    /// Three records: as in the promised example, then one with nothing known, then one with everything.
    fn examples(place: &MemoryRecords) -> Box<dyn RecordReader> {
        let mut records = place.open().unwrap();
        let mut first = download("omc_456456_mro.zip", MODIFIED * 1000 + 5123);
        (first.directory, first.size) = (Arc::new(directory("/xxx")), 123);
        first.facts = mlsd(123, MODIFIED);
        let mut second = download("a \"b\", c\u{1b}[2J.zip", -1);
        (second.facts, second.directory) = (FileFacts::default(), Arc::new(RemotePath::root()));
        let mut third = download("x.zip", 0);
        third.server = server("上海");
        third.name = RemoteName::from_wire(b"\xd6\xd0.zip", GBK).unwrap();
        records.record(&[first, second, third]).unwrap();
        records.deliver(&[3], MODIFIED * 1000);
        records.evict(&[3], MODIFIED * 1000 + 999);
        records.close();
        place.read()
    }

    type Writer = fn(&mut dyn RecordReader, &Query, &mut dyn Write) -> Result<(), VisitError>;

    fn written(writer: Writer, reader: &mut Box<dyn RecordReader>, server: Option<&str>) -> String {
        let mut out = Vec::new();
        let servers = server.into_iter().map(str::to_owned).collect();
        let filter = Filter { servers, ..Filter::default() };
        writer(reader.as_mut(), &Query { filter, ..Query::default() }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_the_promised_keys_in_their_order() {
        let place = MemoryRecords::default();
        let mut reader = examples(&place);
        let expected = [
            r#"{"server":"omc01","path":"/xxx/omc_456456_mro.zip","size":123,"modified":"2026-11-23T03:00:00Z","downloaded_at":"2026-11-23T03:00:05.123Z","notified_at":null,"evicted_at":null}"#,
            r#"{"server":"omc01","path":"/a \"b\", c\u001b[2J.zip","size":10,"modified":null,"downloaded_at":"1969-12-31T23:59:59.999Z","notified_at":null,"evicted_at":null}"#,
            r#"{"server":"上海","path":"/in/中.zip","size":10,"modified":"1970-01-01T00:01:00Z","downloaded_at":"1970-01-01T00:00:00.000Z","notified_at":"2026-11-23T03:00:00.000Z","evicted_at":"2026-11-23T03:00:00.999Z"}"#,
        ];
        let json = written(write_json, &mut reader, None);
        assert_eq!(json.lines().collect::<Vec<_>>(), expected);
        assert!(json.ends_with("}\n"));
        assert_eq!(written(write_json, &mut reader, Some("上海")), format!("{}\n", expected[2]));
    }

    #[test]
    fn csv_has_a_line_of_keys_and_leaves_empty_what_is_not_known() {
        let place = MemoryRecords::default();
        let mut reader = examples(&place);
        let expected = [
            "server,path,size,modified,downloaded_at,notified_at,evicted_at",
            "omc01,/xxx/omc_456456_mro.zip,123,2026-11-23T03:00:00Z,2026-11-23T03:00:05.123Z,,",
            "omc01,\"/a \"\"b\"\", c\u{1b}[2J.zip\",10,,1969-12-31T23:59:59.999Z,,",
            "上海,/in/中.zip,10,1970-01-01T00:01:00Z,1970-01-01T00:00:00.000Z,2026-11-23T03:00:00.000Z,2026-11-23T03:00:00.999Z",
        ];
        assert_eq!(written(write_csv, &mut reader, None).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_table_is_aligned_and_safe_for_a_terminal() {
        let place = MemoryRecords::default();
        let mut reader = examples(&place);
        let expected = "\
SERVER           SIZE  MODIFIED              DOWNLOADED            NOTIFIED              EVICTED               PATH
omc01             123  2026-11-23T03:00:00Z  2026-11-23T03:00:05Z  -                     -                     /xxx/omc_456456_mro.zip
omc01              10  -                     1969-12-31T23:59:59Z  -                     -                     /a \"b\", c\\u{1b}[2J.zip
上海               10  1970-01-01T00:01:00Z  1970-01-01T00:00:00Z  2026-11-23T03:00:00Z  2026-11-23T03:00:00Z  /in/中.zip
";
        assert_eq!(written(write_table, &mut reader, None), expected);
    }

    #[test]
    fn a_long_server_name_widens_its_column_from_the_first_line_on() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        record_some(&mut *records, 1);
        let mut file = download("x.zip", 1);
        file.server = server("a-rather-long-name");
        records.record(&[file]).unwrap();
        let mut reader = place.read();
        let table = written(write_table, &mut reader, None);
        let starts: Vec<_> = table.lines().map(|line| line.find(['P', '/'])).collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|start| *start == starts[0]), "{table}");
    }

    #[test]
    fn a_server_without_records_makes_no_lines_but_the_head() {
        let place = MemoryRecords::default();
        let mut reader = examples(&place);
        assert_eq!(written(write_json, &mut reader, Some("omc09")), "");
        assert_eq!(written(write_csv, &mut reader, Some("omc09")).lines().count(), 1);
        assert_eq!(written(write_table, &mut reader, Some("omc09")).lines().count(), 1);
    }

    /// Takes some bytes, then fails.
    struct Pipe {
        room: usize,
        error: io::ErrorKind,
        attempts_after: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.attempts_after += 1;
                return Err(self.error.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn many(place: &MemoryRecords) -> Box<dyn RecordStore> {
        let mut records = place.open().unwrap();
        record_some(&mut *records, 3000);
        records
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_writing_in_peace_and_a_full_disk_does_not() {
        let place = MemoryRecords::default();
        let _records = many(&place);
        for writer in [write_json as Writer, write_csv, write_table] {
            for room in [0, 100, 100_000] {
                let mut reader = place.read();
                let mut gone = Pipe { room, error: io::ErrorKind::BrokenPipe, attempts_after: 0 };
                writer(reader.as_mut(), &Query::default(), &mut gone).unwrap();
                assert!((1..4).contains(&gone.attempts_after), "{} at {room}", gone.attempts_after);
                let mut full = Pipe { room, error: io::ErrorKind::StorageFull, attempts_after: 0 };
                let error = writer(reader.as_mut(), &Query::default(), &mut full).unwrap_err();
                assert!(matches!(error, VisitError::Write(_)), "{error}");
            }
        }
    }

    #[test]
    fn a_name_that_reads_like_an_escape_is_kept_in_json() {
        let place = MemoryRecords::default();
        let mut records = place.open().unwrap();
        let mut file = download("a.zip", 1);
        file.name = name(b"bad\xff.zip");
        records.record(&[file]).unwrap();
        let mut reader = place.read();
        assert!(written(write_json, &mut reader, None).contains(r#""path":"/in/bad%FF.zip""#));
    }
}
