//! What the commands that change records ask before they do: the number of what is meant. And how they end.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or nothing was to be done.
    Done,
    /// The number was missing or another; nothing was changed.
    Unconfirmed,
}

/// Compares the number that the operator gives with what was counted, and says what is wrong with it.
pub(crate) fn is_confirmed(confirm: Option<u64>, matching: u64) -> anyhow::Result<bool> {
    let mut errors = io::stderr();
    let given = match confirm {
        Some(given) => Some(given),
        None if io::stdin().is_terminal() => {
            write!(errors, "type the number to go on: ")?;
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).context("cannot read the number")?;
            line.trim().parse().ok()
        }
        None => {
            writeln!(errors, "mrosync: nothing was changed; to do it, pass --confirm {matching}")?;
            return Ok(false);
        }
    };
    let right = given == Some(matching);
    if !right {
        writeln!(errors, "mrosync: nothing was changed: that is not the number, which is {matching}")?;
    }
    Ok(right)
}
