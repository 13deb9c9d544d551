//! What each line of the corpus means, and what no listing may do.

use chrono::{DateTime, Utc};
use encoding_rs::{GBK, UTF_8};

use super::line::Line;
use super::parser::{Format, Halves, ListingParser, MAX_UNDECIDED, read_line};
use crate::base::facts::{FileFacts, Modified, TimeSource};
use crate::base::file_names::FileNames;
use crate::base::names::RemotePath;
use crate::protocol::{
    Entry, EntryCollector, Kind, MAX_ENTRIES, MAX_LISTING_BYTES, MAX_NAME_BYTES, MAX_NAMES, Summary,
};

const UNIX: &str = include_str!("../../../tests/fixtures/listing/unix.txt");
const DOS: &str = include_str!("../../../tests/fixtures/listing/dos.txt");
const MLSD: &str = include_str!("../../../tests/fixtures/listing/mlsd.txt");

/// A line of a fixture; the fixtures say what their columns are.
struct Case {
    kind: &'static str,
    facts: FileFacts,
    name: Vec<u8>,
    line: Vec<u8>,
}

fn now() -> DateTime<Utc> {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

fn list() -> Format {
    Format::List { now: now(), halves: Halves::InNames }
}

fn formats() -> [(Format, &'static str); 3] {
    [(list(), UNIX), (list(), DOS), (Format::Mlsd, MLSD)]
}

fn cases(format: Format, fixture: &'static str) -> Vec<Case> {
    let lines = fixture.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| case(format, line)).collect()
}

fn case(format: Format, line: &'static str) -> Case {
    let columns: Vec<&str> = line.split('\t').collect();
    let [kind, size, time, name, line] = columns[..] else { panic!("five columns: {line}") };
    let size = (!size.is_empty()).then(|| size.parse().unwrap());
    let modified = (!time.is_empty()).then(|| modified(format, time));
    Case { kind, facts: FileFacts { size, modified }, name: unescape(name), line: unescape(line) }
}

fn modified(format: Format, time: &str) -> Modified {
    let (filler, source) = match time.len() {
        10 => ("T00:00:00Z", TimeSource::LocalDay),
        16 => (":00Z", TimeSource::LocalMinute),
        _ => ("Z", TimeSource::LocalSecond),
    };
    let source = if matches!(format, Format::Mlsd) { TimeSource::Utc } else { source };
    let time: DateTime<Utc> = format!("{time}{filler}").parse().unwrap();
    Modified { unix_seconds: time.timestamp(), source }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn is_zip(name: &[u8]) -> bool {
    FileNames::default().fit(name, GBK)
}

fn parser(format: Format) -> ListingParser {
    ListingParser::new(format, GBK)
}

fn parse(parser: ListingParser, bytes: &[u8]) -> (Vec<Entry>, Summary) {
    parse_in_chunks(parser, bytes, usize::MAX)
}

fn parse_in_chunks(mut parser: ListingParser, bytes: &[u8], size: usize) -> (Vec<Entry>, Summary) {
    let mut entries = Vec::new();
    for chunk in bytes.chunks(size) {
        parser.feed(chunk, &mut entries);
    }
    let summary = parser.finish(&mut entries);
    (entries, summary)
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.text()).collect()
}

#[test]
fn every_line_of_the_corpus_means_what_it_says() {
    for (format, fixture) in formats() {
        let cases = cases(format, fixture);
        assert!(cases.len() > 40, "a fixture was lost");
        for Case { kind, facts, name, line } in &cases {
            let entry = |kind| Some(Line::Entry { name: name.as_slice(), kind, facts: *facts });
            let expected = match *kind {
                "dir" => entry(Kind::Directory),
                "file" => entry(Kind::File),
                "link" => entry(Kind::Link),
                "special" => Some(Line::Special),
                "skip" => Some(Line::Ignored),
                "junk" => None,
                _ => panic!("no such kind: {kind}"),
            };
            let shown = String::from_utf8_lossy(line);
            assert_eq!(read_line(format, line, &is_zip), expected, "{shown}");
        }
    }
}

#[test]
fn an_entry_that_is_called_by_its_path_is_known_by_its_name_and_any_other_path_is_refused() {
    let path = RemotePath::from_text("/pub/x", encoding_rs::UTF_8).unwrap();
    let line = |name: &str| format!("-rw-r--r-- 1 u g 12 Nov 23 2025 {name}\r\n");
    let directory = |name: &str| format!("drwxr-xr-x 1 u g 12 Nov 23 2025 {name}\r\n");
    let own = ["./.", "./..", "/pub/x/.", "/pub/x/.."].map(directory).concat();
    let text = [
        line("./a.zip"),
        line("/pub/x/b.zip"),
        directory("./d/"),
        directory("/pub/x/e"),
        own,
        ["../c.zip", "x/c.zip", "/pub/c.zip", "/pub/x/y/c.zip", "./y/c.zip", "/c.zip", "././c.zip"]
            .map(line)
            .concat(),
    ];
    let parser = ListingParser::list(encoding_rs::UTF_8, Utc::now()).of_directory(&path);
    let (entries, summary) = parse(parser, text.concat().as_bytes());
    assert_eq!(names(&entries), ["a.zip", "b.zip", "d", "e"]);
    assert_eq!((summary.entries, summary.names_refused), (4, 7));
    let root = ListingParser::mlsd(encoding_rs::UTF_8).of_directory(&RemotePath::root());
    let (entries, summary) = parse(root, b"type=file;size=1; /a.zip\r\ntype=file;size=1; /b/a.zip\r\n");
    assert_eq!((names(&entries), summary.names_refused), (vec!["a.zip"], 1));
}

#[test]
fn a_time_without_a_year_that_seems_long_ago_is_doubted_and_a_year_that_is_shown_is_not() {
    let now = DateTime::parse_from_rfc3339("2026-11-30T12:00:00Z").unwrap().to_utc();
    let doubted = |lines: &str| {
        let (_, summary) = parse(ListingParser::list(encoding_rs::UTF_8, now), lines.as_bytes());
        summary.doubtful_year.map(|(_, name)| name.text().to_owned())
    };
    let line = |date: &str, name: &str| format!("-rw-r--r-- 1 u g 12 {date} {name}\r\n");
    let lines = [line("Jan 23 10:00", "1.zip"), line("Feb  3 10:00", "2.zip"), line("Jan  2 10:00", "3.zip")];
    assert_eq!(doubted(&lines.concat()).as_deref(), Some("2.zip"), "the latest");
    for date in ["Nov 30 10:00", "Dec  7 10:00", "Jul  1 10:00", "Jan 23  2026"] {
        assert_eq!(doubted(&line(date, "1.zip")), None, "{date}");
    }
    assert_eq!(doubted(&line("Jan 23 10:00", "1.txt")), None, "nobody wants it");
}

#[test]
fn a_whole_corpus_is_counted_line_by_line_and_gives_what_can_be_mirrored() {
    for (format, fixture) in formats() {
        let cases = cases(format, fixture);
        let text: Vec<u8> = cases.iter().flat_map(|case| [&case.line[..], b"\r\n"].concat()).collect();
        let (entries, summary) = parse(parser(format), &text);
        let count = |kinds: &[&str]| cases.iter().filter(|case| kinds.contains(&case.kind)).count() as u64;
        let wanted = |case: &&Case| match case.kind {
            "dir" => true,
            "file" | "link" => is_zip(&case.name),
            _ => false,
        };
        let wanted: Vec<_> = cases.iter().filter(wanted).map(|case| case.name.as_slice()).collect();
        let found: Vec<_> = entries.iter().map(|entry| entry.name.wire()).collect();
        assert!(found == wanted, "{:?}", names(&entries));
        assert_eq!(summary.lines, cases.len() as u64);
        assert_eq!(summary.entries, count(&["dir", "file", "link"]));
        assert_eq!(summary.special, count(&["special"]));
        assert_eq!(summary.not_understood, count(&["junk"]));
        assert_eq!((summary.names_refused, summary.too_long, summary.over_limit), (0, 0, false));
    }
}

#[test]
fn no_input_makes_it_panic_and_no_cut_makes_a_difference() {
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    let formats = formats().map(|(format, fixture)| (format, cases(format, fixture)));
    for round in 0..200_000 {
        let (format, cases) = &formats[round % formats.len()];
        let mut text = Vec::new();
        for _ in 0..=random.below(2) {
            text.extend_from_slice(&cases[random.below(cases.len())].line);
            text.extend_from_slice([&b"\r\n"[..], b"\n", b"\r\r\n", b"\n\n"][random.below(4)]);
        }
        for _ in 0..random.below(6) {
            random.mutate(&mut text);
        }
        let whole = parse(parser(*format), &text);
        let cut = parse_in_chunks(parser(*format), &text, 1 + random.below(40));
        assert_eq!(whole, cut, "{}", String::from_utf8_lossy(&text));
    }
}

/// Marsaglia's generator: the same numbers in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 32).unwrap() % end
    }

    fn mutate(&mut self, text: &mut Vec<u8>) {
        const TELLING: &[u8] = b" \t\r\n;=:-+.,<>[]/0123456789dlPA\0\x80\xd4\xff";
        if text.is_empty() {
            return;
        }
        let (from, to) = (self.below(text.len()), self.below(text.len()));
        match self.below(5) {
            0 => text[from] = TELLING[self.below(TELLING.len())],
            1 => text.insert(from, TELLING[self.below(TELLING.len())]),
            2 => text.truncate(from),
            3 => drop(text.drain(from.min(to)..from.max(to))),
            _ => text.extend_from_within(from.min(to)..from.max(to)),
        }
    }
}

