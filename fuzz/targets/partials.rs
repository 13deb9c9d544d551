//! Names of partial files, as they lie in `.partial` at a start, whoever put them there.

use mrosync::mirror::partial_name::PartialName;

/// A name says nothing, or what it says is said again by a name that says the same.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(name) = PartialName::parse(text) else { return };
    let written = name.to_string();
    assert_eq!(written, text, "another file");
    assert!(
        written.len() < 100 && written.bytes().all(|byte| byte.is_ascii_hexdigit() || b"_-.".contains(&byte))
    );
}
