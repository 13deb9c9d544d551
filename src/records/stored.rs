//! How stores keep a path: the bytes on the wire, and its text only where that is not those bytes.

use std::str::Utf8Error;

use crate::base::names::RemotePath;

/// A path of which a store keeps four parts.
pub(super) struct StoredPath<'a> {
    /// The directory, on the wire.
    pub(super) directory: &'a [u8],
    /// Its text, where that is not its bytes.
    pub(super) directory_text: Option<&'a str>,
    /// The name in it, on the wire.
    pub(super) name: &'a [u8],
    /// The text of the name, where that is not its bytes; or the whole path, which begins with a slash, where the
    /// directory's text was another when the file came.
    pub(super) text: Option<&'a str>,
}

impl StoredPath<'_> {
    /// Puts it together.
    ///
    /// # Errors
    ///
    /// Where bytes are no text though they should be.
    pub(super) fn path(&self) -> Result<RemotePath, Utf8Error> {
        let Self { directory, directory_text, name, text } = *self;
        let mut wire = Vec::with_capacity(directory.len() + 1 + name.len());
        wire.extend_from_slice(directory);
        if directory != b"/" {
            wire.push(b'/');
        }
        wire.extend_from_slice(name);
        if let Some(whole) = text.filter(|text| text.starts_with('/')) {
            return Ok(RemotePath::from_parts(wire, whole.to_owned()));
        }
        let directory = text_of(directory_text, directory)?;
        let name = text_of(text, name)?;
        let mut text = String::with_capacity(directory.len() + 1 + name.len());
        text.push_str(directory);
        if directory != "/" {
            text.push('/');
        }
        text.push_str(name);
        Ok(RemotePath::from_parts(wire, text))
    }
}

/// The text of a name: its own, or its bytes where it has none.
fn text_of<'a>(text: Option<&'a str>, wire: &'a [u8]) -> Result<&'a str, Utf8Error> {
    text.map_or_else(|| std::str::from_utf8(wire), Ok)
}

/// The text, where it is not the wire's bytes anyway.
pub(super) fn text_beside<'a>(wire: &[u8], text: &'a str) -> Option<&'a str> {
    (text.as_bytes() != wire).then_some(text)
}