#[test]
fn lines_may_end_in_any_way_and_the_last_one_in_none() {
    let text = b"\r\n\n  \r\ntype=dir; a\r\ntype=dir; b\ntype=dir; c\r\r\n\ntype=dir; d";
    let (entries, summary) = parse(ListingParser::mlsd(UTF_8), text);
    assert_eq!(names(&entries), ["a", "b", "c", "d"]);
    let Summary { fingerprint, is_telling, .. } = summary;
    assert_eq!(summary, Summary { lines: 4, entries: 4, fingerprint, is_telling, ..Summary::default() });
}

#[test]
fn an_empty_listing_is_empty_and_a_total_alone_as_well() {
    let (entries, summary) = parse(parser(list()), b"");
    let fingerprint = summary.fingerprint;
    assert_eq!((entries, summary), (vec![], Summary { fingerprint, ..Summary::default() }));
    let (entries, summary) = parse(parser(list()), b"total 0\r\n");
    assert_eq!((entries.len(), summary.entries, summary.not_understood), (0, 0, 0));
}

#[test]
fn a_fingerprint_tells_names_kinds_sizes_times_and_order() {
    let of = |text: &str| parse(ListingParser::mlsd(UTF_8), text.as_bytes()).1.fingerprint;
    let first = "type=file;size=1;modify=20261123030000; a.xml\ntype=dir; d\n";
    assert_eq!(of(first), of(first));
    for other in [
        first.replace("a.xml", "b.xml"),
        first.replace("type=dir", "type=file"),
        first.replace("size=1", "size=2"),
        first.replace("030000", "030001"),
        "type=dir; d\ntype=file;size=1;modify=20261123030000; a.xml\n".to_owned(),
    ] {
        assert_ne!(of(first), of(&other), "{other}");
    }
    let is_telling = |text: &str| parse(ListingParser::mlsd(UTF_8), text.as_bytes()).1.is_telling;
    assert!(is_telling(first) && !is_telling("type=file;size=1; a.zip\ntype=dir; d\n"));
}

