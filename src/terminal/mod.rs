//! What a person at a terminal gets beyond plain lines: a table that fits, colour, progress, and lines that do not
//! run into each other. Programs, files and pipes get none of it, nor does anybody who set `NO_COLOR`.

pub mod screen;
pub mod status_line;
pub mod text;

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// Of a terminal that does not tell its size, as VT100s had it.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// How much a terminal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Across.
    pub columns: usize,
    /// Down.
    pub rows: usize,
}

/// Returns whether more than plain lines may go there: a terminal that can move its cursor, whose user did
/// not set `NO_COLOR` (to anything but nothing, as no-color.org has it).
#[must_use]
pub fn is_rich(stream: &impl IsTerminal) -> bool {
    can_move(stream) && !is_set("NO_COLOR")
}

/// Returns whether it is a terminal that can move its cursor.
#[must_use]
pub fn can_move(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The size of the terminal behind `stream`.
#[must_use]
pub fn size(stream: impl AsFd) -> Size {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => USUAL,
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}
