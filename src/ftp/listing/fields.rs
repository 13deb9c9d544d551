//! Cuts a listing line into fields between blanks, and reads the numbers in them. For the format readers only.

use std::ops::RangeInclusive;

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns whether a line holds nothing at all.
pub(super) fn is_blank_line(line: &[u8]) -> bool {
    line.iter().all(|byte| is_blank(*byte) || *byte == b'\r')
}

/// The text from its first byte that is not blank.
pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// The text without exactly one blank at its beginning; `None` if there is none, or nothing after it.
pub(super) fn after_one_blank(text: &[u8]) -> Option<&[u8]> {
    let (first, rest) = text.split_first()?;
    (is_blank(*first) && !rest.is_empty()).then_some(rest)
}

/// The first field and what follows it, which is empty or begins with a blank.
pub(super) fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = trim_start(text);
    let end = text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(field, _)| !field.is_empty())
}

/// A number of nothing but digits; `None` where it is none or does not fit.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A number with as many digits as `digits` allows.
pub(super) fn short_number(text: &[u8], digits: RangeInclusive<usize>) -> Option<u32> {
    digits.contains(&text.len()).then(|| number(text))?.and_then(|number| u32::try_from(number).ok())
}