#[test]
fn am_and_pm_behind_a_time_belong_to_it_unless_another_line_shows_that_they_belong_to_names() {
    let lines = |lines: &[&str]| lines.iter().map(|line| format!("-rw-r--r-- 1 u g 1 {line}\n")).collect();
    let read = |text: String| {
        let cut = parse_in_chunks(ListingParser::list(UTF_8, now()), text.as_bytes(), 7);
        assert_eq!(parse(ListingParser::list(UTF_8, now()), text.as_bytes()), cut);
        let hour = |entry: &Entry| entry.facts.modified.map_or(-1, |time| time.unix_seconds / 3600 % 24);
        let names: Vec<_> = cut.0.iter().map(|entry| (entry.name.text().to_owned(), hour(entry))).collect();
        (names, cut.1.lines, cut.1.entries)
    };
    let named =
        |names: &[(&str, i64)]| names.iter().map(|(name, hour)| ((*name).to_owned(), *hour)).collect();
    let halves = lines(&["Nov 23 03:00 PM a.zip", "Nov 23 12:15 am b.zip"]);
    assert_eq!(read(halves), (named(&[("a.zip", 15), ("b.zip", 0)]), 2, 2));
    for plain in ["Nov 23 15:00 c.zip", "Nov 23 03:00 c.zip", "Nov 23 15:00 PM c.zip"] {
        let all: String = lines(&["Nov 23 03:00 PM a.zip", "Nov 23  2025 AM b.zip", plain]);
        let (names, ..) = read(all);
        assert_eq!(names[..2], [("PM a.zip".to_owned(), 3), ("AM b.zip".to_owned(), 0)], "{plain}");
    }
    for (with_year, hours) in [
        (["Nov 23 2026 03:00 PM a.zip", "Nov 23 2026 12:15AM b.zip"], (15, 0)),
        (["Nov 23 2026 03:00 a.zip", "23 Nov 2026 15:15 b.zip"], (3, 15)),
    ] {
        let expected = named(&[("a.zip", hours.0), ("b.zip", hours.1)]);
        assert_eq!(read(lines(&with_year)), (expected, 2, 2), "{with_year:?}");
        let (names, ..) = read(lines(&[with_year[0], "Nov 23 15:00 c.zip"]));
        assert_eq!(names[0].0, with_year[0].trim_start_matches("Nov 23 2026 "), "{with_year:?}");
    }
    let too_many: String = lines(&vec!["Nov 23 03:00 PM a.zip"; MAX_UNDECIDED + 1]);
    let (names, ..) = read(too_many);
    assert!(
        names.len() == MAX_UNDECIDED + 1 && names.iter().all(|(name, hour)| name == "a.zip" && *hour == 15)
    );
}

