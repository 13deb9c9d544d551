//! What is fuzzed: one function for each place where bytes of others come in. Each takes any bytes, and panics where
//! a promise about them does not hold.
//!
//! Compiled twice: into the targets of cargo-fuzz, and into `tests/it/fuzz_corpora.rs`, which feeds them their
//! corpora in every test run.

pub mod configuration;
pub mod console;
pub mod listings;
pub mod names;
pub mod packets;
pub mod partials;
pub mod passive;
pub mod replies;
pub mod zips;

use encoding_rs::Encoding;

/// Encodings that a configuration may name, of each kind that encoding_rs has.
const ENCODINGS: [&Encoding; 8] = [
    encoding_rs::UTF_8,
    encoding_rs::GBK,
    encoding_rs::GB18030,
    encoding_rs::WINDOWS_1252,
    encoding_rs::SHIFT_JIS,
    encoding_rs::BIG5,
    encoding_rs::EUC_KR,
    encoding_rs::X_USER_DEFINED,
];

/// Takes the first byte for a choice, and leaves the rest.
fn choice(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(first, rest)| (usize::from(*first), rest))
}

/// One of the encodings, by a number.
fn encoding(number: usize) -> &'static Encoding {
    ENCODINGS[number % ENCODINGS.len()]
}

/// Cuts `data` into pieces whose lengths follow from `seed`: some of one byte, some long, none empty.
fn pieces(data: &[u8], seed: usize) -> Vec<&[u8]> {
    let (mut rest, mut state, mut pieces) = (data, seed as u64, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most = if (state >> 40) & 1 == 0 { 3 } else { 600 };
        let length = 1 + (state >> 41) as usize % most;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Panics where `text` could write to a terminal, or read otherwise than it is.
#[track_caller]
fn assert_harmless(text: &str) {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(harmful), "{text:?}");
}
