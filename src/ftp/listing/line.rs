//! What one line of a listing says, whatever its format.

use crate::base::facts::FileFacts;
use crate::protocol::Kind;

/// What one line says; `None` in its place means not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// An entry, its name as it stands in the line.
    Entry { name: &'a [u8], kind: Kind, facts: FileFacts },
    /// A device, socket or the like, which cannot be mirrored.
    Special,
    /// No entry and no fault: `total 12`, the directory itself, its parent.
    Ignored,
}
