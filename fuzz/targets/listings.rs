//! Listings: a byte for the format and encoding, a byte for the cuts, then what came on the data connection.

use chrono::{DateTime, Utc};
use mrosync::ftp::listing::ListingParser;
use mrosync::protocol::{Entry, Summary};

use super::{choice, encoding, pieces};

/// Whatever comes, every line is counted once, every name is usable, and the cuts of the packets change nothing.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = choice(data) else { return };
    let Some((cuts, listing)) = choice(rest) else { return };
    let whole = read(kind, [listing]);
    let (entries, summary) = &whole;
    assert_eq!(whole, read(kind, pieces(listing, cuts)), "the cuts of the packets changed the listing");
    let counted =
        summary.entries + summary.special + summary.not_understood + summary.names_refused + summary.too_long;
    assert!(counted <= summary.lines, "{summary:?}");
    assert!(summary.lines <= 1 + listing.iter().filter(|byte| **byte == b'\n').count() as u64);
    assert!(entries.len() as u64 <= summary.entries);
    for entry in entries {
        super::names::assert_usable(&entry.name);
    }
    for sample in [&summary.sample, &summary.special_sample, &summary.refused_sample].into_iter().flatten() {
        assert!(sample.chars().count() < 300, "{sample:?}");
    }
}

fn read<'d>(kind: usize, pieces: impl IntoIterator<Item = &'d [u8]>) -> (Vec<Entry>, Summary) {
    let encoding = encoding(kind >> 1);
    let mut parser = match kind & 1 {
        0 => ListingParser::mlsd(encoding),
        _ => ListingParser::list(encoding, now()),
    };
    let mut entries = Vec::new();
    for piece in pieces {
        parser.feed(piece, &mut entries);
    }
    let summary = parser.finish(&mut entries);
    (entries, summary)
}

/// Always the same, so that a finding can be repeated.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_796_126_400, 0).unwrap_or_default()
}