#[test]
fn what_is_neither_file_directory_nor_link_is_counted_and_shown_once() {
    let text = "prw-r--r-- 1 u g 0 Nov 23 03:00 fifo.zip\nsrw-r--r-- 1 u g 0 Nov 23 03:00 s\n";
    let (_, summary) = parse(ListingParser::list(UTF_8, now()), text.as_bytes());
    let sample = summary.special_sample.as_deref();
    assert_eq!((summary.entries, summary.special, sample), (0, 2, text.lines().next()));
    let (_, summary) = parse(ListingParser::mlsd(UTF_8), b"type=OS.unix=fifo;size=0; a.zip\n");
    assert_eq!((summary.special, summary.not_understood), (1, 0));
    let mut collector = EntryCollector::new(UTF_8);
    collector.take(b"fifo.zip", None, FileFacts::default(), &mut Vec::new());
    assert_eq!(collector.finish().special_sample.as_deref(), Some("fifo.zip"));
}

#[test]
fn names_are_collected_where_they_are_asked_for_and_not_too_many() {
    let names = |count: usize| {
        let mut parser = ListingParser::mlsd(UTF_8);
        parser.collect_names();
        let lines = (0..count).map(|n| format!("type=file;size=1; {n}.zip\ntype=file; {n}.xml\n"));
        parse(parser, lines.collect::<String>().as_bytes()).1.names.map(|names| names.len())
    };
    assert_eq!((names(0), names(3), names(MAX_NAMES + 1)), (Some(0), Some(3), None));
    assert_eq!(parse(ListingParser::mlsd(UTF_8), b"type=dir; a\n").1.names, None);
}

#[test]
fn what_is_not_understood_is_counted_and_shown_once() {
    let long = format!("<p>\u{4e2d}{}", "x".repeat(500));
    let text = format!("<html>\n{long}\n-rw-r--r-- 1 u g 1 Nov 23 03:00 a.zip\n");
    let (entries, summary) = parse(ListingParser::list(UTF_8, now()), text.as_bytes());
    assert_eq!(names(&entries), ["a.zip"]);
    assert_eq!((summary.not_understood, summary.sample.as_deref()), (2, Some("<html>")));
    let (_, summary) = parse(ListingParser::mlsd(UTF_8), long.as_bytes());
    assert_eq!(summary.sample, Some(long.chars().take(120).collect()));
}

