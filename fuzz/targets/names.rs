//! Names: a byte for the encoding, then the wire bytes of a path, its components between slashes.

use mrosync::base::file_names::FileNames;
use mrosync::base::names::{MAX_NAME_BYTES, Printable, RemoteName, RemotePath, decode};

use super::{choice, encoding};

/// A name is refused, or is one component of one directory, and its wire bytes are kept.
pub fn run(data: &[u8]) {
    let Some((number, wire)) = choice(data) else { return };
    let encoding = encoding(number);
    super::assert_harmless(&Printable(&decode(wire, encoding)).to_string());
    let mut path = RemotePath::root();
    let mut texts = Vec::new();
    for part in wire.split(|byte| *byte == b'/') {
        let Ok(name) = RemoteName::from_wire(part, encoding) else { continue };
        assert_eq!(name.wire(), part);
        assert_usable(&name);
        if encoding == encoding_rs::UTF_8 && std::str::from_utf8(part).is_ok() {
            assert_eq!(name.text().as_bytes(), part);
        }
        let above = path.clone();
        path = path.join(&name);
        assert!(path.is_within(&above) && !above.is_within(&path));
        texts.push(name.text().to_owned());
    }
    assert_eq!(path.components().collect::<Vec<_>>(), texts, "a component became several, or none");
    super::assert_harmless(&path.to_string());
    if encoding == encoding_rs::UTF_8
        && let Ok(again) = RemotePath::from_text(path.text(), encoding)
    {
        assert_eq!(again.text(), path.text());
    }
    // what the operator writes passes the same gate
    if let Ok(path) = RemotePath::from_text(&String::from_utf8_lossy(wire), encoding) {
        assert!(path.components().all(|component| component != "." && component != ".."));
    }
}

/// Panics unless the name can stand for one entry of one directory only.
#[track_caller]
pub fn assert_usable(name: &RemoteName) {
    for bytes in [name.wire(), name.text().as_bytes()] {
        assert!(!bytes.is_empty() && bytes != b"." && bytes != b"..", "{name:?}");
        assert!(!bytes.iter().any(|byte| matches!(byte, b'/' | 0 | b'\r' | b'\n')), "{name:?}");
    }
    assert!(name.text().len() <= MAX_NAME_BYTES, "{name:?}");
    if FileNames::default().fit_name(name) {
        assert!(name.text().to_ascii_lowercase().ends_with(".zip"), "{name:?}");
    }
}
