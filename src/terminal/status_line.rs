//! A line of progress at the foot of what a command prints, which goes away again.
//!
//! Ours and not of indicatif (0.18), which would bring four crates for these lines, and shows its own where `NO_COLOR` is
//! set, which the documents promise it does not ([`super::is_rich`]).

use std::io::{Stdout, Write, stdout};

use super::{is_rich, size, text};

/// Takes the line away.
const WIPE: &str = "\r\x1b[2K";

/// The line. Where standard output is not for it, nothing is ever shown.
#[derive(Debug)]
pub struct StatusLine {
    output: Option<Stdout>,
    shown: bool,
}

impl StatusLine {
    /// Below standard output.
    #[must_use]
    pub fn new() -> Self {
        Self { output: is_rich(&stdout()).then(stdout), shown: false }
    }

    /// Returns whether anybody sees it.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.output.is_some()
    }

    /// Shows `line`, in place of the one before.
    pub fn show(&mut self, line: &str) {
        let Some(output) = &mut self.output else { return };
        // the last column stays free: some terminals begin a new line once it is written
        let line = text::cut(line, size(&*output).columns.saturating_sub(1));
        self.shown = true;
        // who closed standard output does not want to see it
        drop(write!(output, "{WIPE}{line}").and_then(|()| output.flush()));
    }

    /// Takes it away, so that a whole line can be printed.
    pub fn clear(&mut self) {
        if let Some(output) = self.output.as_mut().filter(|_| self.shown) {
            drop(write!(output, "{WIPE}").and_then(|()| output.flush()));
        }
        self.shown = false;
    }
}

impl Default for StatusLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}