#[test]
fn names_that_lead_elsewhere_cost_only_their_own_entry() {
    let text = b"type=file;size=1; ../a.zip\ntype=dir; a/b\ntype=dir; \0\ntype=file; x/y.txt\ntype=dir; ok";
    let (entries, summary) = parse(ListingParser::mlsd(UTF_8), text);
    assert_eq!(names(&entries), ["ok"]);
    assert_eq!((summary.names_refused, summary.entries, summary.lines), (3, 2, 5));
    let sample = "../a.zip: the name holds a slash, NUL, CR or LF";
    assert_eq!(summary.refused_sample.as_deref(), Some(sample));
}

#[test]
fn names_are_decoded_as_the_server_encodes_them() {
    let text = b"-rw-r--r-- 1 u g 1 11\xd4\xc2 23 03:00 \xd6\xd0.zip\n";
    let (entries, _) = parse(ListingParser::list(GBK, now()), text);
    assert_eq!((entries[0].name.text(), entries[0].name.wire()), ("中.zip", &b"\xd6\xd0.zip"[..]));
}

#[test]
fn a_line_too_long_costs_its_entry_and_no_memory() {
    let fill = MAX_NAME_BYTES - b"type=file;x=;size=1; a.zip".len();
    let fits = format!("type=file;x={};size=1; a.zip\n", "y".repeat(fill));
    let too_long = format!("type=file;x={};size=1; b.zip\n", "y".repeat(fill + 1));
    let blanks = format!("{}x\n", " ".repeat(MAX_NAME_BYTES + 1));
    let text = [fits.as_bytes(), too_long.as_bytes(), blanks.as_bytes(), b"type=dir; c\n"].concat();
    for size in [usize::MAX, 1000, 7] {
        let (entries, summary) = parse_in_chunks(ListingParser::mlsd(UTF_8), &text, size);
        assert_eq!(names(&entries), ["a.zip", "c"]);
        assert_eq!((summary.too_long, summary.lines, summary.not_understood), (2, 4, 0));
    }
    let mut parser = ListingParser::mlsd(UTF_8);
    for _ in 0..100 {
        parser.feed(&[b'x'; 4096], &mut Vec::new());
    }
    assert_eq!(parser.pending.len(), MAX_NAME_BYTES + 1);
}

#[test]
fn a_listing_with_too_many_entries_is_not_read_on() {
    let mut parser = ListingParser::mlsd(UTF_8);
    parser.collector = EntryCollector::with_counts(UTF_8, MAX_ENTRIES - 1, 0);
    let mut entries = Vec::new();
    parser.feed(b"type=dir; last\n", &mut entries);
    assert!(parser.check_limit().is_ok() && parser.entry_count() == MAX_ENTRIES);
    parser.feed(b"type=dir; over\ntype=file; x\n", &mut entries);
    assert!(parser.check_limit().is_err());
    assert_eq!((parser.finish(&mut entries).entries, names(&entries)), (MAX_ENTRIES, vec!["last"]));
}

#[test]
fn a_listing_with_too_many_bytes_is_not_read_on_wherever_it_is_cut() {
    let text = b"type=dir; a\ntype=dir; bcd\ntype=dir; e\n";
    for size in [1, 5, usize::MAX] {
        let mut parser = ListingParser::mlsd(UTF_8);
        parser.collector = EntryCollector::with_counts(UTF_8, 0, MAX_LISTING_BYTES - 22);
        let (entries, summary) = parse_in_chunks(parser, text, size);
        assert_eq!((names(&entries), summary.over_limit), (vec!["a"], true));
    }
    let mut parser = ListingParser::mlsd(UTF_8);
    parser.collector = EntryCollector::with_counts(UTF_8, 0, MAX_LISTING_BYTES - text.len() as u64);
    let (entries, summary) = parse(parser, text);
    assert_eq!((names(&entries), summary.over_limit), (vec!["a", "bcd", "e"], false));
}
